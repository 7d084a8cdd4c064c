/* SPDX-License-Identifier: ISC */
/*
 * The serial port register by register, with a socket at the other end. There
 * is no KVM here: the interrupt line is what is_irq_high says.
 */
#include "vm-cpu/serial.h"

#include "lib/base/cleanup.h"
#include "lib/base/socket.h"
#include "vm-cpu/layout.h"
#include "vm-cpu/stream.h"
#include "vm-cpu/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	DATA = LAYOUT_COM1,
	IER = DATA + 1,
	IIR = DATA + 2,
	LCR = DATA + 3,
	MCR = DATA + 4,
	LSR = DATA + 5,
	MSR = DATA + 6,
	SCR = DATA + 7,
};

static struct vm vm;
static struct serial serial;
static struct stream stream;
static struct event_loop loop;
static int peer;

static void on_received(void *context, const uint8_t *data, size_t len)
{
	(void)context;
	serial_receive(&serial, data, len);
}

static void on_drained(void *context)
{
	(void)context;
	serial_drained(&serial);
}

static int set_up(void **state)
{
	int fds[2];
	char spec[16];

	(void)state;
	vm = (struct vm)VM_INIT;
	stream = (struct stream)STREAM_INIT;
	stream.received = on_received;
	stream.drained = on_drained;
	loop = (struct event_loop)EVENT_LOOP_INIT;
	if (event_loop_init(&loop) < 0 || socket_pair(fds) < 0)
		return -1;
	peer = fds[1];
	snprintf(spec, sizeof(spec), "fd:%d", fds[0]);
	if (stream_open(&stream, &loop, spec, NULL) < 0)
		return -1;
	close(fds[0]);
	return serial_init(&serial, &vm, &stream);
}

static int tear_down(void **state)
{
	(void)state;
	close_fd(&peer);
	stream_close(&stream);
	event_loop_deinit(&loop);
	return 0;
}

static uint8_t in(uint16_t port)
{
	return (uint8_t)bus_read(&vm.pio, port, 1);
}

static void out(uint16_t port, uint8_t value)
{
	bus_write(&vm.pio, port, 1, value);
}

static void run_loop(void)
{
	for (int i = 0; i < 4; i++)
		assert_int_equal(event_loop_step(&loop, 0), 0);
}

/* What a driver does to know the chip: Linux's autoconfig(). */
static void is_a_16550a(void **state)
{
	(void)state;
	out(IER, 0);
	assert_int_equal(in(IER), 0);
	out(IER, 0xff);
	assert_int_equal(in(IER), 0x0f);
	out(IER, 0);
	out(MCR, 0x10 | 0x0a); /* loop: RTS and OUT2 come back */
	assert_int_equal(in(MSR)&0xf0, 0x90);
	out(MCR, 0);
	assert_int_equal(in(MSR)&0xf0, 0xb0);
	out(LCR, 0);
	assert_int_equal(in(IIR) >> 6, 0);
	out(IIR, 1);
	assert_int_equal(in(IIR) >> 6, 3);
	out(SCR, 0x5a);
	assert_int_equal(in(SCR), 0x5a);
}

static void the_divisor_is_elsewhere(void **state)
{
	(void)state;
	out(LCR, 0x83);
	out(DATA, 0x34);
	out(IER, 0x12);
	assert_int_equal(in(DATA), 0x34);
	assert_int_equal(in(IER), 0x12);
	out(LCR, 0x03);
	assert_int_equal(in(IER), 0);
	assert_int_equal(in(LCR), 0x03);
}

static void sends_what_is_written(void **state)
{
	char buf[8];

	(void)state;
	assert_int_equal(in(LSR), 0x60);
	out(DATA, 'o');
	out(DATA, 'k');
	assert_int_equal(read(peer, buf, sizeof(buf)), 2);
	assert_memory_equal(buf, "ok", 2);
}

static void an_empty_transmitter_interrupts_once(void **state)
{
	(void)state;
	assert_false(serial.is_irq_high);
	out(IER, 2);
	assert_true(serial.is_irq_high);
	assert_int_equal(in(IIR)&0xf, 2);
	assert_false(serial.is_irq_high);
	assert_int_equal(in(IIR)&0xf, 1);
	out(DATA, 'x');
	assert_true(serial.is_irq_high);
}

