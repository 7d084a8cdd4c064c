/* SPDX-License-Identifier: ISC */
/*
 * Inside the qcow2 engine: the state of an open image and what its sources
 * (lib/image/qcow2*.c) offer one another. The theory of operation, with every
 * rule about the order of writes, stands at the top of qcow2.c.
 *
 * Names: an index counts clusters of the guest's disk; a host index counts
 * clusters of the file. Functions are called with q->lock held unless their
 * comment says otherwise; those said to "pause" release it meanwhile, so that
 * nothing read from a cache before them may be used after them.
 */
#ifndef LIB_IMAGE_QCOW2_H
#define LIB_IMAGE_QCOW2_H

#include "lib/image/bits.h"
#include "lib/image/format.h"
#include "lib/image/iov.h"
#include "lib/image/qcow2_pack.h"
#include "protocols/qcow2.h"

#include <endian.h>
#include <pthread.h>

enum {
	QCOW2_CLUSTER_LEN_MAX = 1 << QCOW2_CLUSTER_BITS_MAX,
	QCOW2_TABLE_SLICE_MAX = 16 << 10, /* of an L2 table, in the cache */
	QCOW2_PENDING_MAX = 1024,	  /* ranges that wait to be freed */
	QCOW2_RESERVE_MIN = 4,		  /* clusters reserved at once */
	QCOW2_RESERVE_MAX = 1024,
	QCOW2_RESERVE_LEN_MAX = 64 << 20, /* and bytes */
	QCOW2_RAW_KEPT = 4, /* decompressed clusters that are remembered */
	QCOW2_DEFLATERS_KEPT = 8,
};

/*
 * Metadata in memory: pieces of L2 tables or of refcount blocks, as they are
 * in the file, or are to be there if they are dirty.
 */
struct qcow2_cache_entry {
	uint64_t host_offset; /* UINT64_MAX: empty */
	uint8_t *data;
	bool is_dirty;
	uint32_t next; /* in its hash chain */
	uint32_t newer, older;
};

struct qcow2_cache {
	const struct image_file *file;
	enum image_event load, update;	 /* what its reads and writes are */
	uint32_t entry_len, entry_align; /* powers of two */
	unsigned entry_bits;
	bool is_written_behind; /* changes may stay here for a while */
	uint32_t n_entries, n_used, n_heads, n_dirty;
	uint32_t newest, oldest;
	uint32_t *heads;
	struct qcow2_cache_entry *entries;
};

/*
 * A set of host clusters that may say yes too often (then the tables
 * themselves are searched), never no in error.
 */
struct qcow2_filter {
	uint64_t *bits;
	uint64_t mask;
	uint64_t n_members;
};

/* Data I/O on guest clusters [first, last] while the lock is not held. */
struct qcow2_flight {
	struct qcow2_flight *next;
	uint64_t first, last;
	bool is_exclusive;
};

/* Clusters that nothing refers to any more, once flush n is over. */
struct qcow2_pending {
	uint64_t host_offset;
	uint64_t n_clusters;
	uint64_t flush_number;
};

/* The header, checked, in this machine's order. */
struct qcow2_header {
	uint32_t version, cluster_bits, crypt_method, refcount_order;
	uint64_t size;
	uint64_t l1_offset, refcount_table_offset, snapshots_offset;
	uint32_t l1_size, refcount_table_clusters, n_snapshots;
	uint64_t incompatible, compatible, autoclear;
	uint64_t backing_name_offset;
	uint32_t backing_name_len, header_len;
	uint8_t compression_type;
	/* From the extensions. */
	char *backing_format, *data_file;
	struct qcow2_wire_feature_name *features; /* as in the file */
	uint32_t n_features;
	bool has_bitmaps;
	uint32_t n_bitmaps;
	uint64_t bitmap_directory_offset, bitmap_directory_len;
	uint64_t crypt_offset, crypt_len;
};

struct qcow2_snapshot {
	uint64_t l1_offset;
	uint32_t l1_size;
	/* Extra data beyond what is known, as it was read. */
	uint32_t extra_len;
	uint8_t *extra;
	/* All of it in the file, if that is too much or too little: it is to be
	 * written anew. */
	bool is_extra_wrong;
	uint32_t extra_len_read;
};

/* A snapshot table that only a repair opens: entries behind n_snapshots that
 * are too many, or make it too long. */
struct qcow2_snapshot_faults {
	uint32_t n_too_much;   /* entries with too much extra data */
	uint32_t n_incomplete; /* and with too little */
	uint32_t n_overhanging;
	bool is_too_long;
};

struct qcow2_bitmap {
	char *name;
	uint8_t *extra; /* data that is not known, as it was read */
	uint32_t extra_len;
	uint64_t entry_offset; /* in the directory, in the file */
	uint64_t table_offset;
	uint32_t table_size, flags;
	unsigned granularity_bits;
	/* If they were read; kept up to date if the bitmap is enabled. A part
	 * of the bits is what an entry of the table is for. */
	uint64_t *table;
	struct bits bits;
	bool are_new; /* not what the table says: in a change */
};

