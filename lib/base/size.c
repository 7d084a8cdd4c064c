/* SPDX-License-Identifier: ISC */
/*
 * Numbers and sizes. All arithmetic is on integers, so that no size that
 * 64 bits can hold is rounded; a fraction is cut off at the byte.
 */
#include "lib/base/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

__extension__ typedef unsigned __int128 uint128;

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 16;
}

/* The digits at *text, which is moved past them. */
static int parse_digits(const char **text, unsigned base, uint64_t *value)
{
	const char *p = *text;
	bool has_overflow = false;

	*value = 0;
	for (; (unsigned)digit_value(*p) < base; p++) {
		if (__builtin_mul_overflow(*value, base, value) ||
		    __builtin_add_overflow(*value, (unsigned)digit_value(*p),
					   value))
			has_overflow = true;
	}
	if (p == *text)
		return -EINVAL;
	*text = p;
	return has_overflow ? -ERANGE : 0;
}

/* The number at *text, which is moved past it. */
static int parse_number(const char **text, bool *is_hex, uint64_t *value)
{
	const char *p = *text;

	*is_hex = p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
	if (*is_hex)
		*text += 2;
	return parse_digits(text, *is_hex ? 16 : 10, value);
}

/* log2 of a suffix's unit, or -1. */
static int suffix_shift(char suffix)
{
	static const char suffixes[] = "bkmgtpe";
	const char *at = strchr(suffixes, tolower((unsigned char)suffix));

	return suffix != '\0' && at != NULL ? (int)(at - suffixes) * 10 : -1;
}

/* ".25" at *text as parts of unit; more than 18 digits change no byte. */
static int parse_fraction(const char **text, uint64_t unit, uint64_t *bytes)
{
	uint64_t value = 0, scale = 1;
	const char *p = *text + 1;

	for (; isdigit((unsigned char)*p); p++) {
		if (scale >= UINT64_C(1000000000000000000))
			continue;
		value = value * 10 + (unsigned)(*p - '0');
		scale *= 10;
	}
	*text = p;
	/* Half a byte is no size. */
	if (unit == 1 && value != 0)
		return -EINVAL;
	*bytes = (uint64_t)((uint128)value * unit / scale);
	return 0;
}

int size_parse(const char *text, char default_suffix, uint64_t *bytes)
{
	const char *fraction = NULL;
	uint64_t whole, part = 0, unit;
	bool is_hex;
	int ret, shift;

	ret = parse_number(&text, &is_hex, &whole);
	if (ret == -EINVAL)
		return ret;
	if (*text == '.' && !is_hex) {
		fraction = text;
		text += 1 + strspn(text + 1, "0123456789");
	}
	shift = suffix_shift(*text != '\0' ? *text : default_suffix);
	if (shift < 0 || (text[0] != '\0' && text[1] != '\0'))
		return -EINVAL;
	unit = UINT64_C(1) << shift;
	if (fraction != NULL && parse_fraction(&fraction, unit, &part) < 0)
		return -EINVAL;
	if (ret < 0 || __builtin_mul_overflow(whole, unit, &whole) ||
	    __builtin_add_overflow(whole, part, &whole))
		return -ERANGE;
	*bytes = whole;
	return 0;
}

int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
	uint64_t value;
	bool is_hex;
	int ret = parse_number(&text, &is_hex, &value);

	if (ret == -EINVAL || *text != '\0')
		return -EINVAL;
	if (ret < 0 || value < min || value > max)
		return -ERANGE;
	*number = value;
	return 0;
}

const char *size_format(uint64_t bytes, char *buf, size_t len)
{
	static const char *const units[] = { "B",   "KiB", "MiB", "GiB",
					     "TiB", "PiB", "EiB" };
	unsigned i = 0;
	uint64_t unit = 1;

	/* Three digits are shown, so 1000 of a unit are 0.977 of the next. */
	while (bytes / unit >= 1000) {
		unit <<= 10;
		i++;
	}
	snprintf(buf, len, "%.3g %s", (double)bytes / (double)unit, units[i]);
	return buf;
}
