#!/bin/sh
# SPDX-License-Identifier: ISC
# check -r on images that are broken on purpose: texts, exit status and result
# beside qemu-img's on a copy; what either repaired, the other calls sound, and
# the disk still holds what it held. A dirty image is repaired when it is
# opened for writing.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/qcow2.sh

setUp() {
	qcow2_dir
	image=$dir/ours/a.qcow2
	mkdir "$dir/ours" "$dir/theirs"
	truncate -s 2M "$dir/raw"
	seq 1 120000 | dd of="$dir/raw" conv=notrunc status=none
	cp "$dir/raw" "$dir/mirror"
}

tearDown() {
	test_cleanup
}

make_image() { # OPTIONS [CONVERT'S OPTION]
	# shellcheck disable=SC2086 # none, or one word
	qemu-img convert ${2-} -f raw -O qcow2 -o "$1" "$dir/raw" "$image"
	cluster=$(qemu-img info "$image" | sed -n 's/^cluster_size: //p')
}

# Where the refcount of a cluster stands, 16 bits wide.
count_at() { # CLUSTER
	table=$(peek64 "$image" 48)
	block=$(peek64 "$image" "$table")
	echo $((block + 2 * $1))
}

set_count() { # CLUSTER VALUE
	poke "$image" "$(count_at "$1")" \
		"$(printf '\\0%03o\\0%03o' $(($2 >> 8)) $(($2 & 255)))"
}

# The L2 entry of the disk's cluster N, in its first table.
entry_at() {
	l1=$(peek64 "$image" 40)
	echo $(($(peek_entry "$image" "$l1") + 8 * $1))
}

run_both() { # WHAT OPTION...
	what=$1
	shift
	cp "$image" "$dir/b.qcow2"
	cp "$image" "$dir/theirs/a.qcow2"
	(cd "$dir/theirs" && qemu-img check "$@" a.qcow2 >../theirs.out \
		2>../theirs.err)
	expected=$?
	(cd "$dir/ours" && vm-img check "$@" a.qcow2 >../ours.out \
		2>../ours.err)
	assertEquals "$what: status" $expected $?
	sed -i 's/^qemu-img:/vm-img:/' "$dir/theirs.err"
	diff "$dir/theirs.out" "$dir/ours.out"
	assertEquals "$what: output" 0 $?
	diff "$dir/theirs.err" "$dir/ours.err"
	assertEquals "$what: messages" 0 $?
}

# Also in the file that they repaired, and in ours by them.
assert_repaired() { # NAME
	assert_sound "$1" "$image"
	vm-img check "$dir/theirs/a.qcow2" >"$dir/ours.out" 2>&1
	assertEquals "$1: theirs is sound" 0 $?
	cp "$dir/b.qcow2" "$image"
}

# NAME COMMAND...: the command breaks the image; both repair it.
repair() {
	name=$1
	shift
	for options in cluster_size=64k cluster_size=4k cluster_size=64k,compat=0.10; do
		make_image $options
		"$@"
		run_both "$name $options: reported"
		run_both "$name $options: leaks" -r leaks
		cp "$dir/b.qcow2" "$image"
		run_both "$name $options: json" -r all --output=json
		cp "$dir/b.qcow2" "$image"
		run_both "$name $options: all" -r all
		assert_repaired "$name $options"
	done
}

leak() {
	set_count 6 2
	set_count 7 9
}

test_leaks() {
	repair leak leak
}

leak_outside() {
	set_count $(($(stat -c %s "$image") / cluster)) 1
	truncate -s +"$cluster" "$image"
}

test_leaked_at_the_end() {
	repair 'leaked at the end' leak_outside
}

count_as_free() {
	set_count 6 0
}

test_in_use_and_free() {
	repair 'in use and free' count_as_free
}

no_block() {
	poke "$image" "$(peek64 "$image" 48)" "$(be64 0)"
}

test_no_refcount_block() {
	repair 'no block' no_block
}

unaligned_block() {
	poke "$image" "$(peek64 "$image" 48)" "$(be64 0x20200)"
}

