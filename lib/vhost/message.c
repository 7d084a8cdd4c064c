/* SPDX-License-Identifier: ISC */
/*
 * What a vhost-user message may look like, and its way over a socket.
 *
 * A message is read in two steps, header and payload, never beyond its end,
 * so that descriptors stay with the message they were sent with. Lengths and
 * the number of descriptors are checked against the table before a payload
 * byte is read.
 */
#include "lib/vhost/message.h"

#include "lib/base/cleanup.h"
#include "lib/base/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum {
	HEADER_SIZE = sizeof(struct vhost_user_header),
	U64 = sizeof(uint64_t),
	STATE = sizeof(struct vhost_user_vring_state),
	MEM_TABLE_HEADER = offsetof(struct vhost_user_mem_table, regions),
	MEM_TABLE = sizeof(struct vhost_user_mem_table),
	MEM_SINGLE = sizeof(struct vhost_user_mem_single),
	CONFIG_HEADER = offsetof(struct vhost_user_config, data),
	CONFIG = sizeof(struct vhost_user_config),
	INFLIGHT_MIN = offsetof(struct vhost_user_inflight, padding),
	INFLIGHT = sizeof(struct vhost_user_inflight),
	IOTLB = 32,
	UUID = 16,
	VRING_AREA = 24,
};

#define NEEDS(name) VHOST_USER_PROTOCOL_F_##name
#define ALWAYS (-1)
#define FRONT(name) [VHOST_USER_##name] = { #name,
#define BACK(name) [VHOST_USER_BACKEND_##name] = { "BACKEND_" #name,
#define NO_REPLY false, 0, 0, 0
#define REPLY(min, max, fds) true, min, max, fds

/* clang-format off */
/*
 * The requests of "Front-end message types", less those for crypto devices,
 * whose payload is larger than all others together.
 *	payload: at least, at most; descriptors; reply; protocol feature
 */
