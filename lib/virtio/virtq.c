/* SPDX-License-Identifier: ISC */
/*
 * Virtqueues, the part that does not depend on the ring's format: checking
 * buffers against guest memory, making elements of them, and giving these
 * back. Once broken, a queue takes nothing more, but what was taken may still
 * be given back.
 */
#include "lib/virtio/virtq.h"

#include "lib/base/cleanup.h"
#include "lib/virtio/virtq_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* Pieces of elements that are kept for the next request. */
	SMALL_PIECES = 8,
};

/* An element, its list of spares, and behind it pieces and addresses. */
struct virtq_box {
	struct virtq_box *next;
	unsigned capacity;
	struct virtq_element element;
	struct iovec pieces[];
};

static struct virtq_box *box_new(struct virtq *queue, unsigned n_pieces)
{
	struct virtq_box *box = queue->spare;
	unsigned capacity = SMALL_PIECES;

	if (n_pieces <= SMALL_PIECES && box) {
		queue->spare = box->next;
		return box;
	}
	if (n_pieces > capacity)
		capacity = n_pieces;
	box = malloc(sizeof(*box) +
		     capacity * (sizeof(struct iovec) + sizeof(uint64_t)));
	if (box)
		box->capacity = capacity;
	return box;
}

static void box_free(struct virtq *queue, struct virtq_element *element)
{
	struct virtq_box *box =
		container_of(element, struct virtq_box, element);

	if (box->capacity == SMALL_PIECES) {
		box->next = queue->spare;
		queue->spare = box;
	} else {
		free(box);
	}
}

int virtq_fail(struct virtq *queue, const char *reason)
{
	if (!queue->reason)
		queue->reason = reason;
	return -EPROTO;
}

void virtq_begin(struct virtq *queue)
{
	queue->n_pieces_out = queue->n_pieces_in = 0;
	queue->out_len = queue->in_len = 0;
}

int virtq_add(struct virtq *queue, uint64_t addr, uint32_t len, bool is_in)
{
	unsigned at = queue->n_pieces_out + queue->n_pieces_in;
	int n;

	if (len == 0)
		return virtq_fail(queue, "buffer of no length");
	if (!is_in && queue->n_pieces_in > 0)
		return virtq_fail(queue, "readable buffer after a writable");
	n = guest_memory_map(queue->memory, addr, len, queue->pieces + at,
			     VIRTQ_PIECES_MAX - at);
	if (n == -E2BIG)
		return virtq_fail(queue, "request of too many pieces");
	if (n < 0)
		return virtq_fail(queue, "buffer outside of guest memory");
	if (!is_in) {
		queue->n_pieces_out += n;
		queue->out_len += len;
		return 0;
	}
	for (int i = 0; i < n; i++) {
		queue->gpas[at + i] = addr;
		addr += queue->pieces[at + i].iov_len;
	}
	queue->n_pieces_in += n;
	queue->in_len += len;
	return 0;
}

int virtq_finish(struct virtq *queue, uint16_t id, unsigned n_descs,
		 struct virtq_element **out)
{
	unsigned n_out = queue->n_pieces_out, n_in = queue->n_pieces_in;
	struct virtq_element *element;
	struct virtq_box *box;

	/* Ends the driver that offers what it has not got back. */
	if (n_descs > queue->config.size - queue->n_out)
		return virtq_fail(queue, "more requests than the ring holds");
	box = box_new(queue, n_out + n_in);
	if (!box)
		return -ENOMEM;
	element = &box->element;
	*element = (struct virtq_element){
		.id = id,
		.n_descs = (uint16_t)n_descs,
		.n_out = (uint16_t)n_out,
		.n_in = (uint16_t)n_in,
		.out_len = queue->out_len,
		.in_len = queue->in_len,
		.out = box->pieces,
		.in = box->pieces + n_out,
		.in_gpa = (uint64_t *)(void *)(box->pieces + box->capacity),
	};
	memcpy(element->out, queue->pieces,
	       (n_out + n_in) * sizeof(struct iovec));
	memcpy(element->in_gpa, queue->gpas + n_out, n_in * sizeof(uint64_t));
	queue->n_out += n_descs;
	*out = element;
	return 0;
}

int virtq_table_open(struct virtq *queue, struct virtq_table *table,
		     uint64_t addr, uint32_t len)
{
	int n;

	if (len == 0 || len % sizeof(struct virtq_desc) != 0)
		return virtq_fail(queue, "indirect table of odd length");
	if (len / sizeof(struct virtq_desc) > VIRTQ_SIZE_MAX)
		return virtq_fail(queue, "indirect table too long");
	n = guest_memory_map(queue->memory, addr, len, table->pieces,
			     array_size(table->pieces));
	if (n < 0)
		return virtq_fail(queue,
				  "indirect table outside of guest memory");
	table->n_pieces = (unsigned)n;
	table->n_entries = (unsigned)(len / sizeof(struct virtq_desc));
	return 0;
}

void virtq_table_read(const struct virtq_table *table, unsigned i, void *entry)
{
	iov_read(table->pieces, table->n_pieces, i * sizeof(struct virtq_desc),
		 entry, sizeof(struct virtq_desc));
	/* The copy is what counts: no second look at the guest's. */
	__atomic_signal_fence(__ATOMIC_ACQ_REL);
}

