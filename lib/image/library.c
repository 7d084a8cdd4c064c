/* SPDX-License-Identifier: ISC */
#include "lib/image/library.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

struct symbol {
	const char *name;
	size_t place; /* in the table */
};

const struct library_crypto *libcrypto;
const struct library_nbd *libnbd;
const struct library_nettle *libnettle;

static struct library_crypto crypto_functions;
static struct library_nbd nbd_functions;
static struct library_nettle nettle_functions;

#define SYMBOL(name) { #name, offsetof(struct library_crypto, name) },
static const struct symbol crypto_symbols[] = { LIBCRYPTO_FUNCTIONS(SYMBOL) };
#undef SYMBOL
#define SYMBOL(name) { #name, offsetof(struct library_nbd, name) },
static const struct symbol nbd_symbols[] = { LIBNBD_FUNCTIONS(SYMBOL) };
#undef SYMBOL
#define SYMBOL(name) { #name, offsetof(struct library_nettle, name) },
static const struct symbol nettle_symbols[] = { LIBNETTLE_FUNCTIONS(SYMBOL) };
#undef SYMBOL

static bool load(const char *file, const struct symbol *symbols, size_t n,
		 void *table)
{
	void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);

	if (handle == NULL)
		return false;
	for (size_t i = 0; i < n; i++) {
		void *function = dlsym(handle, symbols[i].name);

		if (function == NULL) {
			dlclose(handle);
			return false;
		}
		memcpy((char *)table + symbols[i].place, &function,
		       sizeof(function));
	}
	return true;
}

static void load_crypto(void)
{
	if (load("libcrypto.so.3", crypto_symbols, array_size(crypto_symbols),
		 &crypto_functions))
		libcrypto = &crypto_functions;
}

static void load_nbd(void)
{
	if (load("libnbd.so.0", nbd_symbols, array_size(nbd_symbols),
		 &nbd_functions))
		libnbd = &nbd_functions;
}

static void load_nettle(void)
{
	if (load("libnettle.so.8", nettle_symbols, array_size(nettle_symbols),
		 &nettle_functions))
		libnettle = &nettle_functions;
}

int library_load_crypto(struct error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load_crypto);
	if (libcrypto != NULL)
		return 0;
	return error_set(err, -ENOTSUP,
			 "libcrypto.so.3, which encryption needs, is not "
			 "installed");
}

int library_load_nbd(struct error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load_nbd);
	if (libnbd != NULL)
		return 0;
	return error_set(err, -ENOTSUP,
			 "libnbd.so.0, which NBD URIs need, is not installed");
}

int library_load_nettle(struct error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load_nettle);
	if (libnettle != NULL)
		return 0;
	return error_set(err, -ENOTSUP,
			 "libnettle.so.8, which this cipher needs, is not "
			 "installed");
}
