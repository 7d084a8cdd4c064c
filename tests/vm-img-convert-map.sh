#!/bin/sh
# SPDX-License-Identifier: ISC
# What convert writes and what it leaves, beside qemu-img: maps of the outputs
# are held against each other, but for where in the file it all lies.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	base='-B base.qcow2 -F qcow2'
}

tearDown() {
	img_cleanup
}

map_of() {
	qemu-img map --output=json out.qcow2 | sed 's/, "offset": [0-9]*//'
}

# alike ARG...: both convert to out.qcow2, which before() may have made.
alike() {
	before
	qemu-img "$@"
	assertEquals "qemu-img $*" 0 $?
	qemu-img compare a.qcow2 out.qcow2 >theirs
	map_of >>theirs
	before
	vm-img "$@"
	assertEquals "vm-img $*" 0 $?
	qemu-img compare a.qcow2 out.qcow2 >ours
	map_of >>ours
	assertEquals "$*" "$(cat theirs)" "$(cat ours)"
	assertContains "$(cat ours)" 'Images are identical.'
}

# Version 2 has no mark for zeroes: where nothing is under them, holes do.
test_to_an_old_image() {
	for compat in 0.10 1.1; do
		before() {
			qemu-img create -q -f qcow2 -o compat="$compat" \
				out.qcow2 1M
		}
		qemu-img create -q -f qcow2 a.qcow2 1M
		alike convert -n -O qcow2 a.qcow2 out.qcow2
		before() {
			qemu-img create -q -f qcow2 -o compat="$compat" \
				out.qcow2 1M
			qemu-io -c 'write -P 1 64k 256k' out.qcow2 >/dev/null
		}
		alike convert -n -O qcow2 a.qcow2 out.qcow2
		random base.raw 512k
		before() {
			qemu-img create -q -f qcow2 -o compat="$compat" \
				-b base.raw -F raw out.qcow2 1M
		}
		alike convert -n -O qcow2 a.qcow2 out.qcow2
	done
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
