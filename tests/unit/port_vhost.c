/* SPDX-License-Identifier: ISC */
/*
 * A guest's port with queues that this test fills and looks at: which buffers
 * a frame takes, how it is cut over them, and what is done to its header.
 */
#include "vm-net/port_vhost.h"

#include "lib/base/cleanup.h"
#include "lib/vhost/backend.h"
#include "protocols/virtio_net.h"
#include "vm-net/bridge.h"

#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum {
	ELEMENTS_MAX = 400,
	PIECES_MAX = 4,
	SPACE = 1 << 17,
	QUEUE_RX = 0,
	QUEUE_TX = 1,
};

#define BIT(n) (UINT64_C(1) << (n))
#define VERSION_1 BIT(32)
#define MRG BIT(VIRTIO_NET_F_MRG_RXBUF)
#define CSUM BIT(VIRTIO_NET_F_CSUM)
#define GUEST_CSUM BIT(VIRTIO_NET_F_GUEST_CSUM)

struct vhost_queue {
	unsigned index;
	bool is_enabled;
	unsigned n, next; /* elements there are, and to be popped next */
	struct virtq_element elements[ELEMENTS_MAX];
	struct iovec pieces[ELEMENTS_MAX][PIECES_MAX];
	unsigned n_pushed, n_flushed;
	struct {
		struct virtq_element *element;
		uint32_t written;
	} pushed[ELEMENTS_MAX];
	uint8_t space[SPACE];
	size_t used;
};

struct vhost_backend {
	const struct vhost_device_ops *ops;
	void *context;
	struct vhost_queue queues[2];
	int fd;
};

enum {
	N_PORTS = 2,
};

static struct event_loop loop;
static struct bridge bridge;
static struct vhost_backend backends[N_PORTS];
static struct vhost_port *ports[N_PORTS];
static unsigned n_backends;

/* What port_vhost.c calls, in the library's place. */

int vhost_backend_new(struct vhost_backend **backend, struct event_loop *l,
		      int fd, const struct vhost_device_ops *ops,
		      unsigned n_queues, const char *label, void *context)
{
	(void)l;
	(void)label;
	assert_int_equal(n_queues, 2);
	*backend = &backends[n_backends++];
	memset(*backend, 0, sizeof(**backend));
	(*backend)->ops = ops;
	(*backend)->context = context;
	(*backend)->fd = fd;
	(*backend)->queues[QUEUE_TX].index = QUEUE_TX;
	return 0;
}

void vhost_backend_free(struct vhost_backend *backend)
{
	if (backend != NULL)
		close(backend->fd);
}

/* Nobody is silent here. */
int vhost_backend_expect_greeting(struct vhost_backend *backend)
{
	(void)backend;
	return -ENOSYS;
}

unsigned vhost_queue_index(const struct vhost_queue *queue)
{
	return queue->index;
}

bool vhost_queue_is_enabled(const struct vhost_queue *queue)
{
	return queue->is_enabled;
}

int vhost_queue_pop(struct vhost_queue *queue, struct virtq_element **element)
{
	if (queue->next == queue->n)
		return VIRTQ_EMPTY;
	*element = &queue->elements[queue->next++];
	return 0;
}

void vhost_queue_unpop(struct vhost_queue *queue,
		       struct virtq_element **elements, unsigned n)
{
	while (n > 0)
		assert_ptr_equal(elements[--n],
				 &queue->elements[--queue->next]);
}

void vhost_queue_push(struct vhost_queue *queue, struct virtq_element *element,
		      uint32_t written)
{
	assert_true(written <= element->in_len);
	queue->pushed[queue->n_pushed].element = element;
	queue->pushed[queue->n_pushed++].written = written;
}

void vhost_queue_flush(struct vhost_queue *queue)
{
	queue->n_flushed++;
}

bool vhost_queue_enable_kicks(struct vhost_queue *queue, bool are_enabled)
{
	return are_enabled && queue->next < queue->n;
}

