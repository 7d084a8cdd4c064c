/* SPDX-License-Identifier: ISC */
#include "lib/image/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	BYTE = 8, /* bits */
};

static uint64_t count_bytes(uint64_t n)
{
	return n / BYTE + (n % BYTE != 0);
}

static uint64_t count_parts(uint64_t n, uint64_t part_len)
{
	uint64_t len = count_bytes(n);

	return len / part_len + (len % part_len != 0);
}

int bits_init(struct bits *bits, uint64_t n, uint64_t part_len)
{
	*bits = (struct bits){
		.n = n,
		.part_len = part_len,
		.n_parts = count_parts(n, part_len),
	};
	bits->parts = calloc(bits->n_parts + 1, sizeof(*bits->parts));
	return bits->parts == NULL ? -ENOMEM : 0;
}

void bits_deinit(struct bits *bits)
{
	for (uint64_t i = 0; bits->parts != NULL && i < bits->n_parts; i++)
		free(bits->parts[i]);
	free(bits->parts);
	*bits = (struct bits){ .n = 0 };
}

size_t bits_part_len(const struct bits *bits, uint64_t part)
{
	uint64_t left = count_bytes(bits->n) - part * bits->part_len;

	return left < bits->part_len ? (size_t)left : (size_t)bits->part_len;
}

const uint8_t *bits_part(const struct bits *bits, uint64_t part)
{
	return bits->parts[part];
}

uint8_t *bits_make_part(struct bits *bits, uint64_t part)
{
	if (bits->parts[part] == NULL)
		bits->parts[part] = calloc(1, bits_part_len(bits, part) + 1);
	return bits->parts[part];
}

/* Of the part that bit i is in: the first bit that is not its. */
static uint64_t part_end(const struct bits *bits, uint64_t i)
{
	uint64_t n = bits->part_len * BYTE, end = i - i % n + n;

	return end < bits->n ? end : bits->n;
}

static uint8_t *part_of(const struct bits *bits, uint64_t i)
{
	return bits->parts[i / BYTE / bits->part_len];
}

/* i is counted from the start of the part from here on. */
static bool get(const uint8_t *part, uint64_t i)
{
	return part[i / BYTE] >> i % BYTE & 1;
}

static void set(uint8_t *part, uint64_t i, uint64_t end)
{
	for (; i < end && i % BYTE != 0; i++)
		part[i / BYTE] |= (uint8_t)(1U << i % BYTE);
	if (i < end)
		memset(part + i / BYTE, 0xff, (size_t)(end / BYTE - i / BYTE));
	for (i = i < end ? end - end % BYTE : end; i < end; i++)
		part[i / BYTE] |= (uint8_t)(1U << i % BYTE);
}

/* The first bit from i on, before end, which is not as wanted; else end. */
static uint64_t scan(const uint8_t *part, uint64_t i, uint64_t end, bool wanted)
{
	const uint8_t whole = wanted ? 0xff : 0;

	while (i < end) {
		if (i % BYTE == 0 && end - i >= BYTE && part[i / BYTE] == whole)
			i += BYTE;
		else if (get(part, i) == wanted)
			i++;
		else
			break;
	}
	return i;
}

int bits_set(struct bits *bits, uint64_t first, uint64_t last)
{
	const uint64_t n = bits->part_len * BYTE;

	if (bits->n == 0)
		return 0;
	if (last >= bits->n)
		last = bits->n - 1;
	for (uint64_t end; first <= last; first = end) {
		uint8_t *part = bits_make_part(bits, first / n);

		if (part == NULL)
			return -ENOMEM;
		end = part_end(bits, first);
		set(part, first % n,
		    first % n + (end <= last ? end : last + 1) - first);
	}
	return 0;
}

bool bits_are_set(const struct bits *bits, uint64_t first, uint64_t last)
{
	if (last >= bits->n)
		return false;
	while (first <= last) {
		bool is_set;
		uint64_t len = bits_run(bits, first, &is_set);

		if (!is_set)
			return false;
		first += len;
	}
	return true;
}

uint64_t bits_run(const struct bits *bits, uint64_t i, bool *is_set)
{
	const uint64_t n = bits->part_len * BYTE;
	const uint8_t *part = part_of(bits, i);
	uint64_t at = i, end, stop;

	*is_set = part != NULL && get(part, i % n);
	do {
		part = part_of(bits, at);
		end = part_end(bits, at);
		stop = end;
		if (part != NULL)
			stop = at + (scan(part, at % n, at % n + (end - at),
					  *is_set) -
				     at % n);
		else if (*is_set)
			stop = at;
		at = stop;
	} while (stop == end && at < bits->n);
	return at - i;
}

int bits_add(struct bits *bits, const struct bits *from)
{
	for (uint64_t i = 0; i < from->n_parts; i++) {
		uint8_t *part;

		if (from->parts[i] == NULL)
			continue;
		part = bits_make_part(bits, i);
		if (part == NULL)
			return -ENOMEM;
		for (size_t j = 0; j < bits_part_len(bits, i); j++)
			part[j] |= from->parts[i][j];
	}
	return 0;
}

/* What was the last part, or will be, has another length. */
static int fit_last(struct bits *to, const struct bits *from)
{
	uint64_t last = (to->n_parts < from->n_parts ? to : from)->n_parts;
	size_t len;
	uint8_t *part;

	if (last-- == 0 || from->parts[last] == NULL)
		return 0;
	part = bits_make_part(to, last);
	if (part == NULL)
		return -ENOMEM;
	len = bits_part_len(from, last);
	if (len > bits_part_len(to, last))
		len = bits_part_len(to, last);
	memcpy(part, from->parts[last], len);
	if (to->n < from->n && to->n % BYTE != 0)
		part[len - 1] &= (uint8_t)((1U << to->n % BYTE) - 1);
	return 0;
}

int bits_resize(struct bits *bits, uint64_t n)
{
	struct bits new;
	uint64_t shared;
	int rc = bits_init(&new, n, bits->part_len);

	if (rc == 0)
		rc = fit_last(&new, bits);
	if (rc < 0) {
		bits_deinit(&new);
		return rc;
	}
	shared = new.n_parts < bits->n_parts ? new.n_parts : bits->n_parts;
	for (uint64_t i = 0; shared > 0 && i < shared - 1; i++) {
		new.parts[i] = bits->parts[i];
		bits->parts[i] = NULL;
	}
	bits_deinit(bits);
	*bits = new;
	return 0;
}
