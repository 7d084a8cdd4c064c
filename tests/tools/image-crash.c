/* SPDX-License-Identifier: ISC */
/*
 * What could a crash have left?
 *
 *	image-crash [OPTION...] IMAGE SEED OPERATIONS STATES ORIGINAL [KEEP]
 *	image-crash [OPTION...] --do=ACTION IMAGE SEED STATES ORIGINAL OTHER
 *		[KEEP]
 *
 * Runs random operations on IMAGE and records every system call that changes
 * the file, and every fdatasync(). Then STATES times a moment is chosen and
 * the file is made as it could have been then: after a kill with all that was
 * written before; after a power failure with all that a flush had covered and
 * some of what came later, in any order, sectors of one write apart. Each
 * must be sound (leaks are allowed), and every operation that a kill found
 * finished, or that a flush had covered, must be there. ORIGINAL is what the
 * disk held first. With --full one write in thirty fails as on a full disk:
 * operations may fail then, and spoil no other. With --threads=N so many work
 * at once, each on sectors of its own. States are left in files
 * KEEP.0, KEEP.1, … for other programs to check: the first forty.
 *
 * With --do one action is recorded: create (a snapshot named new), apply or
 * delete (the first one), empty, backing (a name, "new"), repair, compact, or
 * options to be amended, NAME=VALUE,... Each sector of each state holds what it
 * holds in ORIGINAL or in OTHER; of repair, after another one. A header of more
 * than a sector is taken to be written whole: there is no other way to write
 * it.
 *
 * --goes-on: what the check says does not count, but each state can be written
 * to: in every block of the disk a sector, and no other changes by that.
 *
 * --data=FILE: the image's data file, NAME to the image. What is written to one
 * of the two has no order with what is written to the other but by flushes.
 * States stand in the folder KEEP as "image" and NAME then, one after another.
 * --raw: the data file reads as the disk does.
 *
 * --behind: metadata is written behind, so that after a kill, too, only what a
 * flush had covered must be there. Not with --threads.
 *
 * --secret=ID:PASSWORD gives a password, --key=ID is whose the image is opened
 * with. --opens=ID: with that, too, each state can be read; --opens-at-end=ID:
 * the last one can.
 */
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/image/image.h"
#include "lib/image/secret.h"
#include "tests/support/image_model.h"
#include "tests/support/write_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	N_KEPT = 40,
	KEYS_MAX = 4,
	THREADS_MAX = 8,
	FLUSH_US = 50, /* in which others go on */
};

/* What the command line says. */
static struct {
	const char *data, *keep, *key;
	const char *opens[KEYS_MAX];
	unsigned n_opens;
	const char *opens_at_end;
	bool is_raw, goes_on, is_behind;
	unsigned n_threads;
	struct secrets *secrets;
} options = { .n_threads = 1 };

/* In place of the C library's: the image library calls these. */
ssize_t pwritev(int fd, const struct iovec *iov, int n_iov, off_t offset)
{
	return write_log_pwritev(fd, iov, n_iov, offset, 0);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int n_iov, off_t offset,
		 int flags)
{
	return write_log_pwritev(fd, iov, n_iov, offset, flags);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	return write_log_fallocate(fd, mode, offset, len);
}

int ftruncate(int fd, off_t len)
{
	return write_log_ftruncate(fd, len);
}

int fdatasync(int fd)
{
	int rc = write_log_fdatasync(fd);

	if (options.n_threads > 1)
		usleep(FLUSH_US);
	return rc;
}

static void start_recording(const char *path)
{
	write_log_add_file(path);
	if (options.data != NULL)
		write_log_add_file(options.data);
	write_log.is_on = true;
}

static int open_image(struct image **image, const char *path, unsigned flags,
		      const char *key, struct error *err)
{
	const struct image_open_options how = {
		.flags = flags,
		.secrets = options.secrets,
		.key_secret = key,
	};

	return image_open(image, path, &how, err);
}

