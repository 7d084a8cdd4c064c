#!/bin/sh
# SPDX-License-Identifier: ISC
# What convert writes and what it leaves, beside qemu-img: maps of the outputs
# are held against each other, but for where in the file it all lies.
# shellcheck disable=SC2154,SC2317 # dir is set by test_dir; before() is called
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

# Data, zeroes and holes, above and beyond a shorter image.
make_overlay() {
	random base.raw 1M
	qemu-img convert -O qcow2 base.raw base.qcow2
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2 3M
	qemu-io -c 'write -P 1 64k 64k' -c 'write -z 256k 128k' \
		-c 'write -z 960k 128k' -c 'write -P 2 2M 64k' \
		-c 'write -z 2560k 64k' a.qcow2 >/dev/null
}

test_over_a_backing_image() {
	before() { rm -f out.qcow2; }
	make_overlay
	for how in '' '-S 0' '-c' '-c -S 0' '-o compat=0.10' \
		'-o compat=0.10 -S 0'; do
		# shellcheck disable=SC2086 # words
		alike convert -O qcow2 $how $base a.qcow2 out.qcow2
	done
}

# What is above nothing is not left to what is under the target. qemu-img
# forgets that where the source has a backing image that is shorter.
test_under_the_target_is_more() {
	before() { rm -f out.qcow2; }
	random base.raw 2M
	qemu-img convert -O qcow2 base.raw base.qcow2
	qemu-img create -q -f qcow2 a.qcow2 3M
	# shellcheck disable=SC2086 # words
	alike convert -O qcow2 $base a.qcow2 out.qcow2
	qemu-img convert -O qcow2 base.qcow2 short.qcow2
	qemu-img resize -q --shrink short.qcow2 1M
	qemu-img create -q -f qcow2 -b short.qcow2 -F qcow2 a.qcow2 3M
	for how in '' '-S 0'; do
		# shellcheck disable=SC2086 # words
		silent convert -O qcow2 $how $base a.qcow2 out.qcow2
		assertTrue "$how" 'qemu-img compare -q a.qcow2 out.qcow2'
		assertContains "$(map_of)" '"length": 1048576, "depth": 1'
	done
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

# With -n nothing is made with the backing file, whose format nobody needs.
test_old_image_and_backing_option() {
	before() { qemu-img create -q -f qcow2 out.qcow2 1M; }
	qemu-img create -q -f qcow2 a.qcow2 1M
	qemu-img create -q -f qcow2 base.qcow2 1M
	alike convert -n -O qcow2 -B base.qcow2 a.qcow2 out.qcow2
	qemu-io -c 'write -P 1 64k 64k' a.qcow2 >/dev/null
	alike convert -n -O qcow2 -B base.qcow2 a.qcow2 out.qcow2
}

# Holes are as long as -S says, and begin at multiples of that.
test_sparse_size() {
	before() { rm -f out.qcow2; }
	qemu-img create -q -f qcow2 -o cluster_size=1k a.qcow2 1M
	qemu-io -c 'write -P 0 0 64k' -c 'write 0 1k' -c 'write 8k 1k' \
		-c 'write 17k 1k' -c 'write 39k 2k' a.qcow2 >/dev/null
	for size in 512 1k 4k 8k 12k 64k; do
		for how in '' -c; do
			# shellcheck disable=SC2086 # one word, or none
			alike convert -O qcow2 -o cluster_size=1k -S $size \
				$how a.qcow2 out.qcow2
		done
	done
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
