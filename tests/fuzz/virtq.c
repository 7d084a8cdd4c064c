/* SPDX-License-Identifier: ISC */
/*
 * Random memory as the rings of a queue. The first bytes choose the kind of
 * ring and where it lies; the rest is guest memory. Between turns some of it
 * is changed again, as a guest does. Nothing may be touched that is not guest
 * memory, and what is taken never exceeds what the ring holds.
 */
#include "lib/virtio/virtq.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	HALF = 16384, /* two regions that adjoin, mapped apart */
	GPA = 0x10000,
	TURNS = 8,
	TAKEN_MAX = 4096,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct guest_memory memory;
static uint8_t *halves[2];

static void set_up(void)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, 3 * HALF) != 0)
		abort();
	guest_memory_init(&memory);
	/* The second half lies behind a gap. */
	if (guest_memory_add(&memory, GPA, HALF, 0, fd, 0) != 0 ||
	    guest_memory_add(&memory, GPA + HALF, HALF, 0, fd, 2 * HALF) != 0)
		abort();
	halves[0] = memory.regions[0].host;
	halves[1] = memory.regions[1].host;
	close(fd);
}

static void write_memory(size_t offset, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		size_t at = (offset + i) % (2 * HALF);

		halves[at / HALF][at % HALF] = data[i];
	}
}

/* Read and write all of a request, then give it back in some way. */
static void handle(struct virtq *queue, struct virtq_element *element,
		   unsigned choice)
{
	uint8_t bytes[512];
	size_t n;

	iov_read(element->out, element->n_out, choice, bytes, sizeof(bytes));
	memset(bytes, (int)choice, sizeof(bytes));
	n = iov_write(element->in, element->n_in, choice, bytes, 16);
	if (choice % 4 == 0)
		virtq_unpop(queue, &element, 1);
	else
		virtq_push(queue, element, n ? (uint32_t)(n + choice) : 0);
}

static void run(struct virtq *queue, const uint8_t *data, size_t size)
{
	static struct virtq_element *taken[TAKEN_MAX];
	unsigned n_taken = 0;

	for (unsigned turn = 0; turn < TURNS; turn++) {
		struct virtq_element *element;
		unsigned choice = size > turn ? data[turn] : turn;

		if (virtq_pop(queue, &element) == 0) {
			if (choice % 3 == 0 && n_taken < TAKEN_MAX)
				taken[n_taken++] = element;
			else
				handle(queue, element, choice);
		}
		if (n_taken > virtq_size(queue))
			abort();
		if (choice % 5 == 0)
			virtq_flush(queue);
		(void)virtq_wants_call(queue);
		(void)virtq_enable_kicks(queue, choice & 1);
		(void)virtq_base(queue);
		if (size > turn + 4U)
			write_memory(data[turn + 1] * 256U + data[turn + 2],
				     data + turn, 4);
	}
	while (n_taken > 0)
		virtq_drop(queue, taken[--n_taken]);
	virtq_flush(queue);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtq_config config;
	struct virtq *queue;
	const char *reason;

	if (!halves[0])
		set_up();
	if (size < 8)
		return 0;
	config = (struct virtq_config){
		.size = data[0] & 1 ? 1U << (data[1] % 9) : data[1],
		.is_packed = data[0] & 2,
		.has_event_idx = data[0] & 4,
		.has_indirect = data[0] & 8,
		.desc_gpa = GPA + data[2] * 16U,
		.driver_gpa = GPA + data[3] * 64U,
		.device_gpa = GPA + data[4] * 64U + 8192,
		.base = (uint32_t)data[5] << 8 | data[6] |
			(uint32_t)data[7] << 24,
	};
	memset(halves[0], 0, HALF);
	memset(halves[1], 0, HALF);
	write_memory(0, data + 8, size - 8);
	if (virtq_new(&queue, &memory, &config, &reason) != 0)
		return 0;
	run(queue, data + 8, size - 8);
	virtq_free(queue);
	return 0;
}
