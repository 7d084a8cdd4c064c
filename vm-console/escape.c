/* SPDX-License-Identifier: ISC */
/* See escape.h. */
#include "vm-console/escape.h"

void escape_init(struct escape *escape, int character)
{
	*escape = (struct escape){
		.character = character,
		.is_line_start = true,
	};
}

static enum escape_action finish(struct escape *escape, uint8_t typed,
				 uint8_t send[2], size_t *n)
{
	escape->is_pending = false;
	if (typed == '.')
		return ESCAPE_LEAVE;
	if (typed == '?')
		return ESCAPE_HELP;
	/* Not one of ours: it was meant as it was typed. */
	if (typed != escape->character)
		send[(*n)++] = (uint8_t)escape->character;
	send[(*n)++] = typed;
	escape->is_line_start = typed == '\r' || typed == '\n';
	return ESCAPE_NOTHING;
}

enum escape_action escape_filter(struct escape *escape, uint8_t typed,
				 uint8_t send[2], size_t *n)
{
	*n = 0;
	if (escape->is_pending)
		return finish(escape, typed, send, n);
	if (escape->is_line_start && typed == escape->character) {
		escape->is_pending = true;
		return ESCAPE_NOTHING;
	}
	send[(*n)++] = typed;
	escape->is_line_start = typed == '\r' || typed == '\n';
	return ESCAPE_NOTHING;
}
