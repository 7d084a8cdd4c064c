/* SPDX-License-Identifier: ISC */
/*
 * Opening a VMDK disk: its descriptor, from a file of its own or from within
 * the disk's, and the extents that this names. One in another folder than the
 * descriptor's could be any file, which whoever has the disk converted would
 * be shown: the caller has a say in that, as with a backing file.
 */
#include "lib/image/vmdk.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Of no meaning, and such that no disk has many. */
#define FLAT_BLOCK_LEN (UINT64_C(1) << 40)

/* A block is all of the extent: what the file has of it is there, if not in
 * sectors that it has no more than a part of. */
static int cut_run(struct blocks *blocks, struct block_run *run,
		   struct error *err)
{
	if (blocks_reaches(blocks, run->host_offset + run->len))
		return 0;
	if (blocks->known_len >= run->host_offset + VMDK_SECTOR)
		run->len = (blocks->known_len - run->host_offset) &
			   ~(uint64_t)(VMDK_SECTOR - 1);
	return blocks_check_end(blocks, run->host_offset, VMDK_SECTOR, err);
}

static int flat_find(struct blocks *blocks, uint64_t offset, bool nowait,
		     struct block_run *run, struct error *err)
{
	const struct vmdk_extent *e =
		container_of(blocks, struct vmdk_extent, blocks);

	(void)nowait;
	if (e->type == VMDK_EXTENT_ZERO) {
		run->kind = BLOCK_ZERO;
		return 0;
	}
	if (e->own_file == NULL)
		return error_set(err, -EACCES,
				 "VMDK extent '%s' is in another folder, and "
				 "was not opened",
				 e->path);
	run->kind = BLOCK_DATA;
	run->host_offset = e->flat_offset + offset;
	if (run->len > blocks->size - offset)
		run->len = blocks->size - offset;
	return cut_run(blocks, run, err);
}

/* All of a flat extent is there; an extent of zeroes has nowhere to write. */
static int flat_allocate(struct blocks *blocks, uint64_t index,
			 struct block_place *place, struct error *err)
{
	(void)blocks;
	(void)index;
	(void)place;
	return error_set(err, -EIO, "VMDK extent of zeroes cannot be written");
}

static const struct blocks_ops flat_ops = {
	.find = flat_find,
	.begin_writing = vmdk_begin_writing,
	.allocate = flat_allocate,
};

/* Its blocks are not set up, or no longer. */
static int extent_drop(struct vmdk_extent *e)
{
	int rc = e->is_borrowed ? 0 : image_file_close(e->own_file);

	free(e->path);
	free(e);
	return rc;
}

static int extent_free(struct vmdk_extent *e)
{
	blocks_deinit(&e->blocks);
	return extent_drop(e);
}

int vmdk_free(struct vmdk *v)
{
	int result = 0;

	for (unsigned i = 0; i < v->n_extents; i++) {
		int rc = extent_free(v->extents[i]);

		if (result == 0)
			result = rc;
	}
	free(v->extents);
	free(v->infos);
	vmdk_descriptor_deinit(&v->descriptor);
	pthread_mutex_destroy(&v->lock);
	free(v);
	return result;
}

/* The text at an offset of a file, of at most max bytes. */
static int load_descriptor(struct vmdk *v, struct image_file *file,
			   uint64_t offset, uint64_t max, bool is_embedded,
			   struct error *err)
{
	_cleanup_free_ char *text = NULL;
	uint64_t size;
	int rc = image_file_size(file, &size);

	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not get the file's size");
	if (size == 0)
		return error_set(err, -EINVAL,
				 "File is too small, not a valid image");
	if (offset > size)
		return error_set(err, -EINVAL,
				 "VMDK descriptor is behind the file's end");
	if (max > size - offset)
		max = size - offset;
	if (max > VMDK_DESCRIPTOR_MAX)
		max = VMDK_DESCRIPTOR_MAX;
	text = malloc(max + 1);
	if (text == NULL)
		return -ENOMEM;
	rc = image_file_read(file, offset, text, max);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read VMDK descriptor");
	text[max] = '\0';
	v->descriptor_file = file;
	v->descriptor_offset = offset;
	vmdk_descriptor_deinit(&v->descriptor);
	return vmdk_descriptor_parse(&v->descriptor, text, max, is_embedded,
				     err);
}

/* Takes the extent over, also on failure. */
static int add_extent(struct vmdk *v, struct image *image,
		      struct vmdk_extent *e, struct error *err)
{
	struct vmdk_extent **extents = reallocarray(
		v->extents, v->n_extents + 1, sizeof(struct vmdk_extent *));

