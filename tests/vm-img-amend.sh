#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img amend: what changes, what is refused, and in whose words.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

# shellcheck disable=SC2317 # called by same
setUp() {
	# They flush a lot, and a disk would only be slow.
	[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
	img_dir
	before() {
		cp orig a.qcow2
	}
}

tearDown() {
	img_cleanup
}

make_image() { # OPTIONS
	rm -f orig
	qemu-img create -q -f qcow2 -o "$1" orig 10M
	qemu-io -c 'write -P 3 1M 300k' orig >.io
}

# Zeroes by a flag, in the disk alone and in what a snapshot shares with it.
make_zeroes() { # [QEMU-IMG CREATE'S OPTION...]
	make_image compat=1.1
	[ -e base ] || random base 10M
	rm orig
	qemu-img create -q -f qcow2 "$@" orig 10M
	qemu-io -c 'write -P 3 1M 3M' -c 'write -z 2M 100k' \
		-c 'write -z 5M 1M' orig >.io
	qemu-img snapshot -c one orig
	qemu-io -c 'write -z 7M 128k' -c 'write -P 4 5M 10k' orig >.io
}

# The image that vm-img has left is sound, holds what it held, and says of
# itself what qemu-img's says.
like_theirs() { # ARG...
	same amend "$@"
	assertTrue "check $*" 'qemu-img check -q a.qcow2'
	assertTrue "compare $*" 'qemu-img compare -q orig a.qcow2'
	ours=$(qemu-img info --output=json a.qcow2 | grep -v actual-size)
	mv a.qcow2 ours.qcow2
	cp orig a.qcow2
	timeout 60 qemu-img amend "$@"
	assertEquals "info $*" "$(qemu-img info --output=json a.qcow2 |
		grep -v actual-size)" "$ours"
	mv ours.qcow2 a.qcow2
}

test_options() {
	make_image compat=1.1
	for options in compat=0.10 refcount_bits=1 lazy_refcounts size=20M \
		refcount_bits=32,lazy_refcounts=on,size=10240k; do
		like_theirs -f qcow2 -o "$options" a.qcow2
	done
	same amend -o size=5M a.qcow2
	assertTrue 'qemu-img check -q a.qcow2'
}

# A table that snapshots share is read once: the second time there is an error.
test_shared_tables() {
	qemu-img create -q -f qcow2 a.qcow2 4M
	qemu-io -c 'write -z 0 1M' a.qcow2 >/dev/null
	qemu-img snapshot -c one a.qcow2
	qemu-img snapshot -c two a.qcow2
	cat >rules <<-'EOF'
		[set-state]
		event = "l2_load"
		state = "1"
		new_state = "2"
		[inject-error]
		event = "l2_load"
		state = "2"
		errno = "5"
	EOF
	assertTrue 'vm-img amend -f qcow2 -o compat=0.10 blkdebug:rules:a.qcow2'
	assertTrue 'qemu-img check -q a.qcow2'
}

test_version_2() {
	make_image compat=0.10
	for options in compat=1.1 compat=v3,refcount_bits=64 \
		compat=1.1,lazy_refcounts=on size=40M refcount_bits=16; do
		like_theirs -o "$options" a.qcow2
	done
	for options in lazy_refcounts=on refcount_bits=8; do
		same amend -o "$options" a.qcow2
	done
	same amend -o compat=1.1 a.qcow2
	mv a.qcow2 ours
	cp orig a.qcow2
	qemu-img amend -o compat=1.1 a.qcow2
	assertTrue 'the same bytes' 'cmp ours a.qcow2'
	qemu-img snapshot -c one orig
	like_theirs -o compat=1.1 a.qcow2
}

# A size is one to resize to even where the disk has it, but for 0.
test_size_that_is_there() {
	for version in 0.10 1.1; do
		make_image compat=$version
		for size in 10M 0 11M; do
			same amend -o size=$size a.qcow2
		done
		qemu-img snapshot -c one orig
		for size in 10M 0 11M 10M,compat=1.1 10M,compat=0.10; do
			same amend -o size=$size a.qcow2
		done
	done
	before
	img amend -o size=0 a.qcow2
	assertTrue 'the disk' 'qemu-img compare -q orig a.qcow2'
}

