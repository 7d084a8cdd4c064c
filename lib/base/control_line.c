/* SPDX-License-Identifier: ISC */
/*
 * Words of a request. Unquoting only ever shortens, so that the words stand
 * where they were read.
 */
#include "lib/base/control_line.h"

#include <errno.h>
#include <stdbool.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool has_control_character(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)line[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return true;
	}
	return false;
}

/* The word at *read, up to a blank; NULL or the reason. */
static const char *take_plain(char **read, char *write)
{
	char *p = *read;

	for (; *p != '\0' && !is_blank(*p); p++) {
		if (*p == '"')
			return "quote inside a word";
		*write++ = *p;
	}
	*read = p;
	*write = '\0';
	return NULL;
}

/* The word at *read, which is the opening quote. */
static const char *take_quoted(char **read, char *write)
{
	char *p = *read + 1;

	for (; *p != '"'; p++) {
		if (*p == '\\' && *++p != '"' && *p != '\\')
			return "backslash before neither quote nor backslash";
		if (*p == '\0')
			return "quote without end";
		*write++ = *p;
	}
	p++;
	if (*p != '\0' && !is_blank(*p))
		return "quote inside a word";
	*read = p;
	*write = '\0';
	return NULL;
}

int control_line_split(char *line, size_t len, char **words, int n_max,
		       const char **reason)
{
	char *read = line;
	int n = 0;

	if (len > 0 && line[len - 1] == '\r')
		len--;
	line[len] = '\0';
	*reason = NULL;
	if (has_control_character(line, len))
		*reason = "control character";
	while (*reason == NULL) {
		bool is_last;

		while (is_blank(*read))
			read++;
		if (*read == '\0')
			return n;
		if (n == n_max) {
			*reason = "too many words";
			break;
		}
		words[n++] = read;
		*reason = *read == '"' ? take_quoted(&read, read)
				       : take_plain(&read, read);
		/* The terminator may stand on the blank just found. */
		is_last = read == line + len;
		read += !is_last;
	}
	return -EINVAL;
}
