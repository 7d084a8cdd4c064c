/* SPDX-License-Identifier: ISC */
/*
 * Making a VMDK disk. Sparse extents are laid out as QEMU lays them out:
 *
 *	| header | descriptor | directory, tables | again | grains ...
 *
 * with all tables there from the beginning. The first directory is the
 * redundant one.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/companions.h"
#include "lib/image/format.h"
#include "lib/image/vmdk.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

const struct image_option_spec vmdk_create_specs[] = {
	{ "size", "size", "Virtual disk size", NULL },
	{ "adapter_type", "str",
	  "Virtual adapter type, can be one of ide (default), lsilogic, "
	  "buslogic or legacyESX",
	  NULL },
	{ "backing_file", "str", "File name of a base image", NULL },
	{ "backing_fmt", "str", "Must be 'vmdk' if present", NULL },
	{ "compat6", "bool (on/off)", "VMDK version 6 image", "off" },
	{ "hwversion", "str", "VMDK hardware version", "undefined" },
	{ "toolsversion", "str", "VMware guest tools version", NULL },
	{ "subformat", "str",
	  "VMDK flat extent format, can be one of {monolithicSparse (default) "
	  "| monolithicFlat | twoGbMaxExtentSparse | twoGbMaxExtentFlat | "
	  "streamOptimized} ",
	  NULL },
	{ "zeroed_grain", "bool (on/off)",
	  "Enable efficient zero writes using the zeroed-grain GTE feature",
	  NULL },
	{ NULL, NULL, NULL, NULL },
};

#define SPLIT_LEN UINT64_C(0x80000000)

static const char *const subformats[] = {
	"monolithicSparse",   "monolithicFlat",	 "twoGbMaxExtentSparse",
	"twoGbMaxExtentFlat", "streamOptimized",
};
static const char *const adapters[] = {
	"ide",
	"lsilogic",
	"buslogic",
	"legacyESX",
};

struct plan {
	const struct image_create_options *options;
	uint64_t size;
	const char *subformat, *adapter, *hw_version, *tools_version;
	bool is_flat, is_split, is_compressed, has_zero_grains;
	const char *backing_name;
	uint32_t parent_cid;
	/* The path up to the last dot, and from there on; the names are what
	 * is left of it without the folder. */
	char *stem;
	const char *stem_name, *suffix;
};

static int choose(const char **chosen, const char *value,
		  const char *const *from, unsigned n, struct error *err)
{
	if (value == NULL)
		value = from[0];
	*chosen = value;
	for (unsigned i = 0; i < n; i++)
		if (strcmp(value, from[i]) == 0)
			return 0;
	return error_set(err, -EINVAL, "invalid parameter value: %s", value);
}

static int take_versions(struct plan *p, const struct image_create_options *o,
			 struct error *err)
{
	bool is_compat6 = false;
	int rc = image_option_bool(o, "compat6", &is_compat6, err);

	if (rc < 0)
		return rc;
	p->tools_version = image_option_find(o, "toolsversion");
	if (p->tools_version == NULL)
		p->tools_version = VMDK_TOOLS_VERSION;
	p->hw_version = image_option_find(o, "hwversion");
	if (p->hw_version == NULL || strcmp(p->hw_version, "undefined") == 0)
		p->hw_version = is_compat6 ? "6" : "4";
	else if (is_compat6)
		return error_set(err, -EINVAL,
				 "compat6 cannot be enabled with hwversion "
				 "set");
	/* They become lines of a text. */
	if (strpbrk(p->hw_version, "\"\r\n") != NULL ||
	    strpbrk(p->tools_version, "\"\r\n") != NULL)
		return error_set(err, -EINVAL, "A version is no such text");
	return 0;
}

static int take_options(struct plan *p, const struct image_create_options *o,
			struct error *err)
{
	int rc = image_options_check(o, vmdk_create_specs, err);

