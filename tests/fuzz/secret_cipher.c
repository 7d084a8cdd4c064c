/* SPDX-License-Identifier: ISC */
/* An encrypted secret: a first byte says whether it is base64, a line is the
 * initial vector, and the rest the ciphertext. It is refused with a text, or
 * no longer than it was. */
#include "lib/image/secret_cipher.h"

#include "lib/base/error.h"
#include "lib/image/secret.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t key_bytes[] = "0123456789abcdef0123456789abcdef";
	struct secret key = { .data = key_bytes, .len = 32 };
	struct error err = ERROR_INIT;
	const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
	size_t len, size_left;
	uint8_t *copy;
	char *iv;
	int rc;

	if (end == NULL || end == data)
		return 0;
	iv = strndup((const char *)data + 1, (size_t)(end - data) - 1);
	len = size_left = size - (size_t)(end + 1 - data);
	copy = malloc(len + (len == 0));
	if (iv != NULL && copy != NULL) {
		memcpy(copy, end + 1, len);
		rc = secret_decrypt(&key, iv, data[0] & 1, copy, &len, &err);
		if (len > size_left ||
		    (rc < 0 && rc != -ENOMEM && err.text[0] == '\0'))
			abort();
	}
	free(copy);
	free(iv);
	return 0;
}
