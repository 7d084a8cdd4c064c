/* SPDX-License-Identifier: ISC */
/*
 * Random 4 KiB requests at a fixed depth over vhost-user, for bench/disk.sh:
 *
 *	disk_load SOCKET read|write DEPTH SECONDS
 *
 * prints the requests per second. The whole disk is used; what a write puts
 * there is of no meaning.
 */
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/size.h"
#include "lib/vhost/frontend.h"
#include "tests/support/blk_driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	BLOCK = 4096,
};

struct load {
	struct blk_driver driver;
	uint32_t type;
	uint64_t n_blocks, n_done, random;
	bool is_over;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void submit(struct load *load);

static void done(struct blk_request *request)
{
	struct load *load = request->context;

	if (request->status != VIRTIO_BLK_S_OK)
		die(EXIT_FAILURE, "I/O error at %" PRIu64, request->offset);
	load->n_done++;
	if (!load->is_over)
		submit(load);
}

static void submit(struct load *load)
{
	struct blk_request *request = blk_driver_take(&load->driver);

	if (!request)
		die(EXIT_FAILURE, "%s", blk_driver_problem(&load->driver));
	load->random ^= load->random << 13;
	load->random ^= load->random >> 7;
	load->random ^= load->random << 17;
	request->type = load->type;
	request->offset = load->random % load->n_blocks * BLOCK;
	request->len = BLOCK;
	request->done = done;
	request->context = load;
	blk_driver_submit(request);
}

int main(int argc, char **argv)
{
	static struct load load = { .random = 88172645463325252u };
	struct blk_options options = { .fd = -1 };
	struct error err = ERROR_INIT;
	uint64_t depth, seconds;
	double start;

	log_init("disk_load");
	if (argc != 5 || number_parse(argv[3], 1, BLK_DEPTH_MAX, &depth) < 0 ||
	    number_parse(argv[4], 1, 3600, &seconds) < 0)
		die(EXIT_USAGE, "SOCKET read|write DEPTH SECONDS");
	options.socket_path = argv[1];
	options.reconnect_seconds = FRONTEND_RECONNECT_NEVER;
	options.depth = (unsigned)depth;
	if (blk_driver_open(&load.driver, &options, &err) < 0)
		die(EXIT_FAILURE, "%s", err.text);
	load.type = strcmp(argv[2], "write") == 0 ? VIRTIO_BLK_T_OUT
						  : VIRTIO_BLK_T_IN;
	load.n_blocks = load.driver.config.capacity * VIRTIO_BLK_SECTOR / BLOCK;
	start = now();
	for (unsigned i = 0; i < depth; i++)
		submit(&load);
	while (now() - start < (double)seconds)
		if (!blk_driver_step(&load.driver, 100))
			die(EXIT_FAILURE, "%s",
			    blk_driver_problem(&load.driver));
	printf("%.0f\n", (double)load.n_done / (now() - start));
	load.is_over = true;
	if (!blk_driver_drain(&load.driver))
		die(EXIT_FAILURE, "%s", blk_driver_problem(&load.driver));
	blk_driver_close(&load.driver);
	return EXIT_SUCCESS;
}
