/* SPDX-License-Identifier: ISC */
#include "vm-img/source_name.h"

#include "lib/base/cleanup.h"
#include "vm-img/json.h"
#include "vm-img/keys.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PLACES = 512,
};

/* Members stand where TDB's hash of their keys puts them, as in QEMU. */
static unsigned place_of(const char *key)
{
	uint32_t value = 0x238f13afU * (uint32_t)strlen(key);

	for (unsigned i = 0; key[i] != '\0'; i++)
		value += (uint32_t)(unsigned char)key[i] << (i * 5 % 24);
	return (1103515243U * value + 12345U) % PLACES;
}

static bool begins_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Takes json over. Of one place the later one comes first. */
static void insert(struct source_name *name, const char *key, char *json)
{
	unsigned place = place_of(key), at = 0;
	char *copy = strdup(key);

	if (copy == NULL || json == NULL || name->n == SOURCE_NAME_MAX) {
		free(copy);
		free(json);
		return;
	}
	while (at < name->n && place_of(name->list[at].key) < place)
		at++;
	memmove(&name->list[at + 1], &name->list[at],
		(name->n - at) * sizeof(name->list[0]));
	name->list[at] = (struct source_member){ .key = copy, .json = json };
	name->n++;
}

static char *quote(const char *text)
{
	size_t len;
	char *json = NULL;
	FILE *to = open_memstream(&json, &len);

	if (to == NULL)
		return NULL;
	json_write_string(to, text);
	if (fclose(to) == 0)
		return json;
	free(json);
	return NULL;
}

void source_name_add(struct source_name *name, const char *key,
		     const char *value)
{
	insert(name, key, quote(value));
}

/* Numbers and truth of JSON are as they were there. */
static char *json_of(const struct key *key)
{
	if (key->is_text)
		return quote(key->value);
	if (strcmp(key->value, "on") == 0)
		return strdup("true");
	if (strcmp(key->value, "off") == 0)
		return strdup("false");
	return strdup(*key->value != '\0' ? key->value : "null");
}

void source_name_add_option(struct source_name *name, const struct keys *keys,
			    const char *prefix, const char *key)
{
	const struct key *found = NULL;
	size_t len = strlen(prefix);

	for (unsigned i = 0; i < keys->n; i++)
		if (begins_with(keys->list[i].name, prefix) &&
		    strcmp(keys->list[i].name + len, key) == 0)
			found = &keys->list[i];
	if (found == NULL)
		return;
	name->is_strong = true;
	insert(name, key, json_of(found));
}

static bool is_listed(const char *key, const char *const *list, unsigned n)
{
	while (n > 0)
		if (strcmp(list[--n], key) == 0)
			return true;
	return false;
}

unsigned source_name_add_all(struct source_name *name, const struct keys *keys,
			     const char *prefix, const char *child,
			     const char *const *ignored, unsigned n_ignored)
{
	size_t len = strlen(prefix);
	unsigned n = 0;

	for (unsigned i = 0; i < keys->n; i++) {
		const char *key = keys->list[i].name;

		if (!begins_with(key, prefix) ||
		    begins_with(key + len, child) ||
		    is_listed(key + len, ignored, n_ignored))
			continue;
		insert(name, key + len, json_of(&keys->list[i]));
		n++;
	}
	return n;
}

unsigned source_name_add_server(struct source_name *name,
				const struct keys *keys, const char *prefix,
				const char *const *plain, unsigned n_plain)
{
	size_t len = strlen(prefix);
	unsigned n = 0;
	char key[64];

	/* Here the earlier one comes first. */
	for (unsigned i = keys->n; i > 0; i--) {
		const struct key *from = &keys->list[i - 1];

		if (!begins_with(from->name, prefix))
			continue;
		snprintf(key, sizeof(key), "server.%s", from->name + len);
		insert(name, key, json_of(from));
		n += !is_listed(from->name + len, plain, n_plain);
	}
	return n;
}

static void write_object(FILE *to, const struct source_name *name)
{
	fputc('{', to);
	for (unsigned i = 0; i < name->n; i++) {
		fputs(i > 0 ? ", " : "", to);
		json_write_string(to, name->list[i].key);
		fprintf(to, ": %s", name->list[i].json);
	}
	fputc('}', to);
}

static char *write_objects(const struct source_name *names, unsigned n,
			   bool is_array)
{
	size_t len;
	char *json = NULL;
	FILE *to = open_memstream(&json, &len);

	if (to == NULL)
		return NULL;
	if (is_array)
		fputc('[', to);
	for (unsigned i = 0; i < n; i++) {
		fputs(i > 0 ? ", " : "", to);
		write_object(to, &names[i]);
	}
	if (is_array)
		fputc(']', to);
	if (fclose(to) == 0)
		return json;
	free(json);
	return NULL;
}

void source_name_add_child(struct source_name *name, const char *key,
			   const struct source_name *child)
{
	insert(name, key, write_objects(child, 1, false));
}

void source_name_add_children(struct source_name *name, const char *key,
			      const struct source_name *children, unsigned n)
{
	insert(name, key, write_objects(children, n, true));
}

void source_name_set_exact(struct source_name *name, const char *format, ...)
{
	va_list args;

	free(name->exact);
	va_start(args, format);
	if (vasprintf(&name->exact, format, args) < 0)
		name->exact = NULL;
	va_end(args);
}

char *source_name_show(const struct source_name *name)
{
	_cleanup_free_ char *object = NULL;
	char *shown;

	if (name->exact != NULL)
		return strdup(name->exact);
	object = write_objects(name, 1, false);
	if (object == NULL || asprintf(&shown, "json:%s", object) < 0)
		return NULL;
	return shown;
}

void source_name_deinit(struct source_name *name)
{
	for (unsigned i = 0; i < name->n; i++) {
		free(name->list[i].key);
		free(name->list[i].json);
	}
	free(name->exact);
	*name = (struct source_name){ .n = 0 };
}
