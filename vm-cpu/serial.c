/* SPDX-License-Identifier: ISC */
/*
 * Registers by National Semiconductor's PC16550D data sheet (June 1995),
 * table II. What the sender of real hardware would repeat does not exist
 * here: a byte that the guest drops is lost. So a byte stays in the stream
 * until the guest shows that it wants input: its receive interrupt is on, or
 * it polls the line status although the transmitter is idle. (Linux clears
 * the FIFO and reads the receiver when it opens the port, before it turns
 * the interrupt on.)
 */
#include "vm-cpu/serial.h"

#include "vm-cpu/layout.h"
#include "vm-cpu/stream.h"
#include "vm-cpu/vm.h"

#include <string.h>

enum {
	REG_DATA = 0, /* or divisor low */
	REG_IER = 1,  /* or divisor high */
	REG_IIR = 2,  /* written: FCR */
	REG_LCR = 3,
	REG_MCR = 4,
	REG_LSR = 5,
	REG_MSR = 6,
	REG_SCRATCH = 7,

	IER_RECEIVED = 1 << 0,
	IER_EMPTY = 1 << 1,
	IER_MASK = 0x0f,

	IIR_NONE = 1,
	IIR_EMPTY = 2,
	IIR_RECEIVED = 4,
	IIR_TIMEOUT = 0xc, /* received, below the trigger level */
	IIR_FIFO = 0xc0,

	FCR_ENABLE = 1 << 0,
	FCR_CLEAR_RECEIVED = 1 << 1,
	FCR_TRIGGER = 0xc0,

	LCR_DIVISOR = 1 << 7,

	MCR_DTR = 1 << 0,
	MCR_RTS = 1 << 1,
	MCR_OUT1 = 1 << 2,
	MCR_OUT2 = 1 << 3,
	MCR_LOOP = 1 << 4,
	MCR_MASK = 0x1f,

	LSR_READY = 1 << 0,
	LSR_THRE = 1 << 5, /* holding register empty */
	LSR_TEMT = 1 << 6, /* transmitter empty */

	MSR_CTS = 1 << 4,
	MSR_DSR = 1 << 5,
	MSR_RI = 1 << 6,
	MSR_DCD = 1 << 7,

	/* So many looks at an idle port in a row are a wait for input. */
	IDLE_POLLS = 16,
};

static bool is_empty(const struct serial *serial)
{
	return serial->stream == NULL || stream_has_room(serial->stream);
}

/* The pending interrupt of the highest priority (data sheet, table III). */
static uint8_t pending(const struct serial *serial)
{
	static const uint8_t triggers[] = { 1, 4, 8, 14 };

	if ((serial->ier & IER_RECEIVED) && serial->n_received > 0)
		return serial->n_received >= triggers[serial->fcr >> 6]
			       ? IIR_RECEIVED
			       : IIR_TIMEOUT;
	if ((serial->ier & IER_EMPTY) && serial->is_thre_pending)
		return IIR_EMPTY;
	return IIR_NONE;
}

static void update_irq(struct serial *serial)
{
	bool is_high = pending(serial) != IIR_NONE;

	if (is_high != serial->is_irq_high) {
		serial->is_irq_high = is_high;
		vm_set_irq(serial->vm, LAYOUT_GSI_COM1, is_high);
	}
}

/* RTS low in a port that is in use holds the other end (flow control). */
static bool is_listening(const struct serial *serial)
{
	if ((serial->mcr & (MCR_DTR | MCR_RTS)) == MCR_DTR)
		return false;
	if (serial->mcr & MCR_LOOP)
		return false;
	return (serial->ier & IER_RECEIVED) ||
	       serial->n_idle_polls >= IDLE_POLLS;
}

static void ask_for_input(struct serial *serial)
{
	size_t room = SERIAL_FIFO - serial->n_received;

	if (serial->stream != NULL)
		stream_want(serial->stream, is_listening(serial) ? room : 0);
}

void serial_receive(struct serial *serial, const uint8_t *data, size_t len)
{
	size_t room = SERIAL_FIFO - serial->n_received;

	if (len > room)
		len = room;
	memcpy(serial->received + serial->n_received, data, len);
	serial->n_received += (unsigned)len;
	update_irq(serial);
	ask_for_input(serial);
}

void serial_drained(struct serial *serial)
{
	serial->is_thre_pending = true;
	update_irq(serial);
}

static uint8_t take_received(struct serial *serial)
{
	uint8_t byte = serial->received[0];

	if (serial->n_received == 0)
		return 0;
	serial->n_received--;
	memmove(serial->received, serial->received + 1, serial->n_received);
	return byte;
}

