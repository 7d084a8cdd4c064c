#!/bin/sh
# SPDX-License-Identifier: ISC
# Internal snapshots both ways: vm-img snapshot beside qemu-img's on copies of
# one image, with writes of both in between. Whatever is applied holds what
# the disk held when it was made.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/qcow2.sh

GEOMETRIES='
cluster_size=512,refcount_bits=64
cluster_size=1k,refcount_bits=8
cluster_size=4k,refcount_bits=4
cluster_size=64k
cluster_size=64k,compression_type=zstd
cluster_size=2M
cluster_size=1k,compat=0.10
cluster_size=64k,compat=0.10
'

setUp() {
	qcow2_dir
	image=$dir/a.qcow2
}

tearDown() {
	test_cleanup
}

create() { # OPTIONS SIZE
	qemu-img create -q -f qcow2 -o "$1" "$image" "$2"
}

snap() {
	timeout 60 vm-img snapshot "$@"
	assertEquals "snapshot $*" 0 $?
}

change() { # SEED MIRROR
	timeout 60 "$B/tests/tools/image-ops" --same-size --compress "$image" \
		"$1" 60 "$2"
	assertEquals "operations, seed $1" 0 $?
}

assert_disk() { # WHAT CONTENT
	cp "$2" "$dir/mirror"
	assert_sound "$1" "$image"
}

test_made_changed_applied() {
	for options in $GEOMETRIES; do
		create "$options" 3M
		change 11 "$dir/one"
		snap -c one "$image"
		assert_disk "$options: one made" "$dir/one"
		change 12 "$dir/two"
		qemu-img snapshot -c two "$image"
		change 13 "$dir/three"
		snap -c three "$image"
		change 14 "$dir/four"
		assert_disk "$options: changed" "$dir/four"
		snap -a one "$image"
		assert_disk "$options: one" "$dir/one"
		qemu-img snapshot -a three "$image"
		assert_disk "$options: three, by qemu-img" "$dir/three"
		change 15 "$dir/five"
		snap -a two "$image"
		assert_disk "$options: two" "$dir/two"
		snap -d one "$image"
		assert_disk "$options: one deleted" "$dir/two"
		snap -a three "$image"
		assert_disk "$options: three" "$dir/three"
		qemu-img snapshot -d two "$image"
		assert_disk "$options: two deleted, by qemu-img" "$dir/three"
		snap -d three "$image"
		assert_disk "$options: all deleted" "$dir/three"
		change 16 "$dir/six"
		assert_disk "$options: changed again" "$dir/six"
	done
}

# tables: the header's offsets, the snapshots' L1 tables, and all refcounts.
tables() {
	od -An -v -tx1 -j 40 -N 32 "$1"
	at=$(peek64 "$1" 64)
	[ "$at" = 0 ] || od -An -v -tx1 -j "$at" -N 12 "$1"
	table=$(peek64 "$1" 48)
	od -An -v -tx1 -j "$(peek_entry "$1" "$table")" -N 64 "$1"
	od -An -v -tx1 -j "$(peek64 "$1" 40)" -N 64 "$1"
}

# Who looks at an image by hand finds things where qemu-img leaves them.
test_everything_stays_in_its_place() {
	for options in cluster_size=64k cluster_size=4k,compat=0.10; do
		create "$options" 6M
		qemu-io -c 'write -P 1 0 9k' -c 'write -P 2 3M 64k' "$image" \
			>"$dir/out"
		cp "$image" "$dir/b.qcow2"
		for step in '-c one' '-a one' '-c two' '-d one' '-c three' \
			'-d three' '-d two'; do
			# shellcheck disable=SC2086 # two words
			snap $step "$image"
			# shellcheck disable=SC2086
			qemu-img snapshot $step "$dir/b.qcow2"
			assertEquals "$options: $step" \
				"$(tables "$dir/b.qcow2")" "$(tables "$image")"
		done
		assertTrue "$options: not longer" "[ $(stat -c %s "$image") -le \
			$(stat -c %s "$dir/b.qcow2") ]"
	done
}

# SEQUENCES=n for more than one of each geometry.
test_random_operations() {
	for options in $GEOMETRIES cluster_size=16k,refcount_bits=64; do
		case $options in
		*compat*) same=--same-size ;; # cannot be resized
		*) same= ;;
		esac
		for seed in $(seq "${SEQUENCES:-1}"); do
			create "$options" 2M
			# shellcheck disable=SC2086 # none, or one word
			timeout 60 "$B/tests/tools/image-ops" --compress \
				--snapshot $same "$image" "$seed" 200 \
				"$dir/mirror"
			assertEquals "$options, seed $seed" 0 $?
			assert_sound "$options, seed $seed" "$image"
		done
	done
}

# The disk gets the snapshot's size, whichever is larger.
test_sizes() {
	create cluster_size=4k 3M
	change 21 "$dir/small"
	snap -c small "$image"
	vm-img resize -q "$image" 12M
	change 22 "$dir/large"
	snap -c large "$image"
	for name in small large small; do
		snap -a $name "$image"
		assert_disk $name "$dir/$name"
	done
	vm-img resize -q --shrink "$image" 1M
	qemu-img snapshot -a large "$image"
	assert_disk large "$dir/large"
}

