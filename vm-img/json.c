/* SPDX-License-Identifier: ISC */
/*
 * Strings are escaped as QEMU escapes them: all but printable ASCII by
 * number, and bytes that are not UTF-8 become U+FFFD.
 */
#include "vm-img/json.h"

#include <stddef.h>
#include <stdio.h>

static void begin_member(struct json *json, const char *key)
{
	if (json->has_member)
		putchar(',');
	if (json->depth > 0)
		printf("\n%*s", (int)(4 * json->depth), "");
	if (key != NULL)
		printf("\"%s\": ", key);
	json->has_member = true;
}

void json_open(struct json *json, const char *key, char bracket)
{
	begin_member(json, key);
	putchar(bracket);
	json->depth++;
	json->has_member = false;
}

void json_close(struct json *json, char bracket)
{
	json->depth--;
	/* Also where there is nothing between them. */
	printf("\n%*s", (int)(4 * json->depth), "");
	putchar(bracket);
	json->has_member = true;
	if (json->depth == 0)
		putchar('\n');
}

/* How many bytes follow this first one, and the bits that it holds. */
static unsigned begin_character(unsigned char first, unsigned *bits)
{
	unsigned n = 0;

	*bits = first;
	if (first < 0xc0 || first >= 0xfe)
		return 0;
	while (first & 0x40U >> n)
		n++;
	*bits = first & (0x3fU >> n);
	return n;
}

/* Unicode §23.7 */
static bool is_noncharacter(unsigned value)
{
	return (value & 0xfffe) == 0xfffe ||
	       (value >= 0xfdd0 && value <= 0xfdef);
}

/*
 * One character of UTF-8 (RFC 3629: no surrogates, up to U+10FFFF, and the
 * shortest form but for zero, which may take two bytes), or U+FFFD for as many
 * bytes as could have been one.
 */
static unsigned next_character(const unsigned char **text)
{
	static const unsigned lowest[] = { 0,	    0x80,     0x800,
					   0x10000, 0x200000, 0x4000000 };
	unsigned value, n = begin_character(**text, &value);

	if (n == 0)
		return *(*text)++ < 0x80 ? value : 0xfffd;
	++*text;
	for (unsigned i = 0; i < n; i++, ++*text) {
		if ((**text & 0xc0) != 0x80)
			return 0xfffd;
		value = value << 6 | (**text & 0x3f);
	}
	if ((value < lowest[n] && (value != 0 || n > 1)) || value > 0x10ffff ||
	    (value >= 0xd800 && value < 0xe000) || is_noncharacter(value))
		return 0xfffd;
	return value;
}

static void put_character(FILE *to, unsigned c)
{
	static const char escapes[] = "\"\"\\\\\bb\ff\nn\rr\tt";

	for (size_t i = 0; i + 1 < sizeof(escapes) - 1; i += 2)
		if ((unsigned char)escapes[i] == c) {
			fprintf(to, "\\%c", escapes[i + 1]);
			return;
		}
	if (c >= 0x20 && c < 0x7f)
		fputc((int)c, to);
	else if (c < 0x10000)
		fprintf(to, "\\u%04X", c);
	else /* UTF-16, as JSON has it */
		fprintf(to, "\\u%04X\\u%04X", 0xd800 + ((c - 0x10000) >> 10),
			0xdc00 + (c & 0x3ff));
}

void json_write_string(FILE *to, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	fputc('"', to);
	while (*p != '\0')
		put_character(to, next_character(&p));
	fputc('"', to);
}

void json_text(struct json *json, const char *key, const char *text)
{
	begin_member(json, key);
	json_write_string(stdout, text);
}

void json_number(struct json *json, const char *key, uint64_t number)
{
	begin_member(json, key);
	printf("%llu", (unsigned long long)number);
}

void json_bool(struct json *json, const char *key, bool value)
{
	begin_member(json, key);
	printf("%s", value ? "true" : "false");
}
