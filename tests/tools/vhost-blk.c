/* SPDX-License-Identifier: ISC */
/*
 * A block back end's guest, without a guest: reads and writes through
 * vhost-user, over restarts of the back end. See --help.
 */
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/options.h"
#include "lib/base/size.h"
#include "lib/vhost/frontend.h"
#include "tests/support/blk_driver.h"
#include "tests/support/blk_stress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct command {
	const char *name, *arguments, *help;
	int n_args;
	void (*run)(struct blk_driver *driver, char **args);
};

enum {
	OPTION_DEPTH = OPTION_FIRST,
	OPTION_QUEUES,
	OPTION_RECONNECT,
	OPTION_DECLINE,
	OPTION_FD,
	OPTION_SPAN,
	OPTION_SEED,
};

static const struct option_spec specs[] = {
	{ OPTION_DEPTH, "depth", "N", "requests in flight (16)" },
	{ OPTION_QUEUES, "queues", "N", "virtqueues to ask for (1)" },
	{ OPTION_RECONNECT, "reconnect", "WHEN",
	  "forever (default), never, or for so many seconds" },
	{ OPTION_DECLINE, "decline", "MASK", "features not to negotiate" },
	{ OPTION_FD, "fd", "N", "this open socket; SOCKET is not given then" },
	{ OPTION_SPAN, "span", "SIZE", "first bytes that stress uses (64M)" },
	{ OPTION_SEED, "seed", "N", "of stress (1)" },
	OPTIONS_COMMON
};

static struct blk_stress_options stress_options = {
	.span = 64 << 20,
	.seed = 1,
};

static _Noreturn void fail(const struct blk_driver *driver, const char *what,
			   uint64_t offset, int status)
{
	if (status < 0)
		die(EXIT_FAILURE, "%s at %" PRIu64 ": %s", what, offset,
		    blk_driver_problem(driver));
	die(EXIT_FAILURE, "%s at %" PRIu64 ": %s", what, offset,
	    status == VIRTIO_BLK_S_UNSUPP ? "not supported" : "I/O error");
}

static uint64_t size_argument(const char *text)
{
	uint64_t size;

	if (size_parse(text, 'b', &size) < 0)
		options_fail("%s is not a size", text);
	return size;
}

static uint8_t pattern_argument(const char *text)
{
	uint64_t pattern;

	if (number_parse(text, 0, 255, &pattern) < 0)
		options_fail("%s is not a byte", text);
	return (uint8_t)pattern;
}

static void run_info(struct blk_driver *driver, char **args)
{
	const struct virtio_blk_config *config = &driver->config;

	(void)args;
	printf("capacity %" PRIu64 "\nblock-size %" PRIu32 "\nqueues %u\n"
	       "read-only %s\nfeatures %#" PRIx64 "\n",
	       config->capacity * VIRTIO_BLK_SECTOR, config->blk_size,
	       driver->n_queues,
	       driver->features >> VIRTIO_BLK_F_RO & 1 ? "yes" : "no",
	       driver->features);
}

static void run_id(struct blk_driver *driver, char **args)
{
	char id[VIRTIO_BLK_ID_LEN + 1] = "";
	int status = blk_driver_do(driver, VIRTIO_BLK_T_GET_ID, 0, id,
				   VIRTIO_BLK_ID_LEN);

	(void)args;
	if (status != VIRTIO_BLK_S_OK)
		fail(driver, "get-id", 0, status);
	puts(id);
}

/* How a range is cut into requests and each of them ends. */
struct range {
	struct blk_driver *driver;
	const char *what;
	uint8_t pattern;
};

static void check_write(struct blk_request *request)
{
	const struct range *range = request->context;

	if (request->status != VIRTIO_BLK_S_OK)
		fail(request->driver, range->what, request->offset,
		     request->status);
}

static void check_read(struct blk_request *request)
{
	const struct range *range = request->context;

	check_write(request);
	for (uint32_t i = 0; i < request->len; i++) {
		if (request->data[i] != range->pattern)
			die(EXIT_FAILURE, "byte at %" PRIu64 " is %#x, not %#x",
			    request->offset + i, request->data[i],
			    range->pattern);
	}
}

