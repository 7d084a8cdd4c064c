/* SPDX-License-Identifier: ISC */
/* The control socket of vm-disk (protocols/control.md). */
#ifndef VM_DISK_CONTROL_H
#define VM_DISK_CONTROL_H

struct control;
struct disk;
struct error;

/* NULL in *control where none is wanted. After disk_start(). */
int disk_control_new(struct control **control, struct disk *disk,
		     struct error *err);

#endif
