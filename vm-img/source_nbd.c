/* SPDX-License-Identifier: ISC */
/*
 * An NBD server's export by options, or by the names that were there before
 * URIs: "nbd:HOST:PORT:exportname=NAME", "nbd:unix:PATH:exportname=NAME".
 * Both become a URI, which is what the engine connects to and what is shown.
 */
#include "vm-img/source.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/size.h"
#include "vm-img/keys.h"
#include "vm-img/object.h"

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
	const char *path;	      /* of a socket, or NULL: */
	const char *host, *port;      /* of another host */
	const char *export;	      /* NULL: the one without a name */
	bool is_vsock;		      /* host is a number */
	const struct object_tls *tls; /* NULL: without */
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

/* What the URI says of TLS, as libnbd reads it. "" without. */
static int write_tls(const struct address *a, char separator, char **text)
{
	const struct object_tls *tls = a->tls;
	_cleanup_free_ char *dir = NULL;
	int n;

	if (tls == NULL) {
		*text = strdup("");
		return *text == NULL ? -ENOMEM : 0;
	}
	dir = encode(tls->dir != NULL ? tls->dir : "");
	if (dir == NULL)
		return -ENOMEM;
	if (tls->kind == OBJECT_TLS_PSK)
		n = asprintf(text, "%ctls-psk-file=%s/keys.psk", separator,
			     dir);
	else if (tls->kind == OBJECT_TLS_X509)
		n = asprintf(text, "%ctls-certificates=%s%s", separator, dir,
			     tls->is_unverified ? "&tls-verify-peer=false"
						: "");
	else
		n = asprintf(text, "%s", "");
	return n < 0 ? -ENOMEM : 0;
}

