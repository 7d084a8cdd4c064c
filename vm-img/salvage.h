/* SPDX-License-Identifier: ISC */
/* --salvage: what cannot be read is zero, and is warned of. */
#ifndef VM_IMG_SALVAGE_H
#define VM_IMG_SALVAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image;

/* Sector by sector: as much as can be had. */
void salvage_read(struct image *source, uint64_t offset, uint8_t *buf,
		  size_t len, bool is_quiet);

#endif
