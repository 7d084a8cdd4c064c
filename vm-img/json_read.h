/* SPDX-License-Identifier: ISC */
/*
 * JSON as QEMU reads it on a command line: strings may stand in single quotes
 * as well. Texts of errors are QEMU's.
 */
#ifndef VM_IMG_JSON_READ_H
#define VM_IMG_JSON_READ_H

#include <stdbool.h>

struct error;

/*
 * Told of each value that is neither object nor array: by the names on the way
 * to it, with dots between them ("a.0.b"), as text. Truth is "on" or "off",
 * null ""; is_text: it was a string. < 0 ends the reading.
 */
typedef int json_found(void *context, const char *name, const char *value,
		       bool is_text, struct error *err);

/* 1: text is an object; 0: it is JSON of another kind. found is called as
 * values are read, and perhaps before an error. */
int json_read(const char *text, json_found *found, void *context,
	      struct error *err);

#endif
