/* SPDX-License-Identifier: ISC */
/*
 * One disk: the image with its queue, the connection that it serves, and what
 * is in progress for it. Everything belongs to the event loop's thread.
 *
 *	disk.c	 connections: they come, are served, drain and end
 *	serve.c	 requests: taken from a ring, carried out, given back
 *	config.c what the guest is told about the disk
 */
#ifndef VM_DISK_DISK_H
#define VM_DISK_DISK_H

#include "lib/base/server.h"
#include "lib/image/queue.h"
#include "lib/vhost/backend.h"
#include "vm-disk/request.h"

#include <stdbool.h>
#include <stdint.h>

struct disk_options;
struct disk_task;
struct error;

struct disk_stats {
	uint64_t n_reads, n_writes, n_flushes, n_discards, n_zeroes, n_others;
	uint64_t bytes_read, bytes_written;
	uint64_t n_errors; /* of the image, not of the guest's making */
	uint64_t n_connections;
};

/* What is in progress of one queue of the connection. */
struct disk_queue {
	struct vhost_queue *queue; /* NULL: not running */
	unsigned n_active;
	bool is_stopping; /* says vhost_queue_drained() at 0 */
	bool is_dirty;	  /* pushed since vhost_queue_flush() */
	bool is_due;	  /* its turn ended before its requests did */
};

struct disk {
	const struct disk_options *options;
	struct event_loop *loop;
	struct server server;
	struct image *image;
	struct image_queue *queue;
	struct vhost_device_ops ops; /* const but for the features */
	struct blk_limits limits;

	struct vhost_backend *backend; /* the connection, or NULL */
	struct image_request last_flush;
	bool is_closing;       /* the connection is over but for the flush */
	bool is_stopping;      /* no connection is to follow */
	bool is_write_through; /* the driver cannot flush */
	struct event_source again; /* rings left for the others' sake */
	int again_fd;

	struct disk_queue queues[VHOST_QUEUES_MAX];
	struct disk_task *spare; /* for the next requests */
	unsigned n_spare;
	struct disk_stats stats;
	int status; /* of the program */
	/* Errors are told at most once in a while. */
	uint64_t complained_ms;
	unsigned n_untold;
};

#define DISK_INIT \
	{ \
		.server = SERVER_INIT, .again = EVENT_SOURCE_INIT, \
		.again_fd = -1 \
	}

/* Open the image, and lock it. No thread yet: server_open() may fork. */
int disk_open(struct disk *disk, const struct disk_options *options,
	      struct error *err);
/* The server is open too. From here on there are threads. */
int disk_start(struct disk *disk, struct event_loop *loop, struct error *err);
/* Take no more connections, drain the one there is, flush; then the loop
 * stops. Idempotent. */
void disk_stop(struct disk *disk);
/*
 * After the loop: wait for what is in progress, close the image, and only
 * then the connection. -errno of a late write, with a text.
 */
int disk_close(struct disk *disk, struct error *err);

/* serve.c: hooks of struct vhost_device_ops. */
void serve_queue_started(void *context, struct vhost_queue *queue);
void serve_queue_kicked(void *context, struct vhost_queue *queue);
bool serve_queue_stop(void *context, struct vhost_queue *queue);
int serve_init(struct disk *disk);
void serve_deinit(struct disk *disk);
/* One line about an error of the image, or none if there were many. text may
 * be NULL. */
void serve_complain(struct disk *disk, const char *what, uint64_t offset,
		    const char *text, int code);

/* config.c */
uint64_t config_features(const struct disk *disk);
void config_fill(const struct disk *disk, uint8_t *config);
/* Exactly VIRTIO_BLK_ID_LEN bytes. */
void config_serial(const struct disk *disk, char *id);

#endif
