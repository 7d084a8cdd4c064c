/* SPDX-License-Identifier: ISC */
/*
 * Backing chains. A name inside an image comes from whoever made the image:
 * it is a plain path, taken from the image's own folder, and the caller's
 * policy may refuse it. Images under the first are opened read-only, never
 * twice in a chain, and IMAGE_DEPTH_MAX of them at most.
 *
 * A shorter backing image ends before the one above it: there is nothing
 * under the rest, which reads as zeroes.
 */
#include "lib/image/chain.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/blkdebug.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool image_name_has_protocol(const char *name)
{
	return name[strcspn(name, ":/")] == ':';
}

const char *image_plain_path(const char *name)
{
	static const char prefix[] = "file:";

	return strncmp(name, prefix, strlen(prefix)) == 0
		       ? name + strlen(prefix)
		       : name;
}

int image_backing_name_check(const char *name, struct error *err)
{
	if (!image_name_has_protocol(name) || image_name_is_null(name) ||
	    image_plain_path(name) != name)
		return 0;
	return error_set(err, -ENOTSUP,
			 "Backing file name '%s' is not a plain path", name);
}

char *image_path_beside(const char *image_path, const char *name)
{
	const char *slash;
	char *path = NULL;

	/* The folder is that of the file under it. */
	while (image_path != NULL && blkdebug_is_name(image_path))
		image_path = blkdebug_path(image_path);
	if (image_path != NULL)
		image_path = image_plain_path(image_path);
	slash = image_path != NULL ? strrchr(image_path, '/') : NULL;
	if (slash == NULL || name[0] == '/')
		return strdup(name);
	if (asprintf(&path, "%.*s/%s", (int)(slash - image_path), image_path,
		     name) < 0)
		return NULL;
	return path;
}

char *image_backing_resolve(const char *image_path, const char *name)
{
	return image_name_has_protocol(name)
		       ? strdup(name)
		       : image_path_beside(image_path, name);
}

char *image_data_file_resolve(const char *image_path, const char *name)
{
	char *beside;

	if (access(name, F_OK) == 0)
		return strdup(name);
	beside = image_path_beside(image_path, name);
	if (beside == NULL || access(beside, F_OK) == 0)
		return beside;
	free(beside);
	return strdup(name);
}

int image_folder_check(const struct image *image, const char *name,
		       struct error *err)
{
	if (!image->file->is_nowhere || name[0] == '/')
		return 0;
	return error_set(err, -EINVAL,
			 "Cannot generate a base directory for quorum nodes");
}

/* The caller's own word of where the image under this one is, or the caller's
 * leave to go by what this one says. */
static int find_how(const struct image *image,
		    const struct image_open_options *options,
		    const struct image_under **how, struct error *err)
{
	int rc;

	*how = options->under;
	if (*how != NULL && (*how)->path != NULL)
		return 0;
	rc = image_backing_name_check(image->backing_name, err);
	if (rc < 0 && *how == NULL && options->protocol != NULL)
		return options->protocol(options->policy_context,
					 image->backing_name,
					 image->backing_format, how, err);
	if (rc < 0)
		return rc;
	if (options->may_open != NULL &&
	    !options->may_open(options->policy_context, image->backing_path))
		return error_set(err, -EACCES,
				 "Backing file '%s' is not allowed",
				 image->backing_path);
	return 0;
}

/* path is about to be opened under all of these. */
static int check_loop(const struct chain_link *link, const char *path,
		      struct error *err)
{
	struct stat st;

	if (link->depth + 1 >= IMAGE_DEPTH_MAX)
		return error_set(err, -ELOOP,
				 "Backing chain is longer than %d images",
				 IMAGE_DEPTH_MAX);
	if (stat(image_plain_path(path), &st) < 0)
		return 0; /* opening it tells why */
	for (; link != NULL; link = link->above)
		if (link->device == st.st_dev && link->inode == st.st_ino)
			return error_set(err, -ELOOP,
					 "Backing file '%s' creates an "
					 "infinite loop.",
					 path);
	return 0;
}

/* Where the image under this one is, if there is one. */
static int find_path(struct image *image, const struct image_under *how,
		     struct error *err)
{
	const char *name = image->backing_name;

