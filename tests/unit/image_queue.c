/* SPDX-License-Identifier: ISC */
/*
 * The asynchronous queue over a format made for the test: clusters that are
 * mapped, cold, unallocated or zero as the test says, and a gate at which
 * worker threads stop. A pipe in the place of the host file stops the kernel.
 */
#include "lib/base/error.h"
#include "lib/image/format.h"
#include "lib/image/queue.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
/* After the above, which it needs. */
#include <cmocka.h>

#include <dlfcn.h>
#include <liburing.h>

enum {
	CLUSTER = 4096,
	N_CLUSTERS = 64,
	DISK = CLUSTER * N_CLUSTERS,
	STEP_MS = 10000, /* nothing here takes that long */
};

enum kind {
	MAPPED,
	COLD,	     /* -EAGAIN, then as MAPPED */
	UNALLOCATED, /* to a write; a hole to a read */
	ZERO,
	PIPE, /* data of the backing image, whose file is a pipe */
};

struct fixture {
	struct image image, backing;
	struct image_file file, pipe;
	struct event_loop loop;
	struct image_queue *queue;
	int pipe_fds[2];

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	enum kind kinds[N_CLUSTERS];
	bool is_gated[N_CLUSTERS]; /* workers stop before doing anything */
	bool is_flush_gated;
	unsigned n_calls, n_flushes, n_at_gate;
	int fail_with;
};

struct request {
	struct image_request io;
	struct iovec iov[4];
	bool is_done;
	int result;
	unsigned turn; /* which one it was to end */
	char text[64];
	struct request *then; /* submitted in done() */
};

static unsigned n_done;
static bool kernel_is_busy;
static unsigned ring_entries;

/* In the place of liburing's: a kernel that has no memory for more. */
int io_uring_submit(struct io_uring *ring)
{
	int (*real)(struct io_uring *);
	void *symbol;

	ring_entries = ring->sq.ring_entries;
	if (kernel_is_busy)
		return -EAGAIN;
	symbol = dlsym(RTLD_NEXT, "io_uring_submit");
	memcpy(&real, &symbol, sizeof(real));
	return real(ring);
}

static struct fixture *fixture_of(struct image *image)
{
	return image->state;
}

static void pass_gate(struct fixture *f, uint64_t offset, uint64_t len)
{
	uint64_t first = offset / CLUSTER, last = (offset + len - 1) / CLUSTER;

	pthread_mutex_lock(&f->lock);
	f->n_calls++;
	for (uint64_t i = first; i <= last; i++)
		while (f->is_gated[i]) {
			f->n_at_gate++;
			pthread_cond_broadcast(&f->changed);
			pthread_cond_wait(&f->changed, &f->lock);
			f->n_at_gate--;
		}
	pthread_mutex_unlock(&f->lock);
}

static void set_kinds(struct fixture *f, uint64_t offset, uint64_t len,
		      enum kind kind)
{
	pthread_mutex_lock(&f->lock);
	for (uint64_t i = offset / CLUSTER; i <= (offset + len - 1) / CLUSTER;
	     i++)
		f->kinds[i] = kind;
	pthread_mutex_unlock(&f->lock);
}

static uint64_t total(const struct iovec *iov, unsigned n_iov)
{
	uint64_t len = 0;

	for (unsigned i = 0; i < n_iov; i++)
		len += iov[i].iov_len;
	return len;
}

static int fake_readv(struct image *image, uint64_t offset,
		      const struct iovec *iov, unsigned n_iov,
		      struct error *err)
{
	struct fixture *f = fixture_of(image);

	pass_gate(f, offset, total(iov, n_iov));
	if (f->fail_with)
		return error_set(err, f->fail_with, "the test says no");
	for (unsigned i = 0; i < n_iov; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
	return preadv(f->file.fd, iov, (int)n_iov, (off_t)offset) < 0 ? -errno
								      : 0;
}

static int fake_writev(struct image *image, uint64_t offset,
		       const struct iovec *iov, unsigned n_iov,
		       struct error *err)
{
	struct fixture *f = fixture_of(image);

