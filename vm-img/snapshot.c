/* SPDX-License-Identifier: ISC */
/* snapshot: list, make, apply and delete the snapshots inside an image. */
#include "vm-img/snapshot.h"

#include "lib/base/error.h"
#include "lib/base/size.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/keys.h"
#include "vm-img/report.h"
#include "vm-img/verb.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	NAME_LEN_MAX = 255, /* what is longer is cut off, as QEMU does */
	NS_PER_S = 1000000000,
};

const struct option_spec snapshot_options[] = {
	{ 'l', "list", NULL, "list the snapshots" },
	{ 'c', "create", "SNAPSHOT", "make one of the disk as it is" },
	{ 'a', "apply", "SNAPSHOT", "the disk becomes as it was then" },
	{ 'd', "delete", "SNAPSHOT", "delete it" },
	{ 'f', "format", "FMT", "the image's format (default: guess)" },
	{ 'q', "quiet", NULL, "print errors only" },
	{ 'U', "force-share", NULL, "open although another one writes it" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

struct row {
	const char *id, *name, *size, *date, *clock, *icount;
};

/* Later versions have narrower columns, between spaces. */
static void print_row(const struct row *r)
{
	if (arguments_compat() == COMPAT_10_2)
		printf("%-7s %-16s %8s %19s %15s %10s\n", r->id, r->name,
		       r->size, r->date, r->clock, r->icount);
	else
		printf("%-9s %-16s %8s%20s%13s%11s\n", r->id, r->name, r->size,
		       r->date, r->clock, r->icount);
}

static void print_one(const struct image_snapshot_info *s)
{
	bool is_later = arguments_compat() == COMPAT_10_2;
	char date[32], clock[32], icount[24] = "", size[16];
	uint64_t seconds = s->vm_clock_nsec / NS_PER_S;
	time_t when = (time_t)s->date_sec;
	struct tm tm;

	localtime_r(&when, &tm);
	strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(clock, sizeof(clock), "%0*u:%02u:%02u.%03u", is_later ? 4 : 2,
		 (unsigned)(seconds / 3600), (unsigned)(seconds / 60 % 60),
		 (unsigned)(seconds % 60),
		 (unsigned)(s->vm_clock_nsec / 1000000 % 1000));
	if (s->icount != UINT64_MAX)
		snprintf(icount, sizeof(icount), "%llu",
			 (unsigned long long)s->icount);
	else if (is_later)
		snprintf(icount, sizeof(icount), "--");
	print_row(&(struct row){
		s->id, s->name,
		size_format(s->vm_state_size, size, sizeof(size)), date, clock,
		icount });
}

void snapshot_list_print(const struct image_info *info)
{
	bool is_later = arguments_compat() == COMPAT_10_2;

	if (info->n_snapshots == 0)
		return;
	printf("Snapshot list:\n");
	print_row(&(struct row){ "ID", "TAG", is_later ? "VM_SIZE" : "VM SIZE",
				 "DATE", is_later ? "VM_CLOCK" : "VM CLOCK",
				 "ICOUNT" });
	for (unsigned i = 0; i < info->n_snapshots; i++)
		print_one(&info->snapshots[i]);
}

static int list(struct image *image, struct error *err)
{
	struct image_info info;
	int rc = image_get_info(image, &info, err);

	if (rc == 0)
		snapshot_list_print(&info);
	return rc;
}

/* There is no more to say than the error number does. */
static bool is_plain(const struct error *err, int rc)
{
	return rc == -ENOTSUP ||
	       strcmp(report_reason(err, rc), strerror(-rc)) == 0;
}

static int create(struct image *image, const char *name, struct error *err)
{
	char cut[NAME_LEN_MAX + 1];
	struct image_snapshot_info what = { .name = cut };
	struct timespec now;
	int rc;

	snprintf(cut, sizeof(cut), "%s", name);
	clock_gettime(CLOCK_REALTIME, &now);
	what.date_sec = (uint32_t)now.tv_sec;
	what.date_nsec = (uint32_t)now.tv_nsec;
	rc = image_snapshot_create(image, &what, err);
	if (rc < 0 && (is_plain(err, rc) || rc == -EINVAL) &&
	    arguments_compat() == COMPAT_10_2)
		report_error("Could not create snapshot '%s': %s", name,
			     strerror(-rc));
	else if (rc < 0 && (is_plain(err, rc) || rc == -EINVAL))
		report_error("Could not create snapshot '%s': %d (%s)", name,
			     rc, strerror(-rc));
	else if (rc < 0)
		report_error("Could not create snapshot '%s': %s", name,
			     error_text(err, rc));
	return rc;
}

/* By its name, and first of all by its number if is_id. */
static int find(struct image *image, const char *name, bool is_id,
		unsigned *index)
{
	struct image_info info;
	int rc = image_get_info(image, &info, NULL);

	if (rc < 0)
		return rc;
	for (unsigned i = 0; is_id && i < info.n_snapshots; i++)
		if (strcmp(info.snapshots[i].id, name) == 0) {
			*index = i;
			return 0;
		}
	for (unsigned i = 0; i < info.n_snapshots; i++)
		if (strcmp(info.snapshots[i].name, name) == 0) {
			*index = i;
			return 0;
		}
	return -ENOENT;
}

/* Both must be as they are given; NULL: any. */
static int find_exactly(struct image *image, const char *id, const char *name,
			unsigned *index)
{
	struct image_info info;
	int rc = image_get_info(image, &info, NULL);

	for (unsigned i = 0; rc == 0 && i < info.n_snapshots; i++)
		if ((id == NULL || strcmp(info.snapshots[i].id, id) == 0) &&
		    (name == NULL ||
		     strcmp(info.snapshots[i].name, name) == 0)) {
			*index = i;
			return 0;
		}
	return rc < 0 ? rc : -ENOENT;
}

static bool has_keys(const char *param)
{
	return strncmp(param, "snapshot.", strlen("snapshot.")) == 0;
}

static int parse_keys(struct keys *keys, const char *param, const char **id,
		      const char **name)
{
	struct error err = ERROR_INIT;
	int rc = keys_parse(keys, param, NULL, &err);

	*id = keys_take(keys, "snapshot.id");
	*name = keys_take(keys, "snapshot.name");
	if (rc == 0 && keys_left(keys) != NULL)
		rc = error_set(&err, -EINVAL, "Invalid parameter '%s'",
			       keys_left(keys));
	if (rc < 0) {
		report_error("%s", error_text(&err, rc));
		report_error("Failed in parsing snapshot param '%s'", param);
	}
	return rc;
}

int snapshot_check_or_report(const char *param)
{
	struct keys keys = { .n = 0 };
	const char *id, *name;
	int rc = has_keys(param) ? parse_keys(&keys, param, &id, &name) : 0;

	keys_deinit(&keys);
	return rc;
}

static int find_by_param(struct image *image, const char *param,
			 unsigned *index)
{
	struct keys keys = { .n = 0 };
	const char *id, *name;
	int rc;

	if (!has_keys(param))
		return find(image, param, true, index);
	rc = parse_keys(&keys, param, &id, &name);
	if (rc == 0)
		rc = find_exactly(image, id, name, index);
	keys_deinit(&keys);
	return rc;
}

int snapshot_load_or_report(struct image *image, const char *param)
{
	struct error err = ERROR_INIT;
	unsigned index = 0;
	int rc = 0;

	/* Which one does not matter then. */
	if (image_has_snapshots(image))
		rc = find_by_param(image, param, &index);
	if (rc == -EINVAL)
		return rc;
	if (rc == -ENOENT)
		error_set(&err, rc, "Can't find snapshot");
	if (rc == 0)
		rc = image_snapshot_load(image, index, &err);
	if (rc < 0)
		report_error("Failed to load snapshot: %s",
			     error_text(&err, rc));
	return rc;
}

static int apply(struct image *image, const char *name, struct error *err)
{
	unsigned index = 0;
	int rc = find(image, name, true, &index);

	/* Where none can be applied, that is the reason. */
	if (rc == -ENOENT)
		index = UINT_MAX;
	if (rc == 0 || rc == -ENOENT)
		rc = image_snapshot_apply(image, index, err);
	if (rc < 0 && ((is_plain(err, rc) && rc != -ENOTSUP) ||
		       report_cause(err, "Snapshot L1 table ")))
		error_set_errno(err, rc, "Failed to load snapshot");
	if (rc < 0)
		report_error("Could not apply snapshot '%s': %s", name,
			     error_text(err, rc));
	return rc;
}

static int remove_one(struct image *image, const char *name, struct error *err)
{
	unsigned index = 0;
	int rc = find(image, name, false, &index);

	if (rc < 0) {
		report_error("Could not delete snapshot '%s': snapshot not "
			     "found",
			     name);
		return rc;
	}
	rc = image_snapshot_delete(image, index, err);
	if (rc < 0 && is_plain(err, rc) && rc != -ENOTSUP)
		error_set_errno(err, rc,
				"Failed to free the cluster and L1 table");
	if (rc < 0)
		report_error("Could not delete snapshot '%s': %s", name,
			     error_text(err, rc));
	return rc;
}

static int act(struct image *image, int action, const char *name)
{
	struct error err = ERROR_INIT;

	switch (action) {
	case 'l':
		return list(image, &err);
	case 'c':
		return create(image, name, &err);
	case 'a':
		return apply(image, name, &err);
	case 'd':
		return remove_one(image, name, &err);
	default: /* to open it was all */
		return 0;
	}
}

int snapshot_run(int argc, char **argv)
{
	struct arguments a = { .specs = snapshot_options,
			       .argc = argc,
			       .argv = argv };
	unsigned flags = IMAGE_NO_BACKING;
	struct error err = ERROR_INIT;
	const char *name = NULL, *format = NULL;
	int action = 0, id, rc;
	struct image *image;

	while ((id = arguments_next(&a)) >= 0) {
		if (id == 'U')
			flags |= IMAGE_FORCE_SHARE;
		if (id == 'f')
			format = a.value;
		if (id == 'q' || id == 'U' || id == 'f')
			continue;
		if (action != 0)
			report_usage("Cannot mix '-l', '-a', '-c', '-d'");
		action = id;
		name = a.value;
	}
	if (a.n_operands != 1)
		report_usage("Expecting one image file name");
	if (action == 0 && arguments_compat() == COMPAT_10_2)
		action = 'l';
	if (action == 'l')
		flags |= IMAGE_READ_ONLY;
	image = open_or_report(a.operands[0], format, flags);
	if (image == NULL)
		return EXIT_FAILURE;
	rc = act(image, action, name);
	if (rc < 0) {
		image_abandon(image);
		return EXIT_FAILURE;
	}
	rc = image_close(image, &err);
	if (rc < 0)
		report_error("%s: %s", a.operands[0], error_text(&err, rc));
	return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
