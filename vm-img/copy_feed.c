/* SPDX-License-Identifier: ISC */
/* Standard input as the source: nobody knows how much there will be. */
#include "vm-img/copy_internal.h"

#include "lib/image/image.h"
#include "vm-img/standard.h"

#include <errno.h>

/*
 * The target's size follows what was fed: by doubling, and to the exact size
 * at the end. Nobody writes meanwhile. With the lock held.
 */
static int follow(struct copy_run *run, uint64_t end, struct error *err)
{
	const struct image_resize_options options = { .may_shrink = true };
	struct image *target = run->copy->target;
	uint64_t size = image_size(target);

	if (!turns_await(&run->turns, run->cursor, &run->lock))
		return -ECANCELED;
	while (size < end && size < INT64_MAX / 2)
		size *= 2;
	if (run->is_feed_over)
		size = end;
	return size == image_size(target)
		       ? 0
		       : image_resize(target, size, &options, err);
}

/* What comes from standard input, as data in buf. */
int copy_feed(struct copy_run *run, struct copy_piece *piece, uint8_t *buf,
	      struct error *err)
{
	bool is_raw = image_cluster_size(run->copy->target) == 1;
	size_t got;
	int rc = standard_read(buf, run->chunk_len, &got, err);

	piece->start = run->cursor;
	if (rc < 0)
		return rc;
	run->is_feed_over = got < run->chunk_len;
	/* Other formats' disks are made of sectors. */
	while (!is_raw && got % COPY_SECTOR != 0)
		buf[got++] = 0;
	piece->kind = COPY_DATA;
	piece->is_step = false; /* nobody knows of how much */
	piece->len = got;
	pthread_mutex_lock(&run->lock);
	piece->ready_ns = rate_take(&run->rate, got);
	if (run->is_feed_over ||
	    run->cursor + got > image_size(run->copy->target))
		rc = follow(run, run->cursor + got, err);
	if (rc == 0)
		run->cursor += got;
	pthread_mutex_unlock(&run->lock);
	return rc;
}