	(void)err;
	pass_gate(f, offset, total(iov, n_iov));
	if (pwritev(f->file.fd, iov, (int)n_iov, (off_t)offset) < 0)
		return -errno;
	set_kinds(f, offset, total(iov, n_iov), MAPPED);
	return 0;
}

static int fake_zero(struct image *image, uint64_t offset, uint64_t len)
{
	struct fixture *f = fixture_of(image);
	static const uint8_t zeroes[CLUSTER];

	pass_gate(f, offset, len);
	for (uint64_t at = offset; at < offset + len; at += CLUSTER)
		if (pwrite(f->file.fd, zeroes, CLUSTER, (off_t)at) < 0)
			return -errno;
	set_kinds(f, offset, len, ZERO);
	return 0;
}

static int fake_write_zeroes(struct image *image, uint64_t offset, uint64_t len,
			     unsigned flags, struct error *err)
{
	(void)flags;
	(void)err;
	return fake_zero(image, offset, len);
}

static int fake_discard(struct image *image, uint64_t offset, uint64_t len,
			struct error *err)
{
	(void)err;
	return fake_zero(image, offset, len);
}

static int fake_flush(struct image *image, struct error *err)
{
	struct fixture *f = fixture_of(image);

	(void)err;
	pthread_mutex_lock(&f->lock);
	f->n_flushes++;
	pthread_cond_broadcast(&f->changed);
	while (f->is_flush_gated)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
	return 0;
}

static int fake_map(struct image *image, uint64_t offset, uint64_t len,
		    unsigned flags, struct image_extent *extent,
		    struct error *err)
{
	struct fixture *f = fixture_of(image);
	uint64_t rest = CLUSTER - offset % CLUSTER;
	enum kind kind;

	(void)err;
	pthread_mutex_lock(&f->lock);
	kind = f->kinds[offset / CLUSTER];
	pthread_mutex_unlock(&f->lock);
	if (kind == COLD && flags & IMAGE_MAP_NOWAIT)
		return -EAGAIN;
	*extent = (struct image_extent){
		.kind = IMAGE_EXTENT_DATA,
		.offset = offset,
		.len = len < rest ? len : rest,
		.has_host_offset = true,
		.host_offset = offset,
		.layer = image,
		.is_writable_in_place = true,
	};
	if (kind == UNALLOCATED || kind == PIPE)
		extent->kind = IMAGE_EXTENT_HOLE;
	if (kind == ZERO)
		extent->kind = IMAGE_EXTENT_ZERO;
	if (extent->kind != IMAGE_EXTENT_DATA)
		extent->is_writable_in_place = false;
	return 0;
}

static const struct image_format fake_format = {
	.name = "fake",
	.readv = fake_readv,
	.writev = fake_writev,
	.write_zeroes = fake_write_zeroes,
	.discard = fake_discard,
	.flush = fake_flush,
	.map = fake_map,
};

static int pipe_map(struct image *image, uint64_t offset, uint64_t len,
		    unsigned flags, struct image_extent *extent,
		    struct error *err)
{
	struct fixture *f = fixture_of(image);
	int rc = fake_map(image, offset, len, flags, extent, err);

