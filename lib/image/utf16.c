/* SPDX-License-Identifier: ISC */
#include "lib/image/utf16.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static uint32_t unit(const uint8_t *data, size_t i, bool is_big_endian)
{
	return (uint32_t)data[2 * i + !is_big_endian] << 8 |
	       data[2 * i + is_big_endian];
}

int utf16_read(const uint8_t *data, size_t len, bool is_big_endian, char **text)
{
	_cleanup_free_ char *result = malloc(UTF16_NAME_MAX + UTF8_LEN_MAX);
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
		at += utf8_put(result + at, c);
		if (at > UTF16_NAME_MAX)
			return -EINVAL;
	}
	if (at == 0)
		return -EINVAL;
	result[at] = '\0';
	*text = steal_ptr(&result);
	return 0;
}

static void put_unit(uint8_t *to, uint32_t value, bool is_big_endian)
{
	to[!is_big_endian] = (uint8_t)(value >> 8);
	to[is_big_endian] = (uint8_t)value;
}

int utf16_write(const char *text, bool is_big_endian, uint8_t *data)
{
	size_t n = 0;

	while (*text != '\0') {
		uint32_t c;
		size_t len = utf8_get(text, &c);

		if (len == 0 || n + 2 > UTF16_NAME_MAX)
			return -EINVAL;
		if (c >= 0x10000) {
			put_unit(data + 2 * n++, 0xd800 + ((c - 0x10000) >> 10),
				 is_big_endian);
			c = 0xdc00 + ((c - 0x10000) & 0x3ff);
		}
		put_unit(data + 2 * n++, c, is_big_endian);
		text += len;
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
