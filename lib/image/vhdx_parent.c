/* SPDX-License-Identifier: ISC */
/*
 * The parent of a differencing VHDX image: a locator among the metadata
 * (§ 2.6.2.6), which is a list of keys and values. "parent_linkage" is the
 * GUID that the parent's header had for its data when the image was made;
 * "relative_path" is its name. Other paths are Windows's own, and are not
 * followed.
 *
 * Another locator goes to a place of the metadata region that nothing uses,
 * and then the metadata table, through the log, says where.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/chain.h"
#include "lib/image/format.h"
#include "lib/image/utf16.h"
#include "lib/image/vhdx.h"

#include <ctype.h>
#include <endian.h>
#include <stdio.h>
#include <string.h>

enum {
	GUID_TEXT_LEN = 38, /* with braces */
	LOCATOR_READ_MAX = 64 << 10,
	ROOM_END_MAX = 4 << 20, /* where it is looked for */
};

static const uint8_t locator_type[16] = VHDX_GUID_LOCATOR;
static const uint8_t parent_item[16] = VHDX_GUID_PARENT;

/* The places of a GUID's bytes in its text: the first three fields are
 * little-endian. */
static const uint8_t digits[16] = { 7,	5,  3,	1,  12, 10, 17, 15,
				    20, 22, 25, 27, 29, 31, 33, 35 };

