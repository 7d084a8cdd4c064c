#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img convert: the content arrives, holes stay holes, options are
# qemu-img's.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

device=

setUp() {
	img_dir
}

tearDown() {
	[ -z "$device" ] || losetup --detach "$device"
	device=
	img_cleanup
}

# 64 MiB with data here and there: aligned, unaligned, one byte alone, the
# last sector; and zeroes that are written.
make_source() {
	truncate -s 64M src.raw
	random chunk 1M
	# The first block is data: qemu-img allocates that in any case.
	printf x | dd of=src.raw bs=1 seek=100 conv=notrunc status=none
	dd if=chunk of=src.raw bs=64k seek=3 conv=notrunc status=none
	dd if=chunk of=src.raw bs=1 seek=5000001 count=70001 conv=notrunc \
		status=none
	dd if=/dev/zero of=src.raw bs=1M seek=10 count=3 conv=notrunc \
		status=none
	printf x | dd of=src.raw bs=1 seek=30000000 conv=notrunc status=none
	dd if=chunk of=src.raw bs=512 seek=131071 count=1 conv=notrunc \
		status=none
}

# Disk space of a file.
kib() {
	du -k "$1" | cut -f 1
}

equal() {
	assertTrue "$1 holds what src.raw holds" \
		"qemu-img compare -q -f raw -F $2 src.raw $1"
}

test_raw_to_raw() {
	make_source
	silent convert -f raw src.raw a.raw
	assertTrue 'cmp src.raw a.raw'
	qemu-img convert -f raw src.raw b.raw
	assertEquals 'the same holes' "$(qemu-img map --output=json b.raw)" \
		"$(qemu-img map --output=json a.raw)"
}

test_raw_to_qcow2_and_back() {
	make_source
	silent convert -f raw -O qcow2 src.raw a.qcow2
	equal a.qcow2 qcow2
	assertTrue 'qemu-img check -q a.qcow2'
	qemu-img convert -f raw -O qcow2 src.raw b.qcow2
	assertEquals 'as many clusters' "$(qemu-img check b.qcow2)" \
		"$(qemu-img check a.qcow2)"
	assertTrue 'cmp a.qcow2 b.qcow2'
	for image in a.qcow2 b.qcow2; do
		silent convert -f qcow2 -O raw $image c.raw
		assertTrue $image 'cmp src.raw c.raw'
		assertTrue 'sparse' "[ $(kib c.raw) -lt 4000 ]"
	done
}

test_qcow2_geometries() {
	make_source
	for options in cluster_size=512 cluster_size=2M compat=0.10 \
		refcount_bits=1 refcount_bits=64 lazy_refcounts=on \
		cluster_size=4k,preallocation=metadata \
		compression_type=zstd; do
		silent convert -f raw -O qcow2 -o $options src.raw a.qcow2
		equal a.qcow2 qcow2
		assertTrue "check $options" 'qemu-img check -q a.qcow2'
		silent convert -f qcow2 -O qcow2 a.qcow2 b.qcow2
		equal b.qcow2 qcow2
		rm a.qcow2 b.qcow2
	done
}

test_compressed_source() {
	make_source
	for type in zlib zstd; do
		qemu-img convert -c -O qcow2 -o compression_type=$type \
			src.raw a.qcow2
		silent convert -O raw a.qcow2 b.raw
		assertTrue $type 'cmp src.raw b.raw'
	done
}

test_chain_is_made_flat() {
	make_source
	qemu-img convert -O qcow2 src.raw base.qcow2
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2 80M
	qemu-io -c 'write -P 5 1M 100k' -c 'write -z 20M 1M' \
		-c 'write -P 6 70M 1M' over.qcow2 >/dev/null
	silent convert -O raw over.qcow2 a.raw
	qemu-img convert -O raw over.qcow2 b.raw
	assertTrue 'cmp a.raw b.raw'
	silent convert -O qcow2 over.qcow2 a.qcow2
	assertTrue 'qemu-img compare -q over.qcow2 a.qcow2'
	assertTrue 'qemu-img check -q a.qcow2'
}

