/* SPDX-License-Identifier: ISC */
#include "vm-img/stream.h"

#include "lib/base/cleanup.h"
#include "lib/image/image.h"
#include "vm-img/rate.h"
#include "vm-img/salvage.h"
#include "vm-img/status.h"
#include "vm-img/turns.h"
#include "vm-img/workers.h"

#include <pthread.h>
#include <string.h>

enum {
	PAGE = 4096,
	PIECE = 1024 * 1024,
};

uint64_t stream_size(const struct stream *stream)
{
	uint64_t size = 0;

	for (unsigned i = 0; i < stream->n_sources; i++)
		size += image_size(stream->sources[i]);
	return size;
}

/* The source that start lies in, or NULL beyond the end; *start is then in
 * that source. */
static struct image *find_source(const struct stream *stream, uint64_t *start)
{
	for (unsigned i = 0; i < stream->n_sources; i++) {
		uint64_t size = image_size(stream->sources[i]);

		if (*start < size)
			return stream->sources[i];
		*start -= size;
	}
	return NULL;
}

int stream_read(const struct stream *stream, uint64_t start, uint8_t *buf,
		size_t len, struct error *err)
{
	while (len > 0) {
		uint64_t offset = start;
		struct image *source = find_source(stream, &offset);
		size_t n = len;
		int rc;

		if (source == NULL) {
			memset(buf, 0, len);
			return 0;
		}
		if (n > image_size(source) - offset)
			n = (size_t)(image_size(source) - offset);
		rc = image_read(source, offset, buf, n, err);
		if (rc < 0 && stream->is_salvaged)
			salvage_read(source, offset, buf, n, stream->is_quiet);
		else if (rc < 0)
			return error_prefix(err, rc,
					    "error while reading at byte %llu",
					    (unsigned long long)start);
		start += n;
		buf += n;
		len -= n;
	}
	return 0;
}

int stream_write(const struct stream *stream, const void *buf, size_t len,
		 struct error *err)
{
	const char *p = buf;