static void transmit(struct serial *serial, uint8_t byte)
{
	serial->is_thre_pending = false;
	if (serial->mcr & MCR_LOOP) {
		if (serial->n_received < SERIAL_FIFO)
			serial->received[serial->n_received++] = byte;
	} else if (serial->stream != NULL) {
		stream_write(serial->stream, &byte, 1);
	}
	if (is_empty(serial))
		serial->is_thre_pending = true;
}

static uint8_t line_status(struct serial *serial)
{
	uint8_t status = serial->n_received > 0 ? LSR_READY : 0;

	if (is_empty(serial)) {
		status |= LSR_THRE | LSR_TEMT;
		if (serial->n_idle_polls < IDLE_POLLS)
			serial->n_idle_polls++;
	}
	return status;
}

static uint8_t modem_status(const struct serial *serial)
{
	uint8_t mcr = serial->mcr, status = 0;

	if ((mcr & MCR_LOOP) == 0)
		return MSR_CTS | MSR_DSR | MSR_DCD;
	status |= mcr & MCR_RTS ? MSR_CTS : 0;
	status |= mcr & MCR_DTR ? MSR_DSR : 0;
	status |= mcr & MCR_OUT1 ? MSR_RI : 0;
	status |= mcr & MCR_OUT2 ? MSR_DCD : 0;
	return status;
}

static uint8_t interrupt_id(struct serial *serial)
{
	uint8_t id = pending(serial);

	if (id == IIR_EMPTY)
		serial->is_thre_pending = false;
	return id | (serial->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint64_t read_register(void *context, uint64_t offset, unsigned width)
{
	struct serial *serial = context;
	bool is_divisor = serial->lcr & LCR_DIVISOR;
	uint8_t value = 0;

	(void)width;
	switch (offset) {
	case REG_DATA:
		value = is_divisor ? serial->divisor[0] : take_received(serial);
		break;
	case REG_IER:
		value = is_divisor ? serial->divisor[1] : serial->ier;
		break;
	case REG_IIR:
		value = interrupt_id(serial);
		break;
	case REG_LCR:
		value = serial->lcr;
		break;
	case REG_MCR:
		value = serial->mcr;
		break;
	case REG_LSR:
		value = line_status(serial);
		break;
	case REG_MSR:
		value = modem_status(serial);
		break;
	case REG_SCRATCH:
		value = serial->scratch;
		break;
	default:
		break;
	}
	update_irq(serial);
	ask_for_input(serial);
	return value;
}

/* Turning the interrupt on with an empty transmitter is an interrupt. */
static void write_ier(struct serial *serial, uint8_t value)
{
	uint8_t before = serial->ier;

	serial->ier = value & IER_MASK;
	if ((serial->ier & ~before & IER_EMPTY) && is_empty(serial))
		serial->is_thre_pending = true;
}

static void write_register(void *context, uint64_t offset, unsigned width,
			   uint64_t data)
{
	struct serial *serial = context;
	bool is_divisor = serial->lcr & LCR_DIVISOR;
	uint8_t value = (uint8_t)data;

	(void)width;
	serial->n_idle_polls = 0;
	switch (offset) {
	case REG_DATA:
		if (is_divisor)
			serial->divisor[0] = value;
		else
			transmit(serial, value);
		break;
	case REG_IER:
		if (is_divisor)
			serial->divisor[1] = value;
		else
			write_ier(serial, value);
		break;
	case REG_IIR:
		serial->fcr = value & (FCR_ENABLE | FCR_TRIGGER);
		if (value & FCR_CLEAR_RECEIVED)
			serial->n_received = 0;
		break;
	case REG_LCR:
		serial->lcr = value;
		break;
	case REG_MCR:
		serial->mcr = value & MCR_MASK;
		break;
	case REG_SCRATCH:
		serial->scratch = value;
		break;
	default:
		break;
	}
	update_irq(serial);
	ask_for_input(serial);
}

static const struct bus_ops ops = { read_register, write_register };

void serial_reset(struct serial *serial)
{
	struct vm *vm = serial->vm;
	struct stream *stream = serial->stream;

	*serial = (struct serial){ .vm = vm,
				   .stream = stream,
				   .divisor = { 1, 0 } };
	ask_for_input(serial);
}

int serial_init(struct serial *serial, struct vm *vm, struct stream *stream)
{
	serial->vm = vm;
	serial->stream = stream;
	serial_reset(serial);
	return bus_add(&vm->pio, LAYOUT_COM1, LAYOUT_COM1_SIZE, &ops, serial);
}
