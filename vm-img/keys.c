/* SPDX-License-Identifier: ISC */
#include "vm-img/keys.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/options.h"
#include "vm-img/json_read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	NAME_LEN_MAX = 256,
};

static int add(struct keys *keys, const char *name, const char *value,
	       bool is_text, struct error *err)
{
	struct key key = { .name = strdup(name),
			   .value = strdup(value),
			   .is_text = is_text };

	if (key.name == NULL || key.value == NULL || keys->n == KEYS_MAX) {
		free(key.name);
		free(key.value);
		return error_set(err, -E2BIG, "Too many options");
	}
	keys->list[keys->n++] = key;
	return 0;
}

int keys_add(struct keys *keys, const char *name, const char *value,
	     struct error *err)
{
	return add(keys, name, value, true, err);
}

static int parse(struct keys *keys, const char *text, const char *first,
		 bool needs_values, struct error *err)
{
	_cleanup_free_ char *copy = strdup(text);
	char *cursor = copy, *name, *value;
	int rc = 0;

	if (copy == NULL)
		return -ENOMEM;
	while (rc == 0 && suboption_next(&cursor, &name, &value)) {
		if (value == NULL && first != NULL)
			rc = add(keys, first, name, true, err);
		else if (value == NULL && needs_values)
			rc = error_set(err, -EINVAL,
				       "Expected '=' after parameter '%s'",
				       name);
		else
			rc = add(keys, name, value != NULL ? value : "on", true,
				 err);
		first = NULL;
	}
	explicit_bzero(copy, strlen(text));
	return rc;
}

int keys_parse(struct keys *keys, const char *text, const char *first,
	       struct error *err)
{
	return parse(keys, text, first, false, err);
}

int keys_parse_properties(struct keys *keys, const char *text,
			  const char *first, struct error *err)
{
	return parse(keys, text, first, true, err);
}

static int found(void *context, const char *name, const char *value,
		 bool is_text, struct error *err)
{
	return add(context, name, value, is_text, err);
}

int keys_parse_json(struct keys *keys, const char *text, struct error *err)
{
	keys->is_json = true;
	return json_read(text, found, keys, err);
}

void keys_deinit(struct keys *keys)
{
	for (unsigned i = 0; i < keys->n; i++) {
		free(keys->list[i].name);
		explicit_bzero(keys->list[i].value,
			       strlen(keys->list[i].value));
		free(keys->list[i].value);
	}
	keys->n = 0;
}

const char *keys_take(struct keys *keys, const char *name)
{
	const char *value = NULL;

	for (unsigned i = 0; i < keys->n; i++) {
		if (strcmp(keys->list[i].name, name) != 0)
			continue;
		keys->list[i].is_taken = true;
		value = keys->list[i].value;
	}
	return value;
}

const char *keys_take_of(struct keys *keys, const char *prefix,
			 const char *name)
{
	char full[NAME_LEN_MAX];

	snprintf(full, sizeof(full), "%s%s", prefix, name);
	return keys_take(keys, full);
}

/* As JSON has it; without it all are texts. */
static int check_type(const struct keys *keys, const char *name, bool is_text,
		      struct error *err)
{
	for (unsigned i = 0; keys->is_json && i < keys->n; i++)
		if (strcmp(keys->list[i].name, name) == 0 &&
		    keys->list[i].is_text != is_text)
			return error_set(err, -EINVAL,
					 "Invalid parameter type for '%s', "
					 "expected: %s",
					 name, is_text ? "string" : "integer");
	return 0;
}

int keys_take_text(struct keys *keys, const char *name, const char **value,
		   struct error *err)
{
	*value = keys_take(keys, name);
	return check_type(keys, name, true, err);
}

int keys_take_integer(struct keys *keys, const char *name, int64_t *value,
		      struct error *err)
{
	const char *text = keys_take(keys, name);
	int rc = check_type(keys, name, false, err);
	char *end;

	if (rc < 0 || text == NULL)
		return rc;
	errno = 0;
	*value = strtoll(text, &end, 0);
	if (errno == 0 && end != text && *end == '\0')
		return 0;
	/* A fraction, or one too large, of JSON is no integer either. */
	return error_set(err, -EINVAL,
			 keys->is_json ? "Invalid parameter type for '%s', "
					 "expected: integer"
				       : "Parameter '%s' expects integer",
			 name);
}

int keys_take_bool(struct keys *keys, const char *name, bool *value,
		   struct error *err)
{
	return keys_take_bool_of(keys, "", name, value, err);
}

int keys_take_bool_of(struct keys *keys, const char *prefix, const char *name,
		      bool *value, struct error *err)
{
	static const char *const words[][2] = {
		{ "off", "on" },
		{ "no", "yes" },
		{ "false", "true" },
		{ "n", "y" },
	};
	const char *text = keys_take_of(keys, prefix, name);

	if (text == NULL)
		return 0;
	for (unsigned i = 0; i < array_size(words) * 2; i++)
		if (strcmp(text, words[i / 2][i % 2]) == 0) {
			*value = i % 2;
			return 0;
		}
	return error_set(err, -EINVAL, "Parameter '%s' expects 'on' or 'off'",
			 name);
}

bool keys_is_text(const struct keys *keys, const char *prefix, const char *name)
{
	char full[NAME_LEN_MAX];
	bool is_text = false;

	snprintf(full, sizeof(full), "%s%s", prefix, name);
	for (unsigned i = 0; i < keys->n; i++)
		if (strcmp(keys->list[i].name, full) == 0)
			is_text = keys->list[i].is_text;
	return is_text;
}

bool keys_has_prefix(const struct keys *keys, const char *prefix)
{
	for (unsigned i = 0; i < keys->n; i++)
		if (strncmp(keys->list[i].name, prefix, strlen(prefix)) == 0)
			return true;
	return false;
}

int keys_move(struct keys *keys, const char *prefix, struct keys *to,
	      struct error *err)
{
	size_t len = strlen(prefix);
	int rc = 0;

	to->is_json = keys->is_json;
	for (unsigned i = 0; rc == 0 && i < keys->n; i++) {
		struct key *key = &keys->list[i];

		if (strncmp(key->name, prefix, len) != 0)
			continue;
		key->is_taken = true;
		rc = add(to, key->name + len, key->value, key->is_text, err);
	}
	return rc;
}

const char *keys_left(const struct keys *keys)
{
	for (unsigned i = 0; i < keys->n; i++)
		if (!keys->list[i].is_taken)
			return keys->list[i].name;
	return NULL;
}
