#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img compare: the same verdicts, texts and exit statuses as qemu-img's.
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

# The same disk in many forms.
make_images() {
	truncate -s 8M a.raw
	random chunk 1M
	dd if=chunk of=a.raw bs=1 seek=1000001 conv=notrunc status=none
	dd if=chunk of=a.raw bs=512 seek=16383 count=1 conv=notrunc status=none
	cp a.raw full.raw
	fallocate --dig-holes a.raw
	qemu-img convert -f raw -O qcow2 a.raw a.qcow2
	qemu-img convert -f raw -O qcow2 -o cluster_size=4k,compat=0.10 a.raw \
		small.qcow2
	qemu-img convert -c -f raw -O qcow2 a.raw compressed.qcow2
	qemu-img convert -S 0 -f raw -O qcow2 a.raw full.qcow2
	qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 over.qcow2
	qemu-io -c 'write -z 3M 1M' over.qcow2 >/dev/null
	qemu-img create -q -f qcow2 -o preallocation=metadata pre.qcow2 8M
	qemu-img convert -n -f raw -O qcow2 a.raw pre.qcow2
}

test_equal() {
	make_images
	for a in *.raw *.qcow2; do
		same compare "$a" over.qcow2
		same compare compressed.qcow2 "$a"
		same compare -s "$a" a.qcow2
		same compare -s "$a" full.qcow2
		same compare -s "$a" a.raw
	done
	same compare -f raw -F qcow2 a.raw a.qcow2
	same compare -q a.raw a.qcow2
	same compare -U -T none a.raw a.qcow2
	same compare a.raw a.qcow2 -s -q
}

# However many of their blocks lie side by side.
test_equal_in_other_formats() {
	head -c 700k /dev/urandom >a.raw
	qemu-img create -q -f qcow2 a.qcow2 700k
	for at in 600k 64k 0 128k 300k 500k; do
		qemu-io -f qcow2 -c "write $at 64k" a.qcow2 >.io
	done
	qemu-img convert -n -f raw -O qcow2 a.raw a.qcow2
	for format in vmdk vdi qcow; do
		qemu-img convert -f raw -O $format a.raw b.$format
		same compare -s a.qcow2 b.$format
		same compare -s b.$format a.qcow2
		same compare -s b.$format a.raw
		same compare -s b.$format b.$format
	done
	head -c 5M /dev/urandom >a.raw
	qemu-img convert -f raw -O vdi a.raw b.vdi
	same compare -s b.vdi a.raw
}

# The first difference is told, whoever finds it.
test_different() {
	make_images
	for at in 0 511 1000001 5000000 8388607; do
		for base in a.raw small.qcow2; do
			cp $base b
			qemu-io -f ${base##*.} -c "write -P 77 $at 1" \
				-c 'write -P 78 8388607 1' b >/dev/null
			same compare a.raw b
			same compare b full.qcow2
			same compare -s a.raw b
		done
	done
}

test_sizes_differ() {
	make_images
	cp a.qcow2 long.qcow2
	qemu-img resize -q long.qcow2 10000384
	cp a.raw odd.raw
	truncate -s 8388609 odd.raw
	cp long.qcow2 longer.qcow2
	qemu-io -c 'write -P 9 9000000 5' longer.qcow2 >/dev/null
	qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 over-long.qcow2 10M
	for b in long.qcow2 odd.raw longer.qcow2 over-long.qcow2; do
		for a in a.raw over.qcow2; do
			same compare $a $b
			same compare -q $b $a
		done
		same compare -s $b long.qcow2
		same compare $b longer.qcow2
	done
	truncate -s 0 none.raw
	same compare none.raw none.raw
	same compare none.raw a.raw
}

test_wrong_usage() {
	make_images
	same compare a.raw
	same compare a.raw a.raw a.raw
	same compare
	same compare a.raw none
	same compare none a.raw
	same compare -f foo a.raw a.raw
	same compare -F foo a.raw a.raw
	same compare -f qcow2 a.raw a.qcow2
	same compare -T foo a.raw a.raw
	same compare --foo a.raw a.raw
}

# A map that cannot be read, data that cannot: their own exit statuses.
test_damaged_images() {
	make_images
	# The L1 entry leads to where no table can be.
	cp a.qcow2 l1.qcow2
	l1=$((0x$(od -An -tx1 -j 40 -N 8 l1.qcow2 | tr -d ' \n')))
	printf '\2' | dd of=l1.qcow2 bs=1 seek=$((l1 + 6)) conv=notrunc \
		status=none
	timeout 60 vm-img compare a.raw l1.qcow2 >out 2>err
	assertEquals 3 $?
	assertEquals 'vm-img: Sector allocation test failed for l1.qcow2' \
		"$(tail -n 1 err)"
	cp compressed.qcow2 data.qcow2
	size=$(stat -c %s data.qcow2)
	# The compressed data is what comes last.
	head -c 4000 /dev/zero | tr '\0' '\377' |
		dd of=data.qcow2 bs=1 seek=$((size - 70000)) conv=notrunc \
			status=none
	timeout 60 vm-img compare a.raw data.qcow2 >out 2>err
	theirs=$(
		qemu-img compare a.raw data.qcow2 >/dev/null 2>&1
		echo $?
	)
	timeout 60 vm-img compare a.raw data.qcow2 >/dev/null 2>&1
	assertEquals "$theirs" $?
}

# Nobody may take a verdict that was not written for another verdict.
test_verdict_that_cannot_be_written() {
	truncate -s 1M a.raw b.raw
	random c.raw 1M
	for other in b.raw c.raw; do
		timeout 60 vm-img compare a.raw $other >/dev/full 2>err
		assertEquals 2 $?
		assertEquals 'vm-img: Could not write to standard output' \
			"$(cat err)"
	done
	img compare -q a.raw c.raw >/dev/full
	assertEquals 1 $?
}

test_progress() {
	make_images
	img compare -p a.raw a.qcow2 >out
	assertEquals 0 $?
	tr '\r' '\n' <out >lines
	assertEquals '    (0.00/100%)' "$(head -n 1 lines)"
	assertEquals 'Images are identical.' "$(grep I lines)"
	assertFalse "grep -vE '^( {4}\\([0-9]+\\.[0-9]{2}/100%\\)|Images.*)?\$' lines"
	same compare -p -q a.raw a.qcow2
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