static int check_size(const struct virtq_config *config, const char **reason)
{
	uint32_t size = config->size;

	*reason = NULL;
	if (size == 0 || size > VIRTQ_SIZE_MAX)
		*reason = "ring size out of bounds";
	else if (!config->is_packed && (size & (size - 1)) != 0)
		*reason = "ring size not a power of two";
	return *reason ? -EINVAL : 0;
}

static int make_packed(struct virtq *queue)
{
	queue->ops = &virtq_packed_ops;
	queue->packed = calloc(1, sizeof(*queue->packed));
	if (!queue->packed)
		return -ENOMEM;
	queue->packed->unflushed =
		calloc(queue->config.size, sizeof(*queue->packed->unflushed));
	return queue->packed->unflushed ? 0 : -ENOMEM;
}

int virtq_new(struct virtq **out, struct guest_memory *memory,
	      const struct virtq_config *config, const char **reason)
{
	struct virtq *queue;
	int r = check_size(config, reason);

	if (r != 0)
		return r;
	*reason = "out of memory";
	queue = calloc(1, sizeof(*queue));
	if (!queue)
		return -ENOMEM;
	queue->memory = memory;
	queue->config = *config;
	queue->ops = &virtq_split_ops;
	r = config->is_packed ? make_packed(queue) : 0;
	if (r == 0)
		r = queue->ops->map(queue, reason);
	if (r == 0) {
		queue->is_mapped = true;
		*reason = "ring base out of bounds";
		r = queue->ops->set_base(queue, config->base);
	}
	if (r != 0) {
		virtq_free(queue);
		return r;
	}
	*reason = NULL;
	*out = queue;
	return 0;
}

void virtq_free(struct virtq *queue)
{
	if (!queue)
		return;
	while (queue->spare) {
		struct virtq_box *box = queue->spare;

		queue->spare = box->next;
		free(box);
	}
	if (queue->config.is_packed && queue->packed) {
		free(queue->packed->unflushed);
		free(queue->packed);
	}
	free(queue);
}

int virtq_remap(struct virtq *queue, const char **reason)
{
	int r = queue->ops->map(queue, reason);

	queue->is_mapped = r == 0;
	if (r != 0)
		virtq_fail(queue, *reason);
	return r;
}

int virtq_pop(struct virtq *queue, struct virtq_element **element)
{
	int r;

	if (queue->reason)
		return -EPROTO;
	virtq_begin(queue);
	r = queue->ops->pop(queue, element);
	return r;
}

int virtq_pop_head(struct virtq *queue, uint16_t head,
		   struct virtq_element **element)
{
	assert(!queue->config.is_packed);
	if (queue->reason)
		return -EPROTO;
	virtq_begin(queue);
	return virtq_split_take(queue, head, element);
}

int virtq_pop_descs(struct virtq *queue, const struct virtq_packed_desc *descs,
		    unsigned n, struct virtq_element **element)
{
	assert(queue->config.is_packed);
	if (queue->reason)
		return -EPROTO;
	virtq_begin(queue);
	return virtq_packed_take(queue, descs, n, element);
}

void virtq_unpop(struct virtq *queue, struct virtq_element **elements,
		 unsigned n)
{
	while (n-- > 0) {
		queue->ops->unpop(queue, elements[n]);
		virtq_drop(queue, elements[n]);
	}
}

/* The pieces that hold the first `written` bytes. */
static void log_written(struct virtq *queue,
			const struct virtq_element *element, uint64_t written)
{
	for (unsigned i = 0; i < element->n_in && written > 0; i++) {
		uint64_t here = element->in[i].iov_len;

		if (here > written)
			here = written;
		guest_memory_write_done(queue->memory, element->in_gpa[i],
					here);
		written -= here;
	}
}

void virtq_push(struct virtq *queue, struct virtq_element *element,
		uint32_t written)
{
	assert(written <= element->in_len);
	if (queue->memory->log)
		log_written(queue, element, written);
	if (queue->is_mapped)
		queue->ops->push(queue, element, written);
	virtq_drop(queue, element);
}

void virtq_drop(struct virtq *queue, struct virtq_element *element)
{
	queue->n_out -= element->n_descs;
	box_free(queue, element);
}

void virtq_flush(struct virtq *queue)
{
	if (queue->is_mapped)
		queue->ops->flush(queue);
}

bool virtq_wants_call(struct virtq *queue)
{
	return queue->is_mapped && queue->ops->wants_call(queue);
}

bool virtq_enable_kicks(struct virtq *queue, bool are_enabled)
{
	if (queue->reason || !queue->is_mapped)
		return false;
	queue->ops->enable_kicks(queue, are_enabled);
	if (!are_enabled)
		return false;
	/* Either we see the driver's request now, or it sees our wish. */
	atomic_thread_fence(memory_order_seq_cst);
	return !queue->ops->is_empty(queue);
}

bool virtq_is_empty(struct virtq *queue)
{
	return queue->reason || !queue->is_mapped ||
	       queue->ops->is_empty(queue);
}

uint32_t virtq_base(const struct virtq *queue)
{
	return queue->ops->base(queue);
}

int virtq_set_base(struct virtq *queue, uint32_t base)
{
	return queue->ops->set_base(queue, base);
}

uint32_t virtq_size(const struct virtq *queue)
{
	return queue->config.size;
}

bool virtq_is_broken(const struct virtq *queue)
{
	return queue->reason != NULL;
}

const char *virtq_reason(const struct virtq *queue)
{
	return queue->reason;
}

void virtq_break(struct virtq *queue, const char *reason)
{
	virtq_fail(queue, reason);
}
