/* SPDX-License-Identifier: ISC */
/*
 * First all tokens of a value are looked at, up to the bracket that ends it,
 * then what they mean: of two errors it is the same one that QEMU finds.
 */
#include "vm-img/json_read.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	DEPTH_MAX = 16,	 /* objects within objects */
	NAMES_MAX = 128, /* in one object */
	UTF8_MAX = 4,
};

struct token {
	const char *text;
	size_t len; /* 0: there is none left */
};

struct reader {
	const char *at; /* behind the token */
	struct token token;
	json_found *found;
	void *context;
	unsigned depth;
	struct error *err;
};

static int refuse(const struct reader *r, const char *why)
{
	return error_set(r->err, -EINVAL, "JSON parse error, %s", why);
}

/* How long the digits are. */
static size_t span_digits(const char *text)
{
	size_t n = 0;

	while (isdigit((unsigned char)text[n]))
		n++;
	return n;
}

/* These three set *is_good, and give the length up to what is wrong, that
 * included. */
static size_t measure_number(const char *text, bool *is_good)
{
	size_t n = text[0] == '-' ? 1 : 0, digits;

	digits = span_digits(text + n);
	*is_good = digits > 0 && (text[n] != '0' || digits == 1);
	if (digits > 0 && text[n] == '0' && digits > 1)
		return n + 2;
	n += digits;
	if (*is_good && text[n] == '.') {
		digits = span_digits(text + n + 1);
		*is_good = digits > 0;
		n += 1 + digits;
	}
	if (*is_good && (text[n] == 'e' || text[n] == 'E')) {
		n++;
		n += text[n] == '+' || text[n] == '-' ? 1 : 0;
		digits = span_digits(text + n);
		*is_good = digits > 0;
		n += digits;
	}
	return *is_good || text[n] == '\0' ? n : n + 1;
}

static size_t measure_string(const char *text, bool *is_good)
{
	size_t n = 1;

	for (;; n++) {
		unsigned char c = (unsigned char)text[n];

		if (c == '\\' && text[n + 1] != '\0')
			c = (unsigned char)text[++n];
		else if (c == (unsigned char)text[0])
			break;
		if (c < 0x20 || c > 0xfd) {
			*is_good = false;
			return c == '\0' ? n : n + 1;
		}
	}
	*is_good = true;
	return n + 1;
}

static size_t measure(const char *text, bool *is_good)
{
	size_t n = 1;

	if (*text == '\'' || *text == '"')
		return measure_string(text, is_good);
	if (*text == '-' || isdigit((unsigned char)*text))
		return measure_number(text, is_good);
	*is_good = strchr("{}[]:,", *text) != NULL;
	if (*text < 'a' || *text > 'z')
		return n;
	*is_good = true;
	while (text[n] >= 'a' && text[n] <= 'z')
		n++;
	return n;
}

static struct token next_token(const char *at, bool *is_good)
{
	struct token token = { .text = at + strspn(at, " \t\r\n") };

	*is_good = true;
	if (*token.text != '\0')
		token.len = measure(token.text, is_good);
	return token;
}

/* Are all tokens of the first value such? */
static int look_ahead(const struct reader *r)
{
	const char *at = r->at;
	struct token token;
	int depth = 0;
	bool is_good;

	do {
		token = next_token(at, &is_good);
		at = token.text + token.len;
		if (!is_good)
			return error_set(r->err, -EINVAL,
					 "JSON parse error, stray '%.*s'",
					 (int)token.len, token.text);
		if (token.len > 0 && strchr("{[", *token.text) != NULL)
			depth++;
		else if (token.len > 0 && strchr("}]", *token.text) != NULL)
			depth--;
	} while (token.len > 0 && depth > 0);
	return 0;
}

static void advance(struct reader *r)
{
	bool is_good;

	r->token = next_token(r->at, &is_good);
	r->at = r->token.text + r->token.len;
}

static bool is_punctuation(const struct reader *r, char c)
{
	return r->token.len == 1 && *r->token.text == c;
}

/* With two bytes for zero, so that it does not end the text. */
static size_t put_utf8(char *to, unsigned c)
{
	if (c != 0)
		return utf8_put(to, c);
	to[0] = (char)0xc0;
	to[1] = (char)0x80;
	return 2;
}

