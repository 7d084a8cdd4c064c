/* SPDX-License-Identifier: ISC */
/*
 * The cache is direct-mapped: a page has one slot that it can be in. Tables
 * are walked from one end to the other far more often than at random.
 */
#include "lib/image/table.h"

#include "lib/base/cleanup.h"
#include "lib/base/zero.h"
#include "lib/image/file.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	PART_LEN = 256 << 10, /* of a table that is walked through */
	LOOKED_AT = 256,      /* bytes at once, where zeroes are counted */
};

void table_init(struct table *table, const struct image_file *file)
{
	*table = (struct table){ .file = file };
}

void table_deinit(struct table *table)
{
	table_forget(table);
	table->file = NULL;
}

static void forget_hole(struct table *table)
{
	table->hole_start = table->hole_end = 0;
	table->data_start = table->data_end = 0;
}

void table_forget(struct table *table)
{
	for (unsigned i = 0; i < TABLE_PAGES; i++) {
		free(table->pages[i].data);
		table->pages[i].data = NULL;
	}
	forget_hole(table);
	table->later_start = table->later_end = 0;
}

static struct table_page *slot_of(struct table *table, uint64_t number)
{
	return &table->pages[number % TABLE_PAGES];
}

static bool is_loaded(const struct table_page *page, uint64_t number)
{
	return page->data != NULL && page->number == number;
}

/* Once: what could not be written is not tried again. */
int table_write_back(struct table *table)
{
	uint64_t start = table->later_start, len = table->later_end - start;
	const struct table_page *page = slot_of(table, start / TABLE_PAGE_LEN);

	if (len == 0)
		return 0;
	table->later_start = table->later_end = 0;
	return image_file_write(table->file, start,
				page->data + start % TABLE_PAGE_LEN, len);
}

static bool is_for_later(const struct table *table, uint64_t number)
{
	return table->later_end > table->later_start &&
	       table->later_start / TABLE_PAGE_LEN == number;
}

/* A page that could not be read is no page. */
static int load(struct table *table, uint64_t number)
{
	struct table_page *page = slot_of(table, number);
	int rc =
		is_for_later(table, page->number) ? table_write_back(table) : 0;

	if (rc < 0)
		return rc;
	if (page->data == NULL)
		page->data = aligned_alloc(4096, TABLE_PAGE_LEN);
	if (page->data == NULL)
		return -ENOMEM;
	rc = image_file_read(table->file, number * TABLE_PAGE_LEN, page->data,
			     TABLE_PAGE_LEN);
	page->number = number;
	if (rc < 0) {
		free(page->data);
		page->data = NULL;
	}
	return rc;
}

/* How much of len is in the page that host_offset is in. */
static size_t in_page(uint64_t host_offset, uint64_t len)
{
	size_t left = TABLE_PAGE_LEN - host_offset % TABLE_PAGE_LEN;

	return len < left ? (size_t)len : left;
}

static bool is_in_hole(const struct table *table, uint64_t host_offset,
		       uint64_t len)
{
	return host_offset >= table->hole_start &&
	       host_offset < table->hole_end &&
	       len <= table->hole_end - host_offset;
}

int table_read(struct table *table, uint64_t host_offset, void *buf, size_t len,
	       bool nowait)
{
	uint8_t *to = buf;

	if (is_in_hole(table, host_offset, len)) {
		memset(buf, 0, len);
		return 0;
	}
	while (len > 0) {
		uint64_t number = host_offset / TABLE_PAGE_LEN;
		const struct table_page *page = slot_of(table, number);
		size_t n = in_page(host_offset, len);

		if (!is_loaded(page, number)) {
			int rc = nowait ? -EAGAIN : load(table, number);

			if (rc < 0)
				return rc;
		}
		memcpy(to, page->data + host_offset % TABLE_PAGE_LEN, n);
		to += n;
		host_offset += n;
		len -= n;
	}
	return 0;
}

static size_t count_zeroes(const uint8_t *data, size_t len)
{
	size_t n = 0;

	while (len - n >= LOOKED_AT && is_zero(data + n, LOOKED_AT))
		n += LOOKED_AT;
	while (n < len && data[n] == 0)
		n++;
	return n;
}

/* Of the file, or its end, however far that reaches. A file system may look
 * for the end of what is data as long as that is, and is asked once. */
static void look_for_hole(struct table *table, uint64_t host_offset)
{
	bool is_data = true;
	uint64_t len = (uint64_t)INT64_MAX - host_offset;

	if (host_offset >= table->data_start && host_offset < table->data_end)
		return;
	if (image_file_extent(table->file, host_offset, len, &is_data, &len) <
	    0)
		return;
	if (is_data) {
		table->data_start = host_offset;
		table->data_end = host_offset + len;
	} else {
		table->hole_start = host_offset;
		table->hole_end = host_offset + len;
	}
}

