/* SPDX-License-Identifier: ISC */
/*
 * vm-disk: serve one disk image as a vhost-user-blk back end.
 */
#include "lib/base/control.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/options.h"
#include "vm-disk/control.h"
#include "vm-disk/disk.h"
#include "vm-disk/options.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static struct disk disk = DISK_INIT;
static struct control *control;

/* The first signal ends in good order; one more does not wait for the disk. */
static void received(struct event_signals *signals, int number)
{
	(void)signals;
	if (!disk.is_stopping) {
		disk_stop(&disk);
		return;
	}
	control_free(control);
	die(EXIT_FAILURE, "%s: a second signal (%s), not flushed",
	    image_path(disk.image), strsignal(number));
}

static void open_server(const struct disk_options *options)
{
	struct error err = ERROR_INIT;
	int r = server_open(&disk.server, &options->server, "blk", &err);

	if (r == -EINVAL)
		options_fail("%s", error_text(&err, r));
	if (r < 0)
		die(EXIT_FAILURE, "%s", error_text(&err, r));
}

static int start_loop(struct event_loop *loop, struct event_signals *signals,
		      struct error *err)
{
	static const int stop_signals[] = { SIGTERM, SIGINT, 0 };
	int r = event_loop_init(loop);

	if (r == 0)
		r = event_signals_init(loop, signals, stop_signals, received);
	if (r == 0)
		r = guest_memory_guard();
	return r < 0 ? error_set_errno(err, r, "event loop") : 0;
}

int main(int argc, char **argv)
{
	struct event_signals signals = EVENT_SIGNALS_INIT;
	struct event_loop loop = EVENT_LOOP_INIT;
	struct disk_options options;
	struct error err = ERROR_INIT;
	int status = EXIT_FAILURE, r;

	log_init("vm-disk");
	disk_options_parse(&options, argc, argv);
	r = disk_open(&disk, &options, &err);
	if (r < 0)
		die(EXIT_FAILURE, "%s: %s", options.image_path,
		    error_text(&err, r));
	open_server(&options);

	r = start_loop(&loop, &signals, &err);
	if (r == 0)
		r = disk_start(&disk, &loop, &err);
	if (r == 0)
		r = disk_control_new(&control, &disk, &err);
	if (r == 0)
		r = server_start(&disk.server, &loop, &options.server, 1, &err);
	if (r == 0)
		status = event_loop_run(&loop);
	else
		log_error("%s", error_text(&err, r));

	control_free(control);
	r = disk_close(&disk, &err);
	if (r < 0)
		log_error("%s: %s", options.image_path, error_text(&err, r));
	event_signals_deinit(&signals);
	event_loop_deinit(&loop);
	return status == 0 && r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
