/* SPDX-License-Identifier: ISC */
/*
 * A virtio device on the bus, before a driver that does what it should and
 * one that does not; behind it a scripted back end.
 */
#include "protocols/virtio_pci.h"
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/event.h"
#include "lib/base/log.h"
#include "protocols/virtio.h"
#include "protocols/virtio_blk.h"
#include "protocols/virtio_net.h"
#include "tests/support/fake_vm.h"
#include "tests/support/scripted_backend.h"
#include "vm-cpu/device_option.h"
#include "vm-cpu/devices.h"
#include "vm-cpu/virtio_pci.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

#define BIT(n) (UINT64_C(1) << (n))
#define COMMON(field) ((unsigned)offsetof(struct virtio_pci_common, field))

enum {
	RAM_SIZE = 1 << 20,
	AT_ISR = 0x1000,
	AT_DEVICE = 0x2000,
	AT_NOTIFY = 0x3000,
	PATIENCE_MS = 20000,
};

struct bench {
	struct vm vm;
	struct event_loop loop;
	struct device_options options;
	struct devices devices;
	struct scripted_backend backend;
	struct virtio_pci *virtio;
	uint64_t bar, msix;
};

static void make_ram(struct ram *ram)
{
	*ram = (struct ram){ .fd = memfd_create("ram", MFD_CLOEXEC),
			     .size = RAM_SIZE,
			     .n_regions = 1 };
	assert_int_equal(ftruncate(ram->fd, RAM_SIZE), 0);
	ram->regions[0] = (struct vhost_frontend_region){ .size = RAM_SIZE,
							  .user = 0x100000,
							  .fd = ram->fd };
	guest_memory_init(&ram->memory);
	assert_int_equal(guest_memory_add(&ram->memory, 0, RAM_SIZE, 0x100000,
					  ram->fd, 0),
			 0);
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	memset(&fake_vm, 0, sizeof(fake_vm));
	log_set_level(LOG_LEVEL_ERROR);
	make_ram(&bench->vm.ram);
	assert_int_equal(event_loop_init(&bench->loop), 0);
	scripted_backend_init(&bench->backend);
	*state = bench;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	devices_deinit(&bench->devices);
	assert_int_equal(fake_vm.n_mistakes, 0);
	assert_int_equal(fake_vm.n_irqfds, 0);
	assert_int_equal(fake_vm.n_doorbells, 0);
	assert_int_equal(bench->vm.mmio.n_ranges, 0);
	scripted_backend_stop(&bench->backend);
	device_options_deinit(&bench->options);
	event_loop_deinit(&bench->loop);
	guest_memory_deinit(&bench->vm.ram.memory);
	close(bench->vm.ram.fd);
	free(bench);
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#define run_until(bench, condition) \
	do { \
		int64_t end_ = now_ms() + PATIENCE_MS; \
		while (!(condition)) { \
			assert_true(now_ms() < end_); \
			event_loop_step(&(bench)->loop, 5); \
		} \
	} while (0)

static int try_make(struct bench *bench, const char *name, const char *more,
		    unsigned n_cpus, struct error *err)
{
	char text[256];

	scripted_backend_start(&bench->backend);
	snprintf(text, sizeof(text), "%s%s", bench->backend.path, more);
	bench->options.reconnect_seconds = -1;
	assert_int_equal(device_option_add(&bench->options, name, text, err),
			 0);
	return devices_init(&bench->devices, &bench->vm, &bench->loop,
			    &bench->options, n_cpus, err);
}

static uint64_t config(struct bench *bench, unsigned reg, unsigned width)
{
	return bus_read(&bench->vm.mmio,
			LAYOUT_ECAM +
				PCI_N_FUNCTIONS * PCI_CONFIG_EXPRESS_SIZE + reg,
			width);
}

static void put_config(struct bench *bench, unsigned reg, unsigned width,
		       uint64_t value)
{
	bus_write(&bench->vm.mmio,
		  LAYOUT_ECAM + PCI_N_FUNCTIONS * PCI_CONFIG_EXPRESS_SIZE + reg,
		  width, value);
}

static void make(struct bench *bench, const char *name, const char *more)
{
	struct error err = ERROR_INIT;

	assert_int_equal(try_make(bench, name, more, 2, &err), 0);
	bench->virtio = bench->devices.list[0];
	bench->bar = config(bench, PCI_BAR0, 8) & ~UINT64_C(0xf);
	bench->msix = config(bench, PCI_BAR0 + 8, 8) & ~UINT64_C(0xf);
}

static uint64_t get(struct bench *bench, unsigned offset, unsigned width)
{
	return bus_read(&bench->vm.mmio, bench->bar + offset, width);
}

static void put(struct bench *bench, unsigned offset, unsigned width,
		uint64_t value)
{
	bus_write(&bench->vm.mmio, bench->bar + offset, width, value);
}

static uint8_t status(struct bench *bench)
{
	return (uint8_t)get(bench, COMMON(device_status), 1);
}

static void put_status(struct bench *bench, uint8_t value)
{
	put(bench, COMMON(device_status), 1, value);
}

static uint64_t features(struct bench *bench)
{
	uint64_t value;

	put(bench, COMMON(device_feature_select), 4, 1);
	value = get(bench, COMMON(device_feature), 4) << 32;
	put(bench, COMMON(device_feature_select), 4, 0);
	return value | get(bench, COMMON(device_feature), 4);
}

static void negotiate(struct bench *bench, uint64_t value)
{
	put_status(bench, VIRTIO_STATUS_ACKNOWLEDGE);
	put_status(bench, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	for (unsigned i = 0; i < 2; i++) {
		put(bench, COMMON(driver_feature_select), 4, i);
		put(bench, COMMON(driver_feature), 4, value >> (32 * i));
	}
	put_status(bench, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
				  VIRTIO_STATUS_FEATURES_OK);
}

static void set_queue(struct bench *bench, uint16_t i, uint64_t gpa)
{
	put(bench, COMMON(queue_select), 2, i);
	put(bench, COMMON(queue_size), 2, 64);
	put(bench, COMMON(queue_desc), 8, gpa);
	put(bench, COMMON(queue_driver), 4, gpa + 0x1000);
	put(bench, COMMON(queue_driver) + 4, 4, 0);
	put(bench, COMMON(queue_device), 4, gpa + 0x2000);
	put(bench, COMMON(queue_device) + 4, 4, 0);
	put(bench, COMMON(queue_enable), 2, 1);
}

static void start(struct bench *bench)
{
	negotiate(bench, BIT(VIRTIO_F_VERSION_1));
	set_queue(bench, 0, 0x10000);
	set_queue(bench, 1, 0x20000);
	put_status(bench, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
				  VIRTIO_STATUS_FEATURES_OK |
				  VIRTIO_STATUS_DRIVER_OK);
}

static unsigned told(struct bench *bench, uint32_t request,
		     struct scripted_told *last)
{
	return scripted_backend_told(&bench->backend, -1, request, last);
}

static bool is_set(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	return poll(&wait, 1, 0) == 1;
}

/* The driver's way to its structures: the list of capabilities. */
static void test_capabilities(void **state)
{
	struct bench *bench = *state;
	unsigned found = 0;

	make(bench, "blk", "");
	assert_int_equal(config(bench, 0, 4), 0x10421af4);
	assert_int_equal(config(bench, PCI_REVISION_ID, 1), 1);
	for (unsigned at = (unsigned)config(bench, PCI_CAPABILITIES, 1); at;
	     at = (unsigned)config(bench, at + 1, 1)) {
		uint64_t id = config(bench, at, 1);

		if (id == PCI_CAP_MSIX) {
			assert_int_equal(config(bench, at + 2, 2), 2);
			found |= 1;
		} else {
			assert_int_equal(id, PCI_CAP_VENDOR);
			found |= 1u << config(bench, at + 3, 1);
		}
	}
	assert_int_equal(found, 0x3f);
}

static void test_common_config(void **state)
{
	struct bench *bench = *state;

	make(bench, "blk", "");
	assert_int_equal(get(bench, COMMON(num_queues), 2), 2);
	assert_int_equal(get(bench, COMMON(queue_size), 2), 256);
	assert_int_equal(get(bench, COMMON(queue_notify_off), 2), 0);
	put(bench, COMMON(queue_select), 2, 1);
	assert_int_equal(get(bench, COMMON(queue_notify_off), 2), 1);
	put(bench, COMMON(queue_select), 2, 2);
	assert_int_equal(get(bench, COMMON(queue_size), 2), 0);
	put(bench, COMMON(queue_enable), 2, 1);
	put(bench, COMMON(queue_msix_vector), 2, 0);
	put(bench, COMMON(queue_select), 2, 0xffff);
	assert_int_equal(get(bench, COMMON(queue_msix_vector), 2), 0xffff);
	assert_true(features(bench) == bench->virtio->device.features);
	put(bench, COMMON(device_feature_select), 4, 2);
	assert_int_equal(get(bench, COMMON(device_feature), 4), 0);
	assert_int_equal(get(bench, 0x100, 4), 0);
	assert_int_equal(get(bench, 0xffe, 4), 0);
}

static void test_start_and_reset(void **state)
{
	struct bench *bench = *state;
	struct scripted_told last;

	make(bench, "blk", "");
	start(bench);
	assert_int_equal(status(bench), 15);
	run_until(bench, is_set(bench->virtio->doorbell_fds[1]));
	assert_int_equal(told(bench, VHOST_USER_SET_VRING_ENABLE, NULL), 2);
	told(bench, VHOST_USER_SET_VRING_ADDR, &last);
	assert_true(last.payload.addr.avail == 0x100000 + 0x21000);
	put_status(bench, 0);
	/* Not yet: the back end may still write to the rings. */
	assert_int_equal(status(bench), 15);
	run_until(bench, status(bench) == 0);
	assert_int_equal(told(bench, VHOST_USER_GET_VRING_BASE, NULL), 2);
	put(bench, COMMON(queue_select), 2, 0);
	assert_int_equal(get(bench, COMMON(queue_enable), 2), 0);
	assert_int_equal(get(bench, COMMON(queue_desc), 8), 0);
	assert_false(is_set(bench->virtio->doorbell_fds[1]));
	start(bench);
	run_until(bench, is_set(bench->virtio->doorbell_fds[1]));
}

/* Features that were not offered, or no VERSION_1: no FEATURES_OK. */
static void test_bad_features(void **state)
{
	struct bench *bench = *state;

	make(bench, "blk", "");
	negotiate(bench, BIT(VIRTIO_F_VERSION_1) | BIT(23));
	assert_int_equal(status(bench) & VIRTIO_STATUS_FEATURES_OK, 0);
	put_status(bench, 0);
	negotiate(bench, BIT(VIRTIO_F_EVENT_IDX));
	assert_int_equal(status(bench) & VIRTIO_STATUS_FEATURES_OK, 0);
	/* And no DRIVER_OK without it. */
	put_status(bench, 0xff);
	assert_int_equal(status(bench) & VIRTIO_STATUS_DRIVER_OK, 0);
	assert_int_equal(status(bench) & VIRTIO_STATUS_NEEDS_RESET, 0);
}

/* Once said, features and queues stay. */
static void test_no_change_afterwards(void **state)
{
	struct bench *bench = *state;

	make(bench, "blk", "");
	negotiate(bench, BIT(VIRTIO_F_VERSION_1));
	put(bench, COMMON(driver_feature_select), 4, 0);
	put(bench, COMMON(driver_feature), 4, UINT32_MAX);
	assert_int_equal(get(bench, COMMON(driver_feature), 4), 0);
	set_queue(bench, 0, 0x10000);
	set_queue(bench, 0, 0x50000);
	assert_int_equal(get(bench, COMMON(queue_desc), 8), 0x10000);
	put(bench, COMMON(queue_enable), 2, 0);
	assert_int_equal(get(bench, COMMON(queue_enable), 2), 1);
}

/* Rings that are not in memory: the device needs a reset, and says so. */
static void test_bad_rings(void **state)
{
	struct bench *bench = *state;

	make(bench, "blk", "");
	negotiate(bench, BIT(VIRTIO_F_VERSION_1));
	set_queue(bench, 0, RAM_SIZE - 0x1000);
	put_status(bench, 15);
	assert_int_equal(status(bench), 15 | VIRTIO_STATUS_NEEDS_RESET);
	assert_true(is_set(bench->virtio->config_fd));
	assert_int_equal(get(bench, AT_ISR, 1), VIRTIO_PCI_ISR_CONFIG);
	assert_int_equal(get(bench, AT_ISR, 1), 0);
	assert_int_equal(told(bench, VHOST_USER_SET_VRING_ADDR, NULL), 0);
	put_status(bench, 0);
	assert_int_equal(status(bench), 0);
	start(bench);
	run_until(bench, is_set(bench->virtio->doorbell_fds[1]));
}

static void test_device_config(void **state)
{
	struct bench *bench = *state;
	struct scripted_told last;

	bench->backend.config[0] = 0x34;
	bench->backend.config[1] = 0x12;
	bench->backend.config[34] = 16; /* num_queues */
	make(bench, "blk", "");
	assert_int_equal(get(bench, AT_DEVICE, 8), 0x1234);
	assert_int_equal(get(bench, AT_DEVICE + 1, 1), 0x12);
	assert_int_equal(get(bench, AT_DEVICE + 34, 2), 2);
	assert_int_equal(get(bench, AT_DEVICE + 58, 4), 0);
	assert_int_equal(get(bench, AT_DEVICE + 0xffc, 4), 0);
	put(bench, AT_DEVICE + 32, 1, 1);
	put(bench, AT_DEVICE + 60, 4, 1);
	put(bench, AT_DEVICE + 59, 2, 1);
	run_until(bench, told(bench, VHOST_USER_SET_CONFIG, &last) == 1);
	assert_int_equal(last.payload.config.offset, 32);
	assert_int_equal(get(bench, AT_DEVICE + 32, 1), 1);
}

static void test_config_change(void **state)
{
	struct bench *bench = *state;
	struct vhost_message message;
	uint64_t before;

	make(bench, "blk", "");
	start(bench);
	run_until(bench, is_set(bench->virtio->doorbell_fds[1]));
	before = get(bench, COMMON(config_generation), 1);
	bench->backend.config[0] = 99;
	vhost_message_init(&message, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, 0,
			   0);
	scripted_backend_send_channel(&bench->backend, &message.header,
				      sizeof(message.header));
	run_until(bench, is_set(bench->virtio->config_fd));
	assert_int_equal(get(bench, AT_DEVICE, 1), 99);
	assert_int_not_equal(get(bench, COMMON(config_generation), 1), before);
}

/* Each queue's doorbell is KVM's, where the BAR is; ours where KVM is full. */
static void test_doorbells(void **state)
{
	struct bench *bench = *state;
	const uint64_t elsewhere = LAYOUT_MMIO64 + (UINT64_C(3) << 32);

	make(bench, "blk", "");
	assert_int_equal(fake_vm.n_doorbells, 2);
	assert_true(fake_vm.doorbells[1].gpa == bench->bar + AT_NOTIFY + 4);
	put_config(bench, PCI_BAR0, 8, elsewhere);
	assert_int_equal(fake_vm.n_doorbells, 2);
	assert_true(fake_vm.doorbells[1].gpa == elsewhere + AT_NOTIFY + 4);
	put_config(bench, PCI_COMMAND, 2, 0);
	assert_int_equal(fake_vm.n_doorbells, 0);
	fake_vm.doorbells_max = 1;
	put_config(bench, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(fake_vm.n_doorbells, 1);
	bench->bar = elsewhere;
	put(bench, AT_NOTIFY + 8, 2, 2);
	put(bench, AT_NOTIFY + 4, 2, 1);
	assert_true(is_set(bench->virtio->doorbell_fds[1]));
	assert_false(is_set(bench->virtio->doorbell_fds[0]));
}

static void test_interrupts(void **state)
{
	struct bench *bench = *state;
	unsigned control = bench->virtio ? 0 : 2;

	make(bench, "blk", "");
	control += bench->virtio->msix_cap;
	put_config(bench, control, 2, PCI_MSIX_ENABLE);
	assert_int_equal(config(bench, control, 2), PCI_MSIX_ENABLE | 2);
	bus_write(&bench->vm.mmio, bench->msix + 8, 4, 0x31);
	bus_write(&bench->vm.mmio, bench->msix + 12, 4, 0);
	put(bench, COMMON(queue_select), 2, 1);
	put(bench, COMMON(queue_msix_vector), 2, 0);
	assert_int_equal(get(bench, COMMON(queue_msix_vector), 2), 0);
	assert_int_equal(fake_vm.n_irqfds, 1);
	put(bench, COMMON(config_msix_vector), 2, 3);
	assert_int_equal(get(bench, COMMON(config_msix_vector), 2), 0xffff);
	put(bench, COMMON(config_msix_vector), 2, 0);
	assert_int_equal(fake_vm.n_irqfds, 2);
	/* A reset of the device unbinds, and leaves the table alone. */
	put_status(bench, 0);
	assert_int_equal(fake_vm.n_irqfds, 0);
	assert_int_equal(bus_read(&bench->vm.mmio, bench->msix + 8, 4), 0x31);
}

/* The window in configuration space, §4.1.4.9. */
static void test_access_capability(void **state)
{
	struct bench *bench = *state;
	unsigned cap;

	bench->backend.config[0] = 0x77;
	make(bench, "blk", "");
	cap = bench->virtio->cfg_cap;
	put_config(bench, cap + 8, 4, AT_DEVICE);
	put_config(bench, cap + 12, 4, 1);
	assert_int_equal(config(bench, cap + 16, 1), 0x77);
	put_config(bench, cap + 8, 4, COMMON(queue_select));
	put_config(bench, cap + 12, 4, 2);
	put_config(bench, cap + 16, 4, 1);
	assert_int_equal(get(bench, COMMON(queue_select), 2), 1);
	/* Places and lengths that are none. */
	put_config(bench, cap + 12, 4, 3);
	put_config(bench, cap + 16, 4, 0);
	put_config(bench, cap + 12, 4, 0x80000002);
	put_config(bench, cap + 16, 4, 0);
	put_config(bench, cap + 12, 4, 2);
	put_config(bench, cap + 8, 4, UINT32_MAX - 1);
	put_config(bench, cap + 16, 4, 0);
	put_config(bench, cap + 8, 4, COMMON(queue_select));
	put_config(bench, cap + 4, 1, 2);
	put_config(bench, cap + 16, 4, 0);
	assert_int_equal(get(bench, COMMON(queue_select), 2), 1);
}

static void test_net_without_config(void **state)
{
	struct bench *bench = *state;
	uint64_t offered;
	uint64_t mac;

	bench->backend.protocol_features &= ~BIT(VHOST_USER_PROTOCOL_F_CONFIG);
	bench->backend.features |=
		BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_MQ) |
		BIT(VIRTIO_NET_F_MTU) | BIT(VIRTIO_NET_F_MRG_RXBUF);
	make(bench, "net", "");
	offered = features(bench);
	assert_true(offered & BIT(VIRTIO_NET_F_MAC));
	assert_true(offered & BIT(VIRTIO_NET_F_STATUS));
	assert_true(offered & BIT(VIRTIO_NET_F_MRG_RXBUF));
	assert_false(offered & BIT(VIRTIO_NET_F_CTRL_VQ));
	assert_false(offered & BIT(VIRTIO_NET_F_MQ));
	assert_false(offered & BIT(VIRTIO_NET_F_MTU));
	assert_int_equal(get(bench, AT_DEVICE + 6, 2), VIRTIO_NET_S_LINK_UP);
	mac = get(bench, AT_DEVICE, 4);
	assert_int_equal(mac & 0xffffff, 0x005452);
	assert_int_equal(get(bench, COMMON(num_queues), 2), 2);
	assert_int_equal(told(bench, VHOST_USER_GET_INFLIGHT_FD, NULL), 0);
	/* Features of our own are not for the back end. */
	negotiate(bench, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MAC) |
				 BIT(VIRTIO_NET_F_STATUS));
	assert_int_equal(status(bench) & VIRTIO_STATUS_FEATURES_OK,
			 VIRTIO_STATUS_FEATURES_OK);
}

static void test_net_with_mac(void **state)
{
	struct bench *bench = *state;

	bench->backend.features |= BIT(VIRTIO_NET_F_MAC);
	bench->backend.config[0] = 0xaa;
	bench->backend.config[8] = 4; /* max_virtqueue_pairs */
	make(bench, "net", ",mac=02:00:00:00:00:17");
	assert_true(get(bench, AT_DEVICE, 4) == 0x00000002);
	assert_int_equal(get(bench, AT_DEVICE + 4, 2), 0x1700);
	assert_int_equal(get(bench, AT_DEVICE + 8, 2), 4);
}

static void test_fs_tag(void **state)
{
	struct bench *bench = *state;
	char tag[36];

	bench->backend.protocol_features &= ~BIT(VHOST_USER_PROTOCOL_F_CONFIG);
	make(bench, "fs", ",tag=share");
	for (unsigned i = 0; i < sizeof(tag); i++)
		tag[i] = (char)get(bench, AT_DEVICE + i, 1);
	assert_string_equal(tag, "share");
	assert_int_equal(get(bench, AT_DEVICE + 36, 4), 1);
}

static void test_fs_without_tag(void **state)
{
	struct bench *bench = *state;
	struct error err = ERROR_INIT;

	bench->backend.protocol_features &= ~BIT(VHOST_USER_PROTOCOL_F_CONFIG);
	assert_int_equal(try_make(bench, "fs", "", 1, &err), -EINVAL);
	assert_string_equal(err.text, "fs0: back end has no tag: say tag=NAME");
}

/* The back end dies for good: the driver is told. */
static void test_failed(void **state)
{
	struct bench *bench = *state;

	make(bench, "blk", ",reconnect=never");
	start(bench);
	run_until(bench, is_set(bench->virtio->doorbell_fds[1]));
	scripted_backend_kill(&bench->backend);
	run_until(bench, status(bench) & VIRTIO_STATUS_NEEDS_RESET);
	assert_true(is_set(bench->virtio->config_fd));
	put_status(bench, 0);
	run_until(bench, status(bench) == 0);
	/* And again, each time that it tries. */
	start(bench);
	assert_int_equal(status(bench), 15 | VIRTIO_STATUS_NEEDS_RESET);
}

/* Reset of the machine: the back end has let go when it returns. */
static void test_machine_reset(void **state)
{
	struct bench *bench = *state;

	make(bench, "blk", "");
	start(bench);
	run_until(bench, is_set(bench->virtio->doorbell_fds[1]));
	put_config(bench, PCI_BAR0, 8, LAYOUT_MMIO64);
	devices_halt(&bench->devices);
	assert_int_equal(told(bench, VHOST_USER_GET_VRING_BASE, NULL), 2);
	assert_int_equal(fake_vm.n_doorbells, 0);
	assert_int_equal(fake_vm.n_irqfds, 0);
	devices_reset(&bench->devices);
	assert_int_equal(fake_vm.n_doorbells, 2);
	assert_int_equal(status(bench), 0);
	start(bench);
	run_until(bench, is_set(bench->virtio->doorbell_fds[1]));
}

/* Reads and writes of any width anywhere in both BARs and the registers. */
static void test_random_accesses(void **state)
{
	struct bench *bench = *state;
	static const unsigned widths[] = { 1, 2, 4, 8 };

	make(bench, "net", "");
	srandom(1);
	for (unsigned i = 0; i < 300000; i++) {
		unsigned width = widths[random() % 4];
		uint64_t value = (uint64_t)random() << 33 ^ (uint64_t)random();
		uint64_t at = (uint64_t)random();

		at = random() % 4 ? at % 64 : at % 0x4000;
		if (i % 7 == 0)
			value &= 0xff;
		if (i % 5 == 0)
			bus_write(&bench->vm.mmio, bench->msix + at, width,
				  value);
		else if (i % 11 == 0)
			put_config(bench, 0x40 + (unsigned)at % 0xc0, width,
				   value);
		else
			put(bench, (unsigned)at, width, value);
		get(bench, (unsigned)at, width);
		bus_read(&bench->vm.mmio, bench->msix + at, width);
		config(bench, (unsigned)at % 256, width);
		if (i % 100 == 0)
			event_loop_step(&bench->loop, 0);
	}
	devices_halt(&bench->devices);
	devices_reset(&bench->devices);
	start(bench);
	run_until(bench, is_set(bench->virtio->doorbell_fds[1]));
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_capabilities),
		test(test_common_config),
		test(test_start_and_reset),
		test(test_bad_features),
		test(test_no_change_afterwards),
		test(test_bad_rings),
		test(test_device_config),
		test(test_config_change),
		test(test_doorbells),
		test(test_interrupts),
		test(test_access_capability),
		test(test_net_without_config),
		test(test_net_with_mac),
		test(test_fs_tag),
		test(test_fs_without_tag),
		test(test_failed),
		test(test_machine_reset),
		test(test_random_accesses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