	if (how != NULL && !image->format->has_backing)
		return error_set(err, -EINVAL,
				 "Driver doesn't support backing files");
	if (how != NULL && how->path != NULL)
		image->backing_path = strdup(how->path);
	else if (name != NULL && image_folder_check(image, name, err) < 0)
		/* Who does not open it can do without. */
		return image->flags & IMAGE_NO_BACKING ? 0 : -EINVAL;
	else if (name != NULL)
		image->backing_path = image_backing_resolve(image->path, name);
	else if (how != NULL)
		return error_set(err, -EINVAL,
				 "Could not open backing file: A block device "
				 "must be specified for \"file\"");
	else
		return 0;
	return image->backing_path == NULL ? -ENOMEM : 0;
}

void image_under_apply(const struct image_under *under,
		       struct image_open_options *options)
{
	if (under->format != NULL)
		options->format = under->format;
	options->flags |= under->flags;
	options->key_secret = under->key_secret;
	options->layers = under->layers;
	options->data_file = under->data_file;
	options->header_path = under->header_path;
	options->vpc_size = under->vpc_size;
	options->nbd_context = under->nbd_context;
	options->null = under->null;
	options->quorum = under->quorum;
	options->accept = under->accept;
	options->accept_context = under->accept_context;
	options->under = under->under;
}

/* QEMU locks what is raw only for the image above it, and blames that one. */
static int blame(int rc, const char *format, struct error *err)
{
	const struct image_format *f =
		format != NULL ? image_format_find(format) : NULL;

	if (rc == -EAGAIN && f != NULL && f->shares_file)
		return rc;
	return error_prefix(err, rc, "Could not open backing file");
}

static int open_under(struct image *image,
		      const struct image_open_options *options,
		      const struct chain_link *link, struct error *err)
{
	const struct image_under *how;
	struct image_open_options under = *options;
	const char *path = image->backing_path;
	int rc = find_how(image, options, &how, err);

	if (rc < 0)
		return rc;
	if (how != NULL && how->path != NULL)
		path = how->path;
	rc = check_loop(link, path, err);
	if (rc < 0)
		return rc;
	under.format = image->backing_format;
	under.flags &= ~(unsigned)(IMAGE_CHECK | IMAGE_UNSAFE | IMAGE_NO_LOCK |
				   IMAGE_NBD | IMAGE_BLKDEBUG | IMAGE_RESIZE |
				   IMAGE_NATIVE_AIO | IMAGE_DETECT_ZEROES |
				   IMAGE_UNMAP_ZEROES);
	under.flags |= IMAGE_READ_ONLY;
	/* As in QEMU: who bears writes bears another size as well. */
	if (!(under.flags & IMAGE_UNSHARED_WRITE))
		under.flags &= ~(unsigned)IMAGE_UNSHARED_RESIZE;
	under.key_secret = NULL;
	under.layers = NULL;
	under.data_file = NULL;
	under.header_path = NULL;
	under.vpc_size = NULL;
	under.nbd_context = NULL;
	under.null = NULL;
	under.quorum = NULL;
	under.accept = NULL;
	under.under = NULL;
	if (how != NULL)
		image_under_apply(how, &under);
	/* A loop through what is between would not be seen. */
	if (under.layers != NULL || under.quorum != NULL)
		under.protocol = NULL;
	rc = image_open_path(&image->backing, path, &under, link, err);
	if (rc == 0 && image->format->check_backing != NULL)
		rc = image->format->check_backing(image, err);
	return rc < 0 ? blame(rc, under.format, err) : 0;
}

int chain_open_backing(struct image *image,
		       const struct image_open_options *options,
		       const struct chain_link *above, struct error *err)
{
	struct chain_link link = { .above = above, .depth = image->depth };
	struct stat st;
	int rc = find_path(image, options->under, err);

	if (rc < 0 || image->backing_path == NULL ||
	    options->flags & IMAGE_NO_BACKING)
		return rc;
	rc = image_file_identify(image->file, &st);
	if (rc < 0 && rc != -ENOTSUP)
		return rc;
	if (rc == 0) {
		link.device = st.st_dev;
		link.inode = st.st_ino;
	}
	return open_under(image, options, &link, err);
}