same() { # ARGUMENT...
	cp "$dir/a" "$dir/b"
	cp "$dir/a" "$dir/c"
	(cd "$dir" && qemu-img snapshot "$@" b >out.theirs 2>err.theirs)
	expected=$?
	(cd "$dir" && vm-img snapshot "$@" b >out.ours 2>err.ours)
	assertEquals "$*: status" $expected $?
	sed -i 's/^qemu-img:/vm-img:/; s/qemu-img --help/vm-img --help/' \
		"$dir/err.theirs"
	diff "$dir/out.theirs" "$dir/out.ours"
	assertEquals "$*: output" 0 $?
	diff "$dir/err.theirs" "$dir/err.ours"
	assertEquals "$*: messages" 0 $?
}

test_as_qemu_img() {
	qemu-img create -q -f qcow2 "$dir/a" 1M
	same -l
	same -c one
	same -d none
	same -a none
	for name in one two one 7 2; do
		qemu-img snapshot -c $name "$dir/a"
	done
	same -l
	same
	same -q -l -U
	same -c one -U
	same -l -c one
	same -a one -d one
	same -c one x
	cp "$dir/b" "$dir/a"
	for command in '-d one' '-a 2' '-d 2' '-d 7' '-a 7' '-c 3' \
		'-d two' '-a 1'; do
		# shellcheck disable=SC2086 # two words
		(cd "$dir" && qemu-img snapshot $command a >out 2>&1)
		expected=$?
		# shellcheck disable=SC2086
		vm-img snapshot $command "$dir/b" >"$dir/out" 2>&1
		assertEquals "$command: status" $expected $?
		for file in a b; do
			qemu-img snapshot -l "$dir/$file" |
				cut -c 1-34 >"$dir/$file.list"
		done
		diff "$dir/a.list" "$dir/b.list"
		assertEquals "$command: list" 0 $?
	done
	qemu-img create -q -f qcow2 -o refcount_bits=1 "$dir/a" 1M
	qemu-io -c 'write 0 64k' "$dir/a" >"$dir/out"
	same -c one
}

# What qemu-img says of ours: the time, and a name of any length.
test_listed_by_qemu_img() {
	qemu-img create -q -f qcow2 "$image" 1M
	snap -c "$(printf '%0300d' 0)" "$image"
	snap -c 'with spaces, "quotes"' "$image"
	qemu-img snapshot -l "$image" >"$dir/theirs"
	snap -l "$image" >"$dir/ours"
	diff "$dir/theirs" "$dir/ours"
	assertEquals 0 $?
	assertContains "$(cat "$dir/ours")" "$(date +%Y-%m-%d)"
	assertContains "$(cat "$dir/ours")" " $(printf '%0255d' 0) "
	qemu-img info "$image" >"$dir/theirs"
	vm-img info "$image" >"$dir/ours"
	diff "$dir/theirs" "$dir/ours"
	assertEquals info 0 $?
}

# Extra data that nobody here knows: 8 more bytes in the first entry.
test_unknown_extra_data_is_kept() {
	qemu-img create -q -f qcow2 "$image" 1M
	snap -c one "$image"
	at=$(peek64 "$image" 64)
	poke "$image" $((at + 36)) "$(be32 32)"
	poke "$image" $((at + 64)) "$(be64 0x1122334455667788)1one"
	snap -c two "$image"
	at=$(peek64 "$image" 64)
	assertEquals $((0x1122334455667788)) "$(peek64 "$image" $((at + 64)))"
	qemu-img snapshot -l "$image" >"$dir/list"
	assertContains "$(cat "$dir/list")" '1         one '
	assertContains "$(cat "$dir/list")" '2         two '
}

test_refcounts_too_narrow() {
	create cluster_size=64k,refcount_bits=1 1M
	qemu-io -c 'write -P 5 0 128k' "$image" >"$dir/out"
	cp "$image" "$dir/before"
	vm-img snapshot -c one "$image" 2>"$dir/err"
	assertEquals 1 $?
	assertContains "$(cat "$dir/err")" "Could not create snapshot 'one'"
	qemu-img check "$image" >"$dir/out" 2>&1
	assertEquals "$(cat "$dir/out")" 0 $?
	qemu-img compare "$image" "$dir/before" >"$dir/out"
	assertEquals 0 $?
	create cluster_size=64k,refcount_bits=2 1M
	qemu-io -c 'write -P 5 0 128k' "$image" >"$dir/out"
	snap -c one "$image"
	snap -c two "$image"
	vm-img snapshot -c three "$image" 2>"$dir/err"
	assertEquals 1 $?
	qemu-img check "$image" >"$dir/out" 2>&1
	assertEquals "$(cat "$dir/out")" 0 $?
}

# A deleted snapshot gives its space back.
test_space_is_given_back() {
	create cluster_size=64k 8M
	qemu-io -c 'write -P 5 0 8M' "$image" >"$dir/out"
	snap -c one "$image"
	qemu-io -c 'write -P 6 0 8M' "$image" >"$dir/out"
	before=$(du -k "$image" | cut -f 1)
	snap -d one "$image"
	after=$(du -k "$image" | cut -f 1)
	assertTrue "from $before to $after" "[ $((before - after)) -ge 8000 ]"
}

test_backing_image() {
	head -c 3M /dev/urandom >"$dir/raw"
	qemu-img create -q -f qcow2 -b raw -F raw "$image" 3M
	change 31 "$dir/one"
	snap -c one "$image"
	change 32 "$dir/two"
	snap -a one "$image"
	assert_disk one "$dir/one"
}

. shunit2
