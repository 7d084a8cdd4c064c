/* SPDX-License-Identifier: ISC */
/*
 * Packed rings (virtio 1.2 §2.8): one ring of descriptors that the driver
 * fills and the device overwrites. An entry is the driver's request while its
 * AVAIL flag equals the wrap counter of that lap and USED does not, and used
 * when both equal it.
 *
 *	lap 1:  AVAIL=1 USED=0 requested    AVAIL=1 USED=1 used
 *	lap 2:  AVAIL=0 USED=1 requested    AVAIL=0 USED=0 used
 *
 * A request of n descriptors takes n entries; its used entry is the first of
 * them and the device skips the others. Flags of used entries are written by
 * flush alone, the batch's first one last, so that the driver finds all of a
 * batch or none.
 */
#include "lib/virtio/virtq_internal.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

static void advance(const struct virtq *queue, struct virtq_position *position,
		    unsigned n)
{
	unsigned index = position->index + n;

	if (index >= queue->config.size) {
		index -= queue->config.size;
		position->wrap = !position->wrap;
	}
	position->index = (uint16_t)index;
}

static void retreat(const struct virtq *queue, struct virtq_position *position,
		    unsigned n)
{
	unsigned index = position->index;

	if (n > index) {
		index += queue->config.size;
		position->wrap = !position->wrap;
	}
	position->index = (uint16_t)(index - n);
}

static bool is_requested(uint16_t flags, bool wrap)
{
	return !!(flags & VIRTQ_DESC_F_AVAIL) == wrap &&
	       !!(flags & VIRTQ_DESC_F_USED) != wrap;
}

static int map(struct virtq *queue, const char **reason)
{
	const struct virtq_config *config = &queue->config;
	struct guest_memory *memory = queue->memory;
	struct virtq_packed *ring = queue->packed;

	/* Alignments: §2.8. */
	ring->desc = guest_memory_at(
		memory, config->desc_gpa,
		(uint64_t)config->size * sizeof(struct virtq_packed_desc), 16);
	ring->driver = guest_memory_at(memory, config->driver_gpa,
				       sizeof(struct virtq_event), 4);
	ring->device = guest_memory_at(memory, config->device_gpa,
				       sizeof(struct virtq_event), 4);
	if (ring->desc && ring->driver && ring->device)
		return 0;
	*reason = !ring->desc	  ? "descriptor ring not in guest memory"
		  : !ring->driver ? "driver area not in guest memory"
				  : "device area not in guest memory";
	return -EFAULT;
}

static int set_base(struct virtq *queue, uint32_t base)
{
	struct virtq_packed *ring = queue->packed;
	struct virtq_position avail = {
		.index = base & 0x7fff,
		.wrap = base >> 15 & 1,
	};
	struct virtq_position used = {
		.index = base >> 16 & 0x7fff,
		.wrap = base >> 31,
	};

	if (avail.index >= queue->config.size ||
	    used.index >= queue->config.size)
		return -EINVAL;
	ring->avail = avail;
	ring->used = used;
	return 0;
}

static uint32_t get_base(const struct virtq *queue)
{
	const struct virtq_packed *ring = queue->packed;

	return (uint32_t)ring->avail.index | (uint32_t)ring->avail.wrap << 15 |
	       (uint32_t)ring->used.index << 16 |
	       (uint32_t)ring->used.wrap << 31;
}

const struct virtq_packed_desc *virtq_last_descs(const struct virtq *queue,
						 unsigned *n)
{
	assert(queue->config.is_packed);
	*n = queue->packed->n_last;
	return queue->packed->last;
}

