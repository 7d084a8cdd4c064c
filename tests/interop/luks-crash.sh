#!/bin/sh
# SPDX-License-Identifier: ISC
# A kill or a power failure while a key slot is filled or erased, recorded
# system call by system call: whatever is left, each password that stays opens
# it, and a new one does when it is all there. qemu-img opens some of it, too.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/qcow2.sh

secrets='--object secret,id=old,data=one --object secret,id=new,data=two'

setUp() {
	qcow2_dir
	seq 1 20000 | head -c 65536 >"$dir/plain"
}

tearDown() {
	test_cleanup
}

# Slot 0 is "old"'s; slot 1 "new"'s, if it is wanted.
make_image() { # FORMAT [new]
	image=$dir/a.$1
	prefix=
	[ "$1" = luks ] || prefix=encrypt.
	kind=
	[ "$1" = luks ] || kind=encrypt.format=luks,
	rm -f "$image"
	# shellcheck disable=SC2086 # words
	"$B/bin/vm-img" create -q $secrets -f "$1" \
		-o ${kind}${prefix}key-secret=old,${prefix}iter-time=10 \
		"$image" 64k
	name=driver=$1,file.filename=$image,${prefix}key-secret=old
	# shellcheck disable=SC2086
	qemu-img convert -n $secrets -f raw "$dir/plain" \
		--target-image-opts "$name"
	[ $# = 1 ] && return
	# shellcheck disable=SC2086
	"$B/bin/vm-img" amend -q $secrets -o \
		${prefix}state=active,${prefix}new-secret=new,${prefix}iter-time=10 \
		--image-opts "$name"
}

crash() { # KEYS OPTIONS
	# shellcheck disable=SC2086
	timeout 100 "$B/tests/tools/image-crash" --secret=old:one \
		--secret=new:two $1 --do="$2" "$image" 1 \
		"${CRASH_STATES:-12}" "$dir/plain" "$dir/plain" "$dir/state" \
		2>"$dir/log" || fail "$image: $2: $(cat "$dir/log")"
}

assert_qemu_opens() { # ID
	for state in "$dir/state.1" "$dir/state.2"; do
		# shellcheck disable=SC2086
		qemu-img convert $secrets -O raw --image-opts \
			"driver=${image##*.},file.filename=$state,${prefix}key-secret=$1" \
			"$dir/now" 2>"$dir/err" || fail "$state: $(cat "$dir/err")"
		cmp "$dir/now" "$dir/plain" || fail "$state"
	done
}

# Slot 6 lies across two sectors of the header.
test_add() {
	for format in luks qcow2; do
		for slot in 1 6; do
			make_image $format
			crash '--key=old --opens-at-end=new' \
				${prefix}state=active,${prefix}new-secret=new,${prefix}iter-time=1,${prefix}keyslot=$slot
			assert_qemu_opens old
		done
	done
}

test_erase() {
	for format in luks qcow2; do
		make_image $format new
		crash --key=old ${prefix}state=inactive,${prefix}old-secret=new
		assert_qemu_opens old
		make_image $format new
		crash '--key=new --opens=new' \
			${prefix}state=inactive,${prefix}keyslot=0
		assert_qemu_opens new
	done
}

. shunit2
