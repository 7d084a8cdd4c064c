/* SPDX-License-Identifier: ISC */
/*
 * Requests: taken from a ring, carried out by the image queue, given back as
 * they end, in any order. A task is one request; what it holds (the element,
 * memory behind it, the ring) stays until it is pushed, also when the
 * connection is gone meanwhile: lib/vhost waits for vhost_queue_drained().
 *
 * Answers are published once for all that ended together: serve_flush().
 */
#include "vm-disk/disk.h"

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "protocols/virtio_blk.h"
#include "vm-disk/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	SPARE_MAX = 256,
	COMPLAINT_MS = 5000,
	/* Requests taken from one ring before the others have their turn. */
	TURN_MAX = 256,
};

struct disk_task {
	struct image_request io;
	struct disk_task *next_spare;
	struct disk *disk;
	struct disk_queue *queue;
	struct virtq_element *element;
	struct blk_request request;
	unsigned n_ranges_done;
};

static uint64_t now_ms(void)
{
	return clock_ns() / 1000000;
}

void serve_complain(struct disk *disk, const char *what, uint64_t offset,
		    const char *text, int code)
{
	uint64_t now = now_ms();

	disk->stats.n_errors++;
	if (disk->complained_ms && now - disk->complained_ms < COMPLAINT_MS) {
		disk->n_untold++;
		return;
	}
	if (disk->n_untold > 0)
		log_error("%s: %u more errors", image_path(disk->image),
			  disk->n_untold);
	log_error("%s: %s at %" PRIu64 ": %s", image_path(disk->image), what,
		  offset, text ? text : strerror(-code));
	disk->complained_ms = now;
	disk->n_untold = 0;
}

static struct disk_task *task_new(struct disk *disk)
{
	struct disk_task *task = disk->spare;

	if (!task)
		return malloc(sizeof(*task));
	disk->spare = task->next_spare;
	disk->n_spare--;
	return task;
}

static void task_free(struct disk *disk, struct disk_task *task)
{
	blk_request_deinit(&task->request);
	if (disk->n_spare == SPARE_MAX) {
		free(task);
		return;
	}
	task->next_spare = disk->spare;
	disk->spare = task;
	disk->n_spare++;
}

/*
 * Give the request back. The status is its last byte, so everything before
 * it counts as written too; after an error that is what was there before.
 */
static void push(struct disk_queue *queue, struct virtq_element *element,
		 uint8_t status)
{
	uint64_t written = element->in_len;

	blk_request_set_status(element, status);
	vhost_queue_push(queue->queue, element,
			 written > UINT32_MAX ? UINT32_MAX : (uint32_t)written);
	queue->is_dirty = true;
}

static void end_task(struct disk_task *task, uint8_t status)
{
	push(task->queue, task->element, status);
	task->queue->n_active--;
	task_free(task->disk, task);
}

static const char *action_name(enum image_operation operation)
{
	switch (operation) {
	case IMAGE_OP_READ:
		return "read";
	case IMAGE_OP_WRITE:
		return "write";
	case IMAGE_OP_FLUSH:
		return "flush";
	case IMAGE_OP_DISCARD:
		return "discard";
	case IMAGE_OP_WRITE_ZEROES:
		return "write of zeroes";
	}
	return "request";
}

static void submit_range(struct disk_task *task)
{
	const struct blk_range *range =
		&task->request.ranges[task->n_ranges_done++];

	task->io.offset = range->offset;
	task->io.len = range->len;
	task->io.flags = range->may_unmap ? IMAGE_ZERO_MAY_UNMAP : 0;
	image_queue_submit(task->disk->queue, &task->io);
}

static void task_done(struct image_request *io, int result)
{
	struct disk_task *task = container_of(io, struct disk_task, io);
	struct disk *disk = task->disk;

	if (result < 0) {
		serve_complain(disk, action_name(io->operation), io->offset,
			       io->error_text, result);
		end_task(task, VIRTIO_BLK_S_IOERR);
		return;
	}
	if (task->n_ranges_done < task->request.n_ranges) {
		submit_range(task);
		return;
	}
	/* §5.2.6.2: without FLUSH what is acknowledged is on the disk. */
	if (disk->is_write_through &&
	    (io->operation == IMAGE_OP_WRITE ||
	     io->operation == IMAGE_OP_WRITE_ZEROES)) {
		io->operation = IMAGE_OP_FLUSH;
		image_queue_submit(disk->queue, io);
		return;
	}
	end_task(task, VIRTIO_BLK_S_OK);
}

static void submit_data(struct disk_task *task, enum image_operation operation)
{
	task->io.operation = operation;
	task->io.offset = task->request.offset;
	task->io.len = task->request.len;
	task->io.iov = task->request.iov;
	task->io.n_iov = task->request.n_iov;
	image_queue_submit(task->disk->queue, &task->io);
}

static uint8_t give_id(const struct disk *disk,
		       const struct virtq_element *element)
{
	char id[VIRTIO_BLK_ID_LEN];
	size_t len = sizeof(id);

	config_serial(disk, id);
	if (len > element->in_len - 1)
		len = element->in_len - 1;
	iov_write(element->in, element->n_in, 0, id, len);
	return VIRTIO_BLK_S_OK;
}

