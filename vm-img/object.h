/* SPDX-License-Identifier: ISC */
/* --object TYPE,id=ID,…: what options of images mean by an id. Passwords for
 * encrypted images, limits of a rate, how to speak TLS to a server. */
#ifndef VM_IMG_OBJECT_H
#define VM_IMG_OBJECT_H

#include <stdbool.h>

struct error;
struct keys;
struct secrets;
struct throttle;

/* Take one in, or print a message and exit as the verb does, or print help and
 * exit. The text is not kept. */
void object_add(const char *text);
/* May one have that name? */
bool object_is_identifier(const char *id);
/* Is there one, of any kind? */
bool object_has(const char *id);
/* Forget them. */
void object_deinit(void);

/* All secrets; NULL: none. */
const struct secrets *object_secrets(void);
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

/* Help if the text, which is not JSON, asks for it: false if it does not. */
bool object_help(const char *text);

/* Among the rest of one of its kind: object_secret.c, object_throttle.c,
 * object_tls.c and object_unused.c. */
bool object_secret_is_type(const char *type);
int object_secret_add(struct keys *keys, const char *id, const char *type,
		      struct error *err);
bool object_secret_has(const char *id);
void object_secret_deinit(void);
int object_throttle_add(struct keys *keys, const char *id, struct error *err);
void object_throttle_deinit(void);
bool object_tls_is_type(const char *type);
int object_tls_add(struct keys *keys, const char *id, const char *type,
		   struct error *err);
bool object_tls_has(const char *id);
void object_tls_deinit(void);
bool object_unused_is_type(const char *type);
int object_unused_add(struct keys *keys, const char *id, const char *type,
		      struct error *err);
bool object_unused_has(const char *id);
void object_unused_deinit(void);

#endif