	if (stream->rate != NULL)
		rate_sleep(rate_take(stream->rate, len));
	while (len > 0) {
		ssize_t n = write(stream->fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(err, -errno,
					       "Could not write to standard "
					       "output");
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Where the map cannot be read no more than a unit is looked at, and what is
 * not known of that then is whether it can be read. */
static int look_for_status(const struct stream *stream, struct image *source,
			   uint64_t start, uint64_t len, uint64_t unit_len,
			   struct status *status, struct error *err)
{
	int rc;

	if (!stream->is_salvaged)
		return status_get(source, start, len, status, err);
	rc = status_get(source, start, len, status, NULL);
	if (rc < 0 && len > unit_len)
		rc = status_get(source, start, len = unit_len, status, NULL);
	if (rc < 0)
		*status = (struct status){ .len = len < unit_len ? len
								 : unit_len };
	return 0;
}

/* Does the range that begins at start hold anything, and how far? */
static int look(const struct stream *stream, uint64_t start, uint64_t unit_len,
		uint64_t *len, bool *is_data, struct error *err)
{
	struct image *source = find_source(stream, &start);
	struct status status;
	int rc;

	*is_data = false;
	if (source == NULL)
		return 0;
	if (*len > image_size(source) - start)
		*len = image_size(source) - start;
	rc = look_for_status(stream, source, start, *len, unit_len, &status,
			     err);
	if (rc < 0)
		return error_prefix(err, rc,
				    "error while reading block status "
				    "at byte %llu",
				    (unsigned long long)start);
	*len = status.len;
	*is_data = !status.is_zero;
	return 0;
}

static int new_bits(uint64_t size, uint64_t unit_len, uint8_t **bits)
{
	*bits = calloc(size / unit_len / STREAM_UNITS + 1, STREAM_UNITS / 8);
	return *bits == NULL ? -ENOMEM : 0;
}

static void set_bits(uint8_t *bits, uint64_t unit_len, uint64_t at,
		     uint64_t len)
{
	for (uint64_t i = at / unit_len; i <= (at + len - 1) / unit_len; i++)
		bits[i / 8] |= (uint8_t)(1U << i % 8);
}

int stream_find_data(const struct stream *stream, uint64_t unit_len,
		     uint8_t **bits, struct error *err)
{
	uint64_t at = 0, size = stream_size(stream);
	int rc = new_bits(size, unit_len, bits);

	while (rc == 0 && at < size) {
		uint64_t len = size - at;
		bool is_data;

		rc = look(stream, at, unit_len, &len, &is_data, err);
		if (rc == 0 && is_data)
			set_bits(*bits, unit_len, at, len);
		at += len;
	}
	return rc;
}

/* What a unit has of each kind; one that has zeroes and something else has to
 * be read. */
struct kinds {
	uint8_t *data, *zero, *hole;
};

/* What is in none of its layers may show through from under the source, as it
 * will in the target; past the end of that, and without it, it is zero. */
static bool is_hole(struct image *source, uint64_t at,
		    struct image_extent *extent)
{
	const struct image *under = image_backing(source);

	if (extent->kind != IMAGE_EXTENT_HOLE || under == NULL ||
	    at >= image_size(under))
		return false;
	if (extent->len > image_size(under) - at)
		extent->len = image_size(under) - at;
	return true;
}

static bool reads_zeroes(const struct image_extent *extent)
{
	return extent->kind == IMAGE_EXTENT_HOLE ||
	       extent->kind == IMAGE_EXTENT_ZERO;
}

/* As look_for_status(), of the source's own map. */
static int look_for_extent(const struct stream *stream, uint64_t at,
			   uint64_t unit_len, struct image_extent *extent,
			   struct error *err)
{
	struct image *source = stream->sources[0];
	uint64_t len = image_size(source) - at;
	int rc;

	if (!stream->is_salvaged)
		return image_map(source, at, len, 0, extent, err);
	rc = image_map(source, at, len, 0, extent, NULL);
	if (rc < 0 && len > unit_len)
		rc = image_map(source, at, len = unit_len, 0, extent, NULL);
	if (rc < 0)
		*extent = (struct image_extent){
			.kind = IMAGE_EXTENT_DATA,
			.len = len < unit_len ? len : unit_len,
		};
	return 0;
}

static int look_at_own(const struct stream *stream, uint64_t unit_len,
		       struct kinds *k, struct error *err)
{
	struct image *source = stream->sources[0];
	uint64_t at = 0, size = image_size(source);

	while (at < size) {
		struct image_extent extent;
		int rc = look_for_extent(stream, at, unit_len, &extent, err);

		if (rc < 0)
			return error_prefix(err, rc,
					    "error while reading block status "
					    "at byte %llu",
					    (unsigned long long)at);
		set_bits(is_hole(source, at, &extent) ? k->hole
			 : reads_zeroes(&extent)      ? k->zero
						      : k->data,
			 unit_len, at, extent.len);
		at += extent.len;
	}
	return 0;
}

int stream_find_own(const struct stream *stream, uint64_t unit_len,
		    uint8_t **is_data, uint8_t **is_zero, struct error *err)
{
	uint64_t size = image_size(stream->sources[0]);
	uint64_t n = (size / unit_len / STREAM_UNITS + 1) * (STREAM_UNITS / 8);
	_cleanup_free_ uint8_t *zero = NULL, *hole = NULL;
	struct kinds k;
	int rc = new_bits(size, unit_len, is_data);

	if (rc == 0)
		rc = new_bits(size, unit_len, &zero);
	if (rc == 0)
		rc = new_bits(size, unit_len, &hole);
	if (rc < 0)
		return rc;
	k = (struct kinds){ .data = *is_data, .zero = zero, .hole = hole };
	rc = look_at_own(stream, unit_len, &k, err);
	for (uint64_t i = 0; i < n; i++) {
		k.data[i] |= is_zero == NULL ? zero[i] : zero[i] & hole[i];
		zero[i] &= (uint8_t)~k.data[i];
	}
	if (rc == 0 && is_zero != NULL)
		*is_zero = steal_ptr(&zero);
	return rc;
}

/* The lock guards all but pass, and not what fill does. */
struct run {
	const struct stream_pass *pass;
	pthread_mutex_t lock;
	uint64_t next; /* piece to be filled */
	uint64_t last; /* that was given out */
	struct turns turns;
	int result;
	uint64_t failed_at; /* index of the piece */
	struct error error;
};

/* With the lock held: of several errors, the first piece's is told. */
static void fail(struct run *run, uint64_t index, int rc,
		 const struct error *err)
{
	if (run->result == 0 || index < run->failed_at) {
		run->result = rc;
		run->failed_at = index;
		run->error = *err;
	}
	turns_end(&run->turns);
}

/* With the lock held, except for the work itself. */
static void do_piece(struct run *run, struct stream_piece *piece)
{
	const struct stream_pass *pass = run->pass;
	uint64_t index = run->next++, turn = run->last++;
	struct error err = ERROR_INIT;
	int rc;

	pthread_mutex_unlock(&run->lock);
	piece->len = 0;
	rc = pass->fill(pass, index, piece, &err);
	pthread_mutex_lock(&run->lock);
	if (rc == 0 && turns_await(&run->turns, turn, &run->lock)) {
		pthread_mutex_unlock(&run->lock);
		rc = pass->emit(pass, index, piece, &err);
		pthread_mutex_lock(&run->lock);
	}
	if (rc < 0)
		fail(run, index, rc, &err);
	turns_pass(&run->turns, 1);
}

static bool has_any(const struct stream_pass *pass, uint64_t piece)
{
	for (uint64_t i = 0; i < pass->n_units; i++)
		if (stream_has_data(pass->is_data, piece * pass->n_units + i))
			return true;
	return false;
}

/* With the lock held. */
static bool find_piece(struct run *run)
{
	const struct stream_pass *pass = run->pass;

	while (pass->is_data != NULL && run->next < pass->n &&
	       !has_any(pass, run->next))
		run->next++;
	return run->result == 0 && run->next < pass->n;
}

static void *work(void *context)
{
	struct run *run = context;
	const struct stream_pass *pass = run->pass;
	struct error none = ERROR_INIT;
	struct stream_piece piece = {
		.buf = aligned_alloc(PAGE, pass->buf_len),
	};

	pthread_mutex_lock(&run->lock);
	if (piece.buf == NULL)
		fail(run, 0, -ENOMEM, &none);
	while (find_piece(run))
		do_piece(run, &piece);
	pthread_mutex_unlock(&run->lock);
	if (piece.tool != NULL && pass->free_tool != NULL)
		pass->free_tool(piece.tool);
	free(piece.buf);
	return NULL;
}

int stream_run(const struct stream_pass *pass, struct error *err)
{
	struct run run = { .pass = pass };

	pthread_mutex_init(&run.lock, NULL);
	workers_run(pass->n_workers > 0 ? pass->n_workers
					: pass->stream->n_workers,
		    work, &run);
	pthread_mutex_destroy(&run.lock);
	if (run.result < 0 && err != NULL)
		*err = run.error;
	return run.result;
}

static int fill_raw(const struct stream_pass *pass, uint64_t index,
		    struct stream_piece *piece, struct error *err)
{
	uint64_t start = index * PIECE;
	uint64_t left = stream_size(pass->stream) - start;

	piece->len = left < PIECE ? (size_t)left : PIECE;
	return stream_read(pass->stream, start, piece->buf, piece->len, err);
}

static int emit_raw(const struct stream_pass *pass, uint64_t index,
		    struct stream_piece *piece, struct error *err)
{
	(void)index;
	return stream_write(pass->stream, piece->buf, piece->len, err);
}

int stream_raw(const struct stream *stream, struct error *err)
{
	const struct stream_pass pass = {
		.stream = stream,
		.n = (stream_size(stream) + PIECE - 1) / PIECE,
		.buf_len = PIECE,
		.fill = fill_raw,
		.emit = emit_raw,
	};

	return stream_run(&pass, err);
}