static int run_op(struct image *image, const struct model_stream *stream,
		  const struct model_op *op)
{
	static _Thread_local uint8_t buf[MODEL_OP_SECTORS_MAX * MODEL_SECTOR];
	uint64_t offset = op->sector * MODEL_SECTOR;
	uint64_t len = op->n * MODEL_SECTOR;
	unsigned flags = op->may_unmap ? IMAGE_ZERO_MAY_UNMAP : 0;
	struct error err = ERROR_INIT;
	int rc = 0;

	switch (op->kind) {
	case MODEL_WRITE:
		model_fill(stream, op, buf);
		rc = image_write(image, offset, buf, len, &err);
		break;
	case MODEL_ZERO:
		rc = image_write_zeroes(image, offset, len, flags, &err);
		break;
	case MODEL_DISCARD:
		rc = image_discard(image, offset, len, &err);
		break;
	case MODEL_FLUSH:
		rc = image_flush(image, &err);
		break;
	}
	if (rc < 0 && !(write_log.is_full && rc == -ENOSPC))
		die(1, "operation %u: %s", op->number, error_text(&err, rc));
	return rc;
}

struct writer {
	struct image *image;
	struct model_stream stream;
	unsigned long n_ops;
};

static void *run_writer(void *context)
{
	struct writer *w = context;
	unsigned index = w->stream.index;

	for (unsigned long i = 0; i < w->n_ops; i++) {
		struct model_op op = model_next(&w->stream);
		int rc;

		write_log_add(EVENT_BEGUN, op.number, index);
		rc = run_op(w->image, &w->stream, &op);
		write_log_add(rc < 0 ? EVENT_FAILED : EVENT_DONE, op.number,
			      index);
	}
	return NULL;
}

static uint64_t run_ops(const char *path, uint32_t seed, unsigned long n_ops)
{
	struct writer writers[THREADS_MAX];
	pthread_t threads[THREADS_MAX];
	struct error err = ERROR_INIT;
	struct image *image;
	uint64_t n_sectors;
	int rc = open_image(&image, path,
			    options.is_behind ? IMAGE_WRITE_BEHIND : 0,
			    options.key, &err);

	if (rc < 0)
		die(1, "%s: %s", path, error_text(&err, rc));
	n_sectors = image_size(image) / MODEL_SECTOR;
	for (unsigned i = 0; i < options.n_threads; i++) {
		writers[i].image = image;
		writers[i].n_ops = n_ops / options.n_threads;
		model_stream_init(&writers[i].stream, seed, i,
				  options.n_threads, n_sectors);
	}
	for (unsigned i = 1; i < options.n_threads; i++)
		if (pthread_create(&threads[i], NULL, run_writer,
				   &writers[i]) != 0)
			die(1, "no threads");
	run_writer(&writers[0]);
	for (unsigned i = 1; i < options.n_threads; i++)
		pthread_join(threads[i], NULL);
	rc = image_close(image, &err);
	if (rc < 0 && !write_log.is_full)
		die(1, "%s: %s", path, error_text(&err, rc));
	return n_sectors;
}

/* Is the operation that begins with event i over before event number end? */
static bool is_done(size_t i, size_t end)
{
	const struct event *begun = &write_log.events[i];

	for (size_t j = i + 1; j < end; j++) {
		const struct event *e = &write_log.events[j];

		if (e->kind == EVENT_DONE && e->offset == begun->offset &&
		    e->file == begun->file)
			return true;
	}
	return false;
}

static void make_model(struct model *model, size_t sure, size_t end,
		       bool is_power_failure, uint32_t seed)
{
	struct model_stream streams[THREADS_MAX];

	for (unsigned i = 0; i < options.n_threads; i++)
		model_stream_init(&streams[i], seed, i, options.n_threads,
				  model->n_sectors);
	for (size_t i = 0; i < end; i++) {
		const struct event *e = &write_log.events[i];
		struct model_stream *stream = &streams[e->file];
		struct model_op op;
		bool is_sure;

		if (e->kind != EVENT_BEGUN)
			continue;
		op = model_next(stream);
		is_sure = is_done(i, sure);
		if (is_sure)
			model_did(model, stream, &op);
		else
			model_may_have_done(model, stream, &op);
		if (!is_sure && (is_power_failure || write_log.is_full))
			model_was_cut_off(model, &op);
	}
}

static void complain(void *context, const char *line)
{
	(void)context;
	if (strncmp(line, "Leaked", 6) != 0)
		log_error("%s", line);
}

static void save_file(const char *path, const struct log_file *f)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, f->data, f->len) != (ssize_t)f->len)
		die(1, "%s: %s", path, strerror(errno));
	close(fd);
}

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