# qemu-img trips over the old block when it has made a new one.
test_unaligned_refcount_block() {
	make_image cluster_size=64k
	unaligned_block
	vm-img check "$image" >"$dir/out" 2>"$dir/err"
	assertEquals 1 $?
	assertContains "$(cat "$dir/err")" \
		'ERROR refcount block 0 is not cluster aligned'
	vm-img check -r all "$image" >"$dir/out" 2>&1
	assertEquals 0 $?
	assert_sound 'unaligned block' "$image"
}

block_in_use() {
	poke "$image" "$(($(peek64 "$image" 48) + 8))" "$(be64 $((6 * cluster)))"
}

test_refcount_block_in_use() {
	repair 'block in use' block_in_use
}

copied_flag() {
	at=$(entry_at 3)
	poke "$image" "$at" '\0000'
	poke "$image" "$(peek64 "$image" 40)" '\0000'
}

test_copied_flags() {
	repair 'copied flag' copied_flag
}

# QEMU's check takes the header for a table then, and cannot repair that.
test_copied_flag_of_no_table() {
	make_image cluster_size=512
	l1=$(peek64 "$image" 40)
	poke "$image" $((l1 + 8 * 60)) '\0200'
	vm-img check "$image" >"$dir/out" 2>"$dir/err"
	assertEquals 2 $?
	assertEquals "ERROR OFLAG_COPIED L2 cluster: l1_index=60 \
l1_entry=8000000000000000 refcount=0" "$(cat "$dir/err")"
	vm-img check -q -r all "$image" >"$dir/out" 2>&1
	assertEquals 0 $?
	assertEquals 0 "$(peek64 "$image" $((l1 + 8 * 60)))"
	assertTrue "qemu-img check -q '$image'"
}

# What a snapshot's L1 entry takes for a table is the disk's data, whose words
# look like entries that a repair can set right.
test_data_taken_for_a_table() {
	qemu-img create -q -f qcow2 "$image" 1M
	qemu-io -c 'write -P 0x81 0 64k' "$image" >/dev/null
	qemu-img snapshot -c one "$image"
	l1=$(peek64 "$image" "$(peek64 "$image" 64)")
	poke "$image" "$l1" "$(be64 $((5 * 65536)))"
	vm-img convert -O raw "$image" "$dir/before"
	vm-img check -r all "$image" >"$dir/out" 2>&1
	vm-img convert -O raw "$image" "$dir/after"
	assertTrue "cmp '$dir/before' '$dir/after'"
}

# A compressed cluster that says it is longer than the file is read as far as
# need be; what is rebuilt is not to be put over it.
test_compressed_beyond_the_end() {
	qemu-img create -q -f qcow2 "$image" 1M
	qemu-io -c 'write -c -P 5 64k 64k' "$image" >/dev/null
	poke "$image" "$(entry_at 1)" '\0177'
	vm-img convert -O raw "$image" "$dir/before"
	cp "$image" "$dir/copy"
	vm-img check -r leaks "$image" >"$dir/out" 2>&1
	qemu-io -c 'write -P 6 512k 64k' "$image" >/dev/null
	assertContains "$(qemu-io -c 'read -P 5 64k 64k' "$image" 2>&1)" \
		'read 65536/65536'
	mv "$dir/copy" "$image"
	poke "$image" "$(peek64 "$image" 48)" "$(be64 0)"
	vm-img check -r all "$image" >"$dir/out" 2>&1
	vm-img convert -O raw "$image" "$dir/after"
	assertTrue all "cmp '$dir/before' '$dir/after'"
}

# Far behind the end: some file systems would make the file as long as that.
test_block_far_outside() {
	far=$dir/far
	[ ! -w /dev/shm ] || far=$(mktemp -p /dev/shm)
	make_image cluster_size=2M,refcount_bits=1
	poke "$image" "$(peek64 "$image" 48)" '\0020'
	cp "$image" "$far"
	vm-img check -f qcow2 -r all "$far" >"$dir/out" 2>"$dir/err"
	assertEquals 0 $?
	assertContains "$(cat "$dir/err")" 'could not resize image: File too large'
	assertTrue "qemu-img compare -f raw '$dir/raw' '$far' >'$dir/out'"
	assertTrue "qemu-img check -q '$far'"
	rm "$far"
}

