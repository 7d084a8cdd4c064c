/* SPDX-License-Identifier: ISC */
/*
 * A long row of bits, most of them clear: it is in parts, and one in which
 * none was ever set takes no memory. Bit i is in byte i / 8, the lowest one
 * first. Not thread-safe.
 */
#ifndef LIB_IMAGE_BITS_H
#define LIB_IMAGE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bits {
	uint64_t n;	   /* bits */
	uint64_t part_len; /* bytes; a power of two */
	uint64_t n_parts;
	uint8_t **parts; /* NULL: clear */
};

/* All clear. -ENOMEM. */
int bits_init(struct bits *bits, uint64_t n, uint64_t part_len);
/* What is all zeroes may be. */
void bits_deinit(struct bits *bits);

/* How many bytes the bits of one part take. */
size_t bits_part_len(const struct bits *bits, uint64_t part);
/* NULL: clear. */
const uint8_t *bits_part(const struct bits *bits, uint64_t part);
/* To be written to. NULL: no memory. */
uint8_t *bits_make_part(struct bits *bits, uint64_t part);

/* first to last, of which those beyond the end do not count. -ENOMEM, with
 * some of them set. */
int bits_set(struct bits *bits, uint64_t first, uint64_t last);
/* All of them, which are there. */
bool bits_are_set(const struct bits *bits, uint64_t first, uint64_t last);
/* As bit i, which is there, so many are from there on. */
uint64_t bits_run(const struct bits *bits, uint64_t i, bool *is_set);
/* Those that are set in from, which is as long and has parts as long. -ENOMEM,
 * with some of them set. */
int bits_add(struct bits *bits, const struct bits *from);
/* New ones are clear. -ENOMEM, with nothing changed. */
int bits_resize(struct bits *bits, uint64_t n);

#endif
