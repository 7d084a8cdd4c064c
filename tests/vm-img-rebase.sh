#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img rebase: the image reads as before, over another one.
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

# rebased WHAT IMAGE: sound, and reads as top.raw.
rebased() {
	assertTrue "$1: check" "qemu-img check -q $2"
	assertTrue "$1: content" "qemu-img compare -q -F raw $2 top.raw"
}

# Bytes that the image holds itself, with data.
allocated() {
	qemu-img map --output=json "$1" |
		sed -n 's/.*"length": \([0-9]*\), "depth": 0, .*"data": true.*/\1/p' |
		awk '{ n += $1 } END { print n + 0 }'
}

test_to_every_image_of_the_chain_and_others() {
	make_chain
	truncate -s 5M short.raw
	qemu-img create -q -f qcow2 long.qcow2 20M
	qemu-io -c 'write -P 11 0 20M' long.qcow2 >/dev/null
	for new in base.qcow2 mid.qcow2 other.qcow2 short.raw long.qcow2 ''; do
		format=${new##*.}
		cp top.qcow2 ours.qcow2
		cp top.qcow2 theirs.qcow2
		silent rebase -b "$new" ${new:+-F "$format"} ours.qcow2
		rebased "to '$new'" ours.qcow2
		qemu-img rebase -b "$new" ${new:+-F "$format"} theirs.qcow2
		assertEquals "backing file '$new'" \
			"$(qemu-img info theirs.qcow2 | grep backing)" \
			"$(qemu-img info ours.qcow2 | grep backing)"
		ours=$(allocated ours.qcow2)
		theirs=$(allocated theirs.qcow2)
		assertTrue "'$new': $ours, $theirs" "[ $ours -le $theirs ]"
	done
	cp top.qcow2 ours.qcow2
	silent rebase -c -b '' ours.qcow2
	rebased compressed ours.qcow2
	assertTrue 'compressed' "qemu-img check ours.qcow2 | grep -qv ' 0.00% comp'"
}

# Of a cluster with subclusters only those that differ are copied.
test_subclusters() {
	random old.raw 1M
	cp old.raw new.raw
	for at in 3 70 71 200 511; do
		dd if=/dev/zero of=new.raw bs=2k seek=$at count=1 conv=notrunc \
			status=none
	done
	qemu-img create -q -f qcow2 -o extended_l2=on -b old.raw -F raw \
		top.qcow2
	qemu-io -c 'write -P 3 100k 3k' -c 'write -z 140k 2k' top.qcow2 >out
	qemu-img convert -O raw top.qcow2 top.raw
	cp top.qcow2 theirs.qcow2
	qemu-img rebase -b new.raw -F raw theirs.qcow2
	silent rebase -b new.raw -F raw top.qcow2
	rebased 'subclusters' top.qcow2
	assertEquals "$(allocated theirs.qcow2)" "$(allocated top.qcow2)"
}

# Zeroes over new data: a short run is data, as qemu-img's, and a long one takes
# no room in the file.
test_zeroes() {
	qemu-img create -q -f qcow2 old.qcow2 64M
	qemu-img create -q -f qcow2 new.qcow2 64M
	qemu-io -c 'write -P 1 0 64k' -c 'write -P 1 128k 896k' \
		old.qcow2 >/dev/null
	qemu-io -c 'write -P 2 0 64M' new.qcow2 >/dev/null
	qemu-img create -q -f qcow2 -b old.qcow2 -F qcow2 top.qcow2
	qemu-img convert -O raw top.qcow2 top.raw
	silent rebase -b new.qcow2 -F qcow2 top.qcow2
	rebased 'with zeroes' top.qcow2
	assertEquals 'data of the first megabyte' \
		'0 0x100000 top.qcow2' \
		"$(qemu-img map top.qcow2 |
			awk '$4 == "top.qcow2" { print $1, $2, $4 }')"
	assertTrue 'the others take nothing' \
		"[ $(stat -c %s top.qcow2) -lt 4000000 ]"
	# Where there was no backing file, or none any more, none is data.
	truncate -s 64k short.raw
	for old in '' short.raw; do
		for program in qemu-img vm-img; do
			rm -f a.qcow2
			qemu-img create -q -f qcow2 ${old:+-b $old -F raw} \
				a.qcow2 1M
			qemu-io -c 'write 0 64k' a.qcow2 >/dev/null
			$program rebase -b new.qcow2 -F qcow2 a.qcow2
			qemu-img map --output=json a.qcow2 >$program.map
		done
		assertTrue "from '$old'" 'diff qemu-img.map vm-img.map'
	done
}

