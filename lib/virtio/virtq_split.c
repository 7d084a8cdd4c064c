/* SPDX-License-Identifier: ISC */
/*
 * Split rings (virtio 1.2 §2.7): the driver fills a ring of heads and moves
 * an index on; the device fills a ring of used heads and moves another.
 * Indices run freely over 16 bits and are taken modulo the ring's size.
 */
#include "lib/virtio/virtq_internal.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

/* used_event and avail_event stand behind the rings (§2.7.6, §2.7.8). */
static uint16_t *used_event(struct virtq *queue)
{
	return &queue->split.avail->ring[queue->config.size];
}

static uint16_t *avail_event(struct virtq *queue)
{
	return (uint16_t *)(void *)&queue->split.used->ring[queue->config.size];
}

static void log_used(struct virtq *queue, uint64_t offset, uint64_t len)
{
	guest_memory_write_done(queue->memory,
				queue->config.device_gpa + offset, len);
}

static int map(struct virtq *queue, const char **reason)
{
	const struct virtq_config *config = &queue->config;
	struct guest_memory *memory = queue->memory;
	struct virtq_split *ring = &queue->split;
	uint64_t n = config->size, event = config->has_event_idx ? 2 : 0;

	/* Alignments: §2.7. */
	ring->desc = guest_memory_at(memory, config->desc_gpa,
				     n * sizeof(struct virtq_desc), 16);
	ring->avail = guest_memory_at(
		memory, config->driver_gpa,
		sizeof(struct virtq_avail) + n * sizeof(uint16_t) + event, 2);
	ring->used = guest_memory_at(
		memory, config->device_gpa,
		sizeof(struct virtq_used) + n * sizeof(struct virtq_used_elem) +
			event,
		4);
	if (ring->desc && ring->avail && ring->used)
		return 0;
	*reason = !ring->desc	 ? "descriptor table not in guest memory"
		  : !ring->avail ? "available ring not in guest memory"
				 : "used ring not in guest memory";
	return -EFAULT;
}

static int set_base(struct virtq *queue, uint32_t base)
{
	struct virtq_split *ring = &queue->split;

	if (base > UINT16_MAX)
		return -EINVAL;
	ring->last_avail = ring->avail_seen = (uint16_t)base;
	ring->used_next = virtq_load(&ring->used->idx);
	ring->used_flushed = ring->used_called = ring->used_next;
	return 0;
}

static uint32_t get_base(const struct virtq *queue)
{
	return queue->split.last_avail;
}

uint16_t virtq_used_index(const struct virtq *queue)
{
	assert(!queue->config.is_packed);
	return queue->split.used_flushed;
}

/* Descriptors are aligned, so two loads read each field once. */
static struct virtq_desc read_desc(const struct virtq_desc *from)
{
	struct virtq_desc desc;

	memcpy(&desc, from, sizeof(desc));
	__atomic_signal_fence(__ATOMIC_ACQ_REL);
	return desc;
}

/* Enter the indirect table of a descriptor (§2.7.5.3). */
static int enter_table(struct virtq *queue, const struct virtq_desc *desc,
		       uint16_t flags, struct virtq_table *table)
{
	if (!queue->config.has_indirect)
		return virtq_fail(queue, "indirect table not negotiated");
	if (table->n_entries > 0)
		return virtq_fail(queue, "indirect table in an indirect table");
	if (flags & VIRTQ_DESC_F_NEXT)
		return virtq_fail(queue, "indirect table with a successor");
	return virtq_table_open(queue, table, le64toh(desc->addr),
				le32toh(desc->len));
}

int virtq_split_take(struct virtq *queue, uint16_t head,
		     struct virtq_element **element)
{
	struct virtq_table table = { .n_entries = 0 };
	unsigned n_seen = 0, n_entries = queue->config.size;
	struct virtq_desc desc;
	uint16_t index = head, flags;
	int r;

