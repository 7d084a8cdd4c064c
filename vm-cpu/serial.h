/* SPDX-License-Identifier: ISC */
/*
 * A 16550A at COM1, with its FIFOs and interrupt, between the guest and a
 * byte stream. Input is given to the guest only when it listens, and output
 * is taken only when the stream has room, so piped data is not lost.
 */
#ifndef VM_CPU_SERIAL_H
#define VM_CPU_SERIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stream;
struct vm;

enum {
	SERIAL_FIFO = 16,
};

struct serial {
	struct vm *vm;
	struct stream *stream; /* NULL: nobody at the other end */
	uint8_t ier, lcr, mcr, scratch, fcr;
	uint8_t divisor[2];
	bool is_thre_pending; /* its interrupt was not read yet */
	bool is_irq_high;
	unsigned n_idle_polls; /* LSR read, nothing to send, in a row */
	unsigned n_received;
	uint8_t received[SERIAL_FIFO]; /* oldest first */
};

/* Add the port to vm's bus. The stream's owner passes on what it receives
 * and that it drained. */
int serial_init(struct serial *serial, struct vm *vm, struct stream *stream);

/* As after power-on. */
void serial_reset(struct serial *serial);

/* Bytes from the stream: at most what serial asked of stream_want(). */
void serial_receive(struct serial *serial, const uint8_t *data, size_t len);

/* The stream has room again. */
void serial_drained(struct serial *serial);

#endif