# Another size is there before snapshots forbid another version.
test_size_and_version_with_snapshots() {
	make_image compat=1.1
	qemu-img snapshot -c one orig
	cp orig theirs.qcow2
	same amend -o compat=0.10,size=5M a.qcow2
	qemu-img amend -o compat=0.10,size=5M theirs.qcow2 2>err
	before
	vm-img amend -o compat=0.10,size=5M a.qcow2 2>err
	assertEquals 'header' "$(head -c 104 theirs.qcow2 | cksum)" \
		"$(head -c 104 a.qcow2 | cksum)"
	assertTrue 'sound' 'qemu-img check -q a.qcow2'
	assertTrue 'the disk' 'qemu-img compare -q theirs.qcow2 a.qcow2'
}

test_zeroes() {
	make_zeroes
	like_theirs -o compat=0.10 a.qcow2
	make_zeroes -b base -F raw
	like_theirs -o compat=0.10 a.qcow2
	qemu-img snapshot -a one orig
	qemu-img snapshot -a one a.qcow2
	assertTrue 'the snapshot' 'qemu-img compare -q orig a.qcow2'
	same amend -o refcount_bits=1 a.qcow2
	like_theirs -o refcount_bits=2 a.qcow2
	like_theirs -o backing_file=base,backing_fmt=raw a.qcow2
	# Half of it would take the other half away.
	same amend -o backing_file=base,refcount_bits=2 a.qcow2
	same amend -o backing_fmt=raw,refcount_bits=2 a.qcow2
}

test_small_clusters() {
	make_image cluster_size=512
	for bits in 4 64; do
		like_theirs -o refcount_bits=$bits a.qcow2
	done
	like_theirs -o compat=0.10 a.qcow2
}

test_refused() {
	make_image compat=1.1
	for options in cluster_size=512 preallocation=full refcount_bits=3 \
		refcount_bits=128 compat=0.10,refcount_bits=8 data_file=x \
		data_file_raw=on extended_l2=on encrypt.format=luks \
		compat=0.9 size=20000001 backing_file=xx backing_fmt=raw \
		foo=1 data_file= size=1 backing_file= encrypt.state=active \
		compat=0.10,lazy_refcounts=on refcount_bits=abc size=abc \
		lazy_refcounts=maybe 'compat=0.10,,' compat= refcount_bits=0; do
		same amend -f qcow2 -o "$options" a.qcow2
	done
	qemu-img snapshot -c one orig
	qemu-img resize -q orig 20M
	same amend -o compat=0.10 a.qcow2
	qemu-img bitmap --add orig b
	same amend -o compat=0.10 a.qcow2
}

test_data_file() {
	rm -f orig
	qemu-img create -q -f qcow2 -o data_file=one.raw,data_file_raw=on \
		orig 10M
	qemu-io -c 'write -P 3 1M 300k' orig >.io
	cp one.raw two.raw
	like_theirs -o data_file=two.raw a.qcow2
	like_theirs -o data_file_raw=off a.qcow2
	same amend -o compat=0.10 a.qcow2
	same amend -o data_file_raw=on a.qcow2
}

test_version_2_wants_16_bits() {
	make_image refcount_bits=64
	like_theirs -o compat=0.10,refcount_bits=16 a.qcow2
	for options in compat=0.10 compat=0.10,refcount_bits=32; do
		same amend -o "$options" a.qcow2
	done
	make_image extended_l2=on
	same amend -o compat=0.10 a.qcow2
	qemu-img snapshot -c one orig
	qemu-img resize -q orig 20M
	same amend -o compat=0.10 a.qcow2
}

