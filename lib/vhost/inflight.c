/* SPDX-License-Identifier: ISC */
/*
 * The in-flight region as a whole, and the part of tracking that does not
 * depend on the kind of ring.
 */
#include "lib/vhost/inflight.h"

#include "lib/base/cleanup.h"
#include "lib/vhost/inflight_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
	/* Queues on cache lines of their own. */
	QUEUE_ALIGN = 64,
};

static uint64_t split_size(uint16_t queue_size)
{
	return sizeof(struct vhost_user_inflight_split) +
	       (uint64_t)queue_size *
		       sizeof(struct vhost_user_inflight_split_desc);
}

static uint64_t packed_size(uint16_t queue_size)
{
	return sizeof(struct vhost_user_inflight_packed) +
	       (uint64_t)queue_size *
		       sizeof(struct vhost_user_inflight_packed_desc);
}

/* A memfd of so many zeros that can neither shrink nor grow. */
static int make_memfd(uint64_t size, int *out)
{
	_cleanup_fd_ int fd =
		memfd_create("vhost-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) != 0)
		return -errno;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) !=
	    0)
		return -errno;
	*out = steal_fd(&fd);
	return 0;
}

int inflight_create(struct inflight *inflight, uint16_t n_queues,
		    uint16_t queue_size, atomic_bool *is_damaged, int *fd,
		    struct vhost_user_inflight *description)
{
	_cleanup_fd_ int made = -1;
	uint64_t stride;
	int r;

	if (n_queues == 0 || queue_size == 0 || queue_size > VIRTQ_SIZE_MAX)
		return -EINVAL;
	/* The larger kind: features may come after the region. */
	stride = (packed_size(queue_size) + QUEUE_ALIGN - 1) &
		 ~(uint64_t)(QUEUE_ALIGN - 1);
	r = make_memfd(stride * n_queues, &made);
	if (r != 0)
		return r;
	*description = (struct vhost_user_inflight){
		.mmap_size = stride * n_queues,
		.mmap_offset = 0,
		.num_queues = n_queues,
		.queue_size = queue_size,
	};
	r = inflight_map(inflight, made, description, is_damaged);
	if (r == 0)
		*fd = steal_fd(&made);
	return r;
}

int inflight_map(struct inflight *inflight, int fd,
		 const struct vhost_user_inflight *description,
		 atomic_bool *is_damaged)
{
	struct mapping mapping = MAPPING_INIT;
	uint64_t stride;
	int r;

	if (description->num_queues == 0 || description->queue_size == 0)
		return -EINVAL;
	stride = description->mmap_size / description->num_queues;
	if (stride < split_size(description->queue_size) || stride % 8 != 0 ||
	    description->mmap_offset % 8 != 0)
		return -EINVAL;
	r = mapping_map(&mapping, fd, description->mmap_offset,
			description->mmap_size, is_damaged);
	if (r != 0)
		return r;
	inflight_deinit(inflight);
	*inflight = (struct inflight){
		.mapping = mapping,
		.n_queues = description->num_queues,
		.queue_size = description->queue_size,
		.stride = stride,
	};
	return 0;
}

void inflight_deinit(struct inflight *inflight)
{
	mapping_unmap(&inflight->mapping);
}

bool inflight_is_mapped(const struct inflight *inflight)
{
	return inflight->mapping.data != NULL;
}

int inflight_add_backlog(struct inflight_queue *queue, uint16_t slot,
			 uint64_t counter)
{
	if (queue->n_backlog == virtq_size(queue->virtq))
		return -EPROTO;
	queue->backlog[queue->n_backlog++] = (struct inflight_entry){
		.counter = counter,
		.slot = slot,
	};
	if (counter >= queue->counter)
		queue->counter = counter + 1;
	return 0;
}

static int compare_counters(const void *a, const void *b)
{
	uint64_t first = ((const struct inflight_entry *)a)->counter;
	uint64_t second = ((const struct inflight_entry *)b)->counter;

	return first < second ? -1 : first > second;
}