test_snapshots() {
	make_source
	qemu-img convert -O qcow2 src.raw a.qcow2
	qemu-img snapshot -c 2 a.qcow2
	qemu-io -c 'write -P 5 1M 100k' a.qcow2 >/dev/null
	qemu-img snapshot -c two a.qcow2
	qemu-io -c 'write -P 6 0 1M' a.qcow2 >/dev/null
	for snapshot in 1 2 two snapshot.id=2 snapshot.name=2 \
		snapshot.id=1,snapshot.name=2; do
		silent convert -l $snapshot -O raw a.qcow2 b.raw
		qemu-img convert -l $snapshot -O raw a.qcow2 c.raw
		assertTrue "$snapshot" 'cmp b.raw c.raw'
		same measure -l $snapshot -O qcow2 a.qcow2
	done
	silent convert -l 1 -O raw a.qcow2 b.raw
	assertTrue 'the first' 'cmp b.raw src.raw'
	# Not as large as the disk is now, as qemu-img has it.
	qemu-img resize -q a.qcow2 80M
	silent convert -l 1 -O raw a.qcow2 b.raw
	assertTrue 'its own size' 'cmp b.raw src.raw'
	same convert -l nope a.qcow2 b.raw
	same convert -l snapshot.id=2,snapshot.name=2 a.qcow2 b.raw
	same convert -l 1 a.qcow2 a.qcow2 b.raw
	qemu-img check -q a.qcow2
	assertEquals 'not touched' 0 $?
}

test_over_a_backing_file() {
	make_source
	qemu-img convert -O qcow2 src.raw base.qcow2
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2
	qemu-io -c 'write -P 5 1M 100k' -c 'write -z 4928k 1M' over.qcow2 \
		>/dev/null
	silent convert -O qcow2 -B base.qcow2 -F qcow2 over.qcow2 a.qcow2
	assertTrue 'qemu-img compare -q over.qcow2 a.qcow2'
	assertTrue 'small' "[ $(kib a.qcow2) -lt 1000 ]"
	assertEquals base.qcow2 "$(img info a.qcow2 |
		sed -n 's/backing file: //p')"
	same convert -O qcow2 -B base.qcow2 over.qcow2 a.qcow2
	same convert -O raw -B base.qcow2 -F qcow2 over.qcow2 a.raw
}

test_sparse_size() {
	make_source
	for size in 0 512 64k 1M; do
		silent convert -f raw -S $size src.raw a.raw
		assertTrue "-S $size" 'cmp src.raw a.raw'
		qemu-img convert -f raw -S $size src.raw b.raw
		ours=$(kib a.raw)
		theirs=$(kib b.raw)
		assertTrue "-S $size: $ours, $theirs KiB" \
			"[ $ours -le $((theirs + 128)) ]"
	done
	# Zeroes that are data, between a hole and data.
	for at in 4k 64k; do
		for size in 8k 16k 256k 1M 2M; do
			rm src.raw
			truncate -s 4M src.raw
			dd if=/dev/zero of=src.raw bs=$at seek=1 count=1 \
				conv=notrunc status=none
			dd if=chunk of=src.raw bs=$at seek=2 conv=notrunc \
				status=none
			for format in raw qcow2 vmdk; do
				silent convert -f raw -O $format -S $size \
					src.raw a
				equal a $format
			done
		done
	done
	make_source
	silent convert -f raw -S 0 src.raw a.raw
	assertTrue 'full' "[ $(kib a.raw) -ge 65536 ]"
	silent convert -f raw -O qcow2 -S 0 src.raw a.qcow2
	equal a.qcow2 qcow2
	assertTrue 'full' "[ $(kib a.qcow2) -ge 65536 ]"
}

# A cluster may be many times as large as what it holds.
test_large_clusters_have_holes() {
	truncate -s 40M src.raw
	random chunk 100k
	for at in 1 17 39; do
		dd if=chunk of=src.raw bs=1M seek=$at conv=notrunc status=none
	done
	for how in vpc vdi vhdx 'parallels -o cluster_size=4M'; do
		# shellcheck disable=SC2086 # a format and an option
		silent convert -f raw -O $how src.raw a
		equal a "${how%% *}"
		assertTrue "$how: $(kib a)" "[ $(kib a) -le 1024 ]"
	done
}

