/* SPDX-License-Identifier: ISC */
/* Words for devices: on the command line and in VM_DEVICES. */
#include "vm-cpu/device_option.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/options.h"
#include "lib/base/size.h"
#include "lib/vhost/frontend.h"
#include "protocols/virtio_fs.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

/* virtio 1.2 §5 */
static const struct {
	const char *name;
	uint32_t device_id;
} names[] = {
	{ "net", 1 }, { "blk", 2 }, { "console", 3 },
	{ "rng", 4 }, { "fs", 26 },
};

enum {
	DEVICE_ID_MAX = 63, /* PCI device ids end at 0x107f (§4.1.2) */
	MULTICAST = 1,	    /* in a MAC's first byte */
};

static bool find_name(const char *name, struct device_option *device)
{
	for (size_t i = 0; i < array_size(names); i++) {
		if (strcmp(names[i].name, name) != 0)
			continue;
		device->name = names[i].name;
		device->device_id = names[i].device_id;
		return true;
	}
	return false;
}

/* An id by number; one that has a name gets it. */
static int find_id(const char *text, struct device_option *device,
		   struct error *err)
{
	uint64_t id;

	if (number_parse(text, 1, DEVICE_ID_MAX, &id) < 0)
		return error_set(err, -EINVAL, "%s: not a virtio device id",
				 text);
	device->name = "device";
	device->device_id = (uint32_t)id;
	for (size_t i = 0; i < array_size(names); i++)
		if (names[i].device_id == id)
			device->name = names[i].name;
	return 0;
}

