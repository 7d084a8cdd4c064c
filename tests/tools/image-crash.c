/* SPDX-License-Identifier: ISC */
/*
 * What could a crash have left?
 *
 *	image-crash [--full] IMAGE SEED OPERATIONS STATES ORIGINAL [KEEP]
 *	image-crash --do=ACTION IMAGE SEED STATES ORIGINAL OTHER [KEEP]
 *
 * Runs random operations on IMAGE and records every system call that changes
 * the file, and every fdatasync(). Then STATES times a moment is chosen and
 * the file is made as it could have been then: after a kill with all that was
 * written before; after a power failure with all that a flush had covered and
 * some of what came later, in any order, sectors of one write apart. Each
 * must be sound (leaks are allowed), and every operation that a kill found
 * finished, or that a flush had covered, must be there. ORIGINAL is what the
 * disk held first. With --full one write in thirty fails as on a full disk:
 * operations may fail then, and spoil no other. States are left in files KEEP.0, KEEP.1, … for other
 * programs to check: the first forty.
 *
 * With --do one action is recorded: create (a snapshot named new), apply or
 * delete (the first one), empty, backing (a name, "new"), repair, compact, or an option
 * to be amended, NAME=VALUE. Each
 * sector of each state holds what it holds in ORIGINAL or in OTHER; of repair,
 * after another one. A header of more than a sector is taken to be written
 * whole: there is no other way to write it.
 */
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/image/image.h"
#include "tests/support/image_model.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	N_KEPT = 40,
	FILE_LEN_MAX = 64 << 20,
};

enum event_kind {
	EVENT_WRITE,
	EVENT_ZERO, /* keeps the file's size */
	EVENT_TRUNCATE,
	EVENT_FLUSH,
	EVENT_BEGUN, /* operations: offset is the number */
	EVENT_DONE,
	EVENT_FAILED,
};

struct event {
	enum event_kind kind;
	uint64_t offset, len;
	uint8_t *data;	 /* EVENT_WRITE */
	bool is_durable; /* and the file's size is, too */
};

static struct recorder {
	dev_t device;
	ino_t inode;
	struct event *events;
	size_t n, n_max;
	/* The file before the first event. */
	uint8_t *base;
	uint64_t base_len;
	bool is_full;
	bool is_whole; /* no write is torn */
	uint64_t random;
} recorder;

static struct event *record(enum event_kind kind, uint64_t offset, uint64_t len)
{
	struct recorder *r = &recorder;

	if (r->n == r->n_max) {
		r->n_max = r->n_max * 2 + 1024;
		r->events = realloc(r->events, r->n_max * sizeof(*r->events));
		if (r->events == NULL)
			die(1, "out of memory");
	}
	r->events[r->n] = (struct event){ kind, offset, len, NULL, false };
	return &r->events[r->n++];
}

static bool is_recorded(int fd)
{
	struct stat st;

	return recorder.inode != 0 && fstat(fd, &st) == 0 &&
	       st.st_ino == recorder.inode && st.st_dev == recorder.device;
}

/* In place of the C library's: the image library calls these. */
ssize_t pwritev(int fd, const struct iovec *iov, int n_iov, off_t offset)
{
	uint64_t at = 0;
	struct event *e;
	ssize_t n;

	if (recorder.is_full && is_recorded(fd) &&
	    model_draw(&recorder.random, 30) == 0) {
		errno = ENOSPC;
		return -1;
	}
	n = syscall(SYS_pwritev, fd, iov, n_iov, offset, 0);
	if (n <= 0 || !is_recorded(fd))
		return n;
	e = record(EVENT_WRITE, (uint64_t)offset, (uint64_t)n);
	e->data = malloc((size_t)n);
	if (e->data == NULL)
		die(1, "out of memory");
	for (int i = 0; i < n_iov && at < e->len; i++) {
		size_t part = iov[i].iov_len;

		if (part > e->len - at)
			part = e->len - at;
		memcpy(e->data + at, iov[i].iov_base, part);
		at += part;
	}
	return n;
}

ssize_t pwritev2(int fd, const struct iovec *iov, int n_iov, off_t offset,
		 int flags)
{
	ssize_t n = pwritev(fd, iov, n_iov, offset);

	if (n > 0 && flags & RWF_DSYNC && is_recorded(fd))
		recorder.events[recorder.n - 1].is_durable = true;
	return n;
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	int rc = (int)syscall(SYS_fallocate, fd, mode, offset, len);

	if (rc == 0 && is_recorded(fd))
		record(EVENT_ZERO, (uint64_t)offset, (uint64_t)len);
	return rc;
}