	if (rc == 0)
		rc = choose(&p->subformat, image_option_find(o, "subformat"),
			    subformats, array_size(subformats), err);
	if (rc == 0)
		rc = choose(&p->adapter, image_option_find(o, "adapter_type"),
			    adapters, array_size(adapters), err);
	if (rc == 0)
		rc = take_versions(p, o, err);
	if (rc == 0)
		rc = image_option_bool(o, "zeroed_grain", &p->has_zero_grains,
				       err);
	if (rc != 0)
		return rc;
	p->size = (o->size + VMDK_SECTOR - 1) & ~(uint64_t)(VMDK_SECTOR - 1);
	p->backing_name = o->backing_path;
	p->is_flat = strstr(p->subformat, "Flat") != NULL;
	p->is_split = strncmp(p->subformat, "twoGb", 5) == 0;
	p->is_compressed = strcmp(p->subformat, "streamOptimized") == 0;
	if (!p->is_flat && !p->is_split &&
	    p->size / VMDK_SECTOR / VMDK_GRAIN_SECTORS / VMDK_TABLE_ENTRIES >=
		    VMDK_DIRECTORY_MAX)
		return error_set(err, -EFBIG,
				 "The image size is too large for file format "
				 "'vmdk'");
	if (p->is_flat && p->backing_name != NULL)
		return error_set(err, -ENOTSUP,
				 "Flat image can't have backing file");
	if (p->is_flat && p->has_zero_grains)
		return error_set(err, -ENOTSUP,
				 "Flat image can't enable zeroed grain");
	return 0;
}

static int refuse_name(const char *name, struct error *err)
{
	return error_set(err, -EINVAL, "'%s' cannot stand in a VMDK descriptor",
			 name);
}

/* The parent alone, by a name as it will be read from the descriptor. */
static int open_parent(const struct plan *p, const char *path,
		       struct image **parent, struct error *err)
{
	const struct image_create_options *o = p->options;
	struct image_open_options how = {
		.flags = IMAGE_READ_ONLY | IMAGE_NO_BACKING,
	};
	const struct image_under *under = NULL;
	_cleanup_free_ char *resolved = NULL;
	int rc = image_backing_name_check(p->backing_name, err);

	if (rc < 0 && o->protocol != NULL)
		rc = o->protocol(o->policy_context, p->backing_name, NULL,
				 &under, err);
	if (rc < 0)
		return rc;
	if (under != NULL) {
		image_under_apply(under, &how);
		return image_open(parent, under->path, &how, err);
	}
	resolved = image_backing_resolve(path, p->backing_name);
	if (resolved == NULL)
		return -ENOMEM;
	return image_open(parent, resolved, &how, err);
}

/* The parent's identity, which the new disk will ask for. */
static int look_at_parent(struct plan *p, const char *path, struct error *err)
{
	const struct vmdk *parent;
	struct image *backing;
	int rc;

	if (p->backing_name == NULL)
		return 0;
	if (strpbrk(p->backing_name, "\"\r\n") != NULL)
		return refuse_name(p->backing_name, err);
	rc = open_parent(p, path, &backing, err);
	if (rc < 0)
		return rc;
	if (backing->format == &image_format_vmdk) {
		parent = backing->state;
		p->parent_cid = parent->descriptor.cid;
	} else {
		rc = error_set(err, -EINVAL,
			       "Invalid backing file format: %s. Must be vmdk",
			       backing->format->name);
	}
	image_abandon(backing);
	return rc;
}

static int split_path(struct plan *p, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;
	const char *dot = strrchr(name, '.');
	size_t n = dot != NULL ? (size_t)(dot - path) : strlen(path);

	p->suffix = dot != NULL ? dot : "";
	p->stem = strndup(path, n);
	if (p->stem == NULL)
		return -ENOMEM;
	p->stem_name = p->stem + (name - path);
	return 0;
}

/* The path of extent number i, with its name in *name. */
static char *extent_path(const struct plan *p, const char *path, unsigned i,
			 const char **name)
{
	char *result = NULL;
	int n;

	if (p->is_split)
		n = asprintf(&result, "%s-%c%03u%s", p->stem,
			     p->is_flat ? 'f' : 's', i + 1, p->suffix);
	else if (p->is_flat)
		n = asprintf(&result, "%s-flat%s", p->stem, p->suffix);
	else
		n = asprintf(&result, "%s", path);
	if (n < 0)
		return NULL;
	*name = result + (p->stem_name - p->stem);
	return result;
}

