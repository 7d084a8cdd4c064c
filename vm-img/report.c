/* SPDX-License-Identifier: ISC */
/* qemu-img's manner of telling what went wrong. */
#include "vm-img/report.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/image/image.h"
#include "lib/image/lock.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	TEXT_MAX = 8192, /* two path names and some words */
};

static const char *usage_verb;
static int failure = EXIT_FAILURE;
static atomic_bool has_mismatch; /* which is the last that is told */

static void disarm(char *text)
{
	for (; *text != '\0'; text++)
		if (iscntrl((unsigned char)*text))
			*text = '?';
}

/* Cut what is a line of its own off text: that, or NULL. */
static char *take_hint(char *text)
{
	static const char *const hints[] = {
		": " IMAGE_LOCK_HINT,
		": " IMAGE_QCOW2_HINT,
		": You can force-remove ",
		": server reported: ",
	};

	for (unsigned i = 0; i < array_size(hints); i++) {
		char *hint = strstr(text, hints[i]);

		if (hint == NULL)
			continue;
		*hint = '\0';
		return hint + strlen(": ");
	}
	return NULL;
}

/* As QEMU's, it does not wait for what is printed: in a pipe, where output is
 * kept until the end, messages come first. */
static __attribute__((format(printf, 2, 0))) void
write_message(const char *prefix, const char *format, va_list args)
{
	char text[TEXT_MAX];
	char *hint;

	vsnprintf(text, sizeof(text), format, args);
	disarm(text);
	hint = take_hint(text);
	if (prefix != NULL)
		fprintf(stderr, "%s:%s", log_program(), prefix);
	fprintf(stderr, "%s\n", text);
	if (hint != NULL)
		fprintf(stderr, "%s\n", hint);
}

void report_error(const char *format, ...)
{
	va_list args;

	if (atomic_load(&has_mismatch))
		return;
	va_start(args, format);
	write_message(" ", format, args);
	va_end(args);
}

void report_warning(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_message(" warning: ", format, args);
	va_end(args);
}

void report_error_at(const char *file, const char *format, ...)
{
	char prefix[TEXT_MAX];
	va_list args;

	snprintf(prefix, sizeof(prefix), "%s: ", file);
	disarm(prefix);
	va_start(args, format);
	write_message(prefix, format, args);
	va_end(args);
}

void report_warning_at(const char *file, unsigned line, const char *format, ...)
{
	char prefix[TEXT_MAX];
	va_list args;

	snprintf(prefix, sizeof(prefix), "%s:%u: warning: ", file, line);
	disarm(prefix);
	va_start(args, format);
	write_message(prefix, format, args);
	va_end(args);
}

void report_hint(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_message(NULL, format, args);
	va_end(args);
}

void report_open_hint(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	if (isatty(STDERR_FILENO))
		fputc('\n', stderr);
}

void report_hint_of(const char *text)
{
	if (strstr(text, "expects a non-negative number below") != NULL) {
		report_hint("Optional suffix k, M, G, T, P or E means kilo-, "
			    "mega-, giga-, tera-, peta-");
		report_hint("and exabytes, respectively.");
	} else if (strstr(text, "expects an identifier") != NULL) {
		report_hint("Identifiers consist of letters, digits, '-', "
			    "'.', '_', starting with a letter.");
	}
}

const char *report_reason(const struct error *err, int rc)
{
	const char *text = error_text(err, rc), *number = strerror(-rc);
	size_t len = strlen(text), end = strlen(number);

	return len > end && strcmp(text + len - end, number) == 0 ? number
								  : text;
}

bool report_cause(const struct error *err, const char *beginning)
{
	if (strncmp(err->text, beginning, strlen(beginning)) != 0)
		return false;
	report_error("%s", err->text);
	return true;
}

void report_warned(const char *line)
{
	report_warning("%s", line);
}

void report_found(void *context, const char *line)
{
	(void)context;
	report_hint("%s", line);
}

void report_differed(void *context, const char *line)
{
	(void)context;
	if (!atomic_exchange(&has_mismatch, true))
		report_hint("%s", line);
}

void report_usage_of(const char *verb)
{
	usage_verb = verb;
}

_Noreturn static void fail_usage(bool has_verb, const char *text)
{
	const char *space = usage_verb != NULL ? " " : "";
	const char *verb = usage_verb != NULL ? usage_verb : "";

	report_hint("%s%s%s: %s", log_program(), has_verb ? space : "",
		    has_verb ? verb : "", text);
	report_hint("Try '%s%s%s --help' for more information", log_program(),
		    space, verb);
	exit(EXIT_FAILURE);
}

void report_usage(const char *format, ...)
{
	char text[TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fail_usage(false, text);
}

void report_usage_of_option(const char *format, ...)
{
	char text[TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fail_usage(true, text);
}

int report_failure(void)
{
	return failure;
}

void report_set_failure(int status)
{
	failure = status;
}

/* Such a reader has had what it wanted. */
static bool is_reader_gone(void)
{
	struct pollfd fd = { .fd = STDOUT_FILENO, .events = POLLOUT };

	return poll(&fd, 1, 0) > 0 && fd.revents & (POLLERR | POLLHUP);
}

int report_finish(int status)
{
	bool is_gone = is_reader_gone(), is_empty = __fpending(stdout) == 0;
	bool is_bad = ferror(stdout);

	/* Without any standard output, nothing is what reaches it. */
	if (fclose(stdout) < 0)
		is_bad |= !is_empty || errno != EBADF;
	if (atomic_load(&has_mismatch))
		status = EXIT_FAILURE;
	if (!is_bad || is_gone)
		return status;
	report_error("Could not write to standard output");
	return failure;
}
