/* SPDX-License-Identifier: ISC */
/* The engine of rebase. */
#ifndef VM_IMG_REBASE_COPY_H
#define VM_IMG_REBASE_COPY_H

#include <stdbool.h>

struct image;
struct progress;

struct rebase_copy {
	/* The one that is over another, that one, and the one to come; old and
	 * new may be NULL: there is none. */
	struct image *image, *old, *new;
	bool is_compressed; /* what is copied */
	struct progress *progress;
};

/* The image reads over new as it does over old. 0, or -errno and a message. */
int rebase_copy(const struct rebase_copy *copy);

#endif
