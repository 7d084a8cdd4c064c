/* SPDX-License-Identifier: ISC */
/* Option tables to getopt_long(), in qemu-img's words. */
#include "vm-img/arguments.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/size.h"
#include "lib/image/image.h"
#include "vm-img/abbreviation.h"
#include "vm-img/format_options.h"
#include "vm-img/object.h"
#include "vm-img/protocols.h"
#include "vm-img/report.h"
#include "vm-img/source.h"
#include "vm-img/verb.h"

#include <assert.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum {
	SPECS_MAX = 40,
	/* Of metadata: enough to go through an image from one end to the
	 * other. */
	CACHE_ONE_PASS = 1 << 20,
};

static enum compat compat = COMPAT_7_2;
static bool has_image_opts;

enum compat arguments_compat(void)
{
	return compat;
}

static bool set_compat(const char *version, const char *verb)
{
	if (strcmp(version, "7.2") != 0 && strcmp(version, "10.2") != 0)
		return false;
	compat = version[0] == '7' ? COMPAT_7_2 : COMPAT_10_2;
	report_usage_of(compat == COMPAT_10_2 ? verb : NULL);
	format_options_have_later(compat == COMPAT_10_2);
	return true;
}

/* What is wrong with one is said when its turn comes. */
void arguments_find_compat(int argc, char **argv)
{
	static const char option[] = "--compat";
	size_t len = strlen(option);

	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strncmp(argv[i], option, len) != 0)
			continue;
		if (argv[i][len] == '=')
			(void)set_compat(argv[i] + len + 1, argv[0]);
		else if (argv[i][len] == '\0' && i + 1 < argc)
			(void)set_compat(argv[i + 1], argv[0]);
	}
}

static void translate_letters(const struct option_spec *specs, char *letters)
{
	*letters++ = ':'; /* tell what is missing */
	for (; specs->name != NULL; specs++) {
		if (specs->id >= OPTION_FIRST)
			continue;
		*letters++ = (char)specs->id;
		if (specs->argument != NULL)
			*letters++ = ':';
	}
	*letters = '\0';
}

static void translate_names(const struct arguments *a, bool is_older,
			    struct option *longs)
{
	const struct option_spec *spec;

	for (spec = a->specs; spec->name != NULL; spec++)
		if (!is_older ||
		    abbreviation_is_older(a->argv[0], spec->name, compat))
			*longs++ = (struct option){
				.name = spec->name,
				.has_arg = spec->argument != NULL
						   ? required_argument
						   : no_argument,
				.val = spec->id,
			};
	*longs = (struct option){ .name = NULL };
}

static unsigned count(const struct option_spec *specs)
{
	unsigned n = 0;

	while (specs[n].name != NULL)
		n++;
	return n;
}

/* In getopt(3)'s words. It leaves no letter behind of a name that it does not
 * know, and that of a name which takes no argument but was given one. */
_Noreturn static void refuse_later(const struct arguments *a, bool is_missing)
{
	const char *word = a->argv[optind - 1];
	const struct option_spec *spec = a->specs;

	while (spec->name != NULL && spec->id != optopt)
		spec++;
	if (is_missing && strncmp(word, "--", 2) == 0)
		report_usage_of_option("option '--%s' requires an argument",
				       spec->name);
	if (is_missing)
		report_usage_of_option("option requires an argument -- '%c'",
				       optopt);
	if (optopt == 0)
		report_usage_of_option("unrecognized option '%s'", word);
	if (spec->name != NULL)
		report_usage_of_option("option '--%s' doesn't allow an "
				       "argument",
				       spec->name);
	report_usage_of_option("invalid option -- '%c'", optopt);
}

_Noreturn static void refuse(const struct arguments *a, bool is_missing)
{
	if (compat == COMPAT_10_2)
		refuse_later(a, is_missing);
	report_usage(is_missing ? "missing argument for option '%s'"
				: "unrecognized option '%s'",
		     a->argv[optind - 1]);
}

/* What is cut short means what it does in qemu-img; what is no name there, nor
 * the beginning of one alone, is looked for among all names. */
