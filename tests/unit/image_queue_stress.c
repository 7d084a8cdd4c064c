/* SPDX-License-Identifier: ISC */
/*
 * The asynchronous queue over real images: requests of any length and kind at
 * depth 48, of which no two that are in progress share a sector, though they
 * share clusters and metadata. Whatever happens to its neighbours, a sector
 * holds what was put there last; and the image is without fault at the end.
 */
#include "lib/base/error.h"
#include "lib/image/queue.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
/* After the above, which it needs. */
#include <cmocka.h>

enum {
	SECTOR = 512,
	N_SECTORS = 8192,
	LEN_MAX = 64, /* sectors of one request */
	DEPTH = 48,
	N_REQUESTS = 8000,
	STEP_MS = 20000, /* longer is never */
};

struct stress {
	struct event_loop loop;
	struct image *image;
	struct image_queue *queue;
	uint8_t values[N_SECTORS];
	bool is_busy[N_SECTORS];
	unsigned n_started, n_over;
	uint64_t random;
};

struct slot {
	struct image_request io;
	struct stress *stress;
	uint32_t sector, n;
	uint8_t value;
	struct iovec iov[3];
	uint8_t buf[LEN_MAX * SECTOR];
};

static char dir[] = "/tmp/pipevisor.XXXXXX";
static char path[64], base[64];

static uint32_t next_random(struct stress *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return (uint32_t)(s->random >> 32);
}

static void start(struct slot *slot);

static void check_read(const struct slot *slot)
{
	for (uint32_t i = 0; i < slot->n; i++)
		for (unsigned j = 0; j < SECTOR; j++)
			assert_int_equal(
				slot->buf[i * SECTOR + j],
				slot->stress->values[slot->sector + i]);
}

static void done(struct image_request *io, int result)
{
	struct slot *slot = (struct slot *)io;
	struct stress *s = slot->stress;

	assert_int_equal(result, 0);
	if (io->operation == IMAGE_OP_READ)
		check_read(slot);
	for (uint32_t i = 0; i < slot->n; i++) {
		if (io->operation == IMAGE_OP_WRITE)
			s->values[slot->sector + i] = slot->value;
		if (io->operation == IMAGE_OP_WRITE_ZEROES)
			s->values[slot->sector + i] = 0;
		s->is_busy[slot->sector + i] = false;
	}
	s->n_over++;
	if (s->n_started < N_REQUESTS)
		start(slot);
}

/* Sectors that nobody uses, for a while tried and else one alone. */
static void choose_sectors(struct slot *slot)
{
	struct stress *s = slot->stress;
	bool is_free = false;

	for (unsigned try = 0; !is_free; try++) {
		slot->n = try < 20 ? 1 + next_random(s) % LEN_MAX : 1;
		slot->sector = next_random(s) % (N_SECTORS - slot->n + 1);
		is_free = true;
		for (uint32_t i = 0; i < slot->n; i++)
			is_free &= !s->is_busy[slot->sector + i];
	}
	memset(s->is_busy + slot->sector, true, slot->n);
}

static enum image_operation choose_operation(struct stress *s)
{
	uint32_t x = next_random(s) % 100;

	return x < 45	? IMAGE_OP_READ
	       : x < 85 ? IMAGE_OP_WRITE
	       : x < 99 ? IMAGE_OP_WRITE_ZEROES
			: IMAGE_OP_FLUSH;
}

static void start(struct slot *slot)
{
	struct stress *s = slot->stress;
	size_t len, first;

	choose_sectors(slot);
	len = (size_t)slot->n * SECTOR;
	first = next_random(s) % len;
	slot->value = (uint8_t)next_random(s);
	slot->io = (struct image_request){
		.operation = choose_operation(s),
		.offset = (uint64_t)slot->sector * SECTOR,
		.len = len,
		.flags = next_random(s) % 2 ? IMAGE_ZERO_MAY_UNMAP : 0,
		.iov = slot->iov,
		.n_iov = 2,
		.done = done,
	};
	slot->iov[0] = (struct iovec){ slot->buf, first };
	slot->iov[1] = (struct iovec){ slot->buf + first, len - first };
	memset(slot->buf,
	       slot->io.operation == IMAGE_OP_WRITE ? slot->value : 0xee, len);
	s->n_started++;
	image_queue_submit(s->queue, &slot->io);
}