static void run_range(struct range *range, uint32_t type, char **args,
		      void (*done)(struct blk_request *))
{
	uint64_t offset = size_argument(args[0]);
	uint64_t end = offset + size_argument(args[2]);

	range->pattern = pattern_argument(args[1]);
	for (uint64_t at = offset; at < end;) {
		struct blk_request *request = blk_driver_take(range->driver);
		uint64_t len =
			end - at < BLK_DATA_MAX ? end - at : BLK_DATA_MAX;

		if (!request)
			fail(range->driver, range->what, at, -1);
		request->type = type;
		request->offset = at;
		request->len = (uint32_t)len;
		request->done = done;
		request->context = range;
		memset(request->data,
		       type == VIRTIO_BLK_T_OUT ? range->pattern : 0xdb, len);
		blk_driver_submit(request);
		at += len;
	}
	if (!blk_driver_drain(range->driver))
		fail(range->driver, range->what, offset, -1);
}

static void run_write(struct blk_driver *driver, char **args)
{
	struct range range = { .driver = driver, .what = "write" };

	run_range(&range, VIRTIO_BLK_T_OUT, args, check_write);
}

static void run_verify(struct blk_driver *driver, char **args)
{
	struct range range = { .driver = driver, .what = "read" };

	run_range(&range, VIRTIO_BLK_T_IN, args, check_read);
}

static void run_flush(struct blk_driver *driver, char **args)
{
	int status = blk_driver_do(driver, VIRTIO_BLK_T_FLUSH, 0, NULL, 0);

	(void)args;
	if (status != VIRTIO_BLK_S_OK)
		fail(driver, "flush", 0, status);
}

static void do_extent(struct blk_driver *driver, uint32_t type,
		      const char *what, char **args)
{
	uint64_t offset = size_argument(args[0]);
	struct virtio_blk_range range = {
		.sector = offset / VIRTIO_BLK_SECTOR,
		.num_sectors =
			(uint32_t)(size_argument(args[1]) / VIRTIO_BLK_SECTOR),
	};
	int status = blk_driver_do(driver, type, 0, &range, sizeof(range));

	if (status != VIRTIO_BLK_S_OK)
		fail(driver, what, offset, status);
}

static void run_discard(struct blk_driver *driver, char **args)
{
	do_extent(driver, VIRTIO_BLK_T_DISCARD, "discard", args);
}

static void run_zero(struct blk_driver *driver, char **args)
{
	do_extent(driver, VIRTIO_BLK_T_WRITE_ZEROES, "zero", args);
}

/* A request as a broken driver sends it: must fail, and harm nobody. */
static void run_refused(struct blk_driver *driver, char **args)
{
	uint8_t sector[VIRTIO_BLK_SECTOR] = { 0 };
	uint64_t offset = size_argument(args[1]);
	uint32_t type =
		strcmp(args[0], "read") ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
	int status =
		blk_driver_do(driver, type, offset, sector, sizeof(sector));

	if (status < 0)
		fail(driver, args[0], offset, status);
	if (status == VIRTIO_BLK_S_OK)
		die(EXIT_FAILURE, "%s at %" PRIu64 ": not refused", args[0],
		    offset);
}

/* With requests in flight, as a guest that reboots has. */
static void run_reset(struct blk_driver *driver, char **args)
{
	uint64_t n;

	if (number_parse(args[0], 0, driver->depth, &n) < 0)
		options_fail("%s is not a number up to the depth", args[0]);
	if (!blk_driver_drain(driver))
		fail(driver, "reset", 0, -1);
	for (uint64_t i = 0; i < n; i++) {
		struct blk_request *request = blk_driver_take(driver);

		if (!request)
			fail(driver, "read", 0, -1);
		request->type = VIRTIO_BLK_T_IN;
		request->len = BLK_DATA_MAX;
		blk_driver_submit(request);
	}
	if (!blk_driver_reset(driver))
		fail(driver, "reset", 0, -1);
}

static void run_print(struct blk_driver *driver, char **args)
{
	(void)driver;
	puts(args[0]);
	fflush(stdout);
}

static void run_wait(struct blk_driver *driver, char **args)
{
	while (access(args[0], F_OK) < 0) {
		if (!blk_driver_step(driver, 20))
			fail(driver, "wait", 0, -1);
	}
}

static void run_stress(struct blk_driver *driver, char **args)
{
	struct error err = ERROR_INIT;
	struct blk_stress_result result;
	uint64_t seconds;

	if (number_parse(args[0], 0, 3600, &seconds) < 0)
		options_fail("%s is not a number of seconds", args[0]);
	stress_options.seconds = (unsigned)seconds;
	if (blk_stress(driver, &stress_options, &result, &err) < 0)
		die(EXIT_FAILURE, "%s", err.text);
	printf("writes %" PRIu64 "\nreads %" PRIu64 "\nflushes %" PRIu64
	       "\nblocks %" PRIu64 "\n",
	       result.n_writes, result.n_reads, result.n_flushes,
	       result.n_blocks);
}

