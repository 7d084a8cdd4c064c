/* SPDX-License-Identifier: ISC */
/* The control verbs of a machine (protocols/control.md, vm-cpu(1)). */
#ifndef VM_CPU_CONTROL_H
#define VM_CPU_CONTROL_H

#include "lib/base/control.h"

struct error;
struct machine;

/* Serve machine->control on path. */
int control_open(struct machine *machine, const char *path, struct error *err);

#endif
