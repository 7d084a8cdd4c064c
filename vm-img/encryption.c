/* SPDX-License-Identifier: ISC */
/* The order is that of QEMU's dictionaries. A header in a file of its own,
 * which later versions of QEMU can have, is not known here. */
#include "vm-img/encryption.h"

#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/json.h"

#include <stdio.h>
#include <string.h>

static void print_slots(const struct image_info_encryption *e, int indent)
{
	printf("%*sslots:\n", indent, "");
	for (unsigned i = 0; i < e->n_slots; i++) {
		const struct image_info_key_slot *s = &e->slots[i];
		int in = indent + 8;

		printf("%*s[%u]:\n", indent + 4, "", i);
		printf("%*sactive: %s\n", in, "",
		       s->is_active ? "true" : "false");
		if (s->is_active)
			printf("%*siters: %llu\n", in, "",
			       (unsigned long long)s->iterations);
		printf("%*skey offset: %llu\n", in, "",
		       (unsigned long long)s->key_offset);
		if (s->is_active)
			printf("%*sstripes: %llu\n", in, "",
			       (unsigned long long)s->stripes);
	}
}

static void print_luks(const struct image_info_encryption *e, int indent,
		       bool has_format)
{
	printf("%*sivgen alg: %s\n", indent, "", e->iv);
	if (arguments_compat() == COMPAT_10_2)
		printf("%*sdetached header: %s\n", indent, "",
		       e->has_detached_header ? "true" : "false");
	printf("%*shash alg: %s\n", indent, "", e->hash);
	printf("%*scipher alg: %s\n", indent, "", e->cipher);
	printf("%*suuid: %s\n", indent, "", e->uuid);
	if (e->iv_hash != NULL)
		printf("%*sivgen hash alg: %s\n", indent, "", e->iv_hash);
	if (has_format)
		printf("%*sformat: luks\n", indent, "");
	printf("%*scipher mode: %s\n", indent, "", e->mode);
	print_slots(e, indent);
	printf("%*spayload offset: %llu\n", indent, "",
	       (unsigned long long)e->payload_offset);
	printf("%*smaster key iters: %llu\n", indent, "",
	       (unsigned long long)e->master_iterations);
}

void encryption_print(const struct image_info *info)
{
	const struct image_info_encryption *e = info->encryption;

	if (e == NULL)
		return;
	if (info->n_rows == 0) {
		print_luks(e, 4, false);
		return;
	}
	printf("    encrypt:\n");
	if (strcmp(e->format, "luks") == 0)
		print_luks(e, 8, true);
	else
		printf("        format: %s\n", e->format);
}

static void json_slots(struct json *json, const struct image_info_encryption *e)
{
	json_open(json, "slots", '[');
	for (unsigned i = 0; i < e->n_slots; i++) {
		const struct image_info_key_slot *s = &e->slots[i];

		json_open(json, NULL, '{');
		json_bool(json, "active", s->is_active);
		if (s->is_active)
			json_number(json, "iters", s->iterations);
		json_number(json, "key-offset", s->key_offset);
		if (s->is_active)
			json_number(json, "stripes", s->stripes);
		json_close(json, '}');
	}
	json_close(json, ']');
}

static void json_luks(struct json *json, const struct image_info_encryption *e,
		      bool has_format)
{
	json_text(json, "ivgen-alg", e->iv);
	if (arguments_compat() == COMPAT_10_2)
		json_bool(json, "detached-header", e->has_detached_header);
	json_text(json, "hash-alg", e->hash);
	json_text(json, "cipher-alg", e->cipher);
	json_text(json, "uuid", e->uuid);
	if (e->iv_hash != NULL)
		json_text(json, "ivgen-hash-alg", e->iv_hash);
	if (has_format)
		json_text(json, "format", "luks");
	json_text(json, "cipher-mode", e->mode);
	json_slots(json, e);
	json_number(json, "payload-offset", e->payload_offset);
	json_number(json, "master-key-iters", e->master_iterations);
}

void encryption_json(struct json *json, const struct image_info *info)
{
	const struct image_info_encryption *e = info->encryption;

	if (e == NULL)
		return;
	if (info->n_rows == 0) {
		json_luks(json, e, false);
		return;
	}
	json_open(json, "encrypt", '{');
	if (strcmp(e->format, "luks") == 0)
		json_luks(json, e, true);
	else
		json_text(json, "format", e->format);
	json_close(json, '}');
}
