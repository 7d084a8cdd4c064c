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

# Few bytes, so that many share a place.
crowd() { # NAME SEED ROUNDS OPTION...
	what=$1
	seed=$2
	rounds=$3
	shift 3
	timeout 60 "$B/tests/tools/image-threads" "$@" "$dir/a" "$seed" \
		"$rounds" "$dir/mirror" 2>"$dir/log"
	assertEquals "$what, seed $seed: $(cat "$dir/log")" 0 $?
}

# Who reads a grain remembers it while others write it anew.
test_compressed_grains() {
	for seed in 1 2 3; do
		vm-img create -q -f vmdk -o subformat=streamOptimized \
			"$dir/a" 128k
		crowd grains $seed 20 --format=vmdk
		qemu-img compare -q -f vmdk -F raw "$dir/a" "$dir/mirror"
		assertEquals "seed $seed" 0 $?
	done
}

# A write that is less than a block writes its neighbours back, which others
# make zeroes meanwhile.
test_parts_of_blocks() {
	# Before Linux 6.6 files in memory cannot.
	if ! dd if=/dev/zero of="$dir/a" bs=64k count=1 oflag=direct \
		2>/dev/null; then
		rm -rf "$dir"
		TMPDIR=/tmp test_dir
	fi
	for seed in 4 5 6 7; do
		rm -f "$dir/a"
		truncate -s 32k "$dir/a"
		crowd direct $seed 100 --format=raw --direct
		cmp "$dir/a" "$dir/mirror"
		assertEquals "seed $seed" 0 $?
	done
}

# A system call may say that it failed and have done what it was to do: what it
# wrote about may not be given out again, nor be remembered otherwise.
test_faults() {
	for format in parallels vmdk qed qcow2; do
		options=
		case $format in
		parallels) options=-ocluster_size=31k ;;
		qed) options=-ocluster_size=4k ;;
		qcow2) options=-ocluster_size=512 ;;
		esac
		for seed in 1 2; do
			rm -f "$dir/a"
			# shellcheck disable=SC2086 # none, or one word
			vm-img create -q -f $format $options "$dir/a" 5M
			crowd $format $seed 6 --format=$format --faults=40
		done
	done
}

. shunit2