struct qcow2_raw {
	uint64_t entry; /* of the L2 table; 0: empty */
	uint64_t used;
	uint8_t *data;
};

struct crypt;
struct qcow2_luks;
struct qcow2_trust;

struct qcow2 {
	struct image *image;
	const struct image_file *file;
	/* Where guest data is: file, or an external data file, which then is
	 * owned here, unless metadata alone is looked at. */
	const struct image_file *data_file;
	struct image_file *own_data_file;
	char *data_path; /* of that */
	/* Of an encrypted image; NULL: opened without its key. */
	struct crypt *crypt;
	struct qcow2_luks *luks; /* or NULL */
	struct image_info_encryption encryption;
	bool has_data_file;
	bool is_data_raw; /* and it must read as the disk does by itself */
	bool has_holes, are_holes_known; /* qcow2_has_holes() */
	/* Constant after open, but for what resize and flags change. */
	struct qcow2_header header;
	uint32_t cluster_len;
	unsigned cluster_bits;
	unsigned l2_bits;  /* log2 of the entries of an L2 table */
	unsigned l2_words; /* of 64 bits, in an entry: 1, or 2 if extended */
	/* The unit of mapping: a subcluster with extended L2 entries, else a
	 * cluster. */
	bool has_subclusters;
	uint32_t unit_len;
	unsigned unit_bits;
	unsigned refcount_bits, refcount_block_bits; /* log2 of entries */
	bool is_read_only, is_unsafe;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* flights landed, flush ended */
	/* All below is under the lock. */
	uint64_t *l1; /* header.l1_size entries */
	uint64_t *refcount_table;
	uint32_t refcount_table_size; /* entries */
	struct qcow2_cache l2_cache, refcount_cache;
	struct qcow2_filter l2_filter, refcount_filter;
	struct qcow2_snapshot *snapshots; /* header.n_snapshots of both */
	struct image_snapshot_info *snapshot_infos; /* texts owned here */
	uint64_t snapshots_len; /* bytes of the table in the file */
	struct qcow2_snapshot_faults snapshot_faults;
	struct qcow2_bitmap *bitmaps;
	uint32_t n_bitmaps;
	struct image_bitmap_info *bitmap_infos; /* as they were asked for */
	uint64_t bitmaps_loaded; /* bytes, since the image is open */
	bool are_bitmaps_in_use; /* and so marked on the disk */
	bool are_bitmaps_moved;	 /* there was a change of them */
	bool is_corrupt;	 /* found here, or in the header */
	bool is_corruption_told;
	struct qcow2_trust *trust; /* in the refcounts; of a writer */
	bool is_header_unsure;	   /* what is in the file: nothing is written */
	struct qcow2_flight *flights;
	unsigned n_waiting;

	/* Barriers: the number of flushes begun and ended. */
	uint64_t n_flush_begun, n_flush_ended, n_flush_failed;
	int flush_error;
	bool is_flushing;

	/* Allocation, in host clusters. */
	uint64_t free_hint;  /* below: nothing free */
	uint64_t fresh_from; /* at and above: never written, reads as zeroes */
	uint64_t reserved, n_reserved; /* counted in the refcounts, unused */
	uint32_t reserve_next;	       /* how many the next time */
	bool is_shadowed; /* refcounts are a copy: nothing freed is given out */
	bool is_making_table; /* somebody makes an L2 table, and may pause */
	bool is_allocating; /* somebody looks for free clusters, and may pause */
	struct qcow2_pending pending[QCOW2_PENDING_MAX];
	unsigned first_pending, n_pending;

	struct qcow2_raw raw[QCOW2_RAW_KEPT];
	uint64_t raw_clock;
	void *inflater;			       /* a spare one, or NULL */
	void *deflaters[QCOW2_DEFLATERS_KEPT]; /* spare ones */
	unsigned n_deflaters;
	/* Where compressed data goes next, inside of a host cluster that is
	 * counted for what was packed into it; at a cluster's begin: none. */
	uint64_t pack_next;
};

static inline uint64_t qcow2_round_up(const struct qcow2 *q, uint64_t offset)
{
	return (offset + q->cluster_len - 1) & ~(uint64_t)(q->cluster_len - 1);
}

static inline uint64_t qcow2_n_clusters(const struct qcow2 *q, uint64_t len)
{
	return qcow2_round_up(q, len) >> q->cluster_bits;
}

static inline uint64_t qcow2_n_units(const struct qcow2 *q, uint64_t len)
{
	return (len + q->unit_len - 1) >> q->unit_bits;
}

/*
 * Does the data file hold all that the disk reads as, byte by byte? With a
 * backing image under it a raw one does not.
 */