struct layout {
	uint64_t n_tables, directory_sectors, table_sectors;
	uint64_t redundant, directory, overhead;
};

static uint64_t divide_up(uint64_t n, uint64_t by)
{
	return n / by + (n % by != 0);
}

static void lay_out(struct layout *l, uint64_t size)
{
	l->n_tables =
		divide_up(divide_up(size / VMDK_SECTOR, VMDK_GRAIN_SECTORS),
			  VMDK_TABLE_ENTRIES);
	l->table_sectors = VMDK_TABLE_ENTRIES * sizeof(uint32_t) / VMDK_SECTOR;
	l->directory_sectors =
		divide_up(l->n_tables * sizeof(uint32_t), VMDK_SECTOR);
	l->redundant = 1 + VMDK_DESCRIPTOR_SECTORS;
	l->directory = l->redundant + l->directory_sectors +
		       l->table_sectors * l->n_tables;
	l->overhead = divide_up(l->directory + l->directory_sectors +
					l->table_sectors * l->n_tables,
				VMDK_GRAIN_SECTORS) *
		      VMDK_GRAIN_SECTORS;
}

static int write_directory(const struct image_file *file,
			   const struct layout *l, uint64_t sector)
{
	_cleanup_free_ uint32_t *entries =
		calloc(l->directory_sectors + 1, VMDK_SECTOR);
	uint64_t first = sector + l->directory_sectors;

	if (entries == NULL)
		return -ENOMEM;
	for (uint64_t i = 0; i < l->n_tables; i++)
		entries[i] = htole32((uint32_t)(first + i * l->table_sectors));
	return image_file_write(file, sector * VMDK_SECTOR, entries,
				l->directory_sectors * VMDK_SECTOR);
}

static void fill_header(const struct plan *p, const struct layout *l,
			uint64_t size, struct vmdk_wire_header *w)
{
	uint32_t flags = VMDK_FLAG_NEWLINE | VMDK_FLAG_REDUNDANT;
	uint32_t version = 1;

	if (p->has_zero_grains) {
		flags |= VMDK_FLAG_ZERO_GRAIN;
		version = 2;
	}
	if (p->is_compressed) {
		flags |= VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS;
		version = 3;
	}
	*w = (struct vmdk_wire_header){
		.magic = { 'K', 'D', 'M', 'V' },
		.version = htole32(version),
		.flags = htole32(flags),
		.capacity = htole64(size / VMDK_SECTOR),
		.grain_sectors = htole64(VMDK_GRAIN_SECTORS),
		.descriptor_offset = htole64(1),
		.descriptor_sectors = htole64(VMDK_DESCRIPTOR_SECTORS),
		.table_entries = htole32(VMDK_TABLE_ENTRIES),
		.redundant_offset = htole64(l->redundant),
		.directory_offset = htole64(l->directory),
		.overhead = htole64(l->overhead),
		.newline = { '\n', ' ', '\r', '\n' },
		.compression = htole16(p->is_compressed ? VMDK_DEFLATE : 0),
	};
}

static int write_sparse(const struct plan *p, const struct image_file *file,
			uint64_t size)
{
	struct vmdk_wire_header w;
	struct layout l;
	int rc;

	lay_out(&l, size);
	fill_header(p, &l, size, &w);
	rc = image_file_truncate(file, l.overhead * VMDK_SECTOR);
	if (rc == 0)
		rc = write_directory(file, &l, l.redundant);
	if (rc == 0)
		rc = write_directory(file, &l, l.directory);
	if (rc == 0)
		rc = image_file_write(file, 0, &w, sizeof(w));
	return rc;
}

static int write_flat(const struct image_file *file, uint64_t size)
{
	int rc = image_file_truncate(file, size);

	return rc < 0 ? rc : image_file_write_first_block(file, size);
}

/* One file for all: the descriptor is in the extent. */
static bool is_embedded(const struct plan *p)
{
	return !p->is_flat && !p->is_split;
}

