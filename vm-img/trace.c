/* SPDX-License-Identifier: ISC */
/*
 * qemu-img's -T, in its words. Lines go to standard error, or to a file, which
 * is made when all options are known.
 */
#include "vm-img/trace.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/trace.h"
#include "vm-img/keys.h"
#include "vm-img/report.h"

#include <stdio.h>
#include <string.h>

static char *log_path;
static FILE *log_file;

/* stdio locks: lines of several threads stay whole. */
static void tell(const char *line)
{
	fprintf(log_file != NULL ? log_file : stderr, "%s\n", line);
}

_Noreturn static void list(void)
{
	for (unsigned i = 0; i < IMAGE_TRACE_EVENTS; i++)
		printf("%s\n", image_trace_name((enum image_trace_event)i));
	exit(report_finish(EXIT_SUCCESS));
}

/* A pattern may match nothing; a name that is none is told. where is before
 * it in a file, or NULL. */
static void enable(const char *pattern, const char *file, unsigned n)
{
	bool is_on = *pattern != '-';

	if (strcmp(pattern, "help") == 0 || strcmp(pattern, "?") == 0)
		list();
	pattern += !is_on;
	if (image_trace_enable(pattern, is_on) || strchr(pattern, '*') != NULL)
		return;
	if (file == NULL)
		report_warning("trace event '%s' does not exist", pattern);
	else
		report_warning_at(file, n, "trace event '%s' does not exist",
				  pattern);
}

static void enable_from(const char *path)
{
	_cleanup_free_ char *line = NULL;
	FILE *file = fopen(path, "re");
	unsigned n = 0;
	size_t room = 0;

	if (file == NULL) {
		report_error_at(path, "%s", strerror(errno));
		exit(EXIT_FAILURE);
	}
	while (getline(&line, &room, file) >= 0) {
		n++;
		line[strcspn(line, "\n")] = '\0';
		if (*line != '\0' && *line != '#')
			enable(line, path, n);
	}
	fclose(file);
}

void trace_take(const char *text)
{
	struct error err = ERROR_INIT;
	struct keys keys = { .n = 0 };
	const char *pattern, *events, *file;
	int rc = keys_parse(&keys, text, "enable", &err);

	pattern = keys_take(&keys, "enable");
	events = keys_take(&keys, "events");
	file = keys_take(&keys, "file");
	if (rc == 0 && keys_left(&keys) != NULL)
		rc = error_set(&err, -EINVAL, "Invalid parameter '%s'",
			       keys_left(&keys));
	if (rc < 0) {
		report_error("%s", error_text(&err, rc));
		exit(EXIT_FAILURE);
	}
	if (pattern != NULL)
		enable(pattern, NULL, 0);
	if (events != NULL)
		enable_from(events);
	if (file != NULL) {
		free(log_path);
		log_path = strdup(file);
	}
	keys_deinit(&keys);
}

void trace_begin(void)
{
	if (log_path != NULL) {
		log_file = fopen(log_path, "we");
		if (log_file == NULL) {
			report_error("Error opening logfile %s: %s", log_path,
				     strerror(errno));
			exit(EXIT_FAILURE);
		}
		setvbuf(log_file, NULL, _IOLBF, 0);
		free(log_path);
		log_path = NULL;
	}
	image_trace_to(tell);
}
