#!/bin/sh
# SPDX-License-Identifier: ISC
# An I/O error or a full disk at each call that changes or flushes the file,
# one after the other, of each change that the engine knows: the image is sound
# afterwards, with leaks at worst, and the disk holds what it held or what it
# was to hold. FAIL_STEP=1 makes every call fail in turn, and not some of them.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/qcow2.sh

step=${FAIL_STEP:-41}
few_step=1
# Each attempt starts a program, which takes a tenth of a second there.
case $B in *asan*) step=$((step * 3)) few_step=5 ;; esac
runs=0

setUp() {
	qcow2_dir
	image=$dir/a.qcow2
	seq 1 90000 >"$dir/raw"
	truncate -s 1M "$dir/raw"
	: >"$dir/name"
}

tearDown() {
	test_cleanup
}

# Data, a snapshot, changes since then, and a bitmap.
make_image() { # OPTIONS
	rm -f "$dir/made" "$dir/data"
	qemu-img convert -f raw -O qcow2 -o "$1" "$dir/raw" "$dir/made"
	case $1 in
	*data_file*) ;;
	*) qemu-img snapshot -c one "$dir/made" ;;
	esac
	qemu-io -c 'write -P 3 100k 200k' -c 'write -z 600k 64k' "$dir/made" \
		>"$dir/out"
	case $1 in
	*compat*) ;;
	*) qemu-img bitmap --add -g 4k "$dir/made" old ;;
	esac
	[ ! -e "$dir/data" ] || cp "$dir/data" "$dir/made.data"
	qemu-img convert -O raw "$dir/made" "$dir/before"
}

content() { # FILE: what image holds
	vm-img convert -q -f qcow2 -O raw "$image" "$1" 2>"$dir/err" ||
		fail "$what: $(cat "$dir/err")"
}

# Each 512 bytes are those of $dir/before or of $dir/after.
assert_content() {
	content "$dir/now"
	cmp -s "$dir/now" "$dir/before" || cmp -s "$dir/now" "$dir/after" ||
		"$B/tests/tools/image-mix" "$dir/now" "$dir/before" \
			"$dir/after" 2>"$dir/err" ||
		fail "$what: $(cat "$dir/err")"
}

assert_no_corruption() {
	vm-img check -q "$image" >"$dir/check" 2>&1
	status=$?
	if [ $((number % 7)) = 1 ]; then
		qemu-img check "$image" >"$dir/check" 2>&1
		status=$?
	fi
	case $status in
	0 | 3) ;;
	*) fail "$what: status $status: $(cat "$dir/check")" ;;
	esac
}

attempt() { # IMAGE_FAIL, VERB...
	cp "$dir/made" "$image"
	[ ! -e "$dir/data" ] || cp "$dir/made.data" "$dir/data"
	how=$1
	shift
	IMAGE_FAIL=$how timeout 60 "$B/tests/tools/image-do" "$image" "$@" \
		2>"$dir/err"
}

fails() { # VERB...
	attempt 0 "$@"
	assertEquals "$*" 0 $?
	content "$dir/after"
	for kind in '' :ENOSPC :ENOSPC:; do
		number=$((1 + runs * 7 % step))
		runs=$((runs + 1))
		while :; do
			what="$options: $*: call $number$kind"
			attempt $number$kind "$@"
			case $? in
			0 | 1) ;;
			3) break ;;
			*) fail "$what: $(cat "$dir/err")" ;;
			esac
			assert_no_corruption
			assert_content
			number=$((number + step))
		done
	done
}

test_changes() {
	for options in cluster_size=4k cluster_size=16k,extended_l2=on; do
		make_image $options
		fails write 70000 90000
		fails zero 100000 300000
		fails discard 65536 262144
		fails resize 3000320
		fails resize 500224
		fails compress "$dir/raw"
		fails empty
		fails backing name raw
		fails amend-bits 64
	done
}

test_snapshots() {
	for options in cluster_size=4k,compat=0.10 \
		cluster_size=16k,extended_l2=on; do
		make_image $options
		[ "${options#*compat}" != "$options" ] ||
			qemu-img bitmap --remove "$dir/made" old
		fails snapshot-create two
		fails snapshot-apply 0
		fails snapshot-delete 0
	done
}

# There are few calls: each fails, or each fifth.
test_bitmaps() {
	old_step=$step
	step=$few_step
	for options in cluster_size=512 cluster_size=64k; do
		make_image $options
		fails bitmap-add new 512
		fails bitmap-merge old = old
		fails bitmap-clear old
		fails bitmap-off old
		fails bitmap-remove old
	done
	step=$old_step
}

test_data_file() {
	options=cluster_size=4k,data_file=$dir/data
	make_image "$options"
	fails write 70000 90000
	fails zero 100000 300000
	fails discard 65536 262144
	fails resize 500224
}

. shunit2