/* Four digits behind "\u"; -1: they are not. */
static int read_hex(const char *text)
{
	int value = 0;

	for (unsigned i = 0; i < 4; i++) {
		unsigned char c = (unsigned char)text[i];

		if (!isxdigit(c))
			return -1;
		value = value * 16 +
			(isdigit(c) ? c - '0' : tolower(c) - 'a' + 10);
	}
	return value;
}

static bool is_second_half(int unit)
{
	return unit >= 0xdc00 && unit < 0xe000;
}

/* The character of "\uXXXX", or of two of them (UTF-16). text moves behind
 * it. */
static int read_unicode(const struct reader *r, const char **text, char *to,
			size_t *len)
{
	const char *end = r->token.text + r->token.len, *start = *text;
	int unit = read_hex(start + 2), next;
	unsigned c = (unsigned)unit;
	bool is_good = unit >= 0 && !is_second_half(unit);

	*text += 2 + strnlen(start + 2, 4);
	if (*text > end)
		*text = end;
	if (unit >= 0xd800 && unit < 0xdc00) {
		next = (*text)[0] == '\\' && (*text)[1] == 'u'
			       ? read_hex(*text + 2)
			       : -1;
		is_good = is_second_half(next);
		c = 0x10000 + ((c & 0x3ff) << 10 | ((unsigned)next & 0x3ff));
	}
	if (!is_good)
		return error_set(r->err, -EINVAL,
				 "JSON parse error, %.*s is not a valid "
				 "Unicode character",
				 (int)(*text - start), start);
	*text += c >= 0x10000 ? 6 : 0;
	*len += put_utf8(to + *len, c);
	return 0;
}

/* What the string means, never longer than it is written; to be freed. */
static int read_string(const struct reader *r, char **string)
{
	static const char escapes[] = "\"\"''\\\\//b\bf\fn\nr\rt\t";
	const char *at = r->token.text + 1;
	const char *end = r->token.text + r->token.len - 1;
	_cleanup_free_ char *to = malloc(r->token.len + UTF8_MAX);
	size_t len = 0, i;
	int rc;

	if (to == NULL)
		return -ENOMEM;
	while (at < end) {
		if (*at != '\\') {
			to[len++] = *at++;
			continue;
		}
		if (at[1] == 'u') {
			rc = read_unicode(r, &at, to, &len);
			if (rc < 0)
				return rc;
			continue;
		}
		for (i = 0; escapes[i] != '\0' && escapes[i] != at[1]; i += 2)
			;
		if (escapes[i] == '\0')
			return refuse(r, "invalid escape sequence in string");
		to[len++] = escapes[i + 1];
		at += 2;
	}
	to[len] = '\0';
	*string = steal_ptr(&to);
	return 0;
}

static int read_value(struct reader *r, const char *name);

/* One of an object or array; what is called so. */
static int read_member(struct reader *r, const char *prefix, const char *name)
{
	_cleanup_free_ char *full = NULL;

	if (asprintf(&full, "%s%s%s", prefix, *prefix != '\0' ? "." : "",
		     name) < 0) {
		full = NULL;
		return -ENOMEM;
	}
	return read_value(r, full);
}

struct names {
	char *list[NAMES_MAX];
	unsigned n;
};

static void names_deinit(struct names *names)
{
	while (names->n > 0)
		free(names->list[--names->n]);
}

/* The member's name, which names takes over. */
static int read_name(struct reader *r, struct names *names, char **name)
{
	int rc;

	if (r->token.len == 0)
		return refuse(r, "premature EOI");
	if (*r->token.text != '\'' && *r->token.text != '"') {
		rc = islower((unsigned char)*r->token.text) ||
				     strchr("}]:,", *r->token.text) != NULL
			     ? read_value(r, "")
			     : 0;
		return rc < 0 ? rc : refuse(r, "key is not a string in object");
	}
	if (names->n == NAMES_MAX)
		return error_set(r->err, -E2BIG, "Too many options");
	rc = read_string(r, name);
	if (rc == 0)
		names->list[names->n++] = *name;
	return rc;
}

