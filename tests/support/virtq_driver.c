/* SPDX-License-Identifier: ISC */
/* See virtq_driver.h. Written from virtio 1.2 §2.7 and §2.8, apart from the
 * device side, so that the two check each other. */
#include "tests/support/virtq_driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int driver_memory_init(struct driver_memory *memory, uint64_t gpa, size_t size)
{
	memory->gpa = gpa;
	memory->size = size;
	memory->fd = memfd_create("guest", MFD_CLOEXEC);
	if (memory->fd < 0)
		return -errno;
	if (ftruncate(memory->fd, (off_t)size) != 0)
		return -errno;
	memory->host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			    memory->fd, 0);
	return memory->host == MAP_FAILED ? -errno : 0;
}

void driver_memory_deinit(struct driver_memory *memory)
{
	munmap(memory->host, memory->size);
	close(memory->fd);
}

void *driver_memory_at(const struct driver_memory *memory, uint64_t gpa)
{
	return memory->host + (gpa - memory->gpa);
}

static uint64_t align_up(uint64_t value, uint64_t align)
{
	return (value + align - 1) & ~(align - 1);
}

static void lay_out(struct virtq_driver *driver, uint64_t gpa)
{
	struct driver_memory *memory = driver->memory;
	uint64_t n = driver->size;

	driver->desc_gpa = gpa;
	driver->driver_gpa = gpa + n * 16;
	if (driver->is_packed) {
		driver->device_gpa = driver->driver_gpa + 4;
		driver->end_gpa = driver->device_gpa + 4;
	} else {
		driver->device_gpa =
			align_up(driver->driver_gpa + 6 + 2 * n, 4);
		driver->end_gpa = driver->device_gpa + 6 + 8 * n;
	}
	driver->end_gpa = align_up(driver->end_gpa, 4096);
	memset(driver_memory_at(memory, gpa), 0, driver->end_gpa - gpa);
	driver->desc = driver_memory_at(memory, driver->desc_gpa);
	driver->ring = (void *)driver->desc;
	driver->avail = driver_memory_at(memory, driver->driver_gpa);
	driver->driver_event = (void *)driver->avail;
	driver->used = driver_memory_at(memory, driver->device_gpa);
	driver->device_event = (void *)driver->used;
	driver->avail_event = driver_memory_at(
		memory, driver->device_gpa + sizeof(*driver->used) + 8 * n);
}

int virtq_driver_init(struct virtq_driver *driver, struct driver_memory *memory,
		      uint64_t gpa, uint16_t size, bool is_packed,
		      bool has_event_idx)
{
	*driver = (struct virtq_driver){
		.memory = memory,
		.is_packed = is_packed,
		.has_event_idx = has_event_idx,
		.size = size,
		.avail_wrap = true,
		.used_wrap = true,
		.n_free = size,
	};
	lay_out(driver, gpa);
	driver->requests = calloc(size, sizeof(*driver->requests));
	if (!driver->requests)
		return -ENOMEM;
	for (unsigned i = 0; i < size; i++)
		driver->requests[i].next = (uint16_t)(i + 1);
	return 0;
}

void virtq_driver_deinit(struct virtq_driver *driver)
{
	free(driver->requests);
	driver->requests = NULL;
}

static uint16_t direction(const struct driver_buffer *buffer)
{
	return buffer->is_in ? VIRTQ_DESC_F_WRITE : 0;
}

/* Both kinds of tables have address and length at the same place. */
static void fill_table(struct virtq_driver *driver,
		       const struct driver_buffer *buffers, unsigned n,
		       uint64_t table_gpa)
{
	struct virtq_desc *split = driver_memory_at(driver->memory, table_gpa);
	struct virtq_packed_desc *packed = (void *)split;

	for (unsigned i = 0; i < n; i++) {
		uint16_t flags = direction(&buffers[i]);

		if (driver->is_packed) {
			packed[i] = (struct virtq_packed_desc){
				.addr = buffers[i].gpa,
				.len = buffers[i].len,
				.flags = flags,
			};
			continue;
		}
		if (i + 1 < n)
			flags |= VIRTQ_DESC_F_NEXT;
		split[i] = (struct virtq_desc){
			.addr = buffers[i].gpa,
			.len = buffers[i].len,
			.flags = flags,
			.next = (uint16_t)(i + 1),
		};
	}
}