static inline bool qcow2_is_data_twin(const struct qcow2 *q)
{
	return q->is_data_raw && q->image->backing_name == NULL;
}

/* Does the disk grow by what stands in its data file already? */
static inline bool qcow2_keeps_behind(const struct qcow2 *q)
{
	return qcow2_is_data_twin(q) && !q->data_file->is_block_device;
}

/* Entry i of an L2 table, in this machine's order; no second word: 0. */
static inline void qcow2_load_entry(const struct qcow2 *q, const void *entries,
				    uint64_t i, uint64_t *entry,
				    uint64_t *bitmap)
{
	const uint64_t *at = (const uint64_t *)entries + i * q->l2_words;

	*entry = be64toh(at[0]);
	*bitmap = q->has_subclusters ? be64toh(at[1]) : 0;
}

/* qcow2_header.c: parse and write. */

/* Read and check; no lock. free it with qcow2_header_deinit(). */
int qcow2_header_read(struct qcow2_header *header, struct image *image,
		      struct error *err);
void qcow2_header_deinit(struct qcow2_header *header);
/* Only what all of the limits allow; offset 0 is no table. */
int qcow2_check_table(const struct qcow2_header *header, uint64_t offset,
		      uint64_t n_entries, uint64_t entry_len, uint64_t max_len,
		      const char *what, struct error *err);
/* Features that this engine does not have, by name. */
int qcow2_check_features(const struct qcow2_header *header,
			 const struct image *image, struct error *err);
/* Set or clear bits of one mask in memory and in the file. */
int qcow2_set_incompatible(struct qcow2 *q, uint64_t set, uint64_t clear);
int qcow2_set_autoclear(struct qcow2 *q, uint64_t value);
/* One write each: the switch to a new table. */
int qcow2_set_refcount_table(struct qcow2 *q, uint64_t offset,
			     uint32_t n_clusters);
/* The same, of version 3, with counts of another width. */
int qcow2_set_refcounts(struct qcow2 *q, uint64_t offset, uint32_t n_clusters,
			uint32_t order);
/* As many as are in memory. */
int qcow2_set_n_snapshots(struct qcow2 *q);
int qcow2_set_size(struct qcow2 *q, uint64_t size, uint32_t l1_size,
		   uint64_t l1_offset);

struct qcow2_switch;
/* Size, L1 table, refcount table (as long as the old one), snapshot table. */
int qcow2_switch_tables(struct qcow2 *q, const struct qcow2_switch *to,
			uint64_t refcount_table_offset);

/* qcow2_external.c: an external data file. */
/* If the header asks for one; it sets all four fields. */
int qcow2_external_open(struct qcow2 *q, struct error *err);
/* What image_file_close() returns. Again: nothing. */
int qcow2_external_close(struct qcow2 *q);
/* Made, or emptied and made anew, with size bytes of nothing. */
int qcow2_external_create(const char *image_path, const char *name,
			  uint64_t size,
			  const struct image_create_options *options,
			  struct error *err);
/* Does [offset, offset + len) of the data file read as zeroes? */
bool qcow2_external_is_fresh(const struct qcow2 *q, uint64_t offset,
			     uint64_t len);
/* Guest clusters lose their places. */
void qcow2_external_punch(struct qcow2 *q, uint64_t offset, uint64_t len);
/* The disk has another size from now on, or will have. */
int qcow2_external_grow(struct qcow2 *q, uint64_t size, struct error *err);
int qcow2_external_shrink(struct qcow2 *q, uint64_t size, struct error *err);
/* -ENOTSUP with a text, if there is one. */
int qcow2_external_refuse(const struct qcow2 *q, const char *what,
			  struct error *err);

/* qcow2_snapshot.c */
int qcow2_snapshots_read(struct qcow2 *q, struct error *err);
void qcow2_snapshots_deinit(struct qcow2 *q);
/* Its L1 table's place and length are not checked before it is used. */
int qcow2_snapshot_check_l1(const struct qcow2 *q,
			    const struct qcow2_snapshot *s, struct error *err);
/* The L1 table, in this machine's order, with room for size entries: at least
 * as many as it has, which come first. To be freed. */
int qcow2_snapshot_read_l1(struct qcow2 *q, const struct qcow2_snapshot *s,
			   uint64_t size, uint64_t **l1, struct error *err);
/* The table of n snapshots as it goes into the file; to be freed. -EFBIG. */
int qcow2_snapshots_encode(const struct qcow2_snapshot *snapshots,
			   const struct image_snapshot_info *infos, uint32_t n,
			   uint8_t **table, uint64_t *len, struct error *err);

