/* SPDX-License-Identifier: ISC */
/*
 * vm-run: one virtual machine from one text file. It opens the sockets,
 * starts the servers and vm-cpu, starts again what dies, and ends with
 * vm-cpu's status, leaving nothing behind.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/options.h"
#include "lib/base/size.h"
#include "vm-run/plan.h"
#include "vm-run/supervise.h"
#include "vm-run/vmfile.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	OPTION_DRY_RUN = 'n',
	OPTION_READY = OPTION_FIRST,
};

/* clang-format off */
static const struct option_spec specs[] = {
	{ OPTION_DRY_RUN, "dry-run", NULL,
	  "print the equivalent shell commands, start nothing" },
	{ OPTION_READY, "ready-fd", "N",
	  "write a newline to descriptor N when the guest is started" },
	OPTIONS_COMMON
};
/* clang-format on */

struct command_line {
	const char *file;
	const char *verbosity; /* handed on, or NULL */
	bool is_dry_run;
	int ready_fd;
};

static int parse_fd(const char *text)
{
	uint64_t number;

	if (number_parse(text, 0, INT32_MAX, &number) < 0 ||
	    fcntl((int)number, F_SETFD, FD_CLOEXEC) < 0)
		options_fail("--ready-fd=%s: not an open descriptor", text);
	return (int)number;
}

static void parse_command_line(struct command_line *line, int argc, char **argv)
{
	struct options options = {
		.specs = specs,
		.usage = "[OPTION]... FILE",
		.about = "Run the virtual machine that FILE describes.",
		.argc = argc,
		.argv = argv,
	};
	int id, operand;

	while ((id = options_next(&options, &operand)) >= 0) {
		if (id == OPTION_DRY_RUN)
			line->is_dry_run = true;
		else
			line->ready_fd = parse_fd(options.argument);
	}
	if (argc - operand != 1)
		options_fail("one VM file is needed");
	line->file = argv[operand];
	if (log_get_level() == LOG_LEVEL_ERROR)
		line->verbosity = "--quiet";
	else if (log_get_level() == LOG_LEVEL_DEBUG)
		line->verbosity = "--verbose";
}

int main(int argc, char **argv)
{
	struct command_line line = { .ready_fd = -1 };
	struct error err = ERROR_INIT;
	struct vmfile vm = VMFILE_INIT;
	struct plan *plan = NULL;
	int ret;

	log_init("vm-run");
	parse_command_line(&line, argc, argv);
	ret = vmfile_read(&vm, line.file, &err);
	if (ret == 0)
		ret = plan_new(&plan, &vm, line.verbosity, &err);
	if (ret == 0 && line.is_dry_run)
		plan_print(plan, stdout);
	else if (ret == 0)
		ret = supervise(&vm, plan, line.ready_fd, &err);
	if (ret < 0)
		die(EXIT_FAILURE, "%s", error_text(&err, ret));
	plan_free(plan);
	vmfile_deinit(&vm);
	return ret;
}
