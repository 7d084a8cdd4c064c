/* SPDX-License-Identifier: ISC */
/*
 * VMDK, VMware's format: a descriptor and the extents that it names, or one
 * file that is all of it. Requests are cut where an extent ends; each extent
 * has a lock and tables of its own.
 *
 * Who writes to a disk gives it a new identity (CID) first: a child that
 * knows the old one can tell that its parent is no more what it was.
 */
#include "lib/image/vmdk.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"
#include "lib/image/guid.h"
#include "lib/image/iov.h"

#include <stdio.h>
#include <string.h>

static int probe(const uint8_t *head, size_t len, uint64_t file_size)
{
	(void)file_size;
	if (len < VMDK_MAGIC_LEN)
		return 0;
	if (memcmp(head, VMDK_MAGIC, VMDK_MAGIC_LEN) == 0 ||
	    memcmp(head, VMDK_COWD_MAGIC, VMDK_MAGIC_LEN) == 0)
		return 100;
	return vmdk_descriptor_probe((const char *)head, len) ? 100 : 0;
}

/* Eight digits stay eight: what follows them must not move. */
static int write_cid(struct vmdk *v, struct error *err)
{
	uint8_t random[GUID_LEN];
	char digits[16];
	uint32_t cid;
	int rc, n = (int)v->descriptor.cid_digits;

	if (n == 0)
		return 0;
	guid_generate(random);
	memcpy(&cid, random, sizeof(cid));
	cid &= n == 8 ? UINT32_MAX - 1 : (UINT32_C(1) << 4 * n) - 1;
	snprintf(digits, sizeof(digits), "%0*x", n, cid);
	rc = image_file_write(v->descriptor_file,
			      v->descriptor_offset + v->descriptor.cid_at,
			      digits, (size_t)n);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not write VMDK descriptor");
	v->descriptor.cid = cid;
	return 0;
}

int vmdk_begin_writing(struct blocks *blocks, struct error *err)
{
	struct vmdk *v = blocks->image->state;
	int rc = 0;

	pthread_mutex_lock(&v->lock);
	if (!v->is_cid_changed)
		rc = write_cid(v, err);
	v->is_cid_changed |= rc == 0;
	pthread_mutex_unlock(&v->lock);
	return rc;
}

static int vmdk_flush(struct image *image, struct error *err)
{
	struct vmdk *v = image->state;
	int rc = image_file_flush(image->file);

	for (unsigned i = 0; rc == 0 && i < v->n_extents; i++)
		if (v->extents[i]->own_file != NULL)
			rc = image_file_flush(v->extents[i]->own_file);
	return rc < 0 ? error_set_errno(err, rc, "Could not flush") : 0;
}

static int vmdk_close(struct image *image, struct error *err)
{
	struct vmdk *v = image->state;
	int close_rc, rc = 0;

	if (v == NULL)
		return 0;
	if (!image->file->is_read_only)
		rc = vmdk_flush(image, err);
	for (unsigned i = 0; rc == 0 && i < v->n_extents; i++)
		rc = blocks_end_append(&v->extents[i]->blocks, err);
	close_rc = vmdk_free(v);
	if (rc == 0 && close_rc < 0)
		rc = error_set_errno(err, close_rc, "Could not close extent");
	image->state = NULL;
	return rc;
}

/* The extent that offset is in, which then counts from its beginning; *len
 * becomes what is left of it there. Offsets are within the disk. */
static struct vmdk_extent *find_extent(const struct vmdk *v, uint64_t *offset,
				       uint64_t *len)
{
	unsigned low = 0, high = v->n_extents;
	struct vmdk_extent *e;
	uint64_t left;

	while (high - low > 1) {
		unsigned middle = low + (high - low) / 2;

		if (v->extents[middle]->blocks.disk_offset <= *offset)
			low = middle;
		else
			high = middle;
	}
	e = v->extents[low];
	*offset -= e->blocks.disk_offset;
	left = e->blocks.size - *offset;
	if (*len > left)
		*len = left;
	return e;
}

/* Is the parent still the disk that this one was made of? */
static int check_parent(struct vmdk *v, const struct image *image,
			struct error *err)
{
	const struct image *backing = image->backing;
	bool is_valid = true;

	if (backing == NULL)
		return 0;
	pthread_mutex_lock(&v->lock);
	if (!v->is_parent_checked && backing->format == image->format) {
		const struct vmdk *parent = backing->state;

		is_valid = parent->descriptor.cid == v->descriptor.parent_cid;
	}
	v->is_parent_checked = is_valid;
	pthread_mutex_unlock(&v->lock);
	return is_valid ? 0
			: error_set(err, -EINVAL,
				    "Backing file '%s' has been changed since",
				    image->backing_path);
}

typedef int extent_io(struct blocks *blocks, uint64_t offset, uint64_t len,
		      struct iov_cursor *cursor, struct error *err);

static int transfer(struct image *image, extent_io *io, uint64_t offset,
		    const struct iovec *iov, unsigned n_iov, struct error *err)
{
	struct iov_cursor cursor = { .iov = iov, .n_iov = n_iov };
	uint64_t left = iov_total(iov, n_iov);
	struct vmdk *v = image->state;
	int rc = check_parent(v, image, err);

	while (rc == 0 && left > 0) {
		uint64_t at = offset, len = left;
		struct vmdk_extent *e = find_extent(v, &at, &len);

		rc = io(&e->blocks, at, len, &cursor, err);
		offset += len;
		left -= len;
	}
	return rc;
}

