/* SPDX-License-Identifier: ISC */
/*
 * A virtual machine as its file describes it (vm-run(5)): one directive a
 * line, words as in protocols/control.md, '#' begins a comment.
 */
#ifndef VM_RUN_VMFILE_H
#define VM_RUN_VMFILE_H

#include <stdbool.h>
#include <stddef.h>

struct error;

enum {
	VMFILE_DEVICES_MAX = 31, /* vm-cpu has a slot for each */
	VMFILE_PLUGS_MAX = 8,
	VMFILE_WORDS_MAX = 64,
	VMFILE_SIZE_MAX = 1 << 20,
};

enum vmfile_kind {
	VMFILE_DISK,
	VMFILE_NET,
	VMFILE_CONSOLE,
	VMFILE_DEVICE,
};

/* A device of the guest. Strings not given are NULL. */
struct vmfile_device {
	enum vmfile_kind kind;
	char *socket; /* somebody else serves it here, or: */
	char *image;  /* disk */
	char *format, *cache, *queues, *serial;
	bool is_read_only;
	char *plugs[VMFILE_PLUGS_MAX]; /* net */
	unsigned n_plugs;
	char *mac;
	char *listen; /* where others may plug into this switch */
	char *attach; /* console */
	char *log;
	char *id; /* device: virtio's number */
};

enum vmfile_serial {
	VMFILE_SERIAL_UNSET, /* as stdio */
	VMFILE_SERIAL_STDIO, /* vm-run's own standard input and output */
	VMFILE_SERIAL_NONE,
	VMFILE_SERIAL_CONSOLE,
};

struct vmfile {
	char *name;
	char *memory, *cpus; /* checked, as written */
	char *kernel, *initrd, *append;
	bool with_hugepages;
	bool is_restarted_on_reboot, is_restarted_on_crash;
	unsigned shutdown_timeout_s; /* 0: wait for ever */
	enum vmfile_serial serial;
	struct vmfile_device serial_console; /* its attach and log */
	char *control;
	/* In the order in which the guest finds them. */
	struct vmfile_device devices[VMFILE_DEVICES_MAX];
	unsigned n_devices;
};

#define VMFILE_INIT \
	{ \
		.name = NULL \
	}

/*
 * Parse len bytes of text. Messages name file and line. Relative paths in
 * it are relative to its own folder: they come out with that in front, so
 * that they are right in the working directory.
 */
int vmfile_parse(struct vmfile *vm, const char *file, const char *text,
		 size_t len, struct error *err);
/* Parse the file of this name; "-" is standard input. */
int vmfile_read(struct vmfile *vm, const char *file, struct error *err);
/* Idempotent. */
void vmfile_deinit(struct vmfile *vm);

#endif
