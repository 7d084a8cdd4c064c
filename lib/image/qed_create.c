/* SPDX-License-Identifier: ISC */
/* Making a QED image: a header's cluster and an empty L1 table. */
#include "lib/image/qed.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/companions.h"
#include "lib/image/format.h"

#include <endian.h>
#include <string.h>

enum {
	CLUSTER_DEFAULT = 64 << 10,
	TABLE_DEFAULT = 4,
};

const struct image_option_spec qed_create_specs[] = {
	{ "size", "size", "Virtual disk size", NULL },
	{ "backing_file", "str", "File name of a base image", NULL },
	{ "backing_fmt", "str", "Image format of the base image", NULL },
	{ "cluster_size", "size", "Cluster size (in bytes)", "65536" },
	{ "table_size", "size", "L1/L2 table size (in clusters)", NULL },
	{ NULL, NULL, NULL, NULL },
};

struct plan {
	uint64_t size, cluster_len, table_clusters;
	const char *backing_name;
	bool is_backing_raw;
};

static int check(uint64_t n, uint64_t min, uint64_t max, const char *what,
		 struct error *err)
{
	if (n >= min && n <= max && (n & (n - 1)) == 0)
		return 0;
	return error_set(err, -EINVAL,
			 "QED %s size must be within range [%llu, %llu] and "
			 "power of 2",
			 what, (unsigned long long)min,
			 (unsigned long long)max);
}

static int take_options(struct plan *p, const struct image_create_options *o,
			struct error *err)
{
	uint64_t n_entries, max;
	int rc = image_options_check(o, qed_create_specs, err);

	p->size = (o->size + IMAGE_SECTOR - 1) & ~(uint64_t)(IMAGE_SECTOR - 1);
	p->cluster_len = CLUSTER_DEFAULT;
	p->table_clusters = TABLE_DEFAULT;
	p->backing_name = o->backing_path;
	p->is_backing_raw = o->backing_path != NULL &&
			    o->backing_format != NULL &&
			    strcmp(o->backing_format, "raw") == 0;
	if (rc == 0)
		rc = image_option_number(o, "cluster_size", &p->cluster_len,
					 err);
	if (rc == 0)
		rc = image_option_number(o, "table_size", &p->table_clusters,
					 err);
	if (rc == 0)
		rc = check(p->cluster_len, QED_CLUSTER_MIN, QED_CLUSTER_MAX,
			   "cluster", err);
	if (rc == 0)
		rc = check(p->table_clusters, QED_TABLE_MIN, QED_TABLE_MAX,
			   "table", err);
	if (rc < 0)
		return rc;
	n_entries = p->cluster_len * p->table_clusters / sizeof(uint64_t);
	/* QEMU counts in 64 bits, of which nothing is left then: it opens no
	 * such image but an empty one. */
	if (__builtin_mul_overflow(n_entries * n_entries, p->cluster_len, &max))
		max = 0;
	if (p->size > max)
		return error_set(err, -EINVAL,
				 "QED image size must be a non-zero multiple "
				 "of cluster size and less than %llu bytes",
				 (unsigned long long)max);
	if (p->backing_name != NULL && strlen(p->backing_name) > QED_NAME_MAX)
		return error_set(err, -EINVAL, "Backing file name too long");
	return 0;
}

static int write_image(const struct plan *p, const struct image_file *file)
{
	struct qed_wire_header w = {
		.magic = htole32(QED_MAGIC),
		.cluster_len = htole32((uint32_t)p->cluster_len),
		.table_clusters = htole32((uint32_t)p->table_clusters),
		.header_clusters = htole32(1),
		.l1_offset = htole64(p->cluster_len),
		.size = htole64(p->size),
	};
	int rc = image_file_truncate(file,
				     p->cluster_len * (1 + p->table_clusters));

	if (p->backing_name != NULL) {
		w.features =
			htole64(QED_BACKING |
				(p->is_backing_raw ? QED_BACKING_IS_RAW : 0));
		w.backing_offset = htole32(sizeof(w));
		w.backing_len = htole32((uint32_t)strlen(p->backing_name));
		if (rc == 0)
			rc = image_file_write(file, sizeof(w), p->backing_name,
					      strlen(p->backing_name));
	}
	/* Of a device, what stood there before is not zero. */
	if (rc == 0)
		rc = image_file_zero(file, p->cluster_len,
				     p->cluster_len * p->table_clusters, false);
	if (rc == 0)
		rc = image_file_write(file, 0, &w, sizeof(w));
	return rc < 0 ? rc : image_file_flush(file);
}

int qed_create(const char *path, const struct image_create_options *o,
	       struct error *err)
{
	struct plan plan = { .size = 0 };
	struct image_file *file;
	int rc = take_options(&plan, o, err);

	if (rc < 0)
		return rc;
	rc = new_image_open(&file, path, 0, o, err);
	if (rc < 0)
		return rc;
	rc = write_image(&plan, file);
	image_file_close(file);
	return rc < 0 ? error_set_errno(err, rc, "Could not write QED image")
		      : 0;
}
