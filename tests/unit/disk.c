/* SPDX-License-Identifier: ISC */
/* The disk of an image as a file, which threads make longer at once. */
#include "lib/image/file.h"
#include "lib/image/layer.h"
#include "tests/support/temp_file.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum {
	N_THREADS = 4,
	N_ROUNDS = 200,
	BLOCK = 4096,
};

struct writer {
	struct image_file *file;
	pthread_barrier_t *barrier;
	unsigned index;
	int rc;
};

static struct image_file *open_disk(char *path)
{
	static const struct image_under image = { .format = "qcow2" };
	static const struct image_layer layer = { .kind = IMAGE_LAYER_DISK,
						  .image = &image };
	const struct image_open_options how = { .layers = &layer };
	const struct image_create_options new_one = { .format = "qcow2",
						      .size = BLOCK,
						      .has_size = true };
	struct image_file *file = NULL;

	assert_true(temp_file_make(path, "/var/tmp/disk.XXXXXX"));
	assert_int_equal(image_create(path, &new_one, NULL), 0);
	assert_int_equal(layer_open(&file, path, &how, 0, NULL), 0);
	return file;
}

/* In each round all write at once, each its own block beyond the end. */
static void *write_beyond(void *context)
{
	struct writer *w = context;
	uint8_t block[BLOCK];

	memset(block, (int)w->index + 1, sizeof(block));
	for (uint64_t i = 0; i < N_ROUNDS; i++) {
		uint64_t at = (1 + i * N_THREADS + w->index) * BLOCK;
		int rc;

		pthread_barrier_wait(w->barrier);
		rc = image_file_write(w->file, at, block, sizeof(block));
		if (rc < 0)
			w->rc = rc;
	}
	return NULL;
}

static void check_blocks(const struct image_file *file)
{
	uint8_t expected[BLOCK], block[BLOCK];
	uint64_t size;

	assert_int_equal(image_file_size(file, &size), 0);
	assert_int_equal(size, (1 + N_ROUNDS * N_THREADS) * BLOCK);
	for (uint64_t i = 0; i < N_ROUNDS * N_THREADS; i++) {
		memset(expected, (int)(i % N_THREADS) + 1, sizeof(expected));
		assert_int_equal(image_file_read(file, (1 + i) * BLOCK, block,
						 sizeof(block)),
				 0);
		assert_memory_equal(block, expected, sizeof(block));
	}
}

static void test_threads_make_it_longer(void **state)
{
	struct writer writers[N_THREADS];
	pthread_t threads[N_THREADS];
	pthread_barrier_t barrier;
	char path[32];
	struct image_file *file = open_disk(path);

	(void)state;
	pthread_barrier_init(&barrier, NULL, N_THREADS);
	for (unsigned i = 0; i < N_THREADS; i++) {
		writers[i] = (struct writer){ file, &barrier, i, 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, write_beyond,
						&writers[i]),
				 0);
	}
	for (unsigned i = 0; i < N_THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(writers[i].rc, 0);
	}
	pthread_barrier_destroy(&barrier);
	check_blocks(file);
	image_file_close(file);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads_make_it_longer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
