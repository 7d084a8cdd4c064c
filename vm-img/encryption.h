/* SPDX-License-Identifier: ISC */
/* What info says of an image's encryption. */
#ifndef VM_IMG_ENCRYPTION_H
#define VM_IMG_ENCRYPTION_H

struct image_info;
struct json;

/* For people: indented, if it is one property ("encrypt:") among others of
 * the format; and all that there is to say of a format that is nothing but
 * encryption. Nothing where the image is not encrypted. */
void encryption_print(const struct image_info *info);
void encryption_json(struct json *json, const struct image_info *info);

#endif
