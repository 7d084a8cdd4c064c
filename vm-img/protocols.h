/* SPDX-License-Identifier: ISC */
/*
 * --allow-protocols: a name inside an image that is no plain path ("nbd://…",
 * "json:…") is taken for what it means where a user types it. Else it is
 * refused, as images come from anywhere, but for "json:{…}" that spells out no
 * more than a path.
 */
#ifndef VM_IMG_PROTOCOLS_H
#define VM_IMG_PROTOCOLS_H

#include "lib/image/image.h"

struct source;

void protocols_allow(void);
/* For struct image_open_options. */
image_protocol_policy protocols_policy;
/* The same of a backing name that is about to be opened without the engine:
 * *under is NULL where it is a plain path, and else the program's, until its
 * end. -errno and a text. */
int protocols_find(const char *name, const char *format,
		   const struct image_under **under, struct error *err);
/* source_parse() of such a name, as far as it is allowed. */
int protocols_parse(struct source *source, const char *name, const char *format,
		    struct error *err);

#endif
