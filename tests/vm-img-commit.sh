#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img commit: the base reads as the top did, and nothing is lost on the way.
# shellcheck disable=SC2154 # dir is set by test_dir
# shellcheck disable=SC2317 # before() is called by same()
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/chain.sh

setUp() {
	[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
	img_dir
	before() { :; }
}

tearDown() {
	img_cleanup
}

holds() {
	assertTrue "$1: check" "qemu-img check -q $2"
	assertTrue "$1: content" "qemu-img compare -q -F raw $2 top.raw"
}

test_commit() {
	make_chain
	mkdir kept
	cp ./*.qcow2 kept
	before() {
		cp kept/*.qcow2 .
	}
	same commit top.qcow2
	holds 'to the next' mid.qcow2
	holds 'empty top' top.qcow2
	same map --output=json top.qcow2
	same commit -d top.qcow2
	holds 'not emptied' mid.qcow2
	same commit -b base.qcow2 top.qcow2
	holds 'to the base' base.qcow2
	same commit -b mid.qcow2 top.qcow2
	holds 'to mid' mid.qcow2
	same commit -b ./base.qcow2 top.qcow2
	holds 'to the base by another name' base.qcow2
	same commit -b "$dir/base.qcow2" top.qcow2
	same commit -q top.qcow2
	same commit -t none -f qcow2 top.qcow2
	same commit -p -q top.qcow2
	same commit mid.qcow2
	same commit -r 100M top.qcow2
	holds 'at a rate' mid.qcow2
}

test_to_raw() {
	random base.raw 1M
	qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2 3M
	qemu-io -c 'write -P 1 100k 5k' -c 'write -z 300k 64k' \
		-c 'write -P 2 2900k 10k' top.qcow2 >/dev/null
	qemu-img convert -O raw top.qcow2 top.raw
	assertEquals 'Image committed.' "$(vm-img commit top.qcow2)"
	assertTrue 'cmp base.raw top.raw'
	holds 'top' top.qcow2
}

# The layer between is shorter: what is under its end does not show.
# shellcheck disable=SC2086 # sizes are words, and a format is one
sizes_of() { # FORMAT
	format=$1
	for sizes in '3M 2M 1M' '1M 2M 3M' '3M 1M 2M' '3M 1M 3M' '2M 3M 1M'; do
		set -- $sizes
		qemu-img create -q -f $format a.$format "$1"
		qemu-io -c "write -P 1 0 $1" a.$format >/dev/null
		qemu-img create -q -f $format -b a.$format -F $format b.$format "$2"
		qemu-img create -q -f $format -b b.$format -F $format t.$format "$3"
		qemu-io -c 'write -P 3 100k 10k' t.$format >/dev/null
		qemu-img convert -O raw t.$format top.raw
		mkdir -p kept
		cp ./*.$format kept
		assertEquals 'Image committed.' "$(vm-img commit -d t.$format)"
		qemu-img convert -O raw b.$format b.raw
		assertTrue "$sizes" "cmp -n $(stat -c %s top.raw) b.raw top.raw"
		assertTrue "$sizes" "qemu-img check -q b.$format"
		cp kept/*.$format .
		assertEquals 'Image committed.' \
			"$(vm-img commit -b a.$format t.$format)"
		qemu-img convert -O raw a.$format a.raw
		assertTrue "$sizes, to the base" \
			"cmp -n $(stat -c %s top.raw) a.raw top.raw"
		assertTrue "$sizes, to the base" "qemu-img check -q a.$format"
	done
}

test_sizes() {
	sizes_of qcow2
}

test_sizes_of_qed() {
	sizes_of qed
}

test_wrong_usage() {
	make_chain
	same commit
	same commit top.qcow2 mid.qcow2
	same commit none
	same commit base.qcow2
	same commit -b none top.qcow2
	same commit -b other.qcow2 top.qcow2
	same commit -t foo top.qcow2
	same commit -r foo top.qcow2
	same commit -f foo top.qcow2
	same commit -f raw top.raw
	same commit --foo top.qcow2
	rm base.qcow2
	same commit top.qcow2
	rm mid.qcow2
	same commit top.qcow2
}

# Formats that cannot be emptied stay as they are, and nothing is said of it.
test_not_emptied() {
	for format in qed vmdk; do
		before() {
			qemu-img create -q -f "$format" base 1M
			qemu-img create -q -f "$format" -b base -F "$format" top
			qemu-io -f "$format" -c 'write -P 3 64k 64k' top >/dev/null
		}
		same commit -f "$format" top
		assertTrue "$format" "qemu-img compare -q -f $format \
			-F $format top base"
	done
}

# At any moment the top reads as it did, and committing it once more is good.
test_killed() {
	make_chain 64M
	qemu-io -c 'write -P 12 20M 30M' -c 'write -z 52M 1M' top.qcow2 \
		>/dev/null
	qemu-img convert -O raw top.qcow2 top.raw
	mkdir kept
	cp ./*.qcow2 kept
	n=0
	for after in 3 5 7 9 12 15 18 22 26 30 35 40 50; do
		cp kept/*.qcow2 .
		killed $after vm-img commit -q top.qcow2 2>/dev/null
		[ $? -ne 137 ] || n=$((n + 1))
		for image in top.qcow2 mid.qcow2; do
			qemu-img check $image >out 2>&1
			status=$?
			assertTrue "$image after $after ms: $(cat out)" \
				"[ $status -eq 0 ] || [ $status -eq 3 ]"
		done
		assertTrue "after $after ms: content" \
			'qemu-img compare -q -F raw top.qcow2 top.raw'
		assertEquals 'Image committed.' "$(vm-img commit top.qcow2)"
		assertTrue "after $after ms, and once more" \
			'qemu-img compare -q -F raw mid.qcow2 top.raw'
	done
	assertTrue 'some were killed' "[ $n -gt 0 ]"
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
