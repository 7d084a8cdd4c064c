#!/bin/sh
# SPDX-License-Identifier: ISC
# A few of the conversions of make check-ops.
. tests/support/guest.sh

test_random_conversions() {
	out=$(timeout 200 tests/long-converts 70 220)
	assertEquals "$out" 0 $?
}

. shunit2
