/* SPDX-License-Identifier: ISC */
/*
 * The layer: a file over another one, which fails as the rules say and else
 * hands on. Its lock guards the rules' state and is not held during I/O.
 *
 * Of a request that fails in its middle the pieces before are done, as a disk
 * would have it.
 */
#include "lib/image/blkdebug.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/filter.h"
#include "lib/image/lock.h"

#include <limits.h>
#include <string.h>

struct debug_file {
	struct filter_file filter; /* first */
	uint64_t align, max_transfer;
	uint64_t opt_write_zero, max_write_zero, opt_discard, max_discard;
	unsigned taken, unshared;

	pthread_mutex_t lock;
	/* All below is under the lock. */
	int number; /* the state that rules ask for */
	unsigned n_rules;
	struct debug_rule {
		struct blkdebug_rule r;
		bool is_awake, is_gone;
	} * rules;
};

static struct debug_file *debug_of(const struct image_file *file)
{
	return container_of(file, struct debug_file, filter.state.file);
}

/* With the lock. The first rule that sets the state counts. */
static void wake(struct debug_file *d, enum image_event event)
{
	bool has_any = false, is_set = false;
	int number = d->number;

	for (unsigned i = 0; i < d->n_rules; i++) {
		struct debug_rule *rule = &d->rules[i];

		if (rule->is_gone || rule->r.event != event ||
		    (rule->r.state != 0 && rule->r.state != d->number))
			continue;
		if (rule->r.action == BLKDEBUG_SET_STATE) {
			if (!is_set)
				number = rule->r.new_state;
			is_set = true;
			continue;
		}
		for (unsigned j = 0; j < d->n_rules && !has_any; j++)
			d->rules[j].is_awake = false;
		has_any = true;
		rule->is_awake = true;
	}
	d->number = number;
}

static void hear(const struct image_file *file, enum image_event event)
{
	struct debug_file *d = debug_of(file);

	pthread_mutex_lock(&d->lock);
	wake(d, event);
	pthread_mutex_unlock(&d->lock);
}

/* With the lock: 0, or the -errno that this is to fail with. */
static int judge(struct debug_file *d, enum blkdebug_io io, uint64_t offset,
		 uint64_t len)
{
	for (unsigned i = 0; i < d->n_rules; i++) {
		struct debug_rule *rule = &d->rules[i];

		if (!rule->is_awake || !(rule->r.io_mask & 1U << io) ||
		    (rule->r.has_offset && (rule->r.offset < offset ||
					    rule->r.offset - offset >= len)))
			continue;
		if (rule->r.error == 0)
			return 0;
		if (rule->r.is_once) {
			rule->is_awake = false;
			rule->is_gone = true;
		}
		return -rule->r.error;
	}
	return 0;
}

/*
 * With the lock: [start, end) in pieces of at most max (0: one). *done becomes
 * the end of the last one that goes well.
 */
static int judge_pieces(struct debug_file *d, enum blkdebug_io io,
			uint64_t start, uint64_t end, uint64_t max,
			uint64_t *done)
{
	*done = start;
	while (*done < end) {
		uint64_t len = end - *done;
		int rc;

		if (max != 0 && len > max)
			len = max;
		rc = judge(d, io, *done, len);
		if (rc < 0)
			return rc;
		*done += len;
	}
	return 0;
}

static uint64_t round_down(uint64_t offset, uint64_t unit)
{
	return unit == 0 ? offset : offset - offset % unit;
}

static uint64_t round_up(uint64_t offset, uint64_t unit)
{
	return unit == 0 || offset % unit == 0
		       ? offset
		       : round_down(offset, unit) + unit;
}

/* How much of [offset, offset + len) comes before done. */
static uint64_t part_before(uint64_t offset, uint64_t len, uint64_t done)
{
	if (done <= offset)
		return 0;
	return done - offset < len ? done - offset : len;
}

