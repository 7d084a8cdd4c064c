/* SPDX-License-Identifier: ISC */
/*
 * The codec: what is sent arrives whole and with its own descriptors, however
 * it is cut; what breaks the rules is refused, and no descriptor stays open.
 */
#include "lib/base/cleanup.h"
#include "lib/base/socket.h"
#include "lib/vhost/message.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct pair {
	int fds[2];
	struct vhost_sender sender;
	struct vhost_receiver receiver;
	unsigned n_open;
};

static unsigned count_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int setup(void **state)
{
	static struct pair pair;

	memset(&pair, 0, sizeof(pair));
	pair.n_open = count_open();
	*state = &pair;
	return socket_pair(pair.fds);
}

/* Every test closes what it opened, and so does the codec. */
static int teardown(void **state)
{
	struct pair *pair = *state;

	vhost_sender_deinit(&pair->sender);
	vhost_receiver_deinit(&pair->receiver);
	close_fd(&pair->fds[0]);
	close_fd(&pair->fds[1]);
	return count_open() == pair->n_open ? 0 : -1;
}

static int receive(struct pair *pair, const char **reason)
{
	return vhost_receive(&pair->receiver, pair->fds[1], VHOST_TO_BACKEND,
			     false, reason);
}

/* Send bytes as they are, with n descriptors. */
static void send_raw(struct pair *pair, const void *data, size_t len,
		     unsigned n_fds)
{
	struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
	int fds[16] = { -1 };

	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = eventfd(0, 0);
	assert_int_equal(socket_send(pair->fds[0], &iov, 1, fds, n_fds), len);
	for (unsigned i = 0; i < n_fds; i++)
		close(fds[i]);
}

static void test_whole_messages(void **state)
{
	struct pair *pair = *state;
	struct vhost_message message = { 0 };
	const char *reason = NULL;

	assert_int_equal(receive(pair, &reason), VHOST_RECEIVE_AGAIN);
	vhost_message_init(&message, VHOST_USER_SET_VRING_NUM, 0,
			   sizeof(message.payload.state));
	message.payload.state.index = 3;
	message.payload.state.num = 256;
	assert_int_equal(vhost_send(&pair->sender, pair->fds[0], &message), 0);
	vhost_message_init(&message, VHOST_USER_GET_FEATURES, 0, 0);
	assert_int_equal(vhost_send(&pair->sender, pair->fds[0], &message), 0);
	assert_true(vhost_sender_is_empty(&pair->sender));
	assert_int_equal(receive(pair, &reason), 0);
	assert_int_equal(pair->receiver.message.header.request,
			 VHOST_USER_SET_VRING_NUM);
	assert_int_equal(pair->receiver.message.payload.state.index, 3);
	assert_int_equal(pair->receiver.message.payload.state.num, 256);
	assert_int_equal(receive(pair, &reason), 0);
	assert_int_equal(pair->receiver.message.header.request,
			 VHOST_USER_GET_FEATURES);
	assert_int_equal(receive(pair, &reason), VHOST_RECEIVE_AGAIN);
	close_fd(&pair->fds[0]);
	assert_int_equal(receive(pair, &reason), VHOST_RECEIVE_END);
}

/* Byte by byte, with the descriptor on the first or on the last. */
static void test_cut_messages(void **state)
{
	struct pair *pair = *state;
	struct vhost_message message = { 0 };
	const char *reason = NULL;

	vhost_message_init(&message, VHOST_USER_SET_VRING_KICK, 0, 8);
	message.payload.u64 = 5;
	for (unsigned with = 0; with < 20; with += 19) {
		for (unsigned i = 0; i < 20; i++) {
			uint8_t byte =
				i < 12 ? ((uint8_t *)&message.header)[i]
				       : ((uint8_t *)&message.payload)[i - 12];

			assert_int_equal(receive(pair, &reason),
					 VHOST_RECEIVE_AGAIN);
			send_raw(pair, &byte, 1, i == with);
		}
		assert_int_equal(receive(pair, &reason), 0);
		assert_int_equal(pair->receiver.message.payload.u64, 5);
		assert_int_equal(pair->receiver.message.n_fds, 1);
	}
}

/* Descriptors stay with the message that they were sent with. */
static void test_fds_of_neighbours(void **state)
{
	struct pair *pair = *state;
	struct vhost_message message = { 0 };
	const char *reason = NULL;
	int fd = eventfd(7, 0), taken;
	uint64_t count;

	vhost_message_init(&message, VHOST_USER_SET_OWNER, 0, 0);
	vhost_send(&pair->sender, pair->fds[0], &message);
	vhost_message_init(&message, VHOST_USER_SET_VRING_CALL, 0, 8);
	message.fds[0] = fd;
	message.n_fds = 1;
	vhost_send(&pair->sender, pair->fds[0], &message);
	close(fd);
	vhost_message_init(&message, VHOST_USER_GET_FEATURES, 0, 0);
	vhost_send(&pair->sender, pair->fds[0], &message);
	assert_int_equal(receive(pair, &reason), 0);
	assert_int_equal(pair->receiver.message.n_fds, 0);
	assert_int_equal(vhost_message_take_fd(&pair->receiver.message, 0), -1);
	assert_int_equal(receive(pair, &reason), 0);
	taken = vhost_message_take_fd(&pair->receiver.message, 0);
	assert_int_equal(vhost_message_take_fd(&pair->receiver.message, 0), -1);
	assert_int_equal(receive(pair, &reason), 0);
	assert_int_equal(pair->receiver.message.n_fds, 0);
	assert_int_equal(read(taken, &count, 8), 8);
	assert_int_equal(count, 7);
	close(taken);
}

