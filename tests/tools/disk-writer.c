/* SPDX-License-Identifier: ISC */
/*
 * Writes blocks that say what they are, and remembers what was acknowledged:
 * run in a guest on its disk while the server of that disk is killed, or
 * anywhere on a file.
 *
 *	disk-writer write FILE MIB SECONDS	O_DIRECT, threads, fsync
 *	disk-writer digest FILE MIB		of the first MIB mebibytes
 *
 * `write` ends by reading everything back and prints the digest of what it
 * found, so that `digest` can say the same of the image from outside.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	BLOCK = 4096,
	WORDS = BLOCK / 8,
	N_THREADS = 8,
	SYNC_EVERY = 64,
	ALIGN = 4096,
};

struct writer {
	pthread_t thread;
	int fd;
	unsigned number;
	uint64_t n_blocks;     /* of the disk */
	uint64_t *generations; /* of all blocks; each thread has its own */
	time_t end;
	uint64_t n_writes, n_syncs;
	uint64_t random;
};

static _Noreturn void fail(const char *what, uint64_t block, const char *why)
{
	printf("disk-writer: %s block %" PRIu64 ": %s\n", what, block, why);
	exit(EXIT_FAILURE);
}

/* Word i of a block: which block, which writing of it, and where in it. */
static uint64_t word(uint64_t block, uint64_t generation, uint64_t i)
{
	uint64_t x = block * 0x9e3779b97f4a7c15u ^ generation << 20 ^ i;

	x ^= x >> 31;
	x *= 0xbf58476d1ce4e5b9u;
	return x ^ x >> 29;
}

static void fill(uint64_t *buf, uint64_t block, uint64_t generation)
{
	for (uint64_t i = 0; i < WORDS; i++)
		buf[i] = generation ? word(block, generation, i) : 0;
}

static time_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void *aligned_buffer(size_t len)
{
	void *buf;

	if (posix_memalign(&buf, ALIGN, len) != 0)
		fail("memory for", 0, strerror(ENOMEM));
	return buf;
}

/* A thread's blocks are those that leave its number when divided. */
static void *run_writer(void *context)
{
	struct writer *writer = context;
	uint64_t *buf = aligned_buffer(BLOCK);
	uint64_t n_own = writer->n_blocks / N_THREADS;

	while (now() < writer->end) {
		uint64_t block =
			next_random(&writer->random) % n_own * N_THREADS +
			writer->number;

		fill(buf, block, ++writer->generations[block]);
		if (pwrite(writer->fd, buf, BLOCK, (off_t)(block * BLOCK)) !=
		    BLOCK)
			fail("write", block, strerror(errno));
		if (++writer->n_writes % SYNC_EVERY != 0)
			continue;
		if (fsync(writer->fd) < 0)
			fail("fsync after", block, strerror(errno));
		writer->n_syncs++;
	}
	free(buf);
	return NULL;
}

static uint64_t digest(uint64_t before, const uint64_t *buf)
{
	for (unsigned i = 0; i < WORDS; i++)
		before = (before ^ buf[i]) * 0x100000001b3u;
	return before;
}

/* generations: what must be there; NULL: whatever is. */
static uint64_t read_all(int fd, uint64_t n_blocks, const uint64_t *generations)
{
	uint64_t *buf = aligned_buffer(BLOCK), *wanted = aligned_buffer(BLOCK);
	uint64_t sum = 0xcbf29ce484222325u;

	for (uint64_t block = 0; block < n_blocks; block++) {
		if (pread(fd, buf, BLOCK, (off_t)(block * BLOCK)) != BLOCK)
			fail("read", block, strerror(errno));
		if (generations) {
			fill(wanted, block, generations[block]);
			if (memcmp(buf, wanted, BLOCK) != 0)
				fail("compare", block, "not what was written");
		}
		sum = digest(sum, buf);
	}
	free(wanted);
	free(buf);
	return sum;
}

static void run_writers(struct writer *writers, int fd, uint64_t n_blocks,
			uint64_t *generations, time_t seconds)
{
	for (unsigned i = 0; i < N_THREADS; i++) {
		writers[i] = (struct writer){
			.fd = fd,
			.number = i,
			.n_blocks = n_blocks,
			.generations = generations,
			.end = now() + seconds,
			.random = 88172645463325252u + i,
		};
		if (pthread_create(&writers[i].thread, NULL, run_writer,
				   &writers[i]) != 0)
			fail("thread for", i, "cannot be made");
	}
	for (unsigned i = 0; i < N_THREADS; i++)
		pthread_join(writers[i].thread, NULL);
}

static void write_disk(int fd, uint64_t n_blocks, time_t seconds)
{
	uint64_t *generations = calloc(n_blocks, sizeof(*generations));
	struct writer writers[N_THREADS];
	uint64_t n_writes = 0, n_syncs = 0, sum;

	if (!generations)
		fail("memory for", n_blocks, strerror(ENOMEM));
	puts("disk-writer: begins");
	fflush(stdout);
	run_writers(writers, fd, n_blocks, generations, seconds);
	for (unsigned i = 0; i < N_THREADS; i++) {
		n_writes += writers[i].n_writes;
		n_syncs += writers[i].n_syncs;
	}
	if (fsync(fd) < 0)
		fail("last fsync, of", n_blocks, strerror(errno));
	sum = read_all(fd, n_blocks, generations);
	printf("disk-writer: %" PRIu64 " writes, %" PRIu64 " syncs, all there\n"
	       "digest %016" PRIx64 "\n",
	       n_writes, n_syncs, sum);
	free(generations);
}

int main(int argc, char **argv)
{
	int is_write = argc == 5 && strcmp(argv[1], "write") == 0;
	uint64_t n_blocks;
	int fd;

	if (!is_write && (argc != 4 || strcmp(argv[1], "digest") != 0)) {
		fputs("Usage: disk-writer write FILE MIB SECONDS\n"
		      "       disk-writer digest FILE MIB\n",
		      stderr);
		return 2;
	}
	n_blocks = strtoull(argv[3], NULL, 10) * (1 << 20) / BLOCK;
	fd = open(argv[2],
		  (is_write ? O_RDWR | O_DIRECT : O_RDONLY) | O_CLOEXEC);
	if (fd < 0)
		fail("open: no", 0, strerror(errno));
	if (is_write)
		write_disk(fd, n_blocks, (time_t)strtoul(argv[4], NULL, 10));
	else
		printf("digest %016" PRIx64 "\n", read_all(fd, n_blocks, NULL));
	close(fd);
	return EXIT_SUCCESS;
}
