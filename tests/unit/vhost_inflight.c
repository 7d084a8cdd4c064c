/* SPDX-License-Identifier: ISC */
/*
 * In-flight tracking of a device that is killed at any instruction.
 *
 * A child is the device; it is run one instruction at a time, and whenever it
 * changed something in the memory it shares (ring, data, in-flight region),
 * that memory is copied, and a new device goes on with the copy as after a
 * kill -9. The driver must then get every request back once, and never before
 * its work was done.
 */
#include "lib/base/cleanup.h"
#include "lib/vhost/inflight.h"
#include "tests/support/virtq_driver.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <cmocka.h>

enum {
	GPA = 1 << 20,
	RINGS = GPA,
	DATA = GPA + 4096,
	ARENA = 8192,
	RING_SIZE = 16,
	N_REQUESTS = 6,
	SLOT = 64,
};

/* One device with its own view of memory. */
struct device {
	struct guest_memory memory;
	struct virtq *virtq;
	struct inflight region;
	struct inflight_queue *queue;
	atomic_bool is_damaged;
};

struct bench {
	bool is_packed;
	struct driver_memory arena, trial; /* trial: the copy */
	struct virtq_driver driver;
	struct device device;
	struct vhost_user_inflight description;
	int region_fd, trial_region_fd;
	uint8_t *region, *trial_region;
	unsigned n_states;
};

static void device_init(struct bench *bench, struct device *device, int arena,
			int region)
{
	struct virtq_config config = {
		.size = RING_SIZE,
		.is_packed = bench->is_packed,
		.has_event_idx = true,
		.has_indirect = true,
		.desc_gpa = bench->driver.desc_gpa,
		.driver_gpa = bench->driver.driver_gpa,
		.device_gpa = bench->driver.device_gpa,
		/* Where a front end that knows nothing lets it begin. */
		.base = bench->is_packed ? 0x80008000 : 0,
	};
	const char *reason = "";

	guest_memory_init(&device->memory);
	device->region = (struct inflight)INFLIGHT_INIT;
	assert_int_equal(
		guest_memory_add(&device->memory, GPA, ARENA, 0, arena, 0), 0);
	assert_int_equal(inflight_map(&device->region, region,
				      &bench->description, &device->is_damaged),
			 0);
	assert_int_equal(virtq_new(&device->virtq, &device->memory, &config,
				   &reason),
			 0);
	assert_int_equal(inflight_queue_new(&device->queue, &device->region, 0,
					    device->virtq, bench->is_packed,
					    &reason),
			 0);
}

static void device_deinit(struct device *device)
{
	inflight_queue_free(device->queue);
	virtq_free(device->virtq);
	inflight_deinit(&device->region);
	guest_memory_deinit(&device->memory);
}

static void bench_init(struct bench *bench, bool is_packed)
{
	struct inflight region = INFLIGHT_INIT;
	atomic_bool is_damaged;

	*bench = (struct bench){ .is_packed = is_packed };
	assert_int_equal(driver_memory_init(&bench->arena, GPA, ARENA), 0);
	assert_int_equal(driver_memory_init(&bench->trial, GPA, ARENA), 0);
	assert_int_equal(virtq_driver_init(&bench->driver, &bench->arena, RINGS,
					   RING_SIZE, is_packed, true),
			 0);
	assert_int_equal(inflight_create(&region, 1, RING_SIZE, &is_damaged,
					 &bench->region_fd,
					 &bench->description),
			 0);
	bench->region =
		mmap(NULL, bench->description.mmap_size, PROT_READ | PROT_WRITE,
		     MAP_SHARED, bench->region_fd, 0);
	inflight_deinit(&region);
	assert_int_equal(inflight_create(&region, 1, RING_SIZE, &is_damaged,
					 &bench->trial_region_fd,
					 &bench->description),
			 0);
	bench->trial_region =
		mmap(NULL, bench->description.mmap_size, PROT_READ | PROT_WRITE,
		     MAP_SHARED, bench->trial_region_fd, 0);
	inflight_deinit(&region);
	device_init(bench, &bench->device, bench->arena.fd, bench->region_fd);
}

