/* SPDX-License-Identifier: ISC */
/*
 * A console's guest, without a guest: standard input is what the guest
 * writes, standard output what is typed to it, over restarts of the back end.
 * After the end of standard input it goes on until SIGTERM. Usage:
 *	vhost-console SOCKET
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/vhost/frontend.h"
#include "protocols/virtio.h"
#include "protocols/virtio_console.h"
#include "tests/support/virtq_driver.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum {
	GPA = 1 << 20,
	MEMORY = 1 << 20,
	RING_STEP = 1 << 16,
	BUFFERS = GPA + (1 << 19),
	N_BUFFERS = 32, /* in each direction */
	BUFFER_SIZE = 1024,
	QUEUE_SIZE = 64,
	N_QUEUES = 2,
};

struct guest {
	struct event_loop loop;
	struct event_signals signals;
	struct event_source input, calls[N_QUEUES];
	struct driver_memory arena;
	struct guest_memory memory;
	struct virtq_driver drivers[N_QUEUES];
	struct vhost_frontend *frontend;
	bool is_used[N_BUFFERS]; /* outgoing buffers */
	bool is_over;		 /* end of standard input */
};

static uint64_t buffer_gpa(unsigned queue, unsigned i)
{
	return BUFFERS + (queue * N_BUFFERS + i) * (uint64_t)BUFFER_SIZE;
}

static void kick(struct guest *guest, unsigned queue)
{
	uint64_t one = 1;

	if (virtq_driver_publish(&guest->drivers[queue]) &&
	    write(vhost_frontend_kick_fd(guest->frontend, queue), &one, 8) != 8)
		die(EXIT_FAILURE, "kick failed");
}

static void offer(struct guest *guest, unsigned queue, unsigned i, uint32_t len)
{
	struct driver_buffer buffer = {
		.gpa = buffer_gpa(queue, i),
		.len = len,
		.is_in = queue == VIRTIO_CONSOLE_RECEIVEQ,
	};

	/* The token is not NULL. */
	if (virtq_driver_add(&guest->drivers[queue], &buffer, 1, 0,
			     &guest->is_used[i]) < 0)
		die(EXIT_FAILURE, "ring is full");
}

/* Standard input, into buffers that are free. */
static void read_input(struct guest *guest)
{
	for (unsigned i = 0; i < N_BUFFERS; i++) {
		void *buffer = driver_memory_at(
			&guest->arena, buffer_gpa(VIRTIO_CONSOLE_TRANSMITQ, i));
		ssize_t n;

		if (guest->is_used[i])
			continue;
		n = read(STDIN_FILENO, buffer, BUFFER_SIZE);
		if (n == 0)
			guest->is_over = true;
		if (n <= 0)
			break;
		guest->is_used[i] = true;
		offer(guest, VIRTIO_CONSOLE_TRANSMITQ, i, (uint32_t)n);
		if (n < BUFFER_SIZE)
			break;
	}
	kick(guest, VIRTIO_CONSOLE_TRANSMITQ);
}

static bool has_room(const struct guest *guest)
{
	for (unsigned i = 0; i < N_BUFFERS; i++) {
		if (!guest->is_used[i])
			return true;
	}
	return false;
}

static void handle_input(struct event_source *source, uint32_t events)
{
	struct guest *guest = container_of(source, struct guest, input);

	(void)events;
	read_input(guest);
	if (guest->is_over || !has_room(guest))
		event_source_remove(source);
}

/* A used request's token, after which the next is called for anew. */
static bool *get_used(struct guest *guest, unsigned queue, uint32_t *len)
{
	struct virtq_driver *driver = &guest->drivers[queue];
	bool *token = virtq_driver_get_used(driver, len);

	virtq_driver_enable_calls(driver, true);
	return token ? token : virtq_driver_get_used(driver, len);
}

static void look_at_transmitq(struct guest *guest)
{
	bool *is_used;
	uint32_t len;

	while ((is_used = get_used(guest, VIRTIO_CONSOLE_TRANSMITQ, &len)))
		*is_used = false;
	if (!guest->is_over && !guest->input.loop && has_room(guest))
		(void)event_source_add(&guest->loop, &guest->input,
				       STDIN_FILENO, EPOLLIN, handle_input);
}

static void look_at_receiveq(struct guest *guest)
{
	bool *token;
	uint32_t len;

	while ((token = get_used(guest, VIRTIO_CONSOLE_RECEIVEQ, &len))) {
		unsigned i = (unsigned)(token - guest->is_used);
		const void *buffer = driver_memory_at(
			&guest->arena, buffer_gpa(VIRTIO_CONSOLE_RECEIVEQ, i));

		if (fwrite(buffer, 1, len, stdout) != len ||
		    fflush(stdout) != 0)
			die(EXIT_FAILURE, "standard output");
		offer(guest, VIRTIO_CONSOLE_RECEIVEQ, i, BUFFER_SIZE);
	}
	kick(guest, VIRTIO_CONSOLE_RECEIVEQ);
}

static void handle_call(struct event_source *source, uint32_t events)
{
	uint64_t count;
	ssize_t n = read(source->fd, &count, sizeof(count));

	(void)n;
	(void)events;
}

static void handle_receiveq(struct event_source *source, uint32_t events)
{
	handle_call(source, events);
	look_at_receiveq(container_of(source, struct guest,
				      calls[VIRTIO_CONSOLE_RECEIVEQ]));
}

