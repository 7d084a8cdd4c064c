/* SPDX-License-Identifier: ISC */
#include "vm-img/stream_model.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/file.h"
#include "lib/image/image.h"
#include "vm-img/stream.h"

#include <stdio.h>
#include <sys/mman.h>

int stream_model_make(struct stream_model *model,
		      const struct stream_target *target, struct error *err)
{
	_cleanup_fd_ int fd = memfd_create("image", MFD_CLOEXEC);
	char path[64];
	int rc;

	model->file = NULL;
	if (fd < 0)
		return error_set_errno(err, -errno, "Could not make the image");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rc = image_create(path, target->create, err);
	return rc < 0 ? rc
		      : image_file_open_fd(&model->file, steal_fd(&fd),
					   "the image", IMAGE_FILE_NO_LOCK,
					   err);
}

void stream_model_deinit(struct stream_model *model)
{
	image_file_close(model->file);
	model->file = NULL;
}
