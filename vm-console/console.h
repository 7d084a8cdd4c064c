/* SPDX-License-Identifier: ISC */
/*
 * The console: what joins the guest's sides, the viewers and the log.
 *
 *	guest side --output--> history --> each viewer, at its own pace
 *	                   \-> log
 *	viewers --input--> one queue --> guest side
 *
 * A viewer that falls behind loses what the history no longer holds, and
 * nobody else loses anything. So that one that merely reads somewhat slower
 * than the guest writes loses nothing, the guest is held up for it: never
 * longer than 0.2 s for a viewer that stands still, nor below 1 MB/s for one
 * that crawls (CONSOLE_CREDIT_US). Input is never lost: while the queue is
 * full, viewers are not read.
 */
#ifndef VM_CONSOLE_CONSOLE_H
#define VM_CONSOLE_CONSOLE_H

#include "lib/base/event.h"
#include "vm-console/history.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_file;
struct viewer;

enum {
	CONSOLE_INPUT_MAX = 65536,
	/* How far a viewer may fall behind beyond the scrollback. */
	CONSOLE_SLACK = 256 * 1024,
	CONSOLE_VIEWERS_MAX = 256,
	/* Output is taken from the guest in pieces of this size at most. */
	CONSOLE_PIECE = 65536,
	/* How long the guest waits for a viewer that reads nothing, in
	 * microseconds; each byte it reads earns it one more, up to this. */
	CONSOLE_CREDIT_US = 200000,
};

/* The order is that of preference: who gets the input. */
enum console_side_id {
	CONSOLE_VIRTIO,
	CONSOLE_SERIAL,
	CONSOLE_N_SIDES,
};

/* A way to the guest, embedded in its owner. */
struct console_side {
	bool is_open; /* a guest is there to take input */
	/* There is input for this side: take it now, or as soon as possible,
	 * with console_peek_input() and console_drop_input(). */
	void (*pull)(struct console_side *side);
	/* Output may be taken again: see console_can_output(). */
	void (*resume)(struct console_side *side);
};

struct console {
	struct event_loop *loop;
	struct history history;
	size_t scrollback;
	struct log_file *log; /* or NULL */
	struct console_side *sides[CONSOLE_N_SIDES];
	struct viewer *viewers;
	unsigned n_viewers;
	uint64_t next_viewer_id;
	uint8_t input[CONSOLE_INPUT_MAX]; /* typed and not taken */
	size_t input_len;
	uint64_t input_total;
	struct event_timer patience; /* while the guest is held up */
	uint64_t held_since_us;	     /* 0: it is not */
	struct event_timer grace;
	bool is_ending;
};

#define CONSOLE_INIT \
	{ \
		.history = HISTORY_INIT, .patience = EVENT_TIMER_INIT, \
		.grace = EVENT_TIMER_INIT \
	}

int console_init(struct console *console, struct event_loop *loop,
		 size_t scrollback);
/* Closes the viewers. */
void console_deinit(struct console *console);

/*
 * May a piece be taken from the guest? If not, each side's resume() is called
 * when it may.
 */
bool console_can_output(struct console *console);
/* The guest wrote: at most CONSOLE_PIECE. */
void console_output(struct console *console, const void *data, size_t len);
/* The side that gets the input, or NULL. */
struct console_side *console_side(const struct console *console);
/* A side opened, or another one closed: input may go there. */
void console_sides_changed(struct console *console);

/* A viewer typed: how many bytes were taken. */
size_t console_put_input(struct console *console, const void *data, size_t len);
/* Input for a side; *len is 0 if there is none for it. */
const uint8_t *console_peek_input(const struct console *console,
				  const struct console_side *side, size_t *len);
/* The side took so many bytes. */
void console_drop_input(struct console *console, size_t len);

/*
 * The guest is gone for good: when the viewers have read what is there, or
 * after a second, the loop is stopped with status 0.
 */
void console_end(struct console *console);
/* A viewer was shown more, or left. */
void console_viewer_changed(struct console *console);

#endif
