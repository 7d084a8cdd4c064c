#!/bin/sh
# SPDX-License-Identifier: ISC
# Extended L2 entries, both ways: random operations on images of either
# program, snapshots and compressed clusters among them, checked and compared
# by qemu-img; copy on write that is no larger than it must be; maps that
# agree; entries that cannot be.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/qcow2.sh

setUp() {
	qcow2_dir
	image=$dir/a.qcow2
}

tearDown() {
	test_cleanup
}

create() { # PROGRAM OPTIONS SIZE [ARGUMENT...]
	by=$1
	with=extended_l2=on,$2
	size=$3
	shift 3
	rm -f "$image"
	"$by" create -q -f qcow2 -o "$with" "$@" "$image" "$size" ||
		fail "$by create $with"
}

random_ops() { # SEED
	timeout 120 "$B/tests/tools/image-ops" --snapshot --compress "$image" \
		"$1" 150 "$dir/mirror"
	assertEquals "operations, seed $1" 0 $?
}

make_base() {
	seq 1 400000 >"$dir/base"
	truncate -s 3M "$dir/base"
}

same_map() { # WHAT
	qemu-img map --output=json "$image" >"$dir/theirs"
	vm-img map --output=json "$image" >"$dir/ours"
	diff "$dir/theirs" "$dir/ours"
	assertEquals "$1: map" 0 $?
}

test_random_operations() {
	for cluster in 16k 2M; do
		for program in vm-img qemu-img; do
			create $program cluster_size=$cluster 3M
			random_ops ${#cluster}
			assert_sound "$program $cluster" "$image"
		done
	done
}

# What lies under it does not show where the disk was shorter once, wherever
# that is in a cluster, and however the new part is allocated.
test_growth_over_a_longer_image() {
	make_base
	for mode in off metadata falloc full; do
		for size in 786432 761344; do
			create vm-img cluster_size=16k $size -b "$dir/base" \
				-F raw
			cp "$dir/base" "$dir/mirror"
			truncate -s "$size" "$dir/mirror"
			truncate -s 2M "$dir/mirror"
			vm-img resize -q --preallocation=$mode "$image" 2M
			assert_sound "$mode from $size" "$image"
		done
	done
}

# The rest of the old end's cluster belongs to what is added, too.
test_preallocated_over_a_longer_image() {
	make_base
	for mode in metadata falloc full; do
		create vm-img cluster_size=16k 500k -b "$dir/base" -F raw
		vm-img resize -q --preallocation=$mode "$image" 508k
		assertContains "$mode" \
			"$(vm-img map --output=json -s 500k "$image")" \
			'"length": 8192, "depth": 0, "present": true, "zero": true, "data": false, "offset"'
		cp "$dir/base" "$dir/mirror"
		truncate -s 500k "$dir/mirror"
		truncate -s 508k "$dir/mirror"
		assert_sound "$mode" "$image"
	done
}

test_backing_images() {
	make_base
	for options in cluster_size=64k \
		cluster_size=16k,preallocation=metadata; do
		for program in vm-img qemu-img; do
			create $program "$options" 3M -b "$dir/base" -F raw
			same_map "$options: new"
			random_ops 6
			assert_sound "$program $options" "$image"
		done
	done
}

test_data_file() {
	for raw in off on; do
		rm -f "$dir/data"
		vm-img create -q -f qcow2 -o extended_l2=on,cluster_size=32k \
			-o "data_file=$dir/data,data_file_raw=$raw" "$image" 3M
		ops "$image" 4 200
		assert_sound "raw=$raw" "$image"
		[ $raw = off ] || cmp "$dir/data" "$dir/mirror"
		assertEquals "raw=$raw" 0 $?
	done
}

# After the same requests both programs have copied and zeroed the same.
test_same_maps() {
	make_base
	create vm-img cluster_size=64k 3M -b "$dir/base" -F raw
	copy=$dir/b.qcow2
	cp "$image" "$copy"
	while read -r verb offset len; do
		case $verb in
		write) what="write $offset $len" ;;
		zero) what="write -z $offset $len" ;;
		discard) what="discard $offset $len" ;;
		esac
		qemu-io -c "$what" "$copy" >"$dir/out"
		"$B/tests/tools/image-do" "$image" "$verb" "$offset" "$len"
		assertEquals "$verb $offset $len" 0 $?
	done <<-EOF
		write 0 512
		write 4096 2048
		write 70000 3000
		write 130000 70000
		write 262144 131072
		zero 264192 4096
		zero 598016 10240
		write 602112 2048
		write 700000 1
	EOF
	same_map ours
	qemu-img map --output=json "$copy" | sed 's/, "offset".*}/}/' \
		>"$dir/theirs"
	vm-img map --output=json "$image" | sed 's/, "offset".*}/}/' \
		>"$dir/ours"
	diff "$dir/theirs" "$dir/ours"
	assertEquals 'the same is mapped' 0 $?
	qemu-img compare "$image" "$copy" >"$dir/out"
	assertTrue 'content' "[ $? -le 1 ]"
}