static void bench_deinit(struct bench *bench)
{
	device_deinit(&bench->device);
	munmap(bench->region, bench->description.mmap_size);
	munmap(bench->trial_region, bench->description.mmap_size);
	close(bench->region_fd);
	close(bench->trial_region_fd);
	virtq_driver_deinit(&bench->driver);
	driver_memory_deinit(&bench->arena);
	driver_memory_deinit(&bench->trial);
}

/* Request i: of one to three descriptors, its tag first. */
static void add(struct bench *bench, uint64_t i)
{
	uint64_t gpa = DATA + i * SLOT;
	struct driver_buffer buffers[3] = {
		{ .gpa = gpa, .len = 8 },
		{ .gpa = gpa + 8, .len = 4, .is_in = true },
		{ .gpa = gpa + 12, .len = 4, .is_in = true },
	};
	uint64_t *data = driver_memory_at(&bench->arena, gpa);

	data[0] = i + 1;
	data[1] = 0;
	if (i % 3 == 0)
		buffers[1].len = 8;
	assert_true(virtq_driver_add(&bench->driver, buffers,
				     i % 3 == 0 ? 2 : 3, 0,
				     (void *)(uintptr_t)(i + 1)) >= 0);
}

static struct virtq_element *pop(struct device *device)
{
	struct virtq_element *element;

	return inflight_queue_pop(device->queue, &element) == 0 ? element
								: NULL;
}

/* The work: its result is there before the request is given back. */
static void push(struct device *device, struct virtq_element *element)
{
	uint64_t tag = 0;

	iov_read(element->out, element->n_out, 0, &tag, sizeof(tag));
	tag = ~tag;
	iov_write(element->in, element->n_in, 0, &tag, sizeof(tag));
	inflight_queue_push(device->queue, element);
	virtq_push(device->virtq, element, 8);
}

/* What the child does: batches of one, two and three, out of order. */
static void act(struct device *device)
{
	struct virtq_element *e[N_REQUESTS];

	for (unsigned i = 0; i < 3; i++)
		e[i] = pop(device);
	push(device, e[1]);
	inflight_queue_flush(device->queue);
	e[3] = pop(device);
	push(device, e[0]);
	push(device, e[3]);
	inflight_queue_flush(device->queue);
	e[4] = pop(device);
	e[5] = pop(device);
	push(device, e[5]);
	push(device, e[2]);
	push(device, e[4]);
	inflight_queue_flush(device->queue);
}

/* The driver as it is, on the copied memory. */
static struct virtq_driver copy_driver(struct bench *bench)
{
	struct virtq_driver driver = bench->driver;

	driver.memory = &bench->trial;
	driver.desc = driver_memory_at(&bench->trial, driver.desc_gpa);
	driver.ring = (void *)driver.desc;
	driver.avail = driver_memory_at(&bench->trial, driver.driver_gpa);
	driver.driver_event = (void *)driver.avail;
	driver.used = driver_memory_at(&bench->trial, driver.device_gpa);
	driver.device_event = (void *)driver.used;
	driver.requests = malloc(RING_SIZE * sizeof(*driver.requests));
	assert_non_null(driver.requests);
	memcpy(driver.requests, bench->driver.requests,
	       RING_SIZE * sizeof(*driver.requests));
	return driver;
}

/* What the driver has got back: done, each once. Their number. */
static unsigned collect(struct virtq_driver *driver, bool *is_back)
{
	unsigned n = 0;
	uintptr_t tag;
	uint32_t len;

	while ((tag = (uintptr_t)virtq_driver_get_used(driver, &len))) {
		uint64_t *data = driver_memory_at(driver->memory,
						  DATA + (tag - 1) * SLOT);

		assert_false(is_back[tag - 1]);
		assert_int_equal(data[1], ~(uint64_t)tag);
		is_back[tag - 1] = true;
		n++;
	}
	return n;
}

/* The device was killed here: another goes on. */
static void go_on(struct bench *bench)
{
	bool is_back[N_REQUESTS] = { false };
	struct virtq_driver driver;
	struct device device = { .queue = NULL };
	struct virtq_element *element;
	unsigned n;

	memcpy(bench->trial.host, bench->arena.host, ARENA);
	memcpy(bench->trial_region, bench->region,
	       bench->description.mmap_size);
	driver = copy_driver(bench);
	n = collect(&driver, is_back);
	device_init(bench, &device, bench->trial.fd, bench->trial_region_fd);
	n += collect(&driver, is_back);
	while ((element = pop(&device))) {
		push(&device, element);
		inflight_queue_flush(device.queue);
		n += collect(&driver, is_back);
	}
	assert_false(virtq_is_broken(device.virtq));
	assert_int_equal(n, N_REQUESTS);
	assert_int_equal(driver.n_free, RING_SIZE);
	device_deinit(&device);
	free(driver.requests);
	bench->n_states++;
}