static int vmdk_readv(struct image *image, uint64_t offset,
		      const struct iovec *iov, unsigned n_iov,
		      struct error *err)
{
	return transfer(image, blocks_read, offset, iov, n_iov, err);
}

static int vmdk_writev(struct image *image, uint64_t offset,
		       const struct iovec *iov, unsigned n_iov,
		       struct error *err)
{
	return transfer(image, blocks_write, offset, iov, n_iov, err);
}

static int vmdk_write_zeroes(struct image *image, uint64_t offset, uint64_t len,
			     unsigned flags, struct error *err)
{
	int rc = check_parent(image->state, image, err);

	while (rc == 0 && len > 0) {
		uint64_t at = offset, n = len;
		struct vmdk_extent *e = find_extent(image->state, &at, &n);

		rc = blocks_zero(&e->blocks, at, n, flags, err);
		offset += n;
		len -= n;
	}
	return rc;
}

static int vmdk_discard(struct image *image, uint64_t offset, uint64_t len,
			struct error *err)
{
	int rc = 0;

	while (rc == 0 && len > 0) {
		uint64_t at = offset, n = len;
		struct vmdk_extent *e = find_extent(image->state, &at, &n);

		rc = blocks_discard(&e->blocks, at, n, err);
		offset += n;
		len -= n;
	}
	return rc;
}

static int vmdk_write_compressed(struct image *image, uint64_t offset,
				 const void *buf, size_t len,
				 const struct image_turn *turn,
				 struct error *err)
{
	const struct iovec iov = { (void *)(uintptr_t)buf, len };
	uint64_t at = offset, n = len;
	struct vmdk_extent *e = find_extent(image->state, &at, &n);
	int rc = check_parent(image->state, image, err);

	if (rc < 0)
		return rc;
	if (!e->is_compressed) {
		rc = image_turn_await(turn);
		return rc < 0 ? rc : vmdk_writev(image, offset, &iov, 1, err);
	}
	return blocks_write_compressed(&e->blocks, at, buf, len, turn, err);
}

static int vmdk_map(struct image *image, uint64_t offset, uint64_t len,
		    unsigned flags, struct image_extent *extent,
		    struct error *err)
{
	uint64_t at = offset;
	struct vmdk_extent *e = find_extent(image->state, &at, &len);
	int rc = blocks_map(&e->blocks, at, len, flags, extent, err);

	if (rc < 0)
		return rc;
	extent->offset = offset;
	extent->host_fd = e->blocks.file->fd;
	extent->has_own_fd = true;
	if (e->own_file != NULL)
		extent->host_path = e->path;
	return 0;
}

static void add_number(struct image_info *info, const char *name,
		       const char *json_name, uint64_t number)
{
	info->rows[info->n_rows++] = (struct image_info_row){
		.name = name,
		.json_name = json_name,
		.kind = IMAGE_INFO_NUMBER,
		.number = number,
	};
}

static int vmdk_get_info(struct image *image, struct image_info *info,
			 struct error *err)
{
	const struct vmdk *v = image->state;
	const struct vmdk_descriptor *d = &v->descriptor;

	info->cluster_size = v->n_extents > 0 ? v->extents[0]->grain_len : 0;
	add_number(info, "cid", "cid", d->cid);
	add_number(info, "parent cid", "parent-cid", d->parent_cid);
	info->rows[info->n_rows++] = (struct image_info_row){
		.name = "create type",
		.json_name = "create-type",
		.kind = IMAGE_INFO_TEXT,
		.text = d->create_type != NULL ? d->create_type
					       : "monolithicSparse",
	};
	info->extents = v->infos;
	info->n_extents = v->n_extents;
	for (unsigned i = 0; i < v->n_extents; i++) {
		uint64_t usage;
		int rc;

		if (info->limits.write_zeroes_alignment <
		    v->extents[i]->grain_len)
			info->limits.write_zeroes_alignment =
				v->extents[i]->grain_len;
		if (v->extents[i]->own_file == NULL)
			continue;
		rc = image_file_usage(v->extents[i]->own_file, &usage);
		if (rc < 0)
			return error_set_errno(err, rc,
					       "Could not get the disk size");
		info->actual_size += usage;
	}
	return 0;
}

static const struct image_file *vmdk_other_file(const struct image *image,
						unsigned index,
						struct image_node *node)
{
	const struct vmdk *v = image->state;

	for (unsigned i = v->n_extents; i-- > 0;) {
		const struct vmdk_extent *e = v->extents[i];

		if (e->own_file == NULL || index-- > 0)
			continue;
		snprintf(node->name, sizeof(node->name), "extents.%u", i);
		node->path = e->path;
		return e->own_file;
	}
	return NULL;
}

static int vmdk_check(struct image *image, struct image_check *check,
		      struct error *err)
{
	const struct vmdk *v = image->state;
	struct blocks_census census = { .n_blocks = 0 };
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < v->n_extents; i++)
		rc = blocks_check(&v->extents[i]->blocks, false, check, &census,
				  err);
	return rc;
}

const struct image_format image_format_vmdk = {
	.name = "vmdk",
	.has_backing = true,
	.probe = probe,
	.open = vmdk_open,
	.close = vmdk_close,
	.create = vmdk_create,
	.create_specs = vmdk_create_specs,
	.readv = vmdk_readv,
	.writev = vmdk_writev,
	.write_zeroes = vmdk_write_zeroes,
	.discard = vmdk_discard,
	.write_compressed = vmdk_write_compressed,
	.flush = vmdk_flush,
	.map = vmdk_map,
	.check = vmdk_check,
	.get_info = vmdk_get_info,
	.other_file = vmdk_other_file,
};