/* Start it; true if it was over at once, with *status. */
static bool start_task(struct disk_task *task, uint8_t *status)
{
	struct disk_stats *stats = &task->disk->stats;

	switch (task->request.action) {
	case BLK_READ:
		stats->n_reads++;
		stats->bytes_read += task->request.len;
		submit_data(task, IMAGE_OP_READ);
		return false;
	case BLK_WRITE:
		stats->n_writes++;
		stats->bytes_written += task->request.len;
		submit_data(task, IMAGE_OP_WRITE);
		return false;
	case BLK_FLUSH:
		stats->n_flushes++;
		task->io.operation = IMAGE_OP_FLUSH;
		image_queue_submit(task->disk->queue, &task->io);
		return false;
	case BLK_DISCARD:
		stats->n_discards++;
		task->io.operation = IMAGE_OP_DISCARD;
		submit_range(task);
		return false;
	case BLK_WRITE_ZEROES:
		stats->n_zeroes++;
		task->io.operation = IMAGE_OP_WRITE_ZEROES;
		submit_range(task);
		return false;
	case BLK_GET_ID:
		stats->n_others++;
		*status = give_id(task->disk, task->element);
		return true;
	case BLK_ANSWER:
		stats->n_others++;
		*status = task->request.status;
		return true;
	}
	*status = VIRTIO_BLK_S_UNSUPP;
	return true;
}

/* -EPROTO: it cannot be answered at all. */
static int take_request(struct disk *disk, struct disk_queue *queue,
			struct virtq_element *element)
{
	struct disk_task *task = task_new(disk);
	uint8_t status;
	int r;

	if (!task) {
		if (element->in_len == 0)
			return -EPROTO;
		push(queue, element, VIRTIO_BLK_S_IOERR);
		return 0;
	}
	task->disk = disk;
	task->queue = queue;
	task->element = element;
	task->n_ranges_done = 0;
	task->io = (struct image_request){ .done = task_done };
	r = blk_request_parse(&task->request, element, &disk->limits);
	if (r < 0) {
		task_free(disk, task);
		return r;
	}
	queue->n_active++;
	if (start_task(task, &status))
		end_task(task, status);
	return 0;
}

static void flush_queue(struct disk_queue *queue)
{
	if (queue->is_dirty)
		vhost_queue_flush(queue->queue);
	queue->is_dirty = false;
}

/* After each batch of ends: publish, and tell what has drained. */
static void flush_queues(void *context)
{
	struct disk *disk = context;

	for (unsigned i = 0; i < disk->options->n_queues; i++) {
		struct disk_queue *queue = &disk->queues[i];

		flush_queue(queue);
		if (queue->is_stopping && queue->n_active == 0) {
			struct vhost_queue *stopped = steal_ptr(&queue->queue);

			queue->is_stopping = false;
			vhost_queue_drained(stopped);
		}
	}
}

void serve_queue_started(void *context, struct vhost_queue *queue)
{
	struct disk *disk = context;
	struct disk_queue *own = &disk->queues[vhost_queue_index(queue)];

	*own = (struct disk_queue){ .queue = queue };
}

/* At most *n_left of them; false when the ring may have more. */
static bool take_requests(struct disk *disk, struct disk_queue *queue,
			  unsigned *n_left)
{
	struct virtq_element *element;

	for (; *n_left > 0; --*n_left) {
		if (vhost_queue_pop(queue->queue, &element) != 0)
			return true;
		if (take_request(disk, queue, element) == 0)
			continue;
		vhost_queue_push(queue->queue, element, 0);
		vhost_queue_break(queue->queue,
				  "request without a status byte");
		return true;
	}
	return false;
}

/*
 * One turn of a ring: requests that end at once make room for more, so a busy
 * guest could keep the loop in here for ever. What is left when the turn is
 * over comes after the other sources, without a kick.
 */
void serve_queue_kicked(void *context, struct vhost_queue *vhost_queue)
{
	struct disk *disk = context;
	struct disk_queue *queue =
		&disk->queues[vhost_queue_index(vhost_queue)];
	unsigned n_left = TURN_MAX;
	uint64_t one = 1;
	bool is_empty;

	queue->is_due = false;
	do {
		vhost_queue_enable_kicks(vhost_queue, false);
		is_empty = take_requests(disk, queue, &n_left);
		image_queue_kick(disk->queue);
		flush_queue(queue);
		if (is_empty && !vhost_queue_enable_kicks(vhost_queue, true))
			return;
		/* A round is a turn's worth too: out of memory it takes none.
		 */
	} while (n_left > 0 && --n_left > 0);
	queue->is_due = true;
	if (write(disk->again_fd, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno)); /* full: it is due */
}

static void go_on(struct event_source *source, uint32_t events)
{
	struct disk *disk = container_of(source, struct disk, again);
	uint64_t count;

	(void)events;
	if (read(disk->again_fd, &count, sizeof(count)) < 0)
		return;
	for (unsigned i = 0; i < disk->options->n_queues; i++) {
		struct disk_queue *queue = &disk->queues[i];

		if (queue->is_due && queue->queue && !queue->is_stopping)
			serve_queue_kicked(disk, queue->queue);
	}
}

bool serve_queue_stop(void *context, struct vhost_queue *vhost_queue)
{
	struct disk *disk = context;
	struct disk_queue *queue =
		&disk->queues[vhost_queue_index(vhost_queue)];

	flush_queue(queue);
	if (queue->n_active > 0) {
		queue->is_stopping = true;
		return false;
	}
	queue->queue = NULL;
	return true;
}

int serve_init(struct disk *disk)
{
	image_queue_set_batch(disk->queue, flush_queues, disk);
	disk->again_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (disk->again_fd < 0)
		return -errno;
	return event_source_add(disk->loop, &disk->again, disk->again_fd,
				EPOLLIN, go_on);
}

void serve_deinit(struct disk *disk)
{
	struct disk_task *task;

	event_source_remove(&disk->again);
	close_fd(&disk->again_fd);
	while ((task = disk->spare)) {
		disk->spare = task->next_spare;
		free(task);
	}
	disk->n_spare = 0;
}
