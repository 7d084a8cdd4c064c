/* SPDX-License-Identifier: ISC */
/*
 * Random operations on an image, mirrored in memory.
 *
 *	image-ops [--same-size] [--compress] [--snapshot] [--direct]
 *		[--behind] [--unsafe] [--format=FMT] IMAGE SEED COUNT [MIRROR]
 *
 * What the image holds first is the mirror's beginning. Then COUNT operations
 * are drawn by SEED: writes, zeroes, discards, reads that must equal the
 * mirror, flushes, sizes grown and shrunk, and closing and opening again;
 * with --compress half of the writes are compressed clusters; with --snapshot
 * snapshots are made, applied and deleted, and at the end each is applied and
 * compared; with --direct the file is open with O_DIRECT, with --behind its
 * metadata is written behind, with --unsafe nothing is flushed. At the end
 * everything is read and compared, and the mirror is written to the file
 * MIRROR, for other programs to compare with. The first difference is
 * printed; status 1.
 */
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	LEN_MAX = 300 << 10,
	GROWTH_MAX = 2 << 20, /* beyond the first size */
	PARTS_MAX = 5,
	SNAPSHOTS_MAX = 5,
};

/* What the disk was. */
struct saved {
	uint8_t *mirror;
	uint64_t size;
};

struct run {
	const char *path, *format;
	struct image *image;
	uint64_t random;
	uint8_t *mirror;
	uint64_t size, size_max;
	uint32_t cluster;
	unsigned long op;
	bool is_same_size; /* do not resize */
	bool has_compression, has_snapshots;
	unsigned flags; /* to open it with */
	struct saved saved[SNAPSHOTS_MAX + 1];
	unsigned n_saved;
};

/* xorshift64*: the same on every machine. */
static uint64_t draw(struct run *r, uint64_t below)
{
	r->random ^= r->random >> 12;
	r->random ^= r->random << 25;
	r->random ^= r->random >> 27;
	return (r->random * 0x2545f4914f6cdd1dULL >> 16) % below;
}

static void check(const struct run *r, int rc, const struct error *err,
		  const char *doing)
{
	if (rc < 0)
		die(1, "%s: operation %lu: %s: %s", r->path, r->op, doing,
		    error_text(err, rc));
}

static void open_image(struct run *r)
{
	const struct image_open_options how = {
		.format = r->format,
		.flags = r->flags,
	};
	struct error err = ERROR_INIT;

	check(r, image_open(&r->image, r->path, &how, &err), &err, "open");
	r->size = image_size(r->image);
	r->cluster = image_cluster_size(r->image);
}

static void close_image(struct run *r)
{
	struct error err = ERROR_INIT;

	check(r, image_close(r->image, &err), &err, "close");
	r->image = NULL;
}

/* Often whole clusters, often near an end of one. */
static void draw_range(struct run *r, uint64_t *offset, uint64_t *len)
{
	uint64_t max = LEN_MAX < r->size ? LEN_MAX : r->size;

	*offset = draw(r, r->size);
	*len = 1 + draw(r, draw(r, 4) == 0 ? max : max / 8 + 1);
	if (draw(r, 2) == 0) {
		*offset &= ~(uint64_t)(r->cluster - 1);
		if (draw(r, 2) == 0)
			*len = (*len + r->cluster - 1) &
			       ~(uint64_t)(r->cluster - 1);
	} else if (draw(r, 2) == 0) {
		*offset &= ~(uint64_t)511;
		*len = (*len + 511) & ~(uint64_t)511;
	}
	if (*len > r->size - *offset)
		*len = r->size - *offset;
}

/* Some parts of len bytes at buf. */
static unsigned draw_parts(struct run *r, void *buf, uint64_t len,
			   struct iovec *iov)
{
	unsigned n = 0;

	while (len > 0) {
		uint64_t part = n + 1 == PARTS_MAX ? len : 1 + draw(r, len);

		iov[n].iov_base = buf;
		iov[n++].iov_len = part;
		buf = (char *)buf + part;
		len -= part;
	}
	return n;
}

static void do_write(struct run *r, uint64_t offset, uint64_t len)
{
	struct error err = ERROR_INIT;
	struct iovec iov[PARTS_MAX];
	uint64_t pattern = draw(r, UINT64_MAX);
	uint8_t *at = r->mirror + offset;
	unsigned n;

	for (uint64_t i = 0; i < len; i++)
		at[i] = (uint8_t)(pattern >> i % 8 * 8) ^ (uint8_t)(i >> 9);
	n = draw_parts(r, at, len, iov);
	check(r, image_writev(r->image, offset, iov, n, &err), &err, "write");
}

