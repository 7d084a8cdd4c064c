/* SPDX-License-Identifier: ISC */
/* --object help and --object TYPE,help, in the form in which qemu-img lists
 * them: sorted as whole lines. */
#include "vm-img/object.h"

#include "lib/base/cleanup.h"
#include "lib/base/options.h"

#include <stdio.h>
#include <string.h>

static const struct help {
	const char *type, *properties[24];
} helps[] = {
	{ "authz-list",
	  { "policy=<QAuthZListPolicy>", "rules=<QAuthZListRule>" } },
	{ "authz-simple", { "identity=<string>" } },
	{ "main-loop",
	  { "aio-max-batch=<int>", "thread-pool-max=<int>",
	    "thread-pool-min=<int>" } },
	{ "secret",
	  { "data=<string>", "file=<string>", "format=<QCryptoSecretFormat>",
	    "iv=<string>", "keyid=<string>" } },
	{ "secret_keyring",
	  { "format=<QCryptoSecretFormat>", "iv=<string>", "keyid=<string>",
	    "serial=<int32_t>" } },
	{ "thread-context", { "cpu-affinity=<int>", "node-affinity=<int>" } },
	{ "throttle-group",
	  { "limits=<ThrottleLimits>",
	    "x-bps-read-max-length=<int>",
	    "x-bps-read-max=<int>",
	    "x-bps-read=<int>",
	    "x-bps-total-max-length=<int>",
	    "x-bps-total-max=<int>",
	    "x-bps-total=<int>",
	    "x-bps-write-max-length=<int>",
	    "x-bps-write-max=<int>",
	    "x-bps-write=<int>",
	    "x-iops-read-max-length=<int>",
	    "x-iops-read-max=<int>",
	    "x-iops-read=<int>",
	    "x-iops-size=<int>",
	    "x-iops-total-max-length=<int>",
	    "x-iops-total-max=<int>",
	    "x-iops-total=<int>",
	    "x-iops-write-max-length=<int>",
	    "x-iops-write-max=<int>",
	    "x-iops-write=<int>" } },
	{ "tls-cipher-suites",
	  { "dir=<string>", "endpoint=<QCryptoTLSCredsEndpoint>",
	    "priority=<string>", "verify-peer=<bool>" } },
	{ "tls-creds-anon",
	  { "dir=<string>", "endpoint=<QCryptoTLSCredsEndpoint>",
	    "priority=<string>", "verify-peer=<bool>" } },
	{ "tls-creds-psk",
	  { "dir=<string>", "endpoint=<QCryptoTLSCredsEndpoint>",
	    "priority=<string>", "username=<string>", "verify-peer=<bool>" } },
	{ "tls-creds-x509",
	  { "dir=<string>", "endpoint=<QCryptoTLSCredsEndpoint>",
	    "passwordid=<string>", "priority=<string>", "sanity-check=<bool>",
	    "verify-peer=<bool>" } },
};

static bool is_help(const char *word)
{
	return strcmp(word, "help") == 0 || strcmp(word, "?") == 0;
}

static const struct help *find(const char *type)
{
	for (unsigned i = 0; i < array_size(helps); i++)
		if (strcmp(helps[i].type, type) == 0)
			return &helps[i];
	return NULL;
}

static void print(const char *type)
{
	const struct help *help = find(type);

	if (help == NULL) {
		printf("List of user creatable objects:\n");
		for (unsigned i = 0; i < array_size(helps); i++)
			printf("  %s\n", helps[i].type);
		return;
	}
	printf("%s options:\n", help->type);
	for (unsigned i = 0; help->properties[i] != NULL; i++)
		printf("  %s\n", help->properties[i]);
}

bool object_help(const char *text)
{
	_cleanup_free_ char *copy = strdup(text);
	const char *type = "";
	char *cursor = copy, *name, *value;
	bool is_wanted = false;

	while (suboption_next(&cursor, &name, &value)) {
		if (value == NULL && is_help(name))
			is_wanted = true;
		else if (value == NULL && name == copy)
			type = name;
		else if (value != NULL && strcmp(name, "qom-type") == 0)
			type = value;
	}
	if (is_wanted)
		print(type);
	if (copy != NULL)
		explicit_bzero(copy, strlen(text));
	return is_wanted;
}
