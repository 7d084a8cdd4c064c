#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img map: extent by extent what qemu-img says.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
	img_dir
}

tearDown() {
	img_cleanup
}

both() {
	same map "$@"
	same map --output=json "$@"
}

make_images() {
	truncate -s 4M a.raw
	random chunk 1M
	dd if=chunk of=a.raw bs=64k seek=3 count=2 conv=notrunc status=none
	dd if=chunk of=a.raw bs=4k seek=1000 count=1 conv=notrunc status=none
	printf abc >odd.raw
	truncate -s 100000 hole.raw
	: >none.raw
	qemu-img convert -f raw -O qcow2 a.raw a.qcow2
	qemu-img convert -f raw -O qcow2 -o cluster_size=512 a.raw small.qcow2
	qemu-img convert -c -f raw -O qcow2 a.raw compressed.qcow2
	for mode in metadata falloc full; do
		qemu-img create -q -f qcow2 -o preallocation=$mode $mode.qcow2 3M
	done
	qemu-io -c 'write -P 1 100k 70k' metadata.qcow2 >/dev/null
	qemu-img create -q -f qcow2 zero.qcow2 1M
	qemu-io -c 'write -P 1 0 64k' -c 'write -z 0 64k' \
		-c 'write -P 1 128k 64k' -c 'write -z 512k 64k' \
		zero.qcow2 >/dev/null
	qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 over.qcow2 5M
	qemu-io -c 'write -P 1 0 64k' -c 'write -z 256k 64k' \
		-c 'write -P 5 4500k 1k' over.qcow2 >/dev/null
	mkdir sub
	qemu-img create -q -f qcow2 -b ../over.qcow2 -F qcow2 sub/top.qcow2 6M
	qemu-img create -q -f qcow2 empty.qcow2 0
}

test_map() {
	make_images
	for image in *.raw *.qcow2 "$dir/sub/top.qcow2"; do
		both "$image"
		both -f raw "$image"
	done
	for start in 0 1 250000 3M 10M; do
		both -U --start-offset=$start a.qcow2
		for len in 0 512 70000 100M; do
			both --start-offset $start --max-length=$len sub/top.qcow2
		done
	done
}

# 10.2 tells what is compressed.
test_map_of_10_2() {
	make_images
	vm-img map --output=json --compat=10.2 compressed.qcow2 >ours
	# What is compressed has no offset. A cluster that did not get smaller
	# is not compressed.
	qemu-img map --output=json compressed.qcow2 | sed '
		s/"data": false/&, "compressed": false/
		s/"data": true, "off/"data": true, "compressed": false, "off/
		s/"data": true}/"data": true, "compressed": true}/' >theirs
	assertEquals "$(cat theirs)" "$(cat ours)"
	assertTrue "grep -q 'compressed\": true' ours"
	assertTrue "grep -q 'compressed\": false, .offset' ours"
	vm-img map --output=json --compat=7.2 compressed.qcow2 >ours
	assertEquals "$(qemu-img map --output=json compressed.qcow2)" \
		"$(cat ours)"
	refused '--compat must be 7.2 or 10.2' map --compat=9 compressed.qcow2
}

test_wrong_usage() {
	make_images
	both
	both a.raw a.raw
	both none
	both -f foo a.raw
	both -f qcow2 a.raw
	both --start-offset=foo a.raw
	both --start-offset=8E a.raw
	both --max-length=foo a.raw
	both --max-length=-1 a.raw
	same map --output=foo a.raw
	same map --foo a.raw
}

# Its first block is there, for those who try what O_DIRECT may read.
test_new_raw() {
	for size in 0 512 1000 1M; do
		vm-img create -q -f raw ours $size
		qemu-img create -q -f raw theirs $size
		assertEquals "$size" "$(qemu-img map -f raw --output=json theirs)" \
			"$(vm-img map -f raw --output=json ours)"
	done
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