static int write_uri(const struct address *a, char **uri)
{
	_cleanup_free_ char *path = NULL, *export = NULL, *tls = NULL;
	_cleanup_free_ char *user = NULL;
	bool has_user = a->tls != NULL && a->tls->username != NULL;
	const char *slash = a->export != NULL ? "/" : "";
	const char *host = a->host != NULL ? a->host : "";
	const char *s = a->tls != NULL ? "s" : "", *at = has_user ? "@" : "";
	int n;

	export = encode(a->export != NULL ? a->export : "");
	path = encode(a->path != NULL ? a->path : "");
	user = encode(has_user ? a->tls->username : "");
	if (export == NULL || path == NULL || user == NULL ||
	    write_tls(a, a->path != NULL ? '&' : '?', &tls) < 0)
		return -ENOMEM;
	if (a->path != NULL)
		n = asprintf(uri, "nbd%s+unix://%s%s%s%s?socket=%s%s", s, user,
			     at, slash, export, path, tls);
	else if (strchr(host, ':') != NULL)
		n = asprintf(uri, "nbd%s://%s%s[%s]:%s%s%s%s", s, user, at,
			     host, a->port, slash, export, tls);
	else
		n = asprintf(uri, "nbd%s%s://%s%s%s:%s%s%s%s", s,
			     a->is_vsock ? "+vsock" : "", user, at, host,
			     a->port, slash, export, tls);
	if (n < 0) {
		*uri = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int missing(const char *name, struct error *err)
{
	return error_set(err, -EINVAL, "Parameter '%s' is missing", name);
}

/* How the name is looked up, and such: as is usual. */
static void ignore_inet(struct keys *keys, const char *prefix)
{
	static const char *const names[] = {
		"server.numeric", "server.to",	  "server.ipv4",
		"server.ipv6",	  "server.mptcp", "server.keep-alive",
	};

	for (unsigned i = 0; i < array_size(names); i++)
		keys_take_of(keys, prefix, names[i]);
}

static int take_typed(struct keys *keys, const char *prefix, const char *type,
		      struct address *a, struct error *err)
{
	if (strcmp(type, "unix") == 0) {
		a->path = keys_take_of(keys, prefix, "server.path");
		return a->path == NULL ? missing("path", err) : 0;
	}
	if (strcmp(type, "vsock") == 0) {
		a->is_vsock = true;
		a->host = keys_take_of(keys, prefix, "server.cid");
		if (a->host == NULL)
			return missing("cid", err);
	} else if (strcmp(type, "inet") == 0) {
		ignore_inet(keys, prefix);
		a->host = keys_take_of(keys, prefix, "server.host");
		if (a->host == NULL)
			return missing("host", err);
	} else {
		return error_set(err, -EINVAL,
				 "Parameter 'type' does not accept value '%s'",
				 type);
	}
	a->port = keys_take_of(keys, prefix, "server.port");
	return a->port == NULL ? missing("port", err) : 0;
}

/* The server's address as it is written today: with its type. */
static int take_server(struct keys *keys, const char *prefix, struct address *a,
		       struct error *err)
{
	const char *type = keys_take_of(keys, prefix, "server.type");
	size_t len = strlen(prefix) + strlen("server.");
	char server[NAME_MAX_LEN];
	int rc;

	if (a->path != NULL || a->host != NULL || a->port != NULL)
		return error_set(err, -EINVAL,
				 "Cannot use 'server' and path/host/port at "
				 "the same time");
	rc = type == NULL ? missing("type", err)
			  : take_typed(keys, prefix, type, a, err);
	snprintf(server, sizeof(server), "%sserver.", prefix);
	for (unsigned i = 0; rc == 0 && i < keys->n; i++)
		if (!keys->list[i].is_taken &&
		    strncmp(keys->list[i].name, server, len) == 0)
			rc = error_set(err, -EINVAL,
				       "Parameter '%s' is unexpected",
				       keys->list[i].name + len);
	return rc;
}

/* How long to try, which is not until the end of time either way. */
static int take_times(struct keys *keys, const char *prefix, struct error *err)
{
	static const char *const names[] = { "reconnect-delay",
					     "open-timeout" };
	uint64_t seconds;

	for (unsigned i = 0; i < array_size(names); i++) {
		const char *text = keys_take_of(keys, prefix, names[i]);

		if (text != NULL &&
		    number_parse(text, 0, UINT32_MAX, &seconds) < 0)
			return error_set(err, -EINVAL,
					 "Parameter '%s' expects a number",
					 names[i]);
	}
	return 0;
}

/* libnbd looks for the host that it connects to in the certificate; of a
 * socket's path it asks no name at all. What the user wants to be sure of must
 * not be passed over. */
static int check_hostname(const struct address *a, const char *name,
			  struct error *err)
{
	const char *host = a->host != NULL && !a->is_vsock ? a->host : "";

	if (name == NULL || strcmp(name, host) == 0 ||
	    a->tls->kind != OBJECT_TLS_X509 || a->tls->is_unverified)
		return 0;
	return error_set(err, -ENOTSUP,
			 "Certificates of another 'tls-hostname' than the host "
			 "are not supported");
}

static int take_tls(struct keys *keys, const char *prefix, struct address *a,
		    struct error *err)
{
	const char *id = keys_take_of(keys, prefix, "tls-creds");
	const char *name = keys_take_of(keys, prefix, "tls-hostname");
	int rc;

	if (id == NULL)
		return 0;
	rc = object_tls(id, &a->tls, err);
	return rc == 0 ? check_hostname(a, name, err) : rc;
}

int source_take_nbd(struct keys *keys, const char *prefix,
		    struct source *source, char **plain, struct error *err)
{
	struct address a = {
		.path = keys_take_of(keys, prefix, "path"),
		.host = keys_take_of(keys, prefix, "host"),
		.port = keys_take_of(keys, prefix, "port"),
		.export = keys_take_of(keys, prefix, "export"),
	};
	const char *context = keys_take_of(keys, prefix, "x-dirty-bitmap");
	char server[NAME_MAX_LEN];
	int rc = take_times(keys, prefix, err);

	snprintf(server, sizeof(server), "%sserver.", prefix);
	if (rc < 0)
		return rc;
	if (a.path != NULL && a.host != NULL)
		return error_set(err, -EINVAL,
				 "path and host may not be used at the same "
				 "time");
	if (keys_has_prefix(keys, server))
		rc = take_server(keys, prefix, &a, err);
	else if (a.path == NULL && a.host == NULL)
		return error_set(err, -EINVAL, "NBD server address missing");
	if (rc == 0)
		rc = take_tls(keys, prefix, &a, err);
	if (rc < 0)
		return rc;
	if (a.port == NULL)
		a.port = DEFAULT_PORT;
	if (context != NULL && (source->nbd_context = strdup(context)) == NULL)
		return -ENOMEM;
	free(source->path);
	source->path = NULL;
	rc = write_uri(&a, &source->path);
	a.tls = NULL;
	return rc == 0 ? write_uri(&a, plain) : rc;
}

int source_parse_nbd(const char *uri, char **plain, struct error *err)
{
	const char *authority = strstr(uri, "://") + strlen("://");
	size_t len = strcspn(authority, "/?#");
	const char *rest = authority + len, *port = "";
	const char *address = memrchr(authority, '@', len);
	bool is_tcp = strcspn(uri, "+:") == strcspn(uri, ":");

	if (address == NULL)
		address = authority;
	if (*address == '[')
		address += strcspn(address, "]");
	if (is_tcp && memchr(address, ':', (size_t)(rest - address)) == NULL)
		port = ":" DEFAULT_PORT;
	if (*rest == '/' && (rest[1] == '\0' || rest[1] == '?'))
		rest++;
	if (asprintf(plain, "%.*s%s%s", (int)(authority + len - uri), uri, port,
		     rest) < 0) {
		*plain = NULL;
		return error_set_errno(err, -ENOMEM, "Could not read '%s'",
				       uri);
	}
	return 0;
}

bool source_is_old_nbd(const char *name)
{
	return strncmp(name, OLD_PREFIX "//", strlen(OLD_PREFIX "//")) != 0 &&
	       strncmp(name, OLD_PREFIX, strlen(OLD_PREFIX)) == 0;
}

bool source_is_nbd(const char *name)
{
	return image_name_is_nbd(name) || source_is_old_nbd(name);
}

int source_parse_old_nbd(const char *name, char **uri, struct error *err)
{
	_cleanup_free_ char *copy = strdup(name + strlen(OLD_PREFIX));
	struct address a = { .path = NULL };
	char *export, *colon;

	if (copy == NULL)
		return -ENOMEM;
	if (*copy == '\0')
		return error_set(err, -EINVAL, "NBD server address missing");
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
