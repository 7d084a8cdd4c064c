/* SPDX-License-Identifier: ISC */
/* Making a VHD image, with the geometry that Virtual PC computes. */
#include "lib/image/vpc.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/companions.h"
#include "lib/image/format.h"
#include "lib/image/guid.h"
#include "protocols/vhd.h"

#include <endian.h>
#include <string.h>
#include <time.h>

const struct image_option_spec vpc_create_specs[] = {
	{ "backing_file", "str", NULL, NULL },
	{ "backing_fmt", "str", NULL, NULL },
	{ "size", "size", "Virtual disk size", NULL },
	{ "subformat", "str",
	  "Type of virtual hard disk format. Supported formats are {dynamic "
	  "(default) | fixed} ",
	  NULL },
	{ "force_size", "bool (on/off)",
	  "Force disk size calculation to use the actual size specified, "
	  "rather than using the nearest CHS-based calculation",
	  NULL },
	{ NULL, NULL, NULL, NULL },
};

struct geometry {
	uint32_t cylinders, heads, sectors;
};

enum {
	VHD_TABLE_OFFSET = sizeof(struct vhd_wire_footer) +
			   sizeof(struct vhd_wire_dynamic),
};

struct plan {
	uint64_t sectors;
	struct geometry geometry;
	bool is_fixed, is_size_forced, is_differencing;
	struct vhd_wire_dynamic header; /* of all but fixed ones */
	uint64_t locator_offset;
	uint8_t locator[VPC_LOCATOR_LEN];
};

/* Appendix "CHS Calculation". */
static struct geometry find_geometry(uint64_t total)
{
	struct geometry g = { .heads = 16 };
	uint64_t tracks; /* cylinders times heads */

	if (total > VHD_GEOMETRY_MAX)
		total = VHD_GEOMETRY_MAX;
	if (total >= (uint64_t)VHD_CYLINDERS_MAX * 16 * 63) {
		g.sectors = VHD_SECTORS_TRACK_MAX;
		tracks = total / g.sectors;
	} else {
		g.sectors = 17;
		tracks = total / g.sectors;
		g.heads = (uint32_t)((tracks + 1023) / 1024);
		if (g.heads < 4)
			g.heads = 4;
		if (tracks >= (uint64_t)g.heads * 1024 || g.heads > 16) {
			g.sectors = 31;
			g.heads = 16;
			tracks = total / g.sectors;
		}
		if (tracks >= (uint64_t)g.heads * 1024) {
			g.sectors = 63;
			g.heads = 16;
			tracks = total / g.sectors;
		}
	}
	g.cylinders = (uint32_t)(tracks / g.heads);
	return g;
}

static uint64_t capacity(const struct geometry *g)
{
	return (uint64_t)g->cylinders * g->heads * g->sectors;
}

/* The least geometry that holds the disk; the disk becomes as large as it. */
static int find_sectors(struct plan *p, uint64_t size, struct error *err)
{
	uint64_t wanted = (size + IMAGE_SECTOR - 1) / IMAGE_SECTOR;
	uint64_t least = wanted < VHD_GEOMETRY_MAX ? wanted : VHD_GEOMETRY_MAX;

	p->geometry = (struct geometry){ VHD_CYLINDERS_MAX, VHD_HEADS_MAX,
					 VHD_SECTORS_TRACK_MAX };
	if (!p->is_size_forced) {
		p->geometry = (struct geometry){ 0, 0, 0 };
		for (uint64_t i = 0; least > capacity(&p->geometry); i++)
			p->geometry = find_geometry(least + i);
	}
	p->sectors = capacity(&p->geometry);
	if (p->sectors == VHD_GEOMETRY_MAX)
		p->sectors = wanted;
	if (p->sectors > VHD_SECTORS_MAX)
		return error_set(err, -EFBIG,
				 "The image size is too large for file format "
				 "'vpc'");
	return 0;
}

uint32_t vpc_checksum(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += bytes[i];
	return htobe32(~sum);
}

static void fill_footer(const struct plan *p, struct vhd_wire_footer *f)
{
	*f = (struct vhd_wire_footer){
		.features = htobe32(VHD_FEATURES),
		.version = htobe32(VHD_VERSION),
		.data_offset = p->is_fixed ? htobe64(VHD_NO_OFFSET)
					   : htobe64(sizeof(*f)),
		.timestamp = htobe32((uint32_t)(time(NULL) - VHD_EPOCH)),
		.creator_major = htobe16(5),
		.creator_minor = htobe16(3),
		.original_size = htobe64(p->sectors * IMAGE_SECTOR),
		.size = htobe64(p->sectors * IMAGE_SECTOR),
		.cylinders = htobe16((uint16_t)p->geometry.cylinders),
		.heads = (uint8_t)p->geometry.heads,
		.sectors = (uint8_t)p->geometry.sectors,
		.type = htobe32(p->is_fixed ? VHD_FIXED : VHD_DYNAMIC),
	};
	memcpy(f->cookie, VHD_COOKIE, VHD_COOKIE_LEN);
	memcpy(f->creator, p->is_size_forced ? "qem2" : "qemu", 4);
	memcpy(f->creator_os, "Wi2k", 4);
	guid_generate(f->uuid);
}

