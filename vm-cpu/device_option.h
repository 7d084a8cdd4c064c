/* SPDX-License-Identifier: ISC */
/*
 * What one --blk, --net, --console, --fs, --rng or --device option, or one
 * word of VM_DEVICES, says:
 *
 *	--net=PATH[,mac=XX:XX:XX:XX:XX:XX][,queues=N][,reconnect=WHEN]
 *	--fs=PATH[,tag=NAME][,...]
 *	--device=ID:PATH[,...]		ID as in virtio 1.2 §5
 *	--net=fd:N[,...]		an open connection
 */
#ifndef VM_CPU_DEVICE_OPTION_H
#define VM_CPU_DEVICE_OPTION_H

#include <stdbool.h>
#include <stdint.h>

struct error;

enum {
	DEVICE_OPTIONS_MAX = 31, /* slot 0 is the host bridge */
};

struct device_option {
	const char *name;   /* "net", or "device" for ids without a name */
	uint32_t device_id; /* virtio 1.2 §5 */
	char *socket_path;  /* or NULL, and then */
	int fd;		    /* an open connection */
	unsigned n_queues;  /* wanted; 0: as many as make sense */
	bool has_mac;
	uint8_t mac[6];
	char *tag;	       /* fs: its name in the guest, or NULL */
	bool has_reconnect;    /* else the common one counts */
	int reconnect_seconds; /* FRONTEND_RECONNECT_* or seconds */
};

struct device_options {
	unsigned n_devices;
	struct device_option devices[DEVICE_OPTIONS_MAX];
	/* For devices that do not say reconnect=: --reconnect's. */
	int reconnect_seconds;
};

/*
 * Add one. name is the option's ("net", "device"), argument its text, not
 * kept. -EINVAL or -ENOSPC with a text.
 */
int device_option_add(struct device_options *options, const char *name,
		      const char *argument, struct error *err);
/* Add those of VM_DEVICES ("blk:5 net:6"), text as found there. */
int device_option_add_inherited(struct device_options *options,
				const char *text, struct error *err);
/* "forever", "never" or seconds; -EINVAL. */
int device_option_parse_reconnect(const char *text, int *seconds);
/* Close and free what is left; a descriptor that was handed on is -1. */
void device_options_deinit(struct device_options *options);

#endif