static const struct vhost_request to_backend[VHOST_USER_REQUEST_END] = {
	FRONT(GET_FEATURES)	0, 0, 0, REPLY(U64, U64, 0), ALWAYS },
	FRONT(SET_FEATURES)	U64, U64, 0, NO_REPLY, ALWAYS },
	FRONT(SET_OWNER)	0, 0, 0, NO_REPLY, ALWAYS },
	FRONT(RESET_OWNER)	0, 0, 0, NO_REPLY, ALWAYS },
	FRONT(SET_MEM_TABLE)	MEM_TABLE_HEADER, MEM_TABLE,
				VHOST_USER_MEM_TABLE_MAX, NO_REPLY, ALWAYS },
	/* The reply has no payload (QEMU, DPDK); some send a u64. */
	FRONT(SET_LOG_BASE)	U64, sizeof(struct vhost_user_log), 1,
				REPLY(0, U64, 0), NEEDS(LOG_SHMFD) },
	FRONT(SET_LOG_FD)	0, U64, 1, NO_REPLY, ALWAYS },
	FRONT(SET_VRING_NUM)	STATE, STATE, 0, NO_REPLY, ALWAYS },
	FRONT(SET_VRING_ADDR)	sizeof(struct vhost_user_vring_addr),
				sizeof(struct vhost_user_vring_addr), 0,
				NO_REPLY, ALWAYS },
	FRONT(SET_VRING_BASE)	STATE, STATE, 0, NO_REPLY, ALWAYS },
	FRONT(GET_VRING_BASE)	STATE, STATE, 0, REPLY(STATE, STATE, 0), ALWAYS },
	FRONT(SET_VRING_KICK)	U64, U64, 1, NO_REPLY, ALWAYS },
	FRONT(SET_VRING_CALL)	U64, U64, 1, NO_REPLY, ALWAYS },
	FRONT(SET_VRING_ERR)	U64, U64, 1, NO_REPLY, ALWAYS },
	FRONT(GET_PROTOCOL_FEATURES)
				0, 0, 0, REPLY(U64, U64, 0), ALWAYS },
	FRONT(SET_PROTOCOL_FEATURES)
				U64, U64, 0, NO_REPLY, ALWAYS },
	FRONT(GET_QUEUE_NUM)	0, 0, 0, REPLY(U64, U64, 0), NEEDS(MQ) },
	FRONT(SET_VRING_ENABLE)	STATE, STATE, 0, NO_REPLY, ALWAYS },
	FRONT(SEND_RARP)	U64, U64, 0, NO_REPLY, NEEDS(RARP) },
	FRONT(NET_SET_MTU)	U64, U64, 0, NO_REPLY, NEEDS(NET_MTU) },
	FRONT(SET_BACKEND_REQ_FD)
				0, U64, 1, NO_REPLY, NEEDS(BACKEND_REQ) },
	FRONT(IOTLB_MSG)	IOTLB, IOTLB, 0, REPLY(U64, U64, 0), ALWAYS },
	FRONT(SET_VRING_ENDIAN)	STATE, STATE, 0, NO_REPLY, NEEDS(CROSS_ENDIAN) },
	/* A reply without payload means an error. */
	FRONT(GET_CONFIG)	CONFIG_HEADER, CONFIG, 0, REPLY(0, CONFIG, 0),
				NEEDS(CONFIG) },
	FRONT(SET_CONFIG)	CONFIG_HEADER, CONFIG, 0, NO_REPLY,
				NEEDS(CONFIG) },
	FRONT(POSTCOPY_ADVISE)	0, 0, 0, REPLY(0, U64, 1), NEEDS(PAGEFAULT) },
	FRONT(POSTCOPY_LISTEN)	0, 0, 0, NO_REPLY, NEEDS(PAGEFAULT) },
	FRONT(POSTCOPY_END)	0, 0, 0, REPLY(U64, U64, 0), NEEDS(PAGEFAULT) },
	FRONT(GET_INFLIGHT_FD)	INFLIGHT_MIN, INFLIGHT, 0,
				REPLY(INFLIGHT_MIN, INFLIGHT, 1),
				NEEDS(INFLIGHT_SHMFD) },
	FRONT(SET_INFLIGHT_FD)	INFLIGHT_MIN, INFLIGHT, 1, NO_REPLY,
				NEEDS(INFLIGHT_SHMFD) },
	FRONT(GPU_SET_SOCKET)	0, 0, 1, NO_REPLY, ALWAYS },
	FRONT(RESET_DEVICE)	0, 0, 0, NO_REPLY, NEEDS(RESET_DEVICE) },
	FRONT(VRING_KICK)	STATE, STATE, 0, NO_REPLY,
				NEEDS(INBAND_NOTIFICATIONS) },
	FRONT(GET_MAX_MEM_SLOTS)
				0, 0, 0, REPLY(U64, U64, 0),
				NEEDS(CONFIGURE_MEM_SLOTS) },
	FRONT(ADD_MEM_REG)	MEM_SINGLE, MEM_SINGLE, 1, NO_REPLY,
				NEEDS(CONFIGURE_MEM_SLOTS) },
	/* A descriptor here is an old mistake that the specification bears. */
	FRONT(REM_MEM_REG)	MEM_SINGLE, MEM_SINGLE, 1, NO_REPLY,
				NEEDS(CONFIGURE_MEM_SLOTS) },
	FRONT(SET_STATUS)	U64, U64, 0, NO_REPLY, NEEDS(STATUS) },
	FRONT(GET_STATUS)	0, 0, 0, REPLY(U64, U64, 0), NEEDS(STATUS) },
	FRONT(GET_SHARED_OBJECT) UUID, UUID, 0, REPLY(0, UUID, 1),
				NEEDS(SHARED_OBJECT) },
	FRONT(SET_DEVICE_STATE_FD)
				sizeof(struct vhost_user_device_state),
				sizeof(struct vhost_user_device_state), 1,
				REPLY(U64, U64, 1), NEEDS(DEVICE_STATE) },
	FRONT(CHECK_DEVICE_STATE)
				0, 0, 0, REPLY(U64, U64, 0),
				NEEDS(DEVICE_STATE) },
};

