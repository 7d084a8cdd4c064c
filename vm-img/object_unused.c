/* SPDX-License-Identifier: ISC */
/* --object of types that mean nothing to a tool for images, though qemu-img
 * takes them: who may connect to a server (authz-list, authz-simple), and what
 * firmware may offer a server (tls-cipher-suites). They are checked, and their
 * ids kept. */
#include "vm-img/object.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "vm-img/keys.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int check_keys(struct keys *keys, struct error *err);

enum {
	NAME_LEN_MAX = 64,
};

static struct unused {
	struct unused *next;
	char *id;
} * all;

static int take_word(struct keys *keys, const char *name,
		     const char *const words[2], struct error *err)
{
	const char *word = keys_take(keys, name);

	if (word == NULL || strcmp(word, words[0]) == 0 ||
	    strcmp(word, words[1]) == 0)
		return 0;
	return error_set(err, -EINVAL,
			 "Parameter '%s' does not accept value '%s'", name,
			 word);
}

static int take_policy(struct keys *keys, struct error *err)
{
	static const char *const words[2] = { "deny", "allow" };

	return take_word(keys, "policy", words, err);
}

static int refuse_rest(const struct keys *keys, const char *prefix,
		       struct error *err)
{
	const char *left = keys_left(keys);

	return left == NULL ? 0
			    : error_set(err, -EINVAL,
					"Parameter '%s%s' is unexpected",
					prefix, left);
}

static int check_simple(struct keys *keys, struct error *err)
{
	if (keys_take(keys, "identity") == NULL)
		return error_set(err, -EINVAL,
				 "Parameter 'identity' is missing");
	return refuse_rest(keys, "", err);
}

/* One of a list: prefix, "rules.0.", is its name. */
static int check_rule(struct keys *rule, const char *prefix, struct error *err)
{
	static const char *const formats[2] = { "exact", "glob" };
	int rc;

	if (keys_take(rule, "match") == NULL)
		return error_set(err, -EINVAL, "Parameter '%smatch' is missing",
				 prefix);
	if (keys_take(rule, "policy") == NULL)
		return error_set(err, -EINVAL,
				 "Parameter '%spolicy' is missing", prefix);
	rc = take_policy(rule, err);
	if (rc == 0)
		rc = take_word(rule, "format", formats, err);
	return rc < 0 ? rc : refuse_rest(rule, prefix, err);
}

/* What is left of a list after its first n. */
static int refuse_rules(const struct keys *keys, unsigned n, struct error *err)
{
	static const char prefix[] = "rules.";
	char next[NAME_LEN_MAX];
	const char *left = keys_left(keys);

	if (left == NULL || (strcmp(left, "rules") != 0 &&
			     strncmp(left, prefix, sizeof(prefix) - 1) != 0))
		return refuse_rest(keys, "", err);
	snprintf(next, sizeof(next), "%s%u", prefix, n);
	if (strcmp(left, next) == 0)
		return error_set(err, -EINVAL,
				 "Invalid parameter type for '%s', expected: "
				 "object",
				 next);
	if (strcmp(left, "rules") != 0 &&
	    isdigit((unsigned char)left[sizeof(prefix) - 1]))
		return error_set(err, -EINVAL, "Parameter '%s' missing", next);
	return error_set(err, -EINVAL,
			 "Invalid parameter type for 'rules', expected: array");
}

static int check_list(struct keys *keys, struct error *err)
{
	int rc = take_policy(keys, err);

	for (unsigned n = 0; rc == 0; n++) {
		struct keys rule = { .n = 0 };
		char prefix[NAME_LEN_MAX];

		snprintf(prefix, sizeof(prefix), "rules.%u.", n);
		if (!keys_has_prefix(keys, prefix))
			return refuse_rules(keys, n, err);
		rc = keys_move(keys, prefix, &rule, err);
		if (rc == 0)
			rc = check_rule(&rule, prefix, err);
		keys_deinit(&rule);
	}
	return rc;
}

static int check_suites(struct keys *keys, struct error *err)
{
	static const char *const endpoints[2] = { "client", "server" };
	bool is_verified;
	int rc = keys_take_bool(keys, "verify-peer", &is_verified, err);

	keys_take(keys, "dir");
	if (rc == 0)
		rc = take_word(keys, "endpoint", endpoints, err);
	if (rc < 0)
		return rc;
	if (keys_take(keys, "priority") == NULL && keys_left(keys) == NULL)
		return error_set(err, -EINVAL,
				 "'priority' property is not set");
	return refuse_rest(keys, "", err);
}

static check_keys *find_type(const char *type)
{
	static const struct {
		const char *type;
		check_keys *check;
	} types[] = {
		{ "authz-list", check_list },
		{ "authz-simple", check_simple },
		{ "tls-cipher-suites", check_suites },
	};

	for (unsigned i = 0; i < array_size(types); i++)
		if (strcmp(types[i].type, type) == 0)
			return types[i].check;
	return NULL;
}

bool object_unused_is_type(const char *type)
{
	return find_type(type) != NULL;
}

int object_unused_add(struct keys *keys, const char *id, const char *type,
		      struct error *err)
{
	int rc = find_type(type)(keys, err);
	struct unused *unused;

	if (rc < 0)
		return rc;
	unused = calloc(1, sizeof(*unused));
	if (unused == NULL || (unused->id = strdup(id)) == NULL) {
		free(unused);
		return -ENOMEM;
	}
	unused->next = all;
	all = unused;
	return 0;
}

bool object_unused_has(const char *id)
{
	const struct unused *unused = all;

	while (unused != NULL && strcmp(unused->id, id) != 0)
		unused = unused->next;
	return unused != NULL;
}

void object_unused_deinit(void)
{
	while (all != NULL) {
		struct unused *unused = all;

		all = unused->next;
		free(unused->id);
		free(unused);
	}
}
