#!/bin/sh
# SPDX-License-Identifier: ISC
# qcow2 both ways: images that qemu-img made are read, written, grown and
# shrunk by ours, then checked and compared by qemu-img; and ours are held
# against what qemu-img makes and says. Random operations do the writing.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/qcow2.sh

GEOMETRIES='
cluster_size=512
cluster_size=512,refcount_bits=64
cluster_size=1k,refcount_bits=8
cluster_size=4k,refcount_bits=1
cluster_size=4k,refcount_bits=4
cluster_size=16k,refcount_bits=2
cluster_size=32k,refcount_bits=32,lazy_refcounts=on
cluster_size=64k
cluster_size=2M,refcount_bits=64
cluster_size=1k,compat=0.10
cluster_size=64k,compat=0.10
cluster_size=64k,preallocation=metadata
'

setUp() {
	qcow2_dir
	image=$dir/a.qcow2
}

tearDown() {
	test_cleanup
}

create() { # OPTIONS SIZE [QEMU-IMG'S OPTION...]
	options=$1
	size=$2
	shift 2
	qemu-img create -q -f qcow2 -o "$options" "$@" "$image" "$size" ||
		fail "qemu-img create $options"
}

# Some data that compresses, some that does not, and holes.
make_raw() { # FILE SIZE
	rm -f "$1"
	truncate -s "$2" "$1"
	seq 1 120000 | dd of="$1" conv=notrunc status=none
	head -c 300000 /dev/urandom |
		dd of="$1" bs=65536 seek=20 conv=notrunc status=none
	seq 5 50000 | dd of="$1" bs=65536 seek=40 conv=notrunc status=none
}

test_random_operations_in_every_geometry() {
	for geometry in $GEOMETRIES; do
		for size in 6M 700k 0; do
			create "$geometry" $size
			ops "$image" ${#size}${#geometry} 250
			assert_sound "$geometry $size" "$image"
		done
	done
}

# A snapshot must keep what it had, whatever the disk does.
test_snapshots_keep_their_data() {
	for geometry in $GEOMETRIES; do
		case $geometry in
		*refcount_bits=[12]) continue ;; # too few to count them
		esac
		create "$geometry" 3M
		"$B/tests/tools/image-ops" "$image" 11 60 "$dir/first"
		qemu-img snapshot -c one "$image"
		"$B/tests/tools/image-ops" --same-size "$image" 12 60 \
			"$dir/second"
		qemu-img snapshot -c two "$image"
		"$B/tests/tools/image-ops" --same-size "$image" 13 120 \
			"$dir/mirror"
		assert_sound "$geometry: disk" "$image"
		qemu-img snapshot -a one "$image"
		cp "$dir/first" "$dir/mirror"
		assert_sound "$geometry: first snapshot" "$image"
		qemu-img snapshot -a two "$image"
		cp "$dir/second" "$dir/mirror"
		assert_sound "$geometry: second snapshot" "$image"
	done
}

test_compressed_clusters() {
	make_raw "$dir/raw" 4M
	for options in cluster_size=512 cluster_size=4k \
		cluster_size=64k cluster_size=2M \
		cluster_size=64k,compat=0.10 \
		cluster_size=64k,compression_type=zstd \
		cluster_size=4k,compression_type=zstd; do
		qemu-img convert -c -f raw -O qcow2 -o "$options" "$dir/raw" \
			"$image"
		"$B/tests/tools/image-ops" "$image" 1 0 "$dir/mirror"
		cmp "$dir/raw" "$dir/mirror"
		assertEquals "$options: read" 0 $?
		ops "$image" 5 200
		assert_sound "$options" "$image"
	done
}

test_compressed_clusters_of_snapshots() {
	make_raw "$dir/raw" 4M
	qemu-img convert -c -f raw -O qcow2 "$dir/raw" "$image"
	qemu-img snapshot -c one "$image"
	"$B/tests/tools/image-ops" --same-size "$image" 21 200 "$dir/mirror"
	assert_sound disk "$image"
	qemu-img snapshot -a one "$image"
	cp "$dir/raw" "$dir/mirror"
	assert_sound snapshot "$image"
}