/* "Back-end message types". */
static const struct vhost_request to_frontend[VHOST_USER_BACKEND_REQUEST_END] =
{
	BACK(IOTLB_MSG)		IOTLB, IOTLB, 0, NO_REPLY, ALWAYS },
	BACK(CONFIG_CHANGE_MSG)	0, 0, 0, NO_REPLY, NEEDS(CONFIG) },
	BACK(VRING_HOST_NOTIFIER_MSG)
				VRING_AREA, VRING_AREA, 1, NO_REPLY,
				NEEDS(HOST_NOTIFIER) },
	BACK(VRING_CALL)	STATE, STATE, 0, NO_REPLY,
				NEEDS(INBAND_NOTIFICATIONS) },
	BACK(VRING_ERR)		STATE, STATE, 0, NO_REPLY,
				NEEDS(INBAND_NOTIFICATIONS) },
	BACK(SHARED_OBJECT_ADD)	UUID, UUID, 0, NO_REPLY, NEEDS(SHARED_OBJECT) },
	BACK(SHARED_OBJECT_REMOVE)
				UUID, UUID, 0, NO_REPLY, NEEDS(SHARED_OBJECT) },
	BACK(SHARED_OBJECT_LOOKUP)
				UUID, UUID, 0, REPLY(U64, U64, 1),
				NEEDS(SHARED_OBJECT) },
};
/* clang-format on */

const struct vhost_request *vhost_request_find(enum vhost_direction direction,
					       uint32_t request)
{
	const struct vhost_request *table = to_backend;
	uint32_t n = array_size(to_backend);

	if (direction == VHOST_TO_FRONTEND) {
		table = to_frontend;
		n = array_size(to_frontend);
	}
	return request < n && table[request].name ? &table[request] : NULL;
}

const char *vhost_request_name(enum vhost_direction direction, uint32_t request)
{
	const struct vhost_request *found =
		vhost_request_find(direction, request);

	return found ? found->name : "request";
}

static int refuse(const char **reason, const char *text)
{
	*reason = text;
	return -EPROTO;
}

