/* SPDX-License-Identifier: ISC */
/* See console.h. */
#include "vm-console/console.h"

#include "vm-console/log_file.h"
#include "vm-console/viewer.h"

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"

#include <string.h>

enum {
	GRACE_MS = 1000,
};

static void end_now(struct event_timer *timer)
{
	event_loop_stop(timer->source.loop, 0);
}

static uint64_t now_us(void)
{
	return clock_ns() / 1000;
}

/*
 * What the guest was held up is on the account of each viewer that it waited
 * for. Returns the microseconds that the poorest of them still has, or -1 if
 * the guest waits for nobody.
 */
static int64_t charge(struct console *console, uint64_t waited_us)
{
	int64_t least = -1;

	for (struct viewer *viewer = console->viewers; viewer;
	     viewer = viewer_next(viewer)) {
		unsigned left = viewer_charge(viewer, waited_us);

		if (left > 0 && (least < 0 || left < least))
			least = left;
	}
	return least;
}

/* Hold the guest up, go on doing so, or let it go. True: it is held. */
static bool hold_guest(struct console *console)
{
	uint64_t now = now_us();
	bool was_held = console->held_since_us != 0;
	int64_t left =
		charge(console, was_held ? now - console->held_since_us : 0);

	if (left >= 0 || was_held)
		(void)event_timer_set(&console->patience,
				      left >= 0 ? (uint64_t)left / 1000 + 1 : 0,
				      0);
	console->held_since_us = left >= 0 ? now : 0;
	return left >= 0;
}

static void resume_guest(struct console *console)
{
	if (console->held_since_us == 0 || hold_guest(console))
		return;
	for (unsigned i = 0; i < CONSOLE_N_SIDES; i++) {
		if (console->sides[i])
			console->sides[i]->resume(console->sides[i]);
	}
}

static void lose_patience(struct event_timer *timer)
{
	resume_guest(container_of(timer, struct console, patience));
}

bool console_can_output(struct console *console)
{
	return console->held_since_us == 0 && !hold_guest(console);
}

int console_init(struct console *console, struct event_loop *loop,
		 size_t scrollback)
{
	int ret;

	console->loop = loop;
	console->scrollback = scrollback;
	console->next_viewer_id = 1;
	ret = history_init(&console->history, scrollback + CONSOLE_SLACK);
	if (ret == 0)
		ret = event_timer_init(loop, &console->patience, lose_patience);
	if (ret == 0)
		ret = event_timer_init(loop, &console->grace, end_now);
	return ret;
}

void console_deinit(struct console *console)
{
	for (unsigned i = 0; i < CONSOLE_N_SIDES; i++)
		console->sides[i] = NULL;
	while (console->viewers)
		viewer_free(console->viewers);
	event_timer_deinit(&console->grace);
	event_timer_deinit(&console->patience);
	history_deinit(&console->history);
}

static void check_end(struct console *console)
{
	struct viewer *viewer;

	if (!console->is_ending)
		return;
	for (viewer = console->viewers; viewer; viewer = viewer_next(viewer)) {
		if (!viewer_is_done(viewer))
			return;
	}
	event_loop_stop(console->loop, 0);
}

void console_output(struct console *console, const void *data, size_t len)
{
	struct viewer *viewer = console->viewers;

	if (console->log)
		log_file_write(console->log, data, len);
	history_append(&console->history, data, len);
	while (viewer) {
		/* It may be gone after this. */
		struct viewer *next = viewer_next(viewer);

		viewer_show(viewer);
		viewer = next;
	}
}

struct console_side *console_side(const struct console *console)
{
	for (unsigned i = 0; i < CONSOLE_N_SIDES; i++) {
		if (console->sides[i] && console->sides[i]->is_open)
			return console->sides[i];
	}
	return NULL;
}

void console_sides_changed(struct console *console)
{
	struct console_side *side = console_side(console);

	if (side && console->input_len > 0)
		side->pull(side);
}

size_t console_put_input(struct console *console, const void *data, size_t len)
{
	size_t space = CONSOLE_INPUT_MAX - console->input_len;

	if (len > space)
		len = space;
	memcpy(console->input + console->input_len, data, len);
	console->input_len += len;
	console->input_total += len;
	console_sides_changed(console);
	return len;
}

const uint8_t *console_peek_input(const struct console *console,
				  const struct console_side *side, size_t *len)
{
	*len = side == console_side(console) ? console->input_len : 0;
	return console->input;
}

void console_drop_input(struct console *console, size_t len)
{
	bool was_full = console->input_len == CONSOLE_INPUT_MAX;

	console->input_len -= len;
	memmove(console->input, console->input + len, console->input_len);
	if (!was_full || len == 0)
		return;
	for (struct viewer *viewer = console->viewers; viewer;
	     viewer = viewer_next(viewer))
		viewer_resume(viewer);
}

void console_viewer_changed(struct console *console)
{
	resume_guest(console);
	check_end(console);
}

void console_end(struct console *console)
{
	console->is_ending = true;
	(void)event_timer_set(&console->grace, GRACE_MS, 0);
	check_end(console);
}
