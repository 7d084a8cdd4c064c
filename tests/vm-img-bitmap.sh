#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img bitmap, and what convert, measure and info do with bitmaps: held
# against qemu-img, command by command.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/qcow2.sh

# shellcheck disable=SC2317 # called by same
setUp() {
	# They flush a lot, and a disk would only be slow.
	[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
	img_dir
	before() {
		cp orig a.qcow2
		rm -f c.qcow2 c.raw
	}
	qemu-img create -q -f qcow2 orig 10M
	qemu-img bitmap --add orig b0
	qemu-img bitmap --add -g 4k orig b1
	qemu-io -c 'write 1M 100k' orig >.io
	qemu-img bitmap --disable orig b1
}

tearDown() {
	img_cleanup
}

# The offset of the bitmap directory, from the header's extension.
directory_of() { # IMAGE
	at=112
	word=$(peek64 "$1" $at)
	while [ $((word >> 32 & 0xffffffff)) -ne $((0x23852875)) ]; do
		at=$((at + 8 + ((word & 0xffffffff) + 7) / 8 * 8))
		[ $at -lt 65536 ] || return 1
		word=$(peek64 "$1" $at)
	done
	peek64 "$1" $((at + 24))
}

# Of the first bitmap: a writer was killed.
spoil() { # IMAGE
	poke "$1" $(($(directory_of "$1") + 15)) '\0003'
}

# What is left is what qemu-img leaves.
like_theirs() { # ARG...
	same bitmap "$@"
	for image in a.qcow2 c.qcow2; do
		[ -e $image ] || continue
		assertTrue "check $*" "qemu-img check -q $image"
		ours=$(qemu-img info --output=json $image | grep -v actual)
		before
		qemu-img bitmap "$@" 2>/dev/null
		assertEquals "info $*" \
			"$(qemu-img info --output=json $image | grep -v actual)" \
			"$ours"
	done
}

test_actions() {
	for arguments in '--add a.qcow2 b2' '--add a.qcow2 b0' \
		'--add -g 8k a.qcow2 b2' '-g 5k --add a.qcow2 b2' \
		'--disable a.qcow2 b0' '--enable a.qcow2 b1' \
		'--clear a.qcow2 b0' '--remove a.qcow2 b0' \
		'--remove a.qcow2 nn' '--merge b0 a.qcow2 b1' \
		'--merge nn a.qcow2 b1' '--add --disable a.qcow2 b3' \
		'--disable --add a.qcow2 b3' \
		'--add --disable --merge b0 --merge b1 --enable a.qcow2 b3' \
		'--add --add a.qcow2 b9' '--add --remove a.qcow2 b9' \
		'--remove --clear a.qcow2 b0' '-g 256 --add a.qcow2 c' \
		'-g 4G --add a.qcow2 c'; do
		# shellcheck disable=SC2086 # words
		like_theirs $arguments
	done
}

test_usage() {
	for arguments in 'a.qcow2 b0' '--add a.qcow2' '--add' \
		'-b x.qcow2 --merge b0 a.qcow2 b1' \
		'-F qcow2 --merge b0 a.qcow2 b1' \
		'-g 64k --clear a.qcow2 b0' '--clear a.qcow2 b0 x' \
		'-b a.qcow2 --clear a.qcow2 b0' '-g x --add a.qcow2 c' \
		'--add x.qcow2 b' '--bogus' '--merge' \
		'--add --image-opts driver=qcow2,file.filename=a.qcow2 b2'; do
		# shellcheck disable=SC2086 # words
		same bitmap $arguments
	done
}

# Names that QEMU makes up differ from run to run, after '#block'.
test_why_it_is_not_added() {
	qemu-img create -q -f qcow2 -o compat=0.10 v2.qcow2 1M
	qemu-img create -q -f qcow2 v3.qcow2 1M
	qemu-img bitmap --add v3.qcow2 old
	truncate -s 1M in.raw
	for image in v2.qcow2 v3.qcow2 in.raw; do
		same bitmap --add --image-opts \
			"node-name=node,file.filename=$image" old
		[ $image = in.raw ] || same bitmap --add -g 3 $image old
	done
	assertContains "$(img bitmap --add v3.qcow2 "$(printf '%01024d' 0)" 2>&1)" \
		'Name length exceeds maximum (1023 characters)'
	assertContains "$(img bitmap --add v2.qcow2 b 2>&1)" \
		"Can't make bitmap 'b' persistent in '#block"
	assertContains "$(img bitmap --add -f raw in.raw b 2>&1)" \
		"Can't store persistent bitmaps to #block"
}

test_merge_from_another_image() {
	qemu-img create -q -f qcow2 other 10M
	qemu-img bitmap --add -g 128k other b0
	qemu-io -c 'write 5M 1M' other >.io
	like_theirs -b other -F qcow2 --merge b0 a.qcow2 b1
	qemu-img resize -q other 20M
	same bitmap -b other --merge b0 a.qcow2 b1
}

test_what_is_no_good() {
	spoil orig
	for action in --clear --enable --disable '--merge b1' --add --remove; do
		# shellcheck disable=SC2086 # words
		same bitmap $action a.qcow2 b0
	done
	same bitmap --merge b0 a.qcow2 b1
	same info orig
	same info --output=json orig
}

test_info() {
	same info orig
	same info --output=json orig
}

# Bits arrive too: as qemu-nbd tells them.
test_convert() {
	same convert --bitmaps -O qcow2 a.qcow2 c.qcow2
	assertTrue 'qemu-img check -q c.qcow2'
	ours=$(qemu-img info c.qcow2 | grep -A9 bitmaps)
	assertEquals "$(qemu-img info orig | grep -A9 bitmaps)" "$ours"
	before
	vm-img convert --bitmaps -O qcow2 a.qcow2 c.qcow2
	for image in orig c.qcow2; do
		qemu-img bitmap --add -g 4k $image sum
		qemu-img bitmap --merge b0 $image sum
		nbdinfo --map=qemu:dirty-bitmap:sum -- \
			[ qemu-nbd -r -f qcow2 -B sum $image ] >$image.map
	done
	assertTrue 'bits' 'cmp orig.map c.qcow2.map'
	assertTrue 'some' 'grep -q "dirty" c.qcow2.map'
	same convert --bitmaps -O raw a.qcow2 c.raw
	same convert --bitmaps -O qcow2 a.qcow2 a.qcow2 c.qcow2
	same convert --bitmaps -f raw -O qcow2 a.qcow2 c.qcow2
	same convert --bitmaps -O qcow2 -o compat=0.10 a.qcow2 c.qcow2
	same convert --skip-broken-bitmaps -O qcow2 a.qcow2 c.qcow2
	spoil orig
	same convert --bitmaps -O qcow2 a.qcow2 c.qcow2
	same convert --bitmaps --skip-broken-bitmaps -O qcow2 a.qcow2 c.qcow2
	same convert --bitmaps -q --skip-broken-bitmaps -O qcow2 a.qcow2 c.qcow2
	# Several of them, which are in use for good.
	for bitmap in x y z; do
		qemu-img bitmap --add orig $bitmap
	done
	qemu-io -c 'write 0 64k' -c abort orig >/dev/null 2>&1
	same convert --bitmaps -O qcow2 a.qcow2 c.qcow2
	same convert --bitmaps --skip-broken-bitmaps -O qcow2 a.qcow2 c.qcow2
}

test_spoiled_is_not_resized() {
	spoil orig
	same resize a.qcow2 +1M
	same amend -o size=20M a.qcow2
}

# Images of version 2 have none, on either side; nothing is copied then.
test_version_2() {
	qemu-img create -q -f qcow2 -o compat=0.10 v2.qcow2 10M
	cp v2.qcow2 v2.orig
	same convert --bitmaps -O qcow2 v2.qcow2 c.qcow2
	same convert --bitmaps -n -O qcow2 a.qcow2 v2.qcow2
	same convert --bitmaps -n --target-image-opts a.qcow2 \
		driver=qcow2,file.filename=v2.qcow2
	assertTrue 'untouched' 'cmp v2.orig v2.qcow2'
	same measure -O qcow2 v2.qcow2
	same measure -O qcow2 --output=json v2.qcow2
}

test_measure() {
	same measure -O qcow2 a.qcow2
	same measure -O qcow2 --output=json a.qcow2
	same measure -O qcow2 -o cluster_size=4k a.qcow2
	same measure -O raw a.qcow2
	same measure -O qcow2 -o compat=0.10 a.qcow2
	spoil orig
	same measure -O qcow2 a.qcow2
}

# shellcheck disable=SC1091 # not part of the tree
. shunit2