int chain_open_parent(struct image **parent, const char *path, const char *name,
		      const char *format, const char *own, struct error *err)
{
	const struct image_open_options how = {
		.format = own,
		.flags = IMAGE_READ_ONLY | IMAGE_NO_BACKING,
	};
	_cleanup_free_ char *resolved = image_backing_resolve(path, name);
	int rc;

	if (resolved == NULL)
		return -ENOMEM;
	if (format != NULL && strcmp(format, own) != 0)
		return error_set(err, -ENOTSUP,
				 "The parent of a '%s' image cannot be of "
				 "format '%s'",
				 own, format);
	rc = image_open(parent, resolved, &how, err);
	return rc < 0 ? error_prefix(err, rc, "Could not open '%s'", resolved)
		      : 0;
}

static void zero_iov(const struct iovec *iov, unsigned n_iov, uint64_t skip)
{
	for (; n_iov > 0; iov++, n_iov--) {
		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		memset((char *)iov->iov_base + skip, 0, iov->iov_len - skip);
		skip = 0;
	}
}

/* The first len bytes, which end inside iov, of a range that ends later. */
static int read_head(struct image *backing, uint64_t offset,
		     const struct iovec *iov, uint64_t len, struct error *err)
{
	while (len > 0) {
		struct iovec piece = *iov++;
		int rc;

		if (piece.iov_len > len)
			piece.iov_len = len;
		rc = image_readv(backing, offset, &piece, 1, err);
		if (rc < 0)
			return rc;
		offset += piece.iov_len;
		len -= piece.iov_len;
	}
	return 0;
}

int image_backing_readv(struct image *image, uint64_t offset,
			const struct iovec *iov, unsigned n_iov,
			struct error *err)
{
	uint64_t size = image->backing != NULL ? image->backing->size : 0;
	uint64_t len = 0, head;
	int rc;

	for (unsigned i = 0; i < n_iov; i++)
		len += iov[i].iov_len;
	head = offset < size ? size - offset : 0;
	if (head >= len && len > 0)
		rc = image_readv(image->backing, offset, iov, n_iov, err);
	else
		rc = read_head(image->backing, offset, iov, head, err);
	if (rc < 0)
		return error_prefix(err, rc, "Backing file '%s'",
				    image->backing_path);
	if (head < len)
		zero_iov(iov, n_iov, head);
	return 0;
}

/* One layer's answer, made fit to be given out. */
static int map_layer(struct image *layer, uint64_t offset, uint64_t len,
		     unsigned flags, struct image_extent *extent,
		     struct error *err)
{
	int rc;

	*extent = (struct image_extent){ .offset = offset };
	rc = layer->format->map(layer, offset, len, flags, extent, err);
	if (rc < 0)
		return rc;
	extent->offset = offset;
	if (extent->len > len)
		extent->len = len;
	/* Else the format has found it in another image's. */
	if (extent->layer == NULL || extent->layer == layer) {
		extent->layer = layer;
		if (!extent->has_own_fd)
			extent->host_fd = layer->file->fd;
	}
	if (layer->file->is_read_only || layer->flags & IMAGE_DETECT_ZEROES)
		extent->is_writable_in_place = false;
	return 0;
}

int chain_map(struct image *image, uint64_t offset, uint64_t len,
	      unsigned flags, struct image_extent *extent, struct error *err)
{
	struct image *layer = image;
	unsigned depth = 0;

	for (;;) {
		int rc = map_layer(layer, offset, len, flags, extent, err);

		if (rc < 0)
			return rc;
		extent->depth += depth;
		if (extent->kind != IMAGE_EXTENT_HOLE ||
		    !(flags & IMAGE_MAP_CHAIN) || layer->backing == NULL)
			return 0;
		/* What is under a hole is no longer than the hole. */
		len = extent->len;
		layer = layer->backing;
		if (offset >= layer->size)
			return 0;
		if (len > layer->size - offset)
			len = layer->size - offset;
		depth++;
	}
}
