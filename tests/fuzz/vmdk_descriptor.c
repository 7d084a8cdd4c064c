/* SPDX-License-Identifier: ISC */
/* Any text as a VMDK descriptor: what has a file gives its name. */
#include "lib/image/vmdk_descriptor.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct vmdk_descriptor d;

	vmdk_descriptor_probe((const char *)data, len);
	if (vmdk_descriptor_parse(&d, (const char *)data, len, true, NULL) == 0)
		vmdk_descriptor_deinit(&d);
	if (vmdk_descriptor_parse(&d, (const char *)data, len, false, NULL) < 0)
		return 0;
	for (unsigned i = 0; i < d.n_lines; i++) {
		const char *name = d.lines[i].name;

		if (d.lines[i].n_sectors == 0 ||
		    (name != NULL && *name == '\0') ||
		    (name == NULL && d.lines[i].type != VMDK_EXTENT_ZERO))
			abort();
	}
	if (d.cid_digits > 0 && d.cid_at + d.cid_digits > len)
		abort();
	vmdk_descriptor_deinit(&d);
	return 0;
}
