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
	ENTRY_DEFAULT = 4096,
};

enum {
	CACHE,
	L2_CACHE,
	REFCOUNT_CACHE,
	L2_CACHE_ENTRY,
};

static int take_switches(struct keys *keys, const char *prefix,
			 struct error *err)
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
		rc = keys_take_bool_of(keys, prefix, names[i], &is_on, err);
	return rc;
}

static int check_sizes(const struct source *source, struct error *err)
{
	const uint64_t *sizes = source->cache_sizes;
	const bool *has = source->has_cache_size;
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

static int take_sizes(struct keys *keys, const char *prefix,
		      struct source *source, struct error *err)
{
	static const char *const names[SOURCE_N_CACHE_SIZES] = {
		[CACHE] = "cache-size",
		[L2_CACHE] = "l2-cache-size",
		[REFCOUNT_CACHE] = "refcount-cache-size",
		[L2_CACHE_ENTRY] = "l2-cache-entry-size",
	};
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < array_size(names); i++) {
		const char *text = keys_take_of(keys, prefix, names[i]);

		source->has_cache_size[i] = text != NULL;
		if (text != NULL)
			rc = image_size_parse(names[i], text,
					      &source->cache_sizes[i], err);
	}
	return rc < 0 ? rc : check_sizes(source, err);
}

/* What is given to one cache of what both may take is not for the other one. */
static uint64_t rest(const struct source *source, unsigned one, unsigned other)
{
	const uint64_t *sizes = source->cache_sizes;
	const bool *has = source->has_cache_size;

	if (has[one])
		return sizes[one];
	return has[CACHE] ? sizes[CACHE] - (has[other] ? sizes[other] : 0) : 0;
}

/* That of L2 tables is never larger than these, unless both together are
 * limited. */
static int check_limits(const struct source *source, uint64_t cluster_size,
			uint64_t entry, struct error *err)
{
	const bool *has = source->has_cache_size;

	if (has[CACHE] && (has[L2_CACHE] || has[REFCOUNT_CACHE]) &&
	    rest(source, L2_CACHE, REFCOUNT_CACHE) / entry > INT_MAX)
		return error_set(err, -EINVAL, "L2 cache size too big");
	if (rest(source, REFCOUNT_CACHE, L2_CACHE) / cluster_size > INT_MAX)
		return error_set(err, -EINVAL, "Refcount cache size too big");
	return 0;
}

int source_check_qcow2(const struct source *source, struct image *image,
		       struct error *err)
{
	uint64_t cluster_size = image_cluster_size(image);
	uint64_t entry =
		ENTRY_DEFAULT < cluster_size ? ENTRY_DEFAULT : cluster_size;
	int rc;

	if (source->has_cache_size[L2_CACHE_ENTRY])
		entry = source->cache_sizes[L2_CACHE_ENTRY];
	if (entry < SECTOR || (entry & (entry - 1)) != 0 ||
	    entry > cluster_size)
		return error_set(err, -EINVAL,
				 "L2 cache entry size must be a power of two "
				 "between %d and the cluster size (%u)",
				 SECTOR, (unsigned)cluster_size);
	rc = check_limits(source, cluster_size, entry, err);
	/* Both came with version 3. */
	if (rc == 0 && source->has_lazy_refcounts &&
	    !image_can_have_bitmaps(image))
		rc = error_set(err, -EINVAL,
			       "Lazy refcounts require a qcow2 image with at "
			       "least qemu 1.1 compatibility level");
	return rc;
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
static int take_overlap(struct keys *keys, const char *prefix,
			struct error *err)
{
	static const char name[] = "overlap-check";
	static const char other_name[] = "overlap-check.template";
	const char *text = keys_take_of(keys, prefix, name);
	const char *other = keys_take_of(keys, prefix, other_name);

	if (text != NULL && other != NULL && strcmp(text, other) != 0)
		return error_set(err, -EINVAL,
				 "Conflicting values for qcow2 options '%s' "
				 "('%s') and '%s' ('%s')",
				 name, text, other_name, other);
	return check_overlap(text != NULL ? text : other, err);
}

static int take_all(struct keys *keys, const char *prefix,
		    struct source *source, struct error *err)
{
	static const char interval[] = "cache-clean-interval";
	const char *text = keys_take_of(keys, prefix, interval);
	uint64_t seconds = 0;
	int rc = take_switches(keys, prefix, err);

	if (rc == 0)
		rc = keys_take_bool_of(keys, prefix, "lazy-refcounts",
				       &source->has_lazy_refcounts, err);
	if (rc == 0)
		rc = take_sizes(keys, prefix, source, err);
	if (rc == 0 && text != NULL)
		rc = image_number_parse(interval, text, &seconds, err);
	if (rc == 0 && seconds > UINT_MAX)
		rc = error_set(err, -EINVAL, "Cache clean interval too big");
	return rc == 0 ? take_overlap(keys, prefix, err) : rc;
}

int source_take_qcow2(struct keys *keys, const char *prefix,
		      struct source *source, struct error *err)
{
	bool was_taken[KEYS_MAX] = { false };
	int rc;

	for (unsigned i = 0; i < keys->n; i++)
		was_taken[i] = keys->list[i].is_taken;
	rc = take_all(keys, prefix, source, err);
	for (unsigned i = 0; rc == 0 && i < keys->n; i++)
		if (keys->list[i].is_taken && !was_taken[i])
			return text_replace(&source->qcow2_option,
					    keys->list[i].name +
						    strlen(prefix));
	return rc;
}
