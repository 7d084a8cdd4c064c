/* SPDX-License-Identifier: ISC */
/*
 * Random operations of several threads at once on one image, mirrored.
 *
 *	image-threads [OPTION...] IMAGE SEED ROUNDS [MIRROR]
 *
 * Each byte of the disk has an owner, the one thread that changes it, so that
 * what it holds is known. In the disk's first half owners are neighbours inside
 * of clusters, in the second each has whole clusters; those it may compress.
 * Reads and maps go across, and are held against what their thread owns.
 *
 * In a round each thread does a number of operations, and then everything is
 * compared by one. Between rounds clusters of all owners are compressed, the
 * image is closed and opened, checked, and with --snapshot has one made and
 * deleted. At the end the mirror is written to the file MIRROR.
 *
 * --format=FMT, --direct (O_DIRECT), --sectors (nothing less than whole ones),
 * --compress. --secret=ID:PASSWORD: an encrypted image's. --faults=N: about one
 * in N system calls on files fails, with ENOSPC or EIO, has done what it was to
 * do nevertheless, or does a part; what fails leaves each of its bytes as it was
 * or as it was to be, and the image without corruption.
 *
 * The first difference is printed; status 1.
 */
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/image/image.h"
#include "lib/image/secret.h"
#include "tests/support/image_model.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	N_THREADS = 6,
	N_OPS = 60, /* of each, in a round */
	LEN_MAX = 160 << 10,
	SECTOR = 512,
};

/* Of a byte. */
enum certainty {
	SURE,	/* as in the mirror */
	EITHER, /* that, or as in the other one */
	UNSURE,
};

static struct run {
	const char *path, *format, *key;
	struct secrets *secrets;
	bool has_compression, has_snapshots, is_direct, is_in_sectors;
	struct image *image;
	uint64_t size, middle, unit, random;
	uint32_t cluster;
	uint8_t *mirror, *other, *certainty;
} run;

static atomic_uint faults; /* one in so many; 0: none now */

struct worker {
	unsigned index;
	uint64_t random;
	uint8_t buf[LEN_MAX];
};

static bool is_unlucky(unsigned rarer)
{
	static _Thread_local uint64_t random;
	unsigned n = faults;

	if (n == 0)
		return false;
	if (random == 0)
		random = (uint64_t)gettid() * 2654435761U + 1;
	return model_draw(&random, (uint64_t)n * rarer) == 0;
}

static int fail_call(void)
{
	static atomic_uint count;

	errno = count++ % 2 == 0 ? ENOSPC : EIO;
	return -1;
}

/* In place of the C library's: the image library calls these. */
static ssize_t transfer(long number, int fd, const struct iovec *iov, int n_iov,
			off_t offset, int flags)
{
	struct iovec part = *iov;

	if (is_unlucky(1))
		return fail_call();
	if (is_unlucky(1)) {
		syscall(number, fd, iov, (long)n_iov, offset, 0L, flags);
		return fail_call();
	}
	if (is_unlucky(1) && part.iov_len >= 2UL * SECTOR) {
		part.iov_len = part.iov_len / 2 & ~(size_t)(SECTOR - 1);
		return syscall(number, fd, &part, 1L, offset, 0L, flags);
	}
	return syscall(number, fd, iov, (long)n_iov, offset, 0L, flags);
}

