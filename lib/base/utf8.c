/* SPDX-License-Identifier: ISC */
#include "lib/base/utf8.h"

size_t utf8_put(char *to, uint32_t c)
{
	if (c < 0x80) {
		to[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		to[0] = (char)(0xc0 | c >> 6);
		to[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		to[0] = (char)(0xe0 | c >> 12);
		to[1] = (char)(0x80 | (c >> 6 & 0x3f));
		to[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	to[0] = (char)(0xf0 | c >> 18);
	to[1] = (char)(0x80 | (c >> 12 & 0x3f));
	to[2] = (char)(0x80 | (c >> 6 & 0x3f));
	to[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

size_t utf8_get(const char *text, uint32_t *c)
{
	/* Longer than needed is no UTF-8. */
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const uint8_t *from = (const uint8_t *)text;
	size_t len = 1;

	if (from[0] < 0x80) {
		*c = from[0];
		return 1;
	}
	while (len < 5 && from[0] & 0x80 >> len)
		len++;
	if (len < 2 || len > UTF8_LEN_MAX)
		return 0;
	*c = from[0] & (0x7fU >> len);
	for (size_t i = 1; i < len; i++) {
		if ((from[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (from[i] & 0x3f);
	}
	return *c < least[len] || *c > 0x10ffff || (*c >= 0xd800 && *c < 0xe000)
		       ? 0
		       : len;
}
