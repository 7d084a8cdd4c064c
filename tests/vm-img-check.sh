#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img check of images that are large, or whose refcounts are: as qemu-img's,
# in less memory.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
}

tearDown() {
	img_cleanup
}

# Compressed clusters share a host cluster, which counts as often.
test_counts_of_more_than_a_byte() {
	yes 0123456789abcde | head -c 40M >disk
	qemu-img convert -c -O qcow2 disk a.qcow2
	same check a.qcow2
	same check --output=json a.qcow2
	# One more or less, beyond the byte: found, and set right.
	count=$(od -An -tu1 -j $((0x2000a)) -N 2 a.qcow2)
	assertTrue "$count" "[ ${count% *} -gt 0 ]"
	printf '\7' | dd of=a.qcow2 bs=1 seek=$((0x2000b)) conv=notrunc \
		2>/dev/null
	cp a.qcow2 b.qcow2
	same check a.qcow2
	assertFalse 'it is not sound' 'qemu-img check -q a.qcow2'
	qemu-img check -r all b.qcow2 >theirs 2>&1
	vm-img check -r all a.qcow2 >ours 2>&1
	assertEquals "$(cat theirs)" "$(cat ours)"
	assertTrue 'it is repaired' 'qemu-img check -q a.qcow2'
}

# 131072 entries for one cluster.
test_counts_of_more_than_two_bytes() {
	qemu-img create -q -f qcow2 \
		-o cluster_size=2M,refcount_bits=32 a.qcow2 512G
	qemu-io -f qcow2 -c 'write 0 64k' a.qcow2 >/dev/null
	printf '\0\0\0\0\0\240\0\0' >entries
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do
		cat entries entries >"more"
		mv "more" entries
	done
	dd if=entries of=a.qcow2 bs=2M seek=4 conv=notrunc 2>/dev/null
	printf '\0\2\0\0' | dd of=a.qcow2 bs=1 seek=$((0x400014)) \
		conv=notrunc 2>/dev/null
	same check a.qcow2
	assertTrue 'it is sound' 'qemu-img check -q a.qcow2'
	printf '\0\2\0\1' | dd of=a.qcow2 bs=1 seek=$((0x400014)) \
		conv=notrunc 2>/dev/null
	same check a.qcow2
}

# within BYTES command...
# AddressSanitizer's shadow alone is terabytes.
within() {
	bytes=$1
	shift
	case $B in
	*asan*) bytes=unlimited ;;
	esac
	prlimit --data="$bytes" "$@"
}

# What goes through an image once needs little of it at a time: QEMU takes 40
# and 16 MB for these.
test_memory() {
	qemu-img create -q -f qcow2 -o preallocation=metadata a.qcow2 256G
	assertEquals 'check' 0 "$(within 8000000 \
		"$B/bin/vm-img" check -q a.qcow2 2>&1
		echo $?)"
	assertEquals 'map' "$(qemu-img map --output=json a.qcow2 | cksum)" \
		"$(within 4000000 \
			"$B/bin/vm-img" map --output=json a.qcow2 2>&1 | cksum)"
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
