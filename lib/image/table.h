/* SPDX-License-Identifier: ISC */
/*
 * The tables of an image, of which only the pages in use are held in memory:
 * however long a header says that a table is, opening it costs nothing.
 * Reads go through a small cache, writes go to the file at once, and then to
 * the cache: after a failed write, which may have arrived, the file is asked.
 *
 * What lies beyond the end of the file reads as zeroes. Nothing but these
 * functions may write to the bytes that are read through them. A table that
 * nothing was entered in is a hole of the file as often as not, and the last
 * hole that was met is remembered.
 * Not thread-safe: the owner locks.
 */
#ifndef LIB_IMAGE_TABLE_H
#define LIB_IMAGE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image_file;

enum {
	TABLE_PAGE_LEN = 8192,
	TABLE_PAGES = 128,
};

struct table {
	const struct image_file *file; /* borrowed */
	struct table_page {
		uint64_t number; /* host offset / TABLE_PAGE_LEN */
		uint8_t *data;	 /* NULL: empty */
	} pages[TABLE_PAGES];
	uint64_t hole_start, hole_end; /* host offsets; alike: none known */
	uint64_t data_start, data_end; /* the same: no hole begins there */
	/* What is in one of the pages, and not in the file yet; alike: none. */
	uint64_t later_start, later_end;
};

void table_init(struct table *table, const struct image_file *file);
void table_deinit(struct table *table);

/* nowait: -EAGAIN rather than reading from the file. */
int table_read(struct table *table, uint64_t host_offset, void *buf, size_t len,
	       bool nowait);
/* As many of the len bytes from host_offset on as are known to be zeroes with
 * one page read at most. */
uint64_t table_count_zeroes(struct table *table, uint64_t host_offset,
			    uint64_t len);
struct table_part {
	uint64_t first; /* index of entries[0] */
	void *entries;	/* as they are stored */
	uint64_t n;
};

/*
 * All n entries of 4 or 8 bytes from host_offset on, by parts and in order, but
 * that of zeroes in a row one may be shown: a table may be said to be longer
 * than the file. Ends when look returns other than 0, with that. look may walk
 * through another table, and write to this one.
 */
typedef int table_look(void *context, const struct table_part *part);
int table_walk(struct table *table, uint64_t host_offset, uint64_t n,
	       size_t entry_len, table_look *look, void *context);
int table_write(struct table *table, uint64_t host_offset, const void *buf,
		size_t len);
/*
 * The same for many small writes one after another, which need not arrive in
 * their order, or at all, before table_write_back() has: an entry, which no
 * page's end cuts in two. An error may be one of an earlier write.
 */
int table_write_later(struct table *table, uint64_t host_offset,
		      const void *buf, size_t len);
int table_write_back(struct table *table);
/* len zeroes: a new table. */
int table_clear(struct table *table, uint64_t host_offset, uint64_t len);
/* Forget what is cached, and is to be written later: the file has changed
 * otherwise. */
void table_forget(struct table *table);

#endif
