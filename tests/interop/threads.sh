#!/bin/sh
# SPDX-License-Identifier: ISC
# Several threads at once on one image, each on bytes of its own: whatever
# shares a cluster, a block of the file or a table with them, all is there.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/qcow2.sh

setUp() {
	qcow2_dir
}

tearDown() {
	test_cleanup
}

# A few of make check-ops.
test_images_of_all_kinds() {
	out=$(timeout 200 tests/long-threads 20 1 2)
	assertEquals "$out" 0 $?
}

. shunit2
