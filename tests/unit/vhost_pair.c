/* SPDX-License-Identifier: ISC */
/*
 * Our front end and our back end before each other: a disk in memory that
 * takes many requests and finishes them in any order, and dies by kill -9 in
 * the middle of it. What was acknowledged must be there, and no request may
 * be lost or finished twice; the in-flight region is what makes it so.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/event.h"
#include "lib/base/log.h"
#include "lib/base/socket.h"
#include "lib/vhost/backend.h"
#include "lib/vhost/frontend.h"
#include "protocols/virtio.h"
#include "protocols/virtio_blk.h"
#include "tests/support/blk_driver.h"
#include "tests/support/blk_stress.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#define BIT(n) (UINT64_C(1) << (n))

enum {
	DISK_SIZE = 16 << 20,
	N_QUEUES = 3,
	HELD_MAX = 600, /* three queues of 200 requests */
};

/* The back end; one process each time. */

struct held {
	struct vhost_queue *queue;
	struct virtq_element *element;
};

struct disk {
	struct event_loop loop;
	struct event_timer timer;
	struct vhost_backend *backend;
	uint8_t *bytes; /* shared: outlives the process */
	struct held held[HELD_MAX];
	unsigned n_held;
	bool is_stopping[N_QUEUES];
};

static void get_config(void *context, uint8_t *config)
{
	const struct virtio_blk_config blk = {
		.capacity = DISK_SIZE / VIRTIO_BLK_SECTOR,
		.blk_size = VIRTIO_BLK_SECTOR,
	};

	(void)context;
	memcpy(config, &blk, sizeof(blk));
}

static void finish(struct disk *disk, struct held *held)
{
	struct virtq_element *element = held->element;
	struct virtio_blk_header header;
	size_t len = element->in_len - 1;
	uint8_t status = VIRTIO_BLK_S_OK;
	uint8_t *at;

	iov_read(element->out, element->n_out, 0, &header, sizeof(header));
	at = disk->bytes + header.sector * VIRTIO_BLK_SECTOR;
	if (header.type == VIRTIO_BLK_T_OUT)
		iov_read(element->out, element->n_out, sizeof(header), at,
			 element->out_len - sizeof(header));
	else if (header.type == VIRTIO_BLK_T_IN)
		iov_write(element->in, element->n_in, 0, at, len);
	iov_write(element->in, element->n_in, len, &status, 1);
	vhost_queue_push(held->queue, element, (uint32_t)len + 1);
}

static bool is_idle(const struct disk *disk, const struct vhost_queue *queue)
{
	for (unsigned i = 0; i < disk->n_held; i++) {
		if (disk->held[i].queue == queue)
			return false;
	}
	return true;
}

/* Finish some, in no order; sometimes all. */
static void work(struct event_timer *timer)
{
	struct disk *disk = container_of(timer, struct disk, timer);
	unsigned n = disk->n_held ? 1 + (unsigned)random() % disk->n_held : 0;

	while (n-- > 0) {
		unsigned i = (unsigned)random() % disk->n_held;
		struct held held = disk->held[i];
		unsigned index = vhost_queue_index(held.queue);

		disk->held[i] = disk->held[--disk->n_held];
		finish(disk, &held);
		vhost_queue_flush(held.queue);
		if (disk->is_stopping[index] && is_idle(disk, held.queue)) {
			disk->is_stopping[index] = false;
			vhost_queue_drained(held.queue);
		}
	}
	if (disk->n_held)
		event_timer_set(&disk->timer, 1, 0);
}

static void queue_kicked(void *context, struct vhost_queue *queue)
{
	struct disk *disk = context;
	struct virtq_element *element;

	/* More than HELD_MAX never come. */
	do {
		while (disk->n_held < HELD_MAX &&
		       vhost_queue_pop(queue, &element) == 0)
			disk->held[disk->n_held++] =
				(struct held){ queue, element };
	} while (vhost_queue_enable_kicks(queue, true));
	event_timer_set(&disk->timer, 1, 0);
}

static bool queue_stop(void *context, struct vhost_queue *queue)
{
	struct disk *disk = context;

	disk->is_stopping[vhost_queue_index(queue)] = !is_idle(disk, queue);
	return is_idle(disk, queue);
}

static void disconnected(void *context, const char *reason)
{
	struct disk *disk = context;

	(void)reason;
	event_loop_stop(&disk->loop, 0);
}

static const struct vhost_device_ops disk_ops = {
	.name = "blk",
	.device_id = VIRTIO_BLK_DEVICE_ID,
	.features = BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_MQ),
	.config_size = sizeof(struct virtio_blk_config),
	.has_inflight = true,
	.get_config = get_config,
	.queue_kicked = queue_kicked,
	.queue_stop = queue_stop,
	.disconnected = disconnected,
};

static void wait_readable(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	poll(&wait, 1, -1);
}