/* In the folder: the image, whose path this is, and its data file. */
static const char *save_both(const struct log_file *f)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/%s", options.keep,
		 name_of(options.data));
	save_file(path, &f[1]);
	snprintf(path, sizeof(path), "%s/image", options.keep);
	save_file(path, &f[0]);
	return path;
}

static int try_open_state(struct image **image, const struct log_file *f,
			  const char *path, unsigned flags, const char *key,
			  struct error *err)
{
	const struct image_open_options how = {
		.flags = flags,
		.secrets = options.secrets,
		.key_secret = key,
	};
	int fd;

	if (options.data != NULL)
		return open_image(image, save_both(f), flags, key, err);
	fd = memfd_create("state", MFD_CLOEXEC);
	if (fd < 0 || write(fd, f->data, f->len) != (ssize_t)f->len)
		die(1, "memfd: %s", strerror(errno));
	return image_open_fd(image, fd, path, &how, err);
}

static struct image *open_state(const struct log_file *f, const char *path,
				unsigned flags, const char *key)
{
	struct error err = ERROR_INIT;
	struct image *image;
	int rc = try_open_state(&image, f, path,
				flags | IMAGE_READ_ONLY | IMAGE_FORCE_SHARE,
				key, &err);

	if (rc < 0)
		die(1, "state cannot be opened: %s", error_text(&err, rc));
	return image;
}

/* Where there is a data file it is seen by itself. */
static bool is_raw_as_disk(const struct log_file *f, const uint8_t *disk,
			   uint64_t len)
{
	if (!options.is_raw)
		return true;
	for (uint64_t at = 0; at < len; at += MODEL_SECTOR) {
		if (memcmp(disk + at, f[1].data + at, MODEL_SECTOR) == 0)
			continue;
		log_error("sector %" PRIu64 " of the data file is not the "
			  "disk's",
			  at / MODEL_SECTOR);
		return false;
	}
	return true;
}

static bool is_sound(const struct log_file *f, const char *path)
{
	struct image *image = open_state(f, path, IMAGE_CHECK, options.key);
	struct image_check check = { .found = complain };
	struct error err = ERROR_INIT;
	int rc = image_check(image, &check, &err);

	image_abandon(image);
	if (rc == -ENOTSUP)
		return true; /* nothing to check */
	return rc == 0 && check.n_corruptions == 0 && check.n_check_errors == 0;
}

static bool has_all(const struct log_file *f, const char *path,
		    const struct model *model)
{
	struct image *image = open_state(f, path, 0, options.key);
	size_t len = model->n_sectors * MODEL_SECTOR;
	uint8_t *disk = malloc(len);
	struct error err = ERROR_INIT;
	uint64_t wrong;
	int rc;

	if (disk == NULL)
		die(1, "out of memory");
	rc = image_read(image, 0, disk, len, &err);
	if (rc < 0)
		die(1, "state cannot be read: %s", error_text(&err, rc));
	wrong = model_check(model, disk);
	if (wrong < model->n_sectors)
		log_error("sector %" PRIu64 " is not what was written", wrong);
	else if (!is_raw_as_disk(f, disk, len))
		wrong = 0;
	free(disk);
	image_abandon(image);
	return wrong == model->n_sectors;
}

static uint8_t *read_disk(struct image *image, size_t len)
{
	uint8_t *disk = malloc(len);
	struct error err = ERROR_INIT;
	int rc = disk == NULL ? -ENOMEM : image_read(image, 0, disk, len, &err);

	if (rc < 0)
		die(1, "state cannot be read: %s", error_text(&err, rc));
	return disk;
}