test_several_sources() {
	make_source
	random b 100k
	random c 1000
	silent convert -f raw -O raw src.raw b c a.raw
	qemu-img convert -f raw -O raw src.raw b c ref.raw
	assertTrue 'cmp a.raw ref.raw'
	silent convert -f raw -O qcow2 b src.raw c a.qcow2
	qemu-img convert -f raw -O raw b src.raw c ref.raw
	assertTrue 'qemu-img compare -q -F raw a.qcow2 ref.raw'
}

test_into_an_image_that_is_there() {
	make_source
	qemu-img create -q -f qcow2 a.qcow2 65M
	qemu-io -c 'write -P 9 0 65M' a.qcow2 >/dev/null
	silent convert -n -f raw -O qcow2 src.raw a.qcow2
	truncate -s 65M src.raw
	dd if=/dev/zero bs=1M count=1 2>/dev/null | tr '\0' '\11' |
		dd of=src.raw bs=1M seek=64 conv=notrunc status=none
	equal a.qcow2 qcow2
	assertTrue 'qemu-img check -q a.qcow2'
	qemu-img create -q -f qcow2 a.qcow2 65M
	silent convert -n --target-is-zero -f raw -O qcow2 src.raw a.qcow2
	equal a.qcow2 qcow2
	qemu-img create -q -f qcow2 a.qcow2 1M
	same convert -n -f raw -O qcow2 src.raw a.qcow2
	same convert -n -f raw -O qcow2 src.raw none
	same convert -n -o compat=0.10 -f raw -O qcow2 src.raw a.qcow2
	assertTrue 'what was there is kept' '[ -e a.qcow2 ]'
}

# What was on a device before does not show.
test_onto_a_device() {
	make_source
	tr '\0' '\377' </dev/zero | head -c 64M >disk
	device=$(losetup --find --show disk)
	assertEquals 'losetup' 0 $?
	silent convert -f raw -O raw src.raw "$device"
	assertTrue 'raw' "cmp src.raw $device"
	tr '\0' '\377' </dev/zero | head -c 64M >"$device"
	silent convert -n -t none -f raw -O raw src.raw "$device"
	assertTrue 'raw, as it is there' "cmp src.raw $device"
	tr '\0' '\377' </dev/zero | head -c 64M >"$device"
	silent convert -f raw -O qcow2 src.raw "$device"
	equal "$device" qcow2
	assertTrue 'qcow2' "qemu-img check -q $device"
	same info "$device"
	truncate -s 65M src.raw
	refused "$device: error while converting raw: Cannot grow device files" \
		convert -f raw -O raw src.raw "$device"
	assertTrue 'a device is not removed' "[ -b $device ]"
	same resize -f raw "$device" 65M
	same resize -f raw --shrink "$device" 1M
	same resize -f raw "$device" 64M
	same create -f raw "$device" 65M
}

test_modes() {
	make_source
	for options in '-m 1' '-m 16' '-W -m 16' '-t none -T none' \
		'-t writethrough' '-t writeback' '-t directsync' '-C' '-U'; do
		for format in raw qcow2; do
			# shellcheck disable=SC2086
			silent convert $options -f raw -O $format src.raw a
			equal a $format
		done
		assertTrue "$options" 'qemu-img check -q a'
	done
}