test_same_bytes() {
	for options in cluster_size=64k cluster_size=16k \
		cluster_size=64k,lazy_refcounts=on; do
		create vm-img "$options" 1G -b "$dir/base" -F raw -u
		cp "$image" "$dir/ours"
		create qemu-img "$options" 1G -b "$dir/base" -F raw -u
		cmp "$image" "$dir/ours"
		assertEquals "$options" 0 $?
	done
}

# Places without content, which have an offset all the same.
test_preallocated() {
	for mode in metadata full; do
		for program in vm-img qemu-img; do
			create $program cluster_size=64k,preallocation=$mode 1M
			same_map "$program $mode"
			qemu-io -c 'write 100k 3k' -c 'write 300k 100k' \
				"$image" >"$dir/out"
			same_map "$program $mode: written"
			qemu-img check "$image" >"$dir/check" 2>&1
			assertEquals "$program $mode" 0 $?
		done
	done
}

test_refused() {
	vm-img create -f qcow2 -o extended_l2=on,cluster_size=8k "$image" 1M \
		2>"$dir/err" >"$dir/out"
	assertEquals 1 $?
	assertContains "$(cat "$dir/err")" \
		'only supported with cluster sizes of at least 16384 bytes'
	vm-img create -f qcow2 -o extended_l2=on,compat=0.10 "$image" 1M \
		2>"$dir/err" >"$dir/out"
	assertEquals 1 $?
	assertContains "$(cat "$dir/err")" 'Extended L2 entries are only'
	vm-img create -q -f qcow2 -o cluster_size=8k "$image" 1M
	poke "$image" 72 "$(be64 16)"
	vm-img check "$image" 2>"$dir/err"
	assertEquals 1 $?
	assertContains "$(cat "$dir/err")" 'Unsupported subcluster size: 256'
}

# The second word of the first entry becomes something that cannot be.
# A place that cannot be goes; what each subcluster reads as stays.
test_place_is_dropped() {
	make_base
	create qemu-img cluster_size=64k 3M -b "$dir/base" -F raw
	qemu-io -c 'write -P 1 4k 2k' -c 'write -z 4k 2k' "$image" >"$dir/out"
	qemu-img convert -O raw "$image" "$dir/before"
	l2=$(peek_entry "$image" "$(peek64 "$image" 40)")
	poke "$image" $((l2 + 6)) '\0002'
	vm-img check -q -r all "$image" 2>"$dir/out"
	qemu-img check -q "$image"
	assertEquals sound 0 $?
	qemu-img compare -q -F raw "$image" "$dir/before"
	assertEquals 'reads as before' 0 $?
}

test_corrupt() {
	create vm-img cluster_size=64k 1M
	qemu-io -c 'write 0 64k' "$image" >"$dir/out"
	l2=$(peek_entry "$image" "$(peek64 "$image" 40)")
	cp "$image" "$dir/good"
	while read -r entry bitmap; do
		cp "$dir/good" "$image"
		[ "$entry" = - ] || poke "$image" "$l2" "$entry"
		poke "$image" $((l2 + 8)) "$bitmap"
		qemu-img check "$image" >"$dir/theirs" 2>&1
		expected=$?
		vm-img check "$image" >"$dir/ours" 2>&1
		assertEquals "$bitmap" $expected $?
		diff "$dir/theirs" "$dir/ours"
		assertEquals "$bitmap: words" 0 $?
		"$B/tests/tools/image-do" "$image" write 0 512 2>"$dir/err"
		assertEquals "$bitmap: written" 1 $?
		assertContains "$(cat "$dir/err")" 'Invalid cluster entry'
		vm-img info "$image" | grep -q 'corrupt: true'
		assertEquals "$bitmap: marked" 0 $?
	done <<-EOF
		- $(be64 $((1 << 32 | 1)))
		$(be64 0) $(be64 1)
	EOF
}

. shunit2