	extent->kind = f->kinds[offset / CLUSTER] == PIPE ? IMAGE_EXTENT_DATA
							  : IMAGE_EXTENT_HOLE;
	return rc;
}

static const struct image_format pipe_format = {
	.name = "pipe",
	.map = pipe_map,
};

/* Each 512 bytes of the disk hold their own number. */
static void fill_disk(struct fixture *f)
{
	for (uint32_t i = 0; i < DISK / 512; i++) {
		uint32_t sector[128];

		for (unsigned j = 0; j < 128; j++)
			sector[j] = i;
		assert_int_equal(pwrite(f->file.fd, sector, 512, i * 512), 512);
	}
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error err = ERROR_INIT;

	assert_non_null(f);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	f->file.fd = memfd_create("disk", MFD_CLOEXEC);
	f->file.alignment = 1;
	fill_disk(f);
	assert_int_equal(pipe(f->pipe_fds), 0);
	f->pipe.fd = f->pipe_fds[0];
	f->pipe.alignment = 1;
	f->backing = (struct image){
		.format = &pipe_format,
		.file = &f->pipe,
		.size = DISK,
		.state = f,
	};
	f->image = (struct image){
		.format = &fake_format,
		.file = &f->file,
		.size = DISK,
		.cluster_size = CLUSTER,
		.backing = &f->backing,
		.state = f,
	};
	f->loop = (struct event_loop)EVENT_LOOP_INIT;
	assert_int_equal(event_loop_init(&f->loop), 0);
	assert_int_equal(image_queue_new(&f->queue, &f->loop, &f->image, &err),
			 0);
	n_done = 0;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(image_queue_n_active(f->queue), 0);
	image_queue_free(f->queue);
	event_loop_deinit(&f->loop);
	close(f->file.fd);
	close(f->pipe_fds[0]);
	close(f->pipe_fds[1]);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return 0;
}

static void request_done(struct image_request *io, int result)
{
	struct request *request = (struct request *)io;

	assert_false(request->is_done);
	request->is_done = true;
	request->result = result;
	request->turn = ++n_done;
	if (io->error_text)
		snprintf(request->text, sizeof(request->text), "%s",
			 io->error_text);
	if (request->then)
		image_queue_submit(io->queue, &request->then->io);
}

static void submit(struct fixture *f, struct request *request,
		   enum image_operation operation, uint64_t offset, void *buf,
		   size_t len)
{
	struct request *then = request->then;

	*request = (struct request){
		.io = { .operation = operation,
			.offset = offset,
			.len = len,
			.iov = request->iov,
			.n_iov = 1,
			.done = request_done },
		.iov = { { buf, len } },
		.then = then,
	};
	image_queue_submit(f->queue, &request->io);
	assert_false(request->is_done);
	image_queue_kick(f->queue);
}

static void wait_done(struct fixture *f, const struct request *request)
{
	for (int i = 0; !request->is_done && i < STEP_MS / 10; i++)
		assert_int_equal(event_loop_step(&f->loop, 10), 0);
	assert_true(request->is_done);
	assert_int_equal(request->result, 0);
}

/* A round trip through io_uring and one through a worker, so that whatever
 * could have ended by now has. */
static void settle(struct fixture *f)
{
	struct request flush = { 0 }, read = { 0 };
	uint8_t byte;

	submit(f, &read, IMAGE_OP_READ, DISK - 1, &byte, 1);
	wait_done(f, &read);
	submit(f, &flush, IMAGE_OP_FLUSH, 0, NULL, 0);
	wait_done(f, &flush);
}

static void set_gate(struct fixture *f, unsigned cluster, bool is_gated)
{
	pthread_mutex_lock(&f->lock);
	f->is_gated[cluster] = is_gated;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static void wait_at_gate(struct fixture *f, unsigned n)
{
	pthread_mutex_lock(&f->lock);
	while (f->n_at_gate < n)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static unsigned n_calls(struct fixture *f)
{
	unsigned n;

	pthread_mutex_lock(&f->lock);
	n = f->n_calls;
	pthread_mutex_unlock(&f->lock);
	return n;
}

static void check_sectors(const void *buf, size_t len, uint64_t offset)
{
	for (size_t at = 0; at < len; at += 4) {
		uint32_t value;

		memcpy(&value, (const uint8_t *)buf + at, 4);
		assert_int_equal(value, (offset + at) / 512);
	}
}

/* What is mapped needs no thread, however it is cut in memory and in the
 * file. */
static void test_mapped_read_is_direct(void **state)
{
	struct fixture *f = *state;
	static uint8_t buf[6 * CLUSTER];
	struct request r = { 0 };

	memset(buf, 0xee, sizeof(buf));
	set_kinds(f, 2 * CLUSTER, CLUSTER, ZERO);
	r.iov[0] = (struct iovec){ buf, 100 };
	r.iov[1] = (struct iovec){ buf + 100, 2 * CLUSTER };
	r.iov[2] = (struct iovec){ buf + 100 + 2 * CLUSTER, 3 * CLUSTER };
	r.io = (struct image_request){ .operation = IMAGE_OP_READ,
				       .offset = 1024,
				       .len = 100 + 5 * CLUSTER,
				       .iov = r.iov,
				       .n_iov = 3,
				       .done = request_done };
	image_queue_submit(f->queue, &r.io);
	image_queue_kick(f->queue);
	wait_done(f, &r);
	assert_int_equal(n_calls(f), 0);
	check_sectors(buf, 2 * CLUSTER - 1024, 1024);
	for (unsigned i = 0; i < CLUSTER; i++)
		assert_int_equal(buf[2 * CLUSTER - 1024 + i], 0);
	check_sectors(buf + 3 * CLUSTER - 1024, 2 * CLUSTER + 100, 3 * CLUSTER);
	assert_int_equal(buf[100 + 5 * CLUSTER], 0xee);
}

/* A file that ends before its last cluster does. The kernel knows only that;
 * a worker asks the format what it means. */
static void test_read_past_end_of_file_is_a_workers(void **state)
{
	struct fixture *f = *state;
	static uint8_t buf[2 * CLUSTER];
	struct request r = { 0 };

	assert_int_equal(ftruncate(f->file.fd, DISK - CLUSTER - 512), 0);
	memset(buf, 0xee, sizeof(buf));
	submit(f, &r, IMAGE_OP_READ, DISK - 2 * CLUSTER, buf, sizeof(buf));
	wait_done(f, &r);
	check_sectors(buf, CLUSTER - 512, DISK - 2 * CLUSTER);
	for (unsigned i = CLUSTER - 512; i < sizeof(buf); i++)
		assert_int_equal(buf[i], 0);
	assert_int_equal(f->n_calls, 1);
}

static void test_overwrite_is_direct(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[3 * CLUSTER], back[3 * CLUSTER];
	struct request w = { 0 }, r = { 0 };

	memset(buf, 0x5a, sizeof(buf));
	submit(f, &w, IMAGE_OP_WRITE, 700, buf, sizeof(buf));
	wait_done(f, &w);
	assert_int_equal(n_calls(f), 0);
	submit(f, &r, IMAGE_OP_READ, 700, back, sizeof(back));
	wait_done(f, &r);
	assert_memory_equal(buf, back, sizeof(buf));
}

static void test_many_extents_go_to_a_worker(void **state)
{
	struct fixture *f = *state;
	static uint8_t buf[DISK];
	struct request r = { 0 };

	for (unsigned i = 0; i < N_CLUSTERS; i += 2)
		set_kinds(f, i * CLUSTER, CLUSTER, ZERO);
	submit(f, &r, IMAGE_OP_READ, 0, buf, DISK);
	wait_done(f, &r);
	assert_int_equal(n_calls(f), 1);
}

static void test_slow_worker_holds_up_no_other(void **state)
{
	struct fixture *f = *state;
	uint8_t slow_buf[512], buf[512];
	struct request slow = { 0 };

	set_kinds(f, 0, CLUSTER, COLD);
	set_gate(f, 0, true);
	submit(f, &slow, IMAGE_OP_READ, 0, slow_buf, 512);
	wait_at_gate(f, 1);
	set_kinds(f, CLUSTER, CLUSTER, COLD);
	for (unsigned i = 0; i < 100; i++) {
		struct request r = { 0 };
		uint64_t offset = CLUSTER + i * 512;

		submit(f, &r, IMAGE_OP_READ, offset, buf, 512);
		wait_done(f, &r);
		check_sectors(buf, 512, offset);
	}
	settle(f);
	assert_false(slow.is_done);
	set_gate(f, 0, false);
	wait_done(f, &slow);
	check_sectors(slow_buf, 512, 0);
}

static void test_slow_kernel_holds_up_no_other(void **state)
{
	struct fixture *f = *state;
	uint8_t slow_buf[1024], buf[512];
	uint8_t fed[1024];
	struct request slow = { 0 };

	set_kinds(f, 0, CLUSTER, PIPE);
	submit(f, &slow, IMAGE_OP_READ, 0, slow_buf, sizeof(slow_buf));
	for (unsigned i = 0; i < 100; i++) {
		struct request r = { 0 };

		submit(f, &r, IMAGE_OP_READ, CLUSTER + i * 512, buf, 512);
		wait_done(f, &r);
	}
	assert_false(slow.is_done);
	/* In two parts: a short result goes on where it stopped. */
	memset(fed, 0x77, sizeof(fed));
	assert_int_equal(write(f->pipe_fds[1], fed, 300), 300);
	settle(f);
	assert_false(slow.is_done);
	assert_int_equal(write(f->pipe_fds[1], fed, 724), 724);
	wait_done(f, &slow);
	assert_memory_equal(slow_buf, fed, sizeof(fed));
}

/* A read after an allocating write of the same cluster waits for it; one of
 * another cluster does not. */
static void test_read_waits_for_allocating_write(void **state)
{
	struct fixture *f = *state;
	uint8_t data[512], buf[512], other[512];
	struct request w = { 0 }, r = { 0 }, o = { 0 };

	memset(data, 0xab, sizeof(data));
	set_kinds(f, 0, CLUSTER, UNALLOCATED);
	set_gate(f, 0, true);
	submit(f, &w, IMAGE_OP_WRITE, 0, data, 512);
	submit(f, &r, IMAGE_OP_READ, 0, buf, 512);
	submit(f, &o, IMAGE_OP_READ, CLUSTER, other, 512);
	wait_done(f, &o);
	settle(f);
	assert_false(w.is_done);
	assert_false(r.is_done);
	set_gate(f, 0, false);
	wait_done(f, &r);
	assert_true(w.is_done);
	assert_memory_equal(buf, data, 512);
}

/* Two writes that share nothing but the cluster: the first allocates, the
 * second then finds it mapped and needs no thread. */
static void test_writes_of_one_cluster_take_turns(void **state)
{
	struct fixture *f = *state;
	uint8_t a[512], b[512], buf[1024];
	struct request w1 = { 0 }, w2 = { 0 }, r = { 0 };

	memset(a, 0xa1, sizeof(a));
	memset(b, 0xb2, sizeof(b));
	set_kinds(f, 0, CLUSTER, UNALLOCATED);
	set_gate(f, 0, true);
	submit(f, &w1, IMAGE_OP_WRITE, 0, a, 512);
	submit(f, &w2, IMAGE_OP_WRITE, 512, b, 512);
	submit(f, &r, IMAGE_OP_READ, 0, buf, 1024);
	settle(f);
	assert_int_equal(n_calls(f), 1);
	set_gate(f, 0, false);
	wait_done(f, &r);
	assert_true(w1.is_done && w2.is_done);
	assert_true(w1.turn < w2.turn && w2.turn < r.turn);
	assert_int_equal(n_calls(f), 1);
	assert_memory_equal(buf, a, 512);
	assert_memory_equal(buf + 512, b, 512);
}

/*
 * A write that waits keeps others away from all of its clusters. When it turns
 * out to be an overwrite in place, those who waited for no more than that go
 * on, although they are far from what it waited for.
 */
static void test_who_waits_for_an_overwrite_goes_on(void **state)
{
	struct fixture *f = *state;
	uint8_t a[512], b[1024], buf[512];
	struct request w1 = { 0 }, w2 = { 0 }, r = { 0 };

	memset(a, 0xa1, sizeof(a));
	memset(b, 0xb2, sizeof(b));
	set_kinds(f, 0, CLUSTER, UNALLOCATED);
	set_gate(f, 0, true);
	submit(f, &w1, IMAGE_OP_WRITE, 0, a, 512);
	submit(f, &w2, IMAGE_OP_WRITE, CLUSTER - 512, b, 1024);
	submit(f, &r, IMAGE_OP_READ, CLUSTER + 2048, buf, 512);
	settle(f);
	assert_false(w1.is_done || w2.is_done || r.is_done);
	set_gate(f, 0, false);
	wait_done(f, &r);
	wait_done(f, &w2);
	check_sectors(buf, 512, CLUSTER + 2048);
}

/* A mapping that is being read is not taken away; and who comes after the one
 * that takes it away sees zeroes, though the kernel could read at once. */
static void test_discard_waits_and_is_waited_for(void **state)
{
	struct fixture *f = *state;
	uint8_t slow_buf[512], buf[512];
	uint8_t fed[512] = { 1 };
	struct request slow = { 0 }, d = { 0 }, r = { 0 };

	set_kinds(f, 0, CLUSTER, PIPE);
	submit(f, &slow, IMAGE_OP_READ, 0, slow_buf, 512);
	submit(f, &d, IMAGE_OP_DISCARD, CLUSTER / 2, NULL, CLUSTER / 2);
	memset(buf, 0xee, sizeof(buf));
	submit(f, &r, IMAGE_OP_READ, CLUSTER / 2, buf, 512);
	settle(f);
	assert_false(slow.is_done || d.is_done || r.is_done);
	assert_int_equal(n_calls(f), 0);
	assert_int_equal(write(f->pipe_fds[1], fed, 512), 512);
	wait_done(f, &r);
	assert_true(slow.turn < d.turn && d.turn < r.turn);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(buf[i], 0);
}

static void test_zeroes_that_do_not_overlap_run_at_once(void **state)
{
	struct fixture *f = *state;
	struct request z1 = { 0 }, z2 = { 0 };

	set_gate(f, 0, true);
	submit(f, &z1, IMAGE_OP_WRITE_ZEROES, 0, NULL, CLUSTER);
	wait_at_gate(f, 1);
	submit(f, &z2, IMAGE_OP_WRITE_ZEROES, CLUSTER, NULL, CLUSTER);
	wait_done(f, &z2);
	assert_false(z1.is_done);
	set_gate(f, 0, false);
	wait_done(f, &z1);
}

/* A flush waits for nothing that is in progress; flushes that come while one
 * runs share the next, which begins after they came. */
static void test_flush(void **state)
{
	struct fixture *f = *state;
	uint8_t data[512] = { 0 };
	struct request w = { 0 }, flush[4] = { 0 };

	set_kinds(f, 0, CLUSTER, UNALLOCATED);
	set_gate(f, 0, true);
	submit(f, &w, IMAGE_OP_WRITE, 0, data, 512);
	wait_at_gate(f, 1);
	submit(f, &flush[0], IMAGE_OP_FLUSH, 0, NULL, 0);
	wait_done(f, &flush[0]);
	assert_false(w.is_done);
	pthread_mutex_lock(&f->lock);
	f->is_flush_gated = true;
	pthread_mutex_unlock(&f->lock);
	submit(f, &flush[1], IMAGE_OP_FLUSH, 0, NULL, 0);
	pthread_mutex_lock(&f->lock);
	while (f->n_flushes < 2)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
	submit(f, &flush[2], IMAGE_OP_FLUSH, 0, NULL, 0);
	submit(f, &flush[3], IMAGE_OP_FLUSH, 0, NULL, 0);
	pthread_mutex_lock(&f->lock);
	f->is_flush_gated = false;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	wait_done(f, &flush[1]);
	wait_done(f, &flush[2]);
	wait_done(f, &flush[3]);
	assert_int_equal(f->n_flushes, 3);
	set_gate(f, 0, false);
	wait_done(f, &w);
}

static void test_submit_in_done(void **state)
{
	struct fixture *f = *state;
	static struct request chain[200];
	uint8_t buf[512];

	set_kinds(f, 0, CLUSTER, ZERO);
	for (unsigned i = 0; i < 200; i++) {
		struct request *r = &chain[i];

		memset(r, 0, sizeof(*r));
		r->iov[0] = (struct iovec){ buf, 512 };
		r->io = (struct image_request){
			.operation = IMAGE_OP_READ,
			.offset = i % 3 * CLUSTER,
			.len = 512,
			.iov = r->iov,
			.n_iov = 1,
			.done = request_done,
		};
		r->then = i + 1 < 200 ? &chain[i + 1] : NULL;
	}
	image_queue_submit(f->queue, &chain[0].io);
	image_queue_kick(f->queue);
	wait_done(f, &chain[199]);
	assert_int_equal(n_done, 200);
}

/* Many that wait for one and then end at once: no depth of stack in it. */
static void test_many_waiters(void **state)
{
	struct fixture *f = *state;
	enum {
		N = 5000
	};
	static struct request reads[N];
	static uint8_t buf[512];
	struct request d = { 0 };

	set_gate(f, 0, true);
	submit(f, &d, IMAGE_OP_DISCARD, 0, NULL, CLUSTER);
	for (unsigned i = 0; i < N; i++) {
		memset(&reads[i], 0, sizeof(reads[i]));
		submit(f, &reads[i], IMAGE_OP_READ, 0, buf, 512);
	}
	assert_int_equal(image_queue_n_active(f->queue), N + 1);
	set_gate(f, 0, false);
	for (unsigned i = 0; i < N; i++)
		wait_done(f, &reads[i]);
}

static void test_errors(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[512];
	struct request r[4] = { 0 };
	static const struct {
		uint64_t offset, len;
		int result;
	} cases[] = {
		{ DISK, 512, -EINVAL },
		{ DISK - 256, 512, -EINVAL },
		{ UINT64_MAX - 255, 512, -EINVAL },
		{ 512, 0, 0 },
	};

	for (unsigned i = 0; i < 4; i++) {
		submit(f, &r[i], IMAGE_OP_READ, cases[i].offset, buf,
		       cases[i].len);
		assert_true(r[i].is_done);
		assert_int_equal(r[i].result, cases[i].result);
	}
	set_kinds(f, 0, CLUSTER, COLD);
	f->fail_with = -ENOSPC;
	memset(&r[0], 0, sizeof(r[0]));
	submit(f, &r[0], IMAGE_OP_READ, 0, buf, 512);
	for (int i = 0; !r[0].is_done && i < STEP_MS / 10; i++)
		event_loop_step(&f->loop, 10);
	assert_int_equal(r[0].result, -ENOSPC);
	assert_string_equal(r[0].text, "the test says no");
	/* The kernel's own: the host file is gone. */
	set_kinds(f, 0, CLUSTER, PIPE);
	close(f->pipe_fds[0]);
	memset(&r[1], 0, sizeof(r[1]));
	submit(f, &r[1], IMAGE_OP_READ, 0, buf, 512);
	for (int i = 0; !r[1].is_done && i < STEP_MS / 10; i++)
		event_loop_step(&f->loop, 10);
	f->pipe_fds[0] = dup(f->pipe_fds[1]); /* for tear_down() */
	assert_int_equal(r[1].result, -EBADF);
}

/* O_DIRECT: what the kernel cannot do as it lies is left to the image. */
static void test_unaligned_goes_to_a_worker(void **state)
{
	struct fixture *f = *state;
	static uint8_t buf[2 * CLUSTER] __attribute__((aligned(CLUSTER)));
	struct request r = { 0 };

	f->file.alignment = 512;
	submit(f, &r, IMAGE_OP_READ, 0, buf, 512);
	wait_done(f, &r);
	assert_int_equal(n_calls(f), 0);
	memset(&r, 0, sizeof(r));
	submit(f, &r, IMAGE_OP_READ, 0, buf + 8, 512);
	wait_done(f, &r);
	assert_int_equal(n_calls(f), 1);
	memset(&r, 0, sizeof(r));
	submit(f, &r, IMAGE_OP_READ, 512, buf, 100);
	wait_done(f, &r);
	assert_int_equal(n_calls(f), 2);
}

/* Where the ring is full in the middle of a request, a worker does it, once
 * its first pieces are over. */
static void test_full_ring(void **state)
{
	/* Three pieces of data each, and zeroes between them. */
	enum {
		N = 100,
		LEN = 5 * CLUSTER
	};
	struct fixture *f = *state;
	static struct request r[N];
	static uint8_t buf[N][LEN];
	unsigned n_whole; /* in the ring */

	memset(r, 0, sizeof(r));
	memset(buf, 0xee, sizeof(buf));
	for (unsigned i = 1; i < N_CLUSTERS; i += 2)
		set_kinds(f, i * CLUSTER, CLUSTER, ZERO);
	kernel_is_busy = true;
	for (unsigned i = 0; i < N; i++)
		submit(f, &r[i], IMAGE_OP_READ, i % 8 * 2 * CLUSTER, buf[i],
		       LEN);
	n_whole = ring_entries / 3;
	assert_true(n_whole + 1 < N && ring_entries % 3 != 0);
	/* Those of which nothing went in, and nobody else. */
	for (unsigned i = n_whole + 1; i < N; i++)
		wait_done(f, &r[i]);
	for (unsigned i = 0; i <= n_whole; i++)
		assert_false(r[i].is_done);
	assert_int_equal(n_calls(f), N - n_whole - 1);
	kernel_is_busy = false;
	for (unsigned i = 0; i < N; i++) {
		wait_done(f, &r[i]);
		for (unsigned j = 0; j < LEN; j += 2 * CLUSTER)
			check_sectors(buf[i] + j, CLUSTER, r[i].io.offset + j);
	}
	assert_int_equal(n_calls(f), N - n_whole);
}

static void count_batch(void *context)
{
	++*(unsigned *)context;
}

static void test_batch_end_is_told(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[8][512];
	struct request r[8] = { 0 };
	unsigned n_batches = 0;

	image_queue_set_batch(f->queue, count_batch, &n_batches);
	set_kinds(f, 0, CLUSTER, ZERO);
	for (unsigned i = 0; i < 8; i++) {
		r[i].iov[0] = (struct iovec){ buf[i], 512 };
		r[i].io = (struct image_request){ .operation = IMAGE_OP_READ,
						  .len = 512,
						  .iov = r[i].iov,
						  .n_iov = 1,
						  .done = request_done };
		image_queue_submit(f->queue, &r[i].io);
	}
	assert_int_equal(n_batches, 0);
	image_queue_kick(f->queue);
	for (unsigned i = 0; i < 8; i++)
		wait_done(f, &r[i]);
	assert_int_equal(n_batches, 1);
}

#define with_queue(test) \
	cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_queue(test_mapped_read_is_direct),
		with_queue(test_read_past_end_of_file_is_a_workers),
		with_queue(test_overwrite_is_direct),
		with_queue(test_many_extents_go_to_a_worker),
		with_queue(test_slow_worker_holds_up_no_other),
		with_queue(test_slow_kernel_holds_up_no_other),
		with_queue(test_read_waits_for_allocating_write),
		with_queue(test_writes_of_one_cluster_take_turns),
		with_queue(test_who_waits_for_an_overwrite_goes_on),
		with_queue(test_discard_waits_and_is_waited_for),
		with_queue(test_zeroes_that_do_not_overlap_run_at_once),
		with_queue(test_flush),
		with_queue(test_submit_in_done),
		with_queue(test_many_waiters),
		with_queue(test_errors),
		with_queue(test_unaligned_goes_to_a_worker),
		with_queue(test_full_ring),
		with_queue(test_batch_end_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