/* §2.8.7: entries in the table's order; NEXT means nothing there. */
static int take_table(struct virtq *queue, const struct virtq_packed_desc *desc)
{
	struct virtq_table table;
	int r;

	if (!queue->config.has_indirect)
		return virtq_fail(queue, "indirect table not negotiated");
	if (le16toh(desc->flags) & VIRTQ_DESC_F_NEXT)
		return virtq_fail(queue, "indirect table with a successor");
	r = virtq_table_open(queue, &table, le64toh(desc->addr),
			     le32toh(desc->len));
	for (unsigned i = 0; r == 0 && i < table.n_entries; i++) {
		struct virtq_packed_desc entry;
		uint16_t flags;

		virtq_table_read(&table, i, &entry);
		flags = le16toh(entry.flags);
		if (flags & VIRTQ_DESC_F_INDIRECT)
			return virtq_fail(
				queue, "indirect table in an indirect table");
		r = virtq_add(queue, le64toh(entry.addr), le32toh(entry.len),
			      flags & VIRTQ_DESC_F_WRITE);
	}
	return r;
}

static int take_desc(struct virtq *queue, const struct virtq_packed_desc *desc)
{
	uint16_t flags = le16toh(desc->flags);

	if (flags & VIRTQ_DESC_F_INDIRECT)
		return take_table(queue, desc);
	return virtq_add(queue, le64toh(desc->addr), le32toh(desc->len),
			 flags & VIRTQ_DESC_F_WRITE);
}

int virtq_packed_take(struct virtq *queue,
		      const struct virtq_packed_desc *descs, unsigned n,
		      struct virtq_element **element)
{
	for (unsigned i = 0; i < n; i++) {
		int r = take_desc(queue, &descs[i]);

		if (r != 0)
			return r;
	}
	return virtq_finish(queue, le16toh(descs[n - 1].id), n, element);
}

/* An entry's rest, after its flags; each field read once. */
static struct virtq_packed_desc read_desc(const struct virtq_packed_desc *from,
					  uint16_t flags)
{
	struct virtq_packed_desc desc;

	memcpy(&desc, from, sizeof(desc));
	__atomic_signal_fence(__ATOMIC_ACQ_REL);
	desc.flags = htole16(flags);
	return desc;
}

static int pop(struct virtq *queue, struct virtq_element **element)
{
	struct virtq_packed *ring = queue->packed;
	struct virtq_position at = ring->avail;
	uint16_t flags;
	unsigned n = 0;
	int r;

	flags = virtq_load_acquire(&ring->desc[at.index].flags);
	if (!is_requested(flags, at.wrap))
		return VIRTQ_EMPTY;
	/* The driver writes the head's flags last: what follows is there. */
	for (;;) {
		if (n == queue->config.size)
			return virtq_fail(queue, "descriptors form a loop");
		if (n == VIRTQ_PIECES_MAX)
			return virtq_fail(queue, "request of too many pieces");
		ring->last[n++] = read_desc(&ring->desc[at.index], flags);
		advance(queue, &at, 1);
		if (!(flags & VIRTQ_DESC_F_NEXT))
			break;
		flags = virtq_load(&ring->desc[at.index].flags);
	}
	ring->n_last = n;
	r = virtq_packed_take(queue, ring->last, n, element);
	if (r == 0)
		ring->avail = at;
	return r;
}

static void unpop(struct virtq *queue, const struct virtq_element *element)
{
	retreat(queue, &queue->packed->avail, element->n_descs);
}

static void flush(struct virtq *queue)
{
	struct virtq_packed *ring = queue->packed;

	while (ring->n_unflushed > 0) {
		const struct virtq_unflushed *entry =
			&ring->unflushed[--ring->n_unflushed];

		virtq_store_release(&ring->desc[entry->index].flags,
				    entry->flags);
		guest_memory_write_done(queue->memory,
					queue->config.desc_gpa +
						entry->index *
							sizeof(*ring->desc),
					sizeof(*ring->desc));
	}
	ring->n_uncalled += ring->unflushed_span;
	ring->unflushed_span = 0;
}