static _Noreturn void serve(int listener, uint8_t *bytes)
{
	static struct disk disk = { .loop = EVENT_LOOP_INIT,
				    .timer = EVENT_TIMER_INIT };
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	srandom((unsigned)getpid());
	disk.bytes = bytes;
	event_loop_init(&disk.loop);
	event_timer_init(&disk.loop, &disk.timer, work);
	for (;;) {
		wait_readable(listener);
		fd = socket_accept(listener);
		if (fd < 0)
			continue;
		if (vhost_backend_new(&disk.backend, &disk.loop, fd, &disk_ops,
				      N_QUEUES, "pair", &disk) < 0)
			_exit(1);
		event_loop_run(&disk.loop);
		vhost_backend_free(disk.backend);
	}
}

/* Start back ends and kill them, each after some tens of milliseconds. */
static _Noreturn void supervise(int listener, uint8_t *bytes, unsigned n_kills)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	srandom(1);
	for (;; n_kills--) {
		struct timespec life = { .tv_nsec = (20 + random() % 60) *
						    1000000 };
		pid_t pid = fork();

		if (pid == 0)
			serve(listener, bytes);
		if (n_kills == 0)
			break;
		nanosleep(&life, NULL);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	for (;;)
		pause();
}

/* The test's side. */

struct bench {
	char path[64];
	int listener;
	uint8_t *bytes;
	pid_t supervisor;
	struct blk_driver driver;
	struct error err;
};

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	int fd;

	log_set_level(LOG_LEVEL_ERROR);
	strcpy(bench->path, "/tmp/vhost_pair.XXXXXX");
	fd = mkstemp(bench->path);
	close(fd);
	unlink(bench->path);
	bench->listener = socket_listen(bench->path, 0600, &bench->err);
	assert_true(bench->listener >= 0);
	bench->bytes = mmap(NULL, DISK_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(bench->bytes, MAP_FAILED);
	*state = bench;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	kill(bench->supervisor, SIGKILL);
	waitpid(bench->supervisor, NULL, 0);
	close(bench->listener);
	unlink(bench->path);
	munmap(bench->bytes, DISK_SIZE);
	free(bench);
	return 0;
}

static void open_with(struct bench *bench, unsigned n_kills, unsigned depth,
		      int reconnect_seconds, uint64_t declined)
{
	const struct blk_options options = {
		.socket_path = bench->path,
		.fd = -1,
		.reconnect_seconds = reconnect_seconds,
		.depth = depth,
		.n_queues = N_QUEUES,
		.declined = declined,
	};
	int r;

	bench->supervisor = fork();
	if (bench->supervisor == 0)
		supervise(bench->listener, bench->bytes, n_kills);
	r = blk_driver_open(&bench->driver, &options, &bench->err);
	assert_int_equal(r, 0);
	assert_int_equal(bench->driver.n_queues, N_QUEUES);
}

static void open_driver(struct bench *bench, unsigned n_kills, unsigned depth)
{
	open_with(bench, n_kills, depth, FRONTEND_RECONNECT_FOREVER, 0);
}

static void stress(struct bench *bench, unsigned seconds)
{
	const struct blk_stress_options options = { .seconds = seconds,
						    .span = DISK_SIZE,
						    .seed = 7 };
	struct blk_stress_result result;

	if (blk_stress(&bench->driver, &options, &result, &bench->err) < 0)
		fail_msg("%s", bench->err.text);
	assert_true(result.n_writes > 100);
	assert_true(result.n_blocks > 100);
}

static void test_undisturbed(void **state)
{
	struct bench *bench = *state;

	open_driver(bench, 0, 100);
	stress(bench, 1);
	assert_true(blk_driver_reset(&bench->driver));
	stress(bench, 1);
	blk_driver_close(&bench->driver);
}

/* Without what makes rings fast. */
static void test_plain_rings(void **state)
{
	struct bench *bench = *state;

	open_with(bench, 0, 100, FRONTEND_RECONNECT_FOREVER,
		  BIT(VIRTIO_F_EVENT_IDX) | BIT(VIRTIO_F_INDIRECT_DESC));
	stress(bench, 1);
	blk_driver_close(&bench->driver);
}

static void test_packed_rings(void **state)
{
	struct bench *bench = *state;

	open_with(bench, 0, 100, FRONTEND_RECONNECT_NEVER, 0);
	assert_true(bench->driver.features & BIT(VIRTIO_F_RING_PACKED));
	stress(bench, 1);
	assert_true(blk_driver_reset(&bench->driver));
	stress(bench, 1);
	blk_driver_close(&bench->driver);
}

static void test_killed_again_and_again(void **state)
{
	struct bench *bench = *state;

	open_driver(bench, 40, 200);
	stress(bench, 4);
	blk_driver_close(&bench->driver);
}

/* One request at a time: each is in flight when the back end dies. */
static void test_killed_at_depth_one(void **state)
{
	struct bench *bench = *state;

	open_driver(bench, 20, 1);
	stress(bench, 2);
	blk_driver_close(&bench->driver);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_undisturbed),
		test(test_plain_rings),
		test(test_packed_rings),
		test(test_killed_again_and_again),
		test(test_killed_at_depth_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
