/* SPDX-License-Identifier: ISC */
/*
 * measure: how large the file of a new image will be, now and when all of it
 * is written. For qcow2 that is the data and what its tables need when every
 * cluster is there (qcow2 specification, "Cluster mapping").
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/size.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/format_options.h"
#include "vm-img/json.h"
#include "vm-img/object.h"
#include "vm-img/report.h"
#include "vm-img/snapshot.h"
#include "vm-img/status.h"
#include "vm-img/verb.h"

#include <stdio.h>
#include <string.h>

enum {
	SECTOR = 512,
	CLUSTER_MIN = 512,
	CLUSTER_MAX = 2 * 1024 * 1024,
	CLUSTER_DEFAULT = 65536,
	CLUSTER_EXTENDED_MIN = 16384,
	L1_MAX = 32 * 1024 * 1024,
	ENTRY = 8, /* of L1, L2 and refcount tables */
	REFCOUNT_BITS_DEFAULT = 16,
};

const struct option_spec measure_options[] = {
	{ OPTION_OUTPUT, "output", "OFMT", "human (default) or json" },
	{ 'O', "target-format", "FMT", "of the new image (default: raw)" },
	{ 'o', "options", "OPTIONS", "NAME=VALUE,... of the new image" },
	{ 's', "size", "N", "of a new disk, which is empty" },
	{ OPTION_ALIAS + 'f', "source-format", "FMT", "the same as -f" },
	{ OPTION_ALIAS + OPTION_IMAGE_OPTS, "source-image-opts", NULL,
	  "the same as --image-opts" },
	{ OPTION_ALIAS + 'o', "target-format-options", "OPTIONS",
	  "the same as -o" },
	{ 'f', "format", "FMT", "the source's format (default: guess)" },
	{ 'l', "snapshot", "SNAPSHOT", "measure that instead of the disk" },
	{ 'U', "force-share", NULL, "open although another one writes it" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

struct request {
	const char *path, *format, *target_format, *output, *snapshot;
	uint64_t size;
	bool has_size, is_json;
	unsigned flags;
	struct format_options options;
};

struct measure {
	uint64_t required, fully_allocated, bitmaps;
	bool has_bitmaps;
};

struct geometry {
	uint64_t cluster_len, refcount_bits;
	unsigned version;
	bool is_extended, is_preallocated, has_backing;
};

static void free_request(struct request *request)
{
	format_options_deinit(&request->options);
}

static const char *get(const struct request *request, const char *name)
{
	return format_options_get(&request->options, name);
}

static uint64_t divide_up(uint64_t n, uint64_t by)
{
	return n / by + (n % by != 0);
}

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return divide_up(n, to) * to;
}

/* Refcount blocks count themselves, and the table that leads to them. */
static uint64_t refcount_len(uint64_t n_clusters, const struct geometry *g)
{
	uint64_t per_block = g->cluster_len * 8 / g->refcount_bits;
	uint64_t n_blocks = 0, n_table = 0, before;

	do {
		before = n_blocks + n_table;
		n_blocks = divide_up(n_clusters + before, per_block);
		n_table = divide_up(n_blocks * ENTRY, g->cluster_len);
	} while (n_blocks + n_table != before);
	return before * g->cluster_len;
}

/* size is whole clusters. */
static uint64_t full_len(uint64_t size, const struct geometry *g)
{
	uint64_t entry = g->is_extended ? 2 * ENTRY : ENTRY;
	uint64_t l2 = round_up(size / g->cluster_len * entry, g->cluster_len);
	uint64_t l1 = round_up(l2 / g->cluster_len * ENTRY, g->cluster_len);
	uint64_t all = g->cluster_len + l2 + l1 + size;

	return all + refcount_len(all / g->cluster_len, g);
}

static int refuse(const char *text)
{
	report_error("%s", text);
	return -EINVAL;
}

static bool is_power_of_two(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

static int check_clusters(const struct geometry *g)
{
	if (!is_power_of_two(g->cluster_len) || g->cluster_len < CLUSTER_MIN ||
	    g->cluster_len > CLUSTER_MAX)
		return refuse("Cluster size must be a power of two between "
			      "512 and 2048k");
	if (g->is_extended && g->cluster_len < CLUSTER_EXTENDED_MIN)
		return refuse("Extended L2 entries are only supported with "
			      "cluster sizes of at least 16384 bytes");
	return 0;
}

static int read_version(struct geometry *g, const char *compat)
{
	g->version = 3;
	if (compat == NULL || strcmp(compat, "1.1") == 0 ||
	    strcmp(compat, "v3") == 0)
		return 0;
	g->version = 2;
	if (strcmp(compat, "0.10") == 0 || strcmp(compat, "v2") == 0)
		return 0;
	report_error("Invalid compatibility level: '%s'", compat);
	return -EINVAL;
}

static int check_refcounts(const struct geometry *g)
{
	if (!is_power_of_two(g->refcount_bits) || g->refcount_bits > 64)
		return refuse("Refcount width must be a power of two and may "
			      "not exceed 64 bits");
	if (g->version < 3 && g->refcount_bits != REFCOUNT_BITS_DEFAULT)
		return refuse("Different refcount widths than 16 bits require "
			      "compatibility level 1.1 or above (use "
			      "compat=1.1 or greater)");
	return 0;
}

static int read_preallocation(struct geometry *g, const char *mode)
{
	g->is_preallocated = mode != NULL && (strcmp(mode, "falloc") == 0 ||
					      strcmp(mode, "full") == 0);
	if (mode == NULL || g->is_preallocated || strcmp(mode, "off") == 0 ||
	    strcmp(mode, "metadata") == 0)
		return 0;
	report_error("invalid parameter value: %s", mode);
	return -EINVAL;
}

/* Values are checked for their kind; sizes and numbers are plain. */
static int read_geometry(struct geometry *g, const struct request *request)
{
	const char *cluster = get(request, "cluster_size");
	const char *bits = get(request, "refcount_bits");
	const char *extended = get(request, "extended_l2");
	int rc;

	*g = (struct geometry){
		.cluster_len = CLUSTER_DEFAULT,
		.refcount_bits = REFCOUNT_BITS_DEFAULT,
		.is_extended = format_options_is_on(extended),
		.has_backing = get(request, "backing_file") != NULL,
	};
	if (cluster != NULL)
		size_parse(cluster, 'b', &g->cluster_len);
	if (bits != NULL)
		number_parse(bits, 0, UINT64_MAX, &g->refcount_bits);
	rc = check_clusters(g);
	if (rc == 0)
		rc = read_preallocation(g, get(request, "preallocation"));
	if (rc == 0)
		rc = read_version(g, get(request, "compat"));
	if (rc == 0)
		rc = check_refcounts(g);
	return rc;
}

static int find_luks_header(const struct request *request, const char *prefix,
			    uint64_t *len)
{
	struct image_option list[FORMAT_OPTIONS_MAX];
	struct image_create_options create = {
		.format = request->target_format,
		.secrets = object_secrets(),
	};
	struct error err = ERROR_INIT;
	int rc;

	format_options_apply(&request->options,
			     format_options_of_new(request->target_format, "",
						   NULL),
			     list, &create);
	rc = image_luks_measure(&create, prefix, len, &err);
	if (rc < 0)
		report_error("%s", error_text(&err, rc));
	return rc;
}

static int add_luks_header(struct measure *m, const struct request *request,
			   const struct geometry *g)
{
	const char *encryption = get(request, "encrypt.format");
	uint64_t len;
	int rc;

	if (encryption == NULL || strcmp(encryption, "luks") != 0)
		return 0;
	rc = find_luks_header(request, "encrypt.", &len);
	if (rc < 0)
		return rc;
	len = round_up(len, g->cluster_len);
	m->required += len;
	m->fully_allocated += len;
	return 0;
}

/* Bytes of clusters that hold something. */
static int count_data(struct image *source, uint64_t cluster_len,
		      uint64_t *bytes)
{
	uint64_t at = 0, end = image_size(source);
	struct error err = ERROR_INIT;
	struct status s;

	*bytes = 0;
	while (at < end) {
		int rc = status_get(source, at, end - at, &s, &err);

		if (rc < 0) {
			report_error("Unable to get block status: %s",
				     error_text(&err, rc));
			return rc;
		}
		if (!s.is_zero) {
			s.len = round_up(at + s.len, cluster_len) - at;
			*bytes += at % cluster_len + s.len;
		}
		at += s.len;
	}
	return 0;
}

static int measure_qcow2(struct measure *m, const struct request *request,
			 struct image *source, uint64_t size)
{
	struct error err = ERROR_INIT;
	struct geometry g;
	uint64_t data = 0, entry;
	int rc = read_geometry(&g, request);

	if (rc < 0)
		return rc;
	if (size > INT64_MAX - CLUSTER_MAX)
		size = INT64_MAX - CLUSTER_MAX;
	size = round_up(size, g.cluster_len);
	entry = g.is_extended ? 2 * ENTRY : ENTRY;
	if (divide_up(size / g.cluster_len, g.cluster_len / entry) * ENTRY >
	    L1_MAX)
		return refuse("The image size is too large (try using a "
			      "larger cluster size)");
	if (source != NULL && g.has_backing)
		data = size; /* nobody knows what is shared */
	else if (source != NULL)
		rc = count_data(source, g.cluster_len, &data);
	if (rc < 0)
		return rc;
	if (g.is_preallocated)
		data = size;
	m->fully_allocated = full_len(size, &g);
	m->required = m->fully_allocated - size + data;
	rc = add_luks_header(m, request, &g);
	if (rc < 0)
		return rc;
	m->has_bitmaps = g.version >= 3 && source != NULL &&
			 image_can_have_bitmaps(source);
	if (m->has_bitmaps)
		rc = image_bitmap_measure(source, g.cluster_len, &m->bitmaps,
					  &err);
	if (rc < 0)
		report_error("%s", error_text(&err, rc));
	return rc;
}

static int check_target(struct request *request)
{
	const struct image_option_spec *specs =
		format_options_of_new(request->target_format, "", NULL);
	int rc = 0;

	if (specs == NULL)
		return -ENOENT;
	if (request->options.wants_help)
		rc = refuse("Invalid parameter 'help'");
	if (rc == 0)
		rc = format_options_check_or_report(&request->options, specs);
	if (rc < 0)
		report_error("Invalid options for file format '%s'",
			     request->target_format);
	return rc;
}

static int measure_luks(struct measure *m, const struct request *request,
			uint64_t size)
{
	uint64_t header;
	int rc = find_luks_header(request, "", &header);

	if (rc < 0)
		return rc;
	m->required = header + size;
	m->fully_allocated = m->required;
	return 0;
}

static int measure(struct measure *m, struct request *request,
		   struct image *source)
{
	uint64_t size = request->size;
	const char *option;
	int rc = check_target(request);

	if (rc < 0)
		return rc;
	option = get(request, "size");
	if (source != NULL)
		size = image_size(source);
	else if (!request->has_size && option != NULL)
		size_parse(option, 'b', &size);
	if (strcmp(request->target_format, "qcow2") == 0)
		return measure_qcow2(m, request, source, size);
	if (strcmp(request->target_format, "luks") == 0)
		return measure_luks(m, request, size);
	if (strcmp(request->target_format, "raw") != 0) {
		report_error("Block driver '%s' does not support size "
			     "measurement",
			     request->target_format);
		return -ENOTSUP;
	}
	m->required = m->fully_allocated = round_up(size, SECTOR);
	return 0;
}

static void print(const struct measure *m, bool is_json)
{
	struct json json = { .depth = 0 };

	if (!is_json) {
		printf("required size: %llu\nfully allocated size: %llu\n",
		       (unsigned long long)m->required,
		       (unsigned long long)m->fully_allocated);
		if (m->has_bitmaps)
			printf("bitmaps size: %llu\n",
			       (unsigned long long)m->bitmaps);
		return;
	}
	json_open(&json, NULL, '{');
	if (m->has_bitmaps)
		json_number(&json, "bitmaps", m->bitmaps);
	json_number(&json, "required", m->required);
	json_number(&json, "fully-allocated", m->fully_allocated);
	json_close(&json, '}');
}

static int run_request(struct request *request)
{
	struct measure m = { .required = 0 };
	struct image *source = NULL;
	int rc;

	if (request->path != NULL) {
		source = open_or_report(request->path, request->format,
					IMAGE_READ_ONLY | request->flags);
		if (source == NULL)
			return EXIT_FAILURE;
		if (request->snapshot != NULL &&
		    snapshot_load_or_report(source, request->snapshot) < 0) {
			image_abandon(source);
			return EXIT_FAILURE;
		}
	}
	rc = measure(&m, request, source);
	image_abandon(source);
	if (rc < 0)
		return EXIT_FAILURE;
	print(&m, request->is_json);
	return EXIT_SUCCESS;
}

static int take_option(struct request *request, int id, const char *value)
{
	switch (id) {
	case 'O':
		request->target_format = value;
		return 0;
	case 'o':
		return format_options_parse(&request->options, value);
	case 'f':
		request->format = value;
		return 0;
	case 'U':
		request->flags |= IMAGE_FORCE_SHARE;
		return 0;
	case 'l':
		request->snapshot = value;
		return snapshot_check_or_report(value);
	case 's':
		request->has_size = true;
		return argument_size("image size", value, &request->size);
	default:
		request->is_json = argument_is_json(value);
		return 0;
	}
}

int measure_run(int argc, char **argv)
{
	_cleanup_(free_request) struct request request = {
		.target_format = "raw",
	};
	struct arguments a = { .specs = measure_options,
			       .argc = argc,
			       .argv = argv };
	const char *text = NULL;
	int id;

	while ((id = arguments_next(&a)) >= 0)
		if (take_option(&request, id, a.value) < 0)
			return EXIT_FAILURE;
	if (a.n_operands > 1)
		text = "At most one filename argument is allowed.";
	else if (a.n_operands == 0 &&
		 (request.format != NULL || request.snapshot != NULL ||
		  arguments_have_image_opts()))
		text = "--image-opts, -f, and -l require a filename argument.";
	else if (a.n_operands == 1 && request.has_size)
		text = "--size N cannot be used together with a filename.";
	else if (a.n_operands == 0 && !request.has_size)
		text = "Either --size N or one filename must be specified.";
	if (text != NULL) {
		report_error("%s", text);
		return EXIT_FAILURE;
	}
	if (a.n_operands == 1)
		request.path = a.operands[0];
	return run_request(&request);
}
