/* SPDX-License-Identifier: ISC */
/*
 * A list of names and values as the command line gives it: "a=1,b.c=2", or
 * JSON whose objects are flattened to the same: {"a": 1, "b": {"c": 2}}.
 */
#ifndef VM_IMG_KEYS_H
#define VM_IMG_KEYS_H

#include <stdbool.h>
#include <stdint.h>

struct error;

enum {
	KEYS_MAX = 128,
};

struct keys {
	struct key {
		char *name, *value; /* ours */
		bool is_taken;
		bool is_text; /* else a number or a word of JSON */
	} list[KEYS_MAX];
	unsigned n;
	bool is_json;
};

/* first, if it is not NULL, is the name of a first item without one; a later
 * one without a value is "on". */
int keys_parse(struct keys *keys, const char *text, const char *first,
	       struct error *err);
/* The same, but without a value a later one is -EINVAL in QEMU's words. */
int keys_parse_properties(struct keys *keys, const char *text,
			  const char *first, struct error *err);
/* One more, a text. */
int keys_add(struct keys *keys, const char *name, const char *value,
	     struct error *err);
/* true and false are "on" and "off", null is "". 1: it was an object; 0: it
 * was JSON of another kind. */
int keys_parse_json(struct keys *keys, const char *text, struct error *err);
/* Zeroes over the values as well. */
void keys_deinit(struct keys *keys);

/* The value that was given last, or NULL; it counts as looked at. */
const char *keys_take(struct keys *keys, const char *name);
/* The same of prefix and name. */
const char *keys_take_of(struct keys *keys, const char *prefix,
			 const char *name);
/* The same, or -EINVAL in QEMU's words where it is another thing of JSON than a
 * string. */
int keys_take_text(struct keys *keys, const char *name, const char **value,
		   struct error *err);
/* A number that may have a sign, as strtoll() reads it; -EINVAL for anything
 * else, also for a number in a text of JSON. *value stays as it is where it is
 * not given. */
int keys_take_integer(struct keys *keys, const char *name, int64_t *value,
		      struct error *err);
/* "on" or "off", or other words for them: -EINVAL in QEMU's words for anything
 * else. *value stays as it is where it is not given. */
int keys_take_bool(struct keys *keys, const char *name, bool *value,
		   struct error *err);
/* The same of prefix and name, which is called name. */
int keys_take_bool_of(struct keys *keys, const char *prefix, const char *name,
		      bool *value, struct error *err);
/* Is what keys_take_of() returns a text, in JSON too? */
bool keys_is_text(const struct keys *keys, const char *prefix,
		  const char *name);
/* Is there a name that begins with this? */
bool keys_has_prefix(const struct keys *keys, const char *prefix);
/* All that begin with prefix to another list, which is empty, without it. */
int keys_move(struct keys *keys, const char *prefix, struct keys *to,
	      struct error *err);
/* A name that nobody took, or NULL. */
const char *keys_left(const struct keys *keys);

#endif
