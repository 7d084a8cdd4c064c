/* SPDX-License-Identifier: ISC */
#include "tests/support/scripted_backend.h"

#include "lib/base/cleanup.h"
#include "lib/base/socket.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define BIT(n) (UINT64_C(1) << (n))

/* cmocka's assertions do not work outside of its own thread. */
static void must(bool is_true)
{
	if (!is_true)
		abort();
}

void scripted_backend_init(struct scripted_backend *backend)
{
	*backend = (struct scripted_backend){
		.features = BIT(32) | BIT(30) | BIT(29) | BIT(28),
		.protocol_features = BIT(VHOST_USER_PROTOCOL_F_MQ) |
				     BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
				     BIT(VHOST_USER_PROTOCOL_F_CONFIG) |
				     BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |
				     BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD),
		.n_queues = 4,
		.n_slots = 509,
		.config_size = 60,
		.inflight_size = 8192,
		.fault_connection = -1,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.listener = -1,
		.connection = -1,
		.channel = -1,
		.path = "/tmp/scripted.XXXXXX",
	};
}

static void record(struct scripted_backend *backend,
		   const struct vhost_message *message)
{
	struct scripted_told *told;
	struct stat st;

	if (backend->forgets)
		return;
	pthread_mutex_lock(&backend->lock);
	must(backend->n_told < SCRIPTED_TOLD_MAX);
	told = &backend->told[backend->n_told++];
	*told = (struct scripted_told){
		.connection = backend->n_connections - 1,
		.request = message->header.request,
		.payload = message->payload,
		.n_fds = message->n_fds,
	};
	if (message->n_fds && fstat(message->fds[0], &st) == 0)
		told->inode = st.st_ino;
	pthread_mutex_unlock(&backend->lock);
}

/* The answer to a request, or false where it has none. */
static bool make_reply(struct scripted_backend *backend,
		       const struct vhost_message *request,
		       struct vhost_message *reply)
{
	const struct vhost_request *entry =
		vhost_request_find(VHOST_TO_BACKEND, request->header.request);
	uint32_t size = entry->has_reply ? entry->reply_max : 8;

	if (!entry->has_reply &&
	    !(request->header.flags & VHOST_USER_FLAG_NEED_REPLY))
		return false;
	vhost_message_init(reply, request->header.request,
			   VHOST_USER_FLAG_REPLY, size);
	memset(&reply->payload, 0, sizeof(reply->payload));
	switch (request->header.request) {
	case VHOST_USER_GET_FEATURES:
		reply->payload.u64 = backend->features;
		break;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		reply->payload.u64 = backend->protocol_features;
		break;
	case VHOST_USER_GET_QUEUE_NUM:
		reply->payload.u64 = backend->n_queues;
		break;
	case VHOST_USER_GET_MAX_MEM_SLOTS:
		reply->payload.u64 = backend->n_slots;
		break;
	case VHOST_USER_GET_CONFIG:
		reply->header.size = request->header.size;
		reply->payload.config = request->payload.config;
		memcpy(reply->payload.config.data, backend->config,
		       backend->config_size);
		break;
	case VHOST_USER_GET_VRING_BASE:
		reply->payload.state = request->payload.state;
		break;
	case VHOST_USER_GET_INFLIGHT_FD:
		reply->payload.inflight = request->payload.inflight;
		reply->payload.inflight.mmap_size = backend->inflight_size;
		if (backend->inflight_size) {
			reply->fds[0] = memfd_create("inflight", MFD_CLOEXEC);
			reply->n_fds = 1;
		}
		break;
	default:
		break;
	}
	return true;
}

static void write_all(int fd, const void *bytes, size_t len)
{
	send(fd, bytes, len, MSG_NOSIGNAL);
}

static void send_reply(int fd, const struct vhost_message *reply)
{
	struct iovec iov[2] = {
		{ (void *)&reply->header, sizeof(reply->header) },
		{ (void *)&reply->payload, reply->header.size },
	};

	socket_send(fd, iov, 2, reply->fds, reply->n_fds);
}

/* True: the connection is over. */
static bool misbehave(enum scripted_fault fault, int fd,
		      struct vhost_message *reply)
{
	static const char garbage[] = "HTTP/1.1 400 Bad Request\r\n\r\n";

	switch (fault) {
	case SCRIPTED_CLOSE:
		return true;
	case SCRIPTED_CLOSE_IN_REPLY:
		write_all(fd, &reply->header, 6);
		return true;
	case SCRIPTED_SILENT:
		return false;
	case SCRIPTED_GARBAGE:
		write_all(fd, garbage, sizeof(garbage));
		return false;
	case SCRIPTED_OTHER_REQUEST:
		reply->header.request =
			reply->header.request == VHOST_USER_GET_QUEUE_NUM
				? VHOST_USER_GET_FEATURES
				: VHOST_USER_GET_QUEUE_NUM;
		reply->header.size = 8;
		break;
	case SCRIPTED_NO_REPLY_FLAG:
		reply->header.flags = VHOST_USER_VERSION;
		break;
	case SCRIPTED_TOO_SHORT:
		reply->header.size--;
		break;
	case SCRIPTED_HUGE:
		reply->header.size = UINT32_MAX;
		write_all(fd, &reply->header, sizeof(reply->header));
		return false;
	case SCRIPTED_NEGATIVE:
		if (reply->header.request == VHOST_USER_GET_CONFIG)
			reply->header.size = 0;
		else
			reply->payload.u64 = 1;
		break;
	case SCRIPTED_EXTRA_FD:
		reply->fds[reply->n_fds++] = 0;
		break;
	case SCRIPTED_TWICE:
		send_reply(fd, reply);
		break;
	case SCRIPTED_NONE:
	case SCRIPTED_FAULTS_END:
		break;
	}
	send_reply(fd, reply);
	return false;
}

