/* SPDX-License-Identifier: ISC */
/* Which long names of options may be cut short in the place of others. */
#ifndef VM_IMG_ABBREVIATION_H
#define VM_IMG_ABBREVIATION_H

#include "vm-img/arguments.h"

#include <stdbool.h>

/* Does that version's qemu-img have this long name of this verb? Then what is cut
 * short means it as it does there, though we have more names that begin so. */
bool abbreviation_is_older(const char *verb, const char *name,
			   enum compat compat);

#endif
