/* SPDX-License-Identifier: ISC */
/*
 * quorum: "children.0.driver=file,children.0.filename=PATH,children.1.…"; and
 * blkverify, of two files: "raw.filename=PATH,test.driver=qcow2,test.file.…".
 */
#include "vm-img/source_node.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "vm-img/keys.h"
#include "vm-img/source_name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLKVERIFY "blkverify:"

enum {
	NAME_MAX_LEN = 2 * SOURCE_PREFIX_MAX,
};

static const char *full_name(char *full, const char *prefix, const char *name)
{
	snprintf(full, NAME_MAX_LEN, "%s%s", prefix, name);
	return full;
}

/* They are an array: from 0 on without a gap, and nothing else is there. */
static int count_children(const struct keys *keys, const char *prefix,
			  unsigned *n, struct error *err)
{
	char children[NAME_MAX_LEN];
	uint64_t seen = 0;

	full_name(children, prefix, "children.");
	for (unsigned i = 0; i < keys->n; i++) {
		const char *name = keys->list[i].name;
		char *end;
		unsigned long index;

		if (strncmp(name, children, strlen(children)) != 0)
			continue;
		name += strlen(children);
		index = strtoul(name, &end, 10);
		if (*name < '0' || *name > '9' ||
		    (*name == '0' && end > name + 1) ||
		    (*end != '.' && *end != '\0') || index >= KEYS_MAX / 2)
			return error_set(err, -EINVAL,
					 "Option children is not a valid "
					 "array");
		seen |= 1ULL << index;
	}
	for (*n = 0; seen & 1; seen >>= 1)
		++*n;
	if (seen > 0)
		return error_set(err, -EINVAL,
				 "Option children is not a valid array");
	if (*n == 0)
		return error_set(err, -EINVAL,
				 "Number of provided children must be 1 or "
				 "more");
	if (*n > IMAGE_QUORUM_MAX)
		return error_set(err, -E2BIG,
				 "Number of provided children must be %d or "
				 "less",
				 IMAGE_QUORUM_MAX);
	return 0;
}

static int take_threshold(struct keys *keys, const char *prefix,
			  struct image_quorum *how, struct error *err)
{
	const char *text = keys_take_of(keys, prefix, "vote-threshold");
	uint64_t threshold = 0;
	int rc = text != NULL ? image_number_parse("vote-threshold", text,
						   &threshold, err)
			      : 0;

	if (rc < 0)
		return rc;
	if (threshold == 0 || threshold > INT64_MAX)
		return error_set(err, -EINVAL,
				 "Parameter 'vote-threshold' expects a value "
				 ">= 1");
	if (threshold > how->n)
		return error_set(err, -EINVAL,
				 "threshold may not exceed children count");
	how->threshold = (unsigned)threshold;
	return 0;
}

static int take_options(struct keys *keys, const char *prefix,
			struct image_quorum *how, struct error *err)
{
	const char *pattern;
	int rc = keys_take_bool_of(keys, prefix, "blkverify", &how->is_strict,
				   err);

	if (rc == 0)
		rc = keys_take_bool_of(keys, prefix, "rewrite-corrupted",
				       &how->rewrites, err);
	if (rc == 0)
		rc = take_threshold(keys, prefix, how, err);
	if (rc < 0)
		return rc;
	pattern = keys_take_of(keys, prefix, "read-pattern");
	how->is_fifo = pattern != NULL && strcmp(pattern, "fifo") == 0;
	if (pattern != NULL && !how->is_fifo && strcmp(pattern, "quorum") != 0)
		return error_set(err, -EINVAL,
				 "Please set read-pattern as fifo or quorum");
	if (how->is_fifo || !how->is_strict)
		return 0;
	if (how->n != 2 || how->threshold != 2)
		return error_set(err, -EINVAL,
				 "blkverify=on can only be set if there are "
				 "exactly two files and vote-threshold is 2");
	if (how->rewrites)
		return error_set(err, -EINVAL,
				 "rewrite-corrupted=on cannot be used with "
				 "blkverify=on");
	return 0;
}

/* What a child is, is not guessed from what happens to be in it. */
static int check_driver(const struct keys *keys, const char *prefix,
			const char *child, struct error *err)
{
	char under[SOURCE_PREFIX_MAX + 32], full[NAME_MAX_LEN];

	snprintf(under, sizeof(under), "%s%s.", prefix, child);
	if (keys_has_prefix(keys, full_name(full, under, "driver")) ||
	    !keys_has_prefix(keys, under))
		return 0;
	return error_set(err, -EINVAL,
			 keys_has_prefix(keys, full_name(full, under, "file."))
				 ? "The driver of each child must be specified"
				 : "Must specify either driver or file");
}

static int read_child(struct source_reader *r, const char *prefix, unsigned i,
		      struct source_name *name, struct error *err)
{
	struct source_quorum *quorum = r->source->quorum;
	char child[32];
	int rc;

	snprintf(child, sizeof(child), "children.%u", i);
	rc = check_driver(r->keys, prefix, child, err);
	return rc < 0 ? rc
		      : source_read_apart(r, prefix, child,
					  &quorum->children[i],
					  &quorum->how.children[i], name, err);
}

static int read_children(struct source_reader *r, const char *prefix,
			 struct source_name *name, struct error *err)
{
	unsigned n = r->source->quorum->how.n;
	struct source_name *names = calloc(IMAGE_QUORUM_MAX, sizeof(*names));
	int rc = names == NULL ? -ENOMEM : 0;

