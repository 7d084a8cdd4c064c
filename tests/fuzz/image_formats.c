/* SPDX-License-Identifier: ISC */
/*
 * Images of each format, as it is made and with some data in it, with some
 * bytes changed: opened for writing and asked for all that programs ask for.
 * Most of an image is nothing that anybody looks at, so that the input says
 * what changes where:
 *
 *	format, choices, { place (4), length (1), bytes }...
 *
 * Checksums of VHDX and VHD are made right again, or all would end there.
 */
#include "lib/base/error.h"
#include "lib/image/crc32c.h"
#include "lib/image/image.h"
#include "lib/image/vpc.h"
#include "protocols/vhdx.h"
#include "tests/support/image_walk.h"

#include <endian.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	FILE_LEN_MAX = 1 << 30,
	PAGE = 4096,
	DISK_LEN = 3 << 20,
	/* What a geometry of VHD can be: 4 heads, 17 sectors. */
	PARENT_DISK_LEN = 90 * 4 * 17 * 512,
	PAGES_MAX = 4096,
	VHDX_LOG_AT = VHDX_MIB,
};

static struct template
{
	const char *format;
	struct image_option options[2];
	unsigned n_options;
	bool is_left_open; /* copied before it is closed */
	bool has_parent;   /* which nobody opens */

	uint64_t len;
	struct {
		uint64_t offset;
		uint8_t data[PAGE];
	} * pages;
	unsigned n_pages;
}
templates[] = {
	{ "vdi", { { 0 } }, 0 },
	{ "vdi", { { "static", "on" } }, 1 },
	{ "vpc", { { 0 } }, 0 },
	{ "vpc", { { "subformat", "fixed" } }, 1 },
	{ "vmdk", { { 0 } }, 0 },
	{ "vmdk", { { "zeroed_grain", "on" } }, 1 },
	{ "vmdk", { { "subformat", "streamOptimized" } }, 1 },
	{ "vhdx", { { "block_size", "1048576" } }, 1 },
	{ "vhdx", { { "block_size", "1048576" } }, 1, .is_left_open = true },
	{ "parallels", { { "cluster_size", "65536" } }, 1 },
	{ "parallels",
	  { { "cluster_size", "65536" } },
	  1,
	  .is_left_open = true },
	{ "qed", { { "cluster_size", "4096" } }, 1 },
	{ "qed", { { "cluster_size", "4096" } }, 1, .is_left_open = true },
	{ "qcow", { { 0 } }, 0 },
	{ "vpc", { { 0 } }, 0, .has_parent = true },
	{ "vhdx", { { "block_size", "1048576" } }, 1, .has_parent = true },
	{ "vhdx",
	  { { "block_size", "1048576" } },
	  1,
	  .has_parent = true,
	  .is_left_open = true },
};

static void load(struct template *t, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t at = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		abort();
	t->len = (uint64_t)st.st_size;
	t->pages = calloc(PAGES_MAX, sizeof(*t->pages));
	while (t->n_pages < PAGES_MAX && (at = lseek(fd, at, SEEK_DATA)) >= 0) {
		static const uint8_t zero[PAGE];
		uint8_t *data = t->pages[t->n_pages].data;

		at &= ~(off_t)(PAGE - 1);
		if (pread(fd, data, PAGE, at) < 0)
			abort();
		t->pages[t->n_pages].offset = (uint64_t)at;
		if (memcmp(data, zero, PAGE) != 0)
			t->n_pages++;
		at += PAGE;
	}
	close(fd);
}

/* The name is relative, as all that are in such images. */
static void make_parent(struct image_create_options *how, char *path)
{
	struct image_create_options parent = *how;
	int fd = mkstemp(path);

	parent.options = NULL;
	parent.n_options = 0;
	if (fd < 0 || image_create(path, &parent, NULL) < 0)
		abort();
	close(fd);
	how->backing_path = strrchr(path, '/') + 1;
	how->backing_format = how->format;
	how->is_backing_unchecked = true;
}