static bool is_faulty(struct scripted_backend *backend, uint32_t request)
{
	if (backend->fault == SCRIPTED_NONE ||
	    request != backend->fault_request)
		return false;
	if (backend->fault_connection >= 0 &&
	    backend->fault_connection != backend->n_connections - 1)
		return false;
	backend->is_faulty_done = true;
	return true;
}

/* One request; true: the connection is over. */
static bool serve(struct scripted_backend *backend, int fd,
		  struct vhost_message *message)
{
	struct vhost_message reply;
	bool has_reply = make_reply(backend, message, &reply);
	bool is_over = false;

	record(backend, message);
	if (message->header.request == VHOST_USER_SET_BACKEND_REQ_FD) {
		close_fd(&backend->channel);
		backend->channel = vhost_message_take_fd(message, 0);
	}
	if (is_faulty(backend, message->header.request)) {
		if (!has_reply)
			vhost_message_init(&reply, message->header.request,
					   VHOST_USER_FLAG_REPLY, 8);
		is_over = misbehave(backend->fault, fd, &reply);
	} else if (has_reply) {
		send_reply(fd, &reply);
	}
	if (has_reply && reply.header.request == VHOST_USER_GET_INFLIGHT_FD &&
	    backend->inflight_size)
		close(reply.fds[0]);
	return is_over;
}

static void serve_connection(struct scripted_backend *backend, int fd)
{
	struct vhost_receiver receiver = VHOST_RECEIVER_INIT;
	const char *reason;
	int r = 0;

	while (r == 0 || r == VHOST_RECEIVE_AGAIN) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };

		poll(&wait, 1, -1);
		r = vhost_receive(&receiver, fd, VHOST_TO_BACKEND, false,
				  &reason);
		if (r == 0 && serve(backend, fd, &receiver.message))
			break;
	}
	vhost_receiver_deinit(&receiver);
}

static void *run(void *context)
{
	struct scripted_backend *backend = context;
	struct pollfd waits[2] = {
		{ .fd = backend->stop_fds[1], .events = POLLIN },
		{ .fd = backend->listener, .events = POLLIN },
	};

	while (poll(waits, 2, -1) > 0 && !waits[0].revents) {
		int fd = socket_accept(backend->listener);

		if (fd < 0)
			continue;
		pthread_mutex_lock(&backend->lock);
		backend->connection = fd;
		backend->n_connections++;
		pthread_mutex_unlock(&backend->lock);
		serve_connection(backend, fd);
		pthread_mutex_lock(&backend->lock);
		backend->connection = -1;
		close_fd(&backend->channel);
		pthread_mutex_unlock(&backend->lock);
		close(fd);
	}
	return NULL;
}

void scripted_backend_start(struct scripted_backend *backend)
{
	int fd = mkstemp(backend->path);

	must(fd >= 0);
	close(fd);
	unlink(backend->path);
	backend->listener = socket_listen(backend->path, 0600, NULL);
	must(backend->listener >= 0);
	must(socket_pair(backend->stop_fds) == 0);
	must(pthread_create(&backend->thread, NULL, run, backend) == 0);
}

void scripted_backend_kill(struct scripted_backend *backend)
{
	pthread_mutex_lock(&backend->lock);
	if (backend->connection >= 0)
		shutdown(backend->connection, SHUT_RDWR);
	pthread_mutex_unlock(&backend->lock);
}

void scripted_backend_refuse(struct scripted_backend *backend, bool is_refusing)
{
	char away[80];

	snprintf(away, sizeof(away), "%s.away", backend->path);
	must(is_refusing ? rename(backend->path, away) == 0
			 : rename(away, backend->path) == 0);
}

void scripted_backend_send_channel(struct scripted_backend *backend,
				   const void *bytes, size_t len)
{
	write_all(backend->channel, bytes, len);
}

unsigned scripted_backend_told(struct scripted_backend *backend, int connection,
			       uint32_t request, struct scripted_told *last)
{
	unsigned n = 0;

	pthread_mutex_lock(&backend->lock);
	for (unsigned i = 0; i < backend->n_told; i++) {
		const struct scripted_told *told = &backend->told[i];

		if (told->request != request ||
		    (connection >= 0 && told->connection != connection))
			continue;
		n++;
		if (last)
			*last = *told;
	}
	pthread_mutex_unlock(&backend->lock);
	return n;
}

void scripted_backend_stop(struct scripted_backend *backend)
{
	close_fd(&backend->stop_fds[0]);
	scripted_backend_kill(backend);
	pthread_join(backend->thread, NULL);
	close_fd(&backend->stop_fds[1]);
	close_fd(&backend->listener);
	unlink(backend->path);
}