static int take_option(struct arguments *a)
{
	struct option longs[SPECS_MAX];
	char letters[2 * SPECS_MAX + 3] = "-";
	int id;

	assert(count(a->specs) < SPECS_MAX);
	translate_letters(a->specs, a->is_in_order ? letters + 1 : letters);
	translate_names(a, true, longs);
	id = getopt_long(a->argc, a->argv, letters, longs, NULL);
	/* It has left no letter of a long name, and may be asked again. */
	if (id == '?' && optopt == 0) {
		optind--;
		translate_names(a, false, longs);
		id = getopt_long(a->argc, a->argv, letters, longs, NULL);
	}
	return id >= OPTION_ALIAS ? id - OPTION_ALIAS : id;
}

int arguments_next(struct arguments *a)
{
	int id;

	if (a->operands == NULL)
		optind = 0; /* GNU: begin anew */
	a->operands = a->argv;
	opterr = 0;
	id = take_option(a);
	a->value = optarg;
	switch (id) {
	case OPTION_HELP:
		verb_help();
	case ':':
		refuse(a, true);
	case '?':
		refuse(a, false);
	case OPTION_OBJECT:
		object_add(a->value);
		return arguments_next(a);
	case OPTION_IMAGE_OPTS:
		has_image_opts = true;
		return arguments_next(a);
	case OPTION_ALLOW_PROTOCOLS:
		protocols_allow();
		return arguments_next(a);
	case OPTION_COMPAT:
		if (!set_compat(a->value, a->argv[0]))
			report_usage("--compat must be 7.2 or 10.2");
		return arguments_next(a);
	case OPTION_OUTPUT:
		/* What earlier versions find wrong in the end. */
		if (compat == COMPAT_10_2)
			(void)argument_is_json(a->value);
		return id;
	case -1:
		a->operands = a->argv + optind;
		a->n_operands = a->argc - optind;
		return -1;
	default:
		return id;
	}
}

const char *arguments_take_negative(struct arguments *a)
{
	const char *word = optind < a->argc ? a->argv[optind] : "";

	if (word[0] != '-' || word[1] < '0' || word[1] > '9')
		return NULL;
	optind++;
	return word;
}

int argument_size(const char *what, const char *text, uint64_t *size)
{
	return argument_number(what, text, 0, INT64_MAX, size);
}

static int check_range(const char *what, int rc, uint64_t min, uint64_t max,
		       uint64_t number)
{
	if (rc == 0 && number >= min && number <= max)
		return 0;
	report_error("Invalid %s specified. Must be between %llu and %llu.",
		     what, (unsigned long long)min, (unsigned long long)max);
	return -EINVAL;
}

static int refuse_number(const char *what, const char *text)
{
	report_error("Invalid %s specified: '%s'", what, text);
	return -EINVAL;
}

int argument_number(const char *what, const char *text, uint64_t min,
		    uint64_t max, uint64_t *size)
{
	struct error err = ERROR_INIT;
	int rc = image_size_parse(what, text, size, &err);

	if (rc != -EINVAL)
		return check_range(what, rc, min, max, *size);
	if (compat == COMPAT_10_2)
		return refuse_number(what, text);
	report_error("Invalid %s specified. You may use k, M, G, T, P or E "
		     "suffixes for",
		     what);
	report_error("kilobytes, megabytes, gigabytes, terabytes, petabytes "
		     "and exabytes.");
	return rc;
}

int argument_count(const char *what, const char *text, uint64_t min,
		   uint64_t max, uint64_t *number)
{
	struct error err = ERROR_INIT;
	int rc = image_number_parse(what, text, number, &err);

	if (rc == -EINVAL)
		return refuse_number(what, text);
	return check_range(what, rc, min, max, *number);
}

bool argument_is_json(const char *text)
{
	if (strcmp(text, "json") == 0)
		return true;
	if (strcmp(text, "human") == 0)
		return false;
	if (compat == COMPAT_10_2)
		report_usage("--output expects 'human' or 'json', not '%s'",
			     text);
	report_error("--output must be used with human or json as argument.");
	exit(EXIT_FAILURE);
}

