/* SPDX-License-Identifier: ISC */
/* convert to standard output. */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "vm-img/convert.h"
#include "vm-img/copy.h"
#include "vm-img/rate.h"
#include "vm-img/report.h"
#include "vm-img/standard.h"
#include "vm-img/stream.h"
#include "vm-img/workers.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
	PIECE = 1024 * 1024,
	SECTOR = 512,
};

/* Data of its own file, or that is where nothing was written; and legacy
 * encryption, which goes by the disk's sectors. */
static bool is_for_files(const char *name, const char *value)
{
	static const char *const names[] = {
		"data_file", "data_file_raw",	 "nocow",
		"static",    "extent_size_hint", "zeroed_grain",
	};

	for (unsigned i = 0; i < array_size(names); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	if (strcmp(name, "preallocation") == 0)
		return strcmp(value, "off") != 0;
	if (strcmp(name, "encryption") == 0)
		return format_options_is_on(value);
	return strcmp(name, "encrypt.format") == 0 &&
	       strcmp(value, "luks") != 0;
}

static int check_stream_options(const struct convert *request)
{
	const struct format_options *o = &request->options;
	bool is_vmdk = strcmp(request->target_format, "vmdk") == 0;
	const char *subformat = format_options_get(o, "subformat");

	if (is_vmdk &&
	    (subformat == NULL || strcmp(subformat, "streamOptimized") != 0)) {
		report_error("Format 'vmdk' is written to standard output with "
			     "-o subformat=streamOptimized alone");
		return -ENOTSUP;
	}
	for (unsigned i = 0; i < o->n; i++) {
		bool is_backing = strncmp(o->names[i], "backing_", 8) == 0;

		if (!is_for_files(o->names[i], o->values[i]) &&
		    !(is_vmdk && is_backing))
			continue;
		report_error("Option '%s=%s' is not available for standard "
			     "output",
			     o->names[i], o->values[i]);
		return -ENOTSUP;
	}
	return 0;
}

/* What the options ask for cannot be had in every format that way. */
int convert_stream_check(struct convert *request)
{
	const char *format = request->target_format;
	bool is_vmdk = strcmp(format, "vmdk") == 0;

	if (!is_vmdk && strcmp(format, "raw") != 0 &&
	    strcmp(format, "qcow2") != 0) {
		report_error("Format '%s' cannot be written to standard output",
			     format);
		return -ENOTSUP;
	}
	if (request->has_no_create || request->has_sparse ||
	    request->wants_progress || request->wants_bitmaps) {
		report_error("Options -n, -p, -S and --bitmaps are not "
			     "available for standard output");
		return -ENOTSUP;
	}
	/* It is compressed in any case. */
	if (is_vmdk)
		request->wants_compression = false;
	return check_stream_options(request);
}

/* Nothing needs to be known of it first; but disks are made of sectors. */
static int pass_on(const struct stream *stream, struct error *err)
{
	_cleanup_free_ uint8_t *buf = malloc(PIECE);
	size_t got, pad;
	int rc;

	if (buf == NULL)
		return -ENOMEM;
	do {
		rc = standard_read(buf, PIECE, &got, err);
		if (rc < 0)
			return rc;
		pad = -got % SECTOR;
		memset(buf + got, 0, pad);
		rc = stream_write(stream, buf, got + pad, err);
	} while (rc == 0 && got == PIECE);
	return rc;
}

int convert_pass_on(const struct convert *request)
{
	struct rate rate = { .limit = request->rate_limit };
	const struct stream stream = { .fd = STDOUT_FILENO, .rate = &rate };
	struct error err = ERROR_INIT;
	int rc = standard_prepare_output(&err);

	if (rc == 0)
		rc = pass_on(&stream, &err);
	if (rc < 0)
		report_error("%s", error_text(&err, rc));
	return rc;
}

/* To standard output, which nobody can go back on. */
int convert_stream(const struct convert *request, struct image **sources,
		   const struct image_create_options *create)
{
	struct rate rate = { .limit = request->rate_limit };
	const struct stream stream = {
		.rate = &rate,
		.is_salvaged = request->is_salvaged,
		.is_quiet = request->is_quiet,
		.sources = sources,
		.n_sources = request->n_sources,
		.n_workers = workers_limit(workers_processors(COPY_WORKERS_MAX),
					   sources, request->n_sources),
		.fd = STDOUT_FILENO,
	};
	const struct stream_target target = {
		.create = create,
		.is_compressed = request->wants_compression,
	};
	struct error err = ERROR_INIT;
	int rc = standard_prepare_output(&err);

	if (rc == 0 && strcmp(request->target_format, "raw") == 0)
		rc = stream_raw(&stream, &err);
	else if (rc == 0 && strcmp(request->target_format, "qcow2") == 0)
		rc = stream_qcow2(&stream, &target, &err);
	else if (rc == 0)
		rc = stream_vmdk(&stream, &target, &err);
	if (rc < 0)
		report_error("%s", error_text(&err, rc));
	return rc;
}
