/* SPDX-License-Identifier: ISC */
/*
 * vm-cpu runs a guest's processors and memory on KVM. It has no devices but a
 * serial port and power control: the others are processes of their own that
 * speak vhost-user.
 */
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/ready.h"
#include "vm-cpu/config.h"
#include "vm-cpu/machine.h"

int main(int argc, char **argv)
{
	/* Static: most of it is never touched, so it costs no memory. */
	static struct machine machine = MACHINE_INIT;
	static struct config config;
	struct error err = ERROR_INIT;
	enum exit_status status;
	int r;

	log_init("vm-cpu");
	config_parse(&config, argc, argv);
	r = machine_init(&machine, &config, &err);
	if (r == 0)
		r = machine_boot(&machine, &err);
	if (r < 0)
		die(STATUS_FAILURE, "%s", error_text(&err, r));
	ready_notify(config.ready_fd);

	while ((status = machine_run(&machine)) == STATUS_RESET &&
	       config.is_rebooting) {
		machine_halt(&machine);
		r = machine_reset(&machine, &err);
		if (r == 0)
			r = machine_boot(&machine, &err);
		if (r < 0)
			die(STATUS_FAILURE, "%s", error_text(&err, r));
	}

	machine_deinit(&machine);
	config_deinit(&config);
	return status;
}