static void handle_transmitq(struct event_source *source, uint32_t events)
{
	handle_call(source, events);
	look_at_transmitq(container_of(source, struct guest,
				       calls[VIRTIO_CONSOLE_TRANSMITQ]));
}

static void end(struct event_signals *signals, int number)
{
	(void)number;
	event_loop_stop(signals->source.loop, EXIT_SUCCESS);
}

static void set_up(struct guest *guest)
{
	static const int ending[] = { SIGTERM, SIGINT, 0 };

	if (event_loop_init(&guest->loop) != 0 ||
	    event_signals_init(&guest->loop, &guest->signals, ending, end) !=
		    0 ||
	    driver_memory_init(&guest->arena, GPA, MEMORY) != 0)
		die(EXIT_FAILURE, "set-up failed");
	guest_memory_init(&guest->memory);
	if (guest_memory_add(&guest->memory, GPA, MEMORY, 0, guest->arena.fd,
			     0) != 0)
		die(EXIT_FAILURE, "set-up failed");
	for (unsigned i = 0; i < N_QUEUES; i++) {
		if (virtq_driver_init(&guest->drivers[i], &guest->arena,
				      GPA + i * (uint64_t)RING_STEP, QUEUE_SIZE,
				      false, true) != 0)
			die(EXIT_FAILURE, "set-up failed");
	}
}

static void no_change(void *context)
{
	(void)context;
}

static void failed(void *context, const char *text)
{
	(void)context;
	die(EXIT_FAILURE, "%s", text);
}

static void start(struct guest *guest, const char *path)
{
	static const struct vhost_frontend_ops ops = {
		.config_changed = no_change,
		.failed = failed,
	};
	struct vhost_frontend_options options = {
		.socket_path = path,
		.fd = -1,
		.reconnect_seconds = FRONTEND_RECONNECT_FOREVER,
		.n_queues = N_QUEUES,
		.n_queues_fixed = N_QUEUES,
		.queue_unit = 1,
		.needs_config = true,
		.config_size = sizeof(struct virtio_console_config),
		.label = "console",
	};
	struct vhost_frontend_region region = {
		.gpa = GPA,
		.size = MEMORY,
		.user = (uintptr_t)guest->arena.host,
		.fd = guest->arena.fd,
	};
	struct vhost_frontend_queue queues[N_QUEUES];
	struct error err = ERROR_INIT;
	int ret = vhost_frontend_new(&guest->frontend, &guest->loop, &options,
				     &guest->memory, &region, 1, &ops, guest,
				     &err);

	if (ret != 0)
		die(EXIT_FAILURE, "%s", error_text(&err, ret));
	for (unsigned i = 0; i < N_QUEUES; i++) {
		const struct virtq_driver *driver = &guest->drivers[i];

		queues[i] = (struct vhost_frontend_queue){
			.is_ready = true,
			.size = QUEUE_SIZE,
			.desc_gpa = driver->desc_gpa,
			.driver_gpa = driver->driver_gpa,
			.device_gpa = driver->device_gpa,
		};
	}
	if (vhost_frontend_start(guest->frontend,
				 1ULL << VIRTIO_F_VERSION_1 |
					 1ULL << VIRTIO_F_EVENT_IDX,
				 queues, N_QUEUES) != 0)
		die(EXIT_FAILURE, "the queues do not start");
}

static void run(struct guest *guest)
{
	static event_handler *const handlers[] = {
		[VIRTIO_CONSOLE_RECEIVEQ] = handle_receiveq,
		[VIRTIO_CONSOLE_TRANSMITQ] = handle_transmitq,
	};

	for (unsigned i = 0; i < N_QUEUES; i++) {
		virtq_driver_enable_calls(&guest->drivers[i], true);
		(void)event_source_add(&guest->loop, &guest->calls[i],
				       vhost_frontend_call_fd(guest->frontend,
							      i),
				       EPOLLIN, handlers[i]);
	}
	for (unsigned i = 0; i < N_BUFFERS; i++)
		offer(guest, VIRTIO_CONSOLE_RECEIVEQ, i, BUFFER_SIZE);
	kick(guest, VIRTIO_CONSOLE_RECEIVEQ);
	look_at_transmitq(guest);
	(void)event_loop_run(&guest->loop);
}

static void clean_up(struct guest *guest)
{
	for (unsigned i = 0; i < N_QUEUES; i++) {
		event_source_remove(&guest->calls[i]);
		virtq_driver_deinit(&guest->drivers[i]);
	}
	event_source_remove(&guest->input);
	vhost_frontend_free(guest->frontend);
	guest_memory_deinit(&guest->memory);
	driver_memory_deinit(&guest->arena);
	event_signals_deinit(&guest->signals);
	event_loop_deinit(&guest->loop);
}

int main(int argc, char **argv)
{
	static struct guest guest = {
		.loop = EVENT_LOOP_INIT,
		.signals = EVENT_SIGNALS_INIT,
		.input = EVENT_SOURCE_INIT,
		.calls = { EVENT_SOURCE_INIT, EVENT_SOURCE_INIT },
	};

	log_init(argv[0]);
	if (argc != 2)
		die(EXIT_USAGE, "usage: vhost-console SOCKET");
	if (fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) < 0)
		die(EXIT_FAILURE, "standard input");
	set_up(&guest);
	start(&guest, argv[1]);
	run(&guest);
	clean_up(&guest);
	return EXIT_SUCCESS;
}
