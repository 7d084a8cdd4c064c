/* SPDX-License-Identifier: ISC */
#ifndef VM_IMG_SNAPSHOT_H
#define VM_IMG_SNAPSHOT_H

struct image;
struct image_info;

/* The table of internal snapshots, for people; nothing where there are none. */
void snapshot_list_print(const struct image_info *info);

/* What -l says can be understood; -errno and a message. */
int snapshot_check_or_report(const char *param);

/* An image opened for reading shows a snapshot: param is what -l says, a number,
 * a name, or snapshot.id=ID,snapshot.name=NAME. -errno and a message. */
int snapshot_load_or_report(struct image *image, const char *param);

#endif