static int debug_readv(const struct image_file *file, uint64_t offset,
		       const struct iovec *iov, unsigned n_iov)
{
	struct debug_file *d = debug_of(file);
	uint64_t done, end = offset + iov_total(iov, n_iov);
	int rc;

	pthread_mutex_lock(&d->lock);
	rc = judge_pieces(d, BLKDEBUG_IO_READ, round_down(offset, d->align),
			  round_up(end, d->align), d->max_transfer, &done);
	pthread_mutex_unlock(&d->lock);
	return rc < 0 ? rc : filter_readv(file, offset, iov, n_iov);
}

/* With the lock: blocks at the edges would be read first. */
static int judge_edges(struct debug_file *d, uint64_t offset, uint64_t end)
{
	uint64_t head = round_down(offset, d->align);
	uint64_t tail = round_down(end, d->align);
	int rc = 0;

	if (head != offset) {
		wake(d, IMAGE_EVENT_PWRITEV_RMW_HEAD);
		rc = judge(d, BLKDEBUG_IO_READ, head, d->align);
		if (rc == 0)
			wake(d, IMAGE_EVENT_PWRITEV_RMW_AFTER_HEAD);
	}
	if (rc == 0 && tail != end && (tail != head || head == offset)) {
		wake(d, IMAGE_EVENT_PWRITEV_RMW_TAIL);
		rc = judge(d, BLKDEBUG_IO_READ, tail, d->align);
		if (rc == 0)
			wake(d, IMAGE_EVENT_PWRITEV_RMW_AFTER_TAIL);
	}
	return rc;
}

/* The first len bytes. */
static int write_part(const struct image_file *file, uint64_t offset,
		      const struct iovec *iov, uint64_t len)
{
	while (len > 0) {
		struct iovec piece = *iov++;
		int rc;

		if (piece.iov_len > len)
			piece.iov_len = len;
		rc = filter_writev(file, offset, &piece, 1);
		if (rc < 0)
			return rc;
		offset += piece.iov_len;
		len -= piece.iov_len;
	}
	return 0;
}

static int debug_writev(const struct image_file *file, uint64_t offset,
			const struct iovec *iov, unsigned n_iov)
{
	struct debug_file *d = debug_of(file);
	uint64_t len = iov_total(iov, n_iov), end = offset + len;
	uint64_t done = 0;
	int rc, write_rc = 0;

	pthread_mutex_lock(&d->lock);
	rc = judge_edges(d, offset, end);
	if (rc == 0) {
		wake(d, IMAGE_EVENT_PWRITEV);
		rc = judge_pieces(d, BLKDEBUG_IO_WRITE,
				  round_down(offset, d->align),
				  round_up(end, d->align), d->max_transfer,
				  &done);
	}
	pthread_mutex_unlock(&d->lock);
	if (rc == 0)
		write_rc = filter_writev(file, offset, iov, n_iov);
	else
		write_rc = write_part(file, offset, iov,
				      part_before(offset, len, done));
	hear(file, IMAGE_EVENT_PWRITEV_DONE);
	return write_rc < 0 ? write_rc : rc;
}

/* What is not whole units at the edges would be written as data. */
static int judge_zero(struct debug_file *d, uint64_t start, uint64_t end,
		      uint64_t *done)
{
	uint64_t unit =
		d->opt_write_zero > d->align ? d->opt_write_zero : d->align;
	uint64_t first = round_up(start, unit), last = round_down(end, unit);
	int rc;

	if (first > last)
		return judge_pieces(d, BLKDEBUG_IO_WRITE, start, end,
				    d->max_transfer, done);
	rc = judge_pieces(d, BLKDEBUG_IO_WRITE, start, first, d->max_transfer,
			  done);
	if (rc == 0)
		rc = judge_pieces(d, BLKDEBUG_IO_WRITE_ZEROES, first, last,
				  d->max_write_zero, done);
	if (rc == 0)
		rc = judge_pieces(d, BLKDEBUG_IO_WRITE, last, end,
				  d->max_transfer, done);
	return rc;
}

