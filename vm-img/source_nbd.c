/* SPDX-License-Identifier: ISC */
/*
 * An NBD server's export by options, or by the names that were there before
 * URIs: "nbd:HOST:PORT:exportname=NAME", "nbd:unix:PATH:exportname=NAME".
 * Both become a URI, which is what the engine connects to and what is shown.
 */
#include "vm-img/source.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "vm-img/keys.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OLD_PREFIX "nbd:"
#define OLD_UNIX "unix:"
#define OLD_EXPORT ":exportname="
#define DEFAULT_PORT "10809"

enum {
	NAME_MAX_LEN = 128,
};

struct address {
	const char *path;	 /* of a socket, or NULL: */
	const char *host, *port; /* of another host */
	const char *export;	 /* NULL: the one without a name */
};

/* RFC 3986 §2.1, but for slashes, which mean nothing here. To be freed. */
static char *encode(const char *text)
{
	char *to = malloc(3 * strlen(text) + 1), *at = to;

	if (to == NULL)
		return NULL;
	for (; *text != '\0'; text++)
		if (isalnum((unsigned char)*text) ||
		    strchr("-._~/:@", *text) != NULL)
			*at++ = *text;
		else
			at += sprintf(at, "%%%02X", (unsigned char)*text);
	*at = '\0';
	return to;
}

static int write_uri(const struct address *a, char **uri)
{
	_cleanup_free_ char *path = NULL, *export = NULL;
	const char *slash = a->export != NULL ? "/" : "";
	const char *host = a->host != NULL ? a->host : "";
	int n;

	export = encode(a->export != NULL ? a->export : "");
	path = encode(a->path != NULL ? a->path : "");
	if (export == NULL || path == NULL)
		return -ENOMEM;
	if (a->path != NULL)
		n = asprintf(uri, "nbd+unix://%s%s?socket=%s", slash, export,
			     path);
	else if (strchr(host, ':') != NULL)
		n = asprintf(uri, "nbd://[%s]:%s%s%s", host, a->port, slash,
			     export);
	else
		n = asprintf(uri, "nbd://%s:%s%s%s", host, a->port, slash,
			     export);
	if (n < 0) {
		*uri = NULL;
		return -ENOMEM;
	}
	return 0;
}

static const char *take(struct keys *keys, const char *prefix, const char *name)
{
	char full[NAME_MAX_LEN];

	snprintf(full, sizeof(full), "%s%s", prefix, name);
	return keys_take(keys, full);
}

/* The server's address as it is written today: with its type. */
static int take_server(struct keys *keys, const char *prefix, struct address *a,
		       struct error *err)
{
	const char *type = take(keys, prefix, "server.type");

	if (type == NULL)
		return error_set(err, -EINVAL,
				 "Parameter 'server.type' is missing");
	if (strcmp(type, "unix") == 0) {
		a->path = take(keys, prefix, "server.path");
		if (a->path == NULL)
			return error_set(err, -EINVAL,
					 "Parameter 'server.path' is missing");
		return 0;
	}
	if (strcmp(type, "inet") != 0)
		return error_set(
			err, -EINVAL,
			"Parameter 'server.type' does not accept value "
			"'%s'",
			type);
	a->host = take(keys, prefix, "server.host");
	a->port = take(keys, prefix, "server.port");
	if (a->host == NULL || a->port == NULL)
		return error_set(err, -EINVAL,
				 "Parameter 'server.%s' is missing",
				 a->host == NULL ? "host" : "port");
	return 0;
}

int source_take_nbd(struct keys *keys, const char *prefix, char **uri,
		    struct error *err)
{
	struct address a = {
		.path = take(keys, prefix, "path"),
		.host = take(keys, prefix, "host"),
		.port = take(keys, prefix, "port"),
		.export = take(keys, prefix, "export"),
	};
	char server[NAME_MAX_LEN];
	int rc = 0;

	snprintf(server, sizeof(server), "%sserver.", prefix);
	if (a.path != NULL && a.host != NULL)
		return error_set(err, -EINVAL,
				 "path and host may not be used at the same "
				 "time");
	if (keys_has_prefix(keys, server))
		rc = take_server(keys, prefix, &a, err);
	else if (a.path == NULL && a.host == NULL)
		return error_set(err, -EINVAL, "NBD server address missing");
	if (a.port == NULL)
		a.port = DEFAULT_PORT;
	return rc < 0 ? rc : write_uri(&a, uri);
}

bool source_is_old_nbd(const char *name)
{
	return strncmp(name, OLD_PREFIX "//", strlen(OLD_PREFIX "//")) != 0 &&
	       strncmp(name, OLD_PREFIX, strlen(OLD_PREFIX)) == 0;
}

int source_parse_old_nbd(const char *name, char **uri, struct error *err)
{
	_cleanup_free_ char *copy = strdup(name + strlen(OLD_PREFIX));
	struct address a = { .path = NULL };
	char *export, *colon;

	if (copy == NULL)
		return -ENOMEM;
	export = strstr(copy, OLD_EXPORT);
	if (export != NULL) {
		*export = '\0';
		a.export = export + strlen(OLD_EXPORT);
	}
	if (strncmp(copy, OLD_UNIX, strlen(OLD_UNIX)) == 0) {
		a.path = copy + strlen(OLD_UNIX);
		return write_uri(&a, uri);
	}
	colon = strrchr(copy, ':');
	if (colon == NULL || colon[1] == '\0')
		return error_set(err, -EINVAL, "error parsing address '%s'",
				 copy);
	*colon = '\0';
	a.host = copy;
	a.port = colon + 1;
	return write_uri(&a, uri);
}
