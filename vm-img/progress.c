/* SPDX-License-Identifier: ISC */
#include "vm-img/progress.h"

#include <stdio.h>

static void print(struct progress *progress, double percent)
{
	if (!progress->is_shown)
		return;
	printf("    (%3.2f/100%%)\r", percent);
	fflush(stdout);
	progress->last = percent;
}

void progress_init(struct progress *progress, bool is_shown)
{
	*progress = (struct progress){ .is_shown = is_shown };
}

void progress_begin(struct progress *progress)
{
	print(progress, 0);
}

void progress_show(struct progress *progress, uint64_t done, uint64_t total)
{
	double percent = 100 * (double)done / (double)total;

	if (percent > progress->last + 1 || done == total)
		print(progress, percent);
}

void progress_end(struct progress *progress, bool is_complete)
{
	if (is_complete)
		print(progress, 100);
	if (progress->is_shown)
		printf("\n");
}
