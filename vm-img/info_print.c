/* SPDX-License-Identifier: ISC */
/* info for people. */
#include "lib/base/size.h"
#include "vm-img/encryption.h"
#include "vm-img/info.h"
#include "vm-img/info_bitmaps.h"
#include "vm-img/snapshot.h"

#include <stdio.h>

static void print_backing(const struct image_info *info)
{
	if (info->backing_name == NULL)
		return;
	printf("backing file: %s", info->backing_name);
	if (info->backing_path == NULL)
		printf(" (cannot determine actual path)");
	else if (strcmp(info->backing_path, info->backing_name) != 0)
		printf(" (actual path: %s)", info->backing_path);
	printf("\n");
	if (info->backing_format != NULL)
		printf("backing file format: %s\n", info->backing_format);
}

static void print_row(const struct image_info_row *row)
{
	printf("    %s: ", row->name);
	switch (row->kind) {
	case IMAGE_INFO_TEXT:
		printf("%s\n", row->text);
		break;
	case IMAGE_INFO_NUMBER:
		printf("%llu\n", (unsigned long long)row->number);
		break;
	case IMAGE_INFO_BOOL:
		printf("%s\n", row->number != 0 ? "true" : "false");
		break;
	}
}

static void print_extents(const struct image_info *info)
{
	printf("    extents:\n");
	for (unsigned i = 0; i < info->n_extents; i++) {
		const struct image_info_extent *e = &info->extents[i];

		printf("        [%u]:\n", i);
		if (e->is_compressed)
			printf("            compressed: true\n");
		printf("            virtual size: %llu\n"
		       "            filename: %s\n",
		       (unsigned long long)e->size, e->path);
		if (e->cluster_size > 0)
			printf("            cluster size: %llu\n",
			       (unsigned long long)e->cluster_size);
		printf("            format: %s\n", e->format);
	}
}

static void print_limits(const struct image_limits *limits, int indentation)
{
	struct info_limit list[INFO_LIMITS];

	info_limits_list(limits, list);
	printf("%*sBlock limits:\n", indentation, "");
	for (unsigned i = 0; i < INFO_LIMITS; i++)
		if (list[i].number > 0)
			printf("%*s    %s: %llu\n", indentation, "",
			       list[i].name,
			       (unsigned long long)list[i].number);
}

static void print_node(const struct image_node *node,
		       const struct info_wishes *wishes)
{
	char size[16], actual[16];

	printf("Child node '/%s':\n    filename: %s\n"
	       "    protocol type: %s\n"
	       "    file length: %s (%llu bytes)\n    disk size: %s\n",
	       node->name, node->path, node->protocol,
	       size_format(node->size, size, sizeof(size)),
	       (unsigned long long)node->size,
	       node->actual_size == UINT64_MAX
		       ? "unavailable"
		       : size_format(node->actual_size, actual,
				     sizeof(actual)));
	if (wishes->limits)
		print_limits(&node->limits, 4);
	if (node->extent_size_hint > 0)
		printf("    Format specific information:\n"
		       "        extent size hint: %u\n",
		       node->extent_size_hint);
}

static void print_nodes(struct image *image, const struct info_wishes *wishes)
{
	struct image_node node;

	for (unsigned i = 0; image_get_node(image, i, &node, NULL) == 0; i++)
		print_node(&node, wishes);
}

void info_print(struct image *image, const struct image_info *info,
		const struct info_wishes *wishes)
{
	char virtual[16], actual[16];

	printf("image: %s\nfile format: %s\n"
	       "virtual size: %s (%llu bytes)\ndisk size: %s\n",
	       image_name(image), image_format_name(image),
	       size_format(image_size(image), virtual, sizeof(virtual)),
	       (unsigned long long)image_size(image),
	       info->actual_size == UINT64_MAX
		       ? "unavailable"
		       : size_format(info->actual_size, actual,
				     sizeof(actual)));
	if (info->is_encrypted)
		printf("encrypted: yes\n");
	if (info->cluster_size > 0)
		printf("cluster_size: %llu\n",
		       (unsigned long long)info->cluster_size);
	if (info->is_dirty)
		printf("cleanly shut down: no\n");
	print_backing(info);
	if (wishes->limits)
		print_limits(&info->limits, 0);
	snapshot_list_print(info);
	if (info_has_specifics(info))
		printf("Format specific information:\n");
	for (unsigned i = 0; i < info->n_rows; i++) {
		if (info_is_middle(&info->rows[i]))
			info_bitmaps_print(info);
		print_row(&info->rows[i]);
		if (info_is_before_encryption(info, i))
			encryption_print(info);
	}
	if (info->n_rows == 0)
		encryption_print(info);
	if (info->n_extents > 0)
		print_extents(info);
	if (wishes->nodes)
		print_nodes(image, wishes);
}