static int add_split(struct virtq_driver *driver,
		     const struct driver_buffer *buffers, unsigned n,
		     uint16_t first_flags, void *token)
{
	uint16_t head = driver->free_head, at = head, last = head;

	for (unsigned i = 0; i < n; i++) {
		uint16_t flags = direction(&buffers[i]) | first_flags;

		if (i + 1 < n)
			flags |= VIRTQ_DESC_F_NEXT;
		driver->desc[at] = (struct virtq_desc){
			.addr = buffers[i].gpa,
			.len = buffers[i].len,
			.flags = flags,
			.next = driver->requests[at].next,
		};
		last = at;
		at = driver->requests[at].next;
	}
	driver->free_head = driver->requests[last].next;
	driver->requests[head].token = token;
	driver->requests[head].n_descs = (uint16_t)n;
	driver->avail->ring[driver->next_avail++ & (driver->size - 1)] = head;
	return head;
}

static int add_packed(struct virtq_driver *driver,
		      const struct driver_buffer *buffers, unsigned n,
		      uint16_t first_flags, void *token)
{
	uint16_t id = driver->free_head;

	driver->free_head = driver->requests[id].next;
	driver->requests[id].token = token;
	driver->requests[id].n_descs = (uint16_t)n;
	for (unsigned i = 0; i < n; i++) {
		struct virtq_packed_desc *desc =
			&driver->ring[driver->next_avail];
		uint16_t flags = direction(&buffers[i]) | first_flags;

		if (i + 1 < n)
			flags |= VIRTQ_DESC_F_NEXT;
		flags |= driver->avail_wrap ? VIRTQ_DESC_F_AVAIL
					    : VIRTQ_DESC_F_USED;
		desc->addr = buffers[i].gpa;
		desc->len = buffers[i].len;
		desc->id = id;
		if (driver->n_added == 0 && i == 0) {
			driver->pending_head = driver->next_avail;
			driver->pending_flags = flags;
		} else {
			__atomic_store_n(&desc->flags, flags, __ATOMIC_RELEASE);
		}
		if (++driver->next_avail == driver->size) {
			driver->next_avail = 0;
			driver->avail_wrap = !driver->avail_wrap;
		}
	}
	return id;
}

int virtq_driver_add(struct virtq_driver *driver,
		     const struct driver_buffer *buffers, unsigned n,
		     uint64_t table_gpa, void *token)
{
	struct driver_buffer table = { .gpa = table_gpa, .len = n * 16 };
	unsigned n_descs = table_gpa ? 1 : n;
	uint16_t flags = table_gpa ? VIRTQ_DESC_F_INDIRECT : 0;
	int id;

	if (n_descs > driver->n_free)
		return -ENOSPC;
	if (table_gpa) {
		fill_table(driver, buffers, n, table_gpa);
		buffers = &table;
	}
	id = driver->is_packed
		     ? add_packed(driver, buffers, n_descs, flags, token)
		     : add_split(driver, buffers, n_descs, flags, token);
	driver->n_free -= n_descs;
	driver->n_added += n_descs;
	return id;
}

/* §2.8.10: is the device's event among the entries just shown? */
static bool is_event_reached(const struct virtq_driver *driver)
{
	uint16_t event = driver->device_event->off_wrap;
	unsigned old = (driver->next_avail + driver->size - driver->n_added) %
		       driver->size;
	unsigned distance;
	bool wrap = event & VIRTQ_EVENT_WRAP;

	event &= (uint16_t)~VIRTQ_EVENT_WRAP;
	distance = (event + driver->size - old) % driver->size;
	if (distance >= driver->n_added)
		return false;
	/* The lap in which that entry was shown. */
	return wrap == (event >= driver->next_avail ? !driver->avail_wrap
						    : driver->avail_wrap);
}

