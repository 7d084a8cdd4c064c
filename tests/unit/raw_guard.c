/* SPDX-License-Identifier: ISC */
/*
 * A raw image whose format was guessed: no write may turn it into another
 * format, not even by changing the memory while it is being written.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/image.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum {
	IMAGE_BYTES = 1 << 20,
	RACE_WRITES = 2000,
};

/* qcow2, version 2. */
static const uint8_t magic[8] = { 'Q', 'F', 'I', 0xfb, 0, 0, 0, 2 };
static char path[64];

static int set_up(void **state)
{
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/raw-guard.XXXXXX");
	fd = mkstemp(path);
	if (fd < 0 || ftruncate(fd, IMAGE_BYTES) < 0)
		return -1;
	return close(fd);
}

static int tear_down(void **state)
{
	(void)state;
	return unlink(path);
}

static struct image *open_image(const char *format)
{
	const struct image_open_options options = { .format = format };
	struct image *image;

	assert_int_equal(image_open(&image, path, &options, NULL), 0);
	return image;
}

static void test_guessed_format_cannot_be_changed(void **state)
{
	struct image *image = open_image(NULL);
	struct error err = ERROR_INIT;
	uint8_t got[8];

	(void)state;
	assert_int_equal(image_write(image, 0, magic, 8, &err), -EPERM);
	assert_non_null(strstr(err.text, "block 0"));
	assert_int_equal(image_read(image, 0, got, 8, NULL), 0);
	assert_memory_equal(got, "\0\0\0\0\0\0\0\0", 8);
	/* Nor one byte at a time. */
	assert_int_equal(image_write(image, 0, magic, 7, NULL), 0);
	assert_int_equal(image_write(image, 7, magic + 7, 1, NULL), -EPERM);
	image_abandon(image);
}

static void test_named_format_takes_any_block_0(void **state)
{
	struct image *image = open_image("raw");

	(void)state;
	assert_int_equal(image_write(image, 0, magic, 8, NULL), 0);
	image_abandon(image);
}

static void test_write_across_the_end_of_block_0_is_whole(void **state)
{
	static uint8_t out[8192], in[8192];
	struct iovec iov[3] = {
		{ .iov_base = out, .iov_len = 100 },
		{ .iov_base = out + 100, .iov_len = 5000 },
		{ .iov_base = out + 5100, .iov_len = sizeof(out) - 5100 },
	};
	struct image *image = open_image(NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + i / 256);
	for (uint64_t offset = 0; offset < 3000; offset += 499) {
		assert_int_equal(image_writev(image, offset, iov, 3, NULL), 0);
		assert_int_equal(
			image_read(image, offset, in, sizeof(in), NULL), 0);
		assert_memory_equal(in, out, sizeof(in));
	}
	image_abandon(image);
}

struct racer {
	uint8_t *shared;
	atomic_bool is_over;
};

static void *race(void *argument)
{
	struct racer *racer = argument;
	volatile uint8_t *shared = racer->shared;

	while (!racer->is_over) {
		shared[0] = 0;
		shared[0] = magic[0];
	}
	return NULL;
}

/* A guest with two CPUs: the magic comes and goes while the other writes. */
static void test_memory_that_changes_during_the_write(void **state)
{
	uint8_t buffer[512] = { 0 }, got[8];
	struct racer racer = { .shared = buffer };
	struct image *image = open_image(NULL);
	pthread_t thread;

	(void)state;
	memcpy(buffer, magic, 8);
	assert_int_equal(pthread_create(&thread, NULL, race, &racer), 0);
	for (int i = 0; i < RACE_WRITES; i++) {
		(void)image_write(image, 0, buffer, sizeof(buffer), NULL);
		assert_int_equal(image_read(image, 0, got, 8, NULL), 0);
		assert_memory_not_equal(got, magic, 8);
	}
	racer.is_over = true;
	pthread_join(thread, NULL);
	image_abandon(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_guessed_format_cannot_be_changed, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			test_named_format_takes_any_block_0, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_write_across_the_end_of_block_0_is_whole, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			test_memory_that_changes_during_the_write, set_up,
			tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