static void make(struct template *t)
{
	struct image_create_options how = {
		.format = t->format,
		.size = t->has_parent ? PARENT_DISK_LEN : DISK_LEN,
		.has_size = true,
		.options = t->options,
		.n_options = t->n_options,
	};
	const struct image_open_options open_how = { .format = t->format };
	char path[] = "/tmp/image_formats.XXXXXX";
	char parent[] = "/tmp/image_formats.XXXXXX";
	struct image *image;
	uint8_t data[5000];
	int fd = mkstemp(path);

	if (t->has_parent)
		make_parent(&how, parent);
	memset(data, 0x33, sizeof(data));
	if (fd < 0 || image_create(path, &how, NULL) < 0 ||
	    image_open(&image, path, &open_how, NULL) < 0 ||
	    image_write(image, 1000, data, sizeof(data), NULL) < 0 ||
	    image_write(image, DISK_LEN / 2, data, sizeof(data), NULL) < 0)
		abort();
	image_write_compressed(image, DISK_LEN - image_cluster_size(image),
			       data,
			       image_cluster_size(image) < sizeof(data)
				       ? image_cluster_size(image)
				       : sizeof(data),
			       NULL, NULL);
	if (t->is_left_open)
		load(t, path);
	image_close(image, NULL);
	if (!t->is_left_open)
		load(t, path);
	close(fd);
	unlink(path);
	unlink(parent);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const struct rlimit limit = { FILE_LEN_MAX, FILE_LEN_MAX };

	(void)argc;
	(void)argv;
	for (unsigned i = 0; i < sizeof(templates) / sizeof(templates[0]); i++)
		make(&templates[i]);
	return setrlimit(RLIMIT_FSIZE, &limit);
}

static void fix(int fd, uint64_t offset, size_t len)
{
	static uint8_t buf[VHDX_REGION_TABLE_LEN];
	uint32_t crc;

	if (pread(fd, buf, len, (off_t)offset) != (ssize_t)len)
		return;
	memset(buf + 4, 0, 4);
	crc = htole32(crc32c(0, buf, len));
	if (pwrite(fd, &crc, sizeof(crc), (off_t)offset + 4) < 0)
		abort();
}

static void fix_checksums(int fd)
{
	fix(fd, VHDX_HEADER_1, VHDX_HEADER_LEN);
	fix(fd, VHDX_HEADER_2, VHDX_HEADER_LEN);
	fix(fd, VHDX_REGION_1, VHDX_REGION_TABLE_LEN);
	fix(fd, VHDX_REGION_2, VHDX_REGION_TABLE_LEN);
	for (unsigned i = 0; i < 4; i++)
		fix(fd, VHDX_LOG_AT + i * 2 * PAGE, 2 * (size_t)PAGE);
}

static void fix_footer(int fd, off_t offset)
{
	struct vhd_wire_footer f;

	if (pread(fd, &f, sizeof(f), offset) != sizeof(f))
		return;
	f.checksum = 0;
	f.checksum = vpc_checksum(&f, sizeof(f));
	if (pwrite(fd, &f, sizeof(f), offset) < 0)
		abort();
}

/* An image may be without one at the beginning. */
static void fix_footers(int fd, uint64_t len)
{
	char cookie[VHD_COOKIE_LEN];

	if (pread(fd, cookie, sizeof(cookie), 0) == sizeof(cookie) &&
	    memcmp(cookie, VHD_COOKIE, sizeof(cookie)) == 0)
		fix_footer(fd, 0);
	fix_footer(fd, (off_t)(len - sizeof(struct vhd_wire_footer)));
}

static int make_file(const struct template *t, const uint8_t *data, size_t len)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)t->len) < 0)
		abort();
	for (unsigned i = 0; i < t->n_pages; i++) {
		uint64_t left = t->len - t->pages[i].offset;

		if (pwrite(fd, t->pages[i].data, left < PAGE ? left : PAGE,
			   (off_t)t->pages[i].offset) < 0)
			abort();
	}
	while (len > 5) {
		uint32_t place;
		size_t n = data[4];

		memcpy(&place, data, sizeof(place));
		data += 5;
		len -= 5;
		if (n > len)
			n = len;
		if (pwrite(fd, data, n, place % (uint32_t)t->len) < 0)
			abort();
		data += n;
		len -= n;
	}
	if (strcmp(t->format, "vhdx") == 0)
		fix_checksums(fd);
	if (strcmp(t->format, "vpc") == 0)
		fix_footers(fd, t->len);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct template *t;
	struct image_open_options how = { .may_open = walk_deny };
	struct image *image;

	if (len < 2)
		return 0;
	signal(SIGXFSZ, SIG_IGN); /* libFuzzer takes it after the start */
	t = &templates[data[0] % (sizeof(templates) / sizeof(templates[0]))];
	how.format = t->format;
	if (data[1] & WALK_READ_ONLY)
		how.flags |= IMAGE_READ_ONLY;
	if (data[1] & WALK_CHECK)
		how.flags |= IMAGE_CHECK;
	if (t->has_parent)
		how.flags |= IMAGE_NO_BACKING;
	if (image_open_fd(&image, make_file(t, data + 2, len - 2), "image",
			  &how, NULL) < 0)
		return 0;
	walk_image(image, data[1]);
	image_close(image, NULL);
	return 0;
}
