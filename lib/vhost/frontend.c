/* SPDX-License-Identifier: ISC */
/*
 * The front end as its owner sees it: made, asked, started, stopped, freed.
 */
#include "lib/vhost/frontend_internal.h"

#include "lib/base/cleanup.h"
#include "lib/base/socket.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static int copy_options(struct vhost_frontend *frontend,
			const struct vhost_frontend_options *options,
			const struct vhost_frontend_region *regions)
{
	size_t size = frontend->n_regions * sizeof(*regions);
	struct vhost_frontend_options *own = &frontend->options;

	*own = *options;
	own->fd = -1;
	if (own->timeout_ms == 0)
		own->timeout_ms = FRONTEND_TIMEOUT_MS;
	own->socket_path =
		options->socket_path ? strdup(options->socket_path) : NULL;
	own->label = strdup(options->label);
	frontend->regions = malloc(size ? size : 1);
	if (!own->label || !frontend->regions ||
	    (options->socket_path && !own->socket_path))
		return -ENOMEM;
	memcpy(frontend->regions, regions, size);
	return 0;
}

static int open_queues(struct vhost_frontend *frontend)
{
	unsigned n = frontend->n_queues;

	/* is_fit() has seen to it that there is one. */
	assert(n > 0);
	frontend->queues = calloc(n, sizeof(*frontend->queues));
	if (!frontend->queues)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		struct frontend_queue *queue = &frontend->queues[i];

		queue->kick_fd = -1;
		queue->call_fd = -1;
	}
	for (unsigned i = 0; i < n; i++) {
		struct frontend_queue *queue = &frontend->queues[i];

		queue->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		queue->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (queue->kick_fd < 0 || queue->call_fd < 0)
			return -errno;
	}
	return 0;
}

static int connect_first(struct vhost_frontend *frontend, int fd,
			 struct error *err)
{
	const char *path = frontend->options.socket_path;

	if (fd < 0) {
		fd = socket_connect(path, err);
		if (fd < 0)
			return fd;
	}
	frontend_open(frontend, fd);
	return 0;
}

/* Run the front end on a loop of its own until its handshake is done. */
static int wait_known(struct vhost_frontend *frontend, struct error *err)
{
	uint64_t start = frontend_now_ms();
	unsigned timeout_ms = frontend->options.timeout_ms;
	int r;

	while (!frontend->is_known) {
		uint64_t passed = frontend_now_ms() - start;
		bool is_final = frontend->code && frontend->code != -ECONNRESET;

		if (is_final || frontend->phase == FRONTEND_FAILED)
			return error_set(err, frontend->code, "back end %s",
					 frontend->reason.text);
		if (passed >= timeout_ms)
			return error_set(err, -ETIMEDOUT,
					 "back end does not answer");
		r = event_loop_step(frontend->loop, (int)(timeout_ms - passed));
		if (r < 0 && r != -EINTR)
			return error_set_errno(err, r, "event loop");
	}
	return 0;
}

/* Take what waits from the loop of the first handshake to the owner's. */
static int move_to_loop(struct vhost_frontend *frontend,
			struct event_loop *loop)
{
	struct event_source *sources[] = { &frontend->source,
					   &frontend->channel_source };
	int r;

	event_timer_deinit(&frontend->timer);
	frontend->loop = loop;
	r = event_timer_init(loop, &frontend->timer, frontend_expired);
	for (unsigned i = 0; i < array_size(sources) && r == 0; i++) {
		struct event_source was = *sources[i];

		if (!was.loop)
			continue;
		event_source_remove(sources[i]);
		r = event_source_add(loop, sources[i], was.fd, was.events,
				     was.handle);
	}
	return r;
}

static int run_first_handshake(struct vhost_frontend *frontend,
			       struct event_loop *loop, int *fd,
			       struct error *err)
{
	int r = event_loop_init(&frontend->first_loop);

	frontend->loop = &frontend->first_loop;
	if (r == 0)
		r = event_timer_init(frontend->loop, &frontend->timer,
				     frontend_expired);
	if (r < 0)
		return error_set_errno(err, r, "event loop");
	r = connect_first(frontend, steal_fd(fd), err);
	if (r == 0)
		r = wait_known(frontend, err);
	if (r < 0)
		return r;
	r = move_to_loop(frontend, loop);
	return r < 0 ? error_set_errno(err, r, "event loop") : 0;
}

int vhost_frontend_new(struct vhost_frontend **out, struct event_loop *loop,
		       const struct vhost_frontend_options *options,
		       const struct guest_memory *memory,
		       const struct vhost_frontend_region *regions,
		       unsigned n_regions, const struct vhost_frontend_ops *ops,
		       void *context, struct error *err)
{
	_cleanup_fd_ int fd = options->socket_path ? -1 : options->fd;
	struct vhost_frontend *frontend = calloc(1, sizeof(*frontend));
	int r;

	if (!frontend)
		return -ENOMEM;
	*frontend = (struct vhost_frontend){
		.memory = memory,
		.n_regions = n_regions,
		.ops = ops,
		.context = context,
		.fd = -1,
		.channel = -1,
		.inflight_fd = -1,
		.retry_ms = FRONTEND_RETRY_MIN_MS,
		.lost_at_ms = frontend_now_ms(),
		.source = EVENT_SOURCE_INIT,
		.channel_source = EVENT_SOURCE_INIT,
		.timer = EVENT_TIMER_INIT,
		.first_loop = EVENT_LOOP_INIT,
	};
	r = copy_options(frontend, options, regions);
	if (r == 0)
		r = run_first_handshake(frontend, loop, &fd, err);
	if (r == 0) {
		r = open_queues(frontend);
		frontend->lost_at_ms = 0;
	}
	if (r < 0) {
		vhost_frontend_free(frontend);
		return r;
	}
	event_loop_deinit(&frontend->first_loop);
	*out = frontend;
	return 0;
}