static int debug_zero(const struct image_file *file, uint64_t offset,
		      uint64_t len, bool keep_space)
{
	struct debug_file *d = debug_of(file);
	uint64_t done;
	int rc, zero_rc;

	pthread_mutex_lock(&d->lock);
	wake(d, IMAGE_EVENT_PWRITEV_ZERO);
	rc = judge_zero(d, round_down(offset, d->align),
			round_up(offset + len, d->align), &done);
	pthread_mutex_unlock(&d->lock);
	if (rc < 0)
		len = part_before(offset, len, done);
	zero_rc = filter_zero(file, offset, len, keep_space);
	hear(file, IMAGE_EVENT_PWRITEV_DONE);
	return zero_rc < 0 ? zero_rc : rc;
}

/* Whole units alone are given back. */
static int debug_punch(const struct image_file *file, uint64_t offset,
		       uint64_t len)
{
	struct debug_file *d = debug_of(file);
	uint64_t unit = d->opt_discard > d->align ? d->opt_discard : d->align;
	uint64_t first = round_up(offset, unit);
	uint64_t last = round_down(offset + len, unit), done;
	int rc;

	if (first >= last)
		return 0;
	pthread_mutex_lock(&d->lock);
	rc = judge_pieces(d, BLKDEBUG_IO_DISCARD, first, last, d->max_discard,
			  &done);
	pthread_mutex_unlock(&d->lock);
	if (rc == 0)
		return filter_punch(file, first, last - first);
	(void)filter_punch(file, first, done - first);
	return rc;
}

static int debug_flush(const struct image_file *file)
{
	struct debug_file *d = debug_of(file);
	int rc;

	pthread_mutex_lock(&d->lock);
	rc = judge(d, BLKDEBUG_IO_FLUSH, 0, 0);
	pthread_mutex_unlock(&d->lock);
	return rc < 0 ? rc : filter_flush(file);
}

static int judge_status(const struct image_file *file, uint64_t offset,
			uint64_t len)
{
	struct debug_file *d = debug_of(file);
	int rc;

	pthread_mutex_lock(&d->lock);
	rc = judge(d, BLKDEBUG_IO_BLOCK_STATUS, offset, len);
	pthread_mutex_unlock(&d->lock);
	return rc;
}

static int debug_extent(const struct image_file *file, uint64_t offset,
			uint64_t len, bool *is_data, uint64_t *extent_len)
{
	int rc = judge_status(file, offset, len);

	return rc < 0 ? rc
		      : filter_extent(file, offset, len, is_data, extent_len);
}

static int debug_map(const struct image_file *file, uint64_t offset,
		     uint64_t len, unsigned flags, struct image_extent *extent,
		     struct error *err)
{
	int rc = judge_status(file, offset, len);

	return rc < 0 ? rc : filter_map(file, offset, len, flags, extent, err);
}

static int debug_lock(const struct image_file *file,
		      const struct image_locks *locks, struct error *err)
{
	const struct debug_file *d = debug_of(file);
	const struct image_locks all = {
		.used = locks->used | d->taken,
		.unshared = locks->unshared | d->unshared,
	};

	return filter_lock(file, &all, err);
}

static int debug_close(struct image_file *file)
{
	struct debug_file *d = debug_of(file);
	int rc = filter_close(&d->filter);

	pthread_mutex_destroy(&d->lock);
	free(d->rules);
	free(d);
	return rc;
}

static const struct file_ops ops = {
	.driver = "blkdebug",
	.size = filter_size,
	.readv = debug_readv,
	.writev = debug_writev,
	.zero = debug_zero,
	.punch = debug_punch,
	.flush = debug_flush,
	.extent = debug_extent,
	.truncate = filter_truncate,
	.allocate = filter_allocate,
	.identify = filter_identify,
	.lock = debug_lock,
	.disk = filter_disk,
	.map = debug_map,
	.close = debug_close,
};

static int refuse(const char *name, uint64_t value, struct error *err)
{
	return error_set(err, -EINVAL, "Cannot meet constraints with %s %llu",
			 name, (unsigned long long)value);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	uint64_t max = a > b ? a : b;

	return max > 0 ? max : 1;
}

