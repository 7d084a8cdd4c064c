/* SPDX-License-Identifier: ISC */
/* Random UUIDs (RFC 4122 §4.4) for images that want names of their own. */
#ifndef LIB_IMAGE_GUID_H
#define LIB_IMAGE_GUID_H

#include <stdint.h>

enum {
	GUID_LEN = 16,
};

/* In the order of bytes of the RFC. */
void guid_generate(uint8_t *guid);

#endif