test_version_2_wants_zlib() {
	make_image compression_type=zstd
	like_theirs -o compat=0.10 a.qcow2
	qemu-io -c 'write -c -P 5 5M 64k' orig >.io
	same amend -o compat=0.10 a.qcow2
	# Where qemu-img does not look, and what is there is lost.
	qemu-img snapshot -c one orig
	qemu-io -c 'write -z 5M 64k' orig >.io
	before
	refused "Cannot downgrade an image with zstd compression type and \
existing compressed clusters" amend -o compat=0.10 a.qcow2
	silent snapshot -a one a.qcow2
	assertTrue "qemu-io -c 'read -P 5 5M 64k' a.qcow2"
}

# More references than can be counted: no repair can help before.
test_wider_for_what_overflows() {
	make_image refcount_bits=1
	# The second cluster that is in use, where the first one is.
	l2=$(($(od -An -tx1 -j 196608 -N 8 orig | tr -d ' \n' |
		sed 's/^80/0x/')))
	dd if=orig of=orig bs=8 count=1 conv=notrunc status=none \
		skip=$((l2 / 8 + 16)) seek=$((l2 / 8 + 17))
	same check a.qcow2
	same check -r all a.qcow2
	# qemu-img widens it as well, and needs half a minute for that.
	before
	silent amend -o refcount_bits=2 a.qcow2
	assertTrue repairable 'vm-img check -q -r all a.qcow2'
	assertTrue sound 'qemu-img check -q a.qcow2'
	assertTrue same 'qemu-img compare -q orig a.qcow2'
}

# Killed while it wrote with lazy refcounts: who opens it to write repairs it,
# and says what there was to repair.
test_left_dirty() {
	rm -f orig
	qemu-img create -q -f qcow2 -o lazy_refcounts=on orig 10M
	(qemu-io -c 'write -P 3 1M 300k' -c flush -c 'sigraise 9' orig) \
		>.io 2>&1
	assertContains "$(qemu-img check orig 2>&1)" 'refcount=0 reference=1'
	for command in 'amend -o compat=0.10' 'snapshot -c one' 'resize -q' \
		'bitmap --add'; do
		case $command in
		resize*) last=11M ;;
		bitmap*) last=one ;;
		*) last= ;;
		esac
		# shellcheck disable=SC2086 # words, or none
		same $command a.qcow2 $last
		assertTrue "$command" 'qemu-img check -q a.qcow2'
	done
	same info a.qcow2
}

# They are lost to qemu-img, with a warning.
test_bitmaps_stay() {
	make_image compat=1.1
	qemu-img bitmap --add orig b
	cp orig a.qcow2
	refused 'Bitmaps prevent downgrade of image' \
		amend -o compat=0.10 a.qcow2
	assertTrue 'cmp orig a.qcow2'
}

# An L1 entry at a time, the snapshot's after the image's.
test_progress() {
	qemu-img create -q -f qcow2 orig 4G
	qemu-io -c 'write -z 1M 100k' -c 'write -z 3G 64k' orig >.io
	same amend -p -o compat=0.10 a.qcow2
	assertContains "$(cat .out)" '(12.50/100%)'
	qemu-img snapshot -c one orig
	same amend -p -o compat=0.10 a.qcow2
	same amend -p -q -o compat=0.10 a.qcow2
}

test_usage() {
	make_image compat=1.1
	for arguments in 'a.qcow2' '-o help' '-o help -f qcow2' \
		'-o help a.qcow2' '-o help -f raw' '-o help -f foo' \
		'-o size=1 a.qcow2 b.qcow2' '-t foo -o size=1M a.qcow2' \
		'-f raw -o size=1M a.qcow2' '-o size=1M x.qcow2' \
		'-q -o size=1M a.qcow2' '-o size=1M -o lazy_refcounts a.qcow2' \
		'--force -o size=1M a.qcow2' '-p -o size=11M a.qcow2' \
		'-p -q -o size=11M a.qcow2' '-z' '-o'; do
		# shellcheck disable=SC2086 # words
		same amend $arguments
	done
}

# shellcheck disable=SC1091 # not part of the tree
. shunit2
