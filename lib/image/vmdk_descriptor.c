/* SPDX-License-Identifier: ISC */
/*
 * Line by line; what is not known is passed over, as there is much that only
 * VMware's programs need. Only extents must be understood, each of them.
 *
 * An extent's name comes from whoever made the image: it is a plain path, and
 * whether a file of another folder is opened is not decided here.
 */
#include "lib/image/vmdk_descriptor.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/guid.h"
#include "protocols/vmdk.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum {
	HEX_DIGITS_MAX = 8,
};

static const char *const type_names[] = {
	[VMDK_EXTENT_FLAT] = "FLAT",
	[VMDK_EXTENT_SPARSE] = "SPARSE",
	[VMDK_EXTENT_ZERO] = "ZERO",
	[VMDK_EXTENT_VMFS] = "VMFS",
	[VMDK_EXTENT_VMFS_SPARSE] = "VMFSSPARSE",
};

const char *vmdk_extent_type_name(enum vmdk_extent_type type)
{
	return type_names[type];
}

/* Comments and empty lines, and then the version. */
bool vmdk_descriptor_probe(const char *text, size_t len)
{
	static const char *const versions[] = {
		"version=1",
		"version=2",
		"version=3",
		"version=6",
	};
	size_t at = 0;

	while (at < len) {
		const char *newline = memchr(text + at, '\n', len - at);
		size_t skip = at;

		while (skip < len && text[skip] == ' ')
			skip++;
		if (skip == len)
			return false;
		for (unsigned i = 0; i < array_size(versions); i++) {
			size_t n = strlen(versions[i]);

			if (len - at > n &&
			    memcmp(text + at, versions[i], n) == 0 &&
			    (text[at + n] == '\n' || text[at + n] == '\r'))
				return true;
		}
		if (newline == NULL || (text[at] != '#' && text[skip] != '\n' &&
					text[skip] != '\r'))
			return false;
		at = (size_t)(newline - text) + 1;
	}
	return false;
}

/* "KEY=" at the beginning of line; what follows it. */
static char *value_of(char *line, const char *key)
{
	size_t n = strlen(key);

	return strncmp(line, key, n) == 0 && line[n] == '=' ? line + n + 1
							    : NULL;
}

static size_t parse_hex(const char *text, uint32_t *number)
{
	size_t n = 0;

	*number = 0;
	while (n < HEX_DIGITS_MAX && isxdigit((unsigned char)text[n])) {
		char digit = (char)tolower((unsigned char)text[n++]);

		*number = *number << 4 |
			  (uint32_t)(digit >= 'a' ? digit - 'a' + 10
						  : digit - '0');
	}
	return n;
}

/* What stands in quotes, to be freed. */
static int take_quoted(char **value, char *text, struct error *err)
{
	char *end = text[0] == '"' ? strchr(text + 1, '"') : NULL;

	if (end == NULL)
		return error_set(err, -EINVAL,
				 "VMDK descriptor: no quoted value: %.64s",
				 text);
	free(*value);
	*value = strndup(text + 1, (size_t)(end - text - 1));
	return *value == NULL ? -ENOMEM : 0;
}

static bool take_number(char **at, uint64_t *number)
{
	char *end;

	while (**at == ' ' || **at == '\t')
		++*at;
	if (!isdigit((unsigned char)**at))
		return false;
	errno = 0;
	*number = strtoull(*at, &end, 10);
	*at = end;
	return errno == 0 && *number <= INT64_MAX / VMDK_SECTOR;
}

/* As take_number(), but it may be one that has no meaning. */
static bool is_number(const char *at)
{
	at += strspn(at, " \t");
	at += *at == '-';
	return isdigit((unsigned char)*at);
}

static bool take_type(char **at, enum vmdk_extent_type *type)
{
	size_t n;

	while (**at == ' ' || **at == '\t')
		++*at;
	n = strcspn(*at, " \t");
	for (unsigned i = 0; i < array_size(type_names); i++)
		if (strlen(type_names[i]) == n &&
		    memcmp(*at, type_names[i], n) == 0) {
			*type = (enum vmdk_extent_type)i;
			*at += n;
			return true;
		}
	return false;
}

/* The rest of an extent's line, behind its type. */
static int parse_extent_file(struct vmdk_line *l, char *at, const char *line,
			     struct error *err)
{
	bool has_offset;
	char *end;
	int rc;

	if (l->type == VMDK_EXTENT_ZERO)
		return 0;
	while (*at == ' ' || *at == '\t')
		at++;
	end = *at == '"' ? strchr(at + 1, '"') : NULL;
	if (end == NULL || end == at + 1)
		return error_set(err, -EINVAL, "Invalid extent line: %.128s",
				 line);
	rc = take_quoted(&l->name, at, err);
	if (rc < 0)
		return rc;
	at = end + 1;
	/* Only FLAT may begin elsewhere than with its file, and must say it. */
	has_offset = is_number(at);
	if (has_offset != (l->type == VMDK_EXTENT_FLAT) ||
	    (has_offset && !take_number(&at, &l->offset)))
		return error_set(err, -EINVAL, "Invalid extent line: %.128s",
				 line);
	return 0;
}