/* qcow2_bitmap.c */
enum {
	QCOW2_BITMAP_NAME_MAX = 1023,
	QCOW2_BITMAP_GRANULARITY_BITS_MIN = 9,
	QCOW2_BITMAP_GRANULARITY_BITS_MAX = 31,
	QCOW2_BITMAP_DIRECTORY_LEN_MAX = 64 << 20,
	QCOW2_BITMAP_TABLE_LEN_MAX = 64 << 20,
	/* Together, or as much as the file is long: no more can be in clusters
	 * of its own. */
	QCOW2_BITMAPS_LOADED_MAX = 64 << 20,
};

#define QCOW2_BITMAP_BITS_MAX (1ULL << 32) /* 512 MiB: QEMU's limit */

/* Whoever opens an image is refused where they make no sense, as by QEMU: a
 * copy would be without them, and a repair free what they are in. */
int qcow2_bitmaps_read(struct qcow2 *q, struct error *err);
/* May it be an entry of a table? */
bool qcow2_bitmap_is_entry(const struct qcow2 *q, uint64_t entry);
/* Bits that a disk of size bytes has. */
uint64_t qcow2_bitmap_n_bits(uint64_t size, unsigned granularity_bits);
/* Its table and its bits. */
int qcow2_bitmap_load(struct qcow2 *q, struct qcow2_bitmap *b,
		      struct error *err);
void qcow2_bitmap_deinit(struct qcow2_bitmap *b);
/* All that are enabled are marked as in use on the disk, and are no more. */
int qcow2_bitmaps_mark(struct qcow2 *q, bool is_in_use, struct error *err);
void qcow2_bitmaps_deinit(struct qcow2 *q);
/* Before [offset, offset + len) of the disk changes. Pauses. */
int qcow2_bitmaps_touch(struct qcow2 *q, uint64_t offset, uint64_t len,
			struct error *err);
/* Is it marked as changed already, wherever it must be? */
bool qcow2_bitmaps_know(const struct qcow2 *q, uint64_t offset, uint64_t len);
/* Back to the disk, and no longer in use. Pauses. */
int qcow2_bitmaps_store(struct qcow2 *q, struct error *err);

/* qcow2_bitmap_ops.c, qcow2_bitmap_change.c */
extern const struct image_bitmap_ops qcow2_bitmap_ops;
/* May the disk get this size? */
int qcow2_bitmaps_may_resize(const struct qcow2 *q, uint64_t size,
			     struct error *err);
/* The size of the disk is about to change: all bitmaps are in use. */
int qcow2_bitmaps_begin_resize(struct qcow2 *q, struct error *err);
/* The one in the header is about to become size: tables as long as that, the
 * bits of what is new clear; still in use. On failure they are as before. */
int qcow2_bitmaps_fit(struct qcow2 *q, uint64_t size, struct error *err);
/* It has not become less after all, but what is from changed_from on may be
 * gone. If that cannot be stored the bitmaps are lost. */
void qcow2_bitmaps_unfit(struct qcow2 *q, uint64_t changed_from);
/* It has changed, or nothing came of it. Takes no room. */
int qcow2_bitmaps_end_resize(struct qcow2 *q, struct error *err);

/* qcow2_data.c: the guest's data at offset of the disk, which is, or will be,
 * at host_offset. Without the lock. */
int qcow2_data_readv(struct qcow2 *q, uint64_t offset, uint64_t host_offset,
		     const struct iovec *iov, unsigned n_iov);
int qcow2_data_writev(struct qcow2 *q, uint64_t offset, uint64_t host_offset,
		      const struct iovec *iov, unsigned n_iov);
/* Zeroes in clusters that keep their space. */
int qcow2_data_zero(struct qcow2 *q, uint64_t offset, uint64_t host_offset,
		    uint64_t len);

/* qcow2_crypt.c: the header of an encrypted image, and its key unless the
 * image was opened to look at metadata alone. */
int qcow2_crypt_open(struct qcow2 *q, struct error *err);
void qcow2_crypt_close(struct qcow2 *q);
/* Of LUKS. */
int qcow2_crypt_amend(struct qcow2 *q,
		      const struct image_amend_options *options,
		      struct error *err);

/* qcow2_cache.c */
int qcow2_cache_init(struct qcow2_cache *cache, const struct image_file *file,
		     enum image_event load, enum image_event update,
		     uint32_t entry_len, uint64_t max_len);
void qcow2_cache_deinit(struct qcow2_cache *cache);
/* The byte at host_offset, and all after it in its entry; or NULL. Valid
 * until the next call for this cache. */
uint8_t *qcow2_cache_peek(struct qcow2_cache *cache, uint64_t host_offset);
int qcow2_cache_get(struct qcow2_cache *cache, uint64_t host_offset,
		    uint8_t **data);
/* Write to the file and, if it is there, to what is cached of it. */
int qcow2_cache_write(struct qcow2_cache *cache, uint64_t host_offset,
		      const void *data, size_t len);
/* The same within one entry, which may keep it: the file has it, if not at
 * once, then after the next qcow2_cache_write_behind(). */