/* "52:54:00:12:34:56": pairs of digits, not multicast. */
static int parse_mac(const char *text, uint8_t *mac)
{
	char pair[3] = "";

	if (strlen(text) != 17)
		return -EINVAL;
	for (unsigned i = 0; i < 6; i++) {
		memcpy(pair, text + 3 * (size_t)i, 2);
		if (!isxdigit((unsigned char)pair[0]) ||
		    !isxdigit((unsigned char)pair[1]) ||
		    (i < 5 && text[3 * i + 2] != ':'))
			return -EINVAL;
		mac[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return mac[0] & MULTICAST ? -EINVAL : 0;
}

int device_option_parse_reconnect(const char *text, int *seconds)
{
	uint64_t number;

	if (strcmp(text, "forever") == 0)
		*seconds = FRONTEND_RECONNECT_FOREVER;
	else if (strcmp(text, "never") == 0)
		*seconds = FRONTEND_RECONNECT_NEVER;
	else if (number_parse(text, 1, INT32_MAX, &number) == 0)
		*seconds = (int)number;
	else
		return -EINVAL;
	return 0;
}

static int set_suboption(struct device_option *device, const char *key,
			 const char *value, struct error *err)
{
	uint64_t number;
	int r = 0;

	if (value == NULL)
		return error_set(err, -EINVAL, "%s: needs a value", key);
	if (strcmp(key, "mac") == 0) {
		device->has_mac = true;
		r = parse_mac(value, device->mac);
	} else if (strcmp(key, "tag") == 0) {
		if (value[0] == '\0' || strlen(value) > VIRTIO_FS_TAG_MAX)
			r = -EINVAL;
		free(device->tag);
		device->tag = strdup(value);
		if (device->tag == NULL)
			return -ENOMEM;
	} else if (strcmp(key, "queues") == 0) {
		r = number_parse(value, 1, FRONTEND_QUEUES_MAX, &number);
		device->n_queues = r == 0 ? (unsigned)number : 0;
	} else if (strcmp(key, "reconnect") == 0) {
		device->has_reconnect = true;
		r = device_option_parse_reconnect(value,
						  &device->reconnect_seconds);
	} else {
		return error_set(err, -EINVAL, "%s: unknown", key);
	}
	if (r < 0)
		return error_set(err, -EINVAL, "%s=%s: not valid", key, value);
	return 0;
}

/* The socket: a path, or fd:N. */
static int set_socket(struct device_option *device, const char *text,
		      struct error *err)
{
	uint64_t fd;

	if (strncmp(text, "fd:", 3) == 0) {
		if (number_parse(text + 3, 0, INT32_MAX, &fd) < 0)
			return error_set(err, -EINVAL, "not a descriptor");
		device->fd = (int)fd;
		return 0;
	}
	if (text[0] == '\0')
		return error_set(err, -EINVAL, "no socket");
	device->socket_path = strdup(text);
	return device->socket_path == NULL ? -ENOMEM : 0;
}

/*
 * Cut the first item off: no key, whatever is in it. A doubled comma stands
 * for one. Returns what follows, or NULL.
 */
static char *cut_socket(char *text)
{
	char *to = text;

	for (;; text++) {
		if (text[0] == ',' && text[1] == ',')
			text++;
		else if (text[0] == ',' || text[0] == '\0')
			break;
		*to++ = *text;
	}
	text = *text == ',' ? text + 1 : NULL;
	*to = '\0';
	return text;
}

/* "SOCKET[,key=value]..." */
static int parse(struct device_option *device, char *text, struct error *err)
{
	char *cursor = cut_socket(text);
	char *key, *value;
	int r;

	r = set_socket(device, text, err);
	while (r == 0 && cursor != NULL &&
	       suboption_next(&cursor, &key, &value))
		r = set_suboption(device, key, value, err);
	return r;
}

static int add(struct device_options *options, struct device_option *device,
	       int r, struct error *err)
{
	if (r == 0 && options->n_devices == DEVICE_OPTIONS_MAX)
		r = error_set(err, -ENOSPC, "more than %d devices",
			      DEVICE_OPTIONS_MAX);
	if (r < 0) {
		free(device->socket_path);
		free(device->tag);
		return r;
	}
	options->devices[options->n_devices++] = *device;
	return 0;
}

int device_option_add(struct device_options *options, const char *name,
		      const char *argument, struct error *err)
{
	struct device_option device = { .fd = -1 };
	_cleanup_free_ char *copy = strdup(argument);
	char *text = copy;
	int r = 0;

	if (copy == NULL)
		return -ENOMEM;
	if (!find_name(name, &device)) {
		text = strchr(copy, ':');
		if (text == NULL)
			return error_set(err, -EINVAL, "needs ID:SOCKET");
		*text++ = '\0';
		r = find_id(copy, &device, err);
	}
	if (r == 0)
		r = parse(&device, text, err);
	return add(options, &device, r, err);
}

/* One word, "NAME:FD"; NAME may be an id. */
static int add_word(struct device_options *options, char *word,
		    struct error *err)
{
	struct device_option device = { .fd = -1 };
	char *colon = strchr(word, ':');
	uint64_t fd;
	int r = 0;

	if (colon == NULL || number_parse(colon + 1, 0, INT32_MAX, &fd) < 0)
		return error_set(err, -EINVAL, "%s: not NAME:FD", word);
	*colon = '\0';
	device.fd = (int)fd;
	if (!find_name(word, &device))
		r = find_id(word, &device, err);
	return add(options, &device, r, err);
}

int device_option_add_inherited(struct device_options *options,
				const char *text, struct error *err)
{
	_cleanup_free_ char *copy = strdup(text);
	char *state = NULL;
	int r = 0;

	if (copy == NULL)
		return -ENOMEM;
	for (char *word = strtok_r(copy, " ", &state); r == 0 && word != NULL;
	     word = strtok_r(NULL, " ", &state))
		r = add_word(options, word, err);
	return r;
}

void device_options_deinit(struct device_options *options)
{
	for (unsigned i = 0; i < options->n_devices; i++) {
		free(options->devices[i].socket_path);
		free(options->devices[i].tag);
		close_fd(&options->devices[i].fd);
	}
	options->n_devices = 0;
}