static void push(struct virtq *queue, const struct virtq_element *element,
		 uint32_t written)
{
	struct virtq_packed *ring = queue->packed;
	struct virtq_packed_desc *desc = &ring->desc[ring->used.index];
	struct virtq_unflushed *entry;

	/* Only a driver that offers entries it has not got back gets here. */
	if (ring->n_unflushed == queue->config.size)
		flush(queue);
	entry = &ring->unflushed[ring->n_unflushed++];
	desc->len = htole32(written);
	desc->id = htole16(element->id);
	entry->index = ring->used.index;
	entry->flags = 0;
	if (ring->used.wrap)
		entry->flags = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;
	if (written > 0)
		entry->flags |= VIRTQ_DESC_F_WRITE;
	ring->unflushed_span += element->n_descs;
	advance(queue, &ring->used, element->n_descs);
}

static bool wants_call(struct virtq *queue)
{
	struct virtq_packed *ring = queue->packed;
	uint16_t new_index = ring->used.index, old_index, flags, event;

	if (ring->n_uncalled == 0)
		return false;
	old_index = (uint16_t)(new_index - ring->n_uncalled);
	ring->n_uncalled = 0;
	/* The entries are to be seen before the driver's wish is read. */
	atomic_thread_fence(memory_order_seq_cst);
	flags = virtq_load_acquire(&ring->driver->flags) &
		VIRTQ_EVENT_FLAGS_MASK;
	if (flags != VIRTQ_EVENT_DESC || !queue->config.has_event_idx)
		return flags != VIRTQ_EVENT_DISABLE;
	event = virtq_load(&ring->driver->off_wrap);
	if (!!(event & VIRTQ_EVENT_WRAP) != ring->used.wrap)
		event = (uint16_t)((event & ~VIRTQ_EVENT_WRAP) -
				   queue->config.size);
	else
		event &= (uint16_t)~VIRTQ_EVENT_WRAP;
	return virtq_is_passed(event, new_index, old_index);
}

static void enable_kicks(struct virtq *queue, bool are_enabled)
{
	struct virtq_packed *ring = queue->packed;
	uint16_t flags = VIRTQ_EVENT_ENABLE;

	if (!are_enabled) {
		flags = VIRTQ_EVENT_DISABLE;
	} else if (queue->config.has_event_idx) {
		flags = VIRTQ_EVENT_DESC;
		virtq_store(&ring->device->off_wrap,
			    (uint16_t)(ring->avail.index |
				       (unsigned)ring->avail.wrap << 15));
	}
	virtq_store_release(&ring->device->flags, flags);
	guest_memory_write_done(queue->memory, queue->config.device_gpa,
				sizeof(*ring->device));
}

static bool is_empty(struct virtq *queue)
{
	struct virtq_packed *ring = queue->packed;

	return !is_requested(
		virtq_load_acquire(&ring->desc[ring->avail.index].flags),
		ring->avail.wrap);
}

bool virtq_packed_is_pending(const struct virtq *queue, uint16_t index,
			     bool wrap)
{
	assert(queue->config.is_packed && index < queue->config.size);
	return is_requested(
		virtq_load_acquire(&queue->packed->desc[index].flags), wrap);
}

void virtq_packed_revoke(struct virtq *queue, uint16_t index, bool wrap,
			 unsigned n)
{
	struct virtq_position at = { .index = index, .wrap = wrap };

	assert(queue->config.is_packed && index < queue->config.size);
	for (; n > 0; n--) {
		uint16_t *flags = &queue->packed->desc[at.index].flags;

		if (!is_requested(virtq_load(flags), at.wrap))
			virtq_store(flags, at.wrap ? VIRTQ_DESC_F_AVAIL
						   : VIRTQ_DESC_F_USED);
		advance(queue, &at, 1);
	}
}

const struct virtq_ops virtq_packed_ops = {
	.map = map,
	.set_base = set_base,
	.base = get_base,
	.pop = pop,
	.unpop = unpop,
	.push = push,
	.flush = flush,
	.wants_call = wants_call,
	.enable_kicks = enable_kicks,
	.is_empty = is_empty,
};
