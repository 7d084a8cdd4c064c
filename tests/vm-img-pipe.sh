#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img convert from standard input and to standard output.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
}

tearDown() {
	img_cleanup
}

# SIZE: data at the beginning, in the middle and at the end, holes, zeroes
# that are written, and an end that is no border of anything.
make_source() {
	truncate -s "$1" src.raw
	random chunk 300k
	dd if=chunk of=src.raw bs=1000 seek=7 conv=notrunc status=none
	dd if=/dev/zero of=src.raw bs=64k seek=40 count=20 conv=notrunc \
		status=none
	dd if=chunk of=src.raw bs=1 seek=$(($1 - 512)) count=512 conv=notrunc \
		status=none
}

# FORMAT FILE: it is a sound image that holds what src.raw holds.
equal() {
	case $1 in
	qcow2) assertTrue "check $2" "qemu-img check -q -f qcow2 $2" ;;
	esac
	assertTrue "compare $2" "qemu-img compare -q -f raw -F $1 src.raw $2"
}

stream() {
	timeout 120 vm-img convert "$@" 2>err | cat >out
	assertEquals "$*" '' "$(cat err)"
}

sizes='3145728 5243392'

test_to_standard_output() {
	for size in $sizes; do
		rm -f src.raw
		make_source "$size"
		stream -f raw -O raw src.raw -
		assertTrue "raw $size" 'cmp src.raw out'
		stream -f raw -O qcow2 src.raw -
		equal qcow2 out
		stream -f raw -O vmdk -o subformat=streamOptimized src.raw -
		equal vmdk out
		assertTrue 'our own reader' \
			'vm-img compare -q -f raw -F vmdk src.raw out'
	done
}

test_holes_are_kept() {
	make_source 70000128
	vm-img convert -f raw -O qcow2 src.raw - | cat >a.qcow2
	vm-img convert -f raw -O vmdk -o subformat=streamOptimized src.raw - |
		cat >a.vmdk
	assertTrue 'small' "[ $(stat -c %s a.qcow2) -lt 4000000 ]"
	assertTrue 'smaller' "[ $(stat -c %s a.vmdk) -lt 1000000 ]"
}

test_nothing() {
	: >src.raw
	stream -f raw -O raw src.raw -
	assertEquals 0 "$(stat -c %s out)"
	stream -f raw -O qcow2 src.raw -
	equal qcow2 out
	stream -f raw -O qcow2 - - </dev/null
	equal qcow2 out
	: | silent convert -f raw -O qcow2 - a.qcow2
	equal qcow2 a.qcow2
	: | silent convert -f raw -O raw - a.raw
	equal raw a.raw
}

test_sources_with_metadata() {
	make_source 5243392
	qemu-img convert -f raw -O qcow2 -c src.raw base.qcow2
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2
	qemu-io -c 'write -P 5 1M 70k' -c 'write -z 200k 64k' over.qcow2 \
		>.io
	qemu-img convert -O raw over.qcow2 src.raw
	stream -O qcow2 over.qcow2 -
	equal qcow2 out
	stream over.qcow2 -
	equal raw out
	cat src.raw src.raw >both.raw
	stream -O qcow2 over.qcow2 over.qcow2 -
	mv both.raw src.raw
	equal qcow2 out
}

test_large_and_empty() {
	truncate -s 1T src.raw
	stream -f raw -O qcow2 src.raw -
	assertTrue 'check' 'qemu-img check -q -f qcow2 out'
	assertTrue 'small' "[ $(stat -c %s out) -lt 1000000 ]"
	stream -f raw -O vmdk -o subformat=streamOptimized src.raw -
	assertTrue 'small' "[ $(stat -c %s out) -lt 1000000 ]"
	assertEquals 1099511627776 "$(qemu-img info --output=json -f vmdk out |
		sed -n 's/^    "virtual-size": \(.*\),/\1/p')"
}

test_from_standard_input() {
	for size in $sizes; do
		rm -f src.raw
		make_source "$size"
		for format in raw qcow2 vhdx; do
			silent convert -f raw -O $format - "a.$format" <src.raw
			equal $format "a.$format"
			rm "a.$format"
			# shellcheck disable=SC2002 # a pipe, not a file
			cat src.raw |
				silent convert -f raw -O $format - "a.$format"
			equal $format "a.$format"
		done
	done
}

test_fed_images() {
	make_source 5243392
	for options in '-o cluster_size=512' '-c' '-c -W -m 3' '-S 0' '-W -m 4' \
		'-o cluster_size=2M -c' '-o preallocation=metadata'; do
		# shellcheck disable=SC2002,SC2086 # words
		cat src.raw |
			silent convert $options -f raw -O qcow2 - a.qcow2
		equal qcow2 a.qcow2
		assertEquals "$options" 5243392 "$(
			qemu-img info --output=json a.qcow2 |
				sed -n 's/^    "virtual-size": \(.*\),/\1/p'
		)"
	done
	# Larger than what is assumed first.
	truncate -s 1100M src.raw
	# shellcheck disable=SC2002
	cat src.raw | silent convert -f raw -O qcow2 - a.qcow2
	equal qcow2 a.qcow2
}

