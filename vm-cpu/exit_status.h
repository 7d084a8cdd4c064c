/* SPDX-License-Identifier: ISC */
/* How a guest's run ended; the program's exit status (vm-cpu(1)). */
#ifndef VM_CPU_EXIT_STATUS_H
#define VM_CPU_EXIT_STATUS_H

enum exit_status {
	STATUS_POWER_OFF = 0,
	STATUS_FAILURE = 1, /* of the host's side, or stopped from there */
	STATUS_RESET = 32,
	STATUS_CRASH = 33, /* triple fault, or KVM could not go on */
	STATUS_PANIC = 34, /* the guest said so by pvpanic */
			   /* 36 is kept for a watchdog. */
};

#endif
