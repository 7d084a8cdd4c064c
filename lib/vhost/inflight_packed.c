/* SPDX-License-Identifier: ISC */
/*
 * In-flight tracking of packed rings. A packed ring forgets a descriptor when
 * its entry is used again, so the region keeps a copy of each that was taken;
 * entries come from a free list. `free_head` and `used_idx` run ahead of
 * their `old_` twins while a batch is given back: a batch that the driver did
 * not get to see is rolled back by them, one that it saw is committed.
 *
 * The links are followed in a copy of ours: the region may change under us.
 */
#include "lib/base/cleanup.h"
#include "lib/vhost/inflight_internal.h"
#include "protocols/virtio_ring.h"

#include <errno.h>
#include <stddef.h>

/*
 * The used position and its old twin are one aligned word of the region, and
 * stored as one: a wrap counter apart from its index would be another place.
 */
union used_word {
	uint64_t word;
	struct {
		uint16_t index, old_index;
		uint8_t wrap, old_wrap;
		uint8_t padding[2];
	};
};
_Static_assert(offsetof(struct vhost_user_inflight_packed, used_idx) == 16 &&
		       offsetof(struct vhost_user_inflight_packed,
				old_used_wrap_counter) == 21,
	       "one word");

static union used_word load_used(struct inflight_queue *queue)
{
	return (union used_word){
		.word = inflight_load(
			(uint64_t *)(void *)&queue->packed->used_idx),
	};
}

static void store_used(struct inflight_queue *queue, union used_word used)
{
	inflight_store((uint64_t *)(void *)&queue->packed->used_idx, used.word);
}

/* The virtq's used position; the old one moves with it, or stays. */
static void follow_used(struct inflight_queue *queue, bool does_old_follow)
{
	union used_word used = load_used(queue);
	uint32_t base = virtq_base(queue->virtq);

	used.index = base >> 16 & 0x7fff;
	used.wrap = (uint8_t)(base >> 31);
	if (does_old_follow) {
		used.old_index = used.index;
		used.old_wrap = used.wrap;
	}
	store_used(queue, used);
}

static void make_region(struct inflight_queue *queue)
{
	struct vhost_user_inflight_packed *region = queue->packed;

	for (unsigned i = 0; i < queue->desc_num; i++) {
		queue->next[i] = (uint16_t)(i + 1);
		inflight_store(&region->desc[i].next, queue->next[i]);
		inflight_store(&region->desc[i].inflight, 0);
	}
	inflight_store(&region->features, 0);
	inflight_store(&region->desc_num, queue->desc_num);
	inflight_store(&region->free_head, 0);
	inflight_store(&region->old_free_head, 0);
	follow_used(queue, true);
	inflight_store(&region->version, VHOST_USER_INFLIGHT_VERSION);
}

/* "When reconnecting", first two steps: commit or roll back. */
static int repair_last_batch(struct inflight_queue *queue, const char **reason)
{
	struct vhost_user_inflight_packed *region = queue->packed;
	union used_word used = load_used(queue);
	uint32_t size = virtq_size(queue->virtq);
	unsigned lap = !used.wrap != !used.old_wrap ? size : 0;
	unsigned n = used.index + lap - used.old_index;

	if (used.index >= size || used.old_index >= size || n > size) {
		*reason = "in-flight region with an index out of bounds";
		return -EPROTO;
	}
	if (n > 0 && !virtq_packed_is_pending(queue->virtq, used.old_index,
					      used.old_wrap)) {
		inflight_store(&region->old_free_head,
			       inflight_load(&region->free_head));
		used.old_index = used.index;
		used.old_wrap = used.wrap;
	} else {
		/* Flags of a batch are written back to front. */
		virtq_packed_revoke(queue->virtq, used.old_index, used.old_wrap,
				    n);
		inflight_store(&region->free_head,
			       inflight_load(&region->old_free_head));
		used.index = used.old_index;
		used.wrap = used.old_wrap;
	}
	store_used(queue, used);
	return 0;
}

/* Copy the free list and clear what is on it; a loop ends by its length. */
static void read_free_list(struct inflight_queue *queue)
{
	struct vhost_user_inflight_packed *region = queue->packed;
	unsigned n = queue->desc_num;
	uint16_t i;

	queue->free_head = inflight_load(&region->free_head);
	for (i = queue->free_head; i < queue->desc_num && n > 0; n--) {
		inflight_store(&region->desc[i].inflight, 0);
		queue->next[i] = inflight_load(&region->desc[i].next);
		i = queue->next[i];
	}
}

/* Line up what is in flight; *n_entries becomes what it takes of the ring. */
static int read_backlog(struct inflight_queue *queue, unsigned *n_entries)
{
	struct vhost_user_inflight_packed *region = queue->packed;
	uint32_t size = virtq_size(queue->virtq);

	*n_entries = 0;
	for (unsigned i = 0; i < queue->desc_num; i++) {
		uint16_t num = inflight_load(&region->desc[i].num), slot;
		int r;

		if (!inflight_load(&region->desc[i].inflight))
			continue;
		if (num == 0 || num > size - *n_entries)
			return -EPROTO;
		slot = (uint16_t)i;
		for (unsigned k = 1; k < num; k++) {
			queue->next[slot] =
				inflight_load(&region->desc[slot].next);
			slot = queue->next[slot];
			if (slot >= queue->desc_num)
				return -EPROTO;
		}
		queue->last[i] = slot;
		*n_entries += num;
		r = inflight_add_backlog(
			queue, (uint16_t)i,
			inflight_load(&region->desc[i].counter));
		if (r != 0)
			return r;
	}
	return 0;
}