static void ignore_end(void *context, struct vhost_port *port)
{
	(void)context;
	(void)port;
}

static void negotiate(unsigned i, uint64_t features)
{
	backends[i].ops->set_features(backends[i].context, features);
}

static void run_queue(unsigned i, unsigned index)
{
	struct vhost_queue *queue = &backends[i].queues[index];

	queue->is_enabled = true;
	backends[i].ops->queue_started(backends[i].context, queue);
}

static int set_up(void **state)
{
	(void)state;
	n_backends = 0;
	if (event_loop_init(&loop) < 0 ||
	    bridge_init(&bridge, &loop, 300000) < 0)
		return -1;
	for (unsigned i = 0; i < N_PORTS; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		if (vhost_port_new(&ports[i], &bridge, fd, false, ignore_end,
				   NULL) < 0)
			return -1;
		negotiate(i, VERSION_1 | MRG | CSUM | GUEST_CSUM);
		run_queue(i, QUEUE_RX);
		run_queue(i, QUEUE_TX);
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (unsigned i = 0; i < N_PORTS; i++)
		vhost_port_free(ports[i]);
	bridge_deinit(&bridge);
	event_loop_deinit(&loop);
	return 0;
}

/* One buffer of n pieces with these lengths. */
static void add_buffer(unsigned i, const size_t *lens, unsigned n)
{
	struct vhost_queue *queue = &backends[i].queues[QUEUE_RX];
	struct virtq_element *element = &queue->elements[queue->n];

	*element = (struct virtq_element){
		.in = queue->pieces[queue->n],
		.n_in = (uint16_t)n,
	};
	for (unsigned k = 0; k < n; k++) {
		element->in[k] = (struct iovec){
			.iov_base = queue->space + queue->used,
			.iov_len = lens[k],
		};
		queue->used += lens[k];
		element->in_len += lens[k];
	}
	queue->n++;
}

static void add_plain(unsigned i, size_t len)
{
	add_buffer(i, &len, 1);
}

/* Send a broadcast of len bytes: each byte of it is its own place. */
static void send_frame(unsigned i, const struct virtio_net_hdr *header,
		       size_t header_len, size_t len)
{
	struct vhost_queue *queue = &backends[i].queues[QUEUE_TX];
	struct virtq_element *element = &queue->elements[queue->n];
	uint8_t *bytes = queue->space + queue->used;

	memcpy(bytes, header, header_len);
	for (size_t k = 0; k < len; k++)
		bytes[header_len + k] = (uint8_t)(k * 7);
	if (len >= 12)
		memcpy(bytes + header_len,
		       (uint8_t[]){ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0,
				    0, 0, 0, (uint8_t)i },
		       12);
	queue->pieces[queue->n][0] = (struct iovec){
		.iov_base = bytes,
		.iov_len = header_len + len,
	};
	queue->used += header_len + len;
	*element = (struct virtq_element){
		.out = queue->pieces[queue->n],
		.n_out = 1,
		.out_len = header_len + len,
	};
	queue->n++;
	backends[i].ops->queue_kicked(backends[i].context, queue);
}

static const struct virtio_net_hdr plain;

static uint64_t counter(unsigned id, const char *name)
{
	const struct port_counters *counters = &bridge.ports[id]->counters;

	for (int i = 1; i < DROP_N; i++) {
		if (strcmp(drop_name((enum drop)i), name) == 0)
			return counters->dropped[i];
	}
	fail_msg("no counter %s", name);
	return 0;
}

/* What port i got, pushed buffers one after the other. */
static size_t collect(unsigned i, uint8_t *bytes)
{
	struct vhost_queue *queue = &backends[i].queues[QUEUE_RX];
	size_t len = 0;

	for (unsigned k = 0; k < queue->n_pushed; k++) {
		struct virtq_element *element = queue->pushed[k].element;

		len += iov_read(element->in, element->n_in, 0, bytes + len,
				queue->pushed[k].written);
	}
	return len;
}

static void expect_frame(const uint8_t *frame, size_t len)
{
	for (size_t k = 12; k < len; k++)
		assert_int_equal(frame[k], (uint8_t)(k * 7));
	assert_int_equal(frame[0], 0xff);
}

/* Header and frame over buffers and pieces of any size. */
static void test_mergeable(void **state)
{
	static const size_t odd[] = { 1, 2, 4 }, two[] = { 3, 30 };
	struct vhost_queue *rx = &backends[1].queues[QUEUE_RX];
	uint8_t bytes[2048];
	struct virtio_net_hdr header;

	(void)state;
	add_buffer(1, odd, 3); /* not even the header fits */
	add_buffer(1, two, 2);
	add_plain(1, 100);
	add_plain(1, 2000);
	add_plain(1, 2000);
	send_frame(0, &plain, 12, 1000);
	assert_int_equal(rx->n_pushed, 4);
	assert_int_equal(rx->next, 4);
	assert_int_equal(rx->pushed[0].written, 7);
	assert_int_equal(rx->pushed[1].written, 33);
	assert_int_equal(rx->pushed[2].written, 100);
	assert_int_equal(rx->pushed[3].written, 1012 - 140);
	assert_int_equal(collect(1, bytes), 1012);
	memcpy(&header, bytes, sizeof(header));
	assert_int_equal(le16toh(header.num_buffers), 4);
	expect_frame(bytes + 12, 1000);
	assert_int_equal(rx->n_flushed, 1);
	/* The sender has its own back, and got nothing reflected. */
	assert_int_equal(backends[0].queues[QUEUE_TX].n_pushed, 1);
	assert_int_equal(backends[0].queues[QUEUE_RX].n_pushed, 0);
}

/* Too little room: no buffer is taken, and a later frame may still fit. */
static void test_no_room(void **state)
{
	struct vhost_queue *rx = &backends[1].queues[QUEUE_RX];

	(void)state;
	send_frame(0, &plain, 12, 100);
	assert_int_equal(counter(2, "tx_no_buffer"), 1);
	add_plain(1, 60);
	add_plain(1, 40);
	send_frame(0, &plain, 12, 100);
	assert_int_equal(rx->next, 0);
	assert_int_equal(counter(2, "tx_no_buffer"), 2);
	send_frame(0, &plain, 12, 60);
	assert_int_equal(rx->n_pushed, 2);
	assert_int_equal(backends[0].queues[QUEUE_TX].n_pushed, 3);
	assert_int_equal(counter(1, "tx_no_buffer"), 0);
}

/* Buffers of a byte, or of none: bounded work, and only the guest loses. */
static void test_tiny_buffers(void **state)
{
	struct vhost_queue *rx = &backends[1].queues[QUEUE_RX];

	(void)state;
	for (int i = 0; i < 200; i++)
		add_plain(1, (size_t)i % 2);
	send_frame(0, &plain, 12, 100);
	assert_int_equal(counter(2, "tx_too_long"), 1);
	assert_int_equal(rx->next, 0);
	send_frame(0, &plain, 12, 14);
	assert_int_equal(rx->n_pushed, 52);
}

static void test_not_mergeable(void **state)
{
	struct vhost_queue *rx = &backends[1].queues[QUEUE_RX];
	uint8_t bytes[256];

	(void)state;
	negotiate(1, VERSION_1);
	add_plain(1, 50);
	add_plain(1, 200);
	send_frame(0, &plain, 12, 60);
	assert_int_equal(counter(2, "tx_too_long"), 1);
	assert_int_equal(rx->next, 0);
	send_frame(0, &plain, 12, 38);
	assert_int_equal(rx->n_pushed, 1);
	assert_int_equal(rx->pushed[0].written, 50);
	assert_int_equal(collect(1, bytes), 50);
	assert_int_equal(bytes[10] | bytes[11] << 8, 1);
}

/* Drivers from before virtio 1: the header is two bytes shorter. */
static void test_legacy_header(void **state)
{
	uint8_t bytes[256];

	(void)state;
	negotiate(0, 0);
	negotiate(1, 0);
	add_plain(1, 200);
	send_frame(0, &plain, 10, 60);
	assert_int_equal(collect(1, bytes), 70);
	expect_frame(bytes + 10, 60);
}

static void test_bad_frames(void **state)
{
	struct virtio_net_hdr gso = { .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 };

	(void)state;
	add_plain(1, 2000);
	send_frame(0, &plain, 12, 13);
	send_frame(0, &plain, 5, 0);
	send_frame(0, &gso, 12, 100);
	assert_int_equal(counter(1, "rx_malformed"), 3);
	assert_int_equal(backends[0].queues[QUEUE_TX].n_pushed, 3);
	assert_int_equal(backends[1].queues[QUEUE_RX].n_pushed, 0);
}

/* Passed on to those who take it, done for those who do not. */
static void test_checksum(void **state)
{
	struct virtio_net_hdr header = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = htole16(34),
		.csum_offset = htole16(16),
	};
	uint8_t bytes[256];

	(void)state;
	add_plain(1, 200);
	send_frame(0, &header, 12, 100);
	collect(1, bytes);
	assert_memory_equal(bytes, &header, 10);
	expect_frame(bytes + 12, 100);

	negotiate(1, VERSION_1 | MRG);
	backends[1].queues[QUEUE_RX].n_pushed = 0;
	add_plain(1, 200);
	send_frame(0, &header, 12, 100);
	collect(1, bytes);
	assert_int_equal(bytes[0], 0);
	assert_memory_not_equal(bytes + 12 + 50, "\x5e\x65", 2);
}