int qcow2_cache_change(struct qcow2_cache *cache, uint64_t host_offset,
		       const void *data, size_t len);
/* What is dirty goes to the file. If that fails it stays so. */
int qcow2_cache_write_behind(struct qcow2_cache *cache);
/* What is dirty, too. */
void qcow2_cache_forget(struct qcow2_cache *cache, uint64_t host_offset,
			uint64_t len);

/* qcow2_barrier.c: flights and flushes. */

/*
 * Everything written before the call is on stable storage, or with
 * IMAGE_UNSAFE at least in the file. Pauses. Many callers share one flush.
 */
int qcow2_barrier(struct qcow2 *q);
/* The same of guest data alone, before an L2 entry says where it is. */
int qcow2_data_barrier(struct qcow2 *q);
/* Wait until no flight is in the way of one on these clusters. Pauses if it
 * has to wait, and returns true then: look at the mapping again. */
bool qcow2_flight_wait(struct qcow2 *q, uint64_t first, uint64_t last,
		       bool is_exclusive);
void qcow2_flight_begin(struct qcow2 *q, struct qcow2_flight *flight,
			uint64_t first, uint64_t last, bool is_exclusive);
void qcow2_flight_end(struct qcow2 *q, struct qcow2_flight *flight);
/* Without the lock, which is held in between: nobody else is at work. */
void qcow2_begin_alone(struct qcow2 *q, struct qcow2_flight *flight);
void qcow2_end_alone(struct qcow2 *q, struct qcow2_flight *flight);

/* qcow2_overlap.c: nothing is written over metadata by mistake. */
enum qcow2_section {
	QCOW2_SECTION_NONE = 0, /* guest data, new tables */
	QCOW2_SECTION_HEADER = 1 << 0,
	QCOW2_SECTION_L1 = 1 << 1,
	QCOW2_SECTION_L2 = 1 << 2,
	QCOW2_SECTION_REFCOUNT_TABLE = 1 << 3,
	QCOW2_SECTION_REFCOUNT_BLOCK = 1 << 4,
	QCOW2_SECTION_SNAPSHOTS = 1 << 5,
	QCOW2_SECTION_SNAPSHOT_L1 = 1 << 6,
	QCOW2_SECTION_BITMAP_DIRECTORY = 1 << 7,
};

int qcow2_filters_init(struct qcow2 *q);
/* Other tables: begin anew. */
int qcow2_filters_refill(struct qcow2 *q);
void qcow2_filters_deinit(struct qcow2 *q);
/* Grow if need be, and add. */
int qcow2_filter_add_l2(struct qcow2 *q, uint64_t host_offset);
int qcow2_filter_add_refcount_block(struct qcow2 *q, uint64_t host_offset);
/* What of the metadata the range touches, but for what is in ignore. */
enum qcow2_section qcow2_find_overlap(struct qcow2 *q, unsigned ignore,
				      uint64_t host_offset, uint64_t len);
/* 0, or -EIO with the corrupt bit set. section: what is to be written. */
int qcow2_check_overlap(struct qcow2 *q, enum qcow2_section section,
			uint64_t host_offset, uint64_t len, struct error *err);
/* Set the corrupt bit and refuse writes from now on; returns -EIO. What is
 * wrong is told to image->found, or else is the error's text. */
int qcow2_corruption(struct qcow2 *q, struct error *err, const char *format,
		     ...) __attribute__((format(printf, 3, 4)));

/* qcow2_refcount.c: counting. */
uint64_t qcow2_refcount_max(const struct qcow2 *q);
uint64_t qcow2_refcount_load(const void *block, unsigned bits, uint64_t i);
int qcow2_get_refcount(struct qcow2 *q, uint64_t host_index, uint64_t *value,
		       struct error *err);
/* Add delta (1 or -1) to each of n; all blocks exist. */
int qcow2_add_refcount(struct qcow2 *q, uint64_t host_index, uint64_t n,
		       int delta, struct error *err);
/* Clusters in a row whose count became zero: nothing remembers them, and
 * their space is given back. */
void qcow2_forget_free(struct qcow2 *q, uint64_t host_index, uint64_t n);
/* Free now: what is on disk may not refer to it. */
int qcow2_free_now(struct qcow2 *q, uint64_t host_index, uint64_t n,
		   struct error *err);
/* Free once a flush that begins from now on is over. May pause. */
int qcow2_free_later(struct qcow2 *q, uint64_t host_offset, uint64_t n,
		     struct error *err);
/* Free those whose flush is over. */
int qcow2_free_pending(struct qcow2 *q, struct error *err);

/* qcow2_verify.c: of an image that is open for writing, and of counts that are
 * not in a shadow. 0, or -EIO with the corrupt bit set: counts are wrong. */