uint64_t table_count_zeroes(struct table *table, uint64_t host_offset,
			    uint64_t len)
{
	const uint64_t number = host_offset / TABLE_PAGE_LEN;
	const struct table_page *page = slot_of(table, number);
	size_t at = host_offset % TABLE_PAGE_LEN, n = in_page(host_offset, len);
	size_t i;

	if (!is_in_hole(table, host_offset, 1)) {
		if (!is_loaded(page, number) && load(table, number) < 0)
			return 0;
		i = count_zeroes(page->data + at, n);
		if (i < n)
			return i;
		look_for_hole(table, host_offset);
	}
	if (!is_in_hole(table, host_offset, n))
		return n;
	return is_in_hole(table, host_offset, len)
		       ? len
		       : table->hole_end - host_offset;
}

/* Is there a hole, and as many of the len bytes are whole entries in it? */
static bool is_part_in_hole(const struct table *table, uint64_t host_offset,
			    size_t entry_len, uint64_t *len)
{
	uint64_t left;

	if (!is_in_hole(table, host_offset, entry_len))
		return false;
	left = table->hole_end - host_offset;
	if (*len > left)
		*len = left - left % entry_len;
	return true;
}

/* The entries of len bytes, or one if all are zero: a hole may be behind them.
 * Past the pages, which would not be asked for again. */
static int read_part(struct table *table, uint64_t host_offset,
		     size_t entry_len, uint64_t len, struct table_part *part)
{
	int rc = image_file_read(table->file, host_offset, part->entries, len);

	if (rc < 0)
		return rc;
	if (is_zero(part->entries, len))
		look_for_hole(table, host_offset + len);
	else
		part->n = len / entry_len;
	return 0;
}

int table_walk(struct table *table, uint64_t host_offset, uint64_t n,
	       size_t entry_len, table_look *look, void *context)
{
	_cleanup_free_ uint8_t *buf = NULL;
	uint64_t left = n * entry_len;
	int rc = table_write_back(table);

	if (rc < 0)
		return rc;
	buf = malloc(left < PART_LEN ? left + 1 : PART_LEN);
	if (buf == NULL)
		return -ENOMEM;
	while (rc == 0 && left > 0) {
		struct table_part part = {
			.first = n - left / entry_len,
			.entries = buf,
			.n = 1,
		};
		uint64_t len = left;

		if (is_part_in_hole(table, host_offset, entry_len, &len)) {
			memset(buf, 0, entry_len);
		} else {
			len = len < PART_LEN ? len : PART_LEN;
			rc = read_part(table, host_offset, entry_len, len,
				       &part);
		}
		if (rc == 0)
			rc = look(context, &part);
		host_offset += len;
		left -= len;
	}
	return rc;
}

/* After a write that failed nobody knows what is there: it is read again. */
static void forget(struct table *table, uint64_t host_offset, uint64_t len)
{
	forget_hole(table);
	for (uint64_t n; len > 0; host_offset += n, len -= n) {
		uint64_t number = host_offset / TABLE_PAGE_LEN;
		struct table_page *page = slot_of(table, number);

		n = in_page(host_offset, len);
		if (!is_loaded(page, number))
			continue;
		if (is_for_later(table, number))
			table->later_start = table->later_end = 0;
		free(page->data);
		page->data = NULL;
	}
}

/* from is NULL: zeroes. */
static void update(struct table *table, uint64_t host_offset, const void *from,
		   uint64_t len)
{
	forget_hole(table);
	while (len > 0) {
		uint64_t number = host_offset / TABLE_PAGE_LEN;
		struct table_page *page = slot_of(table, number);
		size_t n = in_page(host_offset, len);
		size_t at = host_offset % TABLE_PAGE_LEN;

		if (is_loaded(page, number) && from != NULL)
			memcpy(page->data + at, from, n);
		else if (is_loaded(page, number))
			memset(page->data + at, 0, n);
		if (from != NULL)
			from = (const uint8_t *)from + n;
		host_offset += n;
		len -= n;
	}
}

int table_write(struct table *table, uint64_t host_offset, const void *buf,
		size_t len)
{
	int rc = image_file_write(table->file, host_offset, buf, len);

	if (rc < 0)
		forget(table, host_offset, len);
	else
		update(table, host_offset, buf, len);
	return rc;
}

int table_write_later(struct table *table, uint64_t host_offset,
		      const void *buf, size_t len)
{
	uint64_t number = host_offset / TABLE_PAGE_LEN;
	uint64_t end = host_offset + len;
	int rc = 0;

	assert(in_page(host_offset, len) == len);
	if (!is_for_later(table, number))
		rc = table_write_back(table);
	if (rc == 0 && !is_loaded(slot_of(table, number), number))
		rc = load(table, number);
	if (rc < 0)
		return rc;
	update(table, host_offset, buf, len);
	if (table->later_end == table->later_start ||
	    table->later_start > host_offset)
		table->later_start = host_offset;
	if (table->later_end < end)
		table->later_end = end;
	return 0;
}

int table_clear(struct table *table, uint64_t host_offset, uint64_t len)
{
	int rc = image_file_write_zeroes(table->file, host_offset, len);

	if (rc < 0)
		forget(table, host_offset, len);
	else
		update(table, host_offset, NULL, len);
	return rc;
}