/* Disabled: what comes is consumed and lost, what goes is lost. */
static void test_disabled_queues(void **state)
{
	(void)state;
	add_plain(1, 2000);
	backends[0].queues[QUEUE_TX].is_enabled = false;
	send_frame(0, &plain, 12, 100);
	assert_int_equal(backends[0].queues[QUEUE_TX].n_pushed, 1);
	assert_int_equal(counter(1, "rx_disabled"), 1);
	assert_int_equal(backends[1].queues[QUEUE_RX].n_pushed, 0);
	backends[0].queues[QUEUE_TX].is_enabled = true;
	backends[1].queues[QUEUE_RX].is_enabled = false;
	send_frame(0, &plain, 12, 100);
	assert_int_equal(counter(2, "tx_down"), 1);
	assert_int_equal(backends[1].queues[QUEUE_RX].next, 0);
	/* Stopped: nothing of it is touched any more. */
	assert_true(backends[1].ops->queue_stop(backends[1].context,
						&backends[1].queues[QUEUE_RX]));
	send_frame(0, &plain, 12, 100);
	assert_int_equal(counter(2, "tx_down"), 2);
}

/* After migration the network learns where the guest is now. */
static void test_rarp(void **state)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };
	uint8_t bytes[256];

	(void)state;
	add_plain(1, 200);
	backends[0].ops->send_rarp(backends[0].context, mac);
	assert_int_equal(collect(1, bytes), 72);
	assert_memory_equal(bytes + 12, "\xff\xff\xff\xff\xff\xff", 6);
	assert_memory_equal(bytes + 18, mac, 6);
	assert_memory_equal(bytes + 24, "\x80\x35\0\1\x08\0\6\4\0\3", 10);
	assert_memory_equal(bytes + 34, mac, 6);
	assert_memory_equal(bytes + 44, mac, 6);
	assert_int_equal(mac_table_lookup(&bridge.table, mac, bridge_now_ms()),
			 1);
	assert_int_equal(backends[1].queues[QUEUE_RX].n_flushed, 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_mergeable),	  TEST(test_no_room),
		TEST(test_tiny_buffers),  TEST(test_not_mergeable),
		TEST(test_legacy_header), TEST(test_bad_frames),
		TEST(test_checksum),	  TEST(test_disabled_queues),
		TEST(test_rarp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
