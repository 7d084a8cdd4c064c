/* SPDX-License-Identifier: ISC */
/* Random UUIDs. */
#include "lib/image/guid.h"

#include <sys/random.h>

void guid_generate(uint8_t *guid)
{
	/* Of 16 bytes the kernel gives all or, before it has any, waits. */
	while (getrandom(guid, GUID_LEN, 0) != GUID_LEN)
		;
	guid[6] = (guid[6] & 0x0f) | 0x40;
	guid[8] = (guid[8] & 0x3f) | 0x80;
}
