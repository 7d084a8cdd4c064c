/* SPDX-License-Identifier: ISC */
#include "lib/image/trace.h"

#include <fnmatch.h>
#include <stddef.h>
#include <stdio.h>

enum {
	LINE_MAX_LEN = 8192, /* a path and some words */
};

unsigned image_trace_mask;

static void (*tell_line)(const char *line);

static const char *const names[IMAGE_TRACE_EVENTS] = {
	[IMAGE_TRACE_OPEN] = "bdrv_open_common",
	[IMAGE_TRACE_READ] = "bdrv_co_preadv_part",
	[IMAGE_TRACE_WRITE] = "bdrv_co_pwritev_part",
	[IMAGE_TRACE_ZEROES] = "bdrv_co_pwrite_zeroes",
	/* QEMU has none: */
	[IMAGE_TRACE_DISCARD] = "image_discard",
	[IMAGE_TRACE_FLUSH] = "image_flush",
};

const char *image_trace_name(enum image_trace_event event)
{
	return names[event];
}

bool image_trace_enable(const char *pattern, bool is_on)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < IMAGE_TRACE_EVENTS; i++)
		if (fnmatch(pattern, names[i], FNM_NOESCAPE) == 0)
			mask |= 1U << i;
	if (is_on)
		image_trace_mask |= mask;
	else
		image_trace_mask &= ~mask;
	return mask != 0;
}

void image_trace_to(void (*tell)(const char *line))
{
	tell_line = tell;
}

void image_trace_tell_open(const void *image, const char *path,
			   const char *format, unsigned flags)
{
	char line[LINE_MAX_LEN];

	if (tell_line == NULL)
		return;
	snprintf(line, sizeof(line),
		 "%s bs %p filename \"%s\" flags 0x%x format_name \"%s\"",
		 names[IMAGE_TRACE_OPEN], image, path, flags, format);
	tell_line(line);
}

void image_trace_tell(enum image_trace_event event, const void *image,
		      uint64_t offset, uint64_t len, unsigned flags)
{
	char line[256];

	if (tell_line == NULL)
		return;
	if (event == IMAGE_TRACE_FLUSH)
		snprintf(line, sizeof(line), "%s bs %p", names[event], image);
	else
		snprintf(line, sizeof(line),
			 "%s bs %p offset %llu bytes %llu flags 0x%x",
			 names[event], image, (unsigned long long)offset,
			 (unsigned long long)len, flags);
	tell_line(line);
}
