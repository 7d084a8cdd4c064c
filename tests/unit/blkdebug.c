/* SPDX-License-Identifier: ISC */
/* blkdebug's rules: how they are read, and which requests they let fail. */
#include "lib/image/blkdebug.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

static struct blkdebug *parse(const char *text)
{
	struct blkdebug *d = blkdebug_new();
	struct error err = ERROR_INIT;

	assert_non_null(d);
	if (blkdebug_parse(d, text, strlen(text), &err) < 0 ||
	    blkdebug_check(d, &err) < 0)
		fail_msg("%s", err.text);
	return d;
}

static struct image_file *open_over(struct blkdebug *d)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);
	struct image_file *file;

	assert_int_equal(image_file_open_fd(&file, fd, "disk",
					    IMAGE_FILE_NO_LOCK, NULL),
			 0);
	assert_int_equal(blkdebug_put_over(&file, "disk", d, 0, NULL), 0);
	blkdebug_free(d);
	return file;
}

static int write_at(const struct image_file *file, uint64_t offset, size_t len)
{
	static const char buf[8192] = { 1 };

	return image_file_write(file, offset, buf, len);
}

static void refuses(const char *text, const char *message)
{
	struct blkdebug *d = blkdebug_new();
	struct error err = ERROR_INIT;
	int rc = blkdebug_parse(d, text, strlen(text), &err);

	if (rc == 0)
		rc = blkdebug_check(d, &err);
	assert_true(rc < 0);
	assert_string_equal(err.text, message);
	blkdebug_free(d);
}

static void test_values(void **state)
{
	struct blkdebug *d = parse("# first\n"
				   "\n"
				   "[inject-error \"an.id-1\"]\n"
				   "  event = \"l2_update\" trailing\n"
				   "errno = \"0x1c\"\n"
				   "iotype = \"write-zeroes\"\n"
				   "sector = \"3\"\n"
				   "state = \"2\"\n"
				   "once = \"on\"\n"
				   "immediately = \"off\"\n"
				   "id = \"ignored\"\n"
				   "[set-state]\n"
				   "event = \"none\"\n"
				   "new_state = \"012\"");
	const struct blkdebug_rule *r = d->rules;

	(void)state;
	assert_int_equal(d->n_rules, 2);
	assert_int_equal(r[0].action, BLKDEBUG_INJECT_ERROR);
	assert_int_equal(r[0].event, IMAGE_EVENT_L2_UPDATE);
	assert_int_equal(r[0].error, ENOSPC);
	assert_int_equal(r[0].io_mask, 1 << BLKDEBUG_IO_WRITE_ZEROES);
	assert_true(r[0].has_offset);
	assert_int_equal(r[0].offset, 1536);
	assert_int_equal(r[0].state, 2);
	assert_true(r[0].is_once);
	assert_string_equal(r[0].id, "an.id-1");
	assert_int_equal(r[1].action, BLKDEBUG_SET_STATE);
	assert_int_equal(r[1].event, IMAGE_EVENT_NONE);
	assert_int_equal(r[1].new_state, 10);
	blkdebug_free(d);
}

static void test_standard_values(void **state)
{
	struct blkdebug *d = parse("[inject-error]\nevent = \"none\"\n");
	const struct blkdebug_rule *r = d->rules;

	(void)state;
	assert_int_equal(r->error, EIO);
	assert_false(r->is_once);
	assert_false(r->has_offset);
	assert_int_equal(r->state, 0);
	/* All but looking for holes. */
	assert_int_equal(r->io_mask, (1 << BLKDEBUG_IO_BLOCK_STATUS) - 1);
	blkdebug_free(d);
}

static void test_refused_texts(void **state)
{
	(void)state;
	refuses("[inject-error]\n", "Missing event name for rule");
	refuses("[inject-error]\nevent = \"nope\"\n",
		"invalid parameter value: nope");
	refuses("[inject-error]\nevent = none\n", "invalid parameter value: ");
	refuses("[inject-error]\nevent = \"none\"\nerrno = \"5k\"\n",
		"Parameter 'errno' expects a number");
	refuses("[inject-error]\nevent = \"none\"\nonce = \"2\"\n",
		"Parameter 'once' expects 'on' or 'off'");
	refuses("[set-state]\nevent = \"none\"\nerrno = \"5\"\n",
		"Invalid parameter 'errno'");
	refuses("[nothing]\n", "There is no option group 'nothing'");
	refuses("event = \"none\"\n", "no group defined");
	refuses("  \n", "parse error");
	refuses("[set-state \"a\"]\nevent = \"none\"\n[set-state \"a\"]\n",
		"Duplicate ID 'a' for set-state");
	refuses("[set-state \"-a\"]\n", "Parameter 'id' expects an identifier");
}

