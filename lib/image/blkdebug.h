/* SPDX-License-Identifier: ISC */
/*
 * Errors where a test wants them, by QEMU's rules (its docs/devel/blkdebug):
 * rules say at which step of a format's work (file_event.h) the file under it
 * fails, and how. They stand in a file,
 *
 *	[inject-error]			[set-state]
 *	event = "l2_update"		event = "l1_update"
 *	errno = "28"			state = "1"
 *	once = "on"			new_state = "2"
 *
 * or are given one by one. A rule that an event wakes stays awake, and may
 * fail more than what belongs to that step, until another event wakes others.
 *
 * A struct blkdebug is what to do; it is not changed by a file that it is put
 * over, each of which has its own state.
 */
#ifndef LIB_IMAGE_BLKDEBUG_H
#define LIB_IMAGE_BLKDEBUG_H

#include "lib/image/file_event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blkdebug;
struct error;
struct image_file;

enum {
	BLKDEBUG_RULES_MAX = 4096,
	BLKDEBUG_WORD_MAX = 63,	   /* of a rule file's name or section */
	BLKDEBUG_VALUE_MAX = 1023, /* a line, with its end */
};

/* In the order of QEMU's names for them. */
enum blkdebug_io {
	BLKDEBUG_IO_READ,
	BLKDEBUG_IO_WRITE,
	BLKDEBUG_IO_WRITE_ZEROES,
	BLKDEBUG_IO_DISCARD,
	BLKDEBUG_IO_FLUSH,
	BLKDEBUG_IO_BLOCK_STATUS,
	BLKDEBUG_N_IO,
};

enum blkdebug_action {
	BLKDEBUG_INJECT_ERROR,
	BLKDEBUG_SET_STATE,
	BLKDEBUG_N_ACTIONS,
};

struct blkdebug_rule {
	enum blkdebug_action action;
	/* As they were given, until blkdebug_check(). Ours, or NULL. */
	char *event_name, *io_name, *id;
	enum image_event event;
	int state; /* 0: any */
	int new_state;
	int error;	  /* a positive errno; 0: nothing fails */
	unsigned io_mask; /* 1 << enum blkdebug_io */
	bool is_once;	  /* it is gone when it has acted */
	bool has_offset;  /* what does not touch it does not fail */
	uint64_t offset;
};

struct blkdebug {
	struct blkdebug_rule *rules; /* of one kind in their order */
	unsigned n_rules;
	/* Bytes; 0: as the file is. Requests are what these make of them, for
	 * the rules: widened to whole blocks, and cut in pieces. */
	uint64_t align, max_transfer;
	uint64_t opt_write_zero, max_write_zero, opt_discard, max_discard;
	/* IMAGE_PERM_* of locks (lock.h), besides those of who uses it. */
	unsigned taken, unshared;
};

struct blkdebug *blkdebug_new(void);
void blkdebug_free(struct blkdebug *d);

/* Rules from a file, or from its content. Texts are QEMU's. */
int blkdebug_load(struct blkdebug *d, const char *path, struct error *err);
int blkdebug_parse(struct blkdebug *d, const char *text, size_t len,
		   struct error *err);
/* A rule with nothing set yet, valid until the next one is added; NULL: out
 * of memory, or too many. */
struct blkdebug_rule *blkdebug_add(struct blkdebug *d,
				   enum blkdebug_action action);
/* -ENOENT, and no text: such a rule has no attribute of that name. */
int blkdebug_set(struct blkdebug_rule *rule, const char *name,
		 const char *value, struct error *err);
/* "inject-error", "set-state" */
const char *blkdebug_section(enum blkdebug_action action);
const char *blkdebug_event_name(enum image_event event);
/* When all is given: events and kinds of I/O by their names. */
int blkdebug_check(struct blkdebug *d, struct error *err);

/* "blkdebug:CONFIG:PATH"; CONFIG may be empty. */
bool blkdebug_is_name(const char *name);
/* PATH, within name; NULL: there is none. */
const char *blkdebug_path(const char *name);

/* Put d over *file, which becomes the new one; path is the old one's. If it
 * fails *file stays as it is. */
int blkdebug_put_over(struct image_file **file, const char *path,
		      const struct blkdebug *d, unsigned flags,
		      struct error *err);
/* As image_file_open(), of such a name. */
int blkdebug_open(struct image_file **file, const char *name, unsigned flags,
		  struct error *err);

#endif
