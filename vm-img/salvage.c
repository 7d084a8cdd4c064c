/* SPDX-License-Identifier: ISC */
#include "vm-img/salvage.h"

#include "lib/base/error.h"
#include "lib/image/image.h"
#include "vm-img/report.h"

#include <string.h>

enum {
	SECTOR = 512,
};

void salvage_read(struct image *source, uint64_t offset, uint8_t *buf,
		  size_t len, bool is_quiet)
{
	struct error err;

	for (size_t at = 0; at < len; at += SECTOR) {
		size_t n = len - at < SECTOR ? len - at : SECTOR;
		int rc;

		err = (struct error)ERROR_INIT;
		rc = image_read(source, offset + at, buf + at, n, &err);
		if (rc == 0)
			continue;
		memset(buf + at, 0, n);
		if (!is_quiet)
			report_warning("error while reading offset %llu: %s",
				       (unsigned long long)offset + at,
				       report_reason(&err, rc));
	}
}
