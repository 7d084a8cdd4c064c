/* SPDX-License-Identifier: ISC */
/*
 * A new image that holds nothing, in memory, as the engine makes it: options
 * are checked there, and what of it is not the layout's goes to the stream.
 */
#ifndef VM_IMG_STREAM_MODEL_H
#define VM_IMG_STREAM_MODEL_H

struct error;
struct image_file;
struct stream_target;

struct stream_model {
	struct image_file *file; /* NULL: none */
};

int stream_model_make(struct stream_model *model,
		      const struct stream_target *target, struct error *err);
void stream_model_deinit(struct stream_model *model);

#endif
