/* SPDX-License-Identifier: ISC */
/*
 * The name of a QED image's backing file, which stands behind the header in
 * its clusters. Of the format only one thing is stored: that it is raw, and
 * not to be guessed.
 */
#include "lib/image/qed.h"

#include "lib/base/error.h"
#include "lib/image/format.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int qed_read_backing_name(struct qed *q, struct image *image, struct error *err)
{
	uint64_t features = le64toh(q->header.features);
	uint32_t offset = le32toh(q->header.backing_offset);
	uint32_t len = le32toh(q->header.backing_len);
	int rc;

	if (!(features & QED_BACKING))
		return 0;
	if (len > QED_NAME_MAX || (uint64_t)offset + len > q->header_len)
		return error_set(err, -EINVAL, "Invalid QED backing file name");
	image->backing_name = calloc(1, len + 1);
	if (image->backing_name == NULL)
		return -ENOMEM;
	rc = image_file_read(image->file, offset, image->backing_name, len);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read backing file name");
	if (features & QED_BACKING_IS_RAW) {
		image->backing_format = strdup("raw");
		if (image->backing_format == NULL)
			return -ENOMEM;
	}
	return 0;
}

/*
 * Header and name in one write of less than a page: a crash leaves the one
 * pair or the other. What the new name needs of this image is stored before.
 */
static int write_header(struct qed *q, const struct qed_wire_header *w,
			const char *name)
{
	const struct image_file *file = q->blocks.file;
	uint8_t bytes[sizeof(*w) + QED_NAME_MAX];
	size_t len = le32toh(w->backing_len);
	int rc;

	memcpy(bytes, w, sizeof(*w));
	if (len > 0)
		memcpy(bytes + sizeof(*w), name, len);
	rc = image_file_flush(file);
	if (rc == 0)
		rc = image_file_write(file, 0, bytes, sizeof(*w) + len);
	return rc < 0 ? rc : image_file_flush(file);
}

static void set_backing(struct qed_wire_header *w, const char *name,
			const char *format)
{
	uint64_t features = le64toh(w->features);

	features &= ~(uint64_t)(QED_BACKING | QED_BACKING_IS_RAW);
	w->backing_offset = w->backing_len = 0;
	if (name != NULL) {
		features |= QED_BACKING;
		w->backing_offset = htole32(sizeof(*w));
		w->backing_len = htole32((uint32_t)strlen(name));
	}
	if (name != NULL && format != NULL && strcmp(format, "raw") == 0)
		features |= QED_BACKING_IS_RAW;
	w->features = htole64(features);
	/* None of them is known, and each means something else now. */
	w->autoclear_features = 0;
}

int qed_change_backing(struct image *image, const char *name,
		       const char *format, struct error *err)
{
	struct qed *q = image->state;
	struct qed_wire_header w;
	int rc;

	if (name != NULL && strlen(name) > QED_NAME_MAX)
		return error_set(err, -EINVAL, "Backing file name too long");
	pthread_mutex_lock(&q->blocks.lock);
	w = q->header;
	set_backing(&w, name, format);
	rc = write_header(q, &w, name);
	if (rc == 0)
		q->header = w;
	pthread_mutex_unlock(&q->blocks.lock);
	/* -ENOSPC would say that the header has no room. */
	if (rc == -ENOSPC)
		rc = -EIO;
	return rc < 0 ? error_set_errno(err, rc, "Could not write the header")
		      : 0;
}