static int create_extent(const struct plan *p, const char *path, uint64_t size,
			 struct error *err)
{
	struct image_file *file;
	int rc = is_embedded(p)
			 ? new_image_open(&file, path, 0, p->options, err)
			 : companion_open(&file, path, p->options, err);

	if (rc < 0)
		return rc;
	rc = p->is_flat ? write_flat(file, size) : write_sparse(p, file, size);
	if (rc == 0)
		rc = image_file_flush(file);
	image_file_close(file);
	return rc < 0 ? error_set_errno(err, rc, "Could not write '%s'", path)
		      : 0;
}

static int create_extents(const struct plan *p, const char *path, FILE *lines,
			  struct error *err)
{
	bool is_embedded = !p->is_flat && !p->is_split;
	uint64_t done = 0;

	for (unsigned i = 0; done < p->size || (is_embedded && i == 0); i++) {
		uint64_t size = p->size - done;
		const char *name = NULL;
		_cleanup_free_ char *file = extent_path(p, path, i, &name);
		int rc;

		if (file == NULL)
			return -ENOMEM;
		if (strpbrk(name, "\"\r\n") != NULL)
			return refuse_name(name, err);
		if (p->is_split && size > SPLIT_LEN)
			size = SPLIT_LEN;
		rc = create_extent(p, file, size, err);
		if (rc < 0)
			return rc;
		fprintf(lines, "RW %llu %s \"%s\"%s\n",
			(unsigned long long)size / VMDK_SECTOR,
			p->is_flat ? "FLAT" : "SPARSE", name,
			p->is_flat ? " 0" : "");
		done += size;
	}
	return 0;
}

static void write_text(const struct plan *p, const char *lines, FILE *text)
{
	const struct vmdk_text what = {
		.parent_cid = p->parent_cid,
		.create_type = p->subformat,
		.parent_name = p->backing_name,
		.lines = lines,
		.size = p->size,
		.adapter = p->adapter,
		.hw_version = p->hw_version,
		.tools_version = p->tools_version,
	};

	vmdk_descriptor_print(text, &what);
}

static int write_descriptor(const struct plan *p, const char *path,
			    const char *text, struct error *err)
{
	struct image_file *file;
	int rc;

	if (is_embedded(p) &&
	    strlen(text) > (size_t)VMDK_DESCRIPTOR_SECTORS * VMDK_SECTOR)
		return error_set(err, -EINVAL,
				 "The VMDK descriptor is too long");
	rc = is_embedded(p) ? image_file_open(&file, path, IMAGE_FILE_NBD, err)
			    : new_image_open(&file, path, 0, p->options, err);
	if (rc < 0)
		return rc;
	rc = image_file_write(file, is_embedded(p) ? VMDK_SECTOR : 0, text,
			      strlen(text));
	if (rc == 0)
		rc = image_file_flush(file);
	image_file_close(file);
	return rc < 0 ? error_set_errno(err, rc,
					"Could not write VMDK descriptor")
		      : 0;
}

/* The descriptor comes last: without it the extents are no disk. */
static int write_all(const struct plan *p, const char *path, struct error *err)
{
	_cleanup_free_ char *lines = NULL, *text = NULL;
	size_t lines_len, text_len;
	FILE *stream = open_memstream(&lines, &lines_len);
	int rc;

	if (stream == NULL)
		return -errno;
	rc = create_extents(p, path, stream, err);
	if (fclose(stream) != 0 && rc == 0)
		rc = -ENOMEM;
	if (rc < 0)
		return rc;
	stream = open_memstream(&text, &text_len);
	if (stream == NULL)
		return -errno;
	write_text(p, lines, stream);
	if (fclose(stream) != 0)
		return -ENOMEM;
	return write_descriptor(p, path, text, err);
}

int vmdk_create(const char *path, const struct image_create_options *o,
		struct error *err)
{
	struct plan plan = { .options = o, .parent_cid = VMDK_NO_CID };
	int rc = take_options(&plan, o, err);

	if (rc == 0)
		rc = look_at_parent(&plan, path, err);
	if (rc == 0)
		rc = split_path(&plan, path);
	if (rc == 0)
		rc = write_all(&plan, path, err);
	free(plan.stem);
	return rc;
}