test_odd_sizes() {
	random src.raw 100001
	# shellcheck disable=SC2002
	cat src.raw | silent convert -f raw -O raw - a.raw
	equal raw a.raw
	# shellcheck disable=SC2002
	cat src.raw | silent convert -f raw -O qcow2 - a.qcow2
	equal qcow2 a.qcow2
	stream -f raw -O qcow2 src.raw -
	equal qcow2 out
}

test_both() {
	make_source 5243392
	for format in raw qcow2; do
		# shellcheck disable=SC2002
		cat src.raw | timeout 60 vm-img convert -f raw -O $format - - |
			cat >out
		equal $format out
	done
}

test_output_that_ends_early() {
	make_source 70000128
	for format in raw qcow2; do
		{
			timeout 60 vm-img convert -f raw -O $format src.raw - \
				2>err
			echo $? >status
		} | head -c 100000 >out
		# The reader may be gone before or while it writes.
		assertEquals "$format" "vm-img: Could not write to standard \
output: Broken pipe
1" "$(cat err status)"
	done
	timeout 60 vm-img convert -f raw -O qcow2 src.raw - >/dev/full 2>err
	assertEquals 1 $?
	assertEquals "vm-img: Could not write to standard output: No space \
left on device" "$(cat err)"
}

test_terminal() {
	make_source 3145728
	assertEquals 'vm-img: Standard output is a terminal, which is no place for an image' \
		"$(timeout 60 script -qec 'vm-img convert -f raw -O qcow2 src.raw -' \
			/dev/null </dev/null | tr -d '\r')"
}

test_rate_of_a_stream() {
	random in 3M
	for command in 'convert -O raw in -' 'convert -f raw -O qcow2 in -' \
		'convert -f raw -O raw - -'; do
		start=$(date +%s%N)
		# shellcheck disable=SC2002,SC2086 # a pipe is the point
		cat in | timeout 60 vm-img $command -r 2M >out
		assertEquals "$command" 0 $?
		assertTrue "$command" \
			"[ $(($(date +%s%N) - start)) -gt 400000000 ]"
	done
	assertTrue 'cmp in out'
}

# A cluster that cannot be decompressed, and a table that is nowhere.
test_salvage_to_a_stream() {
	random src.raw 3M
	qemu-img convert -f raw -O qcow2 src.raw a.qcow2
	entry=$((262144 + 8 * 10)) # the L2 table is the fifth cluster
	printf '\200\0\0\0\7\0\2\0' |
		dd of=a.qcow2 bs=1 seek=$entry conv=notrunc status=none
	qemu-img convert --salvage -O raw a.qcow2 expected.raw 2>expected.err
	sed -i 's/^qemu-img/vm-img/; / block status /d' expected.err
	qemu-img create -q -f qcow2 -o cluster_size=4k table.qcow2 4M
	qemu-io -c 'write -P 7 0 4M' table.qcow2 >.io
	l1=$((0x$(od -An -tx1 -j 40 -N 8 table.qcow2 | tr -d ' \n')))
	printf '\2' | dd of=table.qcow2 bs=1 seek=$((l1 + 10)) conv=notrunc \
		status=none
	qemu-img convert --salvage -O raw table.qcow2 table.raw 2>.err
	for format in '-O raw' '-O qcow2' '-c -O qcow2' \
		'-O vmdk -o subformat=streamOptimized'; do
		# shellcheck disable=SC2086
		assertFalse "vm-img convert $format a.qcow2 - >/dev/null 2>&1"
		# shellcheck disable=SC2086
		timeout 60 vm-img convert --salvage $format a.qcow2 - >out 2>err
		assertEquals "$format" 0 $?
		sort err | diff expected.err - || fail "$format"
		assertEquals 'Images are identical.' \
			"$(qemu-img compare -f raw expected.raw out)"
		# shellcheck disable=SC2086
		timeout 60 vm-img convert -q --salvage $format table.qcow2 - \
			>out 2>err
		assertEquals "$format" '0 ' "$? $(cat err)"
		assertEquals 'Images are identical.' \
			"$(qemu-img compare -f raw table.raw out)"
	done
}

test_what_a_stream_cannot_have() {
	make_source 3145728
	refused "Format 'vdi' cannot be written to standard output" \
		convert -f raw -O vdi src.raw -
	refused "Format 'vmdk' is written to standard output with -o subformat=streamOptimized alone" \
		convert -f raw -O vmdk src.raw -
	refused 'Options -n, -p, -S and --bitmaps are not available for standard output' \
		convert -S 0 -f raw -O qcow2 src.raw -
}

# shellcheck disable=SC1091 # not part of the tree
# Nothing is kept, and what was written comes at once.
test_raw_from_pipe_to_pipe() {
	for size in 0 511 1048576 1048577 3000000; do
		random in "$size"
		# shellcheck disable=SC2002 # a pipe is the point
		cat in | TMPDIR=/nonexistent vm-img convert -f raw -O raw - - 2>err |
			cat >out
		assertEquals "$size" '' "$(cat err)"
		truncate -s %512 in
		assertTrue "$size" 'cmp in out'
	done
	mkfifo source target
	timeout 60 vm-img convert -f raw -O raw - - <source >target &
	exec 5>source 6<target
	head -c 1M in >&5
	assertTrue 'before the end' 'head -c 1M <&6 | cmp -n 1048576 in'
	exec 5>&- 6<&-
	wait $!
	assertEquals 0 $?
}

. shunit2
