/* SPDX-License-Identifier: ISC */
#include "tests/support/frontend_bench.h"

#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "protocols/virtio.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

#define BIT(n) (UINT64_C(1) << (n))

static void count_changed(void *context)
{
	((struct bench *)context)->n_changed++;
}

void bench_count_stopped(void *context)
{
	((struct bench *)context)->n_stopped++;
}

static void note_failed(void *context, const char *text)
{
	struct bench *bench = context;

	bench->n_failed++;
	snprintf(bench->reason, sizeof(bench->reason), "%s", text);
}

const struct vhost_frontend_ops bench_ops = {
	.config_changed = count_changed,
	.failed = note_failed,
};

void bench_add_regions(struct bench *bench, unsigned n)
{
	uint64_t size = BENCH_MEMORY_SIZE / n;

	for (unsigned i = 0; i < n; i++) {
		bench->regions[i] = (struct vhost_frontend_region){
			.gpa = i * size,
			.size = size,
			.user = 0x7f0000000000 + i * size,
			.fd = bench->memory_fd,
			.offset = i * size,
		};
	}
	bench->n_regions = n;
}

int bench_set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	*state = bench;
	scripted_backend_init(&bench->backend);
	assert_int_equal(event_loop_init(&bench->loop), 0);
	guest_memory_init(&bench->memory);
	bench->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(bench->memory_fd, BENCH_MEMORY_SIZE), 0);
	bench_add_regions(bench, 1);
	assert_int_equal(guest_memory_add(&bench->memory, 0, BENCH_MEMORY_SIZE,
					  0, bench->memory_fd, 0),
			 0);
	bench->options = (struct vhost_frontend_options){
		.fd = -1,
		.reconnect_seconds = FRONTEND_RECONNECT_FOREVER,
		.n_queues = 2,
		.n_queues_fixed = 1,
		.queue_unit = 1,
		.config_size = 60,
		.timeout_ms = BENCH_TIMEOUT_MS,
		.label = "blk0",
	};
	log_set_level(LOG_LEVEL_ERROR);
	return 0;
}

int bench_tear_down(void **state)
{
	struct bench *bench = *state;

	vhost_frontend_free(bench->frontend);
	scripted_backend_stop(&bench->backend);
	event_loop_deinit(&bench->loop);
	guest_memory_deinit(&bench->memory);
	close_fd(&bench->memory_fd);
	free(bench);
	return 0;
}

int bench_make(struct bench *bench)
{
	scripted_backend_start(&bench->backend);
	bench->options.socket_path = bench->backend.path;
	return vhost_frontend_new(&bench->frontend, &bench->loop,
				  &bench->options, &bench->memory,
				  bench->regions, bench->n_regions, &bench_ops,
				  bench, &bench->err);
}

int64_t bench_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void fill_queue(struct vhost_frontend_queue *queue, unsigned i)
{
	*queue = (struct vhost_frontend_queue){
		.is_ready = true,
		.size = BENCH_QUEUE_SIZE,
		.desc_gpa = 0x10000 * i + 0x1000,
		.driver_gpa = 0x10000 * i + 0x4000,
		.device_gpa = 0x10000 * i + 0x8000,
	};
}

void bench_set_used_index(struct bench *bench, unsigned i, uint16_t index)
{
	uint16_t *used =
		guest_memory_at(&bench->memory, 0x10000 * i + 0x8002, 2, 2);

	*used = index;
}

void bench_start(struct bench *bench)
{
	struct vhost_frontend_queue queues[2];

	fill_queue(&queues[0], 0);
	fill_queue(&queues[1], 1);
	assert_int_equal(vhost_frontend_start(bench->frontend,
					      BIT(VIRTIO_F_VERSION_1) |
						      BIT(VIRTIO_F_EVENT_IDX),
					      queues, 2),
			 0);
}

bool bench_is_running(struct bench *bench)
{
	struct pollfd kick = {
		.fd = vhost_frontend_kick_fd(bench->frontend, 1),
		.events = POLLIN,
	};

	return poll(&kick, 1, 0) == 1;
}

void bench_take_events(struct bench *bench)
{
	eventfd_t value;

	for (unsigned i = 0; i < 2; i++) {
		eventfd_read(vhost_frontend_kick_fd(bench->frontend, i),
			     &value);
		eventfd_read(vhost_frontend_call_fd(bench->frontend, i),
			     &value);
	}
}

unsigned bench_told(struct bench *bench, int connection, uint32_t request,
		    struct scripted_told *last)
{
	return scripted_backend_told(&bench->backend, connection, request,
				     last);
}
