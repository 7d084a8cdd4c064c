/* SPDX-License-Identifier: ISC */
/*
 * The forwarding database: which address was last seen behind which port.
 * Its size is fixed. Nobody can push others out of it by inventing addresses:
 * a new one only takes the place of a stale one, or of one of a port that
 * holds more than the newcomer's.
 */
#ifndef VM_NET_MAC_TABLE_H
#define VM_NET_MAC_TABLE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	MAC_LEN = 6,
	MAC_TABLE_WAYS = 8,
	MAC_TABLE_BUCKETS = 1024, /* a power of two */
	MAC_TABLE_PORTS = 512,	  /* ids are below */
};

struct mac_entry {
	uint8_t mac[MAC_LEN];
	uint16_t port; /* id + 1; 0: free */
	uint64_t seen_ms;
};

struct mac_table {
	uint64_t ageing_ms; /* unseen for so long is forgotten */
	uint32_t seed;	    /* of the hash: guests cannot aim at a bucket */
	uint32_t n_entries[MAC_TABLE_PORTS];
	struct mac_entry buckets[MAC_TABLE_BUCKETS][MAC_TABLE_WAYS];
};

void mac_table_init(struct mac_table *table, uint64_t ageing_ms, uint32_t seed);

/*
 * mac was seen behind port. An address that moved is known behind the new
 * port alone. Returns false if there was no place for it.
 */
bool mac_table_learn(struct mac_table *table, const uint8_t mac[MAC_LEN],
		     unsigned port, uint64_t now_ms);

/* The port's id, or -1: never seen, or not for too long. */
int mac_table_lookup(const struct mac_table *table, const uint8_t mac[MAC_LEN],
		     uint64_t now_ms);

/* The port is gone. */
void mac_table_forget_port(struct mac_table *table, unsigned port);

/* Each entry that is not stale, in no order. */
void mac_table_for_each(const struct mac_table *table, uint64_t now_ms,
			void (*visit)(void *context, const uint8_t mac[MAC_LEN],
				      unsigned port, uint64_t age_ms),
			void *context);

#endif
