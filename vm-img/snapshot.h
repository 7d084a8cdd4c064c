/* SPDX-License-Identifier: ISC */
#ifndef VM_IMG_SNAPSHOT_H
#define VM_IMG_SNAPSHOT_H

struct image_info;

/* The table of internal snapshots, for people; nothing where there are none. */
void snapshot_list_print(const struct image_info *info);

#endif