int argument_cache(const char *text, unsigned *flags)
{
	static const struct {
		const char *name;
		unsigned flags;
	} modes[] = {
		{ "none", IMAGE_DIRECT },   { "off", IMAGE_DIRECT },
		{ "writeback", 0 },	    { "writethrough", 0 },
		{ "unsafe", IMAGE_UNSAFE }, { "directsync", IMAGE_DIRECT },
	};

	for (unsigned i = 0; i < array_size(modes); i++)
		if (strcmp(modes[i].name, text) == 0) {
			*flags = modes[i].flags;
			return 0;
		}
	return -EINVAL;
}

/* What name said of the images under the last layer; lives on, as the engine
 * may not but the caller does look at it. */
static struct source kept;

bool arguments_have_image_opts(void)
{
	return has_image_opts;
}

static int open_source(struct image **image, struct source *source,
		       unsigned flags, struct error *err)
{
	const struct image_open_options options = {
		.format = source->format,
		.flags = flags | source->flags | source_path_flags(source),
		.cache_size = flags & IMAGE_READ_ONLY ? CACHE_ONE_PASS : 0,
		.secrets = object_secrets(),
		.key_secret = source->key_secret,
		.layers = source_layers(source),
		.vpc_size = source->vpc_size,
		.data_file = source_data_file(source),
		.header_path = source->header_path,
		.nbd_context = source->nbd_context,
		.null = source->null,
		.quorum = source_quorum(source),
		.found = report_found,
		.differed = report_differed,
		.accept = source_accept,
		.accept_context = source,
		.under = source_under(source),
		.protocol = protocols_policy,
	};
	unsigned n_empty = source_count_empty_backings(source);
	int rc;

	for (; n_empty > 0; n_empty--)
		report_warning("Use of \"backing\": \"\" is deprecated; use "
			       "\"backing\": null instead");
	if (source->needs_unmap && flags & IMAGE_READ_ONLY) {
		(void)source_refuse_unmap(err);
		return -EINVAL;
	}
	rc = image_open(image, source->path, &options, err);
	if (rc < 0)
		return rc;
	if (source->flags & ~flags & IMAGE_READ_ONLY)
		rc = error_set(err, -EROFS, "Block node is read-only");
	else
		rc = source_finish(source, *image);
	if (rc < 0)
		image_abandon(*image);
	return rc;
}

/* Who opens no image under this one has no use for what is said of it. */
static int refuse_under(const struct source *source, struct error *err)
{
	if (source->under == NULL)
		return 0;
	return error_set(err, -EINVAL,
			 "Block format '%s' does not support the option "
			 "'backing.%s'",
			 source->format != NULL ? source->format : "qcow2",
			 source->under_name);
}

/* An image whose format nobody said was taken for raw, and may be written. */
static void report_guess(const struct image *image)
{
	if (strcmp(image_format_name(image), "raw") != 0)
		return;
	report_hint("WARNING: Image format was not specified for '%s' and "
		    "probing guessed raw.",
		    image_name(image));
	report_hint("         Automatically detecting the format is dangerous "
		    "for raw images, write operations on block 0 will be "
		    "restricted.");
	report_hint("         Specify the 'raw' format explicitly to remove "
		    "the restrictions.");
}

static struct image *open_name(struct source *source, const char *name,
			       const char *format, unsigned flags,
			       bool is_options, bool is_layer)
{
	struct error err = ERROR_INIT;
	struct image *image;
	int rc;

	if (is_options && format != NULL) {
		report_error("--image-opts and --format are mutually "
			     "exclusive");
		return NULL;
	}
	rc = source_parse(source, name, format, is_options, &err);
	if (rc == 0 && is_options && source->is_share_denied &&
	    flags & IMAGE_FORCE_SHARE) {
		report_error("--force-share/-U conflicts with image options");
		return NULL;
	}
	if (rc == 0 && flags & IMAGE_NO_BACKING && !is_layer)
		rc = refuse_under(source, &err);
	if (rc == 0)
		rc = open_source(&image, source, flags, &err);
	if (rc == 0 && source->format == NULL && !image_is_read_only(image))
		report_guess(image);
	if (rc == 0)
		return image;
	report_error("Could not open '%s': %s", name, error_text(&err, rc));
	report_hint_of(error_text(&err, rc));
	return NULL;
}