int ftruncate(int fd, off_t len)
{
	int rc = (int)syscall(SYS_ftruncate, fd, len);

	if (rc == 0 && is_recorded(fd))
		record(EVENT_TRUNCATE, (uint64_t)len, 0);
	return rc;
}

int fdatasync(int fd)
{
	if (is_recorded(fd))
		record(EVENT_FLUSH, 0, 0);
	return 0;
}

static void start_recording(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(1, "%s: %s", path, strerror(errno));
	recorder.base_len = (uint64_t)st.st_size;
	recorder.base = malloc(recorder.base_len + 1);
	if (recorder.base == NULL ||
	    read(fd, recorder.base, recorder.base_len) != st.st_size)
		die(1, "%s: cannot be read", path);
	close(fd);
	recorder.device = st.st_dev;
	recorder.inode = st.st_ino;
}

static int run_op(struct image *image, const struct model_stream *stream,
		  const struct model_op *op)
{
	static uint8_t buf[MODEL_OP_SECTORS_MAX * MODEL_SECTOR];
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
	if (rc < 0 && !(recorder.is_full && rc == -ENOSPC))
		die(1, "operation %u: %s", op->number, error_text(&err, rc));
	return rc;
}

static uint64_t run_ops(const char *path, uint32_t seed, unsigned long n_ops)
{
	struct error err = ERROR_INIT;
	struct model_stream stream;
	struct image *image;
	uint64_t n_sectors;
	int rc = image_open(&image, path, NULL, &err);

	if (rc < 0)
		die(1, "%s: %s", path, error_text(&err, rc));
	n_sectors = image_size(image) / MODEL_SECTOR;
	model_stream_init(&stream, seed, 0, 1, n_sectors);
	for (unsigned long i = 0; i < n_ops; i++) {
		struct model_op op = model_next(&stream);

		record(EVENT_BEGUN, op.number, 0);
		rc = run_op(image, &stream, &op);
		record(rc < 0 ? EVENT_FAILED : EVENT_DONE, op.number, 0);
	}
	rc = image_close(image, &err);
	if (rc < 0 && !recorder.is_full)
		die(1, "%s: %s", path, error_text(&err, rc));
	return n_sectors;
}

struct file {
	uint8_t *data;
	uint64_t len, used; /* behind used all is zeroes */
};

static void put(struct file *f, uint64_t offset, const uint8_t *data,
		uint64_t len)
{
	if (offset + len > FILE_LEN_MAX)
		die(1, "file grows beyond what is expected");
	if (f->used < offset + len)
		f->used = offset + len;
	if (data != NULL)
		memcpy(f->data + offset, data, len);
	else
		memset(f->data + offset, 0, len);
}

/* With random sectors left out, if is_torn. */
static void apply_data(struct file *f, const struct event *e, bool is_torn,
		       uint64_t *random)
{
	uint64_t at = 0;

	while (at < e->len) {
		uint64_t n = MODEL_SECTOR - (e->offset + at) % MODEL_SECTOR;

		if (n > e->len - at)
			n = e->len - at;
		if (!is_torn || model_draw(random, 2) == 0) {
			put(f, e->offset + at,
			    e->data != NULL ? e->data + at : NULL, n);
			if (e->kind == EVENT_WRITE &&
			    f->len < e->offset + at + n)
				f->len = e->offset + at + n;
		}
		at += n;
	}
}

static void apply(struct file *f, const struct event *e, bool is_torn,
		  uint64_t *random)
{
	switch (e->kind) {
	case EVENT_WRITE:
		apply_data(f, e, is_torn, random);
		break;
	case EVENT_ZERO:
		if (e->offset < f->len)
			apply_data(f, e, is_torn, random);
		break;
	case EVENT_TRUNCATE:
		if (e->offset < f->len)
			put(f, e->offset, NULL, f->len - e->offset);
		f->len = e->offset;
		break;
	case EVENT_FLUSH:
	case EVENT_BEGUN:
	case EVENT_DONE:
	case EVENT_FAILED:
		break;
	}
}

