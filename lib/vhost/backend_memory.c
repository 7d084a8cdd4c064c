/* SPDX-License-Identifier: ISC */
/*
 * A back end's messages about memory: the table of regions, the dirty log,
 * the in-flight region.
 *
 * A region is unmapped only when no request is out, as the kernel or a thread
 * may be reading or writing it: the message waits, and nothing new is taken.
 */
#include "lib/base/cleanup.h"
#include "lib/vhost/backend_internal.h"

#include <errno.h>

static int add_region(struct vhost_backend *backend,
		      const struct vhost_user_mem_region *region, int fd)
{
	int r;

	if (fd < 0)
		return backend_refuse(backend, "no descriptor");
	r = guest_memory_add(&backend->memory, region->gpa, region->size,
			     region->user, fd, region->mmap_offset);
	if (r == -EINVAL)
		backend->reason = "region that is longer than its file";
	else if (r == -EEXIST)
		backend->reason = "regions overlap";
	else if (r == -ENOSPC)
		backend->reason = "too many regions";
	return r;
}

int backend_set_mem_table(struct vhost_backend *backend,
			  struct vhost_message *message)
{
	const struct vhost_user_mem_table *table = &message->payload.memory;
	int r = 0;

	if (!backend_quiesce(backend))
		return BACKEND_WAIT;
	guest_memory_clear(&backend->memory);
	for (unsigned i = 0; r == 0 && i < table->n_regions; i++)
		r = add_region(backend, &table->regions[i], message->fds[i]);
	backend_remap(backend);
	return r;
}

int backend_get_max_mem_slots(struct vhost_backend *backend,
			      struct vhost_message *message)
{
	(void)backend;
	message->payload.u64 = GUEST_MEMORY_REGIONS_MAX;
	backend_set_reply(message, sizeof(message->payload.u64));
	return 0;
}

int backend_add_mem_reg(struct vhost_backend *backend,
			struct vhost_message *message)
{
	int r = add_region(backend, &message->payload.region.region,
			   message->n_fds > 0 ? message->fds[0] : -1);

	if (r == 0)
		backend_remap(backend);
	return r;
}

int backend_rem_mem_reg(struct vhost_backend *backend,
			struct vhost_message *message)
{
	const struct vhost_user_mem_region *region =
		&message->payload.region.region;
	int r;

	if (!backend_quiesce(backend))
		return BACKEND_WAIT;
	r = guest_memory_remove(&backend->memory, region->gpa, region->size);
	if (r == -ENOENT)
		backend->reason = "no such region";
	backend_remap(backend);
	return r;
}

int backend_set_log_base(struct vhost_backend *backend,
			 struct vhost_message *message)
{
	const struct vhost_user_log *log = &message->payload.log;
	int r;

	if (message->n_fds == 0 || message->header.size < sizeof(*log))
		return backend_refuse(backend, "log without a descriptor");
	r = guest_memory_set_log(&backend->memory, message->fds[0],
				 log->mmap_size, log->mmap_offset);
	if (r != 0)
		return r;
	guest_memory_enable_log(&backend->memory,
				backend->features >> VHOST_F_LOG_ALL & 1);
	/* QEMU and DPDK agree on an answer without payload. */
	backend_set_reply(message, 0);
	return 0;
}

/* The front end reads the log when it likes; nobody waits on this. */
int backend_set_log_fd(struct vhost_backend *backend,
		       struct vhost_message *message)
{
	(void)backend;
	vhost_message_close_fds(message);
	return 0;
}

static int check_no_queue_runs(struct vhost_backend *backend)
{
	for (unsigned i = 0; i < backend->n_queues; i++)
		if (backend->queues[i].inflight)
			return backend_refuse(backend,
					      "while a queue is running");
	return 0;
}

int backend_get_inflight_fd(struct vhost_backend *backend,
			    struct vhost_message *message)
{
	struct vhost_user_inflight *inflight = &message->payload.inflight;
	int fd = -1, r;

	r = check_no_queue_runs(backend);
	if (r != 0)
		return r;
	if (inflight->num_queues > backend->n_queues)
		return backend_refuse(backend, "more queues than there are");
	r = inflight_create(&backend->inflight, inflight->num_queues,
			    inflight->queue_size, &backend->memory.is_damaged,
			    &fd, inflight);
	if (r != 0)
		return r;
	backend_set_reply(message, sizeof(*inflight));
	message->fds[0] = fd;
	message->n_fds = 1;
	return 0;
}

int backend_set_inflight_fd(struct vhost_backend *backend,
			    struct vhost_message *message)
{
	int r = check_no_queue_runs(backend);

	if (r != 0)
		return r;
	if (message->n_fds == 0)
		return backend_refuse(backend, "no descriptor");
	return inflight_map(&backend->inflight, message->fds[0],
			    &message->payload.inflight,
			    &backend->memory.is_damaged);
}
