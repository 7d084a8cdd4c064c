/* SPDX-License-Identifier: ISC */
/* Words for devices, right and wrong. */
#include "vm-cpu/device_option.h"

#include "lib/base/error.h"
#include "lib/vhost/frontend.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct device_options options;
static struct error err;

static const struct device_option *added(const char *name, const char *text)
{
	assert_int_equal(device_option_add(&options, name, text, &err), 0);
	return &options.devices[options.n_devices - 1];
}

static void refused(const char *name, const char *text, const char *reason)
{
	unsigned n = options.n_devices;

	assert_int_equal(device_option_add(&options, name, text, &err),
			 -EINVAL);
	if (strstr(err.text, reason) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", err.text, reason);
	assert_int_equal(options.n_devices, n);
}

static void takes_paths(void **state)
{
	const struct device_option *device;

	(void)state;
	device = added("blk", "disk.sock");
	assert_string_equal(device->name, "blk");
	assert_int_equal(device->device_id, 2);
	assert_string_equal(device->socket_path, "disk.sock");
	assert_int_equal(device->fd, -1);
	assert_false(device->has_mac);
	assert_int_equal(added("net", "a=b")->device_id, 1);
	assert_int_equal(added("console", "c")->device_id, 3);
	assert_int_equal(added("rng", "r")->device_id, 4);
	assert_int_equal(added("fs", "f")->device_id, 26);
	assert_string_equal(options.devices[1].socket_path, "a=b");
	assert_string_equal(added("fs", "a,,b,,,queues=2")->socket_path,
			    "a,b,");
	assert_int_equal(options.devices[5].n_queues, 2);
}

static void takes_suboptions(void **state)
{
	const struct device_option *device;
	const uint8_t mac[6] = { 0x52, 0x54, 0, 0xAB, 0xcd, 1 };

	(void)state;
	device = added("net", "n,mac=52:54:00:AB:cd:01,queues=4,reconnect=9");
	assert_true(device->has_mac);
	assert_memory_equal(device->mac, mac, 6);
	assert_int_equal(device->n_queues, 4);
	assert_true(device->has_reconnect);
	assert_int_equal(device->reconnect_seconds, 9);
	device = added("blk", "n,reconnect=never");
	assert_int_equal(device->reconnect_seconds, FRONTEND_RECONNECT_NEVER);
	device = added("blk", "n,reconnect=forever");
	assert_int_equal(device->reconnect_seconds, FRONTEND_RECONNECT_FOREVER);
	assert_false(added("blk", "n")->has_reconnect);
}

static void takes_ids(void **state)
{
	(void)state;
	assert_int_equal(added("device", "19:vsock")->device_id, 19);
	assert_string_equal(options.devices[0].name, "device");
	assert_string_equal(options.devices[0].socket_path, "vsock");
	assert_string_equal(added("device", "2:disk")->name, "blk");
	assert_string_equal(added("device", "26:a:b")->socket_path, "a:b");
	refused("device", "sock", "ID:SOCKET");
	refused("device", "x:sock", "x: not a virtio device id");
	refused("device", "0:sock", "id");
	refused("device", "64:sock", "id");
}

static void refuses_nonsense(void **state)
{
	(void)state;
	refused("blk", "", "no socket");
	refused("blk", ",queues=1", "no socket");
	refused("blk", "d,color=red", "color: unknown");
	refused("blk", "d,queues", "queues: needs a value");
	refused("blk", "d,queues=0", "queues=0: not valid");
	refused("blk", "d,queues=257", "queues");
	refused("blk", "d,queues=4x", "queues");
	refused("blk", "d,reconnect=0", "reconnect");
	refused("blk", "fd:x", "descriptor");
	refused("net", "n,mac=52:54:00:12:34", "mac");
	refused("net", "n,mac=52:54:00:12:34:5", "mac");
	refused("net", "n,mac=52:54:00:12:34:567", "mac");
	refused("net", "n,mac=01:54:00:12:34:56", "mac");
	refused("net", "n,mac=+2:54:00:12:34:56", "mac");
}

static void inherits(void **state)
{
	(void)state;
	assert_int_equal(device_option_add_inherited(
				 &options, "blk:1005 net:1006 26:1007", &err),
			 0);
	assert_int_equal(options.n_devices, 3);
	assert_int_equal(options.devices[0].fd, 1005);
	assert_string_equal(options.devices[1].name, "net");
	assert_string_equal(options.devices[2].name, "fs");
	assert_int_equal(options.devices[2].fd, 1007);
	assert_int_equal(device_option_add_inherited(&options, "", &err), 0);
	assert_int_equal(device_option_add_inherited(&options, "blk", &err),
			 -EINVAL);
	assert_int_equal(device_option_add_inherited(&options, "x:1", &err),
			 -EINVAL);
	assert_int_equal(device_option_add_inherited(&options, "blk:-1", &err),
			 -EINVAL);
	assert_int_equal(options.n_devices, 3);
}

static void there_is_an_end(void **state)
{
	(void)state;
	for (unsigned i = 0; i < DEVICE_OPTIONS_MAX; i++)
		added("blk", "d");
	assert_int_equal(device_option_add(&options, "blk", "d", &err),
			 -ENOSPC);
}

static int clean(void **state)
{
	(void)state;
	device_options_deinit(&options);
	return 0;
}

#define TEST(name) cmocka_unit_test_teardown(name, clean)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(takes_paths), TEST(takes_suboptions),
		TEST(takes_ids),   TEST(refuses_nonsense),
		TEST(inherits),	   TEST(there_is_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