static void fill_header(struct plan *p, uint64_t sectors)
{
	const uint32_t block_sectors = VHD_BLOCK_LEN / IMAGE_SECTOR;
	uint32_t n = (uint32_t)((sectors + block_sectors - 1) / block_sectors);
	uint64_t table_len = ((uint64_t)n * 4 + IMAGE_SECTOR - 1) &
			     ~(uint64_t)(IMAGE_SECTOR - 1);

	p->header = (struct vhd_wire_dynamic){
		.data_offset = htobe64(VHD_NO_OFFSET),
		.table_offset = htobe64(VHD_TABLE_OFFSET),
		.version = htobe32(VHD_VERSION),
		.n_entries = htobe32(n),
		.block_len = htobe32(VHD_BLOCK_LEN),
	};
	memcpy(p->header.cookie, VHD_DYNAMIC_COOKIE, VHD_COOKIE_LEN);
	p->header.checksum = vpc_checksum(&p->header, sizeof(p->header));
	p->locator_offset = VHD_TABLE_OFFSET + table_len;
}

/* As large as the parent, by its size: a geometry may be another one's. */
static int take_parent(struct plan *p, const char *path,
		       const struct image_create_options *o,
		       struct vhd_wire_footer *f, struct error *err)
{
	int rc;

	if (p->is_fixed)
		return error_set(err, -EINVAL,
				 "A fixed image has no backing file");
	p->is_differencing = true;
	fill_header(p, o->size / IMAGE_SECTOR);
	f->type = htobe32(VHD_DIFFERENCING);
	memcpy(f->creator, "qem2", 4);
	rc = vpc_name_parent(path, o->backing_path, o->backing_format,
			     p->locator_offset, &p->header, p->locator, f, err);
	if (rc == 0 && be64toh(f->size) != o->size)
		return error_set(err, -EINVAL,
				 "A differencing image is as large as its "
				 "backing file, %llu bytes",
				 (unsigned long long)be64toh(f->size));
	return rc;
}

static int write_table(const struct image_file *file, uint64_t at, uint64_t len)
{
	uint8_t ones[4096];

	memset(ones, 0xff, sizeof(ones));
	while (len > 0) {
		size_t n = len < sizeof(ones) ? (size_t)len : sizeof(ones);
		int rc = image_file_write(file, at, ones, n);

		if (rc < 0)
			return rc;
		at += n;
		len -= n;
	}
	return 0;
}

/* A differencing image's locator stands behind the table. */
static int write_dynamic(const struct plan *p, const struct image_file *file,
			 const struct vhd_wire_footer *f)
{
	uint64_t end = p->locator_offset;
	int rc = write_table(file, VHD_TABLE_OFFSET, end - VHD_TABLE_OFFSET);

	if (rc == 0 && p->is_differencing) {
		rc = image_file_write(file, end, p->locator,
				      sizeof(p->locator));
		end += sizeof(p->locator);
	}
	if (rc == 0)
		rc = image_file_write(file, end, f, sizeof(*f));
	if (rc == 0)
		rc = image_file_write(file, sizeof(*f), &p->header,
				      sizeof(p->header));
	/* Half an image is none. */
	if (rc == 0)
		rc = image_file_write(file, 0, f, sizeof(*f));
	return rc;
}

static int write_fixed(const struct plan *p, const struct image_file *file,
		       const struct vhd_wire_footer *f)
{
	uint64_t end = p->sectors * IMAGE_SECTOR;
	int rc = image_file_truncate(file, end + sizeof(*f));

	if (rc == 0)
		rc = image_file_write_first_block(file, end);
	return rc < 0 ? rc : image_file_write(file, end, f, sizeof(*f));
}

static int take_subformat(const struct image_create_options *o, struct plan *p,
			  struct error *err)
{
	const char *name = image_option_find(o, "subformat");

	p->is_fixed = name != NULL && strcmp(name, "fixed") == 0;
	if (name == NULL || p->is_fixed || strcmp(name, "dynamic") == 0)
		return 0;
	return error_set(err, -EINVAL,
			 "Parameter 'subformat' does not accept value '%s'",
			 name);
}

int vpc_create(const char *path, const struct image_create_options *o,
	       struct error *err)
{
	struct plan plan = { .is_fixed = false };
	struct vhd_wire_footer footer;
	struct image_file *file;
	int rc = image_options_check(o, vpc_create_specs, err);

	if (rc == 0)
		rc = take_subformat(o, &plan, err);
	if (rc == 0)
		rc = image_option_bool(o, "force_size", &plan.is_size_forced,
				       err);
	if (rc == 0)
		rc = find_sectors(&plan, o->size, err);
	if (rc < 0)
		return rc;
	fill_footer(&plan, &footer);
	fill_header(&plan, plan.sectors);
	if (o->backing_path != NULL)
		rc = take_parent(&plan, path, o, &footer, err);
	if (rc < 0)
		return rc;
	footer.checksum = vpc_checksum(&footer, sizeof(footer));
	rc = new_image_open(&file, path, 0, o, err);
	if (rc < 0)
		return rc;
	if (plan.is_fixed)
		rc = write_fixed(&plan, file, &footer);
	else
		rc = write_dynamic(&plan, file, &footer);
	if (rc == 0)
		rc = image_file_flush(file);
	image_file_close(file);
	return rc < 0 ? error_set_errno(err, rc, "Could not write VHD image")
		      : 0;
}