/* The cluster at offset, with more or less in it to compress. */
static void do_compress(struct run *r, uint64_t offset)
{
	struct error err = ERROR_INIT;
	uint64_t pattern = draw(r, UINT64_MAX), noise = draw(r, 8), len;
	uint8_t *at;

	offset -= offset % r->cluster;
	len = r->cluster < r->size - offset ? r->cluster : r->size - offset;
	at = r->mirror + offset;
	for (uint64_t i = 0; i < len; i++)
		at[i] = (uint8_t)(i % 8 < noise ? draw(r, 256)
						: pattern >> i % 8 * 8);
	check(r, image_write_compressed(r->image, offset, at, len, NULL, &err),
	      &err, "compress");
}

static void do_zero(struct run *r, uint64_t offset, uint64_t len)
{
	struct error err = ERROR_INIT;
	unsigned flags = draw(r, 2) ? IMAGE_ZERO_MAY_UNMAP : 0;

	memset(r->mirror + offset, 0, len);
	check(r, image_write_zeroes(r->image, offset, len, flags, &err), &err,
	      "zeroes");
}

static void compare(struct run *r, uint64_t offset, const uint8_t *buf,
		    uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		if (buf[i] != r->mirror[offset + i])
			die(1,
			    "%s: operation %lu: byte %" PRIu64
			    " is %#x and not %#x",
			    r->path, r->op, offset + i, buf[i],
			    r->mirror[offset + i]);
}

static void do_read(struct run *r, uint64_t offset, uint64_t len)
{
	struct error err = ERROR_INIT;
	struct iovec iov[PARTS_MAX];
	uint8_t *buf = malloc(len);
	unsigned n;

	if (buf == NULL)
		die(1, "out of memory");
	n = draw_parts(r, buf, len, iov);
	check(r, image_readv(r->image, offset, iov, n, &err), &err, "read");
	compare(r, offset, buf, len);
	free(buf);
}

/* Each byte is what it was or zero: the mirror learns which. */
static void do_discard(struct run *r, uint64_t offset, uint64_t len)
{
	struct error err = ERROR_INIT;
	uint8_t *buf = malloc(len);

	if (buf == NULL)
		die(1, "out of memory");
	check(r, image_discard(r->image, offset, len, &err), &err, "discard");
	check(r, image_read(r->image, offset, buf, len, &err), &err, "read");
	for (uint64_t i = 0; i < len; i++)
		if (buf[i] == 0)
			r->mirror[offset + i] = 0;
	compare(r, offset, buf, len);
	free(buf);
}

static void do_map(struct run *r, uint64_t offset, uint64_t len)
{
	struct error err = ERROR_INIT;
	struct image_extent e;

	check(r, image_map(r->image, offset, len, 0, &e, &err), &err, "map");
	if (e.offset != offset || e.len == 0 || e.len > len)
		die(1, "%s: operation %lu: map gives a wrong range", r->path,
		    r->op);
	if (e.kind == IMAGE_EXTENT_ZERO)
		for (uint64_t i = 0; i < e.len; i++)
			if (r->mirror[offset + i] != 0)
				die(1, "%s: operation %lu: map is wrong",
				    r->path, r->op);
}

static void do_resize(struct run *r)
{
	static const char *const modes[] = { NULL, "off", "metadata", "falloc",
					     "full" };
	struct image_resize_options how = { .may_shrink = true };
	uint64_t size = draw(r, r->size_max) & ~(uint64_t)511;
	struct error err = ERROR_INIT;

	if (size > r->size)
		how.preallocation = modes[draw(r, 5)];
	check(r, image_resize(r->image, size, &how, &err), &err, "resize");
	if (size > r->size)
		memset(r->mirror + r->size, 0, size - r->size);
	r->size = size;
}

static void make_snapshot(struct run *r)
{
	const struct image_snapshot_info what = { .name = "one of many" };
	struct error err = ERROR_INIT;
	struct saved *s = &r->saved[r->n_saved++];

	s->size = r->size;
	s->mirror = malloc(r->size + 1);
	if (s->mirror == NULL)
		die(1, "out of memory");
	memcpy(s->mirror, r->mirror, r->size);
	check(r, image_snapshot_create(r->image, &what, &err), &err,
	      "make a snapshot");
}

static void apply_snapshot(struct run *r, unsigned i)
{
	struct error err = ERROR_INIT;

	check(r, image_snapshot_apply(r->image, i, &err), &err,
	      "apply a snapshot");
	r->size = r->saved[i].size;
	memcpy(r->mirror, r->saved[i].mirror, r->size);
	if (image_size(r->image) != r->size)
		die(1, "%s: operation %lu: wrong size", r->path, r->op);
}

