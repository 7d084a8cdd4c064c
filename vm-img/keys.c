/* SPDX-License-Identifier: ISC */
#include "vm-img/keys.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/options.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum {
	DEPTH_MAX = 16, /* objects within objects */
};

static int add(struct keys *keys, const char *name, const char *value,
	       struct error *err)
{
	struct key key = { .name = strdup(name), .value = strdup(value) };

	if (key.name == NULL || key.value == NULL || keys->n == KEYS_MAX) {
		free(key.name);
		free(key.value);
		return error_set(err, -E2BIG, "Too many options");
	}
	keys->list[keys->n++] = key;
	return 0;
}

int keys_parse(struct keys *keys, const char *text, const char *first,
	       struct error *err)
{
	_cleanup_free_ char *copy = strdup(text);
	char *cursor = copy, *name, *value;
	int rc = 0;

	if (copy == NULL)
		return -ENOMEM;
	while (rc == 0 && suboption_next(&cursor, &name, &value)) {
		if (value == NULL && first != NULL)
			rc = add(keys, first, name, err);
		else
			rc = add(keys, name, value != NULL ? value : "on", err);
		first = NULL;
	}
	explicit_bzero(copy, strlen(text));
	return rc;
}

/* A number, string or truth as text. NULL: it is none. */
static const char *text_of(const json_t *node, char *buf, size_t len)
{
	if (json_is_string(node))
		return json_string_value(node);
	if (json_is_integer(node))
		snprintf(buf, len, "%lld", (long long)json_integer_value(node));
	else if (json_is_real(node))
		snprintf(buf, len, "%g", json_real_value(node));
	else if (json_is_boolean(node))
		snprintf(buf, len, "%s", json_is_true(node) ? "on" : "off");
	else if (json_is_null(node))
		*buf = '\0';
	else
		return NULL;
	return buf;
}

static int flatten(struct keys *keys, const char *prefix, json_t *node,
		   unsigned depth, struct error *err);

static int flatten_one(struct keys *keys, const char *prefix, const char *name,
		       json_t *node, unsigned depth, struct error *err)
{
	_cleanup_free_ char *full = NULL;

	if (asprintf(&full, "%s%s%s", prefix, *prefix != '\0' ? "." : "",
		     name) < 0) {
		full = NULL;
		return -ENOMEM;
	}
	return flatten(keys, full, node, depth + 1, err);
}

static int flatten(struct keys *keys, const char *prefix, json_t *node,
		   unsigned depth, struct error *err)
{
	char buf[32], index[24];
	const char *text = text_of(node, buf, sizeof(buf));
	void *at = json_object_iter(node);
	int rc = 0;

	if (text != NULL)
		return add(keys, prefix, text, err);
	if (depth > DEPTH_MAX)
		return error_set(err, -EINVAL, "JSON is nested too deeply");
	for (size_t i = 0; rc == 0 && i < json_array_size(node); i++) {
		snprintf(index, sizeof(index), "%zu", i);
		rc = flatten_one(keys, prefix, index, json_array_get(node, i),
				 depth, err);
	}
	for (; rc == 0 && at != NULL; at = json_object_iter_next(node, at))
		rc = flatten_one(keys, prefix, json_object_iter_key(at),
				 json_object_iter_value(at), depth, err);
	return rc;
}

int keys_parse_json(struct keys *keys, const char *text, struct error *err)
{
	json_error_t where;
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &where);
	int rc;

	if (root == NULL)
		return error_set(err, -EINVAL,
				 "Could not parse the JSON options: JSON parse "
				 "error, %s",
				 where.text);
	if (json_is_object(root))
		rc = flatten(keys, "", root, 0, err);
	else
		rc = error_set(err, -EINVAL, "Invalid JSON object given");
	json_decref(root);
	return rc;
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

int keys_take_bool(struct keys *keys, const char *name, bool *value,
		   struct error *err)
{
	const char *text = keys_take(keys, name);

	if (text == NULL)
		return 0;
	if (strcmp(text, "on") == 0)
		*value = true;
	else if (strcmp(text, "off") == 0)
		*value = false;
	else
		return error_set(err, -EINVAL,
				 "Parameter '%s' expects 'on' or 'off'", name);
	return 0;
}

bool keys_has_prefix(const struct keys *keys, const char *prefix)
{
	for (unsigned i = 0; i < keys->n; i++)
		if (strncmp(keys->list[i].name, prefix, strlen(prefix)) == 0)
			return true;
	return false;
}

const char *keys_left(const struct keys *keys)
{
	for (unsigned i = 0; i < keys->n; i++)
		if (!keys->list[i].is_taken)
			return keys->list[i].name;
	return NULL;
}
