/* SPDX-License-Identifier: ISC */
/*
 * A writer to be killed, and a judge of what it left.
 *
 *	image-writer write IMAGE STATE SEED MILLISECONDS
 *	image-writer verify IMAGE STATE SEED ORIGINAL
 *
 * `write` runs four threads of random operations in a process that it kills so
 * many milliseconds after the first one is finished. Each counts what it has
 * finished in the shared file STATE, which survives it.
 * `verify` draws the same operations and reads the image: every finished one
 * must be there, flushed or not, the one after it may be. ORIGINAL holds what
 * the disk was before; if all is well it is overwritten with what it is now.
 */
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/image/image.h"
#include "tests/support/image_model.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	N_THREADS = 4,
};

struct state {
	_Atomic uint32_t n_done[N_THREADS];
};

struct writer {
	struct image *image;
	struct state *state;
	struct model_stream stream;
};

static struct state *map_state(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	struct state *state;

	if (fd < 0 || ftruncate(fd, sizeof(*state)) < 0)
		die(1, "%s: %s", path, strerror(errno));
	state = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED,
		     fd, 0);
	if (state == MAP_FAILED)
		die(1, "%s: %s", path, strerror(errno));
	close(fd);
	return state;
}

static int run_op(struct writer *w, const struct model_op *op,
		  struct error *err)
{
	static _Thread_local uint8_t buf[MODEL_OP_SECTORS_MAX * MODEL_SECTOR];
	uint64_t offset = op->sector * MODEL_SECTOR;
	uint64_t len = op->n * MODEL_SECTOR;

	switch (op->kind) {
	case MODEL_WRITE:
		model_fill(&w->stream, op, buf);
		return image_write(w->image, offset, buf, len, err);
	case MODEL_ZERO:
		return image_write_zeroes(
			w->image, offset, len,
			op->may_unmap ? IMAGE_ZERO_MAY_UNMAP : 0, err);
	case MODEL_DISCARD:
		return image_discard(w->image, offset, len, err);
	case MODEL_FLUSH:
		break;
	}
	return image_flush(w->image, err);
}

static void *write_until_killed(void *context)
{
	struct writer *w = context;
	struct error err = ERROR_INIT;

	for (;;) {
		struct model_op op = model_next(&w->stream);
		int rc = run_op(w, &op, &err);

		if (rc < 0)
			die(1, "operation %u: %s", op.number,
			    error_text(&err, rc));
		w->state->n_done[w->stream.index] = op.number;
	}
	return NULL;
}

static struct image *open_image(const char *path, unsigned flags)
{
	const struct image_open_options how = { .flags = flags };
	struct error err = ERROR_INIT;
	struct image *image;
	int rc = image_open(&image, path, &how, &err);

	if (rc < 0)
		die(1, "%s: %s", path, error_text(&err, rc));
	return image;
}

/* In a process of its own, which is killed. */
static void write_image(char **argv, struct state *state)
{
	struct image *image = open_image(argv[2], 0);
	uint64_t n_sectors = image_size(image) / MODEL_SECTOR;
	struct writer writers[N_THREADS];
	pthread_t threads[N_THREADS];

	for (unsigned i = 0; i < N_THREADS; i++) {
		writers[i].image = image;
		writers[i].state = state;
		model_stream_init(&writers[i].stream,
				  (uint32_t)strtoul(argv[4], NULL, 10), i,
				  N_THREADS, n_sectors);
	}
	for (unsigned i = 0; i < N_THREADS; i++)
		if (pthread_create(&threads[i], NULL, write_until_killed,
				   &writers[i]) != 0)
			die(1, "no threads");
	pthread_join(threads[0], NULL);
}

static bool has_begun(const struct state *state)
{
	for (unsigned i = 0; i < N_THREADS; i++)
		if (state->n_done[i] > 0)
			return true;
	return false;
}

static int write_and_kill(char **argv)
{
	struct state *state = map_state(argv[3]);
	pid_t child;
	int status;

	for (unsigned i = 0; i < N_THREADS; i++)
		state->n_done[i] = 0;
	child = fork();
	if (child < 0)
		die(1, "fork: %s", strerror(errno));
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		write_image(argv, state);
		_exit(1);
	}
	while (!has_begun(state)) {
		if (waitpid(child, &status, WNOHANG) != 0)
			return 1;
		usleep(1000);
	}
	usleep((useconds_t)strtoul(argv[5], NULL, 10) * 1000);
	kill(child, SIGKILL);
	if (waitpid(child, &status, 0) != child)
		die(1, "waitpid: %s", strerror(errno));
	return WIFSIGNALED(status) ? 0 : 1;
}

static uint8_t *load(const char *path, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t *data = malloc(len);

	if (fd < 0 || data == NULL || read(fd, data, len) != (ssize_t)len)
		die(1, "%s: cannot be read", path);
	close(fd);
	return data;
}

static void save(const char *path, const uint8_t *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		die(1, "%s: cannot be written", path);
	close(fd);
}

static void replay(struct model *model, const struct state *state,
		   uint32_t seed)
{
	for (unsigned i = 0; i < N_THREADS; i++) {
		uint32_t n = state->n_done[i];
		struct model_stream stream;
		struct model_op op;

		model_stream_init(&stream, seed, i, N_THREADS,
				  model->n_sectors);
		while (stream.number < n) {
			op = model_next(&stream);
			model_did(model, &stream, &op);
		}
		op = model_next(&stream);
		model_may_have_done(model, &stream, &op);
	}
}

static int verify(char **argv)
{
	struct image *image = open_image(argv[2], IMAGE_READ_ONLY);
	struct state *state = map_state(argv[3]);
	uint32_t seed = (uint32_t)strtoul(argv[4], NULL, 10);
	size_t len = image_size(image);
	uint8_t *original = load(argv[5], len), *disk = malloc(len);
	struct error err = ERROR_INIT;
	struct model model;
	uint64_t wrong;
	int rc;

	if (disk == NULL ||
	    model_init(&model, original, len / MODEL_SECTOR) < 0)
		die(1, "out of memory");
	replay(&model, state, seed);
	rc = image_read(image, 0, disk, len, &err);
	if (rc < 0)
		die(1, "%s: %s", argv[2], error_text(&err, rc));
	wrong = model_check(&model, disk);
	if (wrong < model.n_sectors)
		die(1, "%s: sector %" PRIu64 " is not what was written",
		    argv[2], wrong);
	save(argv[5], disk, len);
	model_deinit(&model);
	free(original);
	free(disk);
	image_abandon(image);
	return 0;
}

int main(int argc, char **argv)
{
	log_init("image-writer");
	if (argc == 6 && strcmp(argv[1], "write") == 0)
		return write_and_kill(argv);
	if (argc == 6 && strcmp(argv[1], "verify") == 0)
		return verify(argv);
	die(EXIT_USAGE, "usage: image-writer write IMAGE STATE SEED MS, or "
			"verify IMAGE STATE SEED ORIGINAL");
}
