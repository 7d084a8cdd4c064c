/* SPDX-License-Identifier: ISC */
/* --object throttle-group,id=ID,limits.bps-total=N,…: see throttle.h. */
#include "vm-img/object.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/throttle.h"
#include "vm-img/keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	NAME_MAX_LEN = 64,
};

static struct group {
	char *id;
	struct throttle *throttle;
	struct group *next;
} * groups;

struct throttle *object_throttle(const char *id)
{
	const struct group *group = groups;

	while (group != NULL && strcmp(group->id, id) != 0)
		group = group->next;
	return group != NULL ? group->throttle : NULL;
}

void object_throttle_deinit(void)
{
	while (groups != NULL) {
		struct group *group = groups;

		groups = group->next;
		throttle_free(group->throttle);
		free(group->id);
		free(group);
	}
}

/* A negative one is too large: it is the limit's business to say so. */
static int take_number(struct keys *keys, const char *name, uint64_t *value,
		       struct error *err)
{
	int64_t number = (int64_t)*value;
	int rc = keys_take_integer(keys, name, &number, err);

	*value = (uint64_t)number;
	return rc;
}

/* By its name of today, and by the older one. */
static int take_limit(struct keys *keys, const char *name, uint64_t *value,
		      struct error *err)
{
	static const char *const prefixes[] = { "x-", "limits." };
	char full[NAME_MAX_LEN];
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < array_size(prefixes); i++) {
		snprintf(full, sizeof(full), "%s%s", prefixes[i], name);
		rc = take_number(keys, full, value, err);
	}
	return rc;
}

static int take_config(struct keys *keys, struct throttle_config *config,
		       struct error *err)
{
	static const char *const names[THROTTLE_N_LIMITS] = {
		"bps-total",  "bps-read",  "bps-write",
		"iops-total", "iops-read", "iops-write",
	};
	char name[NAME_MAX_LEN];
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < THROTTLE_N_LIMITS; i++) {
		struct throttle_rate *rate = &config->rates[i];

		rate->burst_length = 1;
		rc = take_limit(keys, names[i], &rate->average, err);
		snprintf(name, sizeof(name), "%s-max", names[i]);
		if (rc == 0)
			rc = take_limit(keys, name, &rate->maximum, err);
		snprintf(name, sizeof(name), "%s-max-length", names[i]);
		if (rc == 0)
			rc = take_limit(keys, name, &rate->burst_length, err);
	}
	return rc < 0 ? rc
		      : take_limit(keys, "iops-size", &config->request_size,
				   err);
}

int object_throttle_add(struct keys *keys, const char *id, struct error *err)
{
	struct throttle_config config = { .request_size = 0 };
	struct group *group;
	int rc = take_config(keys, &config, err);

	if (rc == 0 && keys_left(keys) != NULL)
		rc = error_set(err, -EINVAL, "Parameter '%s' is unexpected",
			       keys_left(keys));
	if (rc == 0)
		rc = throttle_check(&config, err);
	if (rc < 0)
		return rc;
	group = calloc(1, sizeof(*group));
	if (group == NULL)
		return -ENOMEM;
	*group = (struct group){ .id = strdup(id),
				 .throttle = throttle_new(&config),
				 .next = groups };
	groups = group;
	if (group->id != NULL && group->throttle != NULL)
		return 0;
	groups = group->next;
	throttle_free(group->throttle);
	free(group->id);
	free(group);
	return -ENOMEM;
}
