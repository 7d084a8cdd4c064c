/* SPDX-License-Identifier: ISC */
/* What follows the name of a device's directive: operands and options. */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/size.h"
#include "vm-run/vmfile_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum {
	QUEUES_MAX = 64,
	DEVICE_ID_MAX = 63,
	MAC_LEN = 17,
};

static bool is_mac(const char *text)
{
	for (int i = 0; i < MAC_LEN; i++)
		if (i % 3 == 2 ? text[i] != ':'
			       : !isxdigit((unsigned char)text[i]))
			return false;
	return text[MAC_LEN] == '\0';
}

static bool is_queues(const char *text)
{
	uint64_t number;

	return number_parse(text, 1, QUEUES_MAX, &number) == 0;
}

static bool is_device_id(const char *text)
{
	uint64_t number;

	return number_parse(text, 1, DEVICE_ID_MAX, &number) == 0;
}

enum {
	FOR_DISK = 1 << VMFILE_DISK,
	FOR_NET = 1 << VMFILE_NET,
	FOR_CONSOLE = 1 << VMFILE_CONSOLE,
	FOR_DEVICE = 1 << VMFILE_DEVICE,
	FOR_ALL = FOR_DISK | FOR_NET | FOR_CONSOLE | FOR_DEVICE,
};

#define FIELD(name) offsetof(struct vmfile_device, name)

static const struct device_option {
	const char *name;
	size_t field; /* a char * in struct vmfile_device */
	unsigned kinds;
	bool is_path;
	bool (*is_valid)(const char *text); /* NULL: any text is */
} options[] = {
	{ "socket", FIELD(socket), FOR_ALL, true, NULL },
	{ "format", FIELD(format), FOR_DISK, false, NULL },
	{ "cache", FIELD(cache), FOR_DISK, false, NULL },
	{ "queues", FIELD(queues), FOR_DISK, false, is_queues },
	{ "serial", FIELD(serial), FOR_DISK, false, NULL },
	{ "mac", FIELD(mac), FOR_NET, false, is_mac },
	{ "listen", FIELD(listen), FOR_NET, true, NULL },
	{ "attach", FIELD(attach), FOR_CONSOLE, true, NULL },
	{ "log", FIELD(log), FOR_CONSOLE, true, NULL },
};

/* A word is an option if it begins as "name="; "./a=b.img" does not. */
static size_t option_name_len(const char *word)
{
	size_t len = strspn(word, "abcdefghijklmnopqrstuvwxyz-");

	return len > 0 && word[len] == '=' ? len : 0;
}

static int take_option(const struct vmfile_parser *parser,
		       struct vmfile_device *device, const char *word,
		       size_t name_len)
{
	const char *value = word + name_len + 1;

	for (size_t i = 0; i < array_size(options); i++) {
		const struct device_option *option = &options[i];
		char **field =
			(char **)(void *)((char *)device + option->field);

		if (strlen(option->name) != name_len ||
		    memcmp(option->name, word, name_len) != 0 ||
		    !(option->kinds & 1U << device->kind))
			continue;
		if (option->is_valid != NULL && !option->is_valid(value))
			return vmfile_fail(parser, "bad value in '%s'", word);
		return option->is_path ? vmfile_keep_path(parser, field,
							  option->name, value)
				       : vmfile_keep(parser, field,
						     option->name, value);
	}
	return vmfile_fail(parser, "unknown option '%.*s' of '%s'",
			   (int)name_len, word, parser->directive);
}

static int take_operand(const struct vmfile_parser *parser,
			struct vmfile_device *device, const char *word)
{
	switch (device->kind) {
	case VMFILE_DISK:
		if (strcmp(word, "read-only") == 0) {
			device->is_read_only = true;
			return 0;
		}
		return vmfile_keep_path(parser, &device->image, "image", word);
	case VMFILE_NET:
		if (strstr(word, "://") == NULL)
			return vmfile_fail(
				parser, "'%s': no URL, as slirp:// is", word);
		if (device->n_plugs == VMFILE_PLUGS_MAX)
			return vmfile_fail(parser, "more than %d URLs",
					   VMFILE_PLUGS_MAX);
		return vmfile_keep(parser, &device->plugs[device->n_plugs++],
				   "net", word);
	case VMFILE_DEVICE:
		if (!is_device_id(word))
			return vmfile_fail(
				parser, "'%s': not a virtio device id", word);
		return vmfile_keep(parser, &device->id, "device", word);
	case VMFILE_CONSOLE:
		break;
	}
	return vmfile_fail(parser, "unknown word '%s' after '%s'", word,
			   parser->directive);
}

int vmfile_take_words(const struct vmfile_parser *parser,
		      struct vmfile_device *device, int n, char **words)
{
	int ret = 0;

	for (int i = 0; i < n && ret == 0; i++) {
		size_t len = option_name_len(words[i]);

		ret = len > 0 ? take_option(parser, device, words[i], len)
			      : take_operand(parser, device, words[i]);
	}
	return ret;
}

/* Is the device one that we start a server for? */
static bool has_own_server(const struct vmfile_device *device)
{
	return device->image != NULL || device->format != NULL ||
	       device->cache != NULL || device->queues != NULL ||
	       device->serial != NULL || device->is_read_only ||
	       device->n_plugs > 0 || device->listen != NULL ||
	       device->attach != NULL || device->log != NULL;
}

int vmfile_check_device(const struct vmfile_parser *parser,
			const struct vmfile_device *device)
{
	if (device->kind == VMFILE_DEVICE &&
	    (device->id == NULL || device->socket == NULL))
		return vmfile_fail(parser, "'device' needs an id and socket=");
	if (device->socket != NULL) {
		if (has_own_server(device))
			return vmfile_fail(
				parser,
				"socket= is of another server, and "
				"excludes all that we would start one for");
		return 0;
	}
	if (device->kind == VMFILE_DISK && device->image == NULL)
		return vmfile_fail(parser, "'disk' needs an image or socket=");
	return 0;
}

void vmfile_deinit_device(struct vmfile_device *device)
{
	for (size_t i = 0; i < array_size(options); i++)
		free(*(char **)(void *)((char *)device + options[i].field));
	free(device->image);
	free(device->id);
	for (unsigned i = 0; i < device->n_plugs; i++)
		free(device->plugs[i]);
}
