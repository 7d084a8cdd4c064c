/* SPDX-License-Identifier: ISC */
/* The verbs of --control; the context is a struct console. */
#ifndef VM_CONSOLE_CONTROL_H
#define VM_CONSOLE_CONTROL_H

#include "lib/base/control.h"

extern const struct control_verb control_verbs[];

#endif