static int read_pair(struct reader *r, const char *prefix, struct names *names)
{
	char *name = NULL;
	int rc;

	advance(r);
	rc = read_name(r, names, &name);
	if (rc < 0)
		return rc;
	advance(r);
	if (r->token.len == 0)
		return refuse(r, "premature EOI");
	if (!is_punctuation(r, ':'))
		return refuse(r, "missing : in object pair");
	advance(r);
	rc = read_member(r, prefix, name);
	for (unsigned i = 0; rc == 0 && i + 1 < names->n; i++)
		if (strcmp(names->list[i], name) == 0)
			return refuse(r, "duplicate key");
	return rc;
}

static int read_object(struct reader *r, const char *prefix)
{
	_cleanup_(names_deinit) struct names names = { .n = 0 };
	const char *start = r->at;
	int rc;

	advance(r);
	if (is_punctuation(r, '}'))
		return 0;
	r->at = start;
	do {
		rc = read_pair(r, prefix, &names);
		if (rc < 0)
			return rc;
		advance(r);
	} while (is_punctuation(r, ','));
	if (r->token.len == 0)
		return refuse(r, "premature EOI");
	return is_punctuation(r, '}') ? 0
				      : refuse(r, "expected separator in dict");
}

static int read_array(struct reader *r, const char *prefix)
{
	const char *start = r->at;
	char name[24];
	int rc;

	advance(r);
	if (is_punctuation(r, ']'))
		return 0;
	r->at = start;
	for (unsigned i = 0;; i++) {
		snprintf(name, sizeof(name), "%u", i);
		advance(r);
		rc = read_member(r, prefix, name);
		if (rc < 0)
			return rc;
		advance(r);
		if (!is_punctuation(r, ','))
			break;
	}
	if (r->token.len == 0)
		return refuse(r, "premature EOI");
	return is_punctuation(r, ']') ? 0
				      : refuse(r, "expected separator in list");
}

static int read_nested(struct reader *r, const char *name)
{
	int rc;

	if (r->depth == DEPTH_MAX)
		return refuse(r, "JSON is nested too deeply");
	r->depth++;
	rc = *r->token.text == '{' ? read_object(r, name) : read_array(r, name);
	r->depth--;
	return rc;
}

static int read_keyword(struct reader *r, const char *name)
{
	static const char *const words[][2] = {
		{ "true", "on" },
		{ "false", "off" },
		{ "null", "" },
	};

	for (unsigned i = 0; i < array_size(words); i++)
		if (strlen(words[i][0]) == r->token.len &&
		    strncmp(words[i][0], r->token.text, r->token.len) == 0)
			return r->found(r->context, name, words[i][1], false,
					r->err);
	return error_set(r->err, -EINVAL,
			 "JSON parse error, invalid keyword '%.*s'",
			 (int)r->token.len, r->token.text);
}

static int read_scalar(struct reader *r, const char *name)
{
	bool is_text = *r->token.text == '\'' || *r->token.text == '"';
	_cleanup_free_ char *text = NULL;
	int rc = 0;

	if (is_text)
		rc = read_string(r, &text);
	else
		text = strndup(r->token.text, r->token.len);
	if (rc == 0 && text == NULL)
		rc = -ENOMEM;
	return rc < 0 ? rc : r->found(r->context, name, text, is_text, r->err);
}

static int read_value(struct reader *r, const char *name)
{
	char c = *r->token.text;

	if (r->token.len == 0)
		return refuse(r, "premature EOI");
	if (c == '{' || c == '[')
		return read_nested(r, name);
	if (strchr("}]:,", c) != NULL)
		return refuse(r, "expecting value");
	return c >= 'a' && c <= 'z' ? read_keyword(r, name)
				    : read_scalar(r, name);
}

int json_read(const char *text, json_found *found, void *context,
	      struct error *err)
{
	struct reader r = {
		.at = text, .found = found, .context = context, .err = err
	};
	bool is_object, is_good;
	int rc = look_ahead(&r);

	if (rc < 0)
		return rc;
	advance(&r);
	if (r.token.len == 0)
		return error_set(err, -EINVAL, "Expecting a JSON value");
	is_object = is_punctuation(&r, '{');
	rc = read_value(&r, "");
	if (rc < 0)
		return rc;
	if (next_token(r.at, &is_good).len > 0)
		return error_set(err, -EINVAL,
				 "Expecting at most one JSON value");
	return is_object;
}