/* True if shared memory is not as it was when last asked. */
static bool has_changed(struct bench *bench)
{
	static uint8_t arena[ARENA], region[4096];
	size_t len = bench->description.mmap_size;

	assert_true(len <= sizeof(region));
	if (memcmp(arena, bench->arena.host, ARENA) == 0 &&
	    memcmp(region, bench->region, len) == 0)
		return false;
	memcpy(arena, bench->arena.host, ARENA);
	memcpy(region, bench->region, len);
	return true;
}

static pid_t start_child(struct bench *bench)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
			_exit(1);
		(void)raise(SIGSTOP);
		act(&bench->device);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSTOPPED(status));
	return child;
}

static void step_through(struct bench *bench)
{
	pid_t child = start_child(bench);
	int status;

	(void)has_changed(bench);
	for (;;) {
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL),
				 0);
		assert_int_equal(waitpid(child, &status, 0), child);
		if (WIFEXITED(status))
			break;
		assert_true(WIFSTOPPED(status));
		if (has_changed(bench))
			go_on(bench);
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* From every place of the ring, so that batches lie across its end. */
static void killed_anywhere(bool is_packed)
{
	for (unsigned skip = 0; skip < RING_SIZE; skip++) {
		bool is_back[N_REQUESTS] = { false };
		struct bench bench;

		bench_init(&bench, is_packed);
		for (unsigned i = 0; i < skip; i++) {
			is_back[1] = is_back[0] = false;
			add(&bench, i % 2);
			virtq_driver_publish(&bench.driver);
			push(&bench.device, pop(&bench.device));
			inflight_queue_flush(bench.device.queue);
			assert_int_equal(collect(&bench.driver, is_back), 1);
		}
		for (uint64_t i = 0; i < N_REQUESTS; i++)
			add(&bench, i);
		virtq_driver_publish(&bench.driver);
		step_through(&bench);
		/* As many as the stores of six requests at least. */
		assert_true(bench.n_states > 40);
		bench_deinit(&bench);
	}
}

static void test_split(void **state)
{
	(void)state;
	killed_anywhere(false);
}

static void test_packed(void **state)
{
	(void)state;
	killed_anywhere(true);
}

/* What is taken back is not in flight, first or second hand. */
static void test_unpop(void **state)
{
	(void)state;
	for (int is_packed = 0; is_packed < 2; is_packed++) {
		struct bench bench;
		struct virtq_element *e[3];

		bench_init(&bench, is_packed);
		for (uint64_t i = 0; i < 3; i++)
			add(&bench, i);
		virtq_driver_publish(&bench.driver);
		for (unsigned i = 0; i < 3; i++)
			e[i] = pop(&bench.device);
		inflight_queue_unpop(bench.device.queue, e[2]);
		inflight_queue_unpop(bench.device.queue, e[1]);
		virtq_drop(bench.device.virtq, e[0]);
		device_deinit(&bench.device);
		device_init(&bench, &bench.device, bench.arena.fd,
			    bench.region_fd);
		assert_true(inflight_queue_has_backlog(bench.device.queue));
		e[0] = pop(&bench.device);
		assert_false(inflight_queue_has_backlog(bench.device.queue));
		inflight_queue_unpop(bench.device.queue, e[0]);
		assert_true(inflight_queue_has_backlog(bench.device.queue));
		for (uint64_t i = 0; i < 3; i++) {
			uint64_t tag;

			e[i] = pop(&bench.device);
			iov_read(e[i]->out, e[i]->n_out, 0, &tag, 8);
			assert_int_equal(tag, i + 1);
			assert_int_equal(e[i]->counter, i);
			virtq_drop(bench.device.virtq, e[i]);
		}
		bench_deinit(&bench);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_packed),
		cmocka_unit_test(test_unpop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
