#!/bin/sh
# SPDX-License-Identifier: ISC
# A few of what make check-ops does to random disks.
. tests/support/guest.sh

test_convert_rebase_and_commit() {
	out=$(timeout 200 tests/long-verbs 100 400)
	assertEquals "$out" 0 $?
}

# Side by side with qemu-img.
test_changes() {
	out=$(timeout 200 tests/long-changes 8 200)
	assertEquals "$out" 0 $?
}

test_copies() {
	out=$(timeout 200 tests/long-copies 8 200)
	assertEquals "$out" 0 $?
}

. shunit2
