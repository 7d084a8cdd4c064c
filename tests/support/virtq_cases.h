/* SPDX-License-Identifier: ISC */
/*
 * A device side and a driver side of one queue over the same memory, and the
 * cases that split and packed rings have in common. cmocka's assertions.
 */
#ifndef TESTS_SUPPORT_VIRTQ_CASES_H
#define TESTS_SUPPORT_VIRTQ_CASES_H

#include "lib/virtio/virtq.h"
#include "tests/support/virtq_driver.h"

enum {
	/* Memory begins at 1 MiB; the second region adjoins the first. */
	PAIR_GPA = 1 << 20,
	PAIR_FIRST = 1 << 20,
	PAIR_SIZE = 1 << 21,
	PAIR_RINGS = PAIR_GPA, /* rings at its start */
	PAIR_DATA = PAIR_GPA + (1 << 19),
};

struct virtq_pair {
	struct driver_memory arena;
	struct virtq_driver driver;
	struct guest_memory memory;
	struct virtq *device;
};

enum pair_options {
	PAIR_PACKED = 1 << 0,
	PAIR_EVENT_IDX = 1 << 1,
	PAIR_NO_INDIRECT = 1 << 2,
};

void virtq_pair_init(struct virtq_pair *pair, uint16_t size, unsigned options);
void virtq_pair_deinit(struct virtq_pair *pair);

/* The device finds the queue broken for this reason, now and for ever. */
void virtq_pair_expect_broken(struct virtq_pair *pair, const char *reason);

/* Cases; options are PAIR_PACKED or 0, and what else they vary. */
void virtq_case_bytes(unsigned options);
void virtq_case_random(unsigned options);
void virtq_case_adjoining(unsigned options);
void virtq_case_unpop(unsigned options);
void virtq_case_log(unsigned options);
void virtq_case_calls(unsigned options);
void virtq_case_kicks(unsigned options);
void virtq_case_bad_buffers(unsigned options);
void virtq_case_bad_tables(unsigned options);
void virtq_case_bad_rings(unsigned options);
void virtq_case_remap(unsigned options);

#endif