static void guid_print(const uint8_t *guid, char text[GUID_TEXT_LEN + 1])
{
	memcpy(text, "{00000000-0000-0000-0000-000000000000}",
	       GUID_TEXT_LEN + 1);
	for (unsigned i = 0; i < sizeof(digits); i++) {
		char pair[3];

		snprintf(pair, sizeof(pair), "%02x", guid[i]);
		memcpy(text + digits[i], pair, 2);
	}
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool guid_parse(const char *text, uint8_t *guid)
{
	if (strlen(text) != GUID_TEXT_LEN)
		return false;
	for (unsigned i = 0; i < sizeof(digits); i++) {
		int high = hex_value((char)tolower(text[digits[i]]));
		int low = hex_value((char)tolower(text[digits[i] + 1]));

		if (high < 0 || low < 0)
			return false;
		guid[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

struct locator {
	uint8_t *data;
	uint32_t len;
	uint16_t n_entries;
};

static int read_locator(const struct vhdx *v, const struct image_file *file,
			struct locator *l, struct error *err)
{
	struct vhdx_wire_locator h;
	int rc;

	if (v->locator.len < sizeof(h) || v->locator.len > LOCATOR_READ_MAX ||
	    v->locator.offset > v->metadata.len - v->locator.len)
		return error_set(err, -EINVAL,
				 "VHDX parent locator is not valid");
	l->len = (uint32_t)v->locator.len;
	l->data = malloc(l->len);
	if (l->data == NULL)
		return -ENOMEM;
	rc = image_file_read(file, v->metadata.offset + v->locator.offset,
			     l->data, l->len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read VHDX metadata");
	memcpy(&h, l->data, sizeof(h));
	l->n_entries = le16toh(h.n_entries);
	if (memcmp(h.type, locator_type, sizeof(h.type)) != 0)
		return error_set(err, -ENOTSUP,
				 "VHDX parent is of a type that is not known");
	if (sizeof(h) + l->n_entries * sizeof(struct vhdx_wire_locator_entry) >
	    l->len)
		return error_set(err, -EINVAL,
				 "VHDX parent locator is not valid");
	return 0;
}

static bool is_inside(const struct locator *l, uint32_t offset, uint16_t len)
{
	return offset <= l->len && len <= l->len - offset;
}

/* The value of a key, to be freed; NULL: there is none that can be read. */
static char *find_value(const struct locator *l, const char *key)
{
	for (uint16_t i = 0; i < l->n_entries; i++) {
		_cleanup_free_ char *name = NULL;
		struct vhdx_wire_locator_entry e;
		char *value;

		memcpy(&e,
		       l->data + sizeof(struct vhdx_wire_locator) +
			       i * sizeof(e),
		       sizeof(e));
		if (!is_inside(l, le32toh(e.key_offset), le16toh(e.key_len)) ||
		    !is_inside(l, le32toh(e.value_offset),
			       le16toh(e.value_len)) ||
		    utf16_read(l->data + le32toh(e.key_offset),
			       le16toh(e.key_len), false, &name) < 0 ||
		    strcmp(name, key) != 0)
			continue;
		if (utf16_read(l->data + le32toh(e.value_offset),
			       le16toh(e.value_len), false, &value) == 0)
			return value;
	}
	return NULL;
}

static int take_linkage(struct vhdx *v, const struct locator *l,
			struct error *err)
{
	static const char *const keys[] = { "parent_linkage",
					    "parent_linkage2" };

	for (unsigned i = 0; i < array_size(keys); i++) {
		_cleanup_free_ char *text = find_value(l, keys[i]);

		if (text == NULL && i > 0) {
			memcpy(v->parent_guids[i], v->parent_guids[0],
			       sizeof(v->parent_guids[0]));
			continue;
		}
		if (text == NULL || !guid_parse(text, v->parent_guids[i]))
			return error_set(err, -EINVAL,
					 "VHDX parent has no valid '%s'",
					 keys[i]);
	}
	return 0;
}

static int take_name(struct image *image, const struct locator *l,
		     struct error *err)
{
	static const char *const keys[] = { "relative_path", "volume_path",
					    "absolute_win32_path" };
	_cleanup_free_ char *name = NULL;

	for (unsigned i = 0; name == NULL && i < array_size(keys); i++)
		name = find_value(l, keys[i]);
	if (name == NULL)
		return error_set(err, -EINVAL, "VHDX parent has no name");
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

int vhdx_read_parent(struct vhdx *v, struct image *image, struct error *err)
{
	struct locator l = { .data = NULL };
	int rc = read_locator(v, image->file, &l, err);

	if (rc == 0)
		rc = take_linkage(v, &l, err);
	if (rc == 0)
		rc = take_name(image, &l, err);
	free(l.data);
	return rc;
}

int vhdx_check_backing(struct image *image, struct error *err)
{
	const struct vhdx *v = image->state;
	const struct vhdx *parent = image->backing->state;

	if (v->logical_sector != parent->logical_sector)
		return error_set(err, -EINVAL,
				 "'%s' has sectors of another size",
				 image->backing_path);
	for (unsigned i = 0; i < array_size(v->parent_guids); i++)
		if (memcmp(v->parent_guids[i], parent->header.data_guid,
			   sizeof(parent->header.data_guid)) == 0)
			return 0;
	return error_set(err, -EINVAL,
			 "'%s' is not the image's parent, or has been changed "
			 "since: its data GUID is another one",
			 image->backing_path);
}

struct writer {
	uint8_t *locator;
	uint32_t at;
	unsigned n;
};

static int add_entry(struct writer *w, const char *key, const char *value)
{
	uint8_t text[2 * UTF16_NAME_MAX];
	struct vhdx_wire_locator_entry e;
	int key_len, value_len;

	key_len = utf16_write(key, false, text);
	memcpy(w->locator + w->at, text, (size_t)key_len);
	e.key_offset = htole32(w->at);
	e.key_len = htole16((uint16_t)key_len);
	w->at += (uint32_t)key_len;
	value_len = utf16_write(value, false, text);
	if (value_len < 0)
		return value_len;
	memcpy(w->locator + w->at, text, (size_t)value_len);
	e.value_offset = htole32(w->at);
	e.value_len = htole16((uint16_t)value_len);
	w->at += (uint32_t)value_len;
	memcpy(w->locator + sizeof(struct vhdx_wire_locator) +
		       w->n++ * sizeof(e),
	       &e, sizeof(e));
	return 0;
}

int vhdx_name_parent(const char *path, const char *name, const char *format,
		     uint8_t locator[VHDX_LOCATOR_LEN], uint32_t *len,
		     struct vhdx_wire_items *items, struct error *err)
{
	struct vhdx_wire_locator h = { .n_entries = htole16(2) };
	struct writer w = {
		.locator = locator,
		.at = sizeof(h) + 2 * sizeof(struct vhdx_wire_locator_entry),
	};
	_cleanup_free_ char *windows = NULL;
	char guid[GUID_TEXT_LEN + 1];
	struct image *parent = NULL;
	const struct vhdx *state;
	int rc = windows_path_write(name, &windows, err);

	if (rc == 0)
		rc = chain_open_parent(&parent, path, name, format, "vhdx",
				       err);
	if (parent == NULL)
		return rc;
	state = parent->state;
	guid_print(state->header.data_guid, guid);
	*items = state->items;
	image_abandon(parent);
	memset(locator, 0, VHDX_LOCATOR_LEN);
	memcpy(h.type, locator_type, sizeof(h.type));
	memcpy(locator, &h, sizeof(h));
	rc = add_entry(&w, "parent_linkage", guid);
	if (rc == 0)
		rc = add_entry(&w, "relative_path", windows);
	*len = w.at;
	return rc < 0 ? error_set(err, -EINVAL,
				  "Backing file name '%s' is no UTF-8, or too "
				  "long",
				  name)
		      : 0;
}

/* Is [at, at + len) of the region free of all items? *index is the parent
 * locator's. Items that reach out of the region are nobody's. */
static int is_free(struct vhdx *v, uint64_t at, uint64_t len, unsigned *index,
		   bool *result)
{
	struct vhdx_wire_metadata_header h;
	int rc = table_read(&v->blocks.table, v->metadata.offset, &h, sizeof(h),
			    false);

	*result = at + len <= v->metadata.len;
	for (unsigned i = 0;
	     rc == 0 && i < le16toh(h.n_entries) && i < VHDX_ENTRIES_MAX; i++) {
		struct vhdx_wire_metadata w;

		rc = table_read(&v->blocks.table,
				v->metadata.offset + sizeof(h) + i * sizeof(w),
				&w, sizeof(w), false);
		if (memcmp(w.guid, parent_item, sizeof(w.guid)) == 0)
			*index = i;
		if (at < (uint64_t)le32toh(w.offset) + le32toh(w.len) &&
		    le32toh(w.offset) < at + len)
			*result = false;
	}
	return rc;
}

static int find_room(struct vhdx *v, uint64_t *at, unsigned *index,
		     struct error *err)
{
	bool is_found = false;
	int rc = 0;

	*at = VHDX_METADATA_TABLE_LEN;
	for (; rc == 0 && *at < ROOM_END_MAX; *at += VHDX_LOCATOR_LEN) {
		rc = is_free(v, *at, VHDX_LOCATOR_LEN, index, &is_found);
		if (is_found)
			break;
	}
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read VHDX metadata");
	return is_found ? 0
			: error_set(err, -ENOSPC,
				    "No space left in the VHDX metadata");
}

int vhdx_write_parent(struct vhdx *v, const char *path, const char *name,
		      const char *format, struct error *err)
{
	uint8_t locator[VHDX_LOCATOR_LEN];
	struct vhdx_wire_metadata entry = { .offset = 0 };
	struct vhdx_wire_items items;
	unsigned index = 0;
	uint64_t at = 0;
	uint32_t len = 0;
	int rc = vhdx_name_parent(path, name, format, locator, &len, &items,
				  err);

	if (rc == 0)
		rc = find_room(v, &at, &index, err);
	if (rc < 0)
		return rc;
	rc = table_write(&v->blocks.table, v->metadata.offset + at, locator,
			 sizeof(locator));
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not write VHDX metadata");
	memcpy(entry.guid, parent_item, sizeof(entry.guid));
	entry.offset = htole32((uint32_t)at);
	entry.len = htole32(len);
	entry.flags = htole32(VHDX_METADATA_REQUIRED);
	rc = vhdx_change(v,
			 v->metadata.offset +
				 sizeof(struct vhdx_wire_metadata_header) +
				 index * sizeof(entry),
			 &entry, sizeof(entry), err);
	return rc < 0 ? rc : vhdx_log_close(v, err);
}

int vhdx_change_backing(struct image *image, const char *name,
			const char *format, struct error *err)
{
	struct vhdx *v = image->state;
	int rc;

	if (!v->has_parent)
		return error_set(err, -ENOTSUP, "The image has no parent");
	if (name == NULL)
		return error_set(err, -ENOTSUP,
				 "A differencing image has a parent");
	pthread_mutex_lock(&v->blocks.lock);
	rc = blocks_begin_writing(&v->blocks, err);
	if (rc == 0)
		rc = vhdx_write_parent(v, image->path, name, format, err);
	pthread_mutex_unlock(&v->blocks.lock);
	return rc;
}
