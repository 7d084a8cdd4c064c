/* SPDX-License-Identifier: ISC */
/*
 * Registers and ports of power.h. ACPI 6.4 §4.8.3.7 (sleep control), §4.8.3.6
 * (reset), §5.6.9 (generic event device); pvpanic: QEMU docs/specs/pvpanic.rst.
 */
#include "vm-cpu/power.h"

#include "vm-cpu/layout.h"
#include "vm-cpu/vm.h"

#include <stdbool.h>

enum {
	EVENT_BUTTON = 1,

	SLEEP_ENABLE = 1 << 5,
	SLEEP_TYPE_SHIFT = 2,
	SLEEP_TYPE_MASK = 7,
	SLEEP_TYPE_OFF = 5, /* as \_S5 in dsdt.asl */

	I8042_RESET = 0xfe, /* pulse output line 0 */
	I8042_IDLE = 0,	    /* status: nothing to read, ready to write */

	PVPANIC_PANICKED = 1 << 0,
	PVPANIC_CRASH_LOADED = 1 << 1,
};

static uint64_t registers_read(void *context, uint64_t offset, unsigned width)
{
	struct power *power = context;
	uint32_t events;

	(void)width;
	if (offset != POWER_EVENT)
		return 0;
	events = power->events;
	power->events = 0;
	return events;
}

static void registers_write(void *context, uint64_t offset, unsigned width,
			    uint64_t value)
{
	struct power *power = context;

	(void)width;
	if (offset == POWER_SLEEP_CONTROL && (value & SLEEP_ENABLE) &&
	    (value >> SLEEP_TYPE_SHIFT & SLEEP_TYPE_MASK) == SLEEP_TYPE_OFF)
		power->ended(power->context, STATUS_POWER_OFF);
	else if (offset == POWER_RESET && value == POWER_RESET_VALUE)
		power->ended(power->context, STATUS_RESET);
}

static uint64_t i8042_read(void *context, uint64_t offset, unsigned width)
{
	(void)context;
	(void)offset;
	(void)width;
	return I8042_IDLE;
}

static void i8042_write(void *context, uint64_t offset, unsigned width,
			uint64_t value)
{
	struct power *power = context;

	(void)offset;
	(void)width;
	if ((value & 0xff) == I8042_RESET)
		power->ended(power->context, STATUS_RESET);
}

static uint64_t pvpanic_read(void *context, uint64_t offset, unsigned width)
{
	(void)context;
	(void)offset;
	(void)width;
	return PVPANIC_PANICKED | PVPANIC_CRASH_LOADED;
}

/* A guest with a crash kernel loaded goes on by itself. */
static void pvpanic_write(void *context, uint64_t offset, unsigned width,
			  uint64_t value)
{
	struct power *power = context;

	(void)offset;
	(void)width;
	if (value & PVPANIC_PANICKED)
		power->ended(power->context, STATUS_PANIC);
}

static const struct bus_ops registers_ops = { registers_read, registers_write };
static const struct bus_ops i8042_ops = { i8042_read, i8042_write };
static const struct bus_ops pvpanic_ops = { pvpanic_read, pvpanic_write };

int power_init(struct power *power, struct vm *vm,
	       void (*ended)(void *context, enum exit_status status),
	       void *context)
{
	int r;

	*power = (struct power){ .vm = vm, .ended = ended, .context = context };
	r = bus_add(&vm->mmio, LAYOUT_POWER, LAYOUT_POWER_SIZE, &registers_ops,
		    power);
	if (r == 0)
		r = bus_add(&vm->pio, LAYOUT_I8042_COMMAND, 1, &i8042_ops,
			    power);
	if (r == 0)
		r = bus_add(&vm->pio, LAYOUT_PVPANIC, 1, &pvpanic_ops, power);
	return r;
}

void power_request_reset(void *context)
{
	struct power *power = context;

	power->ended(power->context, STATUS_RESET);
}

void power_press_button(struct power *power)
{
	power->events |= EVENT_BUTTON;
	/* Edge-triggered: up and down is one interrupt. */
	vm_set_irq(power->vm, LAYOUT_GSI_GED, true);
	vm_set_irq(power->vm, LAYOUT_GSI_GED, false);
}

void power_reset(struct power *power)
{
	power->events = 0;
}
