/* SPDX-License-Identifier: ISC */
/*
 * What the guest is told about the disk (virtio 1.2 §5.2.3, §5.2.4).
 *
 * CONFIG_WCE is not offered: the driver's choice would be lost when this
 * process is killed and started again, and with write-through chosen a write
 * would be acknowledged before it is on the disk.
 */
#include "vm-disk/disk.h"

#include "protocols/virtio_blk.h"
#include "vm-disk/options.h"

#include <endian.h>
#include <string.h>

enum {
	/* Two descriptors of a ring of 128 are header and status. */
	SEG_MAX = 126,
	PHYSICAL_BLOCK_EXP = 3, /* 4 KiB: page cache, and most disks */
	PHYSICAL_SECTORS = 1 << PHYSICAL_BLOCK_EXP,
};

uint64_t config_features(const struct disk *disk)
{
	uint64_t features =
		1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
		1ull << VIRTIO_BLK_F_TOPOLOGY | 1ull << VIRTIO_BLK_F_FLUSH |
		1ull << VIRTIO_BLK_F_MQ;

	if (disk->limits.is_read_only)
		return features | 1ull << VIRTIO_BLK_F_RO;
	return features | 1ull << VIRTIO_BLK_F_DISCARD |
	       1ull << VIRTIO_BLK_F_WRITE_ZEROES;
}

/* What is best written and discarded in one: clusters, or else blocks. */
static uint32_t best_sectors(const struct disk *disk)
{
	uint32_t n = image_cluster_size(disk->image) >> VIRTIO_BLK_SECTOR_SHIFT;

	return n > PHYSICAL_SECTORS ? n : PHYSICAL_SECTORS;
}

void config_fill(const struct disk *disk, uint8_t *config)
{
	struct virtio_blk_config blk = {
		.capacity = htole64(disk->limits.n_sectors),
		.seg_max = htole32(SEG_MAX),
		.blk_size = htole32(VIRTIO_BLK_SECTOR),
		.physical_block_exp = PHYSICAL_BLOCK_EXP,
		.min_io_size = htole16(PHYSICAL_SECTORS),
		.opt_io_size = htole32(best_sectors(disk)),
		.writeback = 1,
		.num_queues = htole16((uint16_t)disk->options->n_queues),
	};

	if (!disk->limits.is_read_only) {
		blk.max_discard_sectors = htole32(BLK_RANGE_SECTORS_MAX);
		blk.max_discard_seg = htole32(BLK_RANGES_MAX);
		blk.discard_sector_alignment = htole32(best_sectors(disk));
		blk.max_write_zeroes_sectors = htole32(BLK_RANGE_SECTORS_MAX);
		blk.max_write_zeroes_seg = htole32(BLK_RANGES_MAX);
		blk.write_zeroes_may_unmap = 1;
	}
	memcpy(config, &blk, sizeof(blk));
}

void config_serial(const struct disk *disk, char *id)
{
	const char *text = disk->options->serial, *slash;

	if (!text) {
		text = image_path(disk->image);
		slash = strrchr(text, '/');
		if (slash)
			text = slash + 1;
	}
	/* §5.2.6.2: padded, and not terminated when it fills the field. */
	memset(id, 0, VIRTIO_BLK_ID_LEN);
	memcpy(id, text, strnlen(text, VIRTIO_BLK_ID_LEN));
}
