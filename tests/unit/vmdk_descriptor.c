/* SPDX-License-Identifier: ISC */
/* VMDK descriptors: what is taken from them, and what is refused. */
#include "lib/image/vmdk_descriptor.h"

#include "lib/base/error.h"
#include "protocols/vmdk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int parse(struct vmdk_descriptor *d, const char *text, struct error *err)
{
	return vmdk_descriptor_parse(d, text, strlen(text), false, err);
}

static void test_all_fields(void **state)
{
	static const char text[] = "# Disk DescriptorFile\r\n"
				   "version=1\r\n"
				   "CID=00ab12EF\r\n"
				   "parentCID=12345678\r\n"
				   "createType=\"twoGbMaxExtentFlat\"\r\n"
				   "parentFileNameHint=\"../base disk.vmdk\"\n"
				   "RW 4192256 FLAT \"a b-f001.vmdk\" 63\n"
				   "RW 100\tSPARSE \"/a/../s.vmdk\"\n"
				   "RW 7 ZERO\n"
				   "ddb.adapterType = \"ide\"\n";
	struct vmdk_descriptor d;

	(void)state;
	assert_int_equal(parse(&d, text, NULL), 0);
	assert_int_equal(d.cid, 0x00ab12ef);
	assert_int_equal(d.cid_digits, 8);
	assert_memory_equal(text + d.cid_at, "00ab12EF", 8);
	assert_int_equal(d.parent_cid, 0x12345678);
	assert_string_equal(d.create_type, "twoGbMaxExtentFlat");
	assert_string_equal(d.parent_name, "../base disk.vmdk");
	assert_int_equal(d.n_lines, 3);
	assert_int_equal(d.lines[0].type, VMDK_EXTENT_FLAT);
	assert_int_equal(d.lines[0].n_sectors, 4192256);
	assert_int_equal(d.lines[0].offset, 63);
	assert_string_equal(d.lines[0].name, "a b-f001.vmdk");
	assert_int_equal(d.lines[1].type, VMDK_EXTENT_SPARSE);
	assert_string_equal(d.lines[1].name, "/a/../s.vmdk");
	assert_int_equal(d.lines[2].type, VMDK_EXTENT_ZERO);
	assert_null(d.lines[2].name);
	vmdk_descriptor_deinit(&d);
	vmdk_descriptor_deinit(&d);
}

static void test_nothing_at_all(void **state)
{
	struct vmdk_descriptor d;

	(void)state;
	assert_int_equal(vmdk_descriptor_parse(&d, "", 0, false, NULL), 0);
	assert_int_equal(d.parent_cid, VMDK_NO_CID);
	assert_int_equal(d.cid_digits, 0);
	assert_null(d.create_type);
	vmdk_descriptor_deinit(&d);
	/* What stands behind a NUL byte is padding. */
	assert_int_equal(vmdk_descriptor_parse(&d, "CID=1\n\0CID=2\n", 13,
					       false, NULL),
			 0);
	assert_int_equal(d.cid, 1);
	vmdk_descriptor_deinit(&d);
}

static void test_refused_lines(void **state)
{
	static const char *const lines[] = {
		"RW 1 SPARSE \"\"",
		"RW 1 SPARSE \"a",
		"RW 1 SPARSE a",
		"RW 1 FLAT \"a\"",
		"RW 1 FLAT \"a\" -1",
		"RW 1 SPARSE \"a\" 0",
		"RW 1 VMFS \"a\" 1",
		"RW 0 SPARSE \"a\"",
		"RW -1 SPARSE \"a\"",
		"RW 36028797018963968 SPARSE \"a\"",
		"RW x SPARSE \"a\"",
		"RW 1 SESPARSE \"a\"",
		"RW 1 SPARS \"a\"",
		"RW 1",
		"RW ",
		"RDONLY 1 SPARSE \"a\"",
		"NOACCESS 1 ZERO",
		"createType=monolithicFlat",
		"parentFileNameHint=\"a",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct error err = ERROR_INIT;
		struct vmdk_descriptor d;

		if (parse(&d, lines[i], &err) >= 0)
			fail_msg("taken: %s", lines[i]);
		assert_string_not_equal(err.text, "");
		assert_int_equal(d.n_lines, 0);
	}
}

static void test_extents_of_an_embedded_one(void **state)
{
	static const char text[] = "RDONLY 1 SPARSE \"generated.vmdk\"\n"
				   "CID=1\n"
				   "RW 1 SPARSE \"a.vmdk\"\n";
	struct vmdk_descriptor d;

	(void)state;
	assert_int_equal(
		vmdk_descriptor_parse(&d, text, strlen(text), true, NULL), 0);
	assert_int_equal(d.cid, 1);
	assert_int_equal(d.n_lines, 0);
	vmdk_descriptor_deinit(&d);
}

static void test_probe(void **state)
{
	static const char *const good[] = {
		"# Disk DescriptorFile\nversion=1\n",
		"version=3\r\n",
		"# a\n\n   \n#b\nversion=6\n",
	};
	static const char *const bad[] = {
		"",
		"#",
		"# Disk DescriptorFile\n",
		"version=1",
		"version=4\n",
		"x\nversion=1\n",
		"version=10\n",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(vmdk_descriptor_probe(good[i], strlen(good[i])));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(vmdk_descriptor_probe(bad[i], strlen(bad[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_fields),
		cmocka_unit_test(test_nothing_at_all),
		cmocka_unit_test(test_extents_of_an_embedded_one),
		cmocka_unit_test(test_refused_lines),
		cmocka_unit_test(test_probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