static bool publish_packed(struct virtq_driver *driver)
{
	bool wants_kick;
	uint16_t flags;

	__atomic_store_n(&driver->ring[driver->pending_head].flags,
			 driver->pending_flags, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	flags = __atomic_load_n(&driver->device_event->flags, __ATOMIC_ACQUIRE);
	wants_kick = flags == VIRTQ_EVENT_ENABLE ||
		     (flags == VIRTQ_EVENT_DESC && is_event_reached(driver));
	driver->n_added = 0;
	return wants_kick;
}

bool virtq_driver_publish(struct virtq_driver *driver)
{
	uint16_t old = driver->published, event;

	if (driver->n_added == 0)
		return false;
	if (driver->is_packed)
		return publish_packed(driver);
	__atomic_store_n(&driver->avail->idx, driver->next_avail,
			 __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	driver->published = driver->next_avail;
	driver->n_added = 0;
	if (!driver->has_event_idx)
		return !(driver->used->flags & VIRTQ_USED_F_NO_NOTIFY);
	event = *driver->avail_event;
	return (uint16_t)(driver->next_avail - event - 1) <
	       (uint16_t)(driver->next_avail - old);
}

static void *take_back(struct virtq_driver *driver, uint16_t id)
{
	struct virtq_driver_request *request = &driver->requests[id];
	void *token = request->token;
	uint16_t last = id;

	for (unsigned i = 1; !driver->is_packed && i < request->n_descs; i++)
		last = driver->requests[last].next;
	driver->n_free += request->n_descs;
	driver->requests[last].next = driver->free_head;
	driver->free_head = id;
	request->token = NULL;
	return token;
}

static void *get_used_packed(struct virtq_driver *driver, uint32_t *len)
{
	struct virtq_packed_desc *desc = &driver->ring[driver->next_used];
	uint16_t flags = __atomic_load_n(&desc->flags, __ATOMIC_ACQUIRE);
	uint16_t id;

	if (!!(flags & VIRTQ_DESC_F_AVAIL) != driver->used_wrap ||
	    !!(flags & VIRTQ_DESC_F_USED) != driver->used_wrap)
		return NULL;
	id = desc->id;
	*len = desc->len;
	driver->next_used += driver->requests[id].n_descs;
	if (driver->next_used >= driver->size) {
		driver->next_used -= driver->size;
		driver->used_wrap = !driver->used_wrap;
	}
	return take_back(driver, id);
}

void *virtq_driver_get_used(struct virtq_driver *driver, uint32_t *len)
{
	struct virtq_used_elem *elem;

	if (driver->is_packed)
		return get_used_packed(driver, len);
	if (driver->next_used ==
	    __atomic_load_n(&driver->used->idx, __ATOMIC_ACQUIRE))
		return NULL;
	elem = &driver->used->ring[driver->next_used++ & (driver->size - 1)];
	*len = elem->len;
	return take_back(driver, (uint16_t)elem->id);
}

static void enable_calls_packed(struct virtq_driver *driver, bool are_enabled)
{
	uint16_t flags = are_enabled ? VIRTQ_EVENT_ENABLE : VIRTQ_EVENT_DISABLE;

	if (are_enabled && driver->has_event_idx) {
		driver->driver_event->off_wrap =
			driver->next_used |
			(driver->used_wrap ? VIRTQ_EVENT_WRAP : 0);
		flags = VIRTQ_EVENT_DESC;
	}
	__atomic_store_n(&driver->driver_event->flags, flags, __ATOMIC_RELEASE);
}

void virtq_driver_enable_calls(struct virtq_driver *driver, bool are_enabled)
{
	if (driver->is_packed)
		enable_calls_packed(driver, are_enabled);
	else if (!driver->has_event_idx)
		driver->avail->flags =
			are_enabled ? 0 : VIRTQ_AVAIL_F_NO_INTERRUPT;
	else
		/* An event far behind is not passed for long. */
		driver->avail->ring[driver->size] =
			(uint16_t)(driver->next_used - !are_enabled);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
