/* SPDX-License-Identifier: ISC */
/* The control verbs: ports, fdb, stats. */
#ifndef VM_NET_CONTROL_H
#define VM_NET_CONTROL_H

#include "lib/base/control.h"

/* For control_new(), whose context is the struct bridge. */
extern const struct control_verb control_verbs[];

#endif
