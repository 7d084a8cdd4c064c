/* SPDX-License-Identifier: ISC */
/*
 * Key slots of a volume that is there already, given passwords and taken
 * away. Whoever does not insist keeps at least one.
 *
 * A slot is off the header before its material changes, and on it only when
 * that is on the disk: a kill on the way loses this slot, and no other.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/size.h"
#include "lib/image/format.h"
#include "lib/image/luks.h"
#include "lib/image/luks_internal.h"

#include <stdio.h>
#include <string.h>

enum {
	OPTION_NAME_MAX = 40,
};

const struct image_option_spec luks_amend_specs[] = {
	{ "state", "str",
	  "Select new state of affected keyslots (active/inactive)", NULL },
	{ "keyslot", "num", "Select a single keyslot to modify explicitly",
	  NULL },
	{ "old-secret", "str", "Select all keyslots that match this password",
	  NULL },
	{ "new-secret", "str",
	  "New secret to set in the matching keyslots. Empty string to erase",
	  NULL },
	{ "iter-time", "num", "Time to spend in PBKDF in milliseconds", NULL },
	{ NULL, NULL, NULL, NULL },
};

/* What is asked for. */
struct change {
	bool is_forced, has_slot;
	unsigned slot;
	uint64_t iter_time_ms;
	const char *old_secret, *new_secret; /* ids, or NULL */
	bool has_iter_time;
	const struct secrets *secrets;
};

static const char *find(const struct image_amend_options *o, const char *prefix,
			const char *name)
{
	const struct image_create_options all = {
		.options = o->options,
		.n_options = o->n_options,
	};
	char full[OPTION_NAME_MAX];

	snprintf(full, sizeof(full), "%s%s", prefix, name);
	return image_option_find(&all, full);
}

static int find_number(const struct image_amend_options *o, const char *prefix,
		       const char *name, uint64_t *number, bool *is_given,
		       struct error *err)
{
	const char *text = find(o, prefix, name);

	*is_given = text != NULL;
	if (text == NULL || number_parse(text, 0, UINT32_MAX, number) == 0)
		return 0;
	return error_set(err, -EINVAL, "Parameter '%s%s' expects a number",
			 prefix, name);
}

static int read_change(struct change *c, const struct image_amend_options *o,
		       const char *prefix, struct error *err)
{
	uint64_t slot = 0;
	int rc;

	*c = (struct change){
		.is_forced = o->is_forced,
		.iter_time_ms = LUKS_ITER_TIME_MS,
		.old_secret = find(o, prefix, "old-secret"),
		.new_secret = find(o, prefix, "new-secret"),
		.secrets = o->secrets,
	};
	rc = find_number(o, prefix, "keyslot", &slot, &c->has_slot, err);
	if (rc == 0)
		rc = find_number(o, prefix, "iter-time", &c->iter_time_ms,
				 &c->has_iter_time, err);
	if (rc == 0 && slot >= LUKS_SLOTS)
		rc = error_set(err, -EINVAL,
			       "Invalid keyslot %llu specified, must be "
			       "between 0 and %d",
			       (unsigned long long)slot, LUKS_SLOTS - 1);
	c->slot = (unsigned)slot;
	return rc;
}

static unsigned count_active(const struct luks *luks)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		n += luks->slots[i].is_active;
	return n;
}

static int choose_slot(const struct luks *luks, struct change *c,
		       struct error *err)
{
	if (c->has_slot) {
		if (!luks->slots[c->slot].is_active || c->is_forced)
			return 0;
		return error_set(err, -EINVAL,
				 "Refusing to overwrite active keyslot %u - "
				 "please erase it first",
				 c->slot);
	}
	for (c->slot = 0; c->slot < LUKS_SLOTS; c->slot++)
		if (!luks->slots[c->slot].is_active)
			return 0;
	return error_set(err, -EINVAL,
			 "Can't add a keyslot - all keyslots are in use");
}

/* Salt and material of what is no longer in use. */
static int take_off(struct luks *luks, const struct luks_place *place,
		    unsigned slot, struct error *err)
{
	if (!luks->slots[slot].is_active)
		return 0;
	luks->slots[slot].is_active = false;
	return luks_write_header(luks, place, err);
}

static int activate(struct luks *luks, const struct luks_place *place,
		    struct change *c, const struct secret *password,
		    struct error *err)
{
	struct secret wanted;
	uint8_t key[CIPHER_KEY_MAX];
	int rc;

	if (c->new_secret == NULL)
		return error_set(err, -EINVAL,
				 "'new-secret' is required to activate a "
				 "keyslot");
	if (c->old_secret != NULL)
		return error_set(err, -EINVAL,
				 "'old-secret' must not be given when "
				 "activating keyslots");
	rc = choose_slot(luks, c, err);
	if (rc == 0)
		rc = luks_find_password(c->secrets, c->new_secret, "new-secret",
					&wanted, err);
	if (rc == 0)
		rc = luks_unlock(luks, place, password, key, NULL, err);
	if (rc == 0)
		rc = take_off(luks, place, c->slot, err);
	if (rc == 0)
		rc = luks_set_slot(luks, place, c->slot, &wanted, key,
				   c->iter_time_ms, err);
	if (rc == 0)
		rc = luks_write_header(luks, place, err);
	explicit_bzero(key, sizeof(key));
	return rc;
}

