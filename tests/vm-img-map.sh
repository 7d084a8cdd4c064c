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

# Holes in clusters are looked for where there are many: clusters that were
# given back are none of them.
test_holes() {
	qemu-img create -q -f qcow2 a.qcow2 8M
	qemu-io -d unmap -c 'write 0 4M' -c 'discard 1M 2M' -c 'write 6M 4k' \
		a.qcow2 >/dev/null
	same map --output=json a.qcow2
	qemu-img create -q -f qcow2 -o preallocation=metadata b.qcow2 8M
	qemu-io -c 'write 1M 1M' b.qcow2 >/dev/null
	same map --output=json b.qcow2
	# A few bytes of each cluster are written.
	qemu-img create -q -f qcow2 -o data_file=c.data c.qcow2 8M
	qemu-io -c 'write 1M 4k' c.qcow2 >/dev/null
	same map --output=json c.qcow2
	for bitmap in 1 2 3 4; do
		qemu-img bitmap --add c.qcow2 $bitmap
	done
	same map --output=json c.qcow2
}

# Whether looking for holes pays is not counted through all of a long file.
test_file_that_is_long() {
	qemu-img create -q -f qcow2 -o cluster_size=512 a.qcow2 1M
	qemu-io -c 'write 64k 512' a.qcow2 >/dev/null
	truncate -s 15T a.qcow2
	assertEquals 1 "$(prlimit --cpu=2 vm-img map --output=json a.qcow2 |
		grep -c '"data": true, "offset"')"
}

# Less than a block cannot be read with O_DIRECT: the last one is data.
test_direct() {
	made=$(mktemp -d "$B/map.XXXXXX")
	options=driver=raw,file.filename=$made/d.raw,cache.direct=on
	truncate -s 1048575 "$made/d.raw"
	both --image-opts "$options"
	printf x | dd of="$made/d.raw" bs=1 seek=1048000 conv=notrunc status=none
	both --image-opts "$options"
	both -f raw "$made/d.raw"
	rm -r "$made"
}

# resized BASE FROM TO PREALLOCATION OFFSET: by both programs, and what they say
# of it then; the base has data at the offset.
resized() {
	make_chain() {
		qemu-img create -q -f qcow2 r.base "$1" &&
			qemu-io -c "write -P 1 $5 64k" r.base >/dev/null
		qemu-img create -q -f qcow2 -b r.base -F qcow2 r.qcow2 "$2"
	}
	resize_and_tell() { # PROGRAM
		make_chain "$base" "$from" "$to" "$mode" "$at"
		"$1" resize -q --preallocation="$mode" r.qcow2 "$to" 2>&1
		# shellcheck disable=SC2086 # two words
		"$1" $how r.qcow2 2>&1
	}
	for how in "map --output=json" check; do
		base=$1 from=$2 to=$3 mode=$4 at=$5
		assertEquals "$* $how" "$(resize_and_tell qemu-img)" \
			"$(resize_and_tell "$dir/link/qemu-img")"
	done
}

# What shows from below where the old end is stays there.
test_resized_within_a_cluster() {
	for from in 31k 33k 65k; do
		for mode in metadata falloc full; do
			for base in 128k 20k; do
				qemu-img create -q -f raw r.base $base
				qemu-io -f raw -c "write -P 1 0 $base" r.base \
					>/dev/null
				qemu-img create -q -f qcow2 -b r.base -F raw \
					r.qcow2 $from
				cp r.qcow2 theirs.qcow2
				img resize -q --preallocation=$mode r.qcow2 96k
				qemu-img resize -q --preallocation=$mode \
					theirs.qcow2 96k
				qemu-img compare -q r.qcow2 theirs.qcow2
				assertEquals "$from $mode $base" 0 $?
			done
		done
	done
}

# Where new clusters lie, and what hides a longer backing image.
test_resized() {
	resized 6G 1G 8G off 5G
	resized 32G 30G 33G metadata 31G
	resized 10M 5M 15M falloc 9M
	resized 16M 8M 12M full 11M
	resized 384k 253k 512k off 253k
	resized 512k 256k 500k off 436k
}

# Behind the disk's end blocks are written, not only allocated: when all of the
# disk is written no more extents are left than there were.
test_preallocated_tail() {
	img create -q -f qcow2 -o preallocation=falloc r.qcow2 100k
	for size in 100k 200k; do
		[ $size = 100k ] ||
			img resize -q --preallocation=falloc r.qcow2 $size
		qemu-img map --output=json -f raw r.qcow2 >extents
		assertContains "$size" "$(tail -n 1 extents)" '"data": true'
		len=$(sed -n '$s/.*"length": \([0-9]*\).*/\1/p' extents)
		assertEquals "$size" $((65536 - ${size%k} * 1024 % 65536)) \
			"$len"
	done
}

# What is cut off gives its place back, and the file's end.
test_shrunk() {
	for image in ours theirs; do
		qemu-img create -q -f qcow2 $image 4M
		qemu-io -c 'write 0 4M' $image >/dev/null
	done
	img resize -q --shrink ours 1000k
	qemu-img resize -q --shrink theirs 1000k
	assertEquals "$(stat -c %s theirs)" "$(stat -c %s ours)"
}

# A disk that grows to the middle of a subcluster: no data of zeroes there.
test_grown_subclusters() {
	qemu-img create -q -f qcow2 base 1M
	for image in ours theirs; do
		qemu-img create -q -f qcow2 -o extended_l2=on -b base -F qcow2 \
			$image
		qemu-io -c 'write -P 7 0 1M' $image >/dev/null
	done
	img resize -q --shrink ours 520k
	img resize -q ours 567k
	qemu-img resize -q --shrink theirs 520k
	qemu-img resize -q theirs 567k
	assertEquals "$(qemu-img map theirs | sed s/theirs/ours/)" \
		"$(img map ours)"
	assertTrue 'zeroes' "qemu-io -r -c 'read -P 0 520k 47k' ours"
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
