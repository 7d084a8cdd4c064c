#!/bin/sh
# SPDX-License-Identifier: ISC
# Bitmaps that qemu-img made, and ours: after the same changes by qemu-io and by ours
# they say the same; those that are disabled say what they said; after a kill
# they are known to be worth nothing.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/qcow2.sh

setUp() {
	qcow2_dir
	image=$dir/a.qcow2
}

tearDown() {
	test_cleanup
}

act() {
	timeout 60 "$B/tests/tools/image-do" "$image" "$@"
	assertEquals "$*" 0 $?
}

# What a bitmap says, as a server of QEMU's tells it.
bits() { # IMAGE NAME
	timeout 60 nbdinfo --map="qemu:dirty-bitmap:$2" -- \
		[ qemu-nbd -r -f qcow2 -B "$2" "$1" ] 2>&1
}

assert_same_bits() { # WHAT
	for name in small large off; do
		bits "$dir/b.qcow2" $name >"$dir/theirs"
		bits "$image" $name >"$dir/ours"
		diff "$dir/theirs" "$dir/ours"
		assertEquals "$1: $name" 0 $?
	done
	qemu-img check "$image" >"$dir/check" 2>&1
	assertEquals "$1: $(cat "$dir/check")" 0 $?
}

make_image() { # OPTIONS SIZE
	qemu-img create -q -f qcow2 -o "$1" "$image" "$2"
	qemu-io -c 'write 1M 100k' "$image" >"$dir/out"
	make_bitmaps
	cp "$image" "$dir/b.qcow2"
}

make_bitmaps() {
	qemu-img bitmap --add -g 512 "$image" small
	qemu-img bitmap --add -g 1M "$image" large
	qemu-img bitmap --add --disable "$image" off
}

theirs() {
	qemu-io -c "$1" "$dir/b.qcow2" >"$dir/out"
}

test_kept_up_to_date() {
	for options in cluster_size=64k cluster_size=512 cluster_size=4k; do
		make_image $options 12000256
		assert_same_bits "$options: made"
		act write 1000000 5000
		theirs 'write 1000000 5000'
		assert_same_bits "$options: written"
		act zero 3000000 700000
		theirs 'write -z 3000000 700000'
		act discard 8388608 1048576
		theirs 'discard 8M 1M'
		act write 12000000 256
		theirs 'write 12000000 256'
		assert_same_bits "$options: all changes"
		act write 1048576 102400
		theirs 'write 1M 100k'
		theirs 'write 5M 64k'
		qemu-io -c 'write 5M 64k' "$image" >"$dir/out"
		assert_same_bits "$options: by both"
	done
}

test_compressed() {
	make_image cluster_size=64k 1M
	head -c 1M /dev/zero | tr '\0' x >"$dir/raw"
	act compress "$dir/raw"
	theirs 'write 0 1M'
	assert_same_bits compressed
}

# To the guest nothing has changed.
test_committed() {
	for snapshot in no yes; do
		rm -f "$image"
		qemu-img create -q -f raw "$dir/base" 4M
		qemu-img create -q -f qcow2 -b base -F raw "$image"
		make_bitmaps
		cp "$image" "$dir/b.qcow2"
		[ $snapshot = no ] || vm-img snapshot -c one "$image"
		vm-img commit -q "$image"
		assertEquals 0 $?
		qemu-img commit -q "$dir/b.qcow2"
		assert_same_bits "snapshot: $snapshot"
	done
}

# One that failed is made, and as it was asked for until then.
test_added_twice() {
	make_image cluster_size=64k 4M
	for program in qemu-img vm-img; do
		$program bitmap --add --add --disable "$image" $program \
			2>"$dir/err"
		assertEquals "$program" 1 $?
	done
	vm-img info --output=json "$image" |
		jq -c '."format-specific".data.bitmaps[] |
		select(.name[3:] == "img" or .name[5:] == "img") | .flags' \
			>"$dir/out"
	assertEquals '["auto"]
["auto"]' "$(cat "$dir/out")"
}

# Not closed: QEMU finds the mark.
test_killed() {
	make_image cluster_size=64k 4M
	"$B/tests/tools/image-writer" write "$image" "$dir/state" 1 60 \
		2>"$dir/log"
	assertEquals "$(cat "$dir/log")" 0 $?
	qemu-img info "$image" >"$dir/info"
	assertContains "$(cat "$dir/info")" 'in-use'
	qemu-img check "$image" >"$dir/check" 2>&1
	assertTrue "$(cat "$dir/check")" "[ $? = 0 ] || [ $? = 3 ]"
	act write 0 1000
	qemu-img info "$image" >"$dir/info"
	assertContains 'still' "$(cat "$dir/info")" 'in-use'
	qemu-img bitmap --remove "$image" small
	assertEquals 0 $?
}

