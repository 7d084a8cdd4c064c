/* SPDX-License-Identifier: ISC */
/*
 * What do errors leave behind?
 *
 *	image-faults [--all] [--broken] [--data=FILE] [--keep=PREFIX]
 *		IMAGE VERB [ARG...]
 *
 * Runs VERB on a copy of IMAGE once without errors, and counts how often each
 * step of the format's work (lib/image/file_event.h) comes and how much is
 * written. Then it makes rule files for blkdebug, one for each step, each of
 * some of its turns (--all: of each turn), EIO and ENOSPC, once or from then
 * on (--all: and), and runs VERB again under each. Afterwards the copy must be
 * sound, with leaks at worst; each sector of the disk, and of a snapshot that
 * was there, holds what it held or what it was to hold; what was flushed is
 * there; and VERB, done again without errors, by who met the error or by who
 * comes after, does what it should.
 *
 * --broken: IMAGE is not sound, and VERB repairs it. --data: the image's data
 * file, which is made anew with it. --keep: the first forty copies are kept
 * for other programs to check. The last line on stdout is the number of rule
 * files.
 *
 *	write|zero|discard OFFSET LEN	compress RAW-FILE	empty
 *	resize SIZE	flushed (writes, a flush, and writes)
 *	snapshot-create|-apply|-delete	bitmap-add|-clear|-merge|-off|-remove
 *	amend NAME VALUE	backing NAME	repair	compact
 */
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/image/blkdebug.h"
#include "lib/image/format.h"
#include "lib/image/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	N_KEPT = 40,
	FILE_LEN_MAX = 64 << 20,
	SECTOR = 512,
	FLUSHED_OFFSET = 70000, /* what "flushed" flushes */
	FLUSHED_LEN = 90000,
	TURNS = 3, /* of each step, without --all */
};

struct file {
	const char *path; /* NULL: none */
	uint8_t *data;
	size_t len;
};

struct disk {
	uint8_t *data;
	uint64_t len;
};

static struct {
	bool is_all, is_broken;
	const char *keep;
	struct file image, data;
	char work[4096];
	char **verb;
	int n_words;
	struct disk before, after, snapshot;
	bool is_flushed; /* "flushed" has come so far */
	unsigned long n_rules, n_failed;
} run;

/* What the run without errors did. */
static struct {
	unsigned long n[IMAGE_N_EVENTS];
	bool is_on;
} counts;

static void (*hear_too)(const struct image_file *file, enum image_event event);

static void count(const struct image_file *file, enum image_event event)
{
	if (counts.is_on)
		counts.n[event]++;
	hear_too(file, event);
}

/* Before the C library's. */
ssize_t pwritev(int fd, const struct iovec *iov, int n_iov, off_t offset)
{
	if (counts.is_on)
		counts.n[IMAGE_EVENT_PWRITEV]++;
	return syscall(SYS_pwritev, fd, iov, (long)n_iov, offset, 0L);
}

static void load(struct file *f, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	f->path = path;
	f->data = malloc(FILE_LEN_MAX);
	if (fd < 0 || f->data == NULL)
		die(1, "%s: %s", path, strerror(errno));
	while ((n = read(fd, f->data + f->len, FILE_LEN_MAX - f->len)) > 0)
		f->len += (size_t)n;
	if (n < 0 || f->len == FILE_LEN_MAX)
		die(1, "%s: cannot be read", path);
	close(fd);
}

static void store(const char *path, const struct file *f)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, f->data, f->len) != (ssize_t)f->len)
		die(1, "%s: %s", path, strerror(errno));
	close(fd);
}

static void restore(void)
{
	store(run.work, &run.image);
	if (run.data.path != NULL)
		store(run.data.path, &run.data);
	run.is_flushed = false;
}

static struct disk read_disk(struct image *image)
{
	struct disk d = { .len = image_size(image) };
	struct error err = ERROR_INIT;
	int rc;

	d.data = malloc(d.len + 1);
	if (d.data == NULL)
		die(1, "out of memory");
	rc = image_read(image, 0, d.data, d.len, &err);
	if (rc < 0)
		die(1, "%s cannot be read: %s", run.work, error_text(&err, rc));
	return d;
}

/* With the first snapshot, unless it is NULL. */
static struct disk look(struct disk *snapshot)
{
	const struct image_open_options how = { .format = "qcow2",
						.flags = IMAGE_READ_ONLY };
	struct image_info info = { .n_snapshots = 0 };
	struct error err = ERROR_INIT;
	struct image *image;
	struct disk d;
	int rc = image_open(&image, run.work, &how, &err);