	do {
		if (index >= n_entries)
			return virtq_fail(queue, "descriptor out of bounds");
		if (n_seen++ == n_entries)
			return virtq_fail(queue, "descriptors form a loop");
		if (table.n_entries > 0)
			virtq_table_read(&table, index, &desc);
		else
			desc = read_desc(&queue->split.desc[index]);
		flags = le16toh(desc.flags);
		index = le16toh(desc.next);
		if (flags & VIRTQ_DESC_F_INDIRECT) {
			r = enter_table(queue, &desc, flags, &table);
			n_entries = table.n_entries;
			n_seen = index = 0;
			flags = VIRTQ_DESC_F_NEXT;
		} else {
			r = virtq_add(queue, le64toh(desc.addr),
				      le32toh(desc.len),
				      flags & VIRTQ_DESC_F_WRITE);
		}
		if (r != 0)
			return r;
	} while (flags & VIRTQ_DESC_F_NEXT);
	/* A split ring is full when each entry holds one request. */
	return virtq_finish(queue, head, 1, element);
}

/* Requests between the driver's index and ours; more than fit is a lie. */
static int count_waiting(struct virtq *queue)
{
	struct virtq_split *ring = &queue->split;
	uint16_t n = (uint16_t)(ring->avail_seen - ring->last_avail);

	if (n == 0) {
		ring->avail_seen = virtq_load_acquire(&ring->avail->idx);
		n = (uint16_t)(ring->avail_seen - ring->last_avail);
	}
	if (n > queue->config.size)
		return virtq_fail(queue, "available index out of bounds");
	return n;
}

static int pop(struct virtq *queue, struct virtq_element **element)
{
	struct virtq_split *ring = &queue->split;
	int n = count_waiting(queue);
	uint16_t head;
	int r;

	if (n <= 0)
		return n < 0 ? n : VIRTQ_EMPTY;
	head = virtq_load(&ring->avail->ring[ring->last_avail &
					     (queue->config.size - 1)]);
	r = virtq_split_take(queue, head, element);
	if (r == 0)
		ring->last_avail++;
	return r;
}

static void unpop(struct virtq *queue, const struct virtq_element *element)
{
	(void)element;
	queue->split.last_avail--;
}

static void push(struct virtq *queue, const struct virtq_element *element,
		 uint32_t written)
{
	struct virtq_split *ring = &queue->split;
	unsigned i = ring->used_next++ & (queue->config.size - 1);

	ring->used->ring[i].id = htole32(element->id);
	ring->used->ring[i].len = htole32(written);
	log_used(queue,
		 offsetof(struct virtq_used, ring) +
			 i * sizeof(ring->used->ring[0]),
		 sizeof(ring->used->ring[0]));
}

static void flush(struct virtq *queue)
{
	struct virtq_split *ring = &queue->split;

	if (ring->used_flushed == ring->used_next)
		return;
	ring->used_flushed = ring->used_next;
	virtq_store_release(&ring->used->idx, ring->used_next);
	log_used(queue, offsetof(struct virtq_used, idx), sizeof(uint16_t));
}

static bool wants_call(struct virtq *queue)
{
	struct virtq_split *ring = &queue->split;
	uint16_t old_index = ring->used_called;

	if (old_index == ring->used_flushed)
		return false;
	ring->used_called = ring->used_flushed;
	/* The index is to be seen before the driver's wish is read. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!queue->config.has_event_idx)
		return !(virtq_load(&ring->avail->flags) &
			 VIRTQ_AVAIL_F_NO_INTERRUPT);
	return virtq_is_passed(virtq_load(used_event(queue)),
			       ring->used_flushed, old_index);
}

static void enable_kicks(struct virtq *queue, bool are_enabled)
{
	struct virtq_split *ring = &queue->split;

	if (!queue->config.has_event_idx) {
		virtq_store(&ring->used->flags,
			    are_enabled ? 0 : VIRTQ_USED_F_NO_NOTIFY);
		log_used(queue, 0, sizeof(uint16_t));
	} else if (are_enabled) {
		virtq_store(avail_event(queue), ring->last_avail);
		log_used(queue,
			 offsetof(struct virtq_used, ring) +
				 queue->config.size *
					 sizeof(ring->used->ring[0]),
			 sizeof(uint16_t));
	}
	/* With EVENT_IDX an event left behind asks for no kick. */
}

static bool is_empty(struct virtq *queue)
{
	return count_waiting(queue) == 0;
}

const struct virtq_ops virtq_split_ops = {
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