/* The file is as long as before the last durable write before end. */
static size_t last_durable(size_t end)
{
	while (end > 0 && !recorder.events[end - 1].is_durable)
		end--;
	return end;
}

/* The file as it could have been at event number `end`; *sure: the events
 * before it are there for certain. */
static void make_state(struct file *f, size_t end, bool is_power_failure,
		       uint64_t *random, size_t *sure)
{
	size_t durable;

	*sure = end;
	if (is_power_failure)
		while (*sure > 0 &&
		       recorder.events[*sure - 1].kind != EVENT_FLUSH)
			--*sure;
	durable = last_durable(end);
	memset(f->data, 0, f->used);
	put(f, 0, recorder.base, recorder.base_len);
	f->len = recorder.base_len;
	for (size_t i = 0; i < end; i++) {
		const struct event *e = &recorder.events[i];
		uint64_t luck = i < *sure ? 0 : model_draw(random, 3);

		if (e->is_durable || (e->kind == EVENT_TRUNCATE && i < durable))
			luck = 0;
		if (luck < 2)
			apply(f, e, luck == 1 && !recorder.is_whole, random);
	}
}

static void make_model(struct model *model, size_t sure, size_t end,
		       bool is_power_failure, uint32_t seed)
{
	struct model_stream stream;

	model_stream_init(&stream, seed, 0, 1, model->n_sectors);
	for (size_t i = 0; i < end; i++) {
		const struct event *e = &recorder.events[i];
		struct model_op op;
		bool is_sure = false;

		if (e->kind != EVENT_BEGUN)
			continue;
		op = model_next(&stream);
		for (size_t j = i + 1; j < sure && !is_sure; j++)
			is_sure = recorder.events[j].kind == EVENT_DONE &&
				  recorder.events[j].offset == op.number;
		if (is_sure)
			model_did(model, &stream, &op);
		else
			model_may_have_done(model, &stream, &op);
		if (!is_sure && (is_power_failure || recorder.is_full))
			model_was_cut_off(model, &op);
	}
}

static void complain(void *context, const char *line)
{
	(void)context;
	if (strncmp(line, "Leaked", 6) != 0)
		log_error("%s", line);
}

static struct image *open_state(const struct file *f, const char *path,
				unsigned flags)
{
	int fd = memfd_create("state", MFD_CLOEXEC);
	const struct image_open_options how = {
		.format = "qcow2",
		.flags = flags | IMAGE_READ_ONLY | IMAGE_FORCE_SHARE,
	};
	struct error err = ERROR_INIT;
	struct image *image;
	int rc;

	if (fd < 0 || write(fd, f->data, f->len) != (ssize_t)f->len)
		die(1, "memfd: %s", strerror(errno));
	rc = image_open_fd(&image, fd, path, &how, &err);
	if (rc < 0)
		die(1, "state cannot be opened: %s", error_text(&err, rc));
	return image;
}

static bool is_sound(const struct file *f, const char *path)
{
	struct image *image = open_state(f, path, IMAGE_CHECK);
	struct image_check check = { .found = complain };
	struct error err = ERROR_INIT;
	int rc = image_check(image, &check, &err);

	image_abandon(image);
	return rc == 0 && check.n_corruptions == 0 && check.n_check_errors == 0;
}

static bool has_all(const struct file *f, const char *path,
		    const struct model *model)
{
	struct image *image = open_state(f, path, 0);
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
	free(disk);
	image_abandon(image);
	return wrong == model->n_sectors;
}

static void save(const char *prefix, unsigned long i, const struct file *f)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s.%lu", prefix, i);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, f->data, f->len) != (ssize_t)f->len)
		die(1, "%s: %s", path, strerror(errno));
	close(fd);
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

static void try_state(char **argv, unsigned long i, struct file *f,
		      uint64_t *random, const uint8_t *original,
		      uint64_t n_sectors)
{
	size_t end = model_draw(random, recorder.n + 1), sure;
	bool is_power_failure = i % 4 != 0;
	struct model model;

	make_state(f, end, is_power_failure, random, &sure);
	if (argv[6] != NULL && i < N_KEPT)
		save(argv[6], i, f);
	if (model_init(&model, original, n_sectors) < 0)
		die(1, "out of memory");
	make_model(&model, sure, end, is_power_failure,
		   (uint32_t)strtoul(argv[2], NULL, 10));
	if (!is_sound(f, argv[1]) || !has_all(f, argv[1], &model)) {
		save(argv[1], 9999, f);
		die(1, "%s: seed %s, state %lu: %s at event %zu (sure: %zu)",
		    argv[1], argv[2], i,
		    is_power_failure ? "power failure" : "kill", end, sure);
	}
	model_deinit(&model);
}