ssize_t preadv(int fd, const struct iovec *iov, int n_iov, off_t offset)
{
	return transfer(SYS_preadv2, fd, iov, n_iov, offset, 0);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n_iov, off_t offset)
{
	return transfer(SYS_pwritev2, fd, iov, n_iov, offset, 0);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int n_iov, off_t offset,
		 int flags)
{
	return transfer(SYS_pwritev2, fd, iov, n_iov, offset, flags);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (is_unlucky(1))
		return fail_call();
	return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

int ftruncate(int fd, off_t len)
{
	if (is_unlucky(1))
		return fail_call();
	return (int)syscall(SYS_ftruncate, fd, len);
}

/* A file whose flush failed once takes no more. */
int fdatasync(int fd)
{
	if (is_unlucky(30))
		return fail_call();
	return (int)syscall(SYS_fdatasync, fd);
}

static void check(int rc, const struct error *err, const char *doing)
{
	if (rc < 0)
		die(1, "%s: %s: %s", run.path, doing, error_text(err, rc));
}

static void open_image(unsigned flags)
{
	const struct image_open_options how = {
		.format = run.format,
		.flags = flags | (run.is_direct ? IMAGE_DIRECT : 0),
		.secrets = run.secrets,
		.key_secret = run.key,
		/* As little as there can be. */
		.cache_size = 1,
	};
	struct error err = ERROR_INIT;

	check(image_open(&run.image, run.path, &how, &err), &err, "open");
}

static unsigned owner_of(uint64_t at, uint64_t *end)
{
	uint64_t unit = at < run.middle ? run.unit : run.cluster;
	uint64_t base = at < run.middle ? 0 : run.middle;
	uint64_t i = (at - base) / unit;

	*end = base + (i + 1) * unit;
	if (*end > run.middle && at < run.middle)
		*end = run.middle;
	if (*end > run.size)
		*end = run.size;
	return (unsigned)(i % N_THREADS);
}

/* A part of what the worker owns, often all that is in a row. */
static void draw_range(struct worker *w, uint64_t *offset, uint64_t *len)
{
	uint64_t at, end, mask = run.is_in_sectors ? SECTOR - 1 : 0;

	do
		at = model_draw(&w->random, run.size);
	while (owner_of(at, &end) != w->index);
	if (model_draw(&w->random, 3) == 0)
		at = at < run.middle ? at - at % run.unit
				     : at - (at - run.middle) % run.cluster;
	at &= ~mask;
	*offset = at;
	*len = end - at;
	if (model_draw(&w->random, 2) == 0)
		*len = 1 + model_draw(&w->random, *len);
	*len = (*len + mask) & ~mask;
	if (*len > LEN_MAX)
		*len = LEN_MAX;
}

static void complain(uint64_t at, uint8_t found)
{
	die(1, "%s: byte %" PRIu64 " is %#x and not %#x", run.path, at, found,
	    run.mirror[at]);
}

/* What was read from at on, in one owner's range; learns: what it may be from
 * now on is what it was. */
static void compare(uint64_t at, const uint8_t *buf, uint64_t len, bool learns)
{
	for (uint64_t i = 0; i < len; i++) {
		uint8_t *certainty = &run.certainty[at + i];

		if (*certainty != UNSURE && buf[i] != run.mirror[at + i] &&
		    (*certainty == SURE || buf[i] != run.other[at + i]))
			complain(at + i, buf[i]);
		if (learns && *certainty != SURE) {
			run.mirror[at + i] = buf[i];
			*certainty = SURE;
		}
	}
}

/* buf NULL: zeroes. */
static void expect(uint64_t offset, const uint8_t *buf, uint64_t len)
{
	if (buf != NULL)
		memcpy(run.mirror + offset, buf, len);
	else
		memset(run.mirror + offset, 0, len);
	memset(run.certainty + offset, SURE, len);
}

static void expect_either(uint64_t offset, const uint8_t *buf, uint64_t len)
{
	for (uint64_t i = offset; i < offset + len; i++) {
		run.other[i] = buf != NULL ? buf[i - offset] : 0;
		if (run.certainty[i] == SURE)
			run.certainty[i] = EITHER;
		else
			run.certainty[i] = UNSURE;
	}
}

/* After an operation that changed the range to buf, or failed. */
static void conclude(int rc, const struct error *err, const char *doing,
		     uint64_t offset, const uint8_t *buf, uint64_t len)
{
	if (faults == 0)
		check(rc, err, doing);
	if (rc == 0)
		expect(offset, buf, len);
	else
		expect_either(offset, buf, len);
}

static void fill(struct worker *w, uint64_t len)
{
	uint64_t pattern = model_draw(&w->random, UINT64_MAX);

	for (uint64_t i = 0; i < len; i++)
		w->buf[i] =
			(uint8_t)((pattern >> i % 5 * 8) ^ (i >> 9) ^ w->index);
}

static void do_write(struct worker *w, uint64_t offset, uint64_t len)
{
	uint64_t cut = model_draw(&w->random, len + 1);
	const struct iovec iov[] = { { w->buf, cut },
				     { w->buf + cut, len - cut } };
	struct error err = ERROR_INIT;

	fill(w, len);
	conclude(image_writev(run.image, offset, iov, 2, &err), &err, "write",
		 offset, w->buf, len);
}

static void do_compress(struct worker *w, uint64_t offset)
{
	uint64_t len = run.cluster;
	struct error err = ERROR_INIT;

	if (len > run.size - offset)
		len = run.size - offset;
	fill(w, len);
	conclude(image_write_compressed(run.image, offset, w->buf, len, NULL,
					&err),
		 &err, "compress", offset, w->buf, len);
}

static void do_zero(struct worker *w, uint64_t offset, uint64_t len)
{
	unsigned flags = model_draw(&w->random, 2) ? IMAGE_ZERO_MAY_UNMAP : 0;
	struct error err = ERROR_INIT;

	conclude(image_write_zeroes(run.image, offset, len, flags, &err), &err,
		 "zeroes", offset, NULL, len);
}

static void do_discard(struct worker *w, uint64_t offset, uint64_t len)
{
	struct error err = ERROR_INIT;
	int rc = image_discard(run.image, offset, len, &err);

	if (faults == 0)
		check(rc, &err, "discard");
	expect_either(offset, NULL, len);
	rc = image_read(run.image, offset, w->buf, len, &err);
	if (faults == 0)
		check(rc, &err, "read");
	if (rc == 0)
		compare(offset, w->buf, len, true);
}

/* Of [offset, offset + len) what the worker owns. */
static void compare_own(const struct worker *w, uint64_t offset, uint64_t len,
			const uint8_t *buf)
{
	uint64_t end = offset + len, stop;

	for (uint64_t at = offset; at < end; at = stop) {
		bool is_own = owner_of(at, &stop) == w->index;

		if (stop > end)
			stop = end;
		if (is_own)
			compare(at, buf + (at - offset), stop - at, false);
	}
}

static void do_read(struct worker *w, bool maps)
{
	uint64_t offset = model_draw(&w->random, run.size), len;
	struct error err = ERROR_INIT;
	struct image_extent e = { .kind = IMAGE_EXTENT_DATA };
	int rc;

	offset &= ~(uint64_t)(SECTOR - 1);
	len = 1 + model_draw(&w->random, LEN_MAX);
	if (len > run.size - offset)
		len = run.size - offset;
	if (maps) {
		rc = image_map(run.image, offset, len, 0, &e, &err);
		len = e.len;
		memset(w->buf, 0, len);
	} else {
		rc = image_read(run.image, offset, w->buf, len, &err);
	}
	if (faults == 0)
		check(rc, &err, maps ? "map" : "read");
	if (rc == 0 && (!maps || e.kind == IMAGE_EXTENT_ZERO))
		compare_own(w, offset, len, w->buf);
}

static void step(struct worker *w)
{
	uint64_t what = model_draw(&w->random, 100), offset, len;
	struct error err = ERROR_INIT;
	int rc;

	draw_range(w, &offset, &len);
	if (what < 25)
		do_read(w, what < 3);
	else if (what < 60 && run.has_compression && offset >= run.middle &&
		 model_draw(&w->random, 2) == 0)
		do_compress(w, offset - (offset - run.middle) % run.cluster);
	else if (what < 70)
		do_write(w, offset, len);
	else if (what < 83)
		do_zero(w, offset, len);
	else if (what < 94)
		do_discard(w, offset, len);
	else if ((rc = image_flush(run.image, &err)) < 0 && faults == 0)
		check(rc, &err, "flush");
}

static void *work(void *context)
{
	for (unsigned i = 0; i < N_OPS; i++)
		step(context);
	return NULL;
}

static void work_together(struct worker *workers)
{
	pthread_t threads[N_THREADS];

	for (unsigned i = 0; i < N_THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
			die(1, "no threads");
	for (unsigned i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void compare_all(struct worker *w)
{
	struct error err = ERROR_INIT;

	for (uint64_t at = 0; at < run.size; at += LEN_MAX) {
		uint64_t len =
			run.size - at < LEN_MAX ? run.size - at : LEN_MAX;

		check(image_read(run.image, at, w->buf, len, &err), &err,
		      "read");
		compare(at, w->buf, len, true);
	}
}

/* Clusters of several owners, which they alone cannot. */
static void compress_some(struct worker *w)
{
	for (uint64_t at = 0; at + run.cluster <= run.middle; at += run.cluster)
		if (model_draw(&run.random, 4) == 0)
			do_compress(w, at);
}

static void make_and_delete_snapshot(void)
{
	const struct image_snapshot_info what = { .name = "one" };
	static bool has_one;
	struct error err = ERROR_INIT;

	if (has_one)
		check(image_snapshot_delete(run.image, 0, &err), &err,
		      "delete the snapshot");
	else
		check(image_snapshot_create(run.image, &what, &err), &err,
		      "make a snapshot");
	has_one = !has_one;
}

/* What could not be closed says so, which is no damage. */
static void found(void *context, const char *line)
{
	uint64_t *n_unclosed = context;

	if (strstr(line, "not closed correctly") != NULL)
		++*n_unclosed;
	else if (strncmp(line, "Leaked", 6) != 0)
		log_error("%s", line);
}

/* As it is on the disk. What failed may have left leaks. */
static void check_image(bool has_faults)
{
	uint64_t n_unclosed = 0;
	struct image_check result = { .found = found, .context = &n_unclosed };
	struct error err = ERROR_INIT;
	int rc;

	open_image(IMAGE_READ_ONLY | IMAGE_CHECK);
	rc = image_check(run.image, &result, &err);
	if (rc != -ENOTSUP)
		check(rc, &err, "check");
	if (has_faults)
		result.n_corruptions -= n_unclosed;
	if (result.n_corruptions > 0 || result.n_check_errors > 0 ||
	    (result.n_leaks > 0 && !has_faults))
		die(1, "%s: %" PRIu64 " corruptions, %" PRIu64 " leaks",
		    run.path, (uint64_t)result.n_corruptions,
		    (uint64_t)result.n_leaks);
	image_abandon(run.image);
}

static void close_and_check(bool has_faults)
{
	struct error err = ERROR_INIT;
	int rc = image_close(run.image, &err);

	if (!has_faults)
		check(rc, &err, "close");
	faults = 0;
	/* After an error its log is replayed by who may write. */
	if (has_faults && run.format != NULL &&
	    strcmp(run.format, "vhdx") == 0) {
		open_image(0);
		check(image_close(run.image, &err), &err, "replay");
	}
	check_image(has_faults);
	open_image(0);
}

static void run_rounds(unsigned long n_rounds, unsigned n_faults)
{
	struct worker *workers = calloc(N_THREADS, sizeof(*workers));

	if (workers == NULL)
		die(1, "out of memory");
	for (unsigned i = 0; i < N_THREADS; i++) {
		workers[i].index = i;
		workers[i].random = model_draw(&run.random, UINT64_MAX) | 1;
	}
	for (unsigned long i = 0; i < n_rounds; i++) {
		if (run.has_compression)
			compress_some(&workers[0]);
		if (run.has_snapshots)
			make_and_delete_snapshot();
		faults = n_faults;
		work_together(workers);
		if (n_faults > 0 || model_draw(&run.random, 2) == 0)
			close_and_check(n_faults > 0);
		compare_all(&workers[0]);
	}
	close_and_check(n_faults > 0);
	compare_all(&workers[0]);
	free(workers);
}

static void save_mirror(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	for (uint64_t done = 0; done < run.size;) {
		ssize_t n = write(fd, run.mirror + done, run.size - done);

		if (n < 0)
			die(1, "%s: %s", path, strerror(errno));
		done += (uint64_t)n;
	}
	close(fd);
}

static void add_secret(const char *text)
{
	const char *password = strchr(text, ':');
	struct error err = ERROR_INIT;

	run.secrets = secrets_new();
	if (password == NULL || run.secrets == NULL)
		die(EXIT_USAGE, "--secret=ID:PASSWORD");
	run.key = strndup(text, (size_t)(password - text));
	password++;
	check(secrets_add(run.secrets, run.key, password, strlen(password),
			  &err),
	      &err, "secret");
}

static void prepare(uint64_t seed)
{
	static const uint64_t units[] = { 512, 1536, 300, 4096, 10240, 66048 };
	struct error err = ERROR_INIT;

	run.random = seed * 2654435761U + 1;
	open_image(0);
	run.size = image_size(run.image);
	run.cluster = image_cluster_size(run.image);
	if (run.cluster < SECTOR || run.cluster > LEN_MAX)
		run.cluster = 4096;
	run.middle = run.size / 2 / run.cluster * run.cluster;
	do
		run.unit = units[model_draw(&run.random, 6)];
	while ((run.is_in_sectors && run.unit % SECTOR != 0) ||
	       run.unit > run.middle / N_THREADS);
	run.mirror = malloc(run.size);
	run.other = calloc(1, run.size);
	run.certainty = calloc(1, run.size);
	if (run.mirror == NULL || run.other == NULL || run.certainty == NULL)
		die(1, "out of memory");
	check(image_read(run.image, 0, run.mirror, run.size, &err), &err,
	      "read");
}

int main(int argc, char **argv)
{
	unsigned n_faults = 0;

	log_init("image-threads");
	for (; argc > 1 && argv[1][0] == '-'; argv++, argc--) {
		run.has_compression |= strcmp(argv[1], "--compress") == 0;
		run.has_snapshots |= strcmp(argv[1], "--snapshot") == 0;
		run.is_direct |= strcmp(argv[1], "--direct") == 0;
		run.is_in_sectors |= strcmp(argv[1], "--sectors") == 0;
		if (strncmp(argv[1], "--format=", 9) == 0)
			run.format = argv[1] + 9;
		if (strncmp(argv[1], "--secret=", 9) == 0)
			add_secret(argv[1] + 9);
		if (strncmp(argv[1], "--faults=", 9) == 0)
			n_faults = (unsigned)strtoul(argv[1] + 9, NULL, 10);
	}
	if (argc < 4)
		die(EXIT_USAGE, "usage: image-threads [OPTION...] IMAGE SEED "
				"ROUNDS [MIRROR]");
	run.path = argv[1];
	prepare(strtoull(argv[2], NULL, 10));
	run_rounds(strtoul(argv[3], NULL, 10), n_faults);
	image_abandon(run.image);
	if (argc > 4)
		save_mirror(argv[4]);
	return 0;
}
