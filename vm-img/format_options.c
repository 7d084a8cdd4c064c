/* SPDX-License-Identifier: ISC */
/* "-o": QEMU's syntax, kinds of values, and words about wrong ones. */
#include "vm-img/format_options.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/options.h"
#include "lib/base/size.h"
#include "vm-img/report.h"
#include "vm-img/source.h"
#include "vm-img/source_node.h"

#include <stdio.h>
#include <string.h>

static int find(const struct format_options *options, const char *name)
{
	for (unsigned i = 0; i < options->n; i++)
		if (strcmp(options->names[i], name) == 0)
			return (int)i;
	return -1;
}

static int out_of_memory(void)
{
	report_error("Out of memory");
	return -ENOMEM;
}

int format_options_set(struct format_options *options, const char *name,
		       const char *value)
{
	_cleanup_free_ char *name_copy = strdup(name);
	_cleanup_free_ char *value_copy = strdup(value);
	int i = find(options, name);

	if (name_copy == NULL || value_copy == NULL)
		return out_of_memory();
	if (i < 0 && options->n == FORMAT_OPTIONS_MAX) {
		report_error("Too many options");
		return -EINVAL;
	}
	if (i < 0) {
		i = (int)options->n++;
		options->names[i] = steal_ptr(&name_copy);
	} else {
		free(options->values[i]);
	}
	options->values[i] = steal_ptr(&value_copy);
	return 0;
}

const char *format_options_get(const struct format_options *options,
			       const char *name)
{
	int i = find(options, name);

	return i >= 0 ? options->values[i] : NULL;
}

void format_options_deinit(struct format_options *options)
{
	for (unsigned i = 0; i < options->n; i++) {
		free(options->names[i]);
		free(options->values[i]);
	}
	options->n = 0;
}

/* An item that is empty is a slip, unless its commas stand for one comma. */
static bool is_list(const char *text)
{
	size_t len = strlen(text), n_commas = 0;

	while (n_commas < len && text[len - 1 - n_commas] == ',')
		n_commas++;
	return len > 0 && text[0] != ',' && n_commas % 2 == 0;
}

int format_options_parse(struct format_options *options, const char *text)
{
	_cleanup_free_ char *copy = strdup(text);
	char *cursor = copy, *key, *value;

	if (copy == NULL)
		return out_of_memory();
	if (!is_list(text)) {
		report_error("Invalid option list: %s", text);
		return -EINVAL;
	}
	while (suboption_next(&cursor, &key, &value)) {
		int rc;

		if (value == NULL &&
		    (strcmp(key, "help") == 0 || strcmp(key, "?") == 0)) {
			options->wants_help = true;
			return 0;
		}
		rc = format_options_set(options, key,
					value != NULL ? value : "on");
		if (rc < 0)
			return rc;
	}
	return 0;
}

static const struct image_option_spec *
find_spec(const struct image_option_spec *specs, const char *name)
{
	for (; specs->name != NULL; specs++)
		if (strcmp(specs->name, name) == 0)
			return specs;
	return NULL;
}

static int check_size(struct format_options *options, const char *name,
		      const char *value, struct error *err)
{
	char plain[24];
	uint64_t bytes;
	int rc = image_size_parse(name, value, &bytes, err);

	if (rc < 0)
		return rc;
	snprintf(plain, sizeof(plain), "%llu", (unsigned long long)bytes);
	return format_options_set(options, name, plain);
}

static int check_number(struct format_options *options, const char *name,
			const char *value, struct error *err)
{
	char plain[24];
	uint64_t number;
	int rc = image_number_parse(name, value, &number, err);

	if (rc < 0)
		return rc;
	snprintf(plain, sizeof(plain), "%lld", (long long)number);
	return format_options_set(options, name, plain);
}

/* "on" or "off", or NULL for what is neither. */
static const char *plain_bool(const char *value)
{
	static const char *const words[][2] = {
		{ "on", "on" }, { "yes", "on" },    { "true", "on" },
		{ "y", "on" },	{ "off", "off" },   { "no", "off" },
		{ "n", "off" }, { "false", "off" },
	};

	for (unsigned i = 0; i < array_size(words); i++)
		if (strcmp(words[i][0], value) == 0)
			return words[i][1];
	return NULL;
}

