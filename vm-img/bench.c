/* SPDX-License-Identifier: ISC */
/*
 * bench: so many requests of one size, so many at a time, and how long they
 * took. They go the way that a disk server's requests go (queue.h).
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/event.h"
#include "lib/base/size.h"
#include "lib/image/image.h"
#include "lib/image/queue.h"
#include "vm-img/arguments.h"
#include "vm-img/report.h"
#include "vm-img/verb.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
	COUNT_DEFAULT = 75000,
	DEPTH_DEFAULT = 64,
	BUFFER_DEFAULT = 4096,
	PAGE = 4096,
};

const struct option_spec bench_options[] = {
	{ 'c', "count", "COUNT", "requests in all (default: 75000)" },
	{ 'd', "depth", "DEPTH", "requests at a time (default: 64)" },
	{ 'f', "format", "FMT", "the image's format (default: guess)" },
	{ OPTION_FLUSH_INTERVAL, "flush-interval", "N",
	  "flush after so many writes" },
	{ 'i', "aio", "AIO", "threads, native or io_uring: taken as leave" },
	{ 'n', "native", NULL, "as --aio=native" },
	{ OPTION_NO_DRAIN, "no-drain", NULL, "go on while it flushes" },
	{ 'o', "offset", "OFFSET", "of the first request (default: 0)" },
	{ OPTION_PATTERN, "pattern", "BYTE", "what to write (default: 0)" },
	{ 'q', "quiet", NULL, "print errors only" },
	{ 's', "buffer-size", "SIZE", "of a request (default: 4k)" },
	{ 'S', "step-size", "SIZE", "from one to the next (default: SIZE)" },
	{ 't', "cache", "MODE", "cache mode" },
	{ 'w', "write", NULL, "write, do not read" },
	{ 'U', "force-share", NULL, "open although another one writes it" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

struct request {
	const char *path, *format;
	uint64_t count, depth, offset, buffer_len, step, pattern;
	uint64_t flush_interval;
	bool is_write, has_no_drain;
	unsigned flags;
};

struct slot {
	struct image_request request;
	struct iovec iov;
	struct run *run;
};

struct run {
	const struct request *request;
	struct event_loop loop;
	struct image_queue *queue;
	uint64_t size, offset;
	uint64_t n_left;     /* to submit */
	uint64_t n_to_flush; /* to submit before the next flush */
	unsigned n_flushes;  /* in flight */
	struct slot *slots, **idle;
	unsigned n_slots, n_idle;
	int result;
	struct error error;
};

static void fail(struct run *run, const char *what, const char *text, int rc)
{
	if (run->result == 0)
		run->result = error_set(&run->error, rc, "%s: %s", what,
					text != NULL ? text : strerror(-rc));
}

static void submit(struct run *run);

static void flushed(struct image_request *request, int result)
{
	struct slot *slot = container_of(request, struct slot, request);
	struct run *run = slot->run;

	run->n_flushes--;
	run->idle[run->n_idle++] = slot;
	if (result < 0)
		fail(run, "Failed flush request", request->error_text, result);
	submit(run);
}

static void completed(struct image_request *request, int result)
{
	struct slot *slot = container_of(request, struct slot, request);
	struct run *run = slot->run;

	run->idle[run->n_idle++] = slot;
	if (result < 0)
		fail(run, "Failed request", request->error_text, result);
	submit(run);
}

static void submit_flush(struct run *run)
{
	struct slot *slot = run->idle[--run->n_idle];

	slot->request = (struct image_request){ .operation = IMAGE_OP_FLUSH,
						.done = flushed };
	run->n_flushes++;
	run->n_to_flush = run->request->flush_interval;
	image_queue_submit(run->queue, &slot->request);
}

