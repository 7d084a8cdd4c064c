/* SPDX-License-Identifier: ISC */
/*
 * A hash table of buckets with MAC_TABLE_WAYS places each. Invariants: an
 * address is in the table once; n_entries[] counts the entries of each port,
 * stale ones included.
 */
#include "vm-net/mac_table.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

void mac_table_init(struct mac_table *table, uint64_t ageing_ms, uint32_t seed)
{
	memset(table, 0, sizeof(*table));
	table->ageing_ms = ageing_ms;
	table->seed = seed;
}

/* Multiply and fold: every bit of the address reaches the index. */
static uint32_t hash(const struct mac_table *table, const uint8_t mac[MAC_LEN])
{
	uint64_t key = 0;

	memcpy(&key, mac, MAC_LEN);
	key ^= (uint64_t)table->seed << 16 ^ table->seed;
	key *= UINT64_C(0x9e3779b97f4a7c15);
	key ^= key >> 32;
	key *= UINT64_C(0xd6e8feb86659fd93);
	return (uint32_t)(key >> 32);
}

static unsigned bucket_index(const struct mac_table *table,
			     const uint8_t mac[MAC_LEN])
{
	return hash(table, mac) & (MAC_TABLE_BUCKETS - 1);
}

static bool is_stale(const struct mac_table *table,
		     const struct mac_entry *entry, uint64_t now_ms)
{
	return entry->port == 0 || now_ms - entry->seen_ms > table->ageing_ms;
}

static void release(struct mac_table *table, struct mac_entry *entry)
{
	if (entry->port == 0)
		return;
	table->n_entries[entry->port - 1]--;
	entry->port = 0;
}

static void occupy(struct mac_table *table, struct mac_entry *entry,
		   const uint8_t mac[MAC_LEN], unsigned port)
{
	release(table, entry);
	memcpy(entry->mac, mac, MAC_LEN);
	entry->port = (uint16_t)(port + 1);
	table->n_entries[port]++;
}

/*
 * A place for a new address of port: one that is free or stale; else the
 * oldest entry of the port that holds most, if that is not less than the
 * newcomer's own. So a port that invents addresses replaces its own.
 */
static struct mac_entry *find_place(struct mac_table *table,
				    struct mac_entry *bucket, unsigned port,
				    uint64_t now_ms)
{
	struct mac_entry *best = NULL;
	uint32_t best_n = 0;

	for (unsigned i = 0; i < MAC_TABLE_WAYS; i++) {
		struct mac_entry *entry = &bucket[i];
		uint32_t n;

		if (is_stale(table, entry, now_ms))
			return entry;
		n = table->n_entries[entry->port - 1];
		if (n <= table->n_entries[port] && entry->port != port + 1)
			continue;
		if (best == NULL || n > best_n ||
		    (n == best_n && entry->seen_ms < best->seen_ms)) {
			best = entry;
			best_n = n;
		}
	}
	return best;
}

bool mac_table_learn(struct mac_table *table, const uint8_t mac[MAC_LEN],
		     unsigned port, uint64_t now_ms)
{
	struct mac_entry *bucket = table->buckets[bucket_index(table, mac)];
	struct mac_entry *entry = NULL;

	assert(port < MAC_TABLE_PORTS);
	for (unsigned i = 0; i < MAC_TABLE_WAYS; i++) {
		if (bucket[i].port != 0 &&
		    memcmp(bucket[i].mac, mac, MAC_LEN) == 0)
			entry = &bucket[i];
	}
	if (entry == NULL) {
		entry = find_place(table, bucket, port, now_ms);
		if (entry == NULL)
			return false;
		occupy(table, entry, mac, port);
	} else if (entry->port != port + 1) {
		occupy(table, entry, mac, port);
	}
	entry->seen_ms = now_ms;
	return true;
}

int mac_table_lookup(const struct mac_table *table, const uint8_t mac[MAC_LEN],
		     uint64_t now_ms)
{
	const struct mac_entry *bucket =
		table->buckets[bucket_index(table, mac)];

	for (unsigned i = 0; i < MAC_TABLE_WAYS; i++) {
		if (memcmp(bucket[i].mac, mac, MAC_LEN) == 0 &&
		    !is_stale(table, &bucket[i], now_ms))
			return bucket[i].port - 1;
	}
	return -1;
}

void mac_table_forget_port(struct mac_table *table, unsigned port)
{
	for (unsigned i = 0; i < MAC_TABLE_BUCKETS; i++) {
		for (unsigned j = 0; j < MAC_TABLE_WAYS; j++) {
			if (table->buckets[i][j].port == port + 1)
				release(table, &table->buckets[i][j]);
		}
	}
}

void mac_table_for_each(const struct mac_table *table, uint64_t now_ms,
			void (*visit)(void *context, const uint8_t mac[MAC_LEN],
				      unsigned port, uint64_t age_ms),
			void *context)
{
	for (unsigned i = 0; i < MAC_TABLE_BUCKETS; i++) {
		for (unsigned j = 0; j < MAC_TABLE_WAYS; j++) {
			const struct mac_entry *entry = &table->buckets[i][j];

			if (!is_stale(table, entry, now_ms))
				visit(context, entry->mac, entry->port - 1u,
				      now_ms - entry->seen_ms);
		}
	}
}