static void test_too_many_rules(void **state)
{
	static const char one[] = "[set-state]\nevent = \"none\"\n";
	_cleanup_free_ char *text =
		malloc((BLKDEBUG_RULES_MAX + 1) * (sizeof(one) - 1) + 1);
	size_t at = 0;

	(void)state;
	assert_non_null(text);
	for (unsigned i = 0; i <= BLKDEBUG_RULES_MAX;
	     i++, at += sizeof(one) - 1)
		memcpy(text + at, one, sizeof(one));
	refuses(text, "Too many rules");
}

static void test_once(void **state)
{
	struct image_file *file = open_over(
		parse("[inject-error]\nevent = \"l2_update\"\nonce = \"on\"\n"
		      "errno = \"28\"\n"));

	(void)state;
	assert_int_equal(write_at(file, 0, 512), 0);
	image_file_tell(file, IMAGE_EVENT_L2_UPDATE);
	assert_int_equal(write_at(file, 0, 512), -ENOSPC);
	image_file_tell(file, IMAGE_EVENT_L2_UPDATE);
	assert_int_equal(write_at(file, 0, 512), 0);
	image_file_close(file);
}

/* Until another rule is woken, and not longer. */
static void test_for_ever(void **state)
{
	struct image_file *file =
		open_over(parse("[inject-error]\nevent = \"l2_update\"\n"
				"[inject-error]\nevent = \"l1_update\"\n"
				"iotype = \"block-status\"\n"));
	char buf[512];

	(void)state;
	image_file_tell(file, IMAGE_EVENT_L2_UPDATE);
	image_file_tell(file, IMAGE_EVENT_L2_LOAD);
	assert_int_equal(write_at(file, 0, 512), -EIO);
	assert_int_equal(image_file_read(file, 0, buf, 512), -EIO);
	assert_int_equal(image_file_zero(file, 0, 512, false), -EIO);
	assert_int_equal(image_file_punch(file, 0, 512), -EIO);
	image_file_tell(file, IMAGE_EVENT_L1_UPDATE);
	assert_int_equal(write_at(file, 0, 512), 0);
	assert_int_equal(image_file_flush(file), 0);
	image_file_close(file);
}

static void test_kinds_and_places(void **state)
{
	struct image_file *file = open_over(
		parse("[inject-error]\nevent = \"none\"\niotype = \"flush\"\n"
		      "[inject-error]\nevent = \"none\"\nsector = \"3\"\n"
		      "errno = \"1\"\n"));
	char buf[2048];

	(void)state;
	assert_int_equal(write_at(file, 0, 1536), 0);
	assert_int_equal(write_at(file, 1537, 512), 0);
	assert_int_equal(write_at(file, 0, 1537), -EPERM);
	assert_int_equal(image_file_read(file, 1536, buf, 1), -EPERM);
	assert_int_equal(image_file_read(file, 2048, buf, 512), 0);
	assert_int_equal(image_file_flush(file), -EIO);
	image_file_close(file);
}

/* The second write after the third of another kind. */
static void test_states(void **state)
{
	struct image_file *file = open_over(
		parse("[set-state]\nevent = \"l1_update\"\nstate = \"1\"\n"
		      "new_state = \"2\"\n"
		      "[set-state]\nevent = \"l1_update\"\nstate = \"2\"\n"
		      "new_state = \"3\"\n"
		      "[inject-error]\nevent = \"pwritev\"\nstate = \"3\"\n"
		      "once = \"on\"\n"));

	(void)state;
	assert_int_equal(write_at(file, 0, 512), 0);
	image_file_tell(file, IMAGE_EVENT_L1_UPDATE);
	assert_int_equal(write_at(file, 0, 512), 0);
	image_file_tell(file, IMAGE_EVENT_L1_UPDATE);
	assert_int_equal(write_at(file, 0, 512), -EIO);
	assert_int_equal(write_at(file, 0, 512), 0);
	image_file_close(file);
}

