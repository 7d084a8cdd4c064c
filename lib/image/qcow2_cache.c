/* SPDX-License-Identifier: ISC */
/*
 * A cache of metadata with the least recently used entry replaced. Writes go
 * through: the file is never behind it, so that a process killed here has lost
 * nothing that it said was done. Only where an image is opened with
 * IMAGE_WRITE_BEHIND do changes stay in an entry, which is dirty then, until
 * all that are dirty are written, neighbours together: before a flush, and
 * before one of them is replaced. Memory is taken as entries fill.
 *
 * Entries are linked twice by index: in their hash chain, and from newest to
 * oldest. NONE ends both.
 */
#include "lib/image/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	ENTRIES_MIN = 8,
	ENTRY_ALIGN_MIN = 512,
	WRITE_PARTS_MAX = 64, /* entries in one write */
};

#define NONE UINT32_MAX

static uint32_t head_of(const struct qcow2_cache *c, uint64_t host_offset)
{
	uint64_t n = host_offset >> c->entry_bits;

	return (uint32_t)((n * 0x9e3779b97f4a7c15ULL) >> 32) & (c->n_heads - 1);
}

int qcow2_cache_init(struct qcow2_cache *cache, const struct image_file *file,
		     enum image_event load, enum image_event update,
		     uint32_t entry_len, uint64_t max_len)
{
	uint64_t n = max_len / entry_len;

	if (n < ENTRIES_MIN)
		n = ENTRIES_MIN;
	if (n > UINT32_MAX / 4)
		n = UINT32_MAX / 4;
	*cache = (struct qcow2_cache){
		.file = file,
		.load = load,
		.update = update,
		.entry_len = entry_len,
		.entry_bits = (unsigned)__builtin_ctz(entry_len),
		.entry_align = file->alignment > ENTRY_ALIGN_MIN
				       ? file->alignment
				       : ENTRY_ALIGN_MIN,
		.n_entries = (uint32_t)n,
		.newest = NONE,
		.oldest = NONE,
	};
	/* Less than a block is read and written through another buffer. */
	if (cache->entry_align > entry_len)
		cache->entry_align = entry_len;
	for (cache->n_heads = 1; cache->n_heads < n;)
		cache->n_heads *= 2;
	cache->entries = calloc(n, sizeof(*cache->entries));
	cache->heads = malloc(cache->n_heads * sizeof(*cache->heads));
	if (cache->entries == NULL || cache->heads == NULL) {
		qcow2_cache_deinit(cache);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < cache->n_heads; i++)
		cache->heads[i] = NONE;
	return 0;
}

void qcow2_cache_deinit(struct qcow2_cache *cache)
{
	for (uint32_t i = 0; i < cache->n_used && cache->entries; i++)
		free(cache->entries[i].data);
	free(cache->entries);
	free(cache->heads);
	*cache = (struct qcow2_cache){ 0 };
}

static void unlink_age(struct qcow2_cache *c, struct qcow2_cache_entry *e)
{
	if (e->newer == NONE)
		c->newest = e->older;
	else
		c->entries[e->newer].older = e->older;
	if (e->older == NONE)
		c->oldest = e->newer;
	else
		c->entries[e->older].newer = e->newer;
}

static void link_newest(struct qcow2_cache *c, uint32_t i)
{
	struct qcow2_cache_entry *e = &c->entries[i];

	e->newer = NONE;
	e->older = c->newest;
	if (c->newest == NONE)
		c->oldest = i;
	else
		c->entries[c->newest].newer = i;
	c->newest = i;
}

static void link_oldest(struct qcow2_cache *c, uint32_t i)
{
	struct qcow2_cache_entry *e = &c->entries[i];

	e->older = NONE;
	e->newer = c->oldest;
	if (c->oldest == NONE)
		c->newest = i;
	else
		c->entries[c->oldest].older = i;
	c->oldest = i;
}

