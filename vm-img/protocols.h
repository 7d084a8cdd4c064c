/* SPDX-License-Identifier: ISC */
/*
 * --allow-protocols: a name inside an image that is no plain path ("nbd://…",
 * "json:…") is taken for what it means where a user types it. Else it is
 * refused: images come from anywhere.
 */
#ifndef VM_IMG_PROTOCOLS_H
#define VM_IMG_PROTOCOLS_H

#include "lib/image/image.h"

void protocols_allow(void);
/* For struct image_open_options: NULL as long as nothing is allowed. */
image_protocol_policy *protocols_policy(void);
/* The same of a backing name that is about to be opened without the engine:
 * *under is NULL where it is a plain path, and else the program's, until its
 * end. -errno and a text. */
int protocols_find(const char *name, const char *format,
		   const struct image_under **under, struct error *err);

#endif