/* Of several for one event the first that is given counts. */
static void test_first_state_counts(void **state)
{
	struct image_file *file = open_over(
		parse("[set-state]\nevent = \"none\"\nnew_state = \"2\"\n"
		      "[set-state]\nevent = \"none\"\nnew_state = \"3\"\n"
		      "[inject-error]\nevent = \"pwritev\"\nstate = \"2\"\n"));

	(void)state;
	assert_int_equal(write_at(file, 0, 512), -EIO);
	image_file_close(file);
}

/* What comes before the piece that fails is there. */
static void test_pieces(void **state)
{
	struct blkdebug *d =
		parse("[inject-error]\nevent = \"none\"\nsector = \"2\"\n"
		      "iotype = \"write\"\n");
	struct image_file *file;
	uint64_t size;

	(void)state;
	d->max_transfer = 512;
	file = open_over(d);
	assert_int_equal(write_at(file, 0, 4096), -EIO);
	assert_int_equal(image_file_size(file, &size), 0);
	assert_int_equal(size, 1024);
	image_file_close(file);
}

static void test_alignment(void **state)
{
	struct blkdebug *d =
		parse("[inject-error]\nevent = \"pwritev_rmw_tail\"\n"
		      "once = \"on\"\nsector = \"8\"\n"
		      "[inject-error]\nevent = \"pwritev_rmw_head\"\n"
		      "once = \"on\"\nsector = \"0\"\nerrno = \"1\"\n");
	struct image_file *file;

	(void)state;
	d->align = 4096;
	file = open_over(d);
	assert_int_equal(write_at(file, 0, 4096), 0);
	assert_int_equal(write_at(file, 0, 4097), -EIO);
	assert_int_equal(write_at(file, 4095, 1), -EPERM);
	assert_int_equal(write_at(file, 4095, 2), 0);
	image_file_close(file);
}

/* Edges of zeroes are written, edges of what is discarded are left. */
static void test_units(void **state)
{
	struct blkdebug *d = parse("[inject-error]\nevent = \"none\"\n"
				   "iotype = \"write\"\n");
	struct image_file *file;
	uint64_t len;
	bool is_data;

	(void)state;
	d->opt_write_zero = 4096;
	d->opt_discard = 4096;
	file = open_over(d);
	assert_int_equal(image_file_truncate(file, 16384), 0);
	assert_int_equal(image_file_zero(file, 4096, 4096, true), 0);
	assert_int_equal(image_file_zero(file, 4096, 4097, true), -EIO);
	assert_int_equal(image_file_punch(file, 4000, 4192), 0);
	assert_int_equal(image_file_extent(file, 4096, 4096, &is_data, &len),
			 0);
	assert_false(is_data);
	image_file_close(file);
}

static void test_bad_limits(void **state)
{
	struct blkdebug *d = blkdebug_new();
	int fd = memfd_create("disk", MFD_CLOEXEC);
	struct error err = ERROR_INIT;
	struct image_file *file;

	(void)state;
	assert_int_equal(image_file_open_fd(&file, fd, "disk",
					    IMAGE_FILE_NO_LOCK, NULL),
			 0);
	d->align = 3;
	assert_int_equal(blkdebug_put_over(&file, "disk", d, 0, &err), -EINVAL);
	assert_string_equal(err.text, "Cannot meet constraints with align 3");
	d->align = 512;
	d->max_discard = 700;
	assert_int_equal(blkdebug_put_over(&file, "disk", d, 0, &err), -EINVAL);
	assert_string_equal(err.text,
			    "Cannot meet constraints with max-discard 700");
	assert_int_equal(file->fd, fd); /* as it was */
	image_file_close(file);
	blkdebug_free(d);
}

static void test_names(void **state)
{
	(void)state;
	assert_true(blkdebug_is_name("blkdebug:a:b"));
	assert_false(blkdebug_is_name("./blkdebug:a:b"));
	assert_string_equal(blkdebug_path("blkdebug:a:b"), "b");
	assert_string_equal(blkdebug_path("blkdebug::b:c"), "b:c");
	assert_null(blkdebug_path("blkdebug:a"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_standard_values),
		cmocka_unit_test(test_refused_texts),
		cmocka_unit_test(test_too_many_rules),
		cmocka_unit_test(test_once),
		cmocka_unit_test(test_for_ever),
		cmocka_unit_test(test_kinds_and_places),
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_first_state_counts),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_bad_limits),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