everything() {
	leak
	count_as_free
	copied_flag
}

test_everything() {
	repair everything everything
}

# Counts too low for what a snapshot shares.
test_too_low() {
	make_image cluster_size=64k
	qemu-img snapshot -c one "$image"
	set_count 6 1
	run_both 'reported'
	run_both 'leaks' -r leaks
	cp "$dir/b.qcow2" "$image"
	run_both 'all' -r all
	assert_repaired 'too low'
}

test_unaligned_zero_cluster() {
	make_image cluster_size=64k
	qemu-io -c 'write 640k 64k' -c 'write -z 640k 64k' "$image" >"$dir/out"
	at=$(entry_at 10)
	poke "$image" "$at" '\0200\0000\0000\0000\0000\0036\0002\0001'
	head -c 655360 "$dir/raw" >"$dir/mirror"
	truncate -s 720896 "$dir/mirror"
	tail -c +720897 "$dir/raw" >>"$dir/mirror"
	run_both 'reported'
	run_both 'all' -r all
	assert_repaired 'unaligned zero cluster'
}

# What cannot be repaired is still there afterwards, and is said so.
test_unaligned_data_cluster() {
	make_image cluster_size=64k
	at=$(entry_at 2)
	poke "$image" $((at + 6)) '\0002'
	run_both 'reported'
	run_both 'all' -r all
}

test_corrupt_bit_is_cleared() {
	make_image cluster_size=64k
	leak
	poke "$image" 79 '\0002'
	timeout 60 "$B/tests/tools/image-ops" "$image" 1 1 2>"$dir/err"
	assertEquals 'not opened' 1 $?
	run_both 'all' -r all
	assertEquals 0 "$(peek64 "$image" 72)"
	assert_repaired 'corrupt bit'
}

test_large_counts() {
	for bits in 1 8 32 64; do
		make_image cluster_size=4k,refcount_bits=$bits
		poke "$image" "$(peek64 "$image" "$(peek64 "$image" 48)")" \
			'\0377\0000\0000\0000\0000\0000\0000\0000\0000'
		run_both "$bits" -r all
		assert_repaired "refcount_bits=$bits"
	done
}

test_snapshots_and_compressed() {
	make_image cluster_size=64k -c
	qemu-img snapshot -c one "$image"
	no_block
	run_both 'all' -r all
	assert_repaired all
}

# qemu-img 7.2 loses the snapshots of such an image.
test_snapshots_and_bitmaps() {
	make_image cluster_size=64k
	qemu-img snapshot -c one "$image"
	qemu-img bitmap --add "$image" map
	no_block
	vm-img check -r all "$image" >"$dir/out" 2>&1
	assertEquals 0 $?
	assert_sound all "$image"
	qemu-img info "$image" >"$dir/info"
	assertContains "$(cat "$dir/info")" 'name: map'
	qemu-img bitmap --remove "$image" map
	qemu-img snapshot -a one "$image"
	assert_sound snapshot "$image"
}

# As QEMU does with lazy refcounts, when it was killed.
test_dirty_image_is_repaired_when_opened() {
	make_image cluster_size=64k,lazy_refcounts=on
	qemu-io -c 'write -P 7 256k 128k' -c 'abort' "$image" >"$dir/out" 2>&1
	no_block
	poke "$image" 79 '\0001'
	vm-img info "$image" >"$dir/info"
	assertContains "$(cat "$dir/info")" 'cleanly shut down: no'
	head -c 131072 /dev/zero | tr '\0' '\07' |
		dd of="$dir/mirror" bs=64k seek=4 conv=notrunc status=none
	"$B/tests/tools/image-ops" "$image" 1 0
	assertEquals 'opened' 0 $?
	assertEquals 'no longer dirty' 0 "$(peek64 "$image" 72)"
	assert_sound 'repaired' "$image"
}