int qcow2_trust_init(struct qcow2 *q);
void qcow2_trust_deinit(struct qcow2 *q);
/* All counts are right, for somebody has checked them, or are not. */
void qcow2_trust_set(struct qcow2 *q, bool is_verified);
/* Walk all references there are, unless it was done already. */
int qcow2_verify(struct qcow2 *q, struct error *err);
/* The same, where that is not much. */
int qcow2_verify_few(struct qcow2 *q, struct error *err);
/* And only if of n clusters that are free not all is a hole. */
int qcow2_verify_free(struct qcow2 *q, uint64_t host_index, uint64_t n,
		      struct error *err);
/* Before refcount block i changes, or its place: if there is doubt. */
int qcow2_verify_block(struct qcow2 *q, uint64_t i, struct error *err);
/* It is a new one. */
void qcow2_verify_made(struct qcow2 *q, uint64_t i);

/* qcow2_alloc.c: finding clusters. */

/*
 * Up to *n contiguous clusters; *n becomes their number, at least one. Their
 * refcount is one and on disk. *is_fresh: they read as zeroes. May pause.
 */
int qcow2_alloc(struct qcow2 *q, uint64_t *n, uint64_t *host_offset,
		bool *is_fresh, struct error *err);
/* n contiguous ones, or none, for a table: a barrier must come before they
 * are referred to. May pause. */
int qcow2_alloc_all(struct qcow2 *q, uint64_t n, uint64_t *host_offset,
		    struct error *err);
/* The same, and on the disk when it returns; is_fresh: they read as zeroes. */
int qcow2_alloc_row(struct qcow2 *q, uint64_t n, uint64_t *host_offset,
		    bool *is_fresh, struct error *err);
/* Give back what alloc gave and nothing refers to. */
void qcow2_alloc_undo(struct qcow2 *q, uint64_t host_offset, uint64_t n);
/* Between them nobody else allocates. Pauses. */
void qcow2_begin_allocating(struct qcow2 *q);
void qcow2_end_allocating(struct qcow2 *q);
/* The refcount block for host_index, in the cache: valid until the next call
 * for one. NULL in *block: there is none, so that all it would count is free. */
int qcow2_get_refcount_block(struct qcow2 *q, uint64_t host_index,
			     uint8_t **block, struct error *err);
/* Give back what is reserved (before close). */
int qcow2_unreserve(struct qcow2 *q, struct error *err);
/* Unreserve, and cut the file behind its last cluster in use. May pause. */
int qcow2_cut_file(struct qcow2 *q, struct error *err);
/* qcow2_grow.c: a refcount block for host_index, placed at or after
 * place_from; the table grows for it. Pauses; q->is_allocating is set. */
int qcow2_make_refcount_block(struct qcow2 *q, uint64_t host_index,
			      uint64_t place_from, struct error *err);
/* The first of n free clusters in a row at or after from. */
int qcow2_find_free(struct qcow2 *q, uint64_t from, uint64_t n,
		    uint64_t *host_index, struct error *err);

/* qcow2_cluster.c: from guest clusters to host clusters. */
enum qcow2_kind {
	QCOW2_KIND_UNALLOCATED,
	QCOW2_KIND_PLACED, /* the same, but has a place in a host cluster */
	QCOW2_KIND_ZERO,   /* no host cluster */
	QCOW2_KIND_ZERO_ALLOCATED, /* with one whose content is not valid */
	QCOW2_KIND_DATA,
	QCOW2_KIND_COMPRESSED,
};

struct qcow2_run {
	enum qcow2_kind kind;
	bool is_copied;	      /* the host clusters are this image's alone */
	uint64_t host_offset; /* of its beginning */
	uint64_t entry;	      /* the first L2 entry */
	uint64_t bitmap;      /* its second word, or 0 */
	uint64_t n;	      /* units, in a row in the file too */
};

enum qcow2_kind qcow2_entry_kind(const struct qcow2 *q, uint64_t entry);
/* Does the entry of a standard cluster refer to a host cluster? In a data
 * file there is one at offset 0 too. */
bool qcow2_entry_has_host(const struct qcow2 *q, uint64_t entry);
/*
 * The run that begins at a unit, of at most max units; it may end before
 * the next one differs. nowait: -EAGAIN rather than read.
 */
int qcow2_map_run(struct qcow2 *q, uint64_t unit, uint64_t max, bool nowait,
		  struct qcow2_run *run, struct error *err);
/* The same in whole clusters, n counts them. One of many kinds of subclusters
 * is DATA. */
int qcow2_map_clusters(struct qcow2 *q, uint64_t index, uint64_t max,
		       struct qcow2_run *run, struct error *err);
/* Make the L2 table that holds index exist, and this image's alone. May
 * pause. */
int qcow2_own_l2(struct qcow2 *q, uint64_t index, struct error *err);
/* Between these nobody else makes an L2 table, or a new L1 table. */
void qcow2_begin_table(struct qcow2 *q);
void qcow2_end_table(struct qcow2 *q);
/*
 * Set n entries from index on, all in one owned L2 table: first, then each
 * step more; the second word of each is bitmap. What they referred to is freed
 * later unless keep. May pause at its end.
 */