struct bad {
	uint32_t request, flags, size;
	unsigned n_fds;
	const char *reason;
};

static const struct bad bad_messages[] = {
	{ VHOST_USER_GET_FEATURES, 0, 0, 0,
	  "message of another protocol version" },
	{ VHOST_USER_GET_FEATURES, 2, 0, 0,
	  "message of another protocol version" },
	{ VHOST_USER_GET_FEATURES, 5, 0, 0, "reply to no request" },
	{ 0, 1, 0, 0, "unknown request" },
	{ 44, 1, 0, 0, "unknown request" },
	{ 0xffffffff, 1, 0, 0, "unknown request" },
	{ VHOST_USER_CREATE_CRYPTO_SESSION, 1, 0, 0, "unknown request" },
	{ VHOST_USER_GET_FEATURES, 1, 1, 0, "message too long" },
	{ VHOST_USER_SET_FEATURES, 1, 7, 0, "message too short" },
	{ VHOST_USER_SET_FEATURES, 1, 9, 0, "message too long" },
	{ VHOST_USER_SET_FEATURES, 1, 0xffffffff, 0, "message too long" },
	{ VHOST_USER_SET_FEATURES, 1, 8, 1, "too many descriptors" },
	{ VHOST_USER_SET_VRING_KICK, 1, 8, 2, "too many descriptors" },
	{ VHOST_USER_SET_MEM_TABLE, 1, 7, 0, "message too short" },
	{ VHOST_USER_SET_MEM_TABLE, 1, 265, 0, "message too long" },
	{ VHOST_USER_SET_MEM_TABLE, 1, 40, 9, "too many descriptors" },
	{ VHOST_USER_SET_MEM_TABLE, 1, 40, 1,
	  "not one descriptor a memory region" },
	{ VHOST_USER_GET_CONFIG, 1, 11, 0, "message too short" },
	{ VHOST_USER_GET_CONFIG, 1, 269, 0, "message too long" },
	{ VHOST_USER_SET_CONFIG, 1, 13, 0,
	  "config space access of another length" },
};