bool format_options_is_on(const char *value)
{
	const char *plain = value != NULL ? plain_bool(value) : NULL;

	return plain != NULL && strcmp(plain, "on") == 0;
}

static bool is_bool(const struct image_option_spec *spec)
{
	return strncmp(spec->argument, "bool", strlen("bool")) == 0;
}

static int check_one(struct format_options *options,
		     const struct image_option_spec *spec, const char *value,
		     struct error *err)
{
	if (strcmp(spec->argument, "size") == 0)
		return check_size(options, spec->name, value, err);
	if (strcmp(spec->argument, "num") == 0)
		return check_number(options, spec->name, value, err);
	if (is_bool(spec) && plain_bool(value) == NULL)
		return error_set(err, -EINVAL,
				 "Parameter '%s' expects 'on' or 'off'",
				 spec->name);
	return 0;
}

int format_options_check(struct format_options *options,
			 const struct image_option_spec *specs,
			 const struct image_option_spec *more,
			 struct error *err)
{
	for (unsigned i = 0; i < options->n; i++) {
		const char *name = options->names[i];
		const struct image_option_spec *spec = find_spec(specs, name);
		int rc;

		if (spec == NULL && more != NULL)
			spec = find_spec(more, name);
		if (spec == NULL)
			return error_set(err, -EINVAL, "Invalid parameter '%s'",
					 name);
		rc = check_one(options, spec, options->values[i], err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int format_options_check_or_report(struct format_options *options,
				   const struct image_option_spec *specs)
{
	struct error err = ERROR_INIT;
	int rc = format_options_check(options, specs, NULL, &err);

	if (rc < 0)
		report_error("%s", error_text(&err, rc));
	report_hint_of(err.text);
	return rc;
}

/*
 * May name, of format name_format, stand under an image? Differencing images
 * are not QEMU's: what none of them can have is refused as if they were not
 * ours either.
 */
static bool may_have_backing(const char *format, const char *name,
			     const char *name_format)
{
	const struct image_option_spec *spec =
		find_spec(image_create_specs(format), "backing_file");

	if ((name == NULL && name_format == NULL) ||
	    (spec != NULL && spec->help != NULL))
		return true;
	return spec != NULL && name != NULL && *name != '\0' &&
	       (name_format == NULL || strcmp(name_format, format) == 0);
}

/* The same of what -o says. */
static int check_backing_options(const struct format_options *options,
				 const char *format, struct error *err)
{
	const char *name = format_options_get(options, "backing_file");

	if (may_have_backing(format, name,
			     format_options_get(options, "backing_fmt")))
		return 0;
	return error_set(err, -EINVAL, "Invalid parameter '%s'",
			 name != NULL ? "backing_file" : "backing_fmt");
}

int format_options_set_backing(struct format_options *options,
			       const char *format, const char *name,
			       const char *name_format, struct error *err)
{
	int rc = check_backing_options(options, format, err);

	if (rc < 0)
		return rc;
	if (!may_have_backing(format, name, name_format))
		return error_set(err, -ENOTSUP,
				 "Backing file %snot supported for file format "
				 "'%s'",
				 name != NULL ? "" : "format ", format);
	if (name != NULL)
		rc = format_options_set(options, "backing_file", name);
	if (rc == 0 && name_format != NULL)
		rc = format_options_set(options, "backing_fmt", name_format);
	return rc;
}

unsigned format_options_list(const struct format_options *options,
			     const struct image_option_spec *specs,
			     struct image_option *list)
{
	for (unsigned i = 0; i < options->n; i++) {
		const char *name = options->names[i];
		const char *value = options->values[i];

		if (is_bool(find_spec(specs, name)))
			value = plain_bool(value);
		list[i] = (struct image_option){ .name = name, .value = value };
	}
	return options->n;
}

void format_options_apply(const struct format_options *options,
			  const struct image_option_spec *specs,
			  struct image_option *list,
			  struct image_create_options *create)
{
	unsigned n = format_options_list(options, specs, list);

	create->options = list;
	create->n_options = 0;
	for (unsigned i = 0; i < n; i++) {
		const struct image_option *o = &list[i];

		if (strcmp(o->name, "backing_file") == 0)
			create->backing_path = o->value;
		else if (strcmp(o->name, "backing_fmt") == 0)
			create->backing_format = o->value;
		else if (strcmp(o->name, "size") == 0)
			create->has_size =
				size_parse(o->value, 'b', &create->size) == 0;
		else
			list[create->n_options++] = *o;
	}
}

/* A comma in a value is doubled, as it must be typed. */
static void print_value(const char *value)
{
	for (; *value != '\0'; value++) {
		if (*value == ',')
			putchar(',');
		putchar(*value);
	}
}

void format_options_print(const struct format_options *options,
			  const struct image_option_spec *specs)
{
	for (; specs->name != NULL; specs++) {
		const char *value = format_options_get(options, specs->name);

		if (value == NULL)
			value = specs->standard;
		if (value == NULL)
			continue;
		printf(" %s=", specs->name);
		print_value(value);
	}
}

static int compare_specs(const void *a, const void *b)
{
	const struct image_option_spec *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static bool has_later;

void format_options_have_later(bool have)
{
	has_later = have;
}

/* What 7.2 does not have, and so is not told of as its. NULL: it is ours. */
static const char *help_of(const struct image_option_spec *spec)
{
	if (spec->help == NULL && has_later &&
	    strcmp(spec->name, "detached-header") == 0)
		return "Create a detached LUKS header";
	return spec->help;
}

void format_options_help(const struct image_option_spec *specs)
{
	struct image_option_spec sorted[FORMAT_OPTIONS_MAX] = { 0 };
	size_t n = 0;

	for (; specs->name != NULL && n < FORMAT_OPTIONS_MAX; specs++) {
		if (help_of(specs) == NULL)
			continue;
		sorted[n] = *specs;
		sorted[n++].help = help_of(specs);
	}
	qsort(sorted, n, sizeof(sorted[0]), compare_specs);
	for (size_t i = 0; i < n; i++) {
		char left[64];

		snprintf(left, sizeof(left), "%s=<%s>", sorted[i].name,
			 sorted[i].argument);
		printf("  %-22s - %s\n", left, sorted[i].help);
	}
}

bool format_options_is_format(const char *name)
{
	const char *const *names = image_format_names();

	while (*names != NULL && strcmp(*names, name) != 0)
		names++;
	return *names != NULL;
}

bool format_options_is_driver(const char *name)
{
	return format_options_is_format(name) || source_driver_is_file(name);
}

const struct image_option_spec *
format_options_of_new(const char *format, const char *path, const char *noun)
{
	static struct image_option_spec all[FORMAT_OPTIONS_MAX];
	const struct image_option_spec *specs = image_create_specs(format), *s;
	size_t n = 0;

	if (specs == NULL) {
		bool is_known = format_options_is_driver(format);

		report_error("%s%s%s '%s'%s", noun != NULL ? noun : "",
			     noun != NULL ? ": " : "",
			     is_known ? "Format driver" : "Unknown file format",
			     format,
			     is_known ? " does not support image creation"
				      : "");
		return NULL;
	}
	while (specs[n].name != NULL) {
		all[n] = specs[n];
		n++;
	}
	for (s = image_file_specs(path); path != NULL && s->name != NULL; s++)
		if (find_spec(specs, s->name) == NULL)
			all[n++] = *s;
	all[n].name = NULL;
	return all;
}

int format_options_help_new(const char *format, const char *path)
{
	const struct image_option_spec *specs =
		format_options_of_new(format, path, NULL);
	struct error err = ERROR_INIT;

	if (specs == NULL)
		return EXIT_FAILURE;
	if (path != NULL && source_check_new(path, &err) < 0) {
		report_error("%s", err.text);
		return EXIT_FAILURE;
	}
	if (path != NULL)
		printf("Supported options:\n");
	else
		printf("Supported %s options:\n", format);
	format_options_help(specs);
	if (path == NULL)
		printf("\nThe protocol level may support further options.\n"
		       "Specify the target filename to include those "
		       "options.\n");
	return EXIT_SUCCESS;
}
