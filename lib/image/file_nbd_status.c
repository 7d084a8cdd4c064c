/* SPDX-License-Identifier: ISC */
/*
 * Where an export has data, by NBD's "base:allocation", or what another
 * context says. An answer's runs are
 * kept, as over a network each question costs as much as a request of data.
 */
#include "lib/image/file_nbd.h"

#include <string.h>

/* What does not fit is not known. */
static int take_extents(void *context, const char *name, uint64_t offset,
			uint32_t *entries, size_t n_entries, int *error)
{
	struct nbd_status *status = context;

	(void)offset;
	(void)error;
	if (strcmp(name, status->context) != 0)
		return 0;
	for (size_t i = 0; i + 1 < n_entries; i += 2) {
		unsigned flags =
			entries[i + 1] & (NBD_STATUS_HOLE | NBD_STATUS_ZERO);
		unsigned n = status->n_runs;

		if (n > 0 && status->runs[n - 1].flags == flags) {
			status->runs[n - 1].len += entries[i];
			continue;
		}
		if (n == NBD_STATUS_RUNS_MAX)
			break;
		status->runs[n].len = entries[i];
		status->runs[n].flags = flags;
		status->n_runs++;
	}
	return 0;
}

int nbd_status_ask(struct nbd_link *link, const char *context, uint64_t offset,
		   uint64_t len, struct nbd_status *status)
{
	const struct nbd_request request = {
		.operation = NBD_STATUS,
		.offset = offset,
		.len = len,
		.part_max = len,
		.extents = { .callback = take_extents, .user_data = status },
	};

	status->context = context;
	status->offset = offset;
	status->n_runs = 0;
	return nbd_link_do(link, &request);
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