	if (rc == 0)
		rc = image_get_info(image, &info, &err);
	if (rc < 0)
		die(1, "%s cannot be opened: %s", run.work,
		    error_text(&err, rc));
	d = read_disk(image);
	if (snapshot != NULL)
		*snapshot = (struct disk){ .data = NULL };
	if (snapshot != NULL && info.n_snapshots > 0) {
		rc = image_snapshot_load(image, 0, &err);
		if (rc < 0)
			die(1, "%s: snapshot: %s", run.work,
			    error_text(&err, rc));
		*snapshot = read_disk(image);
	}
	image_abandon(image);
	return d;
}

static int change(struct image *image, const char *verb, uint64_t offset,
		  uint64_t len, struct error *err)
{
	char *buf;
	int rc;

	if (strcmp(verb, "zero") == 0)
		return image_write_zeroes(image, offset, len, 0, err);
	if (strcmp(verb, "discard") == 0)
		return image_discard(image, offset, len, err);
	buf = malloc(len);
	if (buf == NULL)
		die(1, "out of memory");
	memset(buf, 7, len);
	rc = image_write(image, offset, buf, len, err);
	free(buf);
	return rc;
}

static int compress(struct image *image, const char *path, struct error *err)
{
	uint32_t len = image_cluster_size(image);
	struct file raw = { .len = 0 };
	int rc = 0;

	load(&raw, path);
	for (size_t at = 0; rc == 0 && at < raw.len; at += len)
		rc = image_write_compressed(
			image, at, raw.data + at,
			raw.len - at < len ? raw.len - at : len, NULL, err);
	free(raw.data);
	return rc;
}

static int write_flushed(struct image *image, struct error *err)
{
	int rc = change(image, "write", FLUSHED_OFFSET, FLUSHED_LEN, err);

	if (rc == 0)
		rc = image_flush(image, err);
	run.is_flushed |= rc == 0;
	if (rc == 0)
		rc = change(image, "write", 300000, 100000, err);
	if (rc == 0)
		rc = change(image, "zero", 200000, 50000, err);
	return rc == 0 ? change(image, "discard", 458752, 65536, err) : rc;
}

static int snapshot(struct image *image, const char *verb, struct error *err)
{
	const struct image_snapshot_info new = { .name = "new" };

	if (strcmp(verb, "create") == 0)
		return image_snapshot_create(image, &new, err);
	if (strcmp(verb, "apply") == 0)
		return image_snapshot_apply(image, 0, err);
	return image_snapshot_delete(image, 0, err);
}

/* There is one named "old". */
static int bitmap(struct image *image, const char *verb, struct error *err)
{
	if (strcmp(verb, "add") == 0)
		return image_bitmap_add(image, "new", 512, true, err);
	if (strcmp(verb, "clear") == 0)
		return image_bitmap_clear(image, "old", err);
	if (strcmp(verb, "merge") == 0)
		return image_bitmap_merge(image, "old", image, "old", err);
	if (strcmp(verb, "off") == 0)
		return image_bitmap_enable(image, "old", false, err);
	return image_bitmap_remove(image, "old", err);
}

static int amend(struct image *image, const char *name, const char *value,
		 struct error *err)
{
	const struct image_option option = { .name = name, .value = value };
	const struct image_amend_options how = { .options = &option,
						 .n_options = 1 };

	return image_amend(image, &how, err);
}

static int resize(struct image *image, const char *size, struct error *err)
{
	const struct image_resize_options how = { .may_shrink = true };

	return image_resize(image, strtoull(size, NULL, 0), &how, err);
}

static int act(struct image *image, struct error *err)
{
	const char *verb = run.verb[0];
	const char *a = run.n_words > 1 ? run.verb[1] : NULL;
	const char *b = run.n_words > 2 ? run.verb[2] : NULL;
	struct image_check check = { .found = NULL };

	if (strcmp(verb, "empty") == 0)
		return image_make_empty(image, err);
	if (strcmp(verb, "flushed") == 0)
		return write_flushed(image, err);
	if (strcmp(verb, "compact") == 0)
		return image_compact(image, err);
	if (strcmp(verb, "repair") == 0)
		return image_repair(image,
				    IMAGE_REPAIR_LEAKS | IMAGE_REPAIR_ERRORS,
				    &check, err);
	if (strncmp(verb, "snapshot-", 9) == 0)
		return snapshot(image, verb + 9, err);
	if (strncmp(verb, "bitmap-", 7) == 0)
		return bitmap(image, verb + 7, err);
	if (a == NULL)
		die(EXIT_USAGE, "no such verb: %s", verb);
	if (strcmp(verb, "compress") == 0)
		return compress(image, a, err);
	if (strcmp(verb, "resize") == 0)
		return resize(image, a, err);
	if (strcmp(verb, "backing") == 0)
		return image_change_backing(image, a, "raw", err);
	if (b == NULL)
		die(EXIT_USAGE, "no such verb: %s", verb);
	if (strcmp(verb, "amend") == 0)
		return amend(image, a, b, err);
	return change(image, verb, strtoull(a, NULL, 0), strtoull(b, NULL, 0),
		      err);
}