# Nothing is written, and nothing is marked.
test_opened_only() {
	make_image cluster_size=64k 4M
	"$B/tests/tools/image-ops" "$image" 1 0
	cmp "$image" "$dir/b.qcow2"
	assertEquals 0 $?
}

# The same on both images: first what image-do is told, then qemu-img.
both() { # OURS... -- THEIRS...
	ours=
	while [ "$1" != -- ]; do
		ours="$ours $1"
		shift
	done
	shift
	# shellcheck disable=SC2086 # words
	act $ours
	qemu-img bitmap "$@" || fail "qemu-img bitmap $*"
}

assert_same_bitmaps() { # WHAT
	vm-img info "$image" | sed -n '/bitmaps:/,/refcount/p' >"$dir/ours"
	qemu-img info "$image" | sed -n '/bitmaps:/,/refcount/p' >"$dir/theirs"
	qemu-img info "$dir/b.qcow2" | sed -n '/bitmaps:/,/refcount/p' \
		>"$dir/wanted"
	diff "$dir/wanted" "$dir/theirs"
	assertEquals "$1: as qemu-img reads it" 0 $?
	sed -n 's/.*name: //p' "$dir/wanted" >"$dir/names"
	while read -r name; do
		bits "$dir/b.qcow2" "$name" >"$dir/theirs"
		bits "$image" "$name" >"$dir/ours"
		diff "$dir/theirs" "$dir/ours"
		assertEquals "$1: $name" 0 $?
	done <"$dir/names"
	qemu-img check "$image" >"$dir/check" 2>&1
	assertEquals "$1: $(cat "$dir/check")" 0 $?
}

test_changed() {
	for options in cluster_size=64k cluster_size=512; do
		make_image $options 12000256
		b=$dir/b.qcow2
		act write 1000000 5000
		theirs 'write 1000000 5000'
		both bitmap-add new 65536 -- --add -g 64k "$b" new
		both bitmap-add-off empty 512 -- --add --disable -g 512 "$b" \
			empty
		assert_same_bitmaps "$options: added"
		act write 5000000 70000
		theirs 'write 5000000 70000'
		both bitmap-merge off = small -- --merge small "$b" off
		both bitmap-merge large = new -- --merge new "$b" large
		both bitmap-merge empty = large -- --merge large "$b" empty
		assert_same_bitmaps "$options: merged"
		both bitmap-off large -- --disable "$b" large
		both bitmap-on empty -- --enable "$b" empty
		act write 9000000 1
		theirs 'write 9000000 1'
		assert_same_bitmaps "$options: switched"
		both bitmap-clear small -- --clear "$b" small
		both bitmap-remove new -- --remove "$b" new
		assert_same_bitmaps "$options: cleared and removed"
		for name in small large off empty; do
			both bitmap-remove $name -- --remove "$b" $name
		done
		assert_same_bitmaps "$options: all removed"
	done
}

test_merged_from_another_image() {
	make_image cluster_size=64k 4M
	qemu-img create -q -f qcow2 "$dir/c.qcow2" 4M
	qemu-img bitmap --add -g 4k "$dir/c.qcow2" other
	qemu-io -c 'write 3M 12k' "$dir/c.qcow2" >"$dir/out"
	both bitmap-merge large "$dir/c.qcow2" other -- --merge other \
		-b "$dir/c.qcow2" -F qcow2 "$dir/b.qcow2" large
	assert_same_bitmaps merged
	vm-img resize -q "$dir/c.qcow2" 5M
	refused "Bitmaps are of different sizes (destination size is 4194304, \
source size is 5242880) and can't be merged" \
		bitmap-merge large "$dir/c.qcow2" other
}

refused() { # TEXT VERB...
	text=$1
	shift
	"$B/tests/tools/image-do" "$image" "$@" 2>"$dir/err"
	assertEquals "$*" 1 $?
	assertContains "$*" "$(cat "$dir/err")" "$text"
}

test_refused() {
	make_image cluster_size=64k 4M
	refused 'Bitmap already exists: small' bitmap-add small 512
	refused 'Granularity must be power of 2' bitmap-add a 1000
	refused 'Granularity must be power of 2' bitmap-add a 256
	refused "Dirty bitmap 'a' not found" bitmap-remove a
	refused "Dirty bitmap 'a' not found" bitmap-merge small = a
	qemu-img create -q -f qcow2 -o compat=0.10 "$image" 4M
	refused 'Cannot store dirty bitmaps in qcow2 v2 files' bitmap-add a 512
	long=$(printf %0200d 0)
	truncate -s 4M "$dir/$long"
	qemu-img create -q -f qcow2 -o cluster_size=512 -b "$dir/$long" \
		-F raw "$image"
	act bitmap-add one 512
	qemu-img check "$image" >"$dir/check" 2>&1
	assertEquals "$(cat "$dir/check")" 0 $?
	assertContains "$(qemu-img info "$image")" "$long"
}

