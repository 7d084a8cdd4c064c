/* SPDX-License-Identifier: ISC */
/*
 * Messages as qemu-img gives them, because scripts read them. What comes from
 * a file name or an image may hold anything: control characters are shown as
 * '?', so that they do not reach the terminal.
 */
#ifndef VM_IMG_REPORT_H
#define VM_IMG_REPORT_H

#include <stdbool.h>

struct error;

/* "PROGRAM: TEXT" on standard error. A hint, of a lock that is held or of
 * a repair, goes to a line of its own. */
void report_error(const char *format, ...)
	__attribute__((format(printf, 1, 2)));
/* "PROGRAM: warning: TEXT". */
void report_warning(const char *format, ...)
	__attribute__((format(printf, 1, 2)));
/* The same of a line of the engine's. */
void report_warned(const char *line);
/* What is wrong with a file of the user's: "PROGRAM:FILE: TEXT", and
 * "PROGRAM:FILE:LINE: warning: TEXT". */
void report_error_at(const char *file, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void report_warning_at(const char *file, unsigned line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* A further line of the message before: no program name. */
void report_hint(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, of names that are ours, where qemu-img does not end the line: ended
 * only for a person to read. */
void report_open_hint(const char *format, ...)
	__attribute__((format(printf, 1, 2)));
/* The lines that QEMU has after this error of a size or an identifier; none
 * after others. */
void report_hint_of(const char *text);

/* What went wrong, as QEMU's block layer hands it on: the error number's text
 * alone, unless there is more to it than a read or a write that failed. */
const char *report_reason(const struct error *err, int rc);

/* If the error's text begins so, it is told first, before what failed for it.
 */
bool report_cause(const struct error *err, const char *beginning);

/* What the library finds wrong with an image: such a line. */
void report_found(void *context, const char *line);
/* Where two files are not the same and must be: the same, once, and what fails
 * for it is not told. As qemu-img, which ends there, the program will exit with
 * status 1. */
void report_differed(void *context, const char *line);

/* An error of usage: the text, where to look, and status 1, as qemu-img. */
_Noreturn void report_usage(const char *format, ...)
	__attribute__((format(printf, 1, 2)));
/* The same in getopt(3)'s place, whose texts begin with more of a name. */
_Noreturn void report_usage_of_option(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

/* From now on it is this verb's help where to look, and getopt(3) names it;
 * NULL: the program's, and it does not. */
void report_usage_of(const char *verb);

/* The status of failures that no verb has one of its own for: 1, or what it
 * was made where 1 says something else. */
int report_failure(void);
void report_set_failure(int status);

/*
 * Close standard output and say whether everything reached it, unless nobody
 * reads on: a program that prints results ends with this. status, or that of
 * failures and a message, or what report_differed() says.
 */
int report_finish(int status);

#endif
