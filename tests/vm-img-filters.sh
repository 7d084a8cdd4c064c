#!/bin/sh
# SPDX-License-Identifier: ISC
# blkdebug, throttle, compress and preallocate over an image rather than over its file, where what is
# in which image of its chain is told as if they were not there; and raw, which
# is one layer. Beside qemu-img.
# shellcheck disable=SC2154,SC2317 # dir is set by test_dir; before() is called
# shellcheck disable=SC2086 # $group is two words
. tests/support/guest.sh
. tests/support/img.sh

group='--object throttle-group,id=g'
disk=driver=qcow2,file.driver=file,file.filename=top.qcow2

setUp() {
	img_dir
	before() { :; }
	qemu-img create -q -f qcow2 base.qcow2 4M
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 mid.qcow2
	qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2
	qemu-io -c 'write -P 1 0 3M' base.qcow2 >/dev/null
	qemu-io -c 'write -P 2 0 1M' -c 'write -z 1M 64k' mid.qcow2 >/dev/null
	qemu-io -c 'write -P 3 512k 128k' top.qcow2 >/dev/null
}

tearDown() {
	img_cleanup
}

# Options of the disk as the child of that name.
under() { # CHILD
	echo "$disk" | sed "s/^/$1./;s/,/,$1./g"
}

filters() {
	echo "driver=blkdebug,$(under image)"
	echo "driver=throttle,throttle-group=g,$(under file)"
	echo "driver=blkdebug,image.driver=throttle,image.throttle-group=g,\
$(under image.file)"
	echo "driver=compress,$(under file)"
	echo "driver=preallocate,file.driver=compress,$(under file.file)"
}

test_map() {
	for filter in $(filters); do
		for output in human json; do
			same map $group --output=$output --image-opts "$filter"
			same map $group --output=$output -s 600k -l 1M \
				--image-opts "$filter"
		done
		same info $group --image-opts "$filter"
		same info $group --output=json --image-opts "$filter"
		same measure $group -O qcow2 --image-opts "$filter"
		same compare $group -s --image-opts "$filter" "$disk"
	done
}

test_map_of_other_kinds_of_data() {
	qemu-img convert -c -O qcow2 base.qcow2 top.qcow2
	same map --output=json --image-opts "driver=blkdebug,$(under image)"
	same map --image-opts "driver=blkdebug,$(under image)"
	same map --output=json --image-opts "driver=raw,$(under file)"
	qemu-img create -q -f qcow2 -o preallocation=metadata top.qcow2 1M
	same map --output=json --image-opts "driver=blkdebug,$(under image)"
	same map --output=json --image-opts "driver=raw,$(under file)"
	qemu-img create -q -f qcow2 -o data_file=d.data top.qcow2 1M
	qemu-io -c 'write 64k 64k' top.qcow2 >/dev/null
	same map --image-opts "driver=blkdebug,$(under image)"
}

# Which map does not ask for.
test_errors_of_the_status() {
	rule=inject-error.0.iotype=block-status,inject-error.0.event=none
	filter="driver=blkdebug,$rule,$(under image)"
	same map --image-opts "$filter"
	same measure -O qcow2 --image-opts "$filter"
	same compare --image-opts "$filter" "$disk"
	same convert -O qcow2 --image-opts "$filter" out.qcow2
	same commit --image-opts "$filter"
}

# Where qemu-img says that what lies under the first image is nowhere at all.
test_raw_is_one_layer() {
	raw="driver=raw,$(under file)"
	assertEquals 'map' \
		'0               0x80000         0x50000         mid.qcow2
0x80000         0x20000         0x50000         top.qcow2
0xa0000         0x60000         0xf0000         mid.qcow2
0x110000        0x1f0000        0x160000        base.qcow2' \
		"$(img map --image-opts "$raw" | tail -n +2)"
	assertEquals 'depth' 0 "$(img map --output=json --image-opts "$raw" |
		sed 's/.*"depth": \([0-9]*\).*/\1/' | sort -u)"
	silent compare -q --image-opts "$raw" "$disk"
	raw="driver=raw,offset=65536,size=1048576,$(under file)"
	assertEquals 'part' \
		'0               0x70000         0x60000         mid.qcow2
0x70000         0x20000         0x50000         top.qcow2
0x90000         0x60000         0xf0000         mid.qcow2' \
		"$(img map --image-opts "$raw" | tail -n +2)"
	silent convert -O raw --image-opts "$raw" part.raw
	silent convert -O raw --image-opts "$disk" whole.raw
	assertTrue 'content' 'cmp -n 1M -i 0:64k part.raw whole.raw'
}

maps() {
	for image in base mid top; do
		qemu-img map --output=json $image.qcow2 2>&1
		qemu-img info $image.qcow2 | grep backing
	done
}