/*
 * VERB under the rules in text; twice if it fails and is_again. The result is
 * that of the last time, or of closing.
 */
static int perform(const char *text, bool is_again, struct error *err)
{
	struct blkdebug *d = blkdebug_new();
	const struct image_layer layer = { .kind = IMAGE_LAYER_BLKDEBUG,
					   .blkdebug = d };
	const struct image_open_options how = {
		.format = "qcow2",
		.flags = run.is_broken ? IMAGE_CHECK : 0,
		.layers = &layer,
	};
	struct image *image;
	int rc, close_rc;

	if (blkdebug_parse(d, text, strlen(text), err) < 0 ||
	    blkdebug_check(d, err) < 0)
		die(1, "%s", err->text);
	rc = image_open(&image, run.work, &how, err);
	blkdebug_free(d);
	if (rc < 0)
		return rc;
	hear_too = image->file->hear;
	image->file->hear = count;
	rc = act(image, err);
	if (rc < 0 && is_again)
		rc = act(image, err);
	close_rc = image_close(image, rc < 0 ? NULL : err);
	return rc < 0 ? rc : close_rc;
}

static void complain(void *context, const char *line)
{
	(void)context;
	if (strncmp(line, "Leaked", 6) != 0)
		log_error("%s", line);
}

/* -errno, or 1 if it is sound. */
static int is_sound(void)
{
	const struct image_open_options how = { .format = "qcow2",
						.flags = IMAGE_READ_ONLY |
							 IMAGE_CHECK |
							 IMAGE_NO_BACKING };
	struct image_check check = { .found = complain };
	struct error err = ERROR_INIT;
	struct image *image;
	int rc = image_open(&image, run.work, &how, &err);

	if (rc == 0) {
		rc = image_check(image, &check, &err);
		image_abandon(image);
	}
	if (rc < 0)
		log_error("%s", error_text(&err, rc));
	return rc < 0 ? rc
		      : check.n_corruptions == 0 && check.n_check_errors == 0;
}

static bool is_same(const struct disk *d, const struct disk *as, uint64_t at,
		    uint64_t len)
{
	static const uint8_t zeroes[SECTOR];

	return at < as->len && as->len - at >= len
		       ? memcmp(d->data + at, as->data + at, len) == 0
		       : at >= as->len &&
				 memcmp(d->data + at, zeroes, len) == 0;
}

static bool is_either(const struct disk *d, const struct disk *a,
		      const struct disk *b)
{
	for (uint64_t at = 0; at < d->len; at += SECTOR) {
		uint64_t len = d->len - at < SECTOR ? d->len - at : SECTOR;

		if (is_same(d, a, at, len) || is_same(d, b, at, len))
			continue;
		log_error("sector %" PRIu64 " is neither", at / SECTOR);
		return false;
	}
	return true;
}

/* What was flushed, but for sectors that it did not fill. */
static bool has_flushed(const struct disk *d)
{
	uint64_t start = (FLUSHED_OFFSET + SECTOR - 1) / SECTOR * SECTOR;
	uint64_t end = (FLUSHED_OFFSET + FLUSHED_LEN) / SECTOR * SECTOR;

	return !run.is_flushed ||
	       memcmp(d->data + start, run.after.data + start, end - start) ==
		       0;
}

static bool is_verb(const char *name)
{
	return strcmp(run.verb[0], name) == 0;
}

static bool is_well(void)
{
	bool goes = is_verb("snapshot-delete");
	struct disk snapshot, d;
	bool result;

	if (!run.is_broken && is_sound() != 1)
		return false;
	d = look(run.is_broken ? NULL : &snapshot);
	result = is_either(&d, &run.before, &run.after) && has_flushed(&d);
	free(d.data);
	if (run.is_broken)
		return result;
	if (run.snapshot.data != NULL && !goes)
		result &= snapshot.data != NULL &&
			  is_either(&snapshot, &run.snapshot, &run.snapshot);
	free(snapshot.data);
	return result;
}

/* Done already, perhaps. */
static bool may_fail_again(int rc)
{
	return (rc == -ENOENT &&
		(is_verb("snapshot-delete") || is_verb("bitmap-remove") ||
		 is_verb("bitmap-clear"))) ||
	       (rc == -EEXIST && is_verb("bitmap-add"));
}