static void submit_one(struct run *run)
{
	const struct request *r = run->request;
	struct slot *slot;
	uint64_t end;

	if (__builtin_add_overflow(run->offset, r->buffer_len, &end) ||
	    end > run->size) {
		fail(run, "Failed request", NULL, -EIO);
		return;
	}
	slot = run->idle[--run->n_idle];
	slot->request = (struct image_request){
		.operation = r->is_write ? IMAGE_OP_WRITE : IMAGE_OP_READ,
		.offset = run->offset,
		.len = r->buffer_len,
		.iov = &slot->iov,
		.n_iov = 1,
		.done = completed,
	};
	run->n_left--;
	run->n_to_flush--;
	run->offset += r->step;
	if (run->size <= r->buffer_len)
		run->offset = 0;
	else
		run->offset %= run->size - r->buffer_len;
	image_queue_submit(run->queue, &slot->request);
}

/* As many as there may be now. */
static void submit(struct run *run)
{
	const struct request *r = run->request;
	bool drains = !r->has_no_drain;

	while (run->result == 0 && run->n_left > 0 && run->n_idle > 0 &&
	       !(drains && run->n_flushes > 0)) {
		if (r->flush_interval == 0 || run->n_to_flush > 0)
			submit_one(run);
		else if (!drains || run->n_idle == run->n_slots)
			submit_flush(run);
		else
			break; /* until all are back */
	}
}

static int make_slots(struct run *run, uint8_t **buf)
{
	const struct request *r = run->request;
	uint64_t len;

	run->n_slots = (unsigned)(r->depth < r->count ? r->depth : r->count);
	if (__builtin_mul_overflow(run->n_slots, r->buffer_len, &len) ||
	    len > SIZE_MAX - PAGE)
		return -ENOMEM;
	len = (len + PAGE) & ~(uint64_t)(PAGE - 1);
	*buf = aligned_alloc(PAGE, (size_t)len);
	run->slots = calloc(run->n_slots + 1, sizeof(*run->slots));
	run->idle = calloc(run->n_slots + 1, sizeof(struct slot *));
	if (*buf == NULL || run->slots == NULL || run->idle == NULL)
		return -ENOMEM;
	memset(*buf, (int)r->pattern, (size_t)len);
	for (unsigned i = 0; i < run->n_slots; i++) {
		run->slots[i].run = run;
		run->slots[i].iov.iov_base = *buf + i * r->buffer_len;
		run->slots[i].iov.iov_len = r->buffer_len;
		run->idle[run->n_idle++] = &run->slots[i];
	}
	return 0;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int drive(struct run *run)
{
	double start = now();
	int rc = 0;

	submit(run);
	image_queue_kick(run->queue);
	while (rc >= 0 && run->n_idle < run->n_slots)
		rc = event_loop_step(&run->loop, -1);
	if (rc < 0)
		fail(run, "Failed request", NULL, rc);
	if (run->result < 0) {
		report_error("%s", run->error.text);
		return run->result;
	}
	printf("Run completed in %3.3f seconds.\n", now() - start);
	return 0;
}

static int bench(struct image *image, const struct request *r)
{
	struct run run = { .request = r,
			   .loop = EVENT_LOOP_INIT,
			   .size = image_size(image),
			   .offset = r->offset,
			   .n_left = r->count,
			   .n_to_flush = r->flush_interval };
	_cleanup_free_ uint8_t *buf = NULL;
	struct error err = ERROR_INIT;
	int rc;

	printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, "
	       "%" PRIu64 " in parallel (starting at offset %" PRIu64
	       ", step size %" PRIu64 ")\n",
	       r->count, r->is_write ? "write" : "read", r->buffer_len,
	       r->depth, r->offset, r->step);
	if (r->flush_interval > 0)
		printf("Sending flush every %" PRIu64 " requests\n",
		       r->flush_interval);
	rc = make_slots(&run, &buf);
	if (rc == 0)
		rc = event_loop_init(&run.loop);
	if (rc == 0)
		rc = image_queue_new(&run.queue, &run.loop, image, &err);
	if (rc < 0)
		report_error("Could not begin: %s", error_text(&err, rc));
	else
		rc = drive(&run);
	if (run.queue != NULL)
		image_queue_free(run.queue);
	event_loop_deinit(&run.loop);
	free(run.slots);
	free(run.idle);
	return rc;
}

