/* SPDX-License-Identifier: ISC */
/*
 * The life of one virtual machine:
 *
 *	servers start -> all are ready -> vm-cpu starts -> it ends -> servers end
 *	     ^     |                          ^     |
 *	     +-----+ when one dies            +-----+ on-reboot, on-crash
 */
#ifndef VM_RUN_SUPERVISE_H
#define VM_RUN_SUPERVISE_H

struct error;
struct plan;
struct vmfile;

/*
 * Run the machine, and return the status to exit with: vm-cpu's own, 128
 * and the number of the signal that killed it, or that of the signal that
 * ended us before it was started; or -errno with a text when it could not
 * be set up. ready_fd (or -1) is told when the guest is started.
 */
int supervise(const struct vmfile *vm, const struct plan *plan, int ready_fd,
	      struct error *err);

#endif
