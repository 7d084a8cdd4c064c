/* SPDX-License-Identifier: ISC */
/*
 * The virtio block device, virtio 1.2 §5.2: feature bits, config space and
 * requests. All numbers are little-endian.
 */
#ifndef PROTOCOLS_VIRTIO_BLK_H
#define PROTOCOLS_VIRTIO_BLK_H

#include <stdint.h>

enum {
	VIRTIO_BLK_DEVICE_ID = 2,
	VIRTIO_BLK_SECTOR_SHIFT = 9,
	/* Sectors are this long whatever blk_size says. */
	VIRTIO_BLK_SECTOR = 1 << VIRTIO_BLK_SECTOR_SHIFT,
	VIRTIO_BLK_ID_LEN = 20, /* of VIRTIO_BLK_T_GET_ID, zero-padded */
};

/* Feature bits, §5.2.3. */
enum {
	VIRTIO_BLK_F_SIZE_MAX = 1,
	VIRTIO_BLK_F_SEG_MAX = 2,
	VIRTIO_BLK_F_GEOMETRY = 4,
	VIRTIO_BLK_F_RO = 5,
	VIRTIO_BLK_F_BLK_SIZE = 6,
	VIRTIO_BLK_F_FLUSH = 9,
	VIRTIO_BLK_F_TOPOLOGY = 10,
	VIRTIO_BLK_F_CONFIG_WCE = 11,
	VIRTIO_BLK_F_MQ = 12,
	VIRTIO_BLK_F_DISCARD = 13,
	VIRTIO_BLK_F_WRITE_ZEROES = 14,
	VIRTIO_BLK_F_LIFETIME = 15,
	VIRTIO_BLK_F_SECURE_ERASE = 16,
};

/* Config space, §5.2.4, as far as WRITE_ZEROES. */
struct virtio_blk_config {
	uint64_t capacity; /* sectors */
	uint32_t size_max; /* bytes of a segment */
	uint32_t seg_max;
	uint16_t cylinders;
	uint8_t heads;
	uint8_t sectors;
	uint32_t blk_size;	    /* bytes of a logical block */
	uint8_t physical_block_exp; /* log2(logical blocks in a physical) */
	uint8_t alignment_offset;   /* logical blocks */
	uint16_t min_io_size;	    /* logical blocks */
	uint32_t opt_io_size;	    /* logical blocks */
	uint8_t writeback;	    /* with CONFIG_WCE */
	uint8_t unused0;
	uint16_t num_queues;	      /* with MQ */
	uint32_t max_discard_sectors; /* of one segment */
	uint32_t max_discard_seg;
	uint32_t discard_sector_alignment;
	uint32_t max_write_zeroes_sectors; /* of one segment */
	uint32_t max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
} __attribute__((packed));
_Static_assert(sizeof(struct virtio_blk_config) == 60, "virtio 1.2 §5.2.4");

/* Types of requests, §5.2.6. */
enum {
	VIRTIO_BLK_T_IN = 0,
	VIRTIO_BLK_T_OUT = 1,
	VIRTIO_BLK_T_FLUSH = 4,
	VIRTIO_BLK_T_GET_ID = 8,
	VIRTIO_BLK_T_GET_LIFETIME = 10,
	VIRTIO_BLK_T_DISCARD = 11,
	VIRTIO_BLK_T_WRITE_ZEROES = 13,
	VIRTIO_BLK_T_SECURE_ERASE = 14,
};

/* What a request begins with; data follows, and one byte of status. */
struct virtio_blk_header {
	uint32_t type;
	uint32_t reserved;
	uint64_t sector;
} __attribute__((packed));
_Static_assert(sizeof(struct virtio_blk_header) == 16, "virtio 1.2 §5.2.6");

/* One segment of the data of DISCARD, WRITE_ZEROES and SECURE_ERASE. */
struct virtio_blk_range {
	uint64_t sector;
	uint32_t num_sectors;
	uint32_t flags;
} __attribute__((packed));
_Static_assert(sizeof(struct virtio_blk_range) == 16, "virtio 1.2 §5.2.6");

enum {
	VIRTIO_BLK_RANGE_UNMAP = 1 << 0, /* WRITE_ZEROES alone */
};

enum {
	VIRTIO_BLK_S_OK = 0,
	VIRTIO_BLK_S_IOERR = 1,
	VIRTIO_BLK_S_UNSUPP = 2,
};

#endif