static int allocate(struct inflight_queue *queue, bool is_packed)
{
	uint32_t size = virtq_size(queue->virtq);

	queue->backlog = calloc(size, sizeof(*queue->backlog));
	queue->batch = calloc(size, sizeof(*queue->batch));
	if (!queue->backlog || !queue->batch)
		return -ENOMEM;
	if (!is_packed)
		return 0;
	queue->next = calloc(queue->desc_num, sizeof(*queue->next));
	queue->last = calloc(queue->desc_num, sizeof(*queue->last));
	return queue->next && queue->last ? 0 : -ENOMEM;
}

int inflight_queue_new(struct inflight_queue **out,
		       const struct inflight *inflight, unsigned index,
		       struct virtq *virtq, bool is_packed, const char **reason)
{
	struct inflight_queue *queue;
	void *part;
	int r;

	*reason = "in-flight region too small for the queue";
	if (index >= inflight->n_queues ||
	    virtq_size(virtq) > inflight->queue_size)
		return -EPROTO;
	if (is_packed && inflight->stride < packed_size(inflight->queue_size))
		return -EPROTO;
	part = inflight->mapping.data + index * inflight->stride;
	*reason = "out of memory";
	queue = calloc(1, sizeof(*queue));
	if (!queue)
		return -ENOMEM;
	queue->virtq = virtq;
	queue->desc_num = inflight->queue_size;
	queue->ops = is_packed ? &inflight_packed_ops : &inflight_split_ops;
	if (is_packed)
		queue->packed = part;
	else
		queue->split = part;
	r = allocate(queue, is_packed);
	if (r == 0)
		r = queue->ops->attach(queue, reason);
	if (r != 0) {
		inflight_queue_free(queue);
		return r;
	}
	qsort(queue->backlog, queue->n_backlog, sizeof(*queue->backlog),
	      compare_counters);
	*out = queue;
	return 0;
}

void inflight_queue_free(struct inflight_queue *queue)
{
	if (!queue)
		return;
	free(queue->last);
	free(queue->next);
	free(queue->batch);
	free(queue->backlog);
	free(queue);
}

bool inflight_queue_has_backlog(const struct inflight_queue *queue)
{
	return queue->next_backlog < queue->n_backlog;
}

int inflight_queue_pop(struct inflight_queue *queue,
		       struct virtq_element **element)
{
	int r;

	if (inflight_queue_has_backlog(queue)) {
		struct inflight_entry entry =
			queue->backlog[queue->next_backlog];

		r = queue->ops->take(queue, entry.slot, element);
		if (r != 0)
			return r;
		(*element)->counter = entry.counter;
		(*element)->slot = entry.slot;
		queue->next_backlog++;
		return 0;
	}
	r = virtq_pop(queue->virtq, element);
	if (r != 0)
		return r;
	r = queue->ops->record(queue, *element);
	if (r != 0) {
		virtq_break(queue->virtq, "request that is already in flight");
		virtq_drop(queue->virtq, *element);
	}
	return r;
}

void inflight_queue_unpop(struct inflight_queue *queue,
			  struct virtq_element *element)
{
	const struct inflight_entry *entry =
		queue->backlog + queue->next_backlog - 1;

	if (queue->next_backlog > 0 && entry->slot == element->slot &&
	    entry->counter == element->counter) {
		queue->next_backlog--;
		virtq_drop(queue->virtq, element);
		return;
	}
	queue->ops->forget(queue, element);
	virtq_unpop(queue->virtq, &element, 1);
}

void inflight_queue_push(struct inflight_queue *queue,
			 const struct virtq_element *element)
{
	if (queue->n_batch == virtq_size(queue->virtq))
		inflight_queue_flush(queue);
	queue->batch[queue->n_batch++] = (struct inflight_batch){
		.slot = element->slot,
		.n_descs = element->n_descs,
	};
}

void inflight_queue_flush(struct inflight_queue *queue)
{
	if (queue->n_batch == 0)
		return;
	queue->ops->publish(queue);
	virtq_flush(queue->virtq);
	queue->ops->published(queue);
	queue->n_batch = 0;
}