# Sizes in all orders: what is beyond an end reads as zeroes, before and after.
# shellcheck disable=SC2086 # sizes are words, and a format is one
sizes_of() { # FORMAT
	format=$1
	for sizes in '1M 3M 2M' '3M 1M 2M' '2M 3M 1M' '3M 2M 1M' '1M 2M 3M'; do
		set -- $sizes
		qemu-img create -q -f $format a.$format "$1"
		qemu-img create -q -f $format b.$format "$2"
		qemu-io -c "write -P 1 0 $1" a.$format >/dev/null
		qemu-io -c "write -P 2 0 $2" b.$format >/dev/null
		qemu-img create -q -f $format -b a.$format -F $format t.$format "$3"
		qemu-io -c 'write -P 3 100k 10k' t.$format >/dev/null
		qemu-img convert -O raw t.$format top.raw
		silent rebase -b b.$format -F $format t.$format
		rebased "$sizes" t.$format
		silent rebase -b '' t.$format
		rebased "$sizes, none" t.$format
	done
}

test_sizes() {
	sizes_of qcow2
}

test_sizes_of_qed() {
	sizes_of qed
}

test_unsafe() {
	make_chain
	before() {
		cp top.qcow2 t.qcow2
	}
	same rebase -u -b none -F raw t.qcow2
	same info t.qcow2
	for format in file host_device host_cdrom nbd foo; do
		same rebase -u -b none -F $format t.qcow2
		same info t.qcow2
		same create -u -f qcow2 -b none -F $format t.qcow2 1M
	done
	silent rebase -u -b ./mid.qcow2 -F qcow2 t.qcow2
	rebased unsafe t.qcow2
	same rebase -u t.qcow2
	same info t.qcow2
	same rebase -u -b '' t.qcow2
	same info t.qcow2
}

test_wrong_usage() {
	make_chain
	before() {
		cp top.qcow2 t.qcow2
	}
	same rebase t.qcow2
	same rebase -b base.qcow2
	same rebase -b base.qcow2 t.qcow2 t.qcow2
	same rebase -b none -F qcow2 t.qcow2
	same rebase -b base.qcow2 -F foo t.qcow2
	same rebase -b base.qcow2 t.qcow2
	same rebase -u -b base.qcow2 t.qcow2
	same rebase -t foo -b base.qcow2 -F qcow2 t.qcow2
	same rebase -T foo -b base.qcow2 -F qcow2 t.qcow2
	same rebase -f foo -b base.qcow2 -F qcow2 t.qcow2
	same rebase -b base.qcow2 -F qcow2 none
	same rebase -b top.raw -F qcow2 t.qcow2
	same rebase -U -q -p -b base.qcow2 -F qcow2 t.qcow2
	same rebase --foo -b base.qcow2 t.qcow2
	cp top.qcow2 kept.qcow2
	vm-img rebase -b other.qcow2 kept.qcow2 2>/dev/null
	assertTrue 'nothing is copied in vain' 'cmp top.qcow2 kept.qcow2'
}

# At any moment it reads as before.
test_killed() {
	make_chain 64M
	qemu-io -c 'write -P 12 0 60M' other.qcow2 >/dev/null
	n=0
	for after in 3 5 7 9 11 14 17 20 24 28 33 40; do
		cp top.qcow2 t.qcow2
		killed $after vm-img rebase -b other.qcow2 -F qcow2 t.qcow2 \
			2>/dev/null
		[ $? -ne 137 ] || n=$((n + 1))
		qemu-img check t.qcow2 >out 2>&1
		status=$?
		assertTrue "after $after ms: $(cat out)" \
			"[ $status -eq 0 ] || [ $status -eq 3 ]"
		assertTrue "after $after ms: content" \
			'qemu-img compare -q -F raw t.qcow2 top.raw'
		silent rebase -b other.qcow2 -F qcow2 t.qcow2
		assertTrue "after $after ms, and once more" \
			'qemu-img compare -q -F raw t.qcow2 top.raw'
	done
	assertTrue 'some were killed' "[ $n -gt 0 ]"
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