void vhost_frontend_free(struct vhost_frontend *frontend)
{
	if (!frontend)
		return;
	if (frontend->fd >= 0)
		frontend_close(frontend);
	event_timer_deinit(&frontend->timer);
	event_loop_deinit(&frontend->first_loop);
	for (unsigned i = 0; frontend->queues && i < frontend->n_queues; i++) {
		close_fd(&frontend->queues[i].kick_fd);
		close_fd(&frontend->queues[i].call_fd);
	}
	free(frontend->queues);
	frontend_forget_inflight(frontend);
	free(frontend->regions);
	free((char *)frontend->options.socket_path);
	free((char *)frontend->options.label);
	free(frontend);
}

uint64_t vhost_frontend_features(const struct vhost_frontend *frontend)
{
	return frontend->features;
}

uint64_t vhost_frontend_protocol_features(const struct vhost_frontend *frontend)
{
	return frontend->protocol_features;
}

unsigned vhost_frontend_n_queues(const struct vhost_frontend *frontend)
{
	return frontend->n_queues;
}

bool vhost_frontend_has_config(const struct vhost_frontend *frontend)
{
	return frontend->protocol_features >> VHOST_USER_PROTOCOL_F_CONFIG & 1;
}

const uint8_t *vhost_frontend_config(const struct vhost_frontend *frontend)
{
	return frontend->config;
}

int vhost_frontend_kick_fd(const struct vhost_frontend *frontend, unsigned i)
{
	return frontend->queues[i].kick_fd;
}

int vhost_frontend_call_fd(const struct vhost_frontend *frontend, unsigned i)
{
	return frontend->queues[i].call_fd;
}

bool vhost_frontend_is_connected(const struct vhost_frontend *frontend)
{
	return frontend->fd >= 0 && frontend->phase != FRONTEND_HANDSHAKE;
}

int vhost_frontend_set_config(struct vhost_frontend *frontend, uint32_t offset,
			      const void *data, uint32_t len)
{
	uint32_t size = frontend->options.config_size;

	if (!vhost_frontend_has_config(frontend) || offset > size ||
	    len > size - offset)
		return -EINVAL;
	memcpy(frontend->config + offset, data, len);
	memset(frontend->is_written + offset, true, len);
	/* Else the handshake tells it. */
	if (vhost_frontend_is_connected(frontend))
		frontend_write_config(frontend, offset, len);
	return 0;
}

int vhost_frontend_start(struct vhost_frontend *frontend, uint64_t features,
			 const struct vhost_frontend_queue *queues,
			 unsigned n_queues)
{
	if (frontend->phase == FRONTEND_FAILED)
		return -ENOTCONN;
	if (n_queues > frontend->n_queues)
		return -EINVAL;
	frontend->driver_features = features & frontend->features;
	for (unsigned i = 0; i < n_queues; i++) {
		if (queues[i].is_ready &&
		    frontend_check_queue(frontend, &queues[i]) < 0)
			return -EINVAL;
	}
	for (unsigned i = 0; i < frontend->n_queues; i++)
		frontend->queues[i].driver =
			i < n_queues ? queues[i]
				     : (struct vhost_frontend_queue){ 0 };
	frontend->is_started = true;
	if (frontend->phase == FRONTEND_IDLE)
		frontend_start_queues(frontend);
	return 0;
}

void vhost_frontend_stop(struct vhost_frontend *frontend,
			 void (*done)(void *context))
{
	frontend->is_started = false;
	frontend->stopped = done;
	frontend_forget_inflight(frontend);
	memset(frontend->is_written, false, sizeof(frontend->is_written));
	if (frontend->phase == FRONTEND_STARTING ||
	    frontend->phase == FRONTEND_RUNNING)
		frontend_stop_queues(frontend);
	else if (frontend->phase != FRONTEND_STOPPING)
		frontend_stop_nothing(frontend);
}

/* Is there more to come? What comes is of no interest any more. */
static bool drain(int fd)
{
	char buf[4096];
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

void vhost_frontend_finish(struct vhost_frontend *frontend, unsigned timeout_ms)
{
	uint64_t start = frontend_now_ms(), passed = 0;
	struct pollfd wait = { .fd = frontend->fd, .events = POLLIN };
	int r;

	if (frontend->fd < 0)
		return;
	shutdown(frontend->fd, SHUT_WR);
	do {
		r = poll(&wait, 1, (int)(timeout_ms - passed));
		passed = frontend_now_ms() - start;
	} while ((r > 0 ? drain(frontend->fd) : r < 0 && errno == EINTR) &&
		 passed < timeout_ms);
	frontend_close(frontend);
	frontend->phase = FRONTEND_FAILED;
}