static int check_header(const struct vhost_message *message,
			enum vhost_direction direction, bool is_reply,
			const char **reason)
{
	const struct vhost_user_header *header = &message->header;
	const struct vhost_request *request =
		vhost_request_find(direction, header->request);
	uint32_t min, max, fds;

	if ((header->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION)
		return refuse(reason, "message of another protocol version");
	if (is_reply != !!(header->flags & VHOST_USER_FLAG_REPLY))
		return refuse(reason, is_reply ? "request where a reply is due"
					       : "reply to no request");
	if (!request)
		return refuse(reason, "unknown request");
	min = request->size_min;
	max = request->size_max;
	fds = request->n_fds_max;
	if (is_reply) {
		min = request->has_reply ? request->reply_min : U64;
		max = request->has_reply ? request->reply_max : U64;
		fds = request->has_reply ? request->reply_n_fds_max : 0;
	}
	if (header->size < min)
		return refuse(reason, "message too short");
	if (header->size > max)
		return refuse(reason, "message too long");
	if (message->n_fds > fds)
		return refuse(reason, "too many descriptors");
	return 0;
}

static int check_memory(const struct vhost_message *message,
			const char **reason)
{
	uint32_t n = message->payload.memory.n_regions;

	if (n > VHOST_USER_MEM_TABLE_MAX)
		return refuse(reason, "too many memory regions");
	if (message->header.size <
	    MEM_TABLE_HEADER + n * sizeof(struct vhost_user_mem_region))
		return refuse(reason, "memory table too short");
	if (message->n_fds != n)
		return refuse(reason, "not one descriptor a memory region");
	return 0;
}

static int check_config(const struct vhost_message *message, bool may_be_short,
			const char **reason)
{
	uint32_t size = message->payload.config.size;
	uint32_t offset = message->payload.config.offset;

	if (size > VHOST_USER_CONFIG_MAX ||
	    offset > VHOST_USER_CONFIG_MAX - size)
		return refuse(reason, "config space access out of bounds");
	if (message->header.size == CONFIG_HEADER + size)
		return 0;
	if (message->header.size == CONFIG_HEADER && may_be_short)
		return 0;
	return refuse(reason, "config space access of another length");
}

int vhost_message_check(const struct vhost_message *message,
			enum vhost_direction direction, bool is_reply,
			const char **reason)
{
	int r = check_header(message, direction, is_reply, reason);

	if (r != 0 || direction != VHOST_TO_BACKEND)
		return r;
	if (message->header.request == VHOST_USER_SET_MEM_TABLE && !is_reply)
		return check_memory(message, reason);
	if (message->header.request == VHOST_USER_GET_CONFIG) {
		if (is_reply && message->header.size == 0)
			return 0;
		if (message->header.size < CONFIG_HEADER)
			return refuse(reason, "message too short");
		return check_config(message, !is_reply, reason);
	}
	if (message->header.request == VHOST_USER_SET_CONFIG && !is_reply)
		return check_config(message, false, reason);
	return 0;
}

int vhost_message_take_fd(struct vhost_message *message, unsigned i)
{
	return i < message->n_fds ? steal_fd(&message->fds[i]) : -1;
}

void vhost_message_close_fds(struct vhost_message *message)
{
	for (unsigned i = 0; i < message->n_fds; i++)
		close_fd(&message->fds[i]);
	message->n_fds = 0;
}

void vhost_receiver_deinit(struct vhost_receiver *receiver)
{
	vhost_message_close_fds(&receiver->message);
	receiver->n_received = 0;
}

/*
 * Receive up to the byte `end` of the message (header, then payload).
 * Returns 0 when they are there, AGAIN, END or -errno.
 */
static int receive_until(struct vhost_receiver *receiver, int fd, size_t end,
			 const char **reason)
{
	struct vhost_message *message = &receiver->message;

	while (receiver->n_received < end) {
		size_t at = receiver->n_received;
		int fds[VHOST_MESSAGE_FDS_MAX];
		unsigned n_fds = VHOST_MESSAGE_FDS_MAX - message->n_fds;
		struct iovec iov = { .iov_len = end - at };
		ssize_t n;

		if (at < HEADER_SIZE)
			iov.iov_base = (uint8_t *)&message->header + at;
		else
			iov.iov_base =
				(uint8_t *)&message->payload + at - HEADER_SIZE;
		n = socket_recv(fd, &iov, 1, fds, &n_fds);
		if (n == -EAGAIN)
			return VHOST_RECEIVE_AGAIN;
		if (n == -EMSGSIZE)
			return refuse(reason, "too many descriptors");
		if (n < 0) {
			*reason = strerror((int)-n);
			return (int)n;
		}
		if (n == 0 && at == 0)
			return VHOST_RECEIVE_END;
		if (n == 0)
			return refuse(reason, "connection ends in a message");
		for (unsigned i = 0; i < n_fds; i++)
			message->fds[message->n_fds++] = fds[i];
		receiver->n_received += (size_t)n;
	}
	return 0;
}

int vhost_receive(struct vhost_receiver *receiver, int fd,
		  enum vhost_direction direction, bool is_reply,
		  const char **reason)
{
	struct vhost_message *message = &receiver->message;
	int r;

	if (receiver->n_received == 0)
		vhost_message_close_fds(message);
	if (receiver->n_received < HEADER_SIZE) {
		r = receive_until(receiver, fd, HEADER_SIZE, reason);
		if (r != 0)
			return r;
		r = check_header(message, direction, is_reply, reason);
		if (r != 0)
			return r;
		memset(&message->payload, 0, sizeof(message->payload));
	}
	r = receive_until(receiver, fd, HEADER_SIZE + message->header.size,
			  reason);
	if (r != 0)
		return r;
	receiver->n_received = 0;
	/* Again, as descriptors may have come with the payload. */
	return vhost_message_check(message, direction, is_reply, reason);
}

void vhost_message_init(struct vhost_message *message, uint32_t request,
			uint32_t flags, uint32_t size)
{
	message->header = (struct vhost_user_header){
		.request = request,
		.flags = VHOST_USER_VERSION | flags,
		.size = size,
	};
	message->n_fds = 0;
}

/* What the socket did not take, with descriptors of its own. */
struct vhost_pending {
	struct vhost_pending *next;
	size_t n_sent;
	struct vhost_message message;
};

static void free_pending(struct vhost_pending *pending)
{
	vhost_message_close_fds(&pending->message);
	free(pending);
}

/* Send from byte *n_sent on; the descriptors go with the first byte. */
static int send_from(int fd, const struct vhost_message *message,
		     size_t *n_sent)
{
	size_t end = HEADER_SIZE + message->header.size;

	while (*n_sent < end) {
		struct iovec iov[2];
		unsigned n_iov = 0;
		size_t at = *n_sent;
		ssize_t n;

		if (at < HEADER_SIZE) {
			iov[n_iov].iov_base = (uint8_t *)&message->header + at;
			iov[n_iov++].iov_len = HEADER_SIZE - at;
			at = HEADER_SIZE;
		}
		if (at < end) {
			iov[n_iov].iov_base = (uint8_t *)&message->payload +
					      (at - HEADER_SIZE);
			iov[n_iov++].iov_len = end - at;
		}
		n = socket_send(fd, iov, n_iov, message->fds,
				*n_sent == 0 ? message->n_fds : 0);
		if (n < 0)
			return (int)n;
		*n_sent += (size_t)n;
	}
	return 0;
}

static int keep(struct vhost_sender *sender,
		const struct vhost_message *message, size_t n_sent)
{
	struct vhost_pending *pending;

	if (sender->n_pending == VHOST_SENDER_MAX)
		return -ENOBUFS;
	pending = calloc(1, sizeof(*pending));
	if (!pending)
		return -ENOMEM;
	pending->n_sent = n_sent;
	pending->message = *message;
	pending->message.n_fds = 0;
	for (unsigned i = 0; n_sent == 0 && i < message->n_fds; i++) {
		int copy = fcntl(message->fds[i], F_DUPFD_CLOEXEC, 3);

		if (copy < 0) {
			int r = -errno;

			free_pending(pending);
			return r;
		}
		pending->message.fds[pending->message.n_fds++] = copy;
	}
	if (sender->last)
		sender->last->next = pending;
	else
		sender->first = pending;
	sender->last = pending;
	sender->n_pending++;
	return 0;
}

int vhost_send(struct vhost_sender *sender, int fd,
	       const struct vhost_message *message)
{
	size_t n_sent = 0;
	int r = -EAGAIN;

	if (!sender->first)
		r = send_from(fd, message, &n_sent);
	return r == -EAGAIN ? keep(sender, message, n_sent) : r;
}

int vhost_sender_flush(struct vhost_sender *sender, int fd)
{
	while (sender->first) {
		struct vhost_pending *pending = sender->first;
		int r = send_from(fd, &pending->message, &pending->n_sent);

		if (r != 0)
			return r == -EAGAIN ? 0 : r;
		sender->first = pending->next;
		if (!sender->first)
			sender->last = NULL;
		sender->n_pending--;
		free_pending(pending);
	}
	return 0;
}

bool vhost_sender_is_empty(const struct vhost_sender *sender)
{
	return !sender->first;
}

void vhost_sender_deinit(struct vhost_sender *sender)
{
	while (sender->first) {
		struct vhost_pending *pending = sender->first;

		sender->first = pending->next;
		free_pending(pending);
	}
	sender->last = NULL;
	sender->n_pending = 0;
}
