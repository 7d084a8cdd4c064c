#!/bin/sh
# SPDX-License-Identifier: ISC
# External data files, both ways: images that either side made are written by
# both, checked and compared; a raw one reads as the disk does at any time.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/qcow2.sh

setUp() {
	qcow2_dir
	image=$dir/a.qcow2
	data=$dir/a.data
}

tearDown() {
	test_cleanup
}

create() { # PROGRAM OPTIONS SIZE
	rm -f "$image" "$data"
	"$1" create -q -f qcow2 -o "data_file=$data,$2" "$image" "$3"
	assertEquals "$1 create $2" 0 $?
}

refused() { # WHAT COMMAND...
	what=$1
	shift
	"$@" >"$dir/out" 2>&1
	assertEquals "$*" 1 $?
	assertContains "$*" "$(cat "$dir/out")" "$what"
}

test_random_operations() {
	for program in vm-img qemu-img; do
		for options in cluster_size=64k cluster_size=512 \
			cluster_size=4k,preallocation=metadata \
			cluster_size=2M; do
			for size in 5M 700k; do
				create $program $options $size
				ops "$image" ${#size}${#options} 200
				assert_sound "$options $size" "$image"
			done
		done
	done
}

test_raw_data_file_is_the_disk() {
	for program in vm-img qemu-img; do
		for options in cluster_size=64k cluster_size=1k \
			cluster_size=64k,preallocation=falloc; do
			create $program "data_file_raw=on,$options" 3M
			for seed in 1 2 3; do
				ops "$image" $seed 120
				assert_sound "$options" "$image"
				cmp "$data" "$dir/mirror"
				assertEquals "$options: $seed" 0 $?
			done
			qemu-io -c 'write -P 7 1k 9k' -c 'write -z 0 2k' \
				-c 'discard 64k 64k' "$image" >"$dir/out"
			vm-img compare -F raw "$image" "$data" >"$dir/out"
			assertEquals "$options: by both" 0 $?
		done
	done
}

test_over_a_backing_image() {
	seq 1 300000 >"$dir/base"
	for options in cluster_size=64k cluster_size=4k; do
		vm-img create -q -f qcow2 -o "data_file=$data,$options" \
			-b "$dir/base" -F raw "$image"
		ops "$image" 5 150
		assert_sound "$options" "$image"
	done
	qemu-io -c 'write -P 1 0 1M' "$image" >"$dir/out"
	vm-img commit "$image" >"$dir/out"
	assertEquals 'committed' 0 $?
	qemu-img check "$image" >"$dir/check"
	assertEquals 'emptied' 0 $?
	qemu-img compare -F raw "$image" "$dir/base" >"$dir/out"
	assertEquals 'empty' 0 $?
}

test_same_bytes_and_same_words() {
	for options in data_file_raw=off data_file_raw=on \
		data_file_raw=on,preallocation=full; do
		create vm-img $options 2M
		cp "$image" "$dir/ours"
		vm-img info "$image" | grep -v 'disk size' >"$dir/info"
		create qemu-img $options 2M
		cmp -n 65536 "$image" "$dir/ours"
		assertEquals "$options: header" 0 $?
		qemu-img info "$image" | grep -v 'disk size' |
			diff - "$dir/info"
		assertEquals "$options: info" 0 $?
	done
}

test_converted() {
	seq 1 200000 >"$dir/raw"
	truncate -s 2M "$dir/raw"
	vm-img convert -f raw -O qcow2 \
		-o "data_file=$data,data_file_raw=on" "$dir/raw" "$image"
	assertEquals 0 $?
	cmp "$dir/raw" "$data"
	assertEquals 0 $?
	refused ': Operation not supported' \
		vm-img convert -c -f raw -O qcow2 -o "data_file=$data" \
		"$dir/raw" "$image"
}

# One that was made in its own folder is found from elsewhere, too, if there is
# none of that name.
test_found_beside_the_image() {
	mkdir "$dir/sub"
	(cd "$dir/sub" && vm-img create -q -f qcow2 -o data_file=b.data b.qcow2 1M)
	assertEquals 0 $?
	ops "$dir/sub/b.qcow2" 3 30
	mv "$dir/sub" "$dir/other"
	ops "$dir/other/b.qcow2" 3 30
	vm-img info --integrity "$dir/other/b.qcow2" >"$dir/out"
	assertEquals 'info --integrity' 0 $?
	cp "$dir/other/b.data" "$dir/b.data"
	rm "$dir/other/b.data"
	(cd "$dir" && vm-img check other/b.qcow2 >out)
	assertEquals 'where the program runs' 0 $?
	vm-img info "$dir/other/b.qcow2" >"$dir/out"
	assertEquals 'info needs no data' 0 $?
	refused "Could not open 'b.data': No such file" \
		vm-img check "$dir/other/b.qcow2"
	assertContains "$(vm-img info --integrity "$dir/other/b.qcow2" 2>&1)" \
		"Data file 'b.data' is missing"
}

test_refused() {
	truncate -s 1M "$dir/base"
	refused 'data-file-raw requires data-file' vm-img create -f qcow2 \
		-o data_file_raw=on "$image" 1M
	refused 'Backing file and data-file-raw cannot be used at the same' \
		vm-img create -f qcow2 -o "data_file=$data,data_file_raw=on" \
		-b "$dir/base" -F raw "$image" 1M
	refused 'only supported with compatibility level 1.1' vm-img create \
		-f qcow2 -o "data_file=$data,compat=0.10" "$image" 1M
	refused 'is the image itself' vm-img create -f qcow2 \
		-o "data_file=$image" "$image" 1M
	create vm-img data_file_raw=off 1M
	refused "Could not create snapshot 'one': -95 (Operation not supported)" \
		vm-img snapshot -c one "$image"
	refused "apply snapshot 'one': Failed to load snapshot: Operation not" \
		vm-img snapshot -a one "$image"
	sed -i "s,$data,nbd:$(printf %s "$data" | cut -c5-)," "$image"
	refused 'is not a plain path' vm-img check "$image"
}

# The place of the first cluster is no place at all.
test_zeroes_at_the_beginning() {
	for start in 64k 256k; do
		create vm-img data_file_raw=off 1M
		qemu-io -c "write $start 128k" -c 'write 0 64k' \
			-c 'write -z 0 128k' "$image" >"$dir/out"
		vm-img check "$image" >"$dir/ours"
		qemu-img check "$image" >"$dir/theirs"
		diff "$dir/theirs" "$dir/ours"
		assertEquals "$start" 0 $?
	done
}

is_locked() {
	vm-img check "$image" >"$dir/out" 2>&1
	grep -q 'Failed to get shared "write" lock' "$dir/out"
}

test_locked_like_the_image() {
	create vm-img data_file_raw=off 1M
	start holder qemu-io -f raw -c 'write 0 512' -c 'sleep 60000' "$data"
	wait_until is_locked
	assertEquals 'while another one writes' 0 $?
	refused 'Failed to get shared "write" lock' vm-img resize "$image" 2M
	vm-img compare -U "$image" "$image" >"$dir/out" 2>&1
	assertEquals 'shared by force' 0 $?
	stop holder
	vm-img resize -q "$image" 2M
	assertEquals 'and not later' 0 $?
}

# What was put behind the end of a raw one becomes part of the disk; of another
# one it is nothing.
test_growth_over_what_is_there() {
	for raw in on off; do
		create vm-img data_file_raw=$raw 1000k
		qemu-io -c 'write -P 1 0 1000k' "$image" >"$dir/out"
		truncate -s 2M "$data"
		qemu-io -f raw -c 'write -P 2 1000k 500k' "$data" >"$dir/out"
		cp "$data" "$dir/expected"
		[ $raw = on ] || truncate -s 1000k "$dir/expected"
		truncate -s 2M "$dir/expected"
		vm-img resize -q "$image" 2M
		qemu-img compare -q -F raw "$image" "$dir/expected"
		assertEquals "raw $raw" 0 $?
		qemu-img check -q "$image"
		assertEquals "raw $raw: sound" 0 $?
	done
}

# Without its name; with an entry that leads elsewhere; compressed.
test_corrupt() {
	create vm-img data_file_raw=off 1M
	qemu-io -c 'write 0 1M' "$image" >"$dir/out"
	cp "$image" "$dir/good"
	poke "$image" 112 "$(be32 1)"
	refused "'data-file' is required for this image" vm-img check "$image"
	cp "$dir/good" "$image"
	l2=$(peek_entry "$image" "$(peek64 "$image" 40)")
	poke "$image" $((l2 + 8)) "$(be64 $((1 << 63 | 5 << 16)))"
	vm-img check "$image" >"$dir/out" 2>&1
	assertEquals 'entry' 2 $?
	assertContains "$(cat "$dir/out")" 'does not match guest offset 10000'
	"$B/tests/tools/image-do" "$image" write 65536 512 2>"$dir/out"
	assertEquals 'written' 1 $?
	assertContains "$(cat "$dir/out")" 'does not match guest cluster'
	cp "$dir/good" "$image"
	poke "$image" $((l2 + 8)) "$(be64 $((1 << 62 | 5 << 16)))"
	vm-img check "$image" >"$dir/ours" 2>&1
	assertEquals 'compressed' 2 $?
	qemu-img check "$image" >"$dir/theirs" 2>&1
	diff "$dir/theirs" "$dir/ours"
	assertEquals 'compressed' 0 $?
}

. shunit2
