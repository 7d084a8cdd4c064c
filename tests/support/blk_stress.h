/* SPDX-License-Identifier: ISC */
/*
 * Random writes, reads and flushes of 4 KiB blocks, each of which names its
 * place and generation. What was acknowledged must be what is read: at once,
 * and at the end, whatever happened to the back end meanwhile.
 */
#ifndef TESTS_SUPPORT_BLK_STRESS_H
#define TESTS_SUPPORT_BLK_STRESS_H

#include <stdint.h>

struct blk_driver;
struct error;

struct blk_stress_options {
	unsigned seconds;
	uint64_t span; /* bytes, from 0 on */
	uint64_t seed;
};

struct blk_stress_result {
	uint64_t n_writes, n_reads, n_flushes;
	uint64_t n_blocks; /* verified at the end */
};

/* 0, or -EIO and what was wrong. */
int blk_stress(struct blk_driver *driver,
	       const struct blk_stress_options *options,
	       struct blk_stress_result *result, struct error *err);

#endif