static int run_request(const struct request *r)
{
	struct image *image;
	int rc;

	if (r->flush_interval > 0 && !r->is_write) {
		report_error("--flush-interval is only available in write "
			     "tests");
		return EXIT_FAILURE;
	}
	if (r->flush_interval > 0 && r->flush_interval < r->depth) {
		report_error("Flush interval can't be smaller than depth");
		return EXIT_FAILURE;
	}
	image = open_or_report(r->path, r->format,
			       r->is_write ? r->flags
					   : r->flags | IMAGE_READ_ONLY);
	if (image == NULL)
		return EXIT_FAILURE;
	rc = bench(image, r);
	if (rc < 0) {
		image_abandon(image);
		return EXIT_FAILURE;
	}
	return close_or_report(image) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int take_number(const char *what, const char *text, uint64_t min,
		       uint64_t max, uint64_t *number)
{
	if (arguments_compat() == COMPAT_10_2)
		return argument_count(what, text, min, max, number);
	if (number_parse(text, min, max, number) == 0)
		return 0;
	report_error("Invalid %s specified", what);
	return -EINVAL;
}

static int take_cache(struct request *r, const char *mode)
{
	unsigned flags;

	if (argument_cache(mode, &flags) < 0) {
		report_error("Invalid cache mode");
		return -EINVAL;
	}
	r->flags =
		(r->flags & ~(unsigned)(IMAGE_DIRECT | IMAGE_UNSAFE)) | flags;
	return 0;
}

static int take_aio(struct request *r, const char *name)
{
	r->flags &= ~(unsigned)IMAGE_NATIVE_AIO;
	if (strcmp(name, "native") == 0) {
		r->flags |= IMAGE_NATIVE_AIO;
	} else if (strcmp(name, "threads") != 0 &&
		   strcmp(name, "io_uring") != 0) {
		report_error("Invalid aio option: %s", name);
		return -EINVAL;
	}
	return 0;
}

static int take_value(struct request *r, int id, const char *value)
{
	bool is_later = arguments_compat() == COMPAT_10_2;

	switch (id) {
	case 'c':
		return take_number("request count", value, is_later ? 1 : 0,
				   INT32_MAX, &r->count);
	case 'd':
		return take_number("queue depth", value, 1, INT32_MAX,
				   &r->depth);
	case 'f':
		r->format = value;
		return 0;
	case OPTION_FLUSH_INTERVAL:
		return take_number("flush interval", value, 0, INT32_MAX,
				   &r->flush_interval);
	case 'i':
		return take_aio(r, value);
	case 'o':
		return argument_size("offset", value, &r->offset);
	case OPTION_PATTERN:
		return take_number("pattern byte", value, 0, 0xff, &r->pattern);
	case 's':
		return argument_number("buffer size", value, is_later ? 1 : 0,
				       INT32_MAX, &r->buffer_len);
	case 'S':
		return argument_number(is_later ? "step size" : "step_size",
				       value, 0, INT32_MAX, &r->step);
	default:
		return take_cache(r, value);
	}
}

static bool take_flag(struct request *r, int id)
{
	switch (id) {
	case 'n':
		r->flags |= IMAGE_NATIVE_AIO;
		return true;
	case OPTION_NO_DRAIN:
		return r->has_no_drain = true;
	case 'q':
		return true;
	case 'w':
		return r->is_write = true;
	case 'U':
		r->flags |= IMAGE_FORCE_SHARE;
		return true;
	default:
		return false;
	}
}

int bench_run(int argc, char **argv)
{
	struct arguments a = { .specs = bench_options,
			       .argc = argc,
			       .argv = argv };
	struct request request = { .count = COUNT_DEFAULT,
				   .depth = DEPTH_DEFAULT,
				   .buffer_len = BUFFER_DEFAULT };
	int id;

	while ((id = arguments_next(&a)) >= 0)
		if (!take_flag(&request, id) &&
		    take_value(&request, id, a.value) < 0)
			return EXIT_FAILURE;
	if (a.n_operands != 1)
		report_usage("Expecting one image file name");
	request.path = a.operands[0];
	if (request.step == 0)
		request.step = request.buffer_len;
	return run_request(&request);
}
