/* SPDX-License-Identifier: ISC */
/* info for programs. */
#include "vm-img/encryption.h"
#include "vm-img/info.h"
#include "vm-img/info_bitmaps.h"
#include "vm-img/json.h"

enum {
	NS_PER_S = 1000000000,
};

/* QEMU's dictionaries keep their own order, and so do these. */
static void json_snapshot(struct json *json,
			  const struct image_snapshot_info *s)
{
	json_open(json, NULL, '{');
	if (s->icount != UINT64_MAX)
		json_number(json, "icount", s->icount);
	json_number(json, "vm-clock-nsec", s->vm_clock_nsec % NS_PER_S);
	json_text(json, "name", s->name);
	json_number(json, "date-sec", s->date_sec);
	json_number(json, "date-nsec", s->date_nsec);
	json_number(json, "vm-clock-sec", s->vm_clock_nsec / NS_PER_S);
	json_text(json, "id", s->id);
	json_number(json, "vm-state-size", s->vm_state_size);
	json_close(json, '}');
}

static void json_extents(struct json *json, const struct image_info *info)
{
	json_open(json, "extents", '[');
	for (unsigned i = 0; i < info->n_extents; i++) {
		const struct image_info_extent *e = &info->extents[i];

		json_open(json, NULL, '{');
		if (e->is_compressed)
			json_bool(json, "compressed", true);
		json_number(json, "virtual-size", e->size);
		json_text(json, "filename", e->path);
		if (e->cluster_size > 0)
			json_number(json, "cluster-size", e->cluster_size);
		json_text(json, "format", e->format);
		json_close(json, '}');
	}
	json_close(json, ']');
}

static void json_rows(struct json *json, const char *format,
		      const struct image_info *info)
{
	json_open(json, "format-specific", '{');
	json_text(json, "type", format);
	json_open(json, "data", '{');
	for (unsigned i = 0; i < info->n_rows; i++) {
		const struct image_info_row *row = &info->rows[i];

		if (info_is_middle(row))
			info_bitmaps_json(json, info);
		switch (row->kind) {
		case IMAGE_INFO_TEXT:
			json_text(json, row->json_name, row->text);
			break;
		case IMAGE_INFO_NUMBER:
			json_number(json, row->json_name, row->number);
			break;
		case IMAGE_INFO_BOOL:
			json_bool(json, row->json_name, row->number != 0);
			break;
		}
		if (info_is_before_encryption(info, i))
			encryption_json(json, info);
	}
	if (info->n_rows == 0)
		encryption_json(json, info);
	if (info->n_extents > 0)
		json_extents(json, info);
	json_close(json, '}');
	json_close(json, '}');
}

static void json_limits(struct json *json, const struct image_limits *limits)
{
	struct info_limit list[INFO_LIMITS];

	info_limits_list(limits, list);
	json_open(json, "limits", '{');
	for (unsigned i = 0; i < INFO_LIMITS; i++)
		if (list[i].number > 0)
			json_number(json, list[i].json_name, list[i].number);
	json_close(json, '}');
}

/* An export has neither a size on disk nor anything to be left dirty. */
static void json_node(struct json *json, const struct image_node *node,
		      const struct info_wishes *wishes)
{
	bool is_file = node->actual_size != UINT64_MAX;

	json_open(json, NULL, '{');
	json_text(json, "name", node->name);
	json_open(json, "info", '{');
	if (wishes->limits)
		json_limits(json, &node->limits);
	json_open(json, "children", '[');
	json_close(json, ']');
	json_number(json, "virtual-size", node->size);
	json_text(json, "filename", node->path);
	json_text(json, "format", node->protocol);
	if (is_file) {
		json_number(json, "actual-size", node->actual_size);
		json_open(json, "format-specific", '{');
		json_text(json, "type", "file");
		json_open(json, "data", '{');
		if (node->extent_size_hint > 0)
			json_number(json, "extent-size-hint",
				    node->extent_size_hint);
		json_close(json, '}');
		json_close(json, '}');
		json_bool(json, "dirty-flag", false);
	}
	json_close(json, '}');
	json_close(json, '}');
}

static void json_nodes(struct json *json, struct image *image,
		       const struct info_wishes *wishes)
{
	struct image_node node;

	json_open(json, "children", '[');
	for (unsigned i = 0; image_get_node(image, i, &node, NULL) == 0; i++)
		json_node(json, &node, wishes);
	json_close(json, ']');
}

void info_json(struct json *json, struct image *image,
	       const struct image_info *info, const struct info_wishes *wishes)
{
	json_open(json, NULL, '{');
	if (wishes->limits)
		json_limits(json, &info->limits);
	if (info->backing_format != NULL)
		json_text(json, "backing-filename-format",
			  info->backing_format);
	if (wishes->nodes)
		json_nodes(json, image, wishes);
	if (info->n_snapshots > 0) {
		json_open(json, "snapshots", '[');
		for (unsigned i = 0; i < info->n_snapshots; i++)
			json_snapshot(json, &info->snapshots[i]);
		json_close(json, ']');
	}
	json_number(json, "virtual-size", image_size(image));
	json_text(json, "filename", image_name(image));
	if (info->cluster_size > 0)
		json_number(json, "cluster-size", info->cluster_size);
	json_text(json, "format", image_format_name(image));
	if (info->actual_size != UINT64_MAX)
		json_number(json, "actual-size", info->actual_size);
	if (info_has_specifics(info))
		json_rows(json, image_format_name(image), info);
	if (info->backing_path != NULL)
		json_text(json, "full-backing-filename", info->backing_path);
	if (info->is_encrypted)
		json_bool(json, "encrypted", true);
	if (info->backing_name != NULL)
		json_text(json, "backing-filename", info->backing_name);
	if (!info->has_no_dirty_flag)
		json_bool(json, "dirty-flag", info->is_dirty);
	json_close(json, '}');
}