test_progress() {
	random src.raw 4M
	img convert -p -f raw src.raw a.raw >out 2>err
	assertEquals 0 $?
	assertFalse '[ -s err ]'
	tr '\r' '\n' <out >lines
	assertEquals '    (0.00/100%)' "$(head -n 1 lines)"
	assertEquals '    (100.00/100%)' "$(grep . lines | tail -n 1)"
	assertFalse "grep -vE '^( {4}\\([0-9]+\\.[0-9]{2}/100%\\))?\$' lines"
	silent convert -p -q -f raw src.raw a.raw
	# Of what there is to do, and not of the disk.
	random chunk 1M
	rm src.raw
	truncate -s 128M src.raw
	for at in 0 2 4 32; do
		dd if=chunk of=src.raw bs=1M seek=$at conv=notrunc status=none
	done
	random chunk 5M
	dd if=chunk of=src.raw bs=1M seek=64 conv=notrunc status=none
	qemu-img convert -f raw -O qcow2 src.raw src.qcow2
	for how in '-O raw' '-O qcow2' '-O vdi -S 64k' '-c -O qcow2'; do
		# shellcheck disable=SC2086 # options
		same convert -p -f raw $how src.raw a
		# shellcheck disable=SC2086
		same convert -p -f qcow2 $how src.qcow2 a
	done
	truncate -s 8M zero.raw
	same convert -p -f raw -O qcow2 zero.raw a
}

# As small as theirs, within a twentieth, and sound.
test_compressed() {
	make_source
	yes 'all work and no play' | head -c 5000000 |
		dd of=src.raw bs=1M seek=40 conv=notrunc status=none
	random odd.raw 100k
	truncate -s 1000000 odd.raw
	for options in cluster_size=64k compression_type=zstd cluster_size=4k \
		cluster_size=2M compat=0.10; do
		silent convert -c -f raw -O qcow2 -o $options src.raw a.qcow2
		equal a.qcow2 qcow2
		assertTrue "$options" 'qemu-img check -q a.qcow2'
		qemu-img convert -c -f raw -O qcow2 -o $options src.raw b.qcow2
		ours=$(kib a.qcow2)
		theirs=$(kib b.qcow2)
		assertTrue "$options: $ours, $theirs" \
			"[ $ours -le $((theirs * 21 / 20)) ]"
		silent convert -O raw a.qcow2 c.raw
		assertTrue "$options" 'cmp src.raw c.raw'
	done
	silent convert -c -m 1 -O qcow2 odd.raw src.raw odd.raw a.qcow2
	qemu-img convert -O raw odd.raw src.raw odd.raw b.raw
	assertTrue 'several' 'qemu-img compare -q -F raw a.qcow2 b.raw'
	assertTrue 'several' 'qemu-img check -q a.qcow2'
	qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 over.qcow2
	qemu-io -c 'write -P 5 1M 100k' over.qcow2 >/dev/null
	silent convert -c -O qcow2 -B a.qcow2 -F qcow2 over.qcow2 c.qcow2
	assertTrue 'over' 'qemu-img compare -q over.qcow2 c.qcow2'
	assertTrue 'over' "[ $(kib c.qcow2) -lt 600 ]"
	same convert -c -O qcow2 -o preallocation=metadata src.raw d
	same convert -c -O qcow2 -B a.qcow2 -F qcow2 src.raw src.raw d
	# Here qemu-img says so, and exits with 0.
	refused 'Cannot use --target-is-zero when the destination image has a backing file' \
		convert -n --target-is-zero -O qcow2 -B a.qcow2 -F qcow2 src.raw d
}