	if (extents == NULL) {
		extent_drop(e);
		return -ENOMEM;
	}
	e->blocks.disk_offset = image->size;
	blocks_init(&e->blocks);
	v->extents = extents;
	v->extents[v->n_extents++] = e;
	if (e->blocks.size > (uint64_t)INT64_MAX - image->size)
		return error_set(err, -EFBIG, "Image is too big");
	image->size += e->blocks.size;
	if (e->grain_len > image->cluster_size)
		image->cluster_size = (uint32_t)e->grain_len;
	return 0;
}

static int open_embedded(struct vmdk *v, struct image *image, struct error *err)
{
	struct vmdk_extent *e = calloc(1, sizeof(*e));
	int rc;

	if (e == NULL)
		return -ENOMEM;
	e->type = VMDK_EXTENT_SPARSE;
	e->is_embedded = true;
	e->path = strdup(image->path);
	rc = e->path == NULL ? -ENOMEM
			     : vmdk_sparse_open(e, image, image->file, err);
	if (rc < 0) {
		free(e->path);
		free(e);
		return rc;
	}
	return add_extent(v, image, e, err);
}

/* Names are plain paths, also one that would be no file's on a command line. */
static char *path_of(const struct image *image, const char *name)
{
	char *plain, *path = image_path_beside(image->path, name);

	if (path == NULL || !image_name_is_null(path))
		return path;
	if (asprintf(&plain, "./%s", path) < 0)
		plain = NULL;
	free(path);
	return plain;
}

/* A file that is only read is opened once: thousands of locks on one file take
 * the kernel seconds. NULL: not yet. */
static struct image_file *find_open(const struct vmdk *v, const char *path)
{
	for (unsigned i = v->n_extents; i-- > 0;)
		if (v->extents[i]->own_file != NULL &&
		    strcmp(v->extents[i]->path, path) == 0)
			return v->extents[i]->own_file;
	return NULL;
}

/* Not opened: 1. */
static int open_own_file(const struct vmdk *v, struct vmdk_extent *e,
			 const struct image *image,
			 const struct vmdk_line *line, struct error *err)
{
	unsigned flags = image_other_file_flags(image);
	bool is_elsewhere = strchr(line->name, '/') != NULL;

	if (is_elsewhere && image->flags & IMAGE_ALONE)
		return 1;
	if (is_elsewhere && image->may_open != NULL &&
	    !image->may_open(image->policy_context, e->path))
		return error_set(err, -EACCES,
				 "VMDK extent '%s' is not allowed", e->path);
	if (flags & IMAGE_FILE_READ_ONLY)
		e->own_file = find_open(v, e->path);
	e->is_borrowed = e->own_file != NULL;
	return e->is_borrowed
		       ? 0
		       : image_file_open(&e->own_file, e->path, flags, err);
}

static int open_line(const struct vmdk *v, struct vmdk_extent *e,
		     struct image *image, const struct vmdk_line *line,
		     struct error *err)
{
	int rc;

	e->type = line->type;
	e->blocks.image = image;
	e->blocks.ops = &flat_ops;
	e->blocks.block_len = FLAT_BLOCK_LEN;
	e->blocks.size = line->n_sectors * VMDK_SECTOR;
	e->blocks.file = image->file;
	if (line->type == VMDK_EXTENT_ZERO)
		return 0;
	rc = image_folder_check(image, line->name, err);
	if (rc < 0)
		return error_prefix(err, rc,
				    "Cannot use relative paths with VMDK "
				    "descriptor file '%s'",
				    image->path);
	e->path = path_of(image, line->name);
	if (e->path == NULL)
		return -ENOMEM;
	rc = open_own_file(v, e, image, line, err);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	if (line->type == VMDK_EXTENT_SPARSE ||
	    line->type == VMDK_EXTENT_VMFS_SPARSE)
		return vmdk_sparse_open(e, image, e->own_file, err);
	e->blocks.file = e->own_file;
	e->blocks.has_file_holes = e->blocks.is_whole = true;
	e->flat_offset = line->offset * VMDK_SECTOR;
	if (e->flat_offset + e->blocks.size > INT64_MAX)
		return error_set(err, -EFBIG,
				 "VMDK extent '%s' is larger than any file",
				 line->name);
	return 0;
}

