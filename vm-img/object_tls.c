/* SPDX-License-Identifier: ISC */
/* --object tls-creds-x509|-psk|-anon,id=ID,dir=DIR,…: as "tls-creds" of an NBD
 * export names them. libnbd reads the files. */
#include "vm-img/object.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "vm-img/keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const types[] = {
	[OBJECT_TLS_ANON] = "tls-creds-anon",
	[OBJECT_TLS_PSK] = "tls-creds-psk",
	[OBJECT_TLS_X509] = "tls-creds-x509",
};

static struct object_tls *all;

static int find_type(const char *type)
{
	for (unsigned i = 0; i < array_size(types); i++)
		if (strcmp(types[i], type) == 0)
			return (int)i;
	return -1;
}

bool object_tls_is_type(const char *type)
{
	return find_type(type) >= 0;
}

static const struct object_tls *find(const char *id)
{
	const struct object_tls *tls = all;

	while (tls != NULL && strcmp(tls->id, id) != 0)
		tls = tls->next;
	return tls;
}

bool object_tls_has(const char *id)
{
	return find(id) != NULL;
}

int object_tls(const char *id, const struct object_tls **tls, struct error *err)
{
	*tls = find(id);
	if (*tls != NULL)
		return 0;
	return error_set(err, -EINVAL,
			 object_has(id)
				 ? "Object with id '%s' is not TLS credentials"
				 : "No TLS credentials with id '%s'",
			 id);
}

static void free_one(struct object_tls *tls)
{
	free(tls->id);
	free(tls->dir);
	free(tls->username);
	free(tls);
}

void object_tls_deinit(void)
{
	while (all != NULL) {
		struct object_tls *tls = all;

		all = tls->next;
		free_one(tls);
	}
}

/* Better here than when a server has been asked. */
static int check_files(const struct object_tls *tls, struct error *err)
{
	const char *name =
		tls->kind == OBJECT_TLS_PSK ? "keys.psk" : "ca-cert.pem";
	_cleanup_free_ char *path = NULL;

	if (tls->kind == OBJECT_TLS_ANON)
		return 0;
	if (tls->dir == NULL)
		return error_set(err, -EINVAL, "Missing 'dir' property value");
	if (asprintf(&path, "%s/%s", tls->dir, name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	if (access(path, R_OK) == 0)
		return 0;
	return error_set(err, -errno, "Unable to access credentials %s: %s",
			 path, strerror(errno));
}

static int keep(char **text, const char *value)
{
	*text = value != NULL ? strdup(value) : NULL;
	return value != NULL && *text == NULL ? -ENOMEM : 0;
}

static int load(struct keys *keys, struct object_tls *tls, struct error *err)
{
	const char *endpoint = keys_take(keys, "endpoint");
	bool is_verified = true, is_sane;
	int rc = keys_take_bool(keys, "verify-peer", &is_verified, err);

	if (rc == 0 && tls->kind == OBJECT_TLS_X509)
		rc = keys_take_bool(keys, "sanity-check", &is_sane, err);
	if (rc < 0)
		return rc;
	tls->is_unverified = !is_verified;
	if (endpoint != NULL && strcmp(endpoint, "client") != 0 &&
	    strcmp(endpoint, "server") != 0)
		return error_set(err, -EINVAL,
				 "Parameter 'endpoint' does not accept value "
				 "'%s'",
				 endpoint);
	keys_take(keys, "priority");
	if (keep(&tls->dir, keys_take(keys, "dir")) < 0)
		return -ENOMEM;
	if (tls->kind == OBJECT_TLS_PSK) {
		const char *username = keys_take(keys, "username");

		if (keep(&tls->username, username != NULL ? username : "qemu") <
		    0)
			return -ENOMEM;
	}
	if (tls->kind == OBJECT_TLS_X509 &&
	    keys_take(keys, "passwordid") != NULL)
		return error_set(err, -ENOTSUP,
				 "Keys with a password are not supported");
	if (keys_left(keys) != NULL)
		return error_set(err, -EINVAL, "Parameter '%s' is unexpected",
				 keys_left(keys));
	return check_files(tls, err);
}

int object_tls_add(struct keys *keys, const char *id, const char *type,
		   struct error *err)
{
	struct object_tls *tls = calloc(1, sizeof(*tls));
	int rc;

	if (tls == NULL)
		return -ENOMEM;
	tls->kind = (enum object_tls_kind)find_type(type);
	rc = keep(&tls->id, id);
	if (rc == 0)
		rc = load(keys, tls, err);
	if (rc < 0) {
		free_one(tls);
		return rc;
	}
	tls->next = all;
	all = tls;
	return 0;
}