static const struct command commands[] = {
	{ "info", "", "capacity, features", 0, run_info },
	{ "id", "", "the disk's serial number", 0, run_id },
	{ "write", "OFFSET BYTE LEN", "write LEN times BYTE", 3, run_write },
	{ "verify", "OFFSET BYTE LEN", "read LEN times BYTE", 3, run_verify },
	{ "flush", "", "", 0, run_flush },
	{ "discard", "OFFSET LEN", "", 2, run_discard },
	{ "zero", "OFFSET LEN", "write zeroes", 2, run_zero },
	{ "refused", "read|write OFFSET", "one sector, which must fail", 2,
	  run_refused },
	{ "reset", "N", "reset the device with N reads in flight, start again",
	  1, run_reset },
	{ "print", "TEXT", "a line to standard output", 1, run_print },
	{ "wait", "FILE", "until FILE exists", 1, run_wait },
	{ "stress", "SECONDS", "random I/O, then verify what was acknowledged",
	  1, run_stress },
	{ NULL, NULL, NULL, 0, NULL },
};

static const struct command *find_command(const char *name)
{
	for (const struct command *command = commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	options_fail("unknown command %s", name);
}

static unsigned number_option(const struct options *options, unsigned max)
{
	uint64_t number;

	if (number_parse(options->argument, 1, max, &number) < 0)
		options_fail("%s is not a number from 1 to %u",
			     options->argument, max);
	return (unsigned)number;
}

static int reconnect_option(const struct options *options)
{
	if (strcmp(options->argument, "forever") == 0)
		return FRONTEND_RECONNECT_FOREVER;
	if (strcmp(options->argument, "never") == 0)
		return FRONTEND_RECONNECT_NEVER;
	return (int)number_option(options, 86400);
}

static void take_option(struct blk_options *blk, int id,
			const struct options *options)
{
	switch (id) {
	case OPTION_DEPTH:
		blk->depth = number_option(options, BLK_DEPTH_MAX);
		break;
	case OPTION_QUEUES:
		blk->n_queues = number_option(options, BLK_QUEUES_MAX);
		break;
	case OPTION_RECONNECT:
		blk->reconnect_seconds = reconnect_option(options);
		break;
	case OPTION_DECLINE:
		if (number_parse(options->argument, 0, UINT64_MAX,
				 &blk->declined) < 0)
			options_fail("%s is not a number", options->argument);
		break;
	case OPTION_FD:
		blk->fd = (int)number_option(options, 1 << 20);
		break;
	case OPTION_SPAN:
		stress_options.span = size_argument(options->argument);
		break;
	case OPTION_SEED:
		stress_options.seed = number_option(options, 1 << 30);
		break;
	default:
		break;
	}
}

int main(int argc, char **argv)
{
	static struct blk_driver driver;
	struct blk_options blk = {
		.fd = -1,
		.depth = 16,
		.reconnect_seconds = FRONTEND_RECONNECT_FOREVER,
	};
	struct options options = {
		.specs = specs,
		.usage = "[OPTION]... SOCKET COMMAND [ARGUMENT]... "
			 "[COMMAND...]",
		.about = "info | id | write OFFSET BYTE LEN | verify OFFSET "
			 "BYTE LEN | flush |\n  discard OFFSET LEN | zero "
			 "OFFSET LEN | refused read|write OFFSET | reset N |\n"
			 "  print TEXT | wait FILE | stress SECONDS",
		.argc = argc,
		.argv = argv,
	};
	struct error err = ERROR_INIT;
	int operand, id;

	log_init("vhost-blk");
	while ((id = options_next(&options, &operand)) >= 0)
		take_option(&blk, id, &options);
	if (blk.fd < 0 && operand < argc)
		blk.socket_path = argv[operand++];
	if (operand == argc)
		options_fail("no command");
	if (blk_driver_open(&driver, &blk, &err) < 0)
		die(EXIT_FAILURE, "%s", err.text);
	while (operand < argc) {
		const struct command *command = find_command(argv[operand++]);

		if (argc - operand < command->n_args)
			options_fail("%s %s", command->name,
				     command->arguments);
		command->run(&driver, argv + operand);
		operand += command->n_args;
	}
	blk_driver_close(&driver);
	return EXIT_SUCCESS;
}
