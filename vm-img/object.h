/* SPDX-License-Identifier: ISC */
/* --object secret,id=ID,data=TEXT|file=PATH[,format=raw|base64]: passwords for
 * encrypted images; --object throttle-group,id=ID,…: limits of a rate. */
#ifndef VM_IMG_OBJECT_H
#define VM_IMG_OBJECT_H

#include <stdbool.h>

struct error;
struct keys;
struct secrets;
struct throttle;

/* Take one in, or print a message and exit. The text is not kept. */
void object_add(const char *text);
/* A throttle-group; NULL: none of that name. */
struct throttle *object_throttle(const char *id);
/* All of them; NULL: none. */
const struct secrets *object_secrets(void);
/* Forget them. */
void object_deinit(void);

/* Among the rest of one of its kind. object_throttle.c */
int object_throttle_add(struct keys *keys, const char *id, bool is_json,
			struct error *err);
void object_throttle_deinit(void);

#endif
