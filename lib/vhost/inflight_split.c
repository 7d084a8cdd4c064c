/* SPDX-License-Identifier: ISC */
/*
 * In-flight tracking of split rings: one entry for each head, and the last
 * batch given back as a list, so that one that was killed between publishing
 * the used index and clearing its entries can be told from one that was not.
 */
#include "lib/vhost/inflight_internal.h"

#include <errno.h>

static int check_region(struct inflight_queue *queue, const char **reason)
{
	struct vhost_user_inflight_split *region = queue->split;
	uint16_t version = inflight_load(&region->version);

	if (version == 0) {
		inflight_store(&region->features, 0);
		inflight_store(&region->desc_num, queue->desc_num);
		inflight_store(&region->last_batch_head, 0);
		inflight_store(&region->used_idx,
			       virtq_used_index(queue->virtq));
		inflight_store(&region->version, VHOST_USER_INFLIGHT_VERSION);
		return 0;
	}
	if (version != VHOST_USER_INFLIGHT_VERSION) {
		*reason = "in-flight region of another version";
		return -EPROTO;
	}
	if (inflight_load(&region->desc_num) != queue->desc_num) {
		*reason = "in-flight region of another queue size";
		return -EPROTO;
	}
	return 0;
}

/* "When reconnecting", first step. */
static void repair_last_batch(struct inflight_queue *queue, uint16_t used)
{
	struct vhost_user_inflight_split *region = queue->split;
	unsigned n = (uint16_t)(used - inflight_load(&region->used_idx));
	uint16_t i = inflight_load(&region->last_batch_head);

	if (n > queue->desc_num)
		n = queue->desc_num;
	for (; n > 0 && i < queue->desc_num; n--) {
		inflight_store(&region->desc[i].inflight, 0);
		i = inflight_load(&region->desc[i].next);
	}
	inflight_store(&region->used_idx, used);
}

static int attach(struct inflight_queue *queue, const char **reason)
{
	struct vhost_user_inflight_split *region = queue->split;
	uint16_t used = virtq_used_index(queue->virtq);
	bool is_new = inflight_load(&region->version) == 0;
	int r = check_region(queue, reason);

	/* A new region says nothing: the front end's base holds. */
	if (r != 0 || is_new)
		return r;
	repair_last_batch(queue, used);
	for (uint32_t i = 0; i < virtq_size(queue->virtq); i++) {
		if (!inflight_load(&region->desc[i].inflight))
			continue;
		r = inflight_add_backlog(
			queue, (uint16_t)i,
			inflight_load(&region->desc[i].counter));
		if (r != 0)
			return r;
	}
	/* All that was taken is either used or in flight. */
	return virtq_set_base(queue->virtq,
			      (uint16_t)(used + queue->n_backlog));
}

static int take(struct inflight_queue *queue, uint16_t slot,
		struct virtq_element **element)
{
	return virtq_pop_head(queue->virtq, slot, element);
}

static int record(struct inflight_queue *queue, struct virtq_element *element)
{
	struct vhost_user_inflight_split_desc *desc =
		&queue->split->desc[element->id];

	if (inflight_load(&desc->inflight))
		return -EPROTO;
	element->slot = element->id;
	element->counter = queue->counter;
	inflight_store(&desc->counter, queue->counter++);
	inflight_store(&desc->inflight, 1);
	return 0;
}

static void forget(struct inflight_queue *queue,
		   const struct virtq_element *element)
{
	inflight_store(&queue->split->desc[element->slot].inflight, 0);
}

static void publish(struct inflight_queue *queue)
{
	struct vhost_user_inflight_split *region = queue->split;
	uint16_t head = inflight_load(&region->last_batch_head);

	for (unsigned i = 0; i < queue->n_batch; i++) {
		uint16_t slot = queue->batch[i].slot;

		inflight_store(&region->desc[slot].next, head);
		inflight_store(&region->last_batch_head, slot);
		head = slot;
	}
}

static void published(struct inflight_queue *queue)
{
	struct vhost_user_inflight_split *region = queue->split;

	for (unsigned i = 0; i < queue->n_batch; i++)
		inflight_store(&region->desc[queue->batch[i].slot].inflight, 0);
	inflight_store(&region->used_idx, virtq_used_index(queue->virtq));
}

const struct inflight_ops inflight_split_ops = {
	.attach = attach,
	.take = take,
	.record = record,
	.forget = forget,
	.publish = publish,
	.published = published,
};