/* Blocks are of so many sectors at least; the last one comes first. */
static bool can_go_on(const struct log_file *f, const char *path,
		      uint64_t n_sectors)
{
	enum {
		STEP = 8,
	};
	size_t len = n_sectors * MODEL_SECTOR;
	struct error err = ERROR_INIT;
	struct image *image;
	uint8_t *expected, *disk;
	bool is_same;
	int rc = try_open_state(&image, f, path, 0, options.key, &err);

	if (rc < 0)
		die(1, "state cannot be opened: %s", error_text(&err, rc));
	expected = read_disk(image, len);
	for (uint64_t i = n_sectors; rc == 0 && i-- > 0;) {
		uint8_t *sector = expected + i * MODEL_SECTOR;

		if (i % STEP != 0)
			continue;
		memset(sector, (int)(i / STEP % 255 + 1), MODEL_SECTOR);
		rc = image_write(image, i * MODEL_SECTOR, sector, MODEL_SECTOR,
				 &err);
	}
	if (rc < 0)
		die(1, "state cannot be written to: %s", error_text(&err, rc));
	disk = read_disk(image, len);
	is_same = memcmp(disk, expected, len) == 0;
	if (!is_same)
		log_error("what is written changes something else, too");
	free(disk);
	free(expected);
	image_abandon(image);
	return is_same;
}

static void save(const char *prefix, unsigned long i, const struct log_file *f)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s.%lu", prefix, i);
	save_file(path, f);
}

static uint8_t *load_original(const char *path, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t *data = malloc(len);

	if (fd < 0 || data == NULL || read(fd, data, len) != (ssize_t)len)
		die(1, "%s: cannot be read", path);
	close(fd);
	return data;
}

static void try_state(char **argv, unsigned long i, struct log_file *f,
		      uint64_t *random, const uint8_t *original,
		      uint64_t n_sectors)
{
	size_t end = model_draw(random, write_log.n + 1), sure;
	bool is_power_failure = i % 4 != 0, is_well;
	struct model model;

	write_log_replay(f, end, is_power_failure, random, &sure);
	if (options.is_behind)
		sure = write_log_flushed(end);
	if (options.keep != NULL && options.data == NULL && i < N_KEPT)
		save(options.keep, i, f);
	if (model_init(&model, original, n_sectors) < 0)
		die(1, "out of memory");
	make_model(&model, sure, end, is_power_failure || options.is_behind,
		   (uint32_t)strtoul(argv[2], NULL, 10));
	is_well = (options.goes_on || is_sound(f, argv[1])) &&
		  has_all(f, argv[1], &model) &&
		  (!options.goes_on || can_go_on(f, argv[1], n_sectors));
	if (!is_well) {
		save(argv[1], 9999, f);
		die(1, "%s: seed %s, state %lu: %s at event %zu (sure: %zu)",
		    argv[1], argv[2], i,
		    is_power_failure ? "power failure" : "kill", end, sure);
	}
	model_deinit(&model);
}

/* "refcount_bits=8", and more of them. */
static int amend(struct image *image, const char *text, struct error *err)
{
	struct image_option list[8];
	const struct image_amend_options how = { .options = list,
						 .secrets = options.secrets };
	struct image_amend_options all = how;
	char *copy = strdup(text), *rest = copy, *item;
	int rc;

	while ((item = strsep(&rest, ",")) != NULL && all.n_options < 8) {
		list[all.n_options].name = strsep(&item, "=");
		list[all.n_options++].value = item;
	}
	rc = image_amend(image, &all, err);
	free(copy);
	return rc;
}

/* There is one named "old". */
static int change_bitmaps(struct image *image, struct error *err)
{
	int rc = image_bitmap_add(image, "new", 512, true, err);

	if (rc == 0)
		rc = image_bitmap_merge(image, "new", image, "old", err);
	return rc == 0 ? image_bitmap_remove(image, "old", err) : rc;
}

static int act(struct image *image, const char *action, struct error *err)
{
	const struct image_snapshot_info new = { .name = "new" };
	struct image_check check = { .found = NULL };

	if (strcmp(action, "create") == 0)
		return image_snapshot_create(image, &new, err);
	if (strcmp(action, "apply") == 0)
		return image_snapshot_apply(image, 0, err);
	if (strcmp(action, "delete") == 0)
		return image_snapshot_delete(image, 0, err);
	if (strcmp(action, "empty") == 0)
		return image_make_empty(image, err);
	if (strcmp(action, "backing") == 0)
		return image_change_backing(image, "new", "raw", err);
	if (strcmp(action, "bitmap") == 0)
		return change_bitmaps(image, err);
	if (strcmp(action, "compact") == 0)
		return image_compact(image, err);
	if (strchr(action, '=') != NULL)
		return amend(image, action, err);
	return image_repair(image, IMAGE_REPAIR_LEAKS | IMAGE_REPAIR_ERRORS,
			    &check, err);
}

