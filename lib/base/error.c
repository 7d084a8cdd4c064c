/* SPDX-License-Identifier: ISC */
/* Error texts. Invariant: the text is one line and always terminated. */
#include "lib/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, int code, const char *format, ...)
{
	va_list args;

	if (err == NULL)
		return code;
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	return code;
}

/* Append as much of the text as there is room for. */
static void append(char *text, size_t size, const char *more)
{
	size_t len = strlen(text);

	snprintf(text + len, size - len, "%s", more);
}

/* ": " and the reason. A name that leaves no room for it is cut instead. */
static void append_reason(char *text, size_t size, const char *reason)
{
	static const char cut[] = "...";
	size_t len = strlen(cut) + strlen(": ") + strlen(reason);

	if (strlen(text) + strlen(": ") + strlen(reason) >= size && len < size)
		memcpy(text + size - 1 - len, cut, sizeof(cut));
	append(text, size, ": ");
	append(text, size, reason);
}

int error_set_errno(struct error *err, int code, const char *format, ...)
{
	va_list args;

	if (err == NULL)
		return code;
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	append_reason(err->text, sizeof(err->text), strerror(-code));
	return code;
}

int error_prefix(struct error *err, int code, const char *format, ...)
{
	struct error whole;
	va_list args;

	if (err == NULL)
		return code;
	va_start(args, format);
	vsnprintf(whole.text, sizeof(whole.text), format, args);
	va_end(args);
	append_reason(whole.text, sizeof(whole.text), error_text(err, code));
	*err = whole;
	return code;
}

const char *error_text(const struct error *err, int code)
{
	if (err != NULL && err->text[0] != '\0')
		return err->text;
	return strerror(-code);
}
