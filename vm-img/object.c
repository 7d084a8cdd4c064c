/* SPDX-License-Identifier: ISC */
#include "vm-img/object.h"

#include "lib/base/error.h"
#include "vm-img/keys.h"
#include "vm-img/report.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void object_deinit(void)
{
	object_secret_deinit();
	object_throttle_deinit();
	object_tls_deinit();
	object_unused_deinit();
}

bool object_is_identifier(const char *id)
{
	if (!isalpha((unsigned char)*id))
		return false;
	while (isalnum((unsigned char)*id) || strchr("-._", *id) != NULL)
		if (*id++ == '\0')
			return true;
	return false;
}

bool object_has(const char *id)
{
	return object_throttle(id) != NULL || object_tls_has(id) ||
	       object_secret_has(id) || object_unused_has(id);
}

static int add(struct keys *keys, struct error *err)
{
	const char *type = NULL, *id = NULL;
	int rc = keys_take_text(keys, "qom-type", &type, err);

	if (rc == 0)
		rc = keys_take_text(keys, "id", &id, err);
	if (rc < 0)
		return rc;
	if (type == NULL)
		return error_set(err, -EINVAL,
				 "Parameter 'qom-type' is missing");
	if (!object_secret_is_type(type) &&
	    strcmp(type, "throttle-group") != 0 && !object_tls_is_type(type) &&
	    !object_unused_is_type(type))
		return error_set(err, -EINVAL,
				 "Parameter 'qom-type' does not accept value "
				 "'%s'",
				 type);
	if (id == NULL)
		return error_set(err, -EINVAL, "Parameter 'id' is missing");
	if (!object_is_identifier(id))
		return error_set(err, -EINVAL,
				 "Parameter 'id' expects an identifier");
	if (object_has(id))
		rc = -EEXIST;
	else if (object_tls_is_type(type))
		rc = object_tls_add(keys, id, type, err);
	else if (object_unused_is_type(type))
		rc = object_unused_add(keys, id, type, err);
	else if (object_secret_is_type(type))
		rc = object_secret_add(keys, id, type, err);
	else
		rc = object_throttle_add(keys, id, err);
	if (rc == -EEXIST)
		rc = error_set(err, rc,
			       "attempt to add duplicate property '%s' to "
			       "object (type 'container')",
			       id);
	return rc;
}

void object_add(const char *text)
{
	struct keys keys = { .n = 0 };
	struct error err = ERROR_INIT;
	int rc;

	if (text[0] != '{' && object_help(text))
		exit(report_finish(EXIT_SUCCESS));
	rc = text[0] == '{'
		     ? keys_parse_json(&keys, text, &err)
		     : keys_parse_properties(&keys, text, "qom-type", &err);
	if (rc >= 0)
		rc = add(&keys, &err);
	keys_deinit(&keys);
	if (rc == 0)
		return;
	report_error("%s", error_text(&err, rc));
	report_hint_of(error_text(&err, rc));
	exit(report_failure());
}