test_resized() {
	for size in 20000256 1500160; do
		make_image cluster_size=512 12000256
		act write 1000000 5000
		theirs 'write 1000000 5000'
		act resize $size
		qemu-img resize -q --shrink "$dir/b.qcow2" $size
		act write 900000 5000
		theirs 'write 900000 5000'
		assert_same_bitmaps "$size"
	done
}

# Three bitmaps of 80 MiB: what is set in them is all that takes memory.
test_large_disk() {
	qemu-img create -q -f qcow2 "$image" 40T
	for name in small large off; do
		qemu-img bitmap --add "$image" $name
	done
	cp "$image" "$dir/b.qcow2"
	limit='prlimit --as=67108864'
	[ -z "$ASAN_OPTIONS" ] || limit=
	# shellcheck disable=SC2086 # none, or two words
	$limit "$B/tests/tools/image-do" "$image" write 43980465045504 65536
	assertEquals 'within 64 MiB' 0 $?
	theirs 'write 43980465045504 64k'
	assert_same_bitmaps 'written at the end'
	refused 'Too much space will be occupied by the bitmap. Use larger' \
		bitmap-add finest 8192
}

# At the limit, and the disk would grow beyond it.
test_resized_too_large() {
	qemu-img create -q -f qcow2 "$image" 2T
	act bitmap-add most 512
	refused "Cannot resize: bitmap 'most' would be too large" \
		resize 2199023256064
	act write 0 512
	qemu-img check -q "$image"
	assertEquals 'sound, and written to' 0 $?
}

# The directory's offset, the file's length, and of each bitmap, whose name has
# at most 8 bytes, the table's offset and its first entry.
places() { # IMAGE N_BITMAPS
	directory=$(peek64 "$1" $((112 + 8 + 384 + 8 + 16)))
	echo "$directory $(stat -c %s "$1")"
	while [ "$2" -gt 0 ]; do
		table=$(peek64 "$1" "$directory")
		echo "$table $(peek64 "$1" "$table")"
		directory=$((directory + 32))
		set -- "$1" $(($2 - 1))
	done
}

# With each change all bitmaps move to where qemu-img moves them.
test_places() {
	qemu-img create -q -f qcow2 "$image" 10M
	qemu-img bitmap --add "$image" a
	qemu-io -c 'write 0 1M' "$image" >"$dir/out"
	cp "$image" "$dir/b.qcow2"
	n=1
	for line in '--add -g 32k b' '--add c' '--add --disable d' \
		'--disable a' '--enable a' '--merge a b' '--clear a' \
		'--merge b d'; do
		option=${line% *}
		[ "${option#--add}" = "$option" ] || n=$((n + 1))
		# shellcheck disable=SC2086 # several words
		{
			qemu-img bitmap $option "$dir/b.qcow2" "${line##* }"
			vm-img bitmap $option "$image" "${line##* }"
		}
		assertEquals "$line" "$(places "$dir/b.qcow2" $n)" \
			"$(places "$image" $n)"
	done
	qemu-img check -q "$image"
	assertEquals 'check' 0 $?
}

# A change for which there is room is made, though there is none to move what
# stays the same.
test_no_room_to_move() {
	make_image cluster_size=64k 12000256
	IMAGE_FAIL=1:ENOSPC act bitmap-add new 512
	assert_same_bits 'full'
	assertContains "$(qemu-img info "$image")" 'name: new'
	[ "$(places "$image" 1 | tail -n 1)" = \
		"$(places "$dir/b.qcow2" 1 | tail -n 1)" ]
	assertEquals 'not moved' 0 $?
}

test_stale_bitmaps_are_leaks() {
	make_image cluster_size=64k 4M
	poke "$image" 88 "$(be64 0)"
	qemu-img check "$image" >"$dir/theirs" 2>/dev/null
	expected=$?
	vm-img check "$image" >"$dir/ours" 2>/dev/null
	assertEquals $expected $?
	diff "$dir/theirs" "$dir/ours"
	assertEquals 0 $?
}

test_snapshots_and_bitmaps() {
	make_image cluster_size=64k 4M
	vm-img snapshot -c one "$image"
	assertEquals 'made' 0 $?
	vm-img snapshot -a one "$image" 2>"$dir/err"
	assertEquals 'not applied' 1 $?
	vm-img snapshot -a none "$image" 2>>"$dir/err"
	assertEquals "\
vm-img: Could not apply snapshot 'one': Device has active dirty bitmaps
vm-img: Could not apply snapshot 'none': Device has active dirty bitmaps" \
		"$(cat "$dir/err")"
	vm-img snapshot -d one "$image"
	assertEquals 'deleted' 0 $?
	assert_same_bits snapshots
}

. shunit2