static void delete_snapshot(struct run *r, unsigned i)
{
	struct error err = ERROR_INIT;

	check(r, image_snapshot_delete(r->image, i, &err), &err,
	      "delete a snapshot");
	free(r->saved[i].mirror);
	r->n_saved--;
	memmove(&r->saved[i], &r->saved[i + 1],
		(r->n_saved - i) * sizeof(r->saved[0]));
}

static void do_snapshot(struct run *r)
{
	uint64_t what = draw(r, 4);

	if (r->n_saved == 0 || (what < 2 && r->n_saved < SNAPSHOTS_MAX))
		make_snapshot(r);
	else if (what == 2)
		apply_snapshot(r, (unsigned)draw(r, r->n_saved));
	else
		delete_snapshot(r, (unsigned)draw(r, r->n_saved));
}

/* Each one holds what it held; then the disk is as before. */
static void compare_snapshots(struct run *r)
{
	make_snapshot(r);
	for (unsigned i = r->n_saved; i-- > 0;) {
		apply_snapshot(r, i);
		if (r->size > 0)
			do_read(r, 0, r->size);
	}
	apply_snapshot(r, r->n_saved - 1);
	delete_snapshot(r, r->n_saved - 1);
}

static void step(struct run *r)
{
	struct error err = ERROR_INIT;
	uint64_t offset, len, what = draw(r, 100);

	if (r->size == 0 && !r->is_same_size)
		do_resize(r);
	if (r->size == 0)
		return;
	draw_range(r, &offset, &len);
	if (r->has_snapshots && draw(r, 20) == 0) {
		do_snapshot(r);
	} else if (what < 45 && r->has_compression && draw(r, 2) == 0) {
		do_compress(r, offset);
	} else if (what < 45) {
		do_write(r, offset, len);
	} else if (what < 65) {
		do_read(r, offset, len);
	} else if (what < 75) {
		do_zero(r, offset, len);
	} else if (what < 85) {
		do_discard(r, offset, len);
	} else if (what < 93) {
		do_map(r, offset, len);
	} else if (what < 94 && !r->is_same_size) {
		do_resize(r);
	} else if (what < 98) {
		check(r, image_flush(r->image, &err), &err, "flush");
	} else {
		close_image(r);
		open_image(r);
	}
}

static void save_mirror(const struct run *r, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	uint64_t done = 0;

	if (fd < 0)
		die(1, "%s: %s", path, strerror(errno));
	while (done < r->size) {
		ssize_t n = write(fd, r->mirror + done, r->size - done);

		if (n < 0)
			die(1, "%s: %s", path, strerror(errno));
		done += (uint64_t)n;
	}
	close(fd);
}

int main(int argc, char **argv)
{
	struct error err = ERROR_INIT;
	struct run r = { 0 };
	unsigned long count;

	log_init("image-ops");
	for (; argc > 1 && argv[1][0] == '-'; argv++, argc--) {
		r.is_same_size |= strcmp(argv[1], "--same-size") == 0;
		r.has_compression |= strcmp(argv[1], "--compress") == 0;
		r.has_snapshots |= strcmp(argv[1], "--snapshot") == 0;
		if (strcmp(argv[1], "--direct") == 0)
			r.flags |= IMAGE_DIRECT;
		if (strcmp(argv[1], "--behind") == 0)
			r.flags |= IMAGE_WRITE_BEHIND;
		if (strcmp(argv[1], "--unsafe") == 0)
			r.flags |= IMAGE_UNSAFE;
		if (strncmp(argv[1], "--format=", 9) == 0)
			r.format = argv[1] + 9;
	}
	if (argc < 4)
		die(EXIT_USAGE, "usage: image-ops [--same-size] [--format=FMT] "
				"IMAGE SEED COUNT [MIRROR]");
	r.path = argv[1];
	r.random = strtoull(argv[2], NULL, 0) * 2654435761U + 1;
	count = strtoul(argv[3], NULL, 0);
	open_image(&r);
	r.size_max = r.size + GROWTH_MAX;
	r.mirror = calloc(1, r.size_max);
	if (r.mirror == NULL)
		die(1, "out of memory");
	check(&r, image_read(r.image, 0, r.mirror, r.size, &err), &err, "read");
	for (r.op = 1; r.op <= count; r.op++)
		step(&r);
	if (r.size > 0)
		do_read(&r, 0, r.size);
	if (r.has_snapshots)
		compare_snapshots(&r);
	close_image(&r);
	if (argc > 4)
		save_mirror(&r, argv[4]);
	while (r.n_saved > 0)
		free(r.saved[--r.n_saved].mirror);
	free(r.mirror);
	return 0;
}