static void set_dirty(struct qcow2_cache *c, struct qcow2_cache_entry *e,
		      bool is_dirty)
{
	c->n_dirty += is_dirty;
	c->n_dirty -= e->is_dirty;
	e->is_dirty = is_dirty;
}

/* What it holds is forgotten, written or not. */
static void unlink_hash(struct qcow2_cache *c, uint32_t i)
{
	struct qcow2_cache_entry *e = &c->entries[i];
	uint32_t *at;

	if (e->host_offset == UINT64_MAX)
		return;
	set_dirty(c, e, false);
	at = &c->heads[head_of(c, e->host_offset)];
	while (*at != i)
		at = &c->entries[*at].next;
	*at = e->next;
	e->host_offset = UINT64_MAX;
}

static void link_hash(struct qcow2_cache *c, uint32_t i, uint64_t host_offset)
{
	uint32_t *head = &c->heads[head_of(c, host_offset)];

	c->entries[i].host_offset = host_offset;
	c->entries[i].next = *head;
	*head = i;
}

static uint32_t find(const struct qcow2_cache *c, uint64_t host_offset)
{
	uint32_t i = c->heads[head_of(c, host_offset)];

	while (i != NONE && c->entries[i].host_offset != host_offset)
		i = c->entries[i].next;
	return i;
}

uint8_t *qcow2_cache_peek(struct qcow2_cache *cache, uint64_t host_offset)
{
	uint64_t within = host_offset & (cache->entry_len - 1);
	uint32_t i = find(cache, host_offset - within);

	if (i == NONE)
		return NULL;
	if (cache->newest != i) {
		unlink_age(cache, &cache->entries[i]);
		link_newest(cache, i);
	}
	return cache->entries[i].data + within;
}

static bool is_dirty_at(const struct qcow2_cache *c, uint64_t host_offset)
{
	uint32_t i = find(c, host_offset);

	return i != NONE && c->entries[i].is_dirty;
}

/* The dirty entries in a row in the file that host_offset's is one of. */
static int write_row(struct qcow2_cache *c, uint64_t host_offset)
{
	struct iovec parts[WRITE_PARTS_MAX];
	uint64_t start = host_offset;
	unsigned n = 0;
	int rc;

	/* At 0 there is the header. */
	while (is_dirty_at(c, start - c->entry_len))
		start -= c->entry_len;
	for (uint64_t at = start; n < WRITE_PARTS_MAX && is_dirty_at(c, at);
	     at += c->entry_len)
		parts[n++] = (struct iovec){
			.iov_base = c->entries[find(c, at)].data,
			.iov_len = c->entry_len,
		};
	image_file_tell(c->file, c->update);
	rc = image_file_writev(c->file, start, parts, n);
	if (rc < 0)
		return rc;
	for (uint64_t at = start; n > 0; n--, at += c->entry_len)
		set_dirty(c, &c->entries[find(c, at)], false);
	return 0;
}

int qcow2_cache_write_behind(struct qcow2_cache *cache)
{
	for (uint32_t i = 0; i < cache->n_used && cache->n_dirty > 0; i++)
		while (cache->entries[i].is_dirty) {
			int rc =
				write_row(cache, cache->entries[i].host_offset);

			if (rc < 0)
				return rc;
		}
	return 0;
}

/* An entry to fill: a new one while there are any, else the oldest. */
static int take_entry(struct qcow2_cache *c, uint32_t *entry)
{
	struct qcow2_cache_entry *e;

	if (c->n_used < c->n_entries &&
	    (c->oldest == NONE ||
	     c->entries[c->oldest].host_offset != UINT64_MAX)) {
		e = &c->entries[c->n_used];
		e->data = aligned_alloc(c->entry_align, c->entry_len);
		if (e->data == NULL)
			return -ENOMEM;
		e->host_offset = UINT64_MAX;
		e->is_dirty = false;
		link_oldest(c, c->n_used++);
	}
	if (c->entries[c->oldest].is_dirty) {
		int rc = qcow2_cache_write_behind(c);

		if (rc < 0)
			return rc;
	}
	*entry = c->oldest;
	unlink_hash(c, *entry);
	return 0;
}

