#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img resize: another size of a disk, as qemu-img makes it.
# shellcheck disable=SC2154 # dir is set by test_dir
# shellcheck disable=SC2317 # before() is called by same()
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/qcow2.sh

setUp() {
	img_dir
	before() { :; }
}

tearDown() {
	img_cleanup
}

test_resize_raw() {
	before() {
		qemu-img create -q -f raw a 1M
	}
	for size in 2M +1M -512k 1M 0 +8E foo +foo + -- 1.5M +1000 ''; do
		same resize -f raw a "$size"
		same resize -f raw --shrink a "$size"
	done
	same resize a 2M
	same resize -q -f raw a 2M
	for mode in off falloc full metadata foo; do
		same resize -f raw --preallocation=$mode a 2M
	done
	same resize -f raw --preallocation=falloc --shrink a 512k
	for mode in off metadata falloc full; do
		same resize -f raw --preallocation=$mode /dev/null 1M
	done
	same resize -f foo a 2M
	same resize none 2M
	img resize -q -f raw a +1M
	assertEquals 2097152 "$(stat -c %s a)"
	img resize -q -f raw --shrink a -1536k
	assertEquals 524288 "$(stat -c %s a)"
}

test_resize_qcow2() {
	before() {
		qemu-img create -q -f qcow2 a 1M
	}
	for size in 2M +1M -512k 1M 0 +8E +1000 10T; do
		same resize a "$size"
		same resize -f qcow2 --shrink a "$size"
		assertTrue "$size" 'qemu-img check -q a'
	done
	for mode in metadata falloc full; do
		same resize --preallocation=$mode a 2M
		assertTrue "$mode" 'qemu-img check -q a'
		same info --output=json a
	done
}

# What was beyond the end once does not come back.
test_resize_keeps_data() {
	random data 1M
	qemu-img convert -O qcow2 data a.qcow2
	silent resize -q a.qcow2 3M
	truncate -s 3M data
	assertTrue 'qemu-img compare -q -f raw -F qcow2 data a.qcow2'
	silent resize -q --shrink a.qcow2 100k
	silent resize -q a.qcow2 3M
	truncate -s 100k data
	truncate -s 3M data
	assertTrue 'qemu-img compare -q -f raw -F qcow2 data a.qcow2'
	assertTrue 'qemu-img check -q a.qcow2'
}

# The refcount table's entries, in use, of 512-byte clusters.
refcount_blocks() { # IMAGE
	table=$(peek64 "$1" 48)
	od -An -v -tx8 -w8 -j "$table" -N 512 "$1" | grep -vc ' 0000000000000000'
}

# The disk's first MiB stands behind the others in the file, so that there is
# much in the middle of it that counts nothing any more.
test_blocks_that_count_nothing() {
	qemu-img create -q -f qcow2 -o cluster_size=512 a.qcow2 3M
	for start in 1M 2M 0; do
		qemu-io -c "write -P 7 $start 1M" a.qcow2 >/dev/null
	done
	cp a.qcow2 b.qcow2
	for size in 1M 512; do
		silent resize -q --shrink a.qcow2 $size
		qemu-img resize -q --shrink b.qcow2 $size
		assertTrue "$size: sound" 'qemu-img check -q a.qcow2'
		assertTrue "$size: content" \
			'qemu-img compare -q a.qcow2 b.qcow2'
		assertEquals "$size: blocks" "$(refcount_blocks b.qcow2)" \
			"$(refcount_blocks a.qcow2)"
		ours=$(stat -c %s a.qcow2)
		theirs=$(stat -c %s b.qcow2)
		assertTrue "$size: $ours, $theirs" "[ $ours -le $theirs ]"
	done
	assertEquals 'two of 25' 2 "$(refcount_blocks a.qcow2)"
	# What was given back is made again.
	silent resize -q a.qcow2 3M
	qemu-io -c 'write -P 8 0 3M' a.qcow2 >/dev/null
	assertTrue 'sound' 'qemu-img check -q a.qcow2'
}

# A commit leaves nothing in the image above.
test_nothing_is_left_of_an_empty_image() {
	truncate -s 3M base.raw
	qemu-img create -q -f qcow2 -o cluster_size=512 -b base.raw -F raw \
		a.qcow2
	qemu-io -c 'write -P 7 0 3M' a.qcow2 >/dev/null
	img commit -q a.qcow2
	assertTrue 'sound' 'qemu-img check -q a.qcow2'
	assertTrue "it is short: $(stat -c %s a.qcow2)" \
		"[ $(stat -c %s a.qcow2) -le 4096 ]"
}

# Of a table that says nonsense nothing is given back, and it is said.
test_blocks_that_nothing_counts() {
	for entry in 0xffffff00000000 0x200; do
		qemu-img create -q -f qcow2 a.qcow2 64M
		table=$(peek64 a.qcow2 48)
		poke a.qcow2 $((table + 8)) "$(be64 $entry)"
		assertEquals "$entry" 'vm-img: Failed to discard unused '\
'refblocks: Input/output error' \
			"$(vm-img resize --shrink a.qcow2 32M 2>&1 | tail -n 1)"
		assertEquals 'size' 67108864 "$(peek64 a.qcow2 24)"
	done
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