static void receives_when_asked_by_interrupt(void **state)
{
	(void)state;
	assert_int_equal(write(peer, "hello", 5), 5);
	run_loop();
	/* Not listening: it stays with the sender, as in Linux's open(). */
	assert_int_equal(in(LSR)&1, 0);
	out(IIR, 0xc7); /* cleared, and 14 bytes to interrupt at once */
	in(DATA);
	out(IER, 1);
	assert_false(serial.is_irq_high);
	run_loop();
	assert_true(serial.is_irq_high);
	assert_int_equal(in(IIR)&0xf, 0xc);
	for (const char *p = "hello"; *p != '\0'; p++) {
		assert_int_equal(in(LSR)&1, 1);
		assert_int_equal(in(DATA), *p);
	}
	assert_int_equal(in(LSR)&1, 0);
	assert_false(serial.is_irq_high);
}

static void receives_when_polled(void **state)
{
	unsigned polls = 0;

	(void)state;
	assert_int_equal(write(peer, "p", 1), 1);
	while ((in(LSR)&1) == 0 && ++polls < 100)
		run_loop();
	assert_in_range(polls, 5, 50);
	assert_int_equal(in(DATA), 'p');
}

/* A console that polls before each byte it writes does not ask for input. */
static void writing_is_not_polling(void **state)
{
	(void)state;
	assert_int_equal(write(peer, "p", 1), 1);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(in(LSR)&1, 0);
		out(DATA, 'x');
		run_loop();
	}
}

static void a_long_input_is_not_lost(void **state)
{
	static uint8_t data[3000];
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	assert_int_equal(write(peer, data, sizeof(data)), sizeof(data));
	out(IIR, 1);
	out(IER, 1);
	for (int i = 0; i < 10000 && n < sizeof(data); i++) {
		run_loop();
		while (in(LSR)&1)
			assert_int_equal(in(DATA), data[n++]);
	}
	assert_int_equal(n, sizeof(data));
}

static void rts_holds_the_sender(void **state)
{
	(void)state;
	out(IER, 1);
	out(MCR, 1); /* DTR without RTS */
	assert_int_equal(write(peer, "x", 1), 1);
	run_loop();
	assert_int_equal(in(LSR)&1, 0);
	out(MCR, 3);
	run_loop();
	assert_int_equal(in(LSR)&1, 1);
}

static void a_slow_reader_holds_the_guest(void **state)
{
	static uint8_t buf[1 << 16];
	size_t sent = 0, got = 0;
	ssize_t n;

	(void)state;
	out(IER, 2);
	while ((in(LSR)&0x20) && sent < 16 << 20) {
		out(DATA, (uint8_t)sent);
		sent++;
	}
	assert_true(sent > STREAM_BACKLOG / 2 && sent < 16 << 20);
	in(IIR);
	assert_false(serial.is_irq_high);
	for (int i = 0; i < 10000 && got < sent; i++) {
		while ((n = read(peer, buf, sizeof(buf))) > 0)
			for (ssize_t j = 0; j < n; j++)
				assert_int_equal(buf[j], (uint8_t)got++);
		run_loop();
	}
	assert_int_equal(got, sent);
	/* And the guest is told that it may go on. */
	assert_true(serial.is_irq_high);
	assert_int_equal(in(LSR), 0x60);
}

static void a_lost_reader_holds_nobody(void **state)
{
	(void)state;
	close_fd(&peer);
	run_loop();
	for (int i = 0; i < 1000; i++)
		out(DATA, 'x');
	assert_int_equal(in(LSR), 0x60);
}

static void loops_back(void **state)
{
	(void)state;
	out(MCR, 0x10);
	out(DATA, 'z');
	assert_int_equal(in(LSR)&1, 1);
	assert_int_equal(in(DATA), 'z');
	assert_int_equal(recv(peer, &(char){ 0 }, 1, MSG_DONTWAIT), -1);
}

static void resets(void **state)
{
	(void)state;
	out(IER, 3);
	out(MCR, 0xb);
	out(SCR, 1);
	serial_reset(&serial);
	assert_int_equal(in(IER), 0);
	assert_int_equal(in(MCR), 0);
	assert_int_equal(in(SCR), 0);
	assert_int_equal(in(LSR), 0x60);
	assert_false(serial.is_irq_high);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(is_a_16550a),
		TEST(the_divisor_is_elsewhere),
		TEST(sends_what_is_written),
		TEST(an_empty_transmitter_interrupts_once),
		TEST(receives_when_asked_by_interrupt),
		TEST(receives_when_polled),
		TEST(writing_is_not_polling),
		TEST(a_long_input_is_not_lost),
		TEST(rts_holds_the_sender),
		TEST(a_slow_reader_holds_the_guest),
		TEST(a_lost_reader_holds_nobody),
		TEST(loops_back),
		TEST(resets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
