/* SPDX-License-Identifier: ISC */
/*
 * LUKS, version 1, as it stands in the file (LUKS On-Disk Format
 * Specification 1.2.3, §"PHDR"). Every number is big-endian; offsets count
 * sectors of 512 bytes.
 */
#ifndef PROTOCOLS_LUKS_H
#define PROTOCOLS_LUKS_H

#include <stdint.h>

#define LUKS_MAGIC "LUKS\xba\xbe" /* 6 bytes */

enum {
	LUKS_MAGIC_LEN = 6,
	LUKS_VERSION = 1,
	LUKS_SECTOR = 512,
	LUKS_SLOTS = 8,
	LUKS_STRIPES = 4000,
	LUKS_DIGEST_LEN = 20,
	LUKS_SALT_LEN = 32,
	LUKS_NAME_LEN = 32,
	LUKS_UUID_LEN = 40,
	/* Key material begins at multiples of this. */
	LUKS_ALIGN = 4096,
};

#define LUKS_SLOT_ACTIVE UINT32_C(0x00ac71f3)
#define LUKS_SLOT_INACTIVE UINT32_C(0x0000dead)

struct luks_wire_slot {
	uint32_t state;
	uint32_t iterations;
	uint8_t salt[LUKS_SALT_LEN];
	uint32_t key_sector;
	uint32_t stripes;
} __attribute__((packed));
_Static_assert(sizeof(struct luks_wire_slot) == 48, "LUKS key slot");

struct luks_wire_header {
	uint8_t magic[LUKS_MAGIC_LEN];
	uint16_t version;
	char cipher_name[LUKS_NAME_LEN];
	char cipher_mode[LUKS_NAME_LEN];
	char hash_name[LUKS_NAME_LEN];
	uint32_t payload_sector;
	uint32_t key_len;
	uint8_t master_digest[LUKS_DIGEST_LEN];
	uint8_t master_salt[LUKS_SALT_LEN];
	uint32_t master_iterations;
	char uuid[LUKS_UUID_LEN];
	struct luks_wire_slot slots[LUKS_SLOTS];
} __attribute__((packed));
_Static_assert(sizeof(struct luks_wire_header) == 592, "LUKS header");

#endif
