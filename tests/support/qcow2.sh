# shellcheck shell=sh
# SPDX-License-Identifier: ISC
# Shell functions for tests of qcow2 images. Source it after guest.sh.
#
#	qcow2_dir		test_dir in memory where that can be had: these
#				tests flush a lot, and a disk would only be slow.
#	ops IMAGE SEED COUNT	Random operations; the mirror is $dir/mirror.
#	assert_sound WHAT IMAGE	Clean under qemu-img check, and equal to the
#				mirror by qemu-img compare.
#	be32 N, be64 N		N as bytes, big-endian, for printf %b.
#	poke FILE OFFSET BYTES	Overwrites; BYTES as for printf %b.
#	peek64 FILE OFFSET	Prints the big-endian number there.
#	peek_entry FILE OFFSET	The offset in a table entry there, without flags.
# shellcheck disable=SC2154 # dir is set by test_dir

qcow2_dir() {
	[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
	test_dir
}

ops() {
	timeout 120 "$B/tests/tools/image-ops" "$1" "$2" "$3" "$dir/mirror"
	assertEquals "operations on $1, seed $2" 0 $?
}

assert_sound() {
	qemu-img check "$2" >"$dir/check" 2>&1 ||
		fail "$1: $(head -n 3 "$dir/check")"
	qemu-img compare -F raw "$2" "$dir/mirror" >"$dir/compare" 2>&1 ||
		fail "$1: $(cat "$dir/compare")"
}

be32() {
	printf '\\0%03o' $(($1 >> 24 & 255)) $(($1 >> 16 & 255)) \
		$(($1 >> 8 & 255)) $(($1 & 255))
}

be64() {
	be32 $(($1 >> 32 & 0xffffffff))
	be32 $(($1 & 0xffffffff))
}

poke() {
	printf %b "$3" | dd of="$1" bs=1 seek="$(($2))" conv=notrunc status=none
}

peek64() {
	echo $((0x$(od -An -tx1 -j "$(($2))" -N 8 "$1" | tr -d ' \n')))
}

# A shell's numbers are signed.
peek_entry() {
	echo $((0x$(od -An -tx1 -j "$(($2 + 1))" -N 7 "$1" | tr -d ' \n') & ~511))
}
