/* SPDX-License-Identifier: ISC */
/* What a verb that fails has made of its output: half an image looks too much
 * like a whole. */
#ifndef VM_IMG_UNFINISHED_H
#define VM_IMG_UNFINISHED_H

struct image_companions;

/* The file that target, as in the command, names; where that is a link, what it
 * leads to; never a device or an export. With it go the companions, which are
 * none afterwards. */
void unfinished_remove(const char *target, struct image_companions *companions);

#endif
