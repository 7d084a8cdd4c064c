/* SPDX-License-Identifier: ISC */
/*
 * What QEMU can be told about how to work with a qcow2 image: here it makes no
 * difference, or is done anyhow, but a value that is none is a slip.
 */
#include "vm-img/source.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/image.h"
#include "vm-img/keys.h"

#include <errno.h>
#include <string.h>

static int take_switches(struct keys *keys, struct error *err)
{
	static const char *const names[] = {
		"lazy-refcounts",
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

static int take_sizes(struct keys *keys, struct error *err)
{
	static const char *const names[] = {
		"cache-size",
		"l2-cache-size",
		"l2-cache-entry-size",
		"refcount-cache-size",
	};
	uint64_t bytes;
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < array_size(names); i++) {
		const char *text = keys_take(keys, names[i]);

		if (text != NULL)
			rc = image_size_parse(names[i], text, &bytes, err);
	}
	return rc;
}

static int take_overlap_check(struct keys *keys, const char *name,
			      struct error *err)
{
	static const char *const values[] = { "none", "constant", "cached",
					      "all" };
	const char *text = keys_take(keys, name);

	for (unsigned i = 0; i < array_size(values); i++)
		if (text == NULL || strcmp(text, values[i]) == 0)
			return 0;
	return error_set(err, -EINVAL,
			 "Unsupported value '%s' for qcow2 option "
			 "'overlap-check'. Allowed are any of the following: "
			 "none, constant, cached, all",
			 text);
}

int source_take_qcow2(struct keys *keys, struct error *err)
{
	static const char interval[] = "cache-clean-interval";
	const char *text = keys_take(keys, interval);
	uint64_t seconds;
	int rc = take_switches(keys, err);

	keys_take(keys, "encrypt.format");
	if (rc == 0)
		rc = take_sizes(keys, err);
	if (rc == 0 && text != NULL)
		rc = image_number_parse(interval, text, &seconds, err);
	if (rc == 0)
		rc = take_overlap_check(keys, "overlap-check", err);
	if (rc == 0)
		rc = take_overlap_check(keys, "overlap-check.template", err);
	return rc;
}
