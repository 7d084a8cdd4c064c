/* SPDX-License-Identifier: ISC */
#include "lib/base/base64.h"

#include "lib/base/error.h"

#include <errno.h>
#include <string.h>

enum {
	GROUP = 4, /* digits, of three bytes */
};

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			     "abcdefghijklmnopqrstuvwxyz0123456789+/";

/* c is not NUL. Padding counts as zero. */
static int value_of(uint8_t c)
{
	const char *digit = strchr(digits, c);

	if (digit != NULL)
		return (int)(digit - digits);
	return c == '=' ? 0 : -1;
}

static int check(const uint8_t *data, size_t len, struct error *err)
{
	if (len > 0 && memchr(data, '\0', len) != NULL)
		return error_set(err, -EINVAL,
				 "Base64 data contains embedded NUL "
				 "characters");
	for (size_t i = 0; i < len; i++)
		if (data[i] != '\n' && value_of(data[i]) < 0)
			return error_set(err, -EINVAL,
					 "Base64 data contains invalid "
					 "characters");
	return 0;
}

int base64_decode(uint8_t *data, size_t *len, struct error *err)
{
	uint8_t *to = data, last[GROUP];
	uint32_t bits = 0;
	unsigned n = 0;
	int rc = check(data, *len, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < *len; i++) {
		if (data[i] == '\n')
			continue;
		last[n++] = data[i];
		bits = bits << 6 | (uint32_t)value_of(data[i]);
		if (n < GROUP)
			continue;
		n = 0;
		*to++ = (uint8_t)(bits >> 16);
		if (last[2] != '=')
			*to++ = (uint8_t)(bits >> 8);
		if (last[3] != '=')
			*to++ = (uint8_t)bits;
	}
	*len = (size_t)(to - data);
	return 0;
}
