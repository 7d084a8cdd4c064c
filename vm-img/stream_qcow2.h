/* SPDX-License-Identifier: ISC */
/* What stands where in a qcow2 image on a pipe. */
#ifndef VM_IMG_STREAM_QCOW2_H
#define VM_IMG_STREAM_QCOW2_H

#include "lib/image/cipher.h"
#include "vm-img/stream.h"
#include "vm-img/stream_model.h"

#include <stdbool.h>
#include <stdint.h>

#define QCOW2_LAYOUT_ZERO UINT32_MAX

/* Where the next cluster may be, among the data. */
struct qcow2_place {
	uint64_t at;
	uint64_t n_refs; /* to the host cluster that at is within */
};

struct qcow2_layout {
	const struct stream *stream;
	struct stream_model model;
	/* Of the model's header: */
	unsigned version, cluster_bits, refcount_order;
	uint32_t cluster_len;
	bool has_extended_l2, is_zstd;
	uint64_t size, crypt_offset, crypt_len; /* crypt in the model */
	struct cipher *cipher;			/* NULL: not encrypted */

	uint64_t n_clusters; /* of the disk, and a bit for each: */
	uint8_t *is_data, *is_zero /* may be NULL */;
	/* Of each cluster, NULL: none is compressed; 0: it does not shrink. */
	uint32_t *packed_lens;

	/* In clusters of the file: */
	uint64_t n_table, n_blocks, n_l1, n_l2, n_crypt, n_data;
	uint8_t *buf; /* one cluster */
	/* Of the data that was written: */
	struct qcow2_place end;
	uint64_t written;
};

/* Make the model; what the maps say is filled in afterwards. */
int qcow2_layout_init(struct qcow2_layout *l,
		      const struct stream_target *target, struct error *err);
void qcow2_layout_deinit(struct qcow2_layout *l);
int qcow2_layout_count(struct qcow2_layout *l, struct error *err);
/* The offset of the data, in the file. */
uint64_t qcow2_layout_data_offset(const struct qcow2_layout *l);
/* Where in the data the next cluster that holds any goes, and how long it is
 * there. To be called for each in turn. */
uint64_t qcow2_layout_place(const struct qcow2_layout *l,
			    struct qcow2_place *place, uint64_t cluster,
			    uint64_t *len);
/* All tables. */
int qcow2_layout_write(const struct qcow2_layout *l, struct error *err);

#endif
