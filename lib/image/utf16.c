/* SPDX-License-Identifier: ISC */
#include "lib/image/utf16.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static uint32_t unit(const uint8_t *data, size_t i, bool is_big_endian)
{
	return (uint32_t)data[2 * i + !is_big_endian] << 8 |
	       data[2 * i + is_big_endian];
}

static size_t put_utf8(char *to, uint32_t c)
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

int utf16_read(const uint8_t *data, size_t len, bool is_big_endian, char **text)
{
	_cleanup_free_ char *result = malloc(UTF16_NAME_MAX + 4);
	size_t n = len / 2, at = 0;

	if (result == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		uint32_t c = unit(data, i, is_big_endian);

		if (c == 0)
			break;
		if (c >= 0xd800 && c < 0xdc00 && i + 1 < n) {
			uint32_t low = unit(data, ++i, is_big_endian);

			if (low < 0xdc00 || low > 0xdfff)
				return -EINVAL;
			c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
		} else if (c >= 0xd800 && c < 0xe000) {
			return -EINVAL;
		}
		at += put_utf8(result + at, c);
		if (at > UTF16_NAME_MAX)
			return -EINVAL;
	}
	if (at == 0)
		return -EINVAL;
	result[at] = '\0';
	*text = steal_ptr(&result);
	return 0;
}

/* One character, and how many bytes it took; 0: there is none. */
static size_t get_utf8(const uint8_t *from, uint32_t *c)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = 1;

	if (from[0] < 0x80) {
		*c = from[0];
		return 1;
	}
	while (len < 5 && from[0] & 0x80 >> len)
		len++;
	if (len < 2 || len > 4)
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

static void put_unit(uint8_t *to, uint32_t value, bool is_big_endian)
{
	to[!is_big_endian] = (uint8_t)(value >> 8);
	to[is_big_endian] = (uint8_t)value;
}

int utf16_write(const char *text, bool is_big_endian, uint8_t *data)
{
	const uint8_t *from = (const uint8_t *)text;
	size_t n = 0;

	while (*from != '\0') {
		uint32_t c;
		size_t len = get_utf8(from, &c);

		if (len == 0 || n + 2 > UTF16_NAME_MAX)
			return -EINVAL;
		if (c >= 0x10000) {
			put_unit(data + 2 * n++, 0xd800 + ((c - 0x10000) >> 10),
				 is_big_endian);
			c = 0xdc00 + ((c - 0x10000) & 0x3ff);
		}
		put_unit(data + 2 * n++, c, is_big_endian);
		from += len;
	}
	return (int)(2 * n);
}

bool windows_path_is_absolute(const char *path)
{
	return path[0] == '\\' || path[0] == '/' ||
	       (path[0] != '\0' && path[1] == ':');
}

void windows_path_read(char *path)
{
	for (char *c = path; *c != '\0'; c++)
		if (*c == '\\')
			*c = '/';
	while (strncmp(path, "./", 2) == 0 && path[2] != '\0' && path[2] != '/')
		memmove(path, path + 2, strlen(path + 2) + 1);
}

int windows_path_write(const char *name, char **path, struct error *err)
{
	if (name[0] == '/')
		return error_set(
			err, -EINVAL,
			"Backing file name '%s' is not relative to the "
			"image's folder",
			name);
	if (name[strcspn(name, "\\:")] != '\0')
		return error_set(err, -EINVAL,
				 "Backing file name '%s' cannot be said to "
				 "Windows",
				 name);
	if (asprintf(path, ".\\%s", name) < 0)
		return -ENOMEM;
	for (char *c = *path; *c != '\0'; c++)
		if (*c == '/')
			*c = '\\';
	return 0;
}
