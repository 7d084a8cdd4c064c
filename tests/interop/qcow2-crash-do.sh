#!/bin/sh
# SPDX-License-Identifier: ISC
# A kill or a power failure in the middle of a snapshot made, applied or
# deleted, of a repair, of options amended, of another backing file's name, of an image made empty:
# recorded system call by system call. Each state is sound, the disk holds what
# it held before or what it is to hold, and so do the snapshots: qemu-img
# checks, applies and compares some of them.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/qcow2.sh

GEOMETRIES='cluster_size=64k cluster_size=512 cluster_size=4k,compat=0.10
cluster_size=1k,refcount_bits=8 cluster_size=16k,extended_l2=on'

setUp() {
	qcow2_dir
	image=$dir/a.qcow2
	truncate -s 1M "$dir/zero"
	truncate -s 1M "$dir/one"
	seq 1 90000 | dd of="$dir/one" conv=notrunc status=none
}

tearDown() {
	test_cleanup
}

make_image() { # OPTIONS [CONVERT'S OPTION]
	rm -f "$image"
	# shellcheck disable=SC2086 # none, or one word
	qemu-img convert ${2-} -f raw -O qcow2 -o "$1" "$dir/one" "$image"
}

# Snapshot one, and then something else: $dir/two.
make_snapshot() { # OPTIONS [CONVERT'S OPTION]
	make_image "$@"
	qemu-img snapshot -c one "$image"
	"$B/tests/tools/image-ops" --same-size "$image" 4 40 "$dir/two"
}

crash() { # ACTION ORIGINAL OTHER
	rm -f "$dir"/state.*
	timeout 100 "$B/tests/tools/image-crash" "--do=$1" "$image" 1 \
		"${CRASH_STATES:-45}" "$2" "$3" "$dir/state" 2>"$dir/log" ||
		fail "$1: $(cat "$dir/log")"
	for state in "$dir"/state.[0-9]; do
		qemu-img check "$state" >"$dir/check" 2>&1
		case $? in
		0 | 3) ;;
		*) fail "$1: $state: $(cat "$dir/check")" ;;
		esac
	done
}

# In each state that has the snapshot it holds what it held.
assert_snapshot() { # NAME CONTENT
	for state in "$dir"/state.[0-9]; do
		qemu-img snapshot -l "$state" | grep -q " $1 " || continue
		qemu-img snapshot -a "$1" "$state"
		qemu-img compare -F raw "$state" "$2" >"$dir/compare" ||
			fail "$state: snapshot $1: $(cat "$dir/compare")"
	done
}

test_create() {
	for options in $GEOMETRIES; do
		make_image "$options"
		crash create "$dir/one" "$dir/one"
		assert_snapshot new "$dir/one"
		make_snapshot "$options"
		crash create "$dir/two" "$dir/two"
		assert_snapshot one "$dir/one"
	done
	make_snapshot cluster_size=64k -c
	crash create "$dir/two" "$dir/two"
	assert_snapshot new "$dir/two"
}

test_apply() {
	for options in $GEOMETRIES; do
		make_snapshot "$options"
		crash apply "$dir/two" "$dir/one"
		assert_snapshot one "$dir/one"
	done
}

test_delete() {
	for options in $GEOMETRIES; do
		make_snapshot "$options"
		crash delete "$dir/two" "$dir/two"
		assert_snapshot one "$dir/one"
	done
	make_snapshot cluster_size=64k -c
	qemu-img snapshot -c two "$image"
	crash delete "$dir/two" "$dir/two"
	assert_snapshot two "$dir/two"
}

test_empty() {
	for options in $GEOMETRIES; do
		make_snapshot "$options"
		crash empty "$dir/two" "$dir/zero"
		assert_snapshot one "$dir/one"
	done
	make_image cluster_size=64k -c
	crash empty "$dir/one" "$dir/zero"
}

test_backing() {
	: >"$dir/new"
	for options in cluster_size=64k cluster_size=512; do
		make_image "$options"
		crash backing "$dir/one" "$dir/one"
	done
}

# With a snapshot, and clusters that are zero by a flag in both. Nothing is
# under the image, or a file of zeroes.
test_amend() {
	for options in cluster_size=64k cluster_size=512; do
		make_snapshot "$options"
		qemu-io -c 'write -z 100k 200k' "$image" >"$dir/io"
		qemu-img snapshot -c zero "$image"
		qemu-img convert -O raw "$image" "$dir/two"
		crash refcount_bits=8 "$dir/two" "$dir/two"
		assert_snapshot one "$dir/one"
		crash refcount_bits=16 "$dir/two" "$dir/two"
		crash compat=0.10 "$dir/two" "$dir/two"
		assert_snapshot zero "$dir/two"
		crash compat=1.1 "$dir/two" "$dir/two"
		assert_snapshot one "$dir/one"
		qemu-img rebase -u -b "$dir/zero" -F raw "$image"
		qemu-io -c 'write -z 500k 100k' "$image" >"$dir/io"
		qemu-img snapshot -c more "$image"
		qemu-img convert -O raw "$image" "$dir/two"
		crash compat=0.10 "$dir/two" "$dir/two"
		assert_snapshot more "$dir/two"
	done
}

test_bitmap() {
	for options in cluster_size=64k cluster_size=512; do
		make_image "$options"
		qemu-img bitmap --add -g 4k "$image" old
		qemu-io -c 'write -P 3 100k 50k' "$image" >"$dir/out"
		qemu-img convert -O raw "$image" "$dir/two"
		crash bitmap "$dir/two" "$dir/two"
		for state in "$dir"/state.[0-9]; do
			qemu-img info "$state" >"$dir/info" 2>&1
			assertContains "$state" "$(cat "$dir/info")" 'name: '
			assertNotContains "$state" "$(cat "$dir/info")" in-use
		done
	done
}

# Clusters move, also tables; a snapshot's stay where they are. What is free
# between them has blocks, too, as after a copy, and becomes holes.
test_compact() {
	for options in cluster_size=64k cluster_size=512,compat=0.10; do
		make_image "$options"
		qemu-io -c 'discard 0 300k' -c 'write -P 0 400k 70k' "$image" \
			>"$dir/io"
		qemu-img convert -O raw "$image" "$dir/two"
		crash compact "$dir/two" "$dir/two"
		make_snapshot "$options"
		qemu-img snapshot -c more "$image"
		qemu-io -c 'write -P 9 100k 500k' "$image" >"$dir/io"
		qemu-img snapshot -d one "$image"
		qemu-img convert -O raw "$image" "$dir/two"
		qemu-img snapshot -c last "$image"
		cp --sparse=never "$image" "$dir/full"
		mv "$dir/full" "$image"
		crash compact "$dir/two" "$dir/two"
		assert_snapshot last "$dir/two"
	done
}

# Leaks, counts too low, flags; and then no refcount blocks at all.
test_repair() {
	for options in cluster_size=64k cluster_size=4k,compat=0.10; do
		make_snapshot "$options"
		table=$(peek64 "$image" 48)
		block=$(peek_entry "$image" "$table")
		poke "$image" $((block + 12)) '\0000\0001\0000\0003\0000\0002'
		crash repair "$dir/two" "$dir/two"
		assert_snapshot one "$dir/one"
		make_snapshot "$options"
		poke "$image" "$table" "$(be64 0)"
		crash repair "$dir/two" "$dir/two"
		assert_snapshot one "$dir/one"
	done
}

. shunit2
