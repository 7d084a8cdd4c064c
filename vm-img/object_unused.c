/* SPDX-License-Identifier: ISC */
/* --object of types that mean nothing to a tool for images, though qemu-img
 * takes them: who may connect to a server (authz-list, authz-simple), what
 * firmware may offer a server (tls-cipher-suites), and which threads QEMU works
 * with (main-loop, thread-context). They are checked, and their ids kept. */
#include "vm-img/object.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "vm-img/keys.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int check_keys(struct keys *keys, struct error *err);

enum {
	NAME_LEN_MAX = 64,
	THREADS_MAX = 64, /* what QEMU has where nothing is said */
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

static int take_natural(struct keys *keys, const char *name, int64_t *value,
			struct error *err)
{
	int rc = keys_take_integer(keys, name, value, err);

	return rc == 0 && *value < 0
		       ? error_set(err, -EINVAL,
				   "%s value must be in range [0, %lld]", name,
				   (long long)INT64_MAX)
		       : rc;
}

static int check_main_loop(struct keys *keys, struct error *err)
{
	static bool is_there;
	int64_t batch = 0, min = 0, max = THREADS_MAX;
	int rc = take_natural(keys, "aio-max-batch", &batch, err);

	if (rc == 0)
		rc = take_natural(keys, "thread-pool-min", &min, err);
	if (rc == 0)
		rc = take_natural(keys, "thread-pool-max", &max, err);
	if (rc == 0)
		rc = refuse_rest(keys, "", err);
	if (rc < 0)
		return rc;
	if (is_there)
		return error_set(err, -EINVAL,
				 "only one main-loop instance allowed");
	if (min > max || max == 0 || max > INT_MAX)
		return error_set(err, -EINVAL,
				 "bad thread-pool-min/thread-pool-max values");
	is_there = true;
	return 0;
}

/* A list of processors, or of nodes that have them. */
static int take_list(struct keys *keys, const char *name, unsigned *n,
		     struct error *err)
{
	char item[NAME_LEN_MAX], prefix[NAME_LEN_MAX];
	int64_t number = 0;
	const char *left;
	int rc = 0;

	for (*n = 0; rc == 0; ++*n) {
		snprintf(item, sizeof(item), "%s.%u", name, *n);
		if (keys_take(keys, item) == NULL)
			break;
		rc = keys_take_integer(keys, item, &number, err);
	}
	left = keys_left(keys);
	snprintf(prefix, sizeof(prefix), "%s.", name);
	if (rc < 0 || left == NULL)
		return rc;
	if (strncmp(left, prefix, strlen(prefix)) == 0 &&
	    isdigit((unsigned char)left[strlen(prefix)]))
		return error_set(err, -EINVAL, "Parameter '%s' missing", item);
	if (strcmp(left, name) == 0 ||
	    strncmp(left, prefix, strlen(prefix)) == 0)
		return error_set(err, -EINVAL,
				 "Invalid parameter type for '%s', expected: "
				 "array",
				 name);
	return 0;
}

static int check_threads(struct keys *keys, struct error *err)
{
	unsigned n_processors = 0, n_nodes = 0;
	int rc = take_list(keys, "cpu-affinity", &n_processors, err);

	if (rc == 0)
		rc = take_list(keys, "node-affinity", &n_nodes, err);
	if (rc == 0)
		rc = refuse_rest(keys, "", err);
	if (rc == 0 && n_processors > 0 && n_nodes > 0)
		rc = error_set(err, -EINVAL,
			       "Mixing CPU and node affinity not supported");
	return rc;
}

static check_keys *find_type(const char *type)
{
	static const struct {
		const char *type;
		check_keys *check;
	} types[] = {
		{ "authz-list", check_list },
		{ "authz-simple", check_simple },
		{ "main-loop", check_main_loop },
		{ "thread-context", check_threads },
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