int qcow2_cache_get(struct qcow2_cache *cache, uint64_t host_offset,
		    uint8_t **data)
{
	uint64_t within = host_offset & (cache->entry_len - 1);
	uint32_t i;
	int rc;

	*data = qcow2_cache_peek(cache, host_offset);
	if (*data != NULL)
		return 0;
	rc = take_entry(cache, &i);
	if (rc < 0)
		return rc;
	image_file_tell(cache->file, cache->load);
	rc = image_file_read(cache->file, host_offset - within,
			     cache->entries[i].data, cache->entry_len);
	if (rc < 0)
		return rc;
	link_hash(cache, i, host_offset - within);
	unlink_age(cache, &cache->entries[i]);
	link_newest(cache, i);
	*data = cache->entries[i].data + within;
	return 0;
}

/* What is cached of [host_offset, host_offset + len) becomes data, or is
 * forgotten where data is NULL. */
static void update(struct qcow2_cache *c, uint64_t host_offset,
		   const uint8_t *data, uint64_t len)
{
	while (len > 0) {
		uint64_t within = host_offset & (c->entry_len - 1);
		uint64_t n = c->entry_len - within;
		uint32_t i = find(c, host_offset - within);

		if (n > len)
			n = len;
		if (i != NONE && data != NULL) {
			memmove(c->entries[i].data + within, data, n);
		} else if (i != NONE) {
			unlink_hash(c, i);
			unlink_age(c, &c->entries[i]);
			link_oldest(c, i);
		}
		if (data != NULL)
			data += n;
		host_offset += n;
		len -= n;
	}
}

/*
 * With O_DIRECT the file takes whole blocks: what is around a change is here
 * already, and need not be read for it. Wider by that, if all of it is in one
 * entry, which has the change.
 */
static const void *widen(const struct qcow2_cache *c, uint64_t *host_offset,
			 const void *data, size_t *len)
{
	uint64_t within = *host_offset & (c->entry_len - 1);
	size_t before = *host_offset & (c->file->alignment - 1);
	size_t wide = *len + before + c->file->alignment - 1;
	uint32_t i = find(c, *host_offset - within);

	wide -= wide & (c->file->alignment - 1);
	if (i == NONE || before > within || *len > c->entry_len - within ||
	    wide > c->entry_len - (within - before))
		return data;
	*host_offset -= before;
	*len = wide;
	return c->entries[i].data + within - before;
}

int qcow2_cache_write(struct qcow2_cache *cache, uint64_t host_offset,
		      const void *data, size_t len)
{
	uint64_t at = host_offset;
	size_t wide = len;
	int rc;

	update(cache, host_offset, data, len);
	if (cache->file->alignment > 1)
		data = widen(cache, &at, data, &wide);
	image_file_tell(cache->file, cache->update);
	rc = image_file_write(cache->file, at, data, wide);
	/* After a failure nobody knows what is there: read it again. */
	if (rc < 0)
		update(cache, host_offset, NULL, len);
	return rc;
}

int qcow2_cache_change(struct qcow2_cache *cache, uint64_t host_offset,
		       const void *data, size_t len)
{
	uint64_t within = host_offset & (cache->entry_len - 1);
	uint32_t i = find(cache, host_offset - within);

	if (!cache->is_written_behind || i == NONE)
		return qcow2_cache_write(cache, host_offset, data, len);
	memcpy(cache->entries[i].data + within, data, len);
	set_dirty(cache, &cache->entries[i], true);
	return 0;
}

void qcow2_cache_forget(struct qcow2_cache *cache, uint64_t host_offset,
			uint64_t len)
{
	update(cache, host_offset, NULL, len);
}
