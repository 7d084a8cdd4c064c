/* SPDX-License-Identifier: ISC */
/*
 * The parent of a differencing VHD image: its unique ID, and its name in up
 * to eight locators, each for a platform, and in the header itself
 * (§ "Dynamic Disk Header Format"). Of these, what is relative to the image's
 * own folder is followed: Windows's "W2ru", or else the header's.
 *
 * Another name goes to a place of its own, and the header, in one write, says
 * where; the old one's place is lost.
 */
#include "lib/image/vpc.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/chain.h"
#include "lib/image/format.h"
#include "lib/image/utf16.h"

#include <endian.h>
#include <string.h>
#include <sys/stat.h>

/* NULL, or an error: there is no such name that can be read. */
static int read_locator(const struct vpc *vpc, const struct image_file *file,
			uint32_t platform, char **name)
{
	uint8_t data[2 * UTF16_NAME_MAX];

	for (unsigned i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_wire_locator *w = &vpc->dynamic.locators[i];
		uint32_t len = be32toh(w->len);
		int rc;

		if (be32toh(w->platform) != platform)
			continue;
		if (len > sizeof(data))
			return -EINVAL;
		rc = image_file_read(file, be64toh(w->offset), data, len);
		return rc < 0 ? rc : utf16_read(data, len, false, name);
	}
	return 0;
}

int vpc_read_parent(const struct vpc *vpc, struct image *image,
		    struct error *err)
{
	_cleanup_free_ char *name = NULL;
	int rc = read_locator(vpc, image->file, VHD_PLATFORM_W2RU, &name);

	if (rc == 0 && name == NULL)
		rc = utf16_read(vpc->dynamic.parent_name,
				sizeof(vpc->dynamic.parent_name), true, &name);
	if (rc == -EINVAL)
		return error_set(err, rc, "The parent's name cannot be read");
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read the parent's name");
	if (!windows_path_is_absolute(name))
		windows_path_read(name);
	else if (!(image->flags & IMAGE_NO_BACKING))
		return error_set(err, -ENOTSUP,
				 "Parent '%s' is named by an absolute path of "
				 "Windows",
				 name);
	image->backing_format = strdup(image->format->name);
	if (image->backing_format == NULL)
		return -ENOMEM;
	image->backing_name = steal_ptr(&name);
	return 0;
}

int vpc_check_backing(struct image *image, struct error *err)
{
	const struct vpc *vpc = image->state;
	const struct vpc *parent = image->backing->state;

	if (memcmp(vpc->dynamic.parent_uuid, parent->footer.uuid,
		   sizeof(parent->footer.uuid)) == 0)
		return 0;
	return error_set(err, -EINVAL,
			 "'%s' is not the image's parent: its unique ID is "
			 "another one",
			 image->backing_path);
}

/* The last component, as other implementations have it there. */
static int fill_name(struct vhd_wire_dynamic *header, const char *name)
{
	const char *slash = strrchr(name, '/');
	uint8_t data[2 * UTF16_NAME_MAX];
	int len = utf16_write(slash != NULL ? slash + 1 : name, true, data);

	if (len < 0)
		return len;
	memset(header->parent_name, 0, sizeof(header->parent_name));
	/* One that does not fit is in the locator alone. */
	if ((size_t)len < sizeof(header->parent_name))
		memcpy(header->parent_name, data, (size_t)len);
	return 0;
}

static int fill_locator(struct vhd_wire_dynamic *header, const char *name,
			uint64_t offset, uint8_t *locator, struct error *err)
{
	_cleanup_free_ char *path = NULL;
	int len = windows_path_write(name, &path, err);

	if (len < 0)
		return len;
	memset(locator, 0, VPC_LOCATOR_LEN);
	len = utf16_write(path, false, locator);
	if (len < 0 || fill_name(header, name) < 0)
		return error_set(err, -EINVAL,
				 "Backing file name '%s' is no UTF-8, or too "
				 "long",
				 name);
	memset(header->locators, 0, sizeof(header->locators));
	header->locators[0] = (struct vhd_wire_locator){
		.platform = htobe32(VHD_PLATFORM_W2RU),
		.space = htobe32(VPC_LOCATOR_LEN / IMAGE_SECTOR),
		.len = htobe32((uint32_t)len),
		.offset = htobe64(offset),
	};
	return 0;
}

int vpc_name_parent(const char *path, const char *name, const char *format,
		    uint64_t locator_offset, struct vhd_wire_dynamic *header,
		    uint8_t locator[VPC_LOCATOR_LEN],
		    struct vhd_wire_footer *footer, struct error *err)
{
	struct image *parent = NULL;
	const struct vpc *state;
	struct stat st = { .st_mtime = 0 };
	int rc = chain_open_parent(&parent, path, name, format, "vpc", err);

	if (parent == NULL)
		return rc;
	state = parent->state;
	if (parent->file->fd >= 0 && fstat(parent->file->fd, &st) < 0)
		rc = -errno;
	if (rc == 0)
		rc = fill_locator(header, name, locator_offset, locator, err);
	memcpy(header->parent_uuid, state->footer.uuid,
	       sizeof(header->parent_uuid));
	header->parent_timestamp = htobe32((uint32_t)(st.st_mtime - VHD_EPOCH));
	header->checksum = 0;
	header->checksum = vpc_checksum(header, sizeof(*header));
	if (footer != NULL) {
		footer->size = htobe64(parent->size);
		footer->original_size = footer->size;
		footer->cylinders = state->footer.cylinders;
		footer->heads = state->footer.heads;
		footer->sectors = state->footer.sectors;
	}
	image_abandon(parent);
	return rc;
}

static int rewrite(struct vpc *vpc, const struct vhd_wire_dynamic *header,
		   const uint8_t *locator, struct error *err)
{
	const struct image_file *file = vpc->blocks.file;
	int rc = vpc_make_room(vpc, VPC_LOCATOR_LEN, err);

	if (rc < 0)
		return rc;
	rc = image_file_write(file, vpc->end, locator, VPC_LOCATOR_LEN);
	if (rc == 0)
		rc = image_file_flush(file);
	if (rc == 0)
		rc = image_file_write(file, be64toh(vpc->footer.data_offset),
				      header, sizeof(*header));
	if (rc == 0)
		rc = image_file_flush(file);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not write the dynamic header");
	vpc->dynamic = *header;
	vpc->end += VPC_LOCATOR_LEN;
	return 0;
}

int vpc_change_backing(struct image *image, const char *name,
		       const char *format, struct error *err)
{
	struct vpc *vpc = image->state;
	struct vhd_wire_dynamic header = vpc->dynamic;
	uint8_t locator[VPC_LOCATOR_LEN];
	int rc;

	if (!vpc->is_differencing)
		return error_set(err, -ENOTSUP, "The image has no parent");
	if (name == NULL)
		return error_set(err, -ENOTSUP,
				 "A differencing image has a parent");
	pthread_mutex_lock(&vpc->blocks.lock);
	rc = blocks_begin_writing(&vpc->blocks, err);
	if (rc == 0)
		rc = vpc_name_parent(image->path, name, format, vpc->end,
				     &header, locator, NULL, err);
	if (rc == 0)
		rc = rewrite(vpc, &header, locator, err);
	pthread_mutex_unlock(&vpc->blocks.lock);
	return rc;
}
