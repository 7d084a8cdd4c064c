#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img compact: the file is smaller, the content and the snapshots are the
# same, and a kill on the way does no harm.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	# It flushes a lot, and a disk would only be slow.
	[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
	img_dir
}

tearDown() {
	img_cleanup
}

# Data everywhere; then most of it is discarded, some overwritten by zeroes.
make_image() { # OPTIONS
	random chunk 1M
	rm -f a.qcow2
	qemu-img create -q -f qcow2 -o "$1" a.qcow2 64M
	for i in 0 3 7 11 19 23 31 47 60; do
		qemu-io -f qcow2 -c "write -s chunk ${i}M 1M" a.qcow2 >.io
	done
	qemu-io -f qcow2 -c 'discard 0 12M' -c 'write -P 0 19M 1M' \
		-c 'write -P 7 13M 100k' a.qcow2 >.io
	qemu-img convert -O raw a.qcow2 raw
}

sound() { # WHAT
	assertTrue "check $1" 'qemu-img check -q a.qcow2'
	assertTrue "compare $1" 'qemu-img compare -q -f raw -F qcow2 raw a.qcow2'
}

bytes() {
	stat -c %s a.qcow2
}

test_geometries() {
	for options in cluster_size=64k cluster_size=512 cluster_size=1M \
		compat=0.10 refcount_bits=1 lazy_refcounts=on \
		extended_l2=on,cluster_size=64k preallocation=metadata; do
		make_image $options
		before=$(bytes)
		silent compact -q a.qcow2
		sound $options
		assertTrue "$options: $before, now $(bytes)" \
			"[ $(bytes) -lt $((before * 3 / 4)) ]"
		after=$(bytes)
		silent compact -q a.qcow2
		sound "$options again"
		assertTrue 'no more' "[ $(bytes) -le $after ]"
	done
}

test_snapshots_and_compressed_clusters() {
	make_image cluster_size=64k
	qemu-img snapshot -c one a.qcow2
	qemu-io -f qcow2 -c 'write -P 8 30M 3M' -c 'discard 40M 10M' a.qcow2 >.io
	mv raw one
	qemu-img convert -O raw a.qcow2 raw
	silent compact -q a.qcow2
	sound 'with a snapshot'
	qemu-img snapshot -a one a.qcow2
	mv one raw
	sound 'the snapshot'
	qemu-img convert -c -O qcow2 raw a.qcow2
	silent compact -q a.qcow2
	sound compressed
}

test_leaks() {
	make_image cluster_size=64k
	silent compact -q a.qcow2
	before=$(bytes)
	qemu-io -f qcow2 -c 'write -P 9 50M 2M' -c 'sigraise 9' a.qcow2 >.io 2>&1
	qemu-img convert -O raw a.qcow2 raw
	vm-img compact a.qcow2 >out
	assertTrue "$(cat out)" 'grep -q "^Image compacted: from .* to .*\.$" out'
	sound leaks
	assertTrue "$before, now $(bytes)" "[ $(bytes) -le $((before + 2200000)) ]"
}

test_over_a_backing_file() {
	make_image cluster_size=64k
	mv a.qcow2 base.qcow2
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2
	qemu-io -f qcow2 -c 'write -P 0 23M 1M' -c 'write -P 4 50M 1M' \
		-c 'write -z 31M 200k' a.qcow2 >.io
	qemu-img convert -O raw a.qcow2 raw
	silent compact -q a.qcow2
	sound 'over a backing file'
	assertTrue 'small' "[ $(bytes) -lt 1600000 ]"
}

usage() { # FILE
	du -k "$1" | cut -f 1
}

# From OFFSET on, the count of N clusters of 64k: HIGH and LOW byte.
set_refcounts() { # IMAGE FIRST N LOW
	i=0
	while [ $i -lt "$3" ]; do
		printf %b "\\000\\00$4"
		i=$((i + 1))
	done | dd of="$1" bs=1 seek=$((131072 + 2 * $2)) conv=notrunc \
		status=none
}

# 80 clusters that nothing uses, with blocks all the same, before those of the
# disk and of the snapshot one.
make_gap() {
	random chunk 5M
	rm -f a.qcow2
	qemu-img create -q -f qcow2 -o cluster_size=64k b.qcow2 64M
	qemu-io -f qcow2 -c 'write -s chunk 0 5M' -c 'write -s chunk 10M 5M' \
		-c 'discard 0 5M' b.qcow2 >.io
	qemu-img snapshot -c one b.qcow2
	qemu-io -f qcow2 -c 'write -P 8 11M 100k' b.qcow2 >.io
	cp --sparse=never b.qcow2 a.qcow2
	qemu-img convert -O raw a.qcow2 raw
	qemu-img convert -l one -O raw a.qcow2 one
}