# Each format that can, each kind of its images.
test_compressed_other_formats() {
	random src.raw 100k
	yes 'all work and no play' | head -c 900000 >>src.raw
	truncate -s 1200k src.raw
	for format in qcow 'vmdk -o subformat=streamOptimized' vmdk \
		'vmdk -o subformat=twoGbMaxExtentSparse'; do
		# shellcheck disable=SC2086 # words
		silent convert -c -f raw -O $format src.raw a
		equal a "${format%% *}"
		# shellcheck disable=SC2086
		qemu-img convert -c -f raw -O $format src.raw b
		for file in *-s001; do
			[ ! -e "$file" ] || cat "$file" >>"${file%-s001}"
		done
		assertTrue "$format: $(kib a), $(kib b)" \
			"[ $(kib a) -le $(($(kib b) * 21 / 20)) ]"
		rm -f ./*-s001
	done
	# What does not fill a cluster of a larger disk.
	for format in qcow2 qcow vmdk; do
		qemu-img create -q -f $format a 2000k
		silent convert -n -c -f raw -O $format src.raw a
		assertEquals $format 0 "$(qemu-img compare -q -f raw src.raw a
			echo $?)"
	done
	# This one can, and does not; several threads, in order all the same.
	for size in 3000k 2M 5M; do
		random src.raw 100k
		truncate -s $size src.raw
		printf x | dd of=src.raw bs=1k seek=1999 conv=notrunc \
			status=none
		silent convert -c -f raw -O vmdk src.raw a
		equal a vmdk
	done
	for format in qed vdi vpc vhdx parallels; do
		same convert -c -O $format src.raw a
	done
}

test_rate_limit() {
	random src.raw 3M
	start=$(date +%s%N)
	silent convert -r 2M -f raw src.raw a.raw
	assertTrue "[ $(($(date +%s%N) - start)) -gt 400000000 ]"
	assertTrue 'cmp src.raw a.raw'
	same convert -r foo src.raw a
}

# One cluster of the source cannot be read.
test_salvage() {
	random src.raw 3M
	qemu-img convert -f raw -O qcow2 src.raw a.qcow2
	entry=$((262144 + 8 * 10)) # the L2 table is the fifth cluster
	printf '\200\0\0\0\7\0\2\0' |
		dd of=a.qcow2 bs=1 seek=$entry conv=notrunc status=none
	img convert -O raw a.qcow2 b.raw >out 2>err
	assertEquals 1 $?
	assertFalse '[ -e b.raw ]'
	img convert --salvage -O raw a.qcow2 b.raw >out 2>err
	assertEquals "$(cat err)" 0 $?
	assertTrue 'warned' "grep -q '^qemu-img: warning: error while reading' err"
	dd if=/dev/zero of=src.raw bs=64k seek=10 count=1 conv=notrunc \
		status=none
	assertTrue 'cmp src.raw b.raw'
	same convert -q --salvage -O raw a.qcow2 b.raw
	same convert --salvage -C a.qcow2 b.raw
}

test_wrong_usage() {
	random src.raw 1M
	same convert -O qcow2 none a
	same convert -O foo src.raw a
	same convert -f foo src.raw a
	same convert -O qcow2 src.raw none/a
	same convert -S 3 src.raw a
	same convert -S foo src.raw a
	same convert -S 32M src.raw a
	same convert -m 0 src.raw a
	same convert -m 17 src.raw a
	same convert -m x src.raw a
	same convert -t foo src.raw a
	same convert -T foo src.raw a
	same convert -c -O raw src.raw a
	same convert -C -S 4k src.raw a
	same convert -C -S 4k -c src.raw a
	same convert -o foo=1 -O qcow2 src.raw a
	same convert -o cluster_size=x -O qcow2 src.raw a
	same convert --target-is-zero -O qcow2 src.raw a
	same convert -F raw -O qcow2 src.raw a
	assertFalse 'nothing is made' '[ -e a ]'
	same convert src.raw src.raw
	assertEquals 'nor emptied' 1048576 "$(stat -c %s src.raw)"
	silent convert src.raw a -O qcow2
	same info a
}

# Whoever compresses first does not store first.
test_compressed_in_order() {
	make_source
	random chunk 8M
	dd if=chunk of=src.raw bs=1M seek=20 conv=notrunc status=none
	for options in '-c -O qcow2' '-c -O qcow2 -o compression_type=zstd' \
		'-O vmdk -o subformat=streamOptimized'; do
		rm -f a b
		# shellcheck disable=SC2086 # words
		silent convert -f raw $options src.raw a
		# shellcheck disable=SC2086 # words
		silent convert -f raw $options -m 1 src.raw b
		# A VMDK has a random number in its descriptor.
		assertTrue "$options" 'cmp -i 10752 a b'
	done
}

# What stands around a change of a table is in memory: with O_DIRECT it is not
# read from the file for every piece that is written.
test_direct_tables_are_written_alone() {
	random src.raw 64M
	strace -f -o trace -e trace=preadv,preadv2 \
		vm-img convert -f raw -O qcow2 -t none src.raw a.qcow2
	equal a.qcow2 qcow2
	n=$(grep -c 'iov_len=512\>\|iov_len=4096\>' trace)
	assertTrue "$n small reads for 32 pieces" "[ $n -lt 24 ]"
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
