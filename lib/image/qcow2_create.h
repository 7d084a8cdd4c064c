/* SPDX-License-Identifier: ISC */
/* Inside the qcow2 engine: what an image that is to be made will be like. */
#ifndef LIB_IMAGE_QCOW2_CREATE_H
#define LIB_IMAGE_QCOW2_CREATE_H

#include "lib/image/luks.h"
#include "protocols/qcow2.h"

#include <stdbool.h>
#include <stdint.h>

struct error;
struct image_create_options;
struct image_file;
struct qcow2;

struct qcow2_plan {
	unsigned version, cluster_bits, refcount_order;
	uint64_t size;
	bool has_lazy_refcounts, has_extended_l2;
	uint8_t compression_type;
	const char *preallocation; /* never NULL */
	const char *backing_name, *backing_format;
	const char *data_file; /* as the header says it; or NULL */
	char data_name[QCOW2_BACKING_NAME_MAX + 3]; /* where it is changed */
	bool is_data_raw;
	uint32_t crypt_method;
	uint64_t crypt_len; /* of the encryption header; 0: none */
	struct luks luks;
	uint8_t master_key[CIPHER_KEY_MAX];

	/* Layout, in clusters; found by qcow2_create(). */
	uint64_t l1_size; /* entries */
	uint64_t n_l1, n_crypt, n_table, n_blocks, n_all;
};

/* code, and that there is a backing file whose name the header cannot have. */
int qcow2_plan_refuse_backing(const struct qcow2_plan *plan, int code,
			      struct error *err);
/* All options read and checked; strings stay the caller's. */
int qcow2_plan_init(struct qcow2_plan *plan,
		    const struct image_create_options *o, struct error *err);
/* The same of encryption's; what comes of it is wiped with the plan. */
int qcow2_plan_crypt(struct qcow2_plan *plan,
		     const struct image_create_options *o, struct error *err);
/* The encryption header, at offset of the new file. */
int qcow2_plan_write_crypt(struct qcow2_plan *plan,
			   const struct image_file *file, uint64_t offset,
			   const struct image_create_options *o,
			   struct error *err);
/* NULL is fine. */
int qcow2_check_preallocation(const char *mode, struct error *err);
/*
 * Give every guest cluster of [offset, end) that has none its host cluster,
 * and the file what mode says. With the lock. Pauses.
 */
int qcow2_preallocate(struct qcow2 *q, uint64_t offset, uint64_t end,
		      const char *mode, struct error *err);

#endif
