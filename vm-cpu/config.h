/* SPDX-License-Identifier: ISC */
/* What the command line and the environment ask for. */
#ifndef VM_CPU_CONFIG_H
#define VM_CPU_CONFIG_H

#include "vm-cpu/device_option.h"

#include <stdbool.h>
#include <stdint.h>

struct config {
	const char *kernel_path;
	const char *initrd_path; /* or NULL */
	const char *cmdline;
	uint64_t memory_size;
	unsigned n_cpus;
	bool has_hugepages;
	bool is_rebooting;	  /* boot again on a reset */
	const char *serial;	  /* "stdio", "none", "fd:N" or a path */
	const char *control_path; /* or NULL */
	int ready_fd;		  /* or -1 */
	struct device_options devices;
};

/*
 * Fill *config from the options and VM_DEVICES; bad usage exits 2 with one
 * line, --help and --version exit 0. Strings are those of argv.
 */
void config_parse(struct config *config, int argc, char **argv);
void config_deinit(struct config *config);

#endif
