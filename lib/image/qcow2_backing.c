/* SPDX-License-Identifier: ISC */
/*
 * Another backing file's name in the header (sections "Header extensions" and
 * "Header"), or another place of the bitmaps. The first cluster is put together
 * anew: the fixed fields as they are, whatever they hold; the extensions that
 * are known here, in the order in which QEMU writes them; those that are not;
 * the name. One write replaces it, up to where the old or the new one ends.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"
#include "lib/image/qcow2_page.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static int add_bitmaps(struct qcow2_page *page,
		       const struct qcow2_old_page *old,
		       const struct qcow2_new_header *new, struct error *err)
{
	const struct qcow2_wire_bitmaps w = {
		.n_bitmaps = htobe32(new->bitmaps.n_bitmaps),
		.directory_len = htobe64(new->bitmaps.directory_len),
		.directory_offset = htobe64(new->bitmaps.directory_offset),
	};

	if (!new->has_bitmaps)
		return qcow2_page_copy_extension(page, old,
						 QCOW2_EXTENSION_BITMAPS, err);
	if (w.n_bitmaps == 0)
		return 0;
	return qcow2_page_add_extension(page, QCOW2_EXTENSION_BITMAPS, &w,
					sizeof(w), err);
}

static int add_extensions(const struct qcow2_header *h, struct qcow2_page *page,
			  const struct qcow2_old_page *old,
			  const struct qcow2_new_header *new, struct error *err)
{
	const char *format = new->backing_format;
	int rc = 0;

	if (format != NULL)
		rc = qcow2_page_add_extension(page,
					      QCOW2_EXTENSION_BACKING_FORMAT,
					      format, strlen(format), err);
	if (rc == 0)
		rc = qcow2_page_copy_extension(page, old,
					       QCOW2_EXTENSION_DATA_FILE, err);
	if (rc == 0)
		rc = qcow2_page_copy_extension(page, old,
					       QCOW2_EXTENSION_ENCRYPTION, err);
	if (rc == 0 && h->version >= 3)
		rc = qcow2_page_add_feature_names(page, err);
	if (rc == 0)
		rc = add_bitmaps(page, old, new, err);
	return rc < 0 ? rc : qcow2_page_copy_unknown(page, old, err);
}

static int put_together(const struct qcow2_header *h, struct qcow2_page *page,
			const uint8_t *data, const struct qcow2_new_header *new,
			struct error *err)
{
	const char *name = new->backing_name;
	struct qcow2_wire_header *w = (void *)page->data;
	const struct qcow2_old_page old = {
		.data = data,
		.at = h->header_len,
		.end = h->backing_name_offset != 0 ? h->backing_name_offset
						   : page->len,
	};
	int rc = qcow2_page_add(page, data, h->header_len, err);

	if (rc == 0)
		rc = add_extensions(h, page, &old, new, err);
	if (rc < 0)
		return rc;
	if (h->version >= 3)
		w->autoclear_features = htobe64(new->autoclear);
	w->backing_name_offset = name != NULL ? htobe64(page->at) : 0;
	w->backing_name_len =
		name != NULL ? htobe32((uint32_t)strlen(name)) : 0;
	if (name != NULL)
		rc = qcow2_page_add(page, name, strlen(name), err);
	return rc;
}

static int barrier(struct qcow2 *q, struct error *err)
{
	int rc = qcow2_barrier(q);

	return rc < 0 ? error_set_errno(err, rc, "Could not flush") : 0;
}

/* -ENOSPC says that nothing was written. */
static int hide_no_space(int rc)
{
	return rc == -ENOSPC ? -EIO : rc;
}

int qcow2_rewrite_header(struct qcow2 *q, const struct qcow2_new_header *header,
			 struct error *err)
{
	const char *name = header->backing_name;
	const char *format = header->backing_format;
	struct qcow2_header *h = &q->header;
	/* Without an offset the length means nothing, and was not checked. */
	size_t old_end = h->backing_name_offset != 0
				 ? h->backing_name_offset + h->backing_name_len
				 : 0;
	_cleanup_free_ uint8_t *old = calloc(1, q->cluster_len);
	_cleanup_free_ uint8_t *new = calloc(1, q->cluster_len);
	struct qcow2_page page = { .data = new, .len = q->cluster_len };
	char *copy = NULL;
	int rc;

	if (old == NULL || new == NULL ||
	    (format != NULL && (copy = strdup(format)) == NULL))
		return -ENOMEM;
	rc = image_file_read(q->file, 0, old, q->cluster_len);
	if (rc < 0)
		error_set_errno(err, rc, "Could not read header");
	if (rc == 0)
		rc = put_together(h, &page, old, header, err);
	if (rc == -ENOSPC)
		error_set(err, rc, "No space left in the file header");
	if (rc == 0)
		rc = barrier(q, err);
	if (rc == 0) {
		rc = qcow2_write_header(q, 0, old, new,
					page.at > old_end ? page.at : old_end);
		if (rc < 0)
			error_set_errno(err, rc, "Could not write header");
		rc = hide_no_space(rc);
	}
	if (rc < 0) {
		free(copy);
		return rc;
	}
	free(h->backing_format);
	h->backing_format = copy;
	h->backing_name_len = name != NULL ? (uint32_t)strlen(name) : 0;
	h->backing_name_offset = name != NULL ? page.at - strlen(name) : 0;
	h->autoclear = header->autoclear;
	return hide_no_space(barrier(q, err));
}

int qcow2_change_backing(struct image *image, const char *name,
			 const char *format, struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_new_header new = {
		.backing_name = name,
		.backing_format = format,
	};
	int rc;

	if (name != NULL && strlen(name) > QCOW2_BACKING_NAME_MAX)
		return -EINVAL;
	/* What is in nothing but the data file has to be the whole disk. */
	if (name != NULL && q->is_data_raw)
		return -EINVAL;
	pthread_mutex_lock(&q->lock);
	rc = qcow2_check_writable(q, err);
	if (rc == 0)
		new.autoclear = q->header.autoclear;
	if (rc == 0)
		rc = qcow2_rewrite_header(q, &new, err);
	pthread_mutex_unlock(&q->lock);
	return rc;
}
