/* SPDX-License-Identifier: ISC */
/*
 * blkdebug among the options of a file: rules stand in a list,
 * "inject-error.0.event=…", or are one alone, "inject-error.event=…". Texts
 * are QEMU's, and so is the order in which errors are found.
 */
#include "vm-img/source.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/blkdebug.h"
#include "lib/image/lock.h"
#include "vm-img/keys.h"

#include <stdio.h>
#include <string.h>

enum {
	NAME_MAX_LEN = 128,
};

static bool begins_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* All names that begin with prefix; *n of those the rule has. */
static int set_rule(struct keys *keys, const char *prefix,
		    struct blkdebug_rule *rule, unsigned *n, struct error *err)
{
	*n = 0;
	for (unsigned i = 0; i < keys->n; i++) {
		struct key *key = &keys->list[i];
		int rc;

		if (!begins_with(key->name, prefix))
			continue;
		rc = blkdebug_set(rule, key->name + strlen(prefix), key->value,
				  err);
		if (rc == -ENOENT)
			continue;
		if (rc < 0)
			return rc;
		key->is_taken = true;
		++*n;
	}
	return 0;
}

static const char *find_left(const struct keys *keys, const char *prefix)
{
	for (unsigned i = 0; i < keys->n; i++)
		if (!keys->list[i].is_taken &&
		    begins_with(keys->list[i].name, prefix))
			return keys->list[i].name + strlen(prefix);
	return NULL;
}

/* One alone, if *n is not 0. */
static int take_rule(struct keys *keys, const char *prefix, struct blkdebug *d,
		     enum blkdebug_action action, unsigned *n,
		     struct error *err)
{
	struct blkdebug_rule *rule = blkdebug_add(d, action);
	const char *left;
	int rc;

	if (rule == NULL)
		return error_set(err, -E2BIG, "Too many rules");
	rc = set_rule(keys, prefix, rule, n, err);
	left = find_left(keys, prefix);
	if (rc < 0 || left == NULL || *n == 0)
		return rc;
	return error_set(err, -EINVAL, "Unknown option '%s' for [%s]", left,
			 blkdebug_section(action));
}

static int take_listed(struct keys *keys, const char *prefix,
		       struct blkdebug *d, enum blkdebug_action action,
		       struct error *err)
{
	struct blkdebug_rule *rule = blkdebug_add(d, action);
	const char *left;
	unsigned n;
	int rc;

	if (rule == NULL)
		return error_set(err, -E2BIG, "Too many rules");
	rc = set_rule(keys, prefix, rule, &n, err);
	left = find_left(keys, prefix);
	if (rc < 0 || left == NULL)
		return rc;
	return error_set(err, -EINVAL,
			 "[%s] section doesn't support the option '%s'",
			 blkdebug_section(action), left);
}

static int take_rules(struct keys *keys, const char *prefix, struct blkdebug *d,
		      enum blkdebug_action action, struct error *err)
{
	const char *section = blkdebug_section(action), *left;
	char name[NAME_MAX_LEN], all[NAME_MAX_LEN - 16];
	unsigned n = 0;
	int rc;

	snprintf(all, sizeof(all), "%s%s.", prefix, section);
	if (!keys_has_prefix(keys, all))
		return 0;
	rc = take_rule(keys, all, d, action, &n, err);
	if (rc < 0 || n > 0)
		return rc;
	d->n_rules--; /* a list */
	for (unsigned i = 0; rc == 0; i++) {
		snprintf(name, sizeof(name), "%s%u.", all, i);
		if (!keys_has_prefix(keys, name))
			break;
		rc = take_listed(keys, name, d, action, err);
	}
	snprintf(name, sizeof(name), "%s0", all);
	if (rc == 0 && keys_take(keys, name) != NULL)
		return error_set(err, -EINVAL,
				 "[%s] section (index 0) does not consist of "
				 "keys",
				 section);
	left = find_left(keys, all);
	if (rc == 0 && left != NULL)
		rc = error_set(err, -EINVAL, "Unused option '%s' for [%s]",
			       left, section);
	return rc;
}

static int take_sizes(struct keys *keys, const char *prefix, struct blkdebug *d,
		      struct error *err)
{
	const struct {
		const char *name;
		uint64_t *value;
	} sizes[] = {
		{ "align", &d->align },
		{ "max-transfer", &d->max_transfer },
		{ "opt-write-zero", &d->opt_write_zero },
		{ "max-write-zero", &d->max_write_zero },
		{ "opt-discard", &d->opt_discard },
		{ "max-discard", &d->max_discard },
	};
	char name[NAME_MAX_LEN];

	for (unsigned i = 0; i < array_size(sizes); i++) {
		const char *value;
		int rc;

		snprintf(name, sizeof(name), "%s%s", prefix, sizes[i].name);
		value = keys_take(keys, name);
		rc = value != NULL ? image_size_parse(sizes[i].name, value,
						      sizes[i].value, err)
				   : 0;
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int take_permission(const char *value, unsigned *permissions,
			   struct error *err)
{
	static const char *const names[] = { "consistent-read", "write",
					     "write-unchanged", "resize" };

	for (unsigned i = 0; i < array_size(names); i++)
		if (strcmp(value, names[i]) == 0) {
			*permissions |= 1U << i;
			return 0;
		}
	return error_set(err, -EINVAL,
			 "Parameter 'null' does not accept value '%s'", value);
}

static int take_permissions(struct keys *keys, const char *prefix,
			    const char *list, unsigned *permissions,
			    struct error *err)
{
	char name[NAME_MAX_LEN];
	const char *value;
	int rc = 0;

	for (unsigned i = 0; rc == 0; i++) {
		snprintf(name, sizeof(name), "%s%s.%u", prefix, list, i);
		value = keys_take(keys, name);
		if (value == NULL)
			break;
		rc = take_permission(value, permissions, err);
	}
	return rc;
}

static int take_all(struct keys *keys, const char *prefix, struct blkdebug *d,
		    struct error *err)
{
	char name[NAME_MAX_LEN];
	const char *config;
	int rc;

	snprintf(name, sizeof(name), "%sconfig", prefix);
	config = keys_take(keys, name);
	rc = take_sizes(keys, prefix, d, err);
	if (rc == 0 && config != NULL)
		rc = blkdebug_load(d, config, err);
	for (unsigned kind = 0; rc == 0 && kind < BLKDEBUG_N_ACTIONS; kind++)
		rc = take_rules(keys, prefix, d, kind, err);
	if (rc == 0)
		rc = blkdebug_check(d, err);
	if (rc == 0)
		rc = take_permissions(keys, prefix, "take-child-perms",
				      &d->taken, err);
	if (rc == 0)
		rc = take_permissions(keys, prefix, "unshare-child-perms",
				      &d->unshared, err);
	return rc;
}

int source_take_blkdebug(struct keys *keys, const char *prefix,
			 struct blkdebug **d, struct error *err)
{
	*d = blkdebug_new();
	return *d != NULL ? take_all(keys, prefix, *d, err) : -ENOMEM;
}
