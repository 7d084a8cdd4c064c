/* SPDX-License-Identifier: ISC */
/* A list of secrets: there are one or two. */
#include "lib/image/secret.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <string.h>

struct entry {
	struct entry *next;
	char *id;
	size_t len;
	uint8_t data[];
};

struct secrets {
	struct entry *first;
};

void secret_free(void *data, size_t len)
{
	if (data == NULL)
		return;
	explicit_bzero(data, len);
	free(data);
}

struct secrets *secrets_new(void)
{
	return calloc(1, sizeof(struct secrets));
}

void secrets_free(struct secrets *secrets)
{
	struct entry *e;

	if (secrets == NULL)
		return;
	while ((e = secrets->first) != NULL) {
		secrets->first = e->next;
		free(e->id);
		secret_free(e, sizeof(*e) + e->len);
	}
	free(secrets);
}

static const struct entry *find(const struct secrets *secrets, const char *id)
{
	const struct entry *e = secrets != NULL ? secrets->first : NULL;

	while (e != NULL && strcmp(e->id, id) != 0)
		e = e->next;
	return e;
}

int secrets_add(struct secrets *secrets, const char *id, const void *data,
		size_t len, struct error *err)
{
	_cleanup_free_ char *copy = strdup(id);
	struct entry *e;

	if (find(secrets, id) != NULL)
		return error_set(err, -EEXIST,
				 "attempt to add duplicate property '%s' to "
				 "object (type 'container')",
				 id);
	e = malloc(sizeof(*e) + len);
	if (copy == NULL || e == NULL) {
		free(e);
		return -ENOMEM;
	}
	e->id = steal_ptr(&copy);
	e->len = len;
	if (len > 0)
		memcpy(e->data, data, len);
	e->next = secrets->first;
	secrets->first = e;
	return 0;
}

int secrets_find(const struct secrets *secrets, const char *id,
		 struct secret *secret, struct error *err)
{
	const struct entry *e = find(secrets, id);

	if (e == NULL)
		return error_set(err, -ENOENT, "No secret with id '%s'", id);
	*secret = (struct secret){ .data = e->data, .len = e->len };
	return 0;
}

/* Bytes of the character at data, RFC 3629 §4; 0: none. */
static size_t character_len(const uint8_t *data, size_t len)
{
	uint32_t code, min;
	size_t n;

	if (data[0] < 0x80)
		return data[0] != 0;
	if (data[0] < 0xc2 || data[0] > 0xf4)
		return 0;
	n = data[0] < 0xe0 ? 2 : data[0] < 0xf0 ? 3 : 4;
	min = n == 2 ? 0x80 : n == 3 ? 0x800 : 0x10000;
	code = data[0] & (0xff >> (n + 1));
	if (len < n)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((data[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (data[i] & 0x3f);
	}
	return code < min || code > 0x10ffff || (code & ~0x7ffU) == 0xd800 ? 0
									   : n;
}

bool secret_is_text(const struct secret *secret)
{
	size_t at = 0, n;

	for (; at < secret->len; at += n) {
		n = character_len(secret->data + at, secret->len - at);
		if (n == 0)
			return false;
	}
	return true;
}
