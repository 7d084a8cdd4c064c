#!/bin/sh
# SPDX-License-Identifier: ISC
# A few of what make check-ops does to random disks.
. tests/support/guest.sh

test_convert_rebase_and_commit() {
	out=$(timeout 200 tests/long-verbs 100 400)
	assertEquals "$out" 0 $?
}

. shunit2
