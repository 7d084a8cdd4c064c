/* SPDX-License-Identifier: ISC */
/*
 * Errors. A library function returns 0 (or a count) or -errno, converted on
 * the system call's own line; where the number alone would be a riddle it
 * also fills a struct error with one line that names the thing and the
 * reason. The library never prints it: the program does, once.
 */
#ifndef LIB_BASE_ERROR_H
#define LIB_BASE_ERROR_H

struct error {
	char text[512];
};

#define ERROR_INIT \
	{ \
		.text = "" \
	}

/*
 * Set the text and return code (a negative errno), so that a failing
 * function can end in `return error_set(err, -EINVAL, "...");`.
 * err may be NULL. The text has no newline and no program name.
 */
int error_set(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* As error_set(), followed by ": " and strerror(-code), for which a text that is
 * too long is cut. */
int error_set_errno(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Put a prefix and ": " before a text already set; returns code. What is too long
 * is cut from the prefix. */
int error_prefix(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The text, or strerror(-code) where a callee left none. Never NULL. */
const char *error_text(const struct error *err, int code);

#endif
