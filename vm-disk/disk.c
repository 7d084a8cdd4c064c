/* SPDX-License-Identifier: ISC */
/*
 * A disk's connections, one at a time. The end of one:
 *
 *	front end gone, or disk_stop()
 *	  → lib/vhost stops the queues, serve.c says when they have drained
 *	  → disconnected(): flush the image
 *	  → flushed(): close the connection and take the next; or, if there is
 *	    none to come, stop the loop: disk_close() closes the image before
 *	    the connection, whose end tells a VMM that all is on the disk and
 *	    unlocked.
 */
#include "vm-disk/disk.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/image/secret.h"
#include "protocols/virtio.h"
#include "protocols/virtio_blk.h"
#include "vm-disk/options.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum {
	/* For a lock that somebody holds. */
	LOCK_TRIES = 100,
	LOCK_TRY_US = 10000,
	KEY_LEN_MAX = 8192,
};

#define KEY_ID "key"

static uint64_t get_features(void *context)
{
	return config_features(context);
}

static void set_features(void *context, uint64_t features)
{
	struct disk *disk = context;

	disk->is_write_through = !(features & 1ull << VIRTIO_BLK_F_FLUSH);
}

static void get_config(void *context, uint8_t *config)
{
	config_fill(context, config);
}

static void end_connection(struct disk *disk)
{
	disk->is_closing = false;
	if (disk->is_stopping || disk->server.is_single) {
		event_loop_stop(disk->loop, disk->status);
		return;
	}
	vhost_backend_free(steal_ptr(&disk->backend));
	server_closed(&disk->server);
}

static void flushed(struct image_request *io, int result)
{
	struct disk *disk = container_of(io, struct disk, last_flush);

	if (result < 0) {
		serve_complain(disk, "flush", 0, io->error_text, result);
		disk->status = EXIT_FAILURE;
	}
	end_connection(disk);
}

/* In a worker, as an image's server may stall. */
static void flush_last(struct disk *disk)
{
	disk->is_closing = true;
	disk->last_flush = (struct image_request){
		.operation = IMAGE_OP_FLUSH,
		.done = flushed,
	};
	image_queue_submit(disk->queue, &disk->last_flush);
	image_queue_kick(disk->queue);
}

static void disconnected(void *context, const char *reason)
{
	struct disk *disk = context;

	if (reason)
		log_warn("%s: connection dropped: %s", image_path(disk->image),
			 reason);
	flush_last(disk);
}

static int connected(struct server *server, int fd)
{
	struct disk *disk = container_of(server, struct disk, server);
	int r = vhost_backend_new(&disk->backend, disk->loop, fd, &disk->ops,
				  disk->options->n_queues,
				  image_path(disk->image), disk);

	if (r < 0) {
		log_error("%s: cannot serve a connection: %s",
			  image_path(disk->image), strerror(-r));
		return r;
	}
	disk->stats.n_connections++;
	disk->is_write_through = false;
	if (server_is_open(server))
		(void)vhost_backend_expect_greeting(disk->backend);
	return 0;
}

static void finished(struct server *server)
{
	disk_stop(container_of(server, struct disk, server));
}

static const struct vhost_device_ops device_ops = {
	.name = "blk",
	.device_id = VIRTIO_ID_BLOCK,
	.config_size = sizeof(struct virtio_blk_config),
	.has_inflight = true,
	.get_features = get_features,
	.set_features = set_features,
	.get_config = get_config,
	.queue_started = serve_queue_started,
	.queue_kicked = serve_queue_kicked,
	.queue_stop = serve_queue_stop,
	.disconnected = disconnected,
};

/* A key is all of the file, up to its last byte. */
static int read_key(struct secrets *secrets, const char *path,
		    struct error *err)
{
	uint8_t key[KEY_LEN_MAX + 1];
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t len = 0;
	ssize_t n = 0;
	int r;

	if (fd < 0)
		return error_set_errno(err, -errno, "%s", path);
	while (len < sizeof(key) &&
	       (n = read(fd, key + len, sizeof(key) - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		r = error_set_errno(err, -errno, "%s", path);
	else if (len > KEY_LEN_MAX)
		r = error_set(err, -EFBIG, "%s: longer than %d bytes", path,
			      KEY_LEN_MAX);
	else
		r = secrets_add(secrets, KEY_ID, key, len, err);
	explicit_bzero(key, sizeof(key));
	return r;
}

/*
 * One that was killed may hold its locks for some milliseconds: the kernel
 * lets go of a file that io_uring worked on after the process is gone. (Not
 * before: so none of its writes can come after ours.)
 */
static int open_with(struct disk *disk, const struct disk_options *options,
		     const struct secrets *secrets, struct error *err)
{
	struct image_open_options open = {
		.format = options->format,
		.flags = (options->is_read_only ? IMAGE_READ_ONLY
						: IMAGE_RESIZE) |
			 (options->is_direct ? IMAGE_DIRECT : 0u) | IMAGE_NBD |
			 IMAGE_UNSHARED,
	};
	int r;

	if (options->key_file != NULL) {
		open.secrets = secrets;
		open.key_secret = KEY_ID;
	}
	r = image_open(&disk->image, options->image_path, &open, err);
	for (int i = 0; r == -EAGAIN && i < LOCK_TRIES; i++) {
		usleep(LOCK_TRY_US);
		r = image_open(&disk->image, options->image_path, &open, err);
	}
	return r;
}

static int open_image(struct disk *disk, const struct disk_options *options,
		      struct error *err)
{
	struct secrets *secrets = secrets_new();
	int r = secrets != NULL ? 0 : -ENOMEM;

	if (r == 0 && options->key_file != NULL)
		r = read_key(secrets, options->key_file, err);
	if (r == 0)
		r = open_with(disk, options, secrets, err);
	secrets_free(secrets);
	return r;
}

int disk_open(struct disk *disk, const struct disk_options *options,
	      struct error *err)
{
	int r = open_image(disk, options, err);

	if (r < 0)
		return r;
	disk->options = options;
	disk->ops = device_ops;
	disk->limits.n_sectors =
		image_size(disk->image) >> VIRTIO_BLK_SECTOR_SHIFT;
	disk->limits.is_read_only = image_is_read_only(disk->image);
	disk->ops.features = config_features(disk);
	disk->server.connected = connected;
	disk->server.finished = finished;
	return 0;
}

int disk_start(struct disk *disk, struct event_loop *loop, struct error *err)
{
	int r;

	disk->loop = loop;
	r = image_queue_new(&disk->queue, loop, disk->image, err);
	if (r < 0)
		return r;
	r = serve_init(disk);
	if (r < 0)
		return error_set_errno(err, r, "event loop");
	return 0;
}

void disk_stop(struct disk *disk)
{
	if (disk->is_stopping)
		return;
	disk->is_stopping = true;
	server_deinit(&disk->server);
	if (!disk->backend)
		flush_last(disk);
	else if (!disk->is_closing)
		vhost_backend_close(disk->backend);
}

int disk_close(struct disk *disk, struct error *err)
{
	int r = 0;

	/* A flush that the control socket asked for, say. */
	while (disk->queue && image_queue_n_active(disk->queue) > 0 && r == 0)
		r = event_loop_step(disk->loop, -1);
	serve_deinit(disk);
	image_queue_free(steal_ptr(&disk->queue));
	r = image_close(steal_ptr(&disk->image), err);
	vhost_backend_free(steal_ptr(&disk->backend));
	server_deinit(&disk->server);
	return r;
}