	for (unsigned i = 0; rc == 0 && i < n; i++)
		rc = read_child(r, prefix, i, &names[i], err);
	if (rc == 0)
		source_name_add_children(name, "children", names, n);
	for (unsigned i = 0; names != NULL && i < n; i++)
		source_name_deinit(&names[i]);
	free(names);
	return rc;
}

static int show_path(struct source *source, const struct source_name *name)
{
	free(source->path);
	source->path = source_name_show(name);
	return source->path == NULL ? -ENOMEM : 0;
}

int source_read_quorum(struct source_reader *r, const char *prefix,
		       struct source_name *name, struct error *err)
{
	static const char *const options[] = { "vote-threshold", "blkverify",
					       "rewrite-corrupted",
					       "read-pattern" };
	struct source_quorum *quorum = calloc(1, sizeof(*quorum));
	int rc;

	r->source->quorum = quorum;
	if (quorum == NULL)
		return -ENOMEM;
	rc = count_children(r->keys, prefix, &quorum->how.n, err);
	if (rc == 0)
		rc = take_options(r->keys, prefix, &quorum->how, err);
	if (rc == 0)
		rc = read_children(r, prefix, name, err);
	if (rc < 0)
		return rc;
	source_name_add(name, "driver", "quorum");
	for (unsigned i = 0; i < array_size(options); i++)
		source_name_add_option(name, r->keys, prefix, options[i]);
	return show_path(r->source, name);
}

/* The file that is right need not be said to be one. */
int source_read_blkverify(struct source_reader *r, const char *prefix,
			  struct source_name *name, struct error *err)
{
	static const char *const children[] = { "raw", "test" };
	struct source_name names[array_size(children)] = { { .n = 0 } };
	struct source_quorum *quorum = calloc(1, sizeof(*quorum));
	int rc = 0;

	r->source->quorum = quorum;
	if (quorum == NULL)
		return -ENOMEM;
	quorum->how.is_verify = true;
	quorum->how.n = array_size(children);
	for (unsigned i = 0; rc == 0 && i < array_size(children); i++) {
		if (i > 0)
			rc = check_driver(r->keys, prefix, children[i], err);
		if (rc == 0)
			rc = source_read_apart(r, prefix, children[i],
					       &quorum->children[i],
					       &quorum->how.children[i],
					       &names[i], err);
	}
	source_name_add(name, "driver", "blkverify");
	for (unsigned i = 0; i < array_size(children); i++)
		source_name_add_child(name, children[i], &names[i]);
	if (names[0].exact != NULL && names[1].exact != NULL)
		source_name_set_exact(name, "blkverify:%s:%s", names[0].exact,
				      names[1].exact);
	for (unsigned i = 0; i < array_size(children); i++)
		source_name_deinit(&names[i]);
	return rc < 0 ? rc : show_path(r->source, name);
}

bool source_is_blkverify(const char *name)
{
	return strncmp(name, BLKVERIFY, strlen(BLKVERIFY)) == 0;
}

/* What source says of an image goes to image; where that is stays. */
static void split(struct source *source, struct source *image)
{
	*image = *source;
	*source = (struct source){ .flags = image->flags };
	source->path = steal_ptr(&image->path);
	source->layers = steal_ptr(&image->layers);
	source->nbd_context = steal_ptr(&image->nbd_context);
	source->null = steal_ptr(&image->null);
	source->quorum = steal_ptr(&image->quorum);
}

/* Rather than the file, what the image in it holds. */
static int put_disk_over(struct source *source)
{
	struct source_layer *layer = calloc(1, sizeof(*layer));
	struct source *image = calloc(1, sizeof(*image));

	if (layer == NULL || image == NULL) {
		free(layer);
		free(image);
		return -ENOMEM;
	}
	split(source, image);
	layer->image = image;
	layer->under = source->layers;
	layer->layer.kind = IMAGE_LAYER_DISK;
	layer->layer.image = source_how(image);
	layer->layer.under = source_layers(source);
	source->layers = layer;
	return 0;
}

static int parse_child(struct source_quorum *quorum, unsigned i,
		       const char *name, struct error *err)
{
	struct source *child = calloc(1, sizeof(*child));
	int rc;

	quorum->children[i] = child;
	if (child == NULL)
		return -ENOMEM;
	rc = source_parse(child, name, NULL, false, err);
	if (rc == 0 && i > 0)
		rc = put_disk_over(child);
	quorum->how.children[i] = source_apart(child);
	return rc;
}

int source_parse_blkverify(struct source *source, const char *name,
			   struct error *err)
{
	const char *raw = name + strlen(BLKVERIFY), *test = strchr(raw, ':');
	struct source_quorum *quorum = calloc(1, sizeof(*quorum));
	_cleanup_free_ char *raw_name = NULL;
	int rc;

	source->quorum = quorum;
	if (quorum == NULL)
		return -ENOMEM;
	if (test == NULL)
		return error_set(err, -EINVAL,
				 "blkverify requires raw copy and original "
				 "image path");
	quorum->how.is_verify = true;
	quorum->how.n = 2;
	raw_name = strndup(raw, (size_t)(test - raw));
	if (raw_name == NULL || text_replace(&source->path, name) < 0)
		return -ENOMEM;
	rc = parse_child(quorum, 0, raw_name, err);
	return rc == 0 ? parse_child(quorum, 1, test + 1, err) : rc;
}
