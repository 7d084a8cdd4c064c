/* SPDX-License-Identifier: ISC */
/*
 * What the engine does, a line for each event: for looking at it from outside.
 * Events have QEMU's names and words where QEMU has such ones. Which are told
 * is settled before the first image is opened; an event that is not costs a
 * look at one word of memory.
 */
#ifndef LIB_IMAGE_TRACE_H
#define LIB_IMAGE_TRACE_H

#include <stdbool.h>
#include <stdint.h>

enum image_trace_event {
	IMAGE_TRACE_OPEN,
	IMAGE_TRACE_READ, /* from an image, and from its file */
	IMAGE_TRACE_WRITE,
	IMAGE_TRACE_ZEROES,
	IMAGE_TRACE_DISCARD,
	IMAGE_TRACE_FLUSH,
	IMAGE_TRACE_EVENTS
};

extern unsigned image_trace_mask; /* read only, elsewhere */

const char *image_trace_name(enum image_trace_event event);
/* Those whose name matches pattern, with '*' and '?'. false: there are none. */
bool image_trace_enable(const char *pattern, bool is_on);
/* Where lines go, without their end; called by many threads at once. */
void image_trace_to(void (*tell)(const char *line));

void image_trace_tell_open(const void *image, const char *path,
			   const char *format, unsigned flags);
void image_trace_tell(enum image_trace_event event, const void *image,
		      uint64_t offset, uint64_t len, unsigned flags);

static inline void image_trace(enum image_trace_event event, const void *image,
			       uint64_t offset, uint64_t len, unsigned flags)
{
	if (image_trace_mask & 1U << event)
		image_trace_tell(event, image, offset, len, flags);
}

static inline void image_trace_open(const void *image, const char *path,
				    const char *format, unsigned flags)
{
	if (image_trace_mask & 1U << IMAGE_TRACE_OPEN)
		image_trace_tell_open(image, path, format, flags);
}

#endif