static void run_action(const char *path, const char *action)
{
	unsigned flags = strcmp(action, "repair") == 0
				 ? IMAGE_NO_BACKING | IMAGE_CHECK
				 : IMAGE_NO_BACKING;
	struct error err = ERROR_INIT;
	struct image *image;
	int rc = open_image(&image, path, flags, options.key, &err);

	if (rc == 0)
		rc = act(image, action, &err);
	if (rc == 0)
		rc = image_close(image, &err);
	if (rc < 0)
		die(1, "%s: %s", path, error_text(&err, rc));
}

/* The state is repaired, whatever of that was done before. */
static void repair_state(struct log_file *f)
{
	const struct image_open_options how = {
		.format = "qcow2", .flags = IMAGE_NO_BACKING | IMAGE_CHECK
	};
	int fd = memfd_create("state", MFD_CLOEXEC), copy = dup(fd);
	struct error err = ERROR_INIT;
	struct image *image;
	struct stat st;
	int rc;

	if (copy < 0 || write(fd, f->data, f->len) != (ssize_t)f->len)
		die(1, "memfd: %s", strerror(errno));
	rc = image_open_fd(&image, fd, "state", &how, &err);
	if (rc == 0)
		rc = act(image, "repair", &err);
	if (rc == 0)
		rc = image_close(image, &err);
	if (rc < 0)
		die(1, "state cannot be repaired: %s", error_text(&err, rc));
	fstat(copy, &st);
	f->len = (uint64_t)st.st_size;
	if (f->len > LOG_FILE_LEN_MAX || pread(copy, f->data, f->len, 0) < 0)
		die(1, "state cannot be read");
	if (f->used < f->len)
		f->used = f->len;
	close(copy);
}

static bool has_either(const struct log_file *f, const char *path,
		       const char *key, uint8_t *const contents[2],
		       uint64_t len)
{
	struct image *image = open_state(f, path, IMAGE_NO_BACKING, key);
	struct error err = ERROR_INIT;
	uint8_t *disk = calloc(1, len);
	uint64_t n = image_size(image) < len ? image_size(image) : len;
	bool is_well = true;
	int rc;

	if (disk == NULL)
		die(1, "out of memory");
	rc = image_read(image, 0, disk, n, &err);
	if (rc < 0)
		die(1, "state cannot be read: %s", error_text(&err, rc));
	for (uint64_t at = 0; at < n; at += MODEL_SECTOR)
		is_well &=
			memcmp(disk + at, contents[0] + at, MODEL_SECTOR) ==
				0 ||
			memcmp(disk + at, contents[1] + at, MODEL_SECTOR) == 0;
	is_well &= is_raw_as_disk(f, disk, n);
	free(disk);
	image_abandon(image);
	return is_well;
}

/* With every password that must open it. */
static bool is_well(const struct log_file *f, const char *path, bool is_end,
		    uint8_t *const contents[2], uint64_t len)
{
	bool result = is_sound(f, path) &&
		      has_either(f, path, options.key, contents, len);

	for (unsigned i = 0; result && i < options.n_opens; i++)
		result = has_either(f, path, options.opens[i], contents, len);
	if (result && is_end && options.opens_at_end != NULL)
		result = has_either(f, path, options.opens_at_end, contents,
				    len);
	return result;
}

/* argv: action, image, seed, states, original, other, prefix. */
static void try_action(char **argv, struct log_file *f)
{
	bool is_repair = strcmp(argv[0], "repair") == 0;
	uint64_t random = strtoull(argv[2], NULL, 10) + 12345;
	size_t sure;
	unsigned long n_states = strtoul(argv[3], NULL, 10);
	uint8_t *contents[2];
	struct stat st;

	if (stat(argv[4], &st) < 0)
		die(1, "%s: %s", argv[4], strerror(errno));
	contents[0] = load_original(argv[4], (size_t)st.st_size);
	contents[1] = load_original(argv[5], (size_t)st.st_size);
	write_log.is_whole = strcmp(argv[0], "backing") == 0 ||
			     strcmp(argv[0], "bitmap") == 0;
	for (unsigned long i = 0; i < n_states; i++) {
		bool is_power_failure = i % 2 != 0;
		/* The end, too, for certain. */
		size_t end = i == 0 ? write_log.n
				    : model_draw(&random, write_log.n + 1);

		write_log_replay(f, end, is_power_failure, &random, &sure);
		if (is_repair)
			repair_state(f);
		if (options.keep != NULL && options.data == NULL && i < N_KEPT)
			save(options.keep, i, f);
		if (is_well(f, argv[1], end == write_log.n, contents,
			    (uint64_t)st.st_size))
			continue;
		save(argv[1], 9999, f);
		die(1, "%s: %s, seed %s, state %lu: %s at event %zu of %zu",
		    argv[1], argv[0], argv[2], i,
		    is_power_failure ? "power failure" : "kill", end,
		    write_log.n);
	}
	free(contents[0]);
	free(contents[1]);
}