/* What is taken lies between the used position and the next to take. */
static int set_base(struct inflight_queue *queue, unsigned n_entries)
{
	union used_word used = load_used(queue);
	uint32_t size = virtq_size(queue->virtq), wrap = !!used.wrap;
	uint32_t avail = used.index + n_entries, avail_wrap = wrap;

	if (avail >= size) {
		avail -= size;
		avail_wrap = !wrap;
	}
	return virtq_set_base(queue->virtq, avail | avail_wrap << 15 |
						    (uint32_t)used.index << 16 |
						    wrap << 31);
}

static int attach(struct inflight_queue *queue, const char **reason)
{
	struct vhost_user_inflight_packed *region = queue->packed;
	uint16_t version = inflight_load(&region->version);
	unsigned n_entries;
	int r;

	if (version == 0) {
		make_region(queue);
		return 0;
	}
	*reason = "in-flight region of another version or queue size";
	if (version != VHOST_USER_INFLIGHT_VERSION ||
	    inflight_load(&region->desc_num) != queue->desc_num)
		return -EPROTO;
	r = repair_last_batch(queue, reason);
	if (r != 0)
		return r;
	read_free_list(queue);
	*reason = "in-flight region with a broken request";
	r = read_backlog(queue, &n_entries);
	return r == 0 ? set_base(queue, n_entries) : r;
}

static int take(struct inflight_queue *queue, uint16_t slot,
		struct virtq_element **element)
{
	struct vhost_user_inflight_packed *region = queue->packed;
	uint16_t num = inflight_load(&region->desc[slot].num);
	struct virtq_packed_desc descs[VIRTQ_PIECES_MAX];

	if (num == 0 || num > array_size(descs)) {
		virtq_break(queue->virtq, "in-flight region is damaged");
		return -EPROTO;
	}
	for (unsigned i = 0; i < num; i++) {
		struct vhost_user_inflight_packed_desc *kept =
			&region->desc[slot];

		descs[i] = (struct virtq_packed_desc){
			.addr = inflight_load(&kept->addr),
			.len = inflight_load(&kept->len),
			.id = inflight_load(&kept->id),
			.flags = inflight_load(&kept->flags),
		};
		if (i + 1U < num)
			slot = queue->next[slot];
		if (slot >= queue->desc_num) {
			virtq_break(queue->virtq,
				    "in-flight region is damaged");
			return -EPROTO;
		}
	}
	return virtq_pop_descs(queue->virtq, descs, num, element);
}

static void keep_desc(struct vhost_user_inflight_packed_desc *entry,
		      const struct virtq_packed_desc *desc)
{
	inflight_store(&entry->addr, desc->addr);
	inflight_store(&entry->len, desc->len);
	inflight_store(&entry->flags, desc->flags);
	inflight_store(&entry->id, desc->id);
}

static int record(struct inflight_queue *queue, struct virtq_element *element)
{
	struct vhost_user_inflight_packed *region = queue->packed;
	unsigned n;
	const struct virtq_packed_desc *descs =
		virtq_last_descs(queue->virtq, &n);
	uint16_t head, slot;

	/*
	 * What was pushed is still to be linked into the free list; a request
	 * would be recorded at its old head.
	 */
	inflight_queue_flush(queue);
	head = slot = queue->free_head;
	if (head >= queue->desc_num)
		return -EPROTO;
	inflight_store(&region->desc[head].num, 0);
	inflight_store(&region->desc[head].counter, queue->counter);
	inflight_store(&region->desc[head].inflight, 1);
	element->slot = head;
	element->counter = queue->counter++;
	for (unsigned i = 0; i < n; i++) {
		slot = queue->free_head;
		if (slot >= queue->desc_num)
			return -EPROTO;
		if (i + 1 == n)
			inflight_store(&region->desc[head].last, slot);
		inflight_store(&region->desc[head].num, (uint16_t)(i + 1));
		keep_desc(&region->desc[slot], &descs[i]);
		queue->free_head = queue->next[slot];
		inflight_store(&region->free_head, queue->free_head);
	}
	queue->last[head] = slot;
	inflight_store(&region->old_free_head, queue->free_head);
	return 0;
}

/* Put a request's entries back at the free list's head. */
static void release(struct inflight_queue *queue, uint16_t slot)
{
	struct vhost_user_inflight_packed *region = queue->packed;
	uint16_t last = queue->last[slot];

	queue->next[last] = queue->free_head;
	inflight_store(&region->desc[last].next, queue->free_head);
	queue->free_head = slot;
	inflight_store(&region->free_head, slot);
}

static void forget(struct inflight_queue *queue,
		   const struct virtq_element *element)
{
	struct vhost_user_inflight_packed *region = queue->packed;

	/* Not while used_idx runs ahead: it would be taken for a batch. */
	inflight_queue_flush(queue);
	release(queue, element->slot);
	inflight_store(&region->old_free_head, queue->free_head);
	inflight_store(&region->desc[element->slot].inflight, 0);
}

static void publish(struct inflight_queue *queue)
{
	for (unsigned i = 0; i < queue->n_batch; i++)
		release(queue, queue->batch[i].slot);
	follow_used(queue, false);
}

static void published(struct inflight_queue *queue)
{
	struct vhost_user_inflight_packed *region = queue->packed;

	for (unsigned i = 0; i < queue->n_batch; i++)
		inflight_store(&region->desc[queue->batch[i].slot].inflight, 0);
	inflight_store(&region->old_free_head, queue->free_head);
	follow_used(queue, true);
}

const struct inflight_ops inflight_packed_ops = {
	.attach = attach,
	.take = take,
	.record = record,
	.forget = forget,
	.publish = publish,
	.published = published,
};
