/* SPDX-License-Identifier: ISC */
/*
 * Logging. A message is put together in one buffer and written at once, so
 * that lines of several threads and processes never mix.
 */
#include "lib/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	LINE_MAX_LEN = 2048,
};

static const char *program_name = "pipevisor";
static enum log_level max_level = LOG_LEVEL_INFO;

void log_init(const char *program)
{
	const char *slash = strrchr(program, '/');

	program_name = slash != NULL ? slash + 1 : program;
}

void log_set_level(enum log_level level)
{
	max_level = level;
}

enum log_level log_get_level(void)
{
	return max_level;
}

const char *log_program(void)
{
	return program_name;
}

/* Texts quote what guests and peers sent: they must not drive a terminal. */
static void disarm(char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == 0x7f)
			*text = '?';
	}
}

static __attribute__((format(printf, 1, 0))) void write_line(const char *format,
							     va_list args)
{
	char line[LINE_MAX_LEN];
	int saved = errno;
	size_t start, len;

	snprintf(line, sizeof(line) - 1, "%s: ", program_name);
	start = strlen(line);
	vsnprintf(line + start, sizeof(line) - 1 - start, format, args);
	disarm(line);
	len = strlen(line);
	line[len++] = '\n';
	/* Nobody is left to be told when standard error fails. */
	while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
		;
	errno = saved;
}

void log_message(enum log_level level, const char *format, ...)
{
	va_list args;

	if (level > max_level)
		return;
	va_start(args, format);
	write_line(format, args);
	va_end(args);
}

void die(int status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line(format, args);
	va_end(args);
	exit(status);
}