static void test_refuses_bad_messages(void **state)
{
	for (size_t i = 0; i < array_size(bad_messages); i++) {
		const struct bad *bad = &bad_messages[i];
		uint8_t bytes[12 + 512] = { 0 };
		uint32_t header[3] = { bad->request, bad->flags, bad->size };
		const char *reason = NULL;
		size_t size = bad->size > 512 ? 512 : bad->size;
		struct pair *pair = *state;

		memcpy(bytes, header, 12);
		send_raw(pair, bytes, 12 + size, bad->n_fds);
		assert_int_equal(receive(pair, &reason), -EPROTO);
		assert_string_equal(reason, bad->reason);
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
}

/* Lengths inside of a payload that lie about it. */
static void test_refuses_bad_payloads(void **state)
{
	struct pair *pair = *state;
	struct vhost_message *message = &pair->receiver.message;
	const char *reason;

	memset(message, 0, sizeof(*message));
	vhost_message_init(message, VHOST_USER_SET_MEM_TABLE, 0, 8 + 32);
	message->payload.memory.n_regions = 0xffffffff;
	assert_int_equal(vhost_message_check(message, VHOST_TO_BACKEND, false,
					     &reason),
			 -EPROTO);
	message->payload.memory.n_regions = 9;
	assert_int_equal(vhost_message_check(message, VHOST_TO_BACKEND, false,
					     &reason),
			 -EPROTO);
	message->payload.memory.n_regions = 2;
	assert_int_equal(vhost_message_check(message, VHOST_TO_BACKEND, false,
					     &reason),
			 -EPROTO);
	message->payload.memory.n_regions = 0;
	assert_int_equal(vhost_message_check(message, VHOST_TO_BACKEND, false,
					     &reason),
			 0);
	vhost_message_init(message, VHOST_USER_SET_CONFIG, 0, 12 + 4);
	message->payload.config.size = 4;
	message->payload.config.offset = 252;
	assert_int_equal(vhost_message_check(message, VHOST_TO_BACKEND, false,
					     &reason),
			 0);
	message->payload.config.offset = 253;
	assert_int_equal(vhost_message_check(message, VHOST_TO_BACKEND, false,
					     &reason),
			 -EPROTO);
	message->payload.config.offset = 0xffffffff;
	assert_int_equal(vhost_message_check(message, VHOST_TO_BACKEND, false,
					     &reason),
			 -EPROTO);
	message->payload.config.offset = 0;
	message->payload.config.size = 5;
	assert_int_equal(vhost_message_check(message, VHOST_TO_BACKEND, false,
					     &reason),
			 -EPROTO);
}

/* The end of file in a message is not the end of a connection. */
static void test_end_in_message(void **state)
{
	struct pair *pair = *state;
	const char *reason = NULL;

	send_raw(pair, "\1\0\0", 3, 1);
	assert_int_equal(receive(pair, &reason), VHOST_RECEIVE_AGAIN);
	close_fd(&pair->fds[0]);
	assert_int_equal(receive(pair, &reason), -EPROTO);
	assert_string_equal(reason, "connection ends in a message");
}

/* Replies: due, negative, and not due. */
static void test_replies(void **state)
{
	struct pair *pair = *state;
	struct vhost_message message = { 0 };
	const char *reason = NULL;

	vhost_message_init(&message, VHOST_USER_GET_FEATURES,
			   VHOST_USER_FLAG_REPLY, 8);
	message.payload.u64 = 42;
	vhost_send(&pair->sender, pair->fds[0], &message);
	vhost_message_init(&message, VHOST_USER_GET_CONFIG,
			   VHOST_USER_FLAG_REPLY, 0);
	vhost_send(&pair->sender, pair->fds[0], &message);
	vhost_message_init(&message, VHOST_USER_SET_VRING_NUM,
			   VHOST_USER_FLAG_REPLY, 8);
	vhost_send(&pair->sender, pair->fds[0], &message);
	vhost_message_init(&message, VHOST_USER_GET_FEATURES, 0, 0);
	vhost_send(&pair->sender, pair->fds[0], &message);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(vhost_receive(&pair->receiver, pair->fds[1],
					       VHOST_TO_BACKEND, true, &reason),
				 0);
	assert_int_equal(vhost_receive(&pair->receiver, pair->fds[1],
				       VHOST_TO_BACKEND, true, &reason),
			 -EPROTO);
	assert_string_equal(reason, "request where a reply is due");
}

/* A peer that does not read: messages are kept, with their descriptors, in
 * order, up to a bound; and sent when it reads. */
static void test_slow_peer(void **state)
{
	struct pair *pair = *state;
	struct vhost_message message = { 0 };
	const char *reason = NULL;
	int fd = eventfd(0, 0), r;
	unsigned n_sent = 0, n_received = 0;

	do {
		vhost_message_init(&message, VHOST_USER_SET_VRING_CALL, 0, 8);
		message.payload.u64 = n_sent;
		message.fds[0] = fd;
		message.n_fds = 1;
		r = vhost_send(&pair->sender, pair->fds[0], &message);
		n_sent += r == 0;
	} while (r == 0);
	close(fd);
	assert_int_equal(r, -ENOBUFS);
	assert_false(vhost_sender_is_empty(&pair->sender));
	while ((r = receive(pair, &reason)) == 0 ||
	       !vhost_sender_is_empty(&pair->sender)) {
		if (r == 0) {
			assert_int_equal(pair->receiver.message.n_fds, 1);
			assert_int_equal(pair->receiver.message.payload.u64,
					 n_received++);
		}
		assert_int_equal(
			vhost_sender_flush(&pair->sender, pair->fds[0]), 0);
	}
	assert_int_equal(n_received, n_sent);
	close_fd(&pair->fds[1]);
	message.n_fds = 0;
	assert_int_equal(vhost_send(&pair->sender, pair->fds[0], &message),
			 -EPIPE);
}

/* The table knows each request once, by the specification's name. */
static void test_table(void **state)
{
	(void)state;
	assert_string_equal(vhost_request_name(VHOST_TO_BACKEND, 43),
			    "CHECK_DEVICE_STATE");
	assert_string_equal(vhost_request_name(VHOST_TO_FRONTEND, 2),
			    "BACKEND_CONFIG_CHANGE_MSG");
	assert_string_equal(vhost_request_name(VHOST_TO_BACKEND, 99),
			    "request");
	for (uint32_t i = 0; i < 50; i++) {
		const struct vhost_request *request =
			vhost_request_find(VHOST_TO_BACKEND, i);

		if (!request)
			continue;
		assert_true(request->size_min <= request->size_max);
		assert_true(request->size_max <= sizeof(union vhost_payload));
		assert_true(request->reply_max <= sizeof(union vhost_payload));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_whole_messages),
		TEST(test_cut_messages),
		TEST(test_fds_of_neighbours),
		TEST(test_refuses_bad_messages),
		TEST(test_refuses_bad_payloads),
		TEST(test_end_in_message),
		TEST(test_replies),
		TEST(test_slow_peer),
		TEST(test_table),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