test_backing_images() {
	make_raw "$dir/raw" 4M
	qemu-img convert -f raw -O qcow2 -o cluster_size=4k "$dir/raw" \
		"$dir/base"
	for options in cluster_size=64k cluster_size=512 \
		cluster_size=64k,compat=0.10 cluster_size=2M; do
		for size in 4M 1M 5000192; do
			create "$options" "$size" -b raw -F raw
			ops "$image" 31 150
			assert_sound "$options $size on raw" "$image"
			create "$options" "$size" -b base -F qcow2
			ops "$image" 32 150
			assert_sound "$options $size on qcow2" "$image"
		done
	done
	create cluster_size=64k 4M -b base -F qcow2
	qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 "$dir/top" 4M
	# Without a format in the header, as older tools made them: its
	# extension becomes one that nobody knows.
	poke "$dir/top" 112 "$(be32 0x12345678)"
	ops "$dir/top" 33 150
	assert_sound 'three layers, format guessed' "$dir/top"
}

test_new_images_are_the_same_bytes() {
	for options in cluster_size=64k cluster_size=512 cluster_size=4k \
		cluster_size=8k cluster_size=2M compat=0.10 refcount_bits=1 \
		lazy_refcounts=on,compression_type=zstd \
		cluster_size=512,refcount_bits=64; do
		for size in 0 1000 1M 10G; do
			[ "$options$size" != cluster_size=51210G ] || continue
			[ "$options$size" != \
				cluster_size=512,refcount_bits=6410G ] || continue
			rm -f "$image"
			create "$options" $size
			vm-img create -q -f qcow2 -o "$options" "$dir/b.qcow2" \
				"$size"
			cmp "$image" "$dir/b.qcow2"
			assertEquals "$options $size" 0 $?
		done
	done
	: >"$dir/raw"
	create cluster_size=512 1M -b raw -F raw
	vm-img create -q -f qcow2 -o cluster_size=512 -b raw -F raw \
		"$dir/b.qcow2" 1M
	cmp "$image" "$dir/b.qcow2"
	assertEquals 'with a backing image' 0 $?
}

test_sparse_10G_is_196768_bytes() {
	vm-img create -f qcow2 "$image" 10G >"$dir/out"
	assertEquals 196768 "$(stat -c %s "$image")"
}

test_preallocation() {
	truncate -s 3M "$dir/mirror"
	for mode in metadata falloc full; do
		for options in cluster_size=64k cluster_size=512 \
			cluster_size=4k,refcount_bits=64; do
			vm-img create -q -f qcow2 \
				-o "preallocation=$mode,$options" "$image" 3M
			assert_sound "$mode $options" "$image"
			assertContains "$mode $options is allocated" \
				"$(cat "$dir/check")" '100.00% allocated'
		done
		[ $mode = metadata ] ||
			assertTrue "$mode takes space" \
				"[ $(du -k "$image" | cut -f 1) -ge 3072 ]"
	done
}

# Refcounts of a large file: blocks of blocks, and a table that moves.
test_refcount_table_grows() {
	create cluster_size=512,refcount_bits=64 20M
	head -c 20M /dev/urandom >"$dir/mirror"
	vm-img convert -n -f raw -O qcow2 "$dir/mirror" "$image"
	assert_sound 'full of data' "$image"
	[ "$(peek64 "$image" 48)" -gt 512 ]
	assertEquals 'the table has moved' 0 $?
}

# What is discarded reads as zeroes, and is written again where it was.
test_discard_that_keeps_the_place() {
	for options in cluster_size=64k cluster_size=64k,extended_l2=on; do
		create $options 1M
		qemu-io -c 'write 0 1M' "$image" >"$dir/out"
		"$B/tests/tools/image-do" "$image" discard-keep 65536 131072
		assertEquals 0 $?
		place=$(qemu-img map --output=json "$image" | sed -n \
			's/.*"start": 65536, "length": 131072,.*"zero": true, "data": false, "offset": \([0-9]*\).*/\1/p')
		assertNotNull "$options" "$place"
		"$B/tests/tools/image-do" "$image" write 65536 65536
		qemu-img map --output=json "$image" >"$dir/map"
		assertContains "$(cat "$dir/map")" "\"offset\": $((place + 65536))"
		qemu-img check "$image" >"$dir/check" 2>&1
		assertEquals "$(cat "$dir/check")" 0 $?
	done
}

. shunit2