static int open_lines(struct vmdk *v, struct image *image, struct error *err)
{
	for (unsigned i = 0; i < v->descriptor.n_lines; i++) {
		struct vmdk_extent *e = calloc(1, sizeof(*e));
		int rc;

		if (e == NULL)
			return -ENOMEM;
		rc = open_line(v, e, image, &v->descriptor.lines[i], err);
		if (rc < 0) {
			extent_drop(e);
			return rc;
		}
		rc = add_extent(v, image, e, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int check_create_type(const struct vmdk *v, struct error *err)
{
	static const char *const types[] = {
		"monolithicFlat",     "vmfs",
		"vmfsSparse",	      "twoGbMaxExtentSparse",
		"twoGbMaxExtentFlat",
	};
	const char *type = v->descriptor.create_type;

	if (type == NULL)
		return error_set(err, -EINVAL, "invalid VMDK image descriptor");
	for (unsigned i = 0; i < array_size(types); i++)
		if (strcmp(types[i], type) == 0)
			return 0;
	return error_set(err, -ENOTSUP, "Unsupported image type '%s'", type);
}

/* A hosted sparse header may hold the descriptor only, and no disk. */
static int find_descriptor(const struct vmdk_wire_header *w, bool *has_disk,
			   uint64_t *offset, uint64_t *len, struct error *err)
{
	uint64_t at = le64toh(w->descriptor_offset);

	*has_disk = w->capacity != 0 || at == 0;
	*offset = VMDK_SECTOR;
	*len = (uint64_t)VMDK_DESCRIPTOR_SECTORS * VMDK_SECTOR;
	if (memcmp(w->magic, VMDK_COWD_MAGIC, VMDK_MAGIC_LEN) == 0) {
		*has_disk = true;
		return 0;
	}
	if (at == 0)
		return 0;
	if (at > INT64_MAX / VMDK_SECTOR)
		return error_set(err, -EINVAL,
				 "VMDK descriptor is behind the file's end");
	*offset = at * VMDK_SECTOR;
	*len = le64toh(w->descriptor_sectors);
	*len = *len > VMDK_DESCRIPTOR_MAX / VMDK_SECTOR ? VMDK_DESCRIPTOR_MAX
							: *len * VMDK_SECTOR;
	return 0;
}

static int open_all(struct vmdk *v, struct image *image, struct error *err)
{
	struct vmdk_wire_header w;
	uint64_t offset = 0, len = VMDK_DESCRIPTOR_MAX;
	bool has_disk = false;
	int rc = vmdk_sparse_read_header(image->file, &w, err);

	if (rc == 0 && (memcmp(w.magic, VMDK_MAGIC, VMDK_MAGIC_LEN) == 0 ||
			memcmp(w.magic, VMDK_COWD_MAGIC, VMDK_MAGIC_LEN) == 0))
		rc = find_descriptor(&w, &has_disk, &offset, &len, err);
	if (rc == 0 && has_disk)
		rc = open_embedded(v, image, err);
	/* The extents may be of a kind that makes no sense of them. */
	if (rc == 0)
		rc = load_descriptor(v, image->file, offset, len, true, err);
	if (rc < 0 || has_disk)
		return rc;
	rc = check_create_type(v, err);
	if (rc == 0)
		rc = load_descriptor(v, image->file, offset, len, false, err);
	return rc < 0 ? rc : open_lines(v, image, err);
}

static int take_parent(const struct vmdk *v, struct image *image)
{
	if (v->descriptor.parent_name == NULL)
		return 0;
	image->backing_name = strdup(v->descriptor.parent_name);
	image->backing_format = strdup("vmdk");
	return image->backing_name == NULL || image->backing_format == NULL
		       ? -ENOMEM
		       : 0;
}

static int fill_infos(struct vmdk *v)
{
	v->infos = calloc(v->n_extents + 1, sizeof(*v->infos));
	if (v->infos == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < v->n_extents; i++) {
		const struct vmdk_extent *e = v->extents[i];

		v->infos[i] = (struct image_info_extent){
			.path = e->path != NULL ? e->path : "",
			.format = e->is_embedded
					  ? ""
					  : vmdk_extent_type_name(e->type),
			.size = e->blocks.size,
			.cluster_size = e->grain_len,
			.is_compressed = e->is_compressed,
		};
	}
	return 0;
}

int vmdk_open(struct image *image, struct error *err)
{
	struct vmdk *v = calloc(1, sizeof(*v));
	int rc;

	if (v == NULL)
		return -ENOMEM;
	pthread_mutex_init(&v->lock, NULL);
	image->cluster_size = 1;
	rc = open_all(v, image, err);
	if (rc == 0)
		rc = take_parent(v, image);
	if (rc == 0)
		rc = fill_infos(v);
	if (rc < 0) {
		vmdk_free(v);
		return rc;
	}
	image->is_packed = v->n_extents == 1 && v->extents[0]->is_compressed;
	image->state = v;
	return 0;
}
