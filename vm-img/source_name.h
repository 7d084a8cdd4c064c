/* SPDX-License-Identifier: ISC */
/*
 * What an image that was opened by options is called: a plain name where that
 * says it all, and else "json:{…}" with what matters to the disk's content.
 */
#ifndef VM_IMG_SOURCE_NAME_H
#define VM_IMG_SOURCE_NAME_H

#include <stdbool.h>

struct keys;

enum {
	SOURCE_NAME_MAX = 64,
};

/* Of one node. Zeroes are an empty one. Nothing here fails: what there is no
 * memory for is not said. */
struct source_name {
	struct source_member {
		char *key, *json; /* ours */
	} list[SOURCE_NAME_MAX];
	unsigned n;
	char *exact;	/* the plain name; NULL: there is none */
	bool is_strong; /* has what a plain name does not say */
	bool is_protocol;
};

/* Both are texts. */
void source_name_add(struct source_name *name, const char *key,
		     const char *value);
/* As it was given, if it was, and if so it is strong. */
void source_name_add_option(struct source_name *name, const struct keys *keys,
			    const char *prefix, const char *key);
/* All that begin with prefix, but for those that begin with child or are one
 * of ignored. Returns how many. */
unsigned source_name_add_all(struct source_name *name, const struct keys *keys,
			     const char *prefix, const char *child,
			     const char *const *ignored, unsigned n_ignored);
/* An NBD server's address; how many there are that are not one of plain. */
unsigned source_name_add_server(struct source_name *name,
				const struct keys *keys, const char *prefix,
				const char *const *plain, unsigned n_plain);
/* What it stands on. */
void source_name_add_child(struct source_name *name, const char *key,
			   const struct source_name *child);
/* The same of several. */
void source_name_add_children(struct source_name *name, const char *key,
			      const struct source_name *children, unsigned n);
void source_name_set_exact(struct source_name *name, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* What is shown, to be freed; NULL: out of memory. */
char *source_name_show(const struct source_name *name);
void source_name_deinit(struct source_name *name);

#endif