/* RW 4192256 SPARSE "disk-s001.vmdk" [OFFSET] */
static int parse_extent(struct vmdk_descriptor *d, char *line,
			struct error *err)
{
	char *at = line + strcspn(line, " ");
	struct vmdk_line *lines;
	struct vmdk_line l = { .n_sectors = 0 };
	int rc;

	if (strncmp(line, "RW ", 3) != 0)
		return error_set(err, -ENOTSUP,
				 "VMDK extent that is not to be written: "
				 "%.128s",
				 line);
	if (d->n_lines == VMDK_EXTENTS_MAX)
		return error_set(err, -EFBIG,
				 "VMDK disk has more than %d extents",
				 VMDK_EXTENTS_MAX);
	if (!take_number(&at, &l.n_sectors) || l.n_sectors == 0)
		return error_set(err, -EINVAL, "Invalid extent line: %.128s",
				 line);
	if (!take_type(&at, &l.type))
		return error_set(err, -ENOTSUP,
				 "Unsupported extent type: %.128s", line);
	rc = parse_extent_file(&l, at, line, err);
	if (rc < 0) {
		free(l.name);
		return rc;
	}
	lines = reallocarray(d->lines, d->n_lines + 1, sizeof(*lines));
	if (lines == NULL) {
		free(l.name);
		return -ENOMEM;
	}
	d->lines = lines;
	d->lines[d->n_lines++] = l;
	return 0;
}

static bool is_extent(const char *line)
{
	return strncmp(line, "RW ", 3) == 0 ||
	       strncmp(line, "RDONLY ", 7) == 0 ||
	       strncmp(line, "NOACCESS ", 9) == 0;
}

static int parse_line(struct vmdk_descriptor *d, char *line, size_t at,
		      bool is_embedded, struct error *err)
{
	char *value;

	if (is_extent(line))
		return is_embedded ? 0 : parse_extent(d, line, err);
	value = value_of(line, "CID");
	if (value != NULL) {
		d->cid_at = at + (size_t)(value - line);
		d->cid_digits = parse_hex(value, &d->cid);
		return 0;
	}
	value = value_of(line, "parentCID");
	if (value != NULL) {
		parse_hex(value, &d->parent_cid);
		return 0;
	}
	value = value_of(line, "createType");
	if (value != NULL)
		return take_quoted(&d->create_type, value, err);
	value = value_of(line, "parentFileNameHint");
	if (value != NULL)
		return take_quoted(&d->parent_name, value, err);
	return 0;
}

static int parse_lines(struct vmdk_descriptor *d, char *text, bool is_embedded,
		       struct error *err)
{
	char *line = text;

	while (line != NULL) {
		char *next = strchr(line, '\n');
		size_t n;
		int rc;

		if (next != NULL)
			*next++ = '\0';
		n = strlen(line);
		if (n > 0 && line[n - 1] == '\r')
			line[n - 1] = '\0';
		rc = parse_line(d, line, (size_t)(line - text), is_embedded,
				err);
		if (rc < 0)
			return rc;
		line = next;
	}
	return 0;
}

int vmdk_descriptor_parse(struct vmdk_descriptor *d, const char *text,
			  size_t len, bool is_embedded, struct error *err)
{
	_cleanup_free_ char *copy = strndup(text, len);
	int rc;

	*d = (struct vmdk_descriptor){ .parent_cid = VMDK_NO_CID };
	if (copy == NULL)
		return -ENOMEM;
	rc = parse_lines(d, copy, is_embedded, err);
	if (rc < 0)
		vmdk_descriptor_deinit(d);
	return rc;
}

void vmdk_descriptor_deinit(struct vmdk_descriptor *d)
{
	for (unsigned i = 0; i < d->n_lines; i++)
		free(d->lines[i].name);
	free(d->lines);
	free(d->create_type);
	free(d->parent_name);
	*d = (struct vmdk_descriptor){ .parent_cid = VMDK_NO_CID };
}

void vmdk_descriptor_print(FILE *file, const struct vmdk_text *text)
{
	unsigned heads = strcmp(text->adapter, "ide") == 0 ? 16 : 255;
	uint8_t random[GUID_LEN];
	uint32_t cid;

	guid_generate(random);
	memcpy(&cid, random, sizeof(cid));
	fprintf(file,
		"# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=%08x\n"
		"createType=\"%s\"\n",
		cid & (UINT32_MAX - 1), text->parent_cid, text->create_type);
	if (text->parent_name != NULL)
		fprintf(file, "parentFileNameHint=\"%s\"\n", text->parent_name);
	fprintf(file, "\n# Extent description\n%s\n", text->lines);
	fprintf(file,
		"# The Disk Data Base\n#DDB\n\n"
		"ddb.virtualHWVersion = \"%s\"\n"
		"ddb.geometry.cylinders = \"%llu\"\n"
		"ddb.geometry.heads = \"%u\"\n"
		"ddb.geometry.sectors = \"63\"\n"
		"ddb.adapterType = \"%s\"\n"
		"ddb.toolsVersion = \"%s\"\n",
		text->hw_version,
		(unsigned long long)(text->size / VMDK_SECTOR / heads / 63),
		heads, text->adapter, text->tools_version);
}