/* Which of the slots that are asked for does the password open? */
static int match(const struct luks *luks, const struct luks_place *place,
		 const struct change *c, bool *matches, struct error *err)
{
	struct luks one = *luks;
	struct secret old;
	uint8_t key[CIPHER_KEY_MAX];
	int rc = luks_find_password(c->secrets, c->old_secret, "old-secret",
				    &old, err);

	one.cipher.iv_hash = one.iv_hash;
	for (unsigned i = 0; rc == 0 && i < LUKS_SLOTS; i++) {
		if (!luks->slots[i].is_active || (c->has_slot && i != c->slot))
			continue;
		for (unsigned j = 0; j < LUKS_SLOTS; j++)
			one.slots[j].is_active = j == i;
		rc = luks_unlock(&one, place, &old, key, NULL, err);
		matches[i] = rc == 0;
		if (rc == -EACCES)
			rc = 0;
	}
	explicit_bzero(key, sizeof(key));
	return rc;
}

static int check_matches(const struct luks *luks, const struct change *c,
			 const bool *matches, struct error *err)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		n += matches[i];
	if (n == 0 && c->has_slot)
		return error_set(err, -EINVAL,
				 "Given keyslot %u doesn't contain the given "
				 "old password for erase operation",
				 c->slot);
	if (n == 0)
		return error_set(err, -EINVAL,
				 "No keyslots match given (old) password for "
				 "erase operation");
	if (c->is_forced || n < count_active(luks))
		return 0;
	return error_set(err, -EINVAL,
			 "All the active keyslots match the (old) password "
			 "that was given and erasing them will erase all the "
			 "data in the image irreversibly - refusing "
			 "operation");
}

static int check_slot(const struct luks *luks, const struct change *c,
		      struct error *err)
{
	if (!luks->slots[c->slot].is_active && !c->is_forced)
		return error_set(err, -EINVAL,
				 "Given keyslot %u is already erased "
				 "(inactive) ",
				 c->slot);
	if (c->is_forced || count_active(luks) > 1)
		return 0;
	return error_set(err, -EINVAL,
			 "Attempt to erase the only active keyslot %u which "
			 "will erase all the data in the image irreversibly - "
			 "refusing operation",
			 c->slot);
}

static int erase(struct luks *luks, const struct luks_place *place,
		 unsigned slot, struct error *err)
{
	int rc = take_off(luks, place, slot, err);

	return rc < 0 ? rc : luks_wipe_slot(luks, place, slot, err);
}

static int deactivate(struct luks *luks, const struct luks_place *place,
		      struct change *c, struct error *err)
{
	bool matches[LUKS_SLOTS] = { false };
	int rc;

	if (c->new_secret != NULL)
		return error_set(err, -EINVAL,
				 "'new-secret' must not be given when erasing "
				 "keyslots");
	if (c->has_iter_time)
		return error_set(err, -EINVAL,
				 "'iter-time' must not be given when erasing "
				 "keyslots");
	if (!c->has_slot && c->old_secret == NULL)
		return error_set(err, -EINVAL,
				 "To erase keyslot(s), either explicit keyslot "
				 "index or the password currently contained in "
				 "them must be given");
	if (c->old_secret != NULL) {
		rc = match(luks, place, c, matches, err);
		if (rc == 0)
			rc = check_matches(luks, c, matches, err);
	} else {
		rc = check_slot(luks, c, err);
		matches[c->slot] = true;
	}
	for (unsigned i = 0; rc == 0 && i < LUKS_SLOTS; i++)
		if (matches[i])
			rc = erase(luks, place, i, err);
	return rc;
}

int luks_amend(struct luks *luks, const struct luks_place *place,
	       const struct image_amend_options *options, const char *prefix,
	       const char *key_id, struct error *err)
{
	const char *state = find(options, prefix, "state");
	struct secret password;
	struct change c;
	int rc;

	if (state == NULL)
		return error_set(err, -EINVAL, "Parameter 'state' is missing");
	if (strcmp(state, "active") != 0 && strcmp(state, "inactive") != 0)
		return error_set(err, -EINVAL,
				 "Parameter 'state' does not accept value "
				 "'%s'",
				 state);
	rc = read_change(&c, options, prefix, err);
	if (rc == 0 && strcmp(state, "inactive") == 0)
		return deactivate(luks, place, &c, err);
	if (rc == 0)
		rc = luks_find_password(options->secrets, key_id, "key-secret",
					&password, err);
	return rc < 0 ? rc : activate(luks, place, &c, &password, err);
}
