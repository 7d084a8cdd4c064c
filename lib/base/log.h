/* SPDX-License-Identifier: ISC */
/*
 * Logging to standard error, one line a message: "PROGRAM: TEXT". Programs
 * report errors; libraries may warn (a guest or a peer that misbehaved) and
 * trace, never more.
 */
#ifndef LIB_BASE_LOG_H
#define LIB_BASE_LOG_H

enum log_level {
	LOG_LEVEL_ERROR, /* -q: nothing but errors */
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,	 /* the default */
	LOG_LEVEL_DEBUG, /* -v */
};

/* program is kept, not copied; argv[0]'s last component is usual. */
void log_init(const char *program);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
const char *log_program(void);

/* One write(2) a line; control characters in the text become '?'. */
void log_message(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...) log_message(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_message(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_LEVEL_DEBUG, __VA_ARGS__)

enum {
	EXIT_USAGE = 2,
};

/* For programs during set-up: log_error() and exit(status). */
_Noreturn void die(int status, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
