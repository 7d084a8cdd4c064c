/* SPDX-License-Identifier: ISC */
/*
 * What QEMU can be told about how to work with a qcow2 image: here it makes no
 * difference, or is done anyhow, but a value that is none, or that the image
 * cannot have, is a slip.
 */
#include "vm-img/source.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/image/image.h"
#include "vm-img/keys.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

enum {
	SECTOR = 512,
};

enum {
	CACHE,
	L2_CACHE,
	REFCOUNT_CACHE,
	L2_CACHE_ENTRY,
};

static int take_switches(struct keys *keys, struct error *err)
{
	static const char *const names[] = {
		"pass-discard-request",
		"discard-no-unref",
		"pass-discard-snapshot",
		"pass-discard-other",
		"overlap-check.main-header",
		"overlap-check.active-l1",
		"overlap-check.active-l2",
		"overlap-check.refcount-table",
		"overlap-check.refcount-block",
		"overlap-check.snapshot-table",
		"overlap-check.inactive-l1",
		"overlap-check.inactive-l2",
		"overlap-check.bitmap-directory",
	};
	bool is_on;
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < array_size(names); i++)
		rc = keys_take_bool(keys, names[i], &is_on, err);
	return rc;
}

static int check_sizes(const uint64_t *sizes, const bool *has,
		       struct error *err)
{
	const char *text = NULL;

	if (has[CACHE] && has[L2_CACHE] && has[REFCOUNT_CACHE])
		text = "cache-size, l2-cache-size and refcount-cache-size may "
		       "not be set at the same time";
	else if (has[CACHE] && has[L2_CACHE] && sizes[L2_CACHE] > sizes[CACHE])
		text = "l2-cache-size may not exceed cache-size";
	else if (has[CACHE] && has[REFCOUNT_CACHE] &&
		 sizes[REFCOUNT_CACHE] > sizes[CACHE])
		text = "refcount-cache-size may not exceed cache-size";
	return text != NULL ? error_set(err, -EINVAL, "%s", text) : 0;
}

static int take_sizes(struct keys *keys, struct source *source,
		      struct error *err)
{
	static const char *const names[] = {
		[CACHE] = "cache-size",
		[L2_CACHE] = "l2-cache-size",
		[REFCOUNT_CACHE] = "refcount-cache-size",
		[L2_CACHE_ENTRY] = "l2-cache-entry-size",
	};
	uint64_t sizes[array_size(names)] = { 0 };
	bool has[array_size(names)] = { false };
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < array_size(names); i++) {
		const char *text = keys_take(keys, names[i]);

		has[i] = text != NULL;
		if (text != NULL)
			rc = image_size_parse(names[i], text, &sizes[i], err);
	}
	if (rc < 0)
		return rc;
	source->has_l2_cache_entry = has[L2_CACHE_ENTRY];
	if (has[L2_CACHE_ENTRY])
		source->l2_cache_entry = sizes[L2_CACHE_ENTRY];
	return check_sizes(sizes, has, err);
}

int source_check_qcow2(const struct source *source, struct image *image,
		       struct error *err)
{
	uint64_t len = source->l2_cache_entry;

	if (source->has_l2_cache_entry &&
	    (len < SECTOR || (len & (len - 1)) != 0 ||
	     len > image_cluster_size(image)))
		return error_set(err, -EINVAL,
				 "L2 cache entry size must be a power of two "
				 "between %d and the cluster size (%u)",
				 SECTOR, (unsigned)image_cluster_size(image));
	/* Both came with version 3. */
	if (source->has_lazy_refcounts && !image_can_have_bitmaps(image))
		return error_set(err, -EINVAL,
				 "Lazy refcounts require a qcow2 image with at "
				 "least qemu 1.1 compatibility level");
	return 0;
}

static int check_overlap(const char *text, struct error *err)
{
	static const char *const values[] = { "none", "constant", "cached",
					      "all" };

	for (unsigned i = 0; i < array_size(values); i++)
		if (text == NULL || strcmp(text, values[i]) == 0)
			return 0;
	return error_set(err, -EINVAL,
			 "Unsupported value '%s' for qcow2 option "
			 "'overlap-check'. Allowed are any of the following: "
			 "none, constant, cached, all",
			 text);
}

/* It has two names. */
static int take_overlap(struct keys *keys, struct error *err)
{
	static const char name[] = "overlap-check";
	static const char other_name[] = "overlap-check.template";
	const char *text = keys_take(keys, name);
	const char *other = keys_take(keys, other_name);

	if (text != NULL && other != NULL && strcmp(text, other) != 0)
		return error_set(err, -EINVAL,
				 "Conflicting values for qcow2 options '%s' "
				 "('%s') and '%s' ('%s')",
				 name, text, other_name, other);
	return check_overlap(text != NULL ? text : other, err);
}

static int take_all(struct keys *keys, struct source *source, struct error *err)
{
	static const char interval[] = "cache-clean-interval";
	const char *text = keys_take(keys, interval);
	uint64_t seconds = 0;
	int rc = take_switches(keys, err);

	if (rc == 0)
		rc = keys_take_bool(keys, "lazy-refcounts",
				    &source->has_lazy_refcounts, err);
	if (rc == 0)
		rc = take_sizes(keys, source, err);
	if (rc == 0 && text != NULL)
		rc = image_number_parse(interval, text, &seconds, err);
	if (rc == 0 && seconds > UINT_MAX)
		rc = error_set(err, -EINVAL, "Cache clean interval too big");
	return rc == 0 ? take_overlap(keys, err) : rc;
}

int source_take_qcow2(struct keys *keys, struct source *source,
		      struct error *err)
{
	bool was_taken[KEYS_MAX] = { false };
	int rc;

	for (unsigned i = 0; i < keys->n; i++)
		was_taken[i] = keys->list[i].is_taken;
	rc = take_all(keys, source, err);
	for (unsigned i = 0; rc == 0 && i < keys->n; i++)
		if (keys->list[i].is_taken && !was_taken[i])
			return text_replace(&source->qcow2_option,
					    keys->list[i].name);
	return rc;
}