static int check_limits(const struct blkdebug *d, const struct image_file *file,
			struct error *err)
{
	uint64_t align = larger(d->align, file->alignment);

	if (d->align >= INT_MAX || (d->align & (d->align - 1)) != 0)
		return refuse("align", d->align, err);
	if (d->max_transfer >= INT_MAX || d->max_transfer % align != 0)
		return refuse("max-transfer", d->max_transfer, err);
	if (d->opt_write_zero >= INT_MAX || d->opt_write_zero % align != 0)
		return refuse("opt-write-zero", d->opt_write_zero, err);
	if (d->max_write_zero >= INT_MAX ||
	    d->max_write_zero % larger(d->opt_write_zero, align) != 0)
		return refuse("max-write-zero", d->max_write_zero, err);
	if (d->opt_discard >= INT_MAX || d->opt_discard % align != 0)
		return refuse("opt-discard", d->opt_discard, err);
	if (d->max_discard >= INT_MAX ||
	    d->max_discard % larger(d->opt_discard, align) != 0)
		return refuse("max-discard", d->max_discard, err);
	if (d->taken & ~(unsigned)IMAGE_PERM_CONSISTENT_READ &&
	    file->is_read_only)
		return error_set(err, -EPERM, "Block node is read-only");
	return 0;
}

/* But for the filter. NULL: no memory. */
static struct debug_file *make(const struct blkdebug *from)
{
	struct debug_file *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	*d = (struct debug_file){
		.align = from->align,
		.max_transfer = from->max_transfer,
		.opt_write_zero = from->opt_write_zero,
		.max_write_zero = from->max_write_zero,
		.opt_discard = from->opt_discard,
		.max_discard = from->max_discard,
		.taken = from->taken,
		.unshared = from->unshared,
		.number = 1,
		.n_rules = from->n_rules,
		.rules = calloc(from->n_rules + 1UL, sizeof(*d->rules)),
	};
	if (d->rules == NULL) {
		free(d);
		return NULL;
	}
	for (unsigned i = 0; i < d->n_rules; i++)
		d->rules[i].r = from->rules[i];
	return d;
}

int blkdebug_put_over(struct image_file **file, const char *path,
		      const struct blkdebug *from, unsigned flags,
		      struct error *err)
{
	struct debug_file *d;
	int rc = check_limits(from, *file, err);

	if (rc < 0)
		return rc;
	d = make(from);
	if (d == NULL)
		return -ENOMEM;
	rc = filter_init(&d->filter, *file, path, &ops, flags);
	if (rc < 0) {
		free(d->rules);
		free(d);
		return rc;
	}
	pthread_mutex_init(&d->lock, NULL);
	d->filter.state.file.hear = hear;
	wake(d, IMAGE_EVENT_NONE);
	*file = &d->filter.state.file;
	return 0;
}

static void free_debug(struct blkdebug **d)
{
	blkdebug_free(*d);
}

int blkdebug_open(struct image_file **file, const char *name, unsigned flags,
		  struct error *err)
{
	_cleanup_(free_debug) struct blkdebug *d = blkdebug_new();
	_cleanup_(image_file_cleanup) struct image_file *opened = NULL;
	const char *path = blkdebug_path(name);
	_cleanup_free_ char *config = NULL;
	int rc = 0;

	if (path == NULL)
		return error_set(err, -EINVAL,
				 "blkdebug requires both config file and image "
				 "path");
	name += strlen("blkdebug:");
	config = strndup(name, (size_t)(path - name) - 1);
	if (d == NULL || config == NULL)
		return -ENOMEM;
	if (config[0] != '\0')
		rc = blkdebug_load(d, config, err);
	if (rc == 0)
		rc = blkdebug_check(d, err);
	if (rc == 0 && path[0] == '\0')
		rc = error_set(err, -EINVAL,
			       "The 'file' block driver requires a file name");
	if (rc == 0)
		rc = image_file_open(&opened, path, flags, err);
	if (rc == 0)
		rc = blkdebug_put_over(&opened, path, d, flags, err);
	if (rc == 0)
		*file = steal_ptr(&opened);
	return rc;
}