/* "refcount_bits=8" */
static int amend(struct image *image, const char *text, struct error *err)
{
	size_t len = strcspn(text, "=");
	char name[64];
	const struct image_option option = { .name = name,
					     .value = text + len + 1 };
	const struct image_amend_options options = { .options = &option,
						     .n_options = 1 };

	snprintf(name, sizeof(name), "%.*s", (int)len, text);
	return image_amend(image, &options, err);
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
	const struct image_open_options how = {
		.flags = strcmp(action, "repair") == 0
				 ? IMAGE_NO_BACKING | IMAGE_CHECK
				 : IMAGE_NO_BACKING,
	};
	struct error err = ERROR_INIT;
	struct image *image;
	int rc = image_open(&image, path, &how, &err);

	if (rc == 0)
		rc = act(image, action, &err);
	if (rc == 0)
		rc = image_close(image, &err);
	if (rc < 0)
		die(1, "%s: %s", path, error_text(&err, rc));
}

/* The state is repaired, whatever of that was done before. */
static void repair_state(struct file *f)
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
	if (f->len > FILE_LEN_MAX || pread(copy, f->data, f->len, 0) < 0)
		die(1, "state cannot be read");
	if (f->used < f->len)
		f->used = f->len;
	close(copy);
}

static bool has_either(const struct file *f, const char *path,
		       uint8_t *const contents[2], uint64_t len)
{
	struct image *image = open_state(f, path, IMAGE_NO_BACKING);
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
	free(disk);
	image_abandon(image);
	return is_well;
}

/* argv: action, image, seed, states, original, other, prefix. */
static void try_action(char **argv, struct file *f)
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
	recorder.is_whole = strcmp(argv[0], "backing") == 0 ||
			    strcmp(argv[0], "bitmap") == 0;
	for (unsigned long i = 0; i < n_states; i++) {
		bool is_power_failure = i % 2 != 0;
		size_t end = model_draw(&random, recorder.n + 1);

		make_state(f, end, is_power_failure, &random, &sure);
		if (is_repair)
			repair_state(f);
		if (argv[6] != NULL && i < N_KEPT)
			save(argv[6], i, f);
		if (is_sound(f, argv[1]) &&
		    has_either(f, argv[1], contents, (uint64_t)st.st_size))
			continue;
		save(argv[1], 9999, f);
		die(1, "%s: %s, seed %s, state %lu: %s at event %zu of %zu",
		    argv[1], argv[0], argv[2], i,
		    is_power_failure ? "power failure" : "kill", end,
		    recorder.n);
	}
	free(contents[0]);
	free(contents[1]);
}

int main(int argc, char **argv)
{
	struct file f = { .data = calloc(1, FILE_LEN_MAX) };
	unsigned long n_states;
	uint8_t *original;
	uint64_t random, n_sectors;

	log_init("image-crash");
	if (argc > 1 && strcmp(argv[1], "--full") == 0) {
		recorder.is_full = true;
		argv++;
		argc--;
	}
	if (argc > 6 && strncmp(argv[1], "--do=", 5) == 0) {
		argv[1] += 5;
		start_recording(argv[2]);
		run_action(argv[2], argv[1]);
		recorder.inode = 0;
		try_action(argv + 1, &f);
		free(f.data);
		return 0;
	}
	if (argc < 6 || f.data == NULL)
		die(EXIT_USAGE, "usage: image-crash IMAGE SEED OPERATIONS "
				"STATES ORIGINAL [KEEP]");
	random = strtoull(argv[2], NULL, 10) + 12345;
	recorder.random = random;
	n_states = strtoul(argv[4], NULL, 10);
	start_recording(argv[1]);
	n_sectors = run_ops(argv[1], (uint32_t)strtoul(argv[2], NULL, 10),
			    strtoul(argv[3], NULL, 10));
	recorder.inode = 0;
	original = load_original(argv[5], n_sectors * MODEL_SECTOR);
	for (unsigned long i = 0; i < n_states; i++)
		try_state(argv, i, &f, &random, original, n_sectors);
	free(original);
	free(f.data);
	return 0;
}
