/* SPDX-License-Identifier: ISC */
/*
 * Passwords and keys that the user gave (--object secret), by the id under
 * which an image's options name them. They are wiped from memory when they
 * are no longer needed, and no message ever holds one.
 *
 * Filled before images are opened, and only read from then on.
 */
#ifndef LIB_IMAGE_SECRET_H
#define LIB_IMAGE_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct secrets;

/* NULL: out of memory. */
struct secrets *secrets_new(void);
/* Wipes them all. NULL is a no-op. */
void secrets_free(struct secrets *secrets);

/* Copies id and data, which the caller wipes. -EEXIST: there is one already. */
int secrets_add(struct secrets *secrets, const char *id, const void *data,
		size_t len, struct error *err);

/* A secret: len bytes at data, which may be any, borrowed. */
struct secret {
	const uint8_t *data;
	size_t len;
};

/* secrets may be NULL. -ENOENT, in QEMU's words: there is none. */
int secrets_find(const struct secrets *secrets, const char *id,
		 struct secret *secret, struct error *err);

/* UTF-8, and no NUL in it. */
bool secret_is_text(const struct secret *secret);

/* As free(), of len bytes that nobody else should see. NULL is a no-op. */
void secret_free(void *data, size_t len);

#endif