static void check_end(struct stress *s)
{
	struct error err = ERROR_INIT;
	struct image_check check = { 0 };
	struct image_open_options options = { .flags = IMAGE_READ_ONLY };
	uint8_t sector[SECTOR];
	int rc;

	assert_int_equal(image_close(s->image, &err), 0);
	options.format = strstr(path, "raw") ? "raw" : "qcow2";
	assert_int_equal(image_open(&s->image, path, &options, &err), 0);
	for (unsigned i = 0; i < N_SECTORS; i++) {
		assert_int_equal(image_read(s->image, (uint64_t)i * SECTOR,
					    sector, SECTOR, &err),
				 0);
		for (unsigned j = 0; j < SECTOR; j++)
			assert_int_equal(sector[j], s->values[i]);
	}
	rc = image_check(s->image, &check, &err);
	assert_true(rc == 0 || rc == -ENOTSUP);
	assert_int_equal(check.n_corruptions, 0);
	assert_int_equal(check.n_leaks, 0);
	image_abandon(s->image);
}

static void run(struct image *image, uint8_t value, uint64_t seed)
{
	static struct slot slots[DEPTH];
	struct error err = ERROR_INIT;
	struct stress s = {
		.loop = EVENT_LOOP_INIT,
		.image = image,
		.random = 88172645463325252u + seed,
	};
	unsigned n_over;

	memset(s.values, value, sizeof(s.values));
	assert_int_equal(event_loop_init(&s.loop), 0);
	assert_int_equal(image_queue_new(&s.queue, &s.loop, image, &err), 0);
	for (unsigned i = 0; i < DEPTH; i++) {
		slots[i].stress = &s;
		start(&slots[i]);
	}
	image_queue_kick(s.queue);
	while (image_queue_n_active(s.queue) > 0) {
		n_over = s.n_over;
		for (unsigned ms = 0; s.n_over == n_over; ms += 100) {
			/* Nobody is forgotten. */
			assert_true(ms < STEP_MS);
			assert_int_equal(event_loop_step(&s.loop, 100), 0);
		}
	}
	assert_int_equal(s.n_over, s.n_started);
	image_queue_free(s.queue);
	event_loop_deinit(&s.loop);
	check_end(&s);
}

static struct image *make(const char *format, const char *cluster_size,
			  bool has_base)
{
	const struct image_option option = { "cluster_size", cluster_size };
	struct image_create_options create = {
		.format = format,
		.size = N_SECTORS * SECTOR,
		.has_size = true,
		.backing_path = has_base ? base : NULL,
		.backing_format = has_base ? "raw" : NULL,
		.options = &option,
		.n_options = cluster_size ? 1 : 0,
	};
	struct image_open_options options = {
		.format = format,
		/* As little as there can be, so that tables get cold. */
		.cache_size = 1,
	};
	struct error err = ERROR_INIT;
	struct image *image = NULL;

	snprintf(path, sizeof(path), "%s/%s", dir, format);
	unlink(path);
	if (image_create(path, &create, &err) < 0 ||
	    image_open(&image, path, &options, &err) < 0)
		fail_msg("%s: %s", path, err.text);
	return image;
}

static void test_raw(void **state)
{
	(void)state;
	run(make("raw", NULL, false), 0, 1);
}

static void test_qcow2(void **state)
{
	static const char *const sizes[] = { "512", "4096", "65536" };

	(void)state;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		run(make("qcow2", sizes[i], false), 0, i);
}

static void test_qcow2_over_a_base(void **state)
{
	FILE *file = fopen(base, "w");

	(void)state;
	assert_non_null(file);
	for (unsigned i = 0; i < N_SECTORS * SECTOR; i++)
		fputc(0x77, file);
	assert_int_equal(fclose(file), 0);
	run(make("qcow2", "4096", true), 0x77, 3);
	run(make("qcow2", "65536", true), 0x77, 4);
}

static int deny_uring(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = 4, .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno
									: 0;
}

/* Runs last: there is no way back to io_uring. */
static void test_without_io_uring(void **state)
{
	(void)state;
	assert_int_equal(deny_uring(), 0);
	run(make("raw", NULL, false), 0, 5);
	run(make("qcow2", "4096", false), 0, 6);
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(base, sizeof(base), "%s/base", dir);
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = { "raw", "qcow2", "base" };

	(void)state;
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_raw),
		cmocka_unit_test(test_qcow2),
		cmocka_unit_test(test_qcow2_over_a_base),
		cmocka_unit_test(test_without_io_uring),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