gap_sound() { # WHAT
	sound "$1"
	qemu-img convert -l one -O raw a.qcow2 one.now
	assertTrue "the snapshot $1" 'cmp one one.now'
}

test_free_clusters_before_a_snapshot() {
	make_gap
	before=$(usage a.qcow2)
	length=$(bytes)
	vm-img compact a.qcow2 >out
	assertTrue "$before KiB, now $(usage a.qcow2)" \
		"[ $(usage a.qcow2) -le $((before - 4700)) ]"
	assertEquals 'cannot be shorter' "$length" "$(bytes)"
	assertTrue "$(cat out)" 'grep -qE "^Image compacted: from (.*) to \1, on disk from .* MiB to .* MiB\.$" out'
	gap_sound 'with a gap'
	vm-img compact a.qcow2 >out
	assertTrue "$(cat out)" 'grep -qE "^Image compacted: from (.*) to \1\.$" out'
}

# Half of them are leaked. A guest can fill the holes again.
test_free_clusters_among_leaks() {
	make_gap
	set_refcounts a.qcow2 30 40 1
	before=$(usage a.qcow2)
	silent compact -q a.qcow2
	assertTrue "$before KiB, now $(usage a.qcow2)" \
		"[ $(usage a.qcow2) -le $((before - 4700)) ]"
	gap_sound 'with leaks'
	qemu-io -f qcow2 -c 'write -s chunk 30M 5M' a.qcow2 >.io
	qemu-io -f raw -c 'write -s chunk 30M 5M' raw >.io
	gap_sound 'filled again'
}

# What is in use and counts as free, if only a snapshot has it.
test_uncounted_clusters_of_a_snapshot() {
	make_gap
	# 10M to 15M of both; the disk has other clusters at 11M.
	set_refcounts a.qcow2 101 2 0
	cp a.qcow2 copy
	refused 'a.qcow2: The image has errors: it must be checked and repaired first' \
		compact a.qcow2
	assertTrue 'left as it is' 'cmp a.qcow2 copy'
}

# Holes are made in it too, but not in one that others read as it is.
test_data_file() {
	random chunk 5M
	for options in data_file_raw=off data_file_raw=off,extended_l2=on \
		data_file_raw=on; do
		rm -f a.qcow2 data
		qemu-img create -q -f qcow2 -o "data_file=data,$options" \
			a.qcow2 40000k
		qemu-io -f qcow2 -c 'write -s chunk 0 5M' \
			-c 'write -s chunk 20M 5M' -c 'discard 0 5M' \
			-c 'write -P 3 64k 4k' -c 'write -z 21M 1M' a.qcow2 >.io
		cp --sparse=never data full
		mv full data
		cp data before
		qemu-img convert -O raw a.qcow2 raw
		silent compact -q a.qcow2
		sound "$options"
		if [ $options = data_file_raw=on ]; then
			assertTrue 'raw' 'cmp data before'
			assertEquals "$(usage before)" "$(usage data)"
			continue
		fi
		assertTrue "$options: $(usage data) KiB" \
			"[ $(usage data) -le 5300 ]"
	done
}

# The image is sound and the same, whenever it is.
test_kill() {
	for round in 1 2 3 4 5 6 7 8; do
		make_image cluster_size=4k
		vm-img compact -q a.qcow2 &
		pid=$!
		timeout 5 tail --pid=$pid -f /dev/null 2>/dev/null &
		# Some milliseconds, more each round.
		i=0
		while [ $i -lt $((round * 300)) ]; do
			i=$((i + 1))
		done
		kill -9 $pid 2>/dev/null
		wait
		qemu-img check -q a.qcow2
		status=$?
		assertTrue "round $round: status $status" \
			"[ $status = 0 ] || [ $status = 3 ]"
		assertTrue "round $round" \
			'qemu-img compare -q -f raw -F qcow2 raw a.qcow2'
	done 2>/dev/null
}

test_refused() {
	truncate -s 1M r.raw
	refused "r.raw: Format driver 'raw' cannot be compacted" \
		compact -f raw r.raw
	make_image cluster_size=64k
	# A cluster in use that counts as free.
	printf '\000\000' | dd of=a.qcow2 bs=1 seek=131082 conv=notrunc \
		status=none
	cp a.qcow2 b.qcow2
	refused 'a.qcow2: The image has errors: it must be checked and repaired first' \
		compact a.qcow2
}

# shellcheck disable=SC1091 # not part of the tree
. shunit2
