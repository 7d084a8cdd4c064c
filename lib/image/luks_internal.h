/* SPDX-License-Identifier: ISC */
/* Shared by the sources of LUKS. */
#ifndef LIB_IMAGE_LUKS_INTERNAL_H
#define LIB_IMAGE_LUKS_INTERNAL_H

#include "lib/image/luks.h"

enum {
	LUKS_ITERATIONS_MIN = 1000, /* QEMU's */
	LUKS_ITER_TIME_MS = 2000,
};

/* Iterations of PBKDF2 that take so many milliseconds of this processor's
 * time, LUKS_ITERATIONS_MIN at least. -ERANGE. */
int luks_count_iterations(const char *hash, size_t key_len, uint64_t ms,
			  uint32_t *iterations);
/* The header, and it is on the disk when this returns. */
int luks_write_header(const struct luks *luks, const struct luks_place *place,
		      struct error *err);
/* Nothing is left of a slot's material. */
int luks_wipe_slot(const struct luks *luks, const struct luks_place *place,
		   unsigned slot, struct error *err);
int luks_new_key(uint8_t *key, size_t len);
/* Salt and digest of the master key. */
int luks_seal_master(struct luks *luks, const uint8_t *key);
/* Bytes of a slot in the file: whole sectors. */
size_t luks_material_len(const struct luks *luks);
/* LUKS_WORK_MAX. -EINVAL. */
int luks_check_work(const struct luks *luks, struct error *err);

#endif