static bool can_be_done_again(void)
{
	struct error err = ERROR_INIT;
	int rc = perform("", false, &err);
	struct disk d;
	bool result;

	if (rc < 0 && !may_fail_again(rc)) {
		log_error("again: %s", error_text(&err, rc));
		return false;
	}
	if (is_sound() != 1)
		return false;
	d = look(NULL);
	result =
		d.len == run.after.len && is_either(&d, &run.after, &run.after);
	free(d.data);
	return result;
}

static void keep(void)
{
	struct file f = { .len = 0 };
	char path[4200];

	if (run.keep == NULL || run.n_rules >= N_KEPT)
		return;
	load(&f, run.work);
	snprintf(path, sizeof(path), "%s.%lu", run.keep, run.n_rules);
	store(path, &f);
	free(f.data);
}

/* The rule file of error at turn number turn of an event. */
static void make_rules(char *text, size_t size, const char *event,
		       unsigned long turn, int error, bool is_once)
{
	size_t at = 0;

	for (unsigned long i = 1; i < turn && at < size; i++)
		at += (size_t)snprintf(text + at, size - at,
				       "[set-state]\nevent = \"%s\"\n"
				       "state = \"%lu\"\nnew_state = \"%lu\"\n",
				       event, i, i + 1);
	if (at < size)
		at += (size_t)snprintf(text + at, size - at,
				       "[inject-error]\nevent = \"%s\"\n"
				       "state = \"%lu\"\nerrno = \"%d\"\n"
				       "once = \"%s\"\n",
				       event, turn, error,
				       is_once ? "on" : "off");
	if (at >= size)
		die(1, "too many turns");
}

static void attempt(const char *event, unsigned long turn, int error,
		    bool is_once)
{
	static char text[1 << 20];
	struct error err = ERROR_INIT;
	bool is_again = is_once && run.n_rules % 2 != 0;
	int rc;

	make_rules(text, sizeof(text), event, turn, error, is_once);
	restore();
	rc = perform(text, is_again, &err);
	run.n_failed += rc < 0;
	keep();
	run.n_rules++;
	if (is_well() && can_be_done_again())
		return;
	die(1, "%s: %s, turn %lu, error %d, once %s%s: %s", run.verb[0], event,
	    turn, error, is_once ? "on" : "off",
	    is_again ? ", and once more" : "", error_text(&err, rc));
}

static void try_event(const char *event, unsigned long n)
{
	static const int errors[] = { EIO, ENOSPC };

	if (n >= BLKDEBUG_RULES_MAX)
		n = BLKDEBUG_RULES_MAX - 1;
	for (unsigned long i = 0; i < n; i++) {
		unsigned long turn = i + 1;

		/* The first, the last, and some between. */
		if (!run.is_all && n > TURNS) {
			if (i == TURNS)
				break;
			turn = 1 + i * (n - 1) / (TURNS - 1);
		}
		for (unsigned j = 0; j < 2; j++) {
			bool is_once = (i + j) % 2 == 0;

			attempt(event, turn, errors[j], is_once);
			if (run.is_all)
				attempt(event, turn, errors[j], !is_once);
		}
	}
}

static void begin(void)
{
	struct error err = ERROR_INIT;
	int rc;

	restore();
	run.before = look(run.is_broken ? NULL : &run.snapshot);
	counts.is_on = true;
	rc = perform("", false, &err);
	counts.is_on = false;
	if (rc < 0)
		die(1, "%s: %s", run.verb[0], error_text(&err, rc));
	run.after = look(NULL);
	/* Whatever comes first: the header cannot be read. */
	counts.n[IMAGE_EVENT_NONE] = 1;
}

int main(int argc, char **argv)
{
	log_init("image-faults");
	for (; argc > 1 && argv[1][0] == '-'; argv++, argc--) {
		run.is_all |= strcmp(argv[1], "--all") == 0;
		run.is_broken |= strcmp(argv[1], "--broken") == 0;
		if (strncmp(argv[1], "--data=", 7) == 0)
			load(&run.data, argv[1] + 7);
		if (strncmp(argv[1], "--keep=", 7) == 0)
			run.keep = argv[1] + 7;
	}
	if (argc < 3)
		die(EXIT_USAGE, "usage: image-faults [--all] [--broken] "
				"[--data=FILE] [--keep=PREFIX] IMAGE VERB "
				"[ARG...]");
	load(&run.image, argv[1]);
	snprintf(run.work, sizeof(run.work), "%s.work", argv[1]);
	run.verb = argv + 2;
	run.n_words = argc - 2;
	begin();
	for (unsigned e = 0; e < IMAGE_N_EVENTS; e++)
		try_event(blkdebug_event_name(e), counts.n[e]);
	if (run.n_failed == 0)
		die(1, "%s: nothing failed", run.verb[0]);
	printf("%lu\n", run.n_rules);
	unlink(run.work);
	return 0;
}
