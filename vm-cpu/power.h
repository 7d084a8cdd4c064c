/* SPDX-License-Identifier: ISC */
/*
 * Power control: the registers that ACPI names, the port by which PCs
 * are reset, and the panic port. Only this and a crash end a guest.
 */
#ifndef VM_CPU_POWER_H
#define VM_CPU_POWER_H

#include "vm-cpu/exit_status.h"

#include <stdint.h>

struct vm;

enum {
	/* Bytes into the page at LAYOUT_POWER. */
	POWER_EVENT = 0,	 /* 4 bytes; reading clears */
	POWER_SLEEP_CONTROL = 4, /* ACPI 6.4 §4.8.3.7 */
	POWER_SLEEP_STATUS = 5,
	POWER_RESET = 6,
	POWER_RESET_VALUE = 1,
};

struct power {
	struct vm *vm;
	uint32_t events;
	/* The guest ended its run. Called with the lock held, from a vCPU's
	 * thread; the guest goes on until it is stopped. */
	void (*ended)(void *context, enum exit_status status);
	void *context;
};

/* Add the registers and ports to vm's buses. */
int power_init(struct power *power, struct vm *vm,
	       void (*ended)(void *context, enum exit_status status),
	       void *context);

/* The guest asks for a reset by a port that is not power's own; context is
 * the struct power. */
void power_request_reset(void *context);

/* Press the power button. A guest without a driver for it will not care. */
void power_press_button(struct power *power);

/* Nothing happened yet: for the next boot. */
void power_reset(struct power *power);

#endif
