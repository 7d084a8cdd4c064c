/* SPDX-License-Identifier: ISC */
/* Between the sources of the VM file's parser. */
#ifndef VM_RUN_VMFILE_INTERNAL_H
#define VM_RUN_VMFILE_INTERNAL_H

#include "vm-run/vmfile.h"

/* Where in which file we are; all that follow return 0 or -errno. */
struct vmfile_parser {
	struct vmfile *vm;
	const char *file;
	unsigned line;
	const char *directive;
	struct error *err;
};

/* -EINVAL, with file and line before the text. */
int vmfile_fail(const struct vmfile_parser *parser, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
int vmfile_out_of_memory(const struct vmfile_parser *parser);

/* Keep a copy of text, once. what names it in messages. */
int vmfile_keep(const struct vmfile_parser *parser, char **field,
		const char *what, const char *text);
/*
 * The same for a path, which is relative to the file's own folder. None may
 * look like an option.
 */
int vmfile_keep_path(const struct vmfile_parser *parser, char **field,
		     const char *what, const char *path);

/* The words after a device's directive, and what they come to. */
int vmfile_take_words(const struct vmfile_parser *parser,
		      struct vmfile_device *device, int n, char **words);
int vmfile_check_device(const struct vmfile_parser *parser,
			const struct vmfile_device *device);
void vmfile_deinit_device(struct vmfile_device *device);

#endif
