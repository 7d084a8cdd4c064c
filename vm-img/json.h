/* SPDX-License-Identifier: ISC */
/*
 * JSON on standard output with the spacing of QEMU's: four columns a level,
 * "key": value. The order of keys is the caller's.
 */
#ifndef VM_IMG_JSON_H
#define VM_IMG_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
	unsigned depth;
	bool has_member; /* of what was opened last */
};

/* key is NULL in an array and at the top. */
void json_open(struct json *json, const char *key, char bracket);
/* The last one ends the line. */
void json_close(struct json *json, char bracket);
void json_text(struct json *json, const char *key, const char *text);
void json_number(struct json *json, const char *key, uint64_t number);
void json_bool(struct json *json, const char *key, bool value);
/* In its quotes, anywhere. */
void json_write_string(FILE *to, const char *text);

#endif