int check_new_or_report(const char *path)
{
	struct error err = ERROR_INIT;
	int rc = source_check_new(path, &err);

	if (rc < 0)
		report_error("%s", error_text(&err, rc));
	return rc;
}

struct image *open_target_or_report(const char *name, const char *format,
				    unsigned flags, bool is_options)
{
	struct source source = { .path = NULL };
	struct image *image =
		open_name(&source, name, format, flags, is_options, false);

	source_deinit(&source);
	return image;
}

struct image *open_layer_or_report(const char *name, const char *format,
				   unsigned flags,
				   const struct image_under **under)
{
	struct image *image =
		open_name(&kept, name, format, flags | IMAGE_NO_BACKING,
			  has_image_opts, true);

	*under = source_under(&kept);
	return image;
}

int open_backing(struct image **image, const char *of, const char *name,
		 const char *format, unsigned flags, struct error *err)
{
	struct source source = { .path = NULL };
	_cleanup_free_ char *path = NULL;
	int rc;

	if (name[strcspn(name, ":/")] != ':') {
		path = image_backing_resolve(of, name);
		if (path == NULL)
			return -ENOMEM;
		name = path;
	}
	rc = source_parse(&source, name, format, false, err);
	if (rc == 0)
		rc = open_source(image, &source, flags, err);
	source_deinit(&source);
	return rc;
}

struct image *open_inside_or_report(const char *name, const char *format,
				    unsigned flags)
{
	struct source source = { .path = NULL };
	struct error err = ERROR_INIT;
	struct image *image = NULL;
	int rc = protocols_parse(&source, name, format, &err);

	if (rc == 0)
		rc = open_source(&image, &source, flags, &err);
	if (rc < 0)
		report_error("Could not open '%s': %s", name,
			     error_text(&err, rc));
	source_deinit(&source);
	return rc < 0 ? NULL : image;
}

/* uri: what name stands for; NULL: a path, which name is. */
static struct image *open_plain(const char *name, const char *uri,
				const struct image_open_options *options)
{
	struct error err = ERROR_INIT;
	struct image *image;
	int rc = image_open(&image, uri != NULL ? uri : name, options, &err);

	if (rc == 0)
		return image;
	report_error("Could not open '%s': %s", name, error_text(&err, rc));
	return NULL;
}

struct image *open_new_or_report(const char *name, const char *format,
				 const char *key_secret, unsigned flags)
{
	const struct image_open_options options = {
		.format = format,
		.flags = flags | IMAGE_NBD,
		.secrets = object_secrets(),
		.key_secret = key_secret,
		.found = report_found,
		.differed = report_differed,
		.protocol = protocols_policy,
	};
	_cleanup_free_ char *uri = NULL;
	struct error err = ERROR_INIT;
	int rc = 0;

	if (source_is_old_nbd(name))
		rc = source_parse_old_nbd(name, &uri, &err);
	if (rc == 0)
		return open_plain(name, uri, &options);
	report_error("Could not open '%s': %s", name, error_text(&err, rc));
	return NULL;
}

struct image *open_path_or_report(const char *path, const char *format,
				  unsigned flags)
{
	const struct image_open_options options = {
		.format = format,
		.flags = flags,
		.cache_size = flags & IMAGE_READ_ONLY ? CACHE_ONE_PASS : 0,
		.found = report_found,
		.differed = report_differed,
	};

	return open_plain(path, NULL, &options);
}

struct image *open_or_report(const char *name, const char *format,
			     unsigned flags)
{
	return open_target_or_report(name, format, flags, has_image_opts);
}

int close_or_report(struct image *image)
{
	_cleanup_free_ char *name = strdup(image_name(image));
	struct error err = ERROR_INIT;
	int rc = image_close(image, &err);

	if (rc < 0)
		report_error("Could not finish writing '%s': %s",
			     name != NULL ? name : "", error_text(&err, rc));
	return rc;
}
