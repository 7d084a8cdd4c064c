/* SPDX-License-Identifier: ISC */
/* Control verbs, one function each. */
#include "vm-disk/control.h"

#include "lib/base/cleanup.h"
#include "lib/base/control.h"
#include "lib/base/error.h"
#include "vm-disk/disk.h"
#include "vm-disk/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static int show_status(struct control_request *request, int argc, char **argv,
		       void *context)
{
	const struct disk *disk = context;

	(void)argc;
	(void)argv;
	control_reply(request, "image %s", image_path(disk->image));
	control_reply(request, "format %s", image_format_name(disk->image));
	control_reply(request, "size %" PRIu64, image_size(disk->image));
	control_reply(request, "read-only %s",
		      disk->limits.is_read_only ? "yes" : "no");
	control_reply(request, "connected %s",
		      disk->backend && !disk->is_closing ? "yes" : "no");
	control_reply(request, "in-progress %u",
		      image_queue_n_active(disk->queue));
	return 0;
}

static int show_stats(struct control_request *request, int argc, char **argv,
		      void *context)
{
	const struct disk *disk = context;
	const struct disk_stats *stats = &disk->stats;
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{ "connections", stats->n_connections },
		{ "reads", stats->n_reads },
		{ "read-bytes", stats->bytes_read },
		{ "writes", stats->n_writes },
		{ "written-bytes", stats->bytes_written },
		{ "flushes", stats->n_flushes },
		{ "discards", stats->n_discards },
		{ "zero-writes", stats->n_zeroes },
		{ "others", stats->n_others },
		{ "errors", stats->n_errors },
	};

	(void)argc;
	(void)argv;
	for (unsigned i = 0; i < array_size(rows); i++)
		control_reply(request, "%s %" PRIu64, rows[i].name,
			      rows[i].value);
	return 0;
}

struct flush {
	struct image_request io;
	struct control_request *request;
};

static void flush_done(struct image_request *io, int result)
{
	struct flush *flush = container_of(io, struct flush, io);

	if (result < 0 && io->error_text)
		control_error(flush->request, result, "%s", io->error_text);
	control_finish(flush->request, result);
	free(flush);
}

static int flush_image(struct control_request *request, int argc, char **argv,
		       void *context)
{
	struct disk *disk = context;
	struct flush *flush = malloc(sizeof(*flush));

	(void)argc;
	(void)argv;
	if (!flush)
		return -ENOMEM;
	flush->request = request;
	flush->io = (struct image_request){ .operation = IMAGE_OP_FLUSH,
					    .done = flush_done };
	image_queue_submit(disk->queue, &flush->io);
	image_queue_kick(disk->queue);
	return CONTROL_PENDING;
}

static const struct control_verb verbs[] = {
	{ "status", "", "show the image and whether it is in use", 0, 0,
	  show_status },
	{ "stats", "", "show counts of requests and bytes", 0, 0, show_stats },
	{ "flush", "", "write everything to stable storage", 0, 0,
	  flush_image },
	{ NULL, NULL, NULL, 0, 0, NULL },
};

int disk_control_new(struct control **control, struct disk *disk,
		     struct error *err)
{
	const char *path = disk->options->server.control_path;
	int fd = steal_fd(&disk->server.control_listener);

	*control = NULL;
	if (!path && fd < 0)
		return 0;
	return control_new(control, disk->loop, path, fd, verbs, disk, err);
}