int qcow2_set_entries(struct qcow2 *q, uint64_t index, uint64_t n,
		      uint64_t first, uint64_t step, uint64_t bitmap,
		      struct error *err);
/* Entries of index's table from index to its end. */
uint64_t qcow2_l2_left(const struct qcow2 *q, uint64_t index);
void qcow2_compressed_range(const struct qcow2 *q, uint64_t entry,
			    uint64_t *host_offset, uint64_t *len);

/* qcow2_subcluster.c: extended L2 entries. */

/* A part of a write that is not in place. */
struct qcow2_part {
	uint64_t offset; /* of the request's part */
	size_t len;
	uint64_t index, n; /* guest clusters that it touches */
	uint64_t host_offset;
	bool is_reused;	   /* a cluster's own, not a new one */
	size_t head, tail; /* bytes around it that come along */
	uint64_t bitmap;   /* of each entry, afterwards */
};

/* offset and len are what is to be written, which may become less. */
int qcow2_plan_part(struct qcow2 *q, struct qcow2_part *part,
		    struct error *err);
bool qcow2_is_bitmap_valid(const struct qcow2 *q, uint64_t entry,
			   uint64_t bitmap);
/* The run in n_entries, of which the first is in run already. */
void qcow2_map_subclusters(const struct qcow2 *q, const void *entries,
			   uint64_t n_entries, unsigned first, uint64_t max,
			   struct qcow2_run *run);
/* run's kind, of the whole cluster. */
void qcow2_sum_up(const struct qcow2 *q, struct qcow2_run *run);
/* n subclusters of one cluster read as zeroes, unless it is compressed:
 * *is_done says so. Pauses. */
int qcow2_zero_subclusters(struct qcow2 *q, uint64_t unit, uint64_t n,
			   bool *is_done, struct error *err);

/* qcow2_tables.c: add delta (1 or -1) to the counts of all that l1's entries
 * refer to, L2 tables and clusters; what is zero then is free. */
int qcow2_count_tables(struct qcow2 *q, const uint64_t *l1, uint64_t l1_size,
		       int delta, struct error *err);
/* -EIO with the corrupt bit set: an L1 table refers to more L2 tables than the
 * file has room for, and so to some again and again. */
int qcow2_check_room(struct qcow2 *q, const uint64_t *l1, uint64_t l1_size,
		     struct error *err);

/* qcow2_compress.c: len bytes of one cluster, from skip on. Pauses. */
int qcow2_decompress(struct qcow2 *q, uint64_t entry, size_t skip, void *buf,
		     size_t len, struct error *err);
/* The compressed cluster is freed: do not remember what was in it. */
void qcow2_raw_forget(struct qcow2 *q, uint64_t entry);
void qcow2_compress_deinit(struct qcow2 *q);
void qcow2_deflate_deinit(struct qcow2 *q);

/* qcow2_read.c, qcow2_write.c, qcow2_zero.c: without the lock. */
int qcow2_readv(struct image *image, uint64_t offset, const struct iovec *iov,
		unsigned n_iov, struct error *err);
int qcow2_writev(struct image *image, uint64_t offset, const struct iovec *iov,
		 unsigned n_iov, struct error *err);
int qcow2_write_in_turn(struct image *image, uint64_t offset,
			const struct iovec *iov, unsigned n_iov,
			const struct image_turn *turn, struct error *err);
int qcow2_write_zeroes(struct image *image, uint64_t offset, uint64_t len,
		       unsigned flags, struct error *err);
int qcow2_discard(struct image *image, uint64_t offset, uint64_t len,
		  struct error *err);
int qcow2_map(struct image *image, uint64_t offset, uint64_t len,
	      unsigned flags, struct image_extent *extent, struct error *err);
/* With the lock, within one run's flight: what the guest sees of len bytes
 * inside of one cluster. *is_zero: buf is all zeroes, without a look at the
 * file. Pauses. */
int qcow2_read_old(struct qcow2 *q, uint64_t offset, void *buf, size_t len,
		   bool *is_zero, struct error *err);
/*
 * len bytes of the header's cluster, from offset at on, where old are. If that
 * fails they may be there nevertheless, and lead to tables that are kept no
 * more: so the old ones are put back, and if that fails, too, nothing is
 * written to the image until it is opened again.
 */
int qcow2_write_header(struct qcow2 *q, uint64_t at, const void *old,
		       const void *new, size_t len);
/* With the lock. */
int qcow2_check_writable(struct qcow2 *q, struct error *err);
/* Write within q->lock, from a cursor of exactly len bytes. Pauses. */
int qcow2_write_locked(struct qcow2 *q, uint64_t offset, size_t len,
		       struct iov_cursor *cursor, struct error *err);