# The command, and what became of the images.
same_images() {
	for tool in qemu-img "$dir/link/qemu-img"; do
		cp saved/*.qcow2 .
		outcome "$tool" "$@" >"${tool%/*}.out"
		maps >>"${tool%/*}.out"
	done
	assertEquals "qemu-img $*" '' \
		"$(diff qemu-img.out "$dir/link.out")"
}

test_commit_and_rebase() {
	mkdir saved
	cp ./*.qcow2 saved
	for filter in $(filters); do
		for options in commit 'commit -d' 'commit -b base.qcow2' \
			'rebase -u -b base.qcow2 -F qcow2' \
			"rebase -b $dir/base.qcow2 -F qcow2" "rebase -b ''"; do
			eval "set -- $options"
			same_images "$@" $group --image-opts "$filter"
		done
	done
}

# One that is given as the format of a file stands over that.
test_filters_as_formats() {
	truncate -s 1M a.raw
	for filter in throttle copy-on-read compress preallocate blklogwrites \
		copy-before-write blkdebug quorum; do
		same info -f $filter a.raw
		same info -f $filter none
		same map -f $filter a.raw
		same check -f $filter a.raw
		same compare -f $filter a.raw a.raw
		same measure -f $filter -O raw a.raw
		same convert -f $filter -O raw a.raw out.raw
		same dd -f $filter if=a.raw of=out.raw
		same convert -n -f raw -O $filter a.raw out.raw
	done
	same resize -f preallocate a.raw 2M
	same info --image-opts driver=copy-before-write,file.filename=a.raw
}

# Zeroes that nothing shows through must be written all the same.
test_resize_with_preallocation() {
	mkdir saved
	cp ./*.qcow2 saved
	for filter in $(filters) "driver=raw,$(under file)"; do
		for mode in off falloc full; do
			cp saved/*.qcow2 .
			qemu-img resize -q $group --preallocation=$mode \
				--image-opts "$filter" 5M
			mv top.qcow2 theirs.qcow2
			cp saved/*.qcow2 .
			silent resize -q $group --preallocation=$mode \
				--image-opts "$filter" 5M
			assertTrue "$filter $mode: sound" \
				'qemu-img check -q top.qcow2'
			assertTrue "$filter $mode: the same" \
				'qemu-img compare -q top.qcow2 theirs.qcow2'
			rm theirs.qcow2
		done
	done
}

test_rebase_keeps_zeroes() {
	qemu-img resize -q top.qcow2 8M
	qemu-img create -q -f qcow2 new.qcow2 8M
	qemu-io -c 'write -P 9 0 8M' new.qcow2 >/dev/null
	qemu-img convert -O raw top.qcow2 before.raw
	silent rebase -b "$dir/new.qcow2" -F qcow2 --image-opts \
		"driver=blkdebug,$(under image)"
	qemu-img convert -O raw top.qcow2 after.raw
	assertTrue 'content' 'cmp before.raw after.raw'
	qemu-img check -q top.qcow2
	assertEquals 'check' 0 $?
}

# A part of a disk and the disk are in the same file, and not the same.
test_rebase_from_a_part_to_the_whole() {
	random x.raw 2M
	qemu-img convert -O qcow2 x.raw base.qcow2
	qemu-img create -q -u -f qcow2 -b gone -F raw top.qcow2 1M
	part=backing.driver=raw,backing.offset=1M,backing.file.driver=qcow2
	silent rebase -b base.qcow2 -F qcow2 --image-opts \
		"$disk,$part,backing.file.file.filename=base.qcow2"
	silent convert -O raw top.qcow2 back.raw
	assertTrue 'content' 'cmp -n 1M -i 1M:0 x.raw back.raw'
}

# What the target has under it already is not copied.
test_convert() {
	for filter in $(filters); do
		set -- convert $group -O qcow2 -B mid.qcow2 -F qcow2 \
			--image-opts "$filter"
		qemu-img "$@" theirs.qcow2
		silent "$@" ours.qcow2
		assertEquals "$filter" \
			"$(qemu-img map --output=json theirs.qcow2)" \
			"$(qemu-img map --output=json ours.qcow2)"
	done
}

names() { # COMMAND...
	"$@" 2>&1 | awk 'NR > 2 { print $1, $2 }'
}

# qemu-img 7.2 crashes where one is applied through blkdebug.
test_snapshots() {
	qemu-img snapshot -c a top.qcow2
	qemu-io -c 'write -P 7 0 2M' top.qcow2 >/dev/null
	qemu-img snapshot -c b top.qcow2
	qemu-img resize -q top.qcow2 6M
	cp top.qcow2 was.qcow2
	for filter in $(filters) "driver=raw,$(under file)" \
		"driver=raw,offset=64k,$(under file)"; do
		cp was.qcow2 top.qcow2
		same snapshot $group -d nil --image-opts "$filter"
		refused "Could not apply snapshot 'nil': Failed to load\
 snapshot: No such file or directory" snapshot $group -a nil \
			--image-opts "$filter"
		silent snapshot $group -c c --image-opts "$filter"
		for image in "--image-opts $filter" top.qcow2; do
			assertEquals "$filter" "$(printf '%s\n' '1 a' '2 b' '3 c')" \
				"$(names vm-img snapshot $group -l $image)"
			assertEquals "$image" "$(qemu-img info $group $image)" \
				"$(vm-img info $group $image)"
		done
		silent snapshot $group -a b --image-opts "$filter"
		silent snapshot $group -d a --image-opts "$filter"
		cp was.qcow2 theirs.qcow2
		qemu-img snapshot -a b theirs.qcow2
		qemu-img compare -s theirs.qcow2 top.qcow2 >out
		assertEquals "$filter: $(cat out)" 0 $?
		qemu-img check -q top.qcow2
		assertEquals "$filter: check" 0 $?
		assertEquals "$filter" "$(printf '%s\n' '2 b' '3 c')" \
			"$(names qemu-img snapshot -l top.qcow2)"
	done
}

# shellcheck disable=SC1091 # not part of the tree
. shunit2
