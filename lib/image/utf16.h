/* SPDX-License-Identifier: ISC */
/*
 * Names as Windows stores them: UTF-16 of either byte order, and backslashes
 * between folders. A name read here is relative to an image's own folder or
 * it is refused: nothing of ours knows where a drive of Windows is.
 */
#ifndef LIB_IMAGE_UTF16_H
#define LIB_IMAGE_UTF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

enum {
	UTF16_NAME_MAX = 1023, /* units of a name, and bytes of it in UTF-8 */
};

/*
 * len bytes, up to the first NUL among them, as UTF-8, which the caller frees.
 * -EINVAL: they are no UTF-16, or too many, or none; -ENOMEM.
 */
int utf16_read(const uint8_t *data, size_t len, bool is_big_endian,
	       char **text);
/* The other way, without a NUL; the number of bytes, at most 2 *
 * UTF16_NAME_MAX. -EINVAL: it is no UTF-8, or too long. */
int utf16_write(const char *text, bool is_big_endian, uint8_t *data);

/* Slashes for backslashes, in place, without ".\" in front. */
void windows_path_read(char *path);
bool windows_path_is_absolute(const char *path);
/*
 * ".\name" for a name that has none of Windows's own characters, to be freed.
 * -EINVAL, and why: it is absolute, or cannot be said so.
 */
int windows_path_write(const char *name, char **path, struct error *err);

#endif