/* With the lock. [offset, end), which the disk grows by, reads as zeroes;
 * is_all: whatever lies below, clusters that are there keeping their place.
 * Pauses. */
int qcow2_zero_grown(struct qcow2 *q, uint64_t offset, uint64_t end,
		     bool is_all, struct error *err);
/* With the lock, and a flight over [first, end): as if never written. */
int qcow2_drop(struct qcow2 *q, uint64_t first, uint64_t end,
	       struct error *err);

/* qcow2_deflate.c, qcow2_backing.c, qcow2_empty.c: without the lock. */
int qcow2_write_compressed(struct image *image, uint64_t offset,
			   const void *buf, size_t len,
			   const struct image_turn *turn, struct error *err);
int qcow2_change_backing(struct image *image, const char *name,
			 const char *format, struct error *err);
int qcow2_make_empty(struct image *image, struct error *err);
/* With the lock, and nobody at work there: what the L1 table refers to from its
 * entry first on. Pauses. qcow2_empty.c */
int qcow2_drop_tables(struct qcow2 *q, uint64_t first, struct error *err);

/* qcow2_compact.c: without the lock. */
int qcow2_compact(struct image *image, struct error *err);
/* With the lock: blocks that count nothing go. Pauses.
 * qcow2_compact_refcount.c */
int qcow2_drop_refcount_blocks(struct qcow2 *q, struct error *err);
/* The L1 and the refcount table to lower places, if there are any. */
int qcow2_move_tables(struct qcow2 *q, struct error *err);
/* After a check that found nothing wrong and a barrier, with nobody else at
 * work: what is free gets holes in the files. qcow2_compact_punch.c */
int qcow2_punch_free(struct qcow2 *q, struct error *err);

/* qcow2_amend.c: without the lock. */
int qcow2_amend(struct image *image, const struct image_amend_options *options,
		struct error *err);
extern const struct image_option_spec qcow2_amend_specs[];
/* With the lock, and nobody else at work. Refcounts of 1 << order bits.
 * Pauses. qcow2_amend_refcount.c */
int qcow2_amend_refcounts(struct qcow2 *q, uint32_t order, struct error *err);
/* May it be of version 2, with that refcount width, and its snapshots unless
 * another size comes first? May it with these and the size that it has?
 * qcow2_amend_expand.c */
int qcow2_check_down(const struct qcow2 *q, uint32_t refcount_order,
		     bool keeps_size, struct error *err);
int qcow2_check_down_snapshots(const struct qcow2 *q, struct error *err);
/* As qcow2_amend_refcounts(); no cluster is marked as zero afterwards. Is any
 * compressed, of the disk or a snapshot?
 * qcow2_amend_expand.c */
int qcow2_expand_zeroes(struct qcow2 *q, const struct image_progress *progress,
			bool *has_compressed, struct error *err);

/* What is to stand in the first cluster, beside what stands there already. */
struct qcow2_new_header {
	const char *backing_name, *backing_format; /* or NULL */
	bool has_bitmaps; /* else the extension stays as it is */
	struct qcow2_wire_bitmaps bitmaps; /* none of them: no extension */
	uint64_t autoclear;
};
/* One write, with a barrier before it and one after it. With the lock. */
int qcow2_rewrite_header(struct qcow2 *q, const struct qcow2_new_header *header,
			 struct error *err);

/* qcow2_snapshot_change.c: without the lock. */
int qcow2_snapshot_create(struct image *image,
			  const struct image_snapshot_info *what,
			  struct error *err);
int qcow2_snapshot_apply(struct image *image, unsigned index,
			 struct error *err);
int qcow2_snapshot_delete(struct image *image, unsigned index,
			  struct error *err);
/* qcow2_snapshot_load.c */
int qcow2_snapshot_load(struct image *image, unsigned index, struct error *err);
/* With the lock, and nobody else at work: the table as version 3 wants it. */
int qcow2_snapshots_rewrite(struct qcow2 *q, struct error *err);

/* qcow2_create.c, qcow2_resize.c, qcow2_info.c, qcow2_check.c */
int qcow2_create(const char *path, const struct image_create_options *o,
		 struct error *err);
extern const struct image_option_spec qcow2_create_specs[];
int qcow2_resize(struct image *image, uint64_t size,
		 const struct image_resize_options *options, struct error *err);
int qcow2_get_info(struct image *image, struct image_info *info,
		   struct error *err);
bool qcow2_has_holes(struct image *image);
int qcow2_check(struct image *image, struct image_check *check,
		struct error *err);
int qcow2_repair(struct image *image, unsigned what, struct image_check *check,
		 struct error *err);
/* With the lock, and nobody else at work. Pauses. */
int qcow2_repair_locked(struct qcow2 *q, unsigned what,
			struct image_check *check, struct error *err);

#endif
