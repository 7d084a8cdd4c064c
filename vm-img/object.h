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

/* Take one in, or print a message and exit as the verb does. The text is not
 * kept. */
void object_add(const char *text, const char *verb);
/* A throttle-group; NULL: none of that name. */
struct throttle *object_throttle(const char *id);
/* How to speak TLS to a server; texts are NULL where they were not given. */
struct object_tls {
	enum object_tls_kind {
		OBJECT_TLS_ANON,
		OBJECT_TLS_PSK,
		OBJECT_TLS_X509,
	} kind;
	char *id, *dir, *username;
	bool is_unverified;
	struct object_tls *next;
};
/* Borrowed. -EINVAL in QEMU's words. */
int object_tls(const char *id, const struct object_tls **tls,
	       struct error *err);
bool object_tls_is_type(const char *type);
bool object_tls_has(const char *id);
int object_tls_add(struct keys *keys, const char *id, const char *type,
		   struct error *err);
void object_tls_deinit(void);
/* Is there one of another kind? */
bool object_is_other(const char *id);
/* All of them; NULL: none. */
const struct secrets *object_secrets(void);
/* Forget them. */
void object_deinit(void);

/* Among the rest of one of its kind. object_throttle.c */
int object_throttle_add(struct keys *keys, const char *id, bool is_json,
			struct error *err);
void object_throttle_deinit(void);

#endif
