#!/bin/sh
# SPDX-License-Identifier: ISC
# A few of the sequences of make check-ops: one image of every kind and more.
. tests/support/guest.sh

test_random_sequences() {
	out=$(timeout 200 tests/long-ops 30 100)
	assertEquals "$out" 0 $?
}

. shunit2
