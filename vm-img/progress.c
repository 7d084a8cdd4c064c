/* SPDX-License-Identifier: ISC */
#include "vm-img/progress.h"

#include <signal.h>
#include <stdio.h>

static volatile sig_atomic_t is_asked;

static void ask(int number)
{
	(void)number;
	is_asked = 1;
}

static void answer(double percent)
{
	if (!is_asked)
		return;
	is_asked = 0;
	fprintf(stderr, "    (%3.2f/100%%)\n", percent);
}

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
	const struct sigaction asked = { .sa_handler = ask,
					 .sa_flags = SA_RESTART };

	*progress = (struct progress){ .is_shown = is_shown };
	is_asked = 0;
	if (!is_shown)
		sigaction(SIGUSR1, &asked, NULL);
}

void progress_begin(struct progress *progress)
{
	print(progress, 0);
}

void progress_show(struct progress *progress, uint64_t done, uint64_t total)
{
	double percent = 100 * (double)done / (double)total;

	if (!progress->is_shown)
		answer(percent);
	else if (percent > progress->last + 1 || done == total)
		print(progress, percent);
}

void progress_end(struct progress *progress, bool is_complete)
{
	if (is_complete)
		print(progress, 100);
	if (progress->is_shown)
		printf("\n");
}