static void add_secret(const char *text)
{
	const char *password = strchr(text, ':');
	struct error err = ERROR_INIT;
	char id[64];

	if (options.secrets == NULL)
		options.secrets = secrets_new();
	if (password == NULL || options.secrets == NULL)
		die(EXIT_USAGE, "--secret=ID:PASSWORD");
	snprintf(id, sizeof(id), "%.*s", (int)(password - text), text);
	password++;
	if (secrets_add(options.secrets, id, password, strlen(password), &err) <
	    0)
		die(1, "%s", err.text);
}

static bool take_option(const char *text)
{
	if (strcmp(text, "--full") == 0)
		write_log.is_full = true;
	else if (strcmp(text, "--raw") == 0)
		options.is_raw = true;
	else if (strcmp(text, "--behind") == 0)
		options.is_behind = true;
	else if (strcmp(text, "--goes-on") == 0)
		options.goes_on = true;
	else if (sscanf(text, "--threads=%u", &options.n_threads) == 1 &&
		 options.n_threads - 1 < THREADS_MAX)
		return true;
	else if (strncmp(text, "--data=", 7) == 0)
		options.data = text + 7;
	else if (strncmp(text, "--key=", 6) == 0)
		options.key = text + 6;
	else if (strncmp(text, "--secret=", 9) == 0)
		add_secret(text + 9);
	else if (strncmp(text, "--opens=", 8) == 0 &&
		 options.n_opens < KEYS_MAX)
		options.opens[options.n_opens++] = text + 8;
	else if (strncmp(text, "--opens-at-end=", 15) == 0)
		options.opens_at_end = text + 15;
	else
		return false;
	return true;
}

/* argv: image, seed, operations, states, original, keep. */
static void try_operations(char **argv, struct log_file *f)
{
	uint64_t random = strtoull(argv[1], NULL, 10) + 12345, n_sectors;
	unsigned long n_states = strtoul(argv[3], NULL, 10);
	uint8_t *original;

	write_log.random = random;
	start_recording(argv[0]);
	n_sectors = run_ops(argv[0], (uint32_t)strtoul(argv[1], NULL, 10),
			    strtoul(argv[2], NULL, 10));
	write_log.is_on = false;
	original = load_original(argv[4], n_sectors * MODEL_SECTOR);
	for (unsigned long i = 0; i < n_states; i++)
		try_state(argv - 1, i, f, &random, original, n_sectors);
	free(original);
}

int main(int argc, char **argv)
{
	struct log_file f[LOG_FILES_MAX] = {
		{ .data = calloc(1, LOG_FILE_LEN_MAX) },
		{ .data = calloc(1, LOG_FILE_LEN_MAX) }
	};

	log_init("image-crash");
	for (; argc > 1 && take_option(argv[1]); argc--)
		argv++;
	if (argc < 6 || f[0].data == NULL || f[1].data == NULL)
		die(EXIT_USAGE, "usage: image-crash [OPTION...] IMAGE SEED "
				"OPERATIONS STATES ORIGINAL [KEEP]");
	options.keep = argc > 6 ? argv[6] : NULL;
	if (strncmp(argv[1], "--do=", 5) == 0) {
		options.keep = argc > 7 ? argv[7] : NULL;
		argv[1] += 5;
		start_recording(argv[2]);
		run_action(argv[2], argv[1]);
		write_log.is_on = false;
		try_action(argv + 1, f);
	} else {
		try_operations(argv + 1, f);
	}
	free(f[0].data);
	free(f[1].data);
	secrets_free(options.secrets);
	return 0;
}
