/* SPDX-License-Identifier: ISC */
/*
 * Encrypted images through the library, in pieces of odd sizes.
 *
 *	image-secret PASSWORD FORMAT IMAGE create SIZE [NAME=VALUE]...
 *	image-secret PASSWORD FORMAT IMAGE read >RAW
 *	image-secret PASSWORD FORMAT IMAGE write OFFSET <RAW
 *	image-secret PASSWORD FORMAT IMAGE zero OFFSET LEN
 *
 * The password's id is "key"; "" is none at all.
 */
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/image/image.h"
#include "lib/image/secret.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	PIECE = 300007,
	OPTIONS_MAX = 16,
};

static struct error err = ERROR_INIT;
static char buf[PIECE];

static int create(const struct image_open_options *how, const char *path,
		  int argc, char **argv)
{
	struct image_option options[OPTIONS_MAX];
	struct image_create_options create = {
		.format = how->format,
		.size = strtoull(argv[0], NULL, 0),
		.has_size = true,
		.options = options,
		.secrets = how->secrets,
	};

	for (int i = 1; i < argc && i < OPTIONS_MAX; i++) {
		char *value = strchr(argv[i], '=');

		if (value == NULL)
			die(EXIT_USAGE, "%s: no value", argv[i]);
		*value++ = '\0';
		options[create.n_options].name = argv[i];
		options[create.n_options++].value = value;
	}
	return image_create(path, &create, &err);
}

static int read_all(struct image *image)
{
	uint64_t size = image_size(image);
	int rc = 0;

	for (uint64_t at = 0; rc == 0 && at < size;) {
		size_t n = size - at < PIECE ? (size_t)(size - at) : PIECE;

		rc = image_read(image, at, buf, n, &err);
		if (rc == 0 && write(STDOUT_FILENO, buf, n) != (ssize_t)n)
			die(1, "stdout: %s", strerror(errno));
		at += n;
	}
	return rc;
}

static int write_all(struct image *image, uint64_t offset)
{
	ssize_t n;
	int rc = 0;

	while (rc == 0 && (n = read(STDIN_FILENO, buf, PIECE)) > 0) {
		rc = image_write(image, offset, buf, (size_t)n, &err);
		offset += (uint64_t)n;
	}
	return rc;
}

int main(int argc, char **argv)
{
	struct secrets *secrets = secrets_new();
	struct image_open_options how = { .secrets = secrets };
	struct image *image = NULL;
	const char *verb;
	int rc = 0;

	log_init("image-secret");
	if (argc < 5 || secrets == NULL)
		die(EXIT_USAGE, "usage: image-secret PASSWORD FORMAT IMAGE "
				"VERB ...");
	how.format = argv[2];
	verb = argv[4];
	if (argv[1][0] != '\0') {
		rc = secrets_add(secrets, "key", argv[1], strlen(argv[1]),
				 &err);
		how.key_secret = "key";
	}
	if (strcmp(verb, "read") == 0)
		how.flags = IMAGE_READ_ONLY;
	if (rc == 0 && strcmp(verb, "create") == 0)
		rc = create(&how, argv[3], argc - 5, argv + 5);
	else if (rc == 0)
		rc = image_open(&image, argv[3], &how, &err);
	if (rc == 0 && strcmp(verb, "read") == 0)
		rc = read_all(image);
	else if (rc == 0 && strcmp(verb, "write") == 0)
		rc = write_all(image, strtoull(argv[5], NULL, 0));
	else if (rc == 0 && strcmp(verb, "zero") == 0)
		rc = image_write_zeroes(image, strtoull(argv[5], NULL, 0),
					strtoull(argv[6], NULL, 0), 0, &err);
	if (rc == 0)
		rc = image_close(image, &err);
	else
		image_abandon(image);
	secrets_free(secrets);
	if (rc < 0)
		die(1, "%s: %s", argv[3], error_text(&err, rc));
	return 0;
}
