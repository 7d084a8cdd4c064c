/* SPDX-License-Identifier: ISC */
/* --object secret,id=ID,data=TEXT|file=PATH[,format=raw|base64]: passwords for
 * encrypted images. */
#ifndef VM_IMG_OBJECT_H
#define VM_IMG_OBJECT_H

struct secrets;

/* Take one in, or print a message and exit. The text is not kept. */
void object_add(const char *text);
/* All of them; NULL: none. */
const struct secrets *object_secrets(void);
/* Forget them. */
void object_deinit(void);

#endif