# Refcounts are made anew, though there is no place for them.
test_no_table() {
	make_image cluster_size=64k
	poke "$image" 48 "$(be64 0)"
	poke "$image" 56 '\0\0\0\0'
	assertFalse 'no refcounts' "vm-img map '$image' >'$dir/out' 2>&1"
	run_both 'no table: reported'
	run_both 'no table' -r all
	assert_repaired 'no table'
}

# Each block is where its range first has room, the table where it first fits;
# what is a hole has no block.
test_rebuilt_where_room_is() {
	truncate -s 17M "$dir/raw"
	for bits in 1 16 64; do
		make_image cluster_size=512,refcount_bits=$bits
		qemu-io -c 'write -q 2M 1M' -c 'write -q 16M 512k' \
			-c 'discard -q 512 512' -c 'discard -q 4k 1k' \
			-c 'discard -q 2M 800k' "$image"
		qemu-img convert -O raw "$image" "$dir/mirror"
		poke "$image" "$(peek64 "$image" "$(peek64 "$image" 48)")" \
			'\0\0\0\0\0\0\0\0'
		run_both "$bits bits" -r all
		assertEquals "$bits bits: table" \
			"$(peek64 "$dir/theirs/a.qcow2" 48)" \
			"$(peek64 "$image" 48)"
		assertEquals "$bits bits: size of the file" \
			"$(stat -c %s "$dir/theirs/a.qcow2")" \
			"$(stat -c %s "$image")"
		assert_repaired "$bits bits"
	done
}

test_table_beyond_the_end() {
	for add in 0 65536 16777216; do
		make_image cluster_size=64k
		end=$((($(stat -c %s "$image") + 65535) / 65536 * 65536))
		poke "$image" 48 "$(be64 $((end + add)))"
		run_both "table at end + $add: reported"
		run_both "table at end + $add: leaks" -r leaks
		cp "$dir/b.qcow2" "$image"
		run_both "table at end + $add" -r all
		assert_repaired "table at end + $add"
	done
}

# The file is made longer, where it can be.
test_block_beyond_the_end() {
	for at in 1048576 9223372036854710272 -65536; do
		make_image cluster_size=64k
		table=$(peek64 "$image" 48)
		poke "$image" $((table + 8)) "$(be64 $at)"
		run_both "block at $at: reported"
		run_both "block at $at: leaks" -r leaks
		cp "$dir/b.qcow2" "$image"
		run_both "block at $at" -r all
		assert_repaired "block at $at"
	done
	make_image cluster_size=64k
	poke "$image" $((table + 8)) "$(be64 6553600)"
	set_count 100 1
	run_both 'counted block' -r all
	assert_repaired 'counted block'
}

# In a pipe: what was printed is kept, messages go out at once.
test_messages_come_first() {
	make_image cluster_size=64k
	cp "$image" "$dir/theirs/a.qcow2"
	for program in qemu-img vm-img; do
		image=$dir/$program.qcow2
		cp "$dir/theirs/a.qcow2" "$image"
		# Far beyond the file's end, which no repair makes good.
		poke "$image" "$(peek_entry "$image" "$(peek64 "$image" 40)")" \
			'\0200\0200\0\0\0\0\0\0'
		$program check -r all "$image" 2>&1 | cat >"$dir/$program"
	done
	assertEquals "$(cat "$dir/qemu-img")" "$(cat "$dir/vm-img")"
	assertContains "$(cat "$dir/vm-img")" 'ERROR: counting'
}

test_usage() {
	make_image cluster_size=64k
	vm-img check -r some "$image" >"$dir/out" 2>"$dir/err"
	assertEquals 1 $?
	assertContains "$(cat "$dir/err")" "(expecting 'leaks' or 'all'): some"
	vm-img check -r all -f raw "$image" >"$dir/out" 2>"$dir/err"
	assertEquals 63 $?
	vm-img check -r all -U "$image" >"$dir/out" 2>"$dir/err"
	assertEquals 1 $?
}

. shunit2
