/* SPDX-License-Identifier: ISC */
/* What a console tells about itself, and who may be put out. */
#include "vm-console/control.h"

#include "lib/base/size.h"
#include "vm-console/console.h"
#include "vm-console/log_file.h"
#include "vm-console/viewer.h"

#include <errno.h>
#include <inttypes.h>

static const char *side_state(const struct console *console,
			      enum console_side_id id)
{
	const struct console_side *side = console->sides[id];

	if (!side || !side->is_open)
		return "absent";
	return side == console_side(console) ? "input" : "open";
}

static int print_status(struct control_request *request, int argc, char **argv,
			void *context)
{
	const struct console *console = context;

	(void)argc;
	(void)argv;
	control_reply(request, "virtio %s",
		      side_state(console, CONSOLE_VIRTIO));
	control_reply(request, "serial %s",
		      side_state(console, CONSOLE_SERIAL));
	control_reply(request, "output %" PRIu64, console->history.end);
	control_reply(request, "input %" PRIu64, console->input_total);
	control_reply(request, "waiting %zu", console->input_len);
	control_reply(request, "scrollback %zu", console->scrollback);
	control_reply(request, "viewers %u", console->n_viewers);
	if (console->log)
		control_reply(request, "log %s missed=%" PRIu64,
			      console->log->path, console->log->n_missed);
	return 0;
}

static int list_viewers(struct control_request *request, int argc, char **argv,
			void *context)
{
	const struct console *console = context;

	(void)argc;
	(void)argv;
	for (const struct viewer *viewer = console->viewers; viewer;
	     viewer = viewer_next(viewer)) {
		struct viewer_facts facts;

		viewer_facts(viewer, &facts);
		control_reply(request,
			      "%" PRIu64 " pid=%ld behind=%" PRIu64
			      " lost=%" PRIu64 " typed=%" PRIu64,
			      facts.id, (long)facts.pid, facts.n_behind,
			      facts.n_lost, facts.n_typed);
	}
	return 0;
}

static int drop_viewer(struct control_request *request, int argc, char **argv,
		       void *context)
{
	struct console *console = context;
	struct viewer *viewer = console->viewers;
	uint64_t id;

	(void)argc;
	if (number_parse(argv[1], 1, UINT64_MAX, &id) < 0)
		return control_error(request, -EINVAL, "%s: no viewer's number",
				     argv[1]);
	for (; viewer; viewer = viewer_next(viewer)) {
		struct viewer_facts facts;

		viewer_facts(viewer, &facts);
		if (facts.id == id) {
			viewer_free(viewer);
			return 0;
		}
	}
	return control_error(request, -ENOENT, "no viewer %s", argv[1]);
}

static int reopen_log(struct control_request *request, int argc, char **argv,
		      void *context)
{
	struct console *console = context;

	(void)argc;
	(void)argv;
	if (!console->log)
		return control_error(request, -ENOENT, "there is no --log");
	return log_file_reopen(console->log);
}

const struct control_verb control_verbs[] = {
	{ "status", "", "sides, counters and log, one a line", 0, 0,
	  print_status },
	{ "viewers", "", "NUMBER pid= behind= lost= typed=, one a line", 0, 0,
	  list_viewers },
	{ "drop", "NUMBER", "close the connection of a viewer", 1, 1,
	  drop_viewer },
	{ "reopen-log", "", "open --log anew, as SIGHUP does", 0, 0,
	  reopen_log },
	{ .name = NULL },
};
