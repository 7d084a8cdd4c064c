/* SPDX-License-Identifier: ISC */
/*
 * Where an export has data, by NBD's "base:allocation", or what another
 * context says. An answer's runs are kept, as over a network each question
 * costs as much as a request of data.
 *
 * A server may tell of less than the blocks that it reads and writes, as of a
 * file that ends within one: what is data in part is data.
 */
#include "lib/image/file_nbd.h"

#include <string.h>

/* What does not fit is not known. */
static bool append(struct nbd_status *status, uint64_t len, unsigned flags)
{
	unsigned n = status->n_runs;

	if (n > 0 && status->runs[n - 1].flags == flags) {
		status->runs[n - 1].len += len;
	} else if (n == NBD_STATUS_RUNS_MAX) {
		return false;
	} else {
		status->runs[n].len = len;
		status->runs[n].flags = flags;
		status->n_runs++;
	}
	status->len += len;
	return true;
}

static void cut(struct nbd_status *status, uint64_t len)
{
	unsigned last = status->n_runs - 1;

	status->runs[last].len -= len;
	status->len -= len;
	if (status->runs[last].len == 0)
		status->n_runs = last;
}

/* The first bytes of a block are there already. */
static bool fill_block(struct nbd_status *status, uint64_t len, unsigned flags)
{
	uint64_t begun = status->len % status->unit;
	unsigned before = status->runs[status->n_runs - 1].flags;

	if ((before & flags) == before)
		return append(status, len, before);
	cut(status, begun);
	return append(status, begun + len, before & flags);
}

static bool add(struct nbd_status *status, uint64_t len, unsigned flags)
{
	uint64_t begun = status->len % status->unit, head = 0;

	if (begun > 0) {
		head = status->unit - begun;
		if (head > len)
			head = len;
		if (!fill_block(status, head, flags))
			return false;
	}
	return len == head || append(status, len - head, flags);
}

static int take_extents(void *context, const char *name, uint64_t offset,
			uint32_t *entries, size_t n_entries, int *error)
{
	struct nbd_status *status = context;

	(void)offset;
	(void)error;
	if (strcmp(name, status->context) != 0)
		return 0;
	for (size_t i = 0; i + 1 < n_entries; i += 2)
		if (!add(status, entries[i],
			 entries[i + 1] & (NBD_STATUS_HOLE | NBD_STATUS_ZERO)))
			break;
	return 0;
}

/* Nothing is known of the rest of a block. */
static void end_in_block(struct nbd_status *status)
{
	uint64_t begun = status->len % status->unit;

	cut(status, begun);
	if (status->n_runs == 0)
		append(status, status->unit, 0);
}

int nbd_status_ask(struct nbd_link *link, const char *context, uint64_t offset,
		   uint64_t len, uint32_t unit, struct nbd_status *status)
{
	const struct nbd_request request = {
		.operation = NBD_STATUS,
		.offset = offset,
		.len = len,
		.part_max = len,
		.extents = { .callback = take_extents, .user_data = status },
	};
	int rc;

	status->context = context;
	status->offset = offset;
	status->len = 0;
	status->unit = unit;
	status->n_runs = 0;
	rc = nbd_link_do(link, &request);
	/* The export itself may end in one. */
	if (rc == 0 && status->len < len && status->len % unit != 0)
		end_in_block(status);
	return rc;
}

bool nbd_status_find(const struct nbd_status *status, uint64_t offset,
		     uint64_t len, unsigned *flags, uint64_t *run_len)
{
	uint64_t end = status->offset;

	if (offset < status->offset)
		return false;
	for (unsigned i = 0; i < status->n_runs; i++) {
		end += status->runs[i].len;
		if (offset >= end)
			continue;
		*flags = status->runs[i].flags;
		*run_len = end - offset < len ? end - offset : len;
		return true;
	}
	return false;
}
