#!/bin/sh
# SPDX-License-Identifier: ISC
# Damaged and hostile qcow2 images: refused with a text that names what is
# wrong, in little memory and time, or told of by check as qemu-img tells.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/qcow2.sh

oneTimeSetUp() {
	qcow2_dir
	qemu-img create -q -f qcow2 "$dir/good" 10M
	qemu-io -c 'write -P 1 0 256k' -c 'write -P 2 1M 64k' "$dir/good" \
		>"$dir/out"
	qemu-img create -q -f qcow2 "$dir/compressed" 10M
	qemu-io -c 'write -P 1 0 256k' -c 'write -c -P 5 2M 64k' \
		-c 'write -c -P 6 2112k 64k' "$dir/compressed" >"$dir/out"
	image=$dir/image
	# The address sanitizer's shadow is larger than any limit.
	mkdir "$dir/link" "$dir/1" "$dir/2"
	ln -s "$(command -v vm-img)" "$dir/link/qemu-img"
	bounded='prlimit --as=67108864 --cpu=1'
	[ -z "$ASAN_OPTIONS" ] || bounded=
}

oneTimeTearDown() {
	test_cleanup
}

# An image with some bytes changed, read by a process that may have no more
# than 64 MiB of address space and a second of CPU, must be refused with the
# text.
refused() { # TEXT OFFSET BYTES [OFFSET BYTES]...
	text=$1
	shift
	cp "$dir/good" "$image"
	while [ $# -gt 1 ]; do
		poke "$image" "$1" "$2"
		shift 2
	done
	# shellcheck disable=SC2086 # none, or two words
	timeout 60 $bounded vm-img convert -f qcow2 -O raw "$image" \
		"$dir/raw" >"$dir/out" 2>&1
	assertEquals "$text: status" 1 $?
	assertContains "$text" "$(cat "$dir/out")" "$text"
	assertContains "$text: names the file" "$(cat "$dir/out")" "$image"
}

test_header() {
	refused 'Unsupported qcow2 version 4' 4 "$(be32 4)"
	refused 'Unsupported cluster size: 2^8' 20 "$(be32 8)"
	refused 'Unsupported cluster size: 2^22' 20 "$(be32 22)"
	refused 'Unsupported cluster size: 2^4294967295' 20 \
		"$(be32 0xffffffff)"
	refused 'qcow2 header too short' 100 "$(be32 96)"
	refused 'qcow2 header exceeds cluster size' 100 "$(be32 0x10008)"
	refused 'not a multiple of 8' 100 "$(be32 108)"
	refused 'Reference count entry width too large' 96 "$(be32 7)"
	refused 'Unsupported encryption method 3' 32 "$(be32 3)"
}

test_tables() {
	refused 'Active L1 table too large' 36 "$(be32 0x7fffffff)"
	refused 'L1 table is too small' 24 "$(be64 0x4000000000)"
	refused 'Active L1 table offset invalid' 40 "$(be64 0x30001)"
	refused 'Active L1 table offset invalid' 40 \
		"$(be64 0x7fffffffffff0000)" 36 "$(be32 0x10000)"
	refused 'L1 table past end of file' 40 "$(be64 0x30000000)"
	refused 'L1 table past end of file' 36 "$(be32 0x400000)"
	refused 'Image is too big' 24 '\0377\0377\0377\0377\0377\0377\0377\0377' \
		36 "$(be32 1)"
	refused 'does not contain a reference count table' 56 "$(be32 0)"
	refused 'Reference count table too large' 56 "$(be32 0xffff)"
	refused 'Reference count table offset invalid' 48 "$(be64 0x10200)"
	refused 'Snapshot table too large' 60 "$(be32 65537)"
	refused 'Snapshot table offset invalid' 60 "$(be32 1)" 64 \
		"$(be64 0x10001)"
}

# Those who write refuse what they cannot count in.
test_refcount_table_past_the_end() {
	cp "$dir/good" "$image"
	qemu-img snapshot -c one "$image"
	poke "$image" 48 "$(be64 0x1000000)"
	for line in 'info a | grep -v date:' 'map a' 'snapshot -l a' \
		'convert -O raw a b && cksum b' 'check a' \
		'convert -l one -O raw a b && cksum b'; do
		same_on_copies "qemu-img $line"
	done
	cp "$image" "$dir/before"
	for line in 'snapshot -c two' 'resize -q' 'amend -o compat=0.10'; do
		size=
		[ "$line" != 'resize -q' ] || size=20M
		# shellcheck disable=SC2086 # several words
		vm-img $line "$image" $size >"$dir/out" 2>&1
		assertEquals "$line" 1 $?
		assertContains "$line" "$(cat "$dir/out")" \
			'Refcount table past end of file'
		cmp "$image" "$dir/before"
		assertEquals "$line: not written" 0 $?
	done
}

# The header can be read, but the disk would be one of zeroes, and all that it
# holds a leak.
test_l1_table_past_the_end() {
	for field in '40 0x1000000' '36 0x100000'; do
		cp "$dir/good" "$image"
		case $field in
		40*) poke "$image" 40 "$(be64 "${field#* }")" ;;
		36*) poke "$image" 36 "$(be32 "${field#* }")" ;;
		esac
		same_on_copies 'qemu-img info a'
		same_on_copies 'qemu-img check a'
		cp "$image" "$dir/before"
		for option in leaks all; do
			vm-img check -r $option "$image" >"$dir/out" 2>&1
			assertEquals "$field: $option" 1 $?
			assertContains "$field: $option" "$(cat "$dir/out")" \
				'L1 table past end of file'
			cmp "$image" "$dir/before"
			assertEquals "$field: $option: not written" 0 $?
		done
	done
}

test_backing_name() {
	refused 'Invalid backing file offset' 8 "$(be64 0x10001)"
	refused 'Invalid backing file offset' 8 "$(be64 8)"
	refused 'Backing file name too long' 8 "$(be64 1000)" 16 "$(be32 1024)"
	refused 'Backing file name too long' 8 "$(be64 0xfff0)" 16 "$(be32 17)"
}

test_extensions() {
	refused 'Header extension too large' 112 "$(be32 1)" 116 \
		"$(be32 0xffffffff)"
	refused 'Header extension too large' 112 "$(be32 0)" 116 \
		"$(be32 0x5ebc5)"
	same_on_copies 'qemu-img info a'
	refused 'ext_backing_format: len=1024 too large' 112 \
		"$(be32 0xe2792aca)" 116 "$(be32 1024)"
	refused 'bitmaps_ext: Invalid extension length' 112 \
		"$(be32 0x23852875)" 116 "$(be32 8)"
}

test_features_by_name() {
	refused 'Unsupported qcow2 feature(s): Unknown incompatible feature: 20' \
		72 "$(be64 0x20)"
	# Bit 1 is called "corrupt bit" in the table: let bit 5 have a name.
	refused 'Unsupported qcow2 feature(s): corrupt bit' 72 "$(be64 0x20)" \
		169 '\0005'
	# What has no name comes last, and in one.
	refused 'corrupt bit, Unknown incompatible feature: 60000000000000c0' \
		72 "$(be64 0x60000000000000e0)" 169 '\0005'
	refused 'feature(s): Unknown incompatible feature: 20' \
		72 "$(be64 0x20)" 169 '\0005' 122 '\0000'
	refused "'data-file' is required for this image" 72 "$(be64 4)"
	refused 'Compression type incompatible feature bit must not be set' \
		72 "$(be64 8)"
	refused 'Compression type incompatible feature bit must be set' \
		104 '\0001'
	refused 'unknown compression type: 2' 72 "$(be64 8)" 104 '\0002'
}

# What reading survives, but writing would make worse.
refuses_writing() { # TEXT OFFSET BYTES
	cp "$dir/good" "$image"
	poke "$image" "$2" "$3"
	cp "$image" "$dir/before"
	"$B/tests/tools/image-ops" "$image" 1 1 >"$dir/out" 2>&1
	assertEquals "$1: status" 1 $?
	assertContains "$1" "$(cat "$dir/out")" "$1"
	cmp "$image" "$dir/before"
	assertEquals "$1: not written" 0 $?
	vm-img convert -O raw "$image" "$dir/raw"
	assertEquals "$1: can be read" 0 $?
}

test_corrupt_bit() {
	refuses_writing 'Image is corrupt; cannot be opened read/write' 72 \
		"$(be64 2)"
}

# Bitmaps one and two, a cluster of bits each.
with_bitmaps() {
	qemu-img create -q -f qcow2 "$image" 10M
	qemu-img bitmap --add -g 512 "$image" one
	qemu-img bitmap --add -g 512 "$image" two
	qemu-io -c 'write 0 64k' -c 'write 9M 64k' "$image" >"$dir/out"
	directory=$(bitmaps "$image")
}

damage_bitmaps() { # NAME
	case $1 in
	first-name) poke "$image" $((directory + 18)) '\0360\0000' ;;
	last-name) poke "$image" $((directory + 50)) '\0360\0000' ;;
	type) poke "$image" $((directory + 16)) '\0002' ;;
	granularity) poke "$image" $((directory + 17)) '\0074' ;;
	flags) poke "$image" $((directory + 14)) '\0001' ;;
	extra-flag) poke "$image" $((directory + 15)) '\0006' ;;
	table-unaligned) poke "$image" $((directory + 6)) '\0002' ;;
	table-nowhere) poke "$image" "$directory" "$(be64 0)" ;;
	table-long) poke "$image" $((directory + 8)) "$(be32 0x1ff)" ;;
	table-huge) poke "$image" $((directory + 8)) "$(be32 0x7ffffff)" ;;
	bits-unaligned) poke "$image" $(($(peek64 "$image" "$directory") + 6)) \
		'\0002' ;;
	bits-reserved) poke "$image" "$(peek64 "$image" "$directory")" \
		'\0100' ;;
	shorter) poke "$image" $((112 + 8 + 384 + 8 + 8)) "$(be64 56)" ;;
	longer) poke "$image" $((112 + 8 + 384 + 8 + 8)) "$(be64 72)" ;;
	fewer) poke "$image" $((112 + 8 + 384 + 8)) "$(be32 1)" ;;
	more) poke "$image" $((112 + 8 + 384 + 8)) "$(be32 3)" ;;
	none) poke "$image" $((112 + 8 + 384 + 8)) "$(be32 0)" ;;
	beyond) poke "$image" $((112 + 8 + 384 + 8 + 16)) "$(be64 0x1000000)" ;;
	*) fail "no damage $1" ;;
	esac
}

# A copy without them would be one that lost them, and a repair would free what
# they are in: nobody opens the image, by the same text as QEMU's.
test_bitmaps_that_make_no_sense() {
	for name in first-name last-name type granularity flags \
		extra-flag table-unaligned table-nowhere table-long \
		table-huge bits-unaligned bits-reserved shorter \
		longer fewer more none beyond; do
		with_bitmaps
		damage_bitmaps $name
		for line in 'info a' 'check a' 'check -r leaks a' \
			'check -r all a' 'bitmap --add a c'; do
			same_on_copies "qemu-img $line"
			assertEquals "$name: $line" 1 \
				"$(tail -n 1 "$dir/ours")"
			cmp "$image" "$dir/2/a"
			assertEquals "$name: $line: not written" 0 $?
		done
		same_on_copies 'qemu-img convert --bitmaps -O qcow2 a b'
		same_on_copies 'qemu-img convert -O raw a b'
	done
}

# QEMU computes another length.
test_bitmap_with_much_extra_data() {
	with_bitmaps
	poke "$image" $((directory + 20)) "$(be32 0x7fffffff)"
	cp "$image" "$dir/before"
	for line in 'info' 'check' 'check -r leaks' 'check -r all' \
		'convert --bitmaps -O qcow2'; do
		rm -f "$dir/b"
		# shellcheck disable=SC2086 # several words
		case $line in
		convert*) vm-img $line "$image" "$dir/b" ;;
		*) vm-img $line "$image" ;;
		esac >"$dir/out" 2>&1
		assertEquals "$line" 1 $?
		assertContains "$line" "$(cat "$dir/out")" \
			"Could not open '$image': Broken bitmap directory"
		cmp "$image" "$dir/before"
		assertEquals "$line: not written" 0 $?
	done
}

# What is in use is worth nothing, but is not taken apart by a repair that
# cannot read it.
test_bitmap_in_use_with_a_bad_table() {
	for at in 6 0; do
		with_bitmaps
		poke "$image" $((directory + 15)) '\0003'
		poke "$image" $(($(peek64 "$image" "$directory") + at)) '\0102'
		vm-img check -q -r leaks "$image" 2>"$dir/out"
		assertEquals "$at: told" 2 $?
		assertContains "$at" "$(cat "$dir/out")" \
			'bitmap table corrupted'
		assertNotContains "$at" "$(cat "$dir/out")" Repairing
		vm-img bitmap --remove "$image" one 2>"$dir/out"
		assertEquals "$at: stays" 1 $?
	done
}

# A table that says that all of 512 MiB of bits are set takes 64 KiB.
test_bitmaps_larger_than_their_file() {
	qemu-img create -q -f qcow2 "$image" 2T
	qemu-img bitmap --add -g 512 "$image" b
	directory=$(peek64 "$image" $((112 + 8 + 384 + 8 + 16)))
	table=$(peek64 "$image" "$directory")
	i=0
	while [ $i -lt 8192 ]; do
		printf '\0\0\0\0\0\0\0\1'
		i=$((i + 1))
	done | dd of="$image" bs=64k oflag=seek_bytes iflag=fullblock \
		seek="$table" conv=notrunc status=none
	# shellcheck disable=SC2086 # none, or two words
	${bounded:+prlimit --as=134217728} "$B/tests/tools/image-ops" "$image" 1 1 \
		>"$dir/out" 2>&1
	assertEquals 1 $?
	assertContains "$(cat "$dir/out")" 'Bitmaps are too large'
	vm-img check -q "$image"
	assertEquals 'it can be read' 0 $?
}

bitmaps() { # IMAGE: where the directory is
	peek64 "$1" $((112 + 8 + 384 + 8 + 16))
}

# Data of which an entry says that it does no harm stays with it. QEMU opens no
# such image.
test_bitmaps_with_extra_data() {
	qemu-img create -q -f qcow2 "$image" 1M
	qemu-img bitmap --add "$image" extradatname
	at=$(bitmaps "$image")
	poke "$image" $((at + 15)) '\0006'
	poke "$image" $((at + 18)) '\0000\0004'
	poke "$image" $((at + 20)) "$(be32 8)"
	vm-img bitmap --add "$image" other
	assertEquals 'one is added' 0 $?
	at=$(bitmaps "$image")
	assertEquals 'kept' extradatname \
		"$(tail -c +$((at + 25)) "$image" | head -c 12)"
	vm-img check -q "$image"
	assertEquals 'sound' 0 $?
}

test_autoclear_bits_are_cleared_on_writing() {
	cp "$dir/good" "$image"
	poke "$image" 88 "$(be64 0x80)"
	vm-img convert -O raw "$image" "$dir/raw"
	assertEquals 'kept on reading' 128 "$(peek64 "$image" 88)"
	"$B/tests/tools/image-ops" "$image" 1 1
	assertEquals 'cleared on writing' 0 "$(peek64 "$image" 88)"
	poke "$image" 88 "$(be64 0x80)"
	vm-img check -q -r all "$image"
	assertEquals 'cleared by a repair' 0 "$(peek64 "$image" 88)"
}

# A refcount of zero for what is in use: nothing is written over it.
# The bitmap directory seems free, and is the next to be given out.
test_overlap_with_bitmaps() {
	qemu-img create -q -f qcow2 "$image" 4M
	qemu-img bitmap --add "$image" one
	block=$(peek64 "$image" 0x10000)
	directory=$(vm-img check --output=json "$image" |
		sed -n 's/.*"image-end-offset": \([0-9]*\).*/\1/p')
	directory=$((directory / 65536 - 1))
	poke "$image" $((block + directory * 2)) '\0000\0000'
	"$B/tests/tools/image-ops" "$image" 1 50 >"$dir/out" 2>&1
	assertEquals 1 $?
	assertContains "$(cat "$dir/out")" '(overlaps with bitmap directory)'
}

test_overlap_sets_the_corrupt_bit() {
	block=$(peek64 "$dir/good" 0x10000)
	for cluster in 0 1 2 3 4; do
		cp "$dir/good" "$image"
		poke "$image" $((block + cluster * 2)) '\0000\0000'
		"$B/tests/tools/image-ops" "$image" 1 50 >"$dir/out" 2>&1
		assertEquals "cluster $cluster" 1 $?
		assertContains "cluster $cluster" "$(cat "$dir/out")" \
			'Marking image as corrupt: Preventing invalid write'
		assertEquals "cluster $cluster" 2 "$(peek64 "$image" 72)"
		vm-img convert -O raw "$image" "$dir/raw"
		qemu-img compare -q -f raw -F qcow2 "$dir/raw" "$dir/good"
		assertEquals "cluster $cluster: data is as it was" 0 $?
	done
}

damage() { # NAME, with good's tables at l1, l2, table, block
	case $1 in
	used-but-free) poke "$image" $((block + 10)) '\0000\0000' ;;
	counted-twice) poke "$image" $((block + 10)) '\0000\0002' ;;
	not-copied) poke "$image" "$l2" '\0000' ;;
	l1-not-copied) poke "$image" "$l1" '\0000' ;;
	unaligned) poke "$image" $((l2 + 6)) '\0002' ;;
	reserved-l2) poke "$image" $((l2 + 7)) '\0002' ;;
	reserved-l1) poke "$image" $((l1 + 7)) '\0004' ;;
	reserved-table) poke "$image" $((table + 7)) '\0004' ;;
	beyond) poke "$image" $((l2 + 12)) '\0020' ;;
	l1-beyond) poke "$image" $((l1 + 4)) '\0020' ;;
	compressed-copied) poke "$image" $((l2 + 256)) '\0300' ;;
	compressed-beyond) poke "$image" $((l2 + 260)) '\0007' ;;
	block-beyond) poke "$image" "$table" "$(be64 0x20000000)" ;;
	block-twice) poke "$image" $((table + 8)) "$(be64 "$block")" ;;
	no-block) poke "$image" "$table" "$(be64 0)" ;;
	shared) poke "$image" $((l2 + 8)) "$(be32 0x80000000)$(be32 0x50000)" ;;
	on-table) poke "$image" $((l2 + 8)) "$(be32 0x80000000)$(be32 0x10000)" ;;
	zero-unaligned) poke "$image" $((l2 + 14)) '\0002\0001' ;;
	header-free) poke "$image" "$block" '\0000\0000' ;;
	*) fail "no damage $1" ;;
	esac
}

test_check_says_what_qemu_img_check_says() {
	for name in used-but-free counted-twice not-copied l1-not-copied \
		unaligned reserved-l2 reserved-l1 reserved-table beyond \
		l1-beyond compressed-copied compressed-beyond block-beyond \
		block-twice no-block shared on-table zero-unaligned \
		header-free; do
		case $name in
		compressed-*) cp "$dir/compressed" "$image" ;;
		*) cp "$dir/good" "$image" ;;
		esac
		l1=$(peek64 "$image" 40)
		l2=$(peek_entry "$image" "$l1")
		table=$(peek64 "$image" 48)
		block=$(peek64 "$image" "$table")
		damage $name
		qemu-img check "$image" >"$dir/theirs" 2>&1
		expected=$?
		vm-img check "$image" >"$dir/ours" 2>&1
		assertEquals "$name: status" $expected $?
		assertEquals "$name" "$(cat "$dir/theirs")" "$(cat "$dir/ours")"
	done
}

# A line with both programs, each on its own copy of the image, called a: what
# they print, and their statuses.
# In files: a check may say 16 MiB, and a shell that has once held them takes
# long to fork. Ours stops earlier, and says so.
same_on_copies() { # LINE
	cp "$image" "$dir/1/a"
	cp "$image" "$dir/2/a"
	(cd "$dir/1" && eval "$1"; echo $?) >"$dir/theirs" 2>&1
	(cd "$dir/2" && PATH=$dir/link:$PATH eval "$1"; echo $?) \
		>"$dir/ours" 2>&1
	if grep -q '^[0-9]* more lines are left out$' "$dir/ours"; then
		for side in theirs ours; do
			sed -e '/ more lines are left out$/d' \
				-e '65537,${/^\(ERROR\|Leaked\)/d}' \
				"$dir/$side" >"$dir/kept"
			mv "$dir/kept" "$dir/$side"
		done
	fi
	assertEquals "$1" '' "$(diff "$dir/theirs" "$dir/ours" 2>&1 |
		head -n 60)"
}

# The image opens, and what needs the snapshot's L1 table is refused.
uses_of_a_snapshot() {
	same_on_copies 'qemu-img info a | grep -v date:'
	same_on_copies 'qemu-img convert -l test -O raw a b'
	same_on_copies 'qemu-img amend -o compat=0.10 a'
	same_on_copies 'qemu-img snapshot -a test a'
	same_on_copies 'qemu-img snapshot -d test a'
	same_on_copies 'qemu-img check a'
	same_on_copies 'qemu-img convert -O raw a b && cksum b'
	cp "$image" "$dir/copy"
	"$B/tests/tools/image-ops" "$dir/copy" 1 50 >"$dir/out" 2>&1
	assertEquals "can be written: $(cat "$dir/out")" 0 $?
}

test_snapshot_with_a_bad_l1_table() {
	for field in '0 0x00400200' '8 0x10000000' '8 0xffffffff'; do
		cp "$dir/good" "$image"
		qemu-img snapshot -c test "$image"
		at=$(peek64 "$image" 64)
		case $field in
		0*) poke "$image" "$at" "$(be64 "${field#* }")" ;;
		8*) poke "$image" $((at + 8)) "$(be32 "${field#* }")" ;;
		esac
		uses_of_a_snapshot
	done
}

# What is found wrong on the way is told of once, on a line of its own.
test_corruption_is_told_as_qemu_img_tells() {
	for name in unaligned zero-unaligned l1-unaligned; do
		cp "$dir/good" "$image"
		l1=$(peek64 "$image" 40)
		l2=$(peek_entry "$image" "$l1")
		case $name in
		l1-unaligned) poke "$image" $((l1 + 6)) '\0052' ;;
		*) damage $name ;;
		esac
		same_on_copies 'qemu-img convert -O raw a b'
		same_on_copies "qemu-img compare a $dir/good"
		same_on_copies 'qemu-img amend -o compat=0.10 a'
		same_on_copies 'qemu-img map a'
		cp "$image" "$dir/copy"
		vm-img amend -o compat=0.10 "$dir/copy" 2>"$dir/out"
		[ $name = unaligned ] || assertEquals "$name: marked" 2 \
			"$(peek64 "$dir/copy" 72)"
	done
}

# What only it refers to seems to leak. A repair keeps it all the same, since
# somebody may mend the entry.
test_what_a_lost_snapshot_holds_is_kept() {
	for offset in 0x00400200 0x01000000 0x7fffffffffff0000; do
		cp "$dir/good" "$image"
		qemu-img snapshot -c test "$image"
		"$B/tests/tools/image-ops" "$image" 1 50
		at=$(peek64 "$image" 64)
		was=$(peek64 "$image" "$at")
		poke "$image" "$at" "$(be64 $offset)"
		vm-img check -r all "$image" >"$dir/out" 2>&1
		assertEquals "$offset: errors are left" 2 $?
		vm-img convert -l test -O raw "$image" "$dir/raw" 2>"$dir/out"
		assertEquals "$offset: is not read" 1 $?
		poke "$image" "$at" "$(be64 "$was")"
		qemu-img check -q "$image" >"$dir/out" 2>&1
		assertEquals "$offset: sound: $(cat "$dir/out")" 0 $?
		qemu-img convert -l test -O raw "$image" "$dir/raw"
		qemu-img compare -q -f raw -F qcow2 "$dir/raw" "$dir/good"
		assertEquals "$offset: as it was" 0 $?
	done
}

# New refcounts are not put there either.
test_what_a_lost_snapshot_holds_is_not_written_over() {
	cp "$dir/good" "$image"
	qemu-img snapshot -c test "$image"
	qemu-io -c 'write -q 0 2M' "$image"
	at=$(peek64 "$image" 64)
	was=$(peek64 "$image" "$at")
	poke "$image" "$at" "$(be64 0x01000000)"
	poke "$image" "$(peek64 "$image" "$(peek64 "$image" 48)")" '\0\0'
	vm-img check -r all "$image" >"$dir/out" 2>&1
	assertEquals 'errors are left' 2 $?
	assertContains "$(cat "$dir/out")" 'Rebuilding'
	poke "$image" "$at" "$(be64 "$was")"
	qemu-img check -q -r all "$image" >"$dir/out" 2>&1
	qemu-img convert -l test -O raw "$image" "$dir/raw"
	qemu-img compare -q -f raw -F qcow2 "$dir/raw" "$dir/good"
	assertEquals 'as it was' 0 $?
}

# A table that begins behind the end of the file reads as zeroes.
test_snapshot_table_past_the_end() {
	cp "$dir/good" "$image"
	poke "$image" 60 "$(be32 65536)$(be64 0x10000000)"
	same_on_copies 'qemu-img snapshot -c test a'
	# shellcheck disable=SC2086 # none, or two words
	timeout 60 $bounded vm-img convert -O raw "$image" "$dir/raw"
	assertEquals 0 $?
}

# A cluster that cannot be counted.
test_snapshot_of_an_entry_beyond() {
	for entry in 0xbfffffffffff0000 0x800000ffffff0000; do
		cp "$dir/good" "$image"
		poke "$image" "$(peek_entry "$image" "$(peek64 "$image" 40)")" \
			"$(be64 $entry)"
		same_on_copies 'qemu-img snapshot -c test a'
	done
}

# New refcounts go where there is room: a device has no more behind its end.
test_rebuilt_in_the_room_there_is() {
	cp "$dir/good" "$image"
	truncate -s 4M "$image"
	poke "$image" "$(peek64 "$image" "$(peek64 "$image" 48)")" '\0000\0000'
	vm-img check -q -r all "$image" >"$dir/out" 2>&1
	assertEquals 4194304 "$(stat -c %s "$image")"
	qemu-img check -q "$image"
	assertEquals sound 0 $?
	qemu-img compare -q "$image" "$dir/good"
	assertEquals 'as it was' 0 $?
	vm-img amend -o refcount_bits=32 "$image"
	assertEquals 'wider' 4194304 "$(stat -c %s "$image")"
	qemu-img check -q "$image"
	assertEquals 'wider and sound' 0 $?
}

# Too much, or too little, in the snapshot table: a repair writes a new one.
test_snapshot_table_is_repaired() {
	for len in 0x00010000 0x00000800 0; do
		cp "$dir/good" "$image"
		qemu-img snapshot -c one "$image"
		qemu-img snapshot -c two "$image"
		at=$(peek64 "$image" 64)
		# 40 bytes, 24 more, an identifier, a name: all padded.
		poke "$image" $((at + 72 + 36)) "$(be32 $len)"
		same_on_copies 'qemu-img check a'
		same_on_copies 'qemu-img check -r leaks a'
		same_on_copies 'qemu-img check -r all a | grep -v ^Image'
		same_on_copies 'qemu-img info a | grep -v date:'
		vm-img check -q -r all "$image" 2>"$dir/out"
		qemu-img check -q "$image"
		assertEquals "$len: sound" 0 $?
		assertEquals "$len: two snapshots" 4 \
			"$(qemu-img snapshot -l "$image" | wc -l)"
	done
	qemu-img create -q -f qcow2 -o compat=0.10 "$image" 10M
	poke "$image" 60 "$(be32 65540)$(be64 0x100000)"
	truncate -s $((0x100000 + 40 * 65540)) "$image"
	same_on_copies 'qemu-img check a'
	same_on_copies 'qemu-img info a'
}

# An entry of the refcount table that refers to the disk's data, as if that
# were a block, which a change of snapshots moves and whose place it gives back.
test_snapshot_with_a_refcount_block_in_data() {
	for options in cluster_size=64k cluster_size=16k,extended_l2=on; do
		qemu-img create -q -f qcow2 -o $options "$image" 10M
		qemu-io -c 'write -P 1 0 256k' "$image" >"$dir/out"
		cp "$image" "$dir/before"
		data=$(peek_entry "$image" \
			"$(peek_entry "$image" "$(peek64 "$image" 40)")")
		poke "$image" $(($(peek64 "$image" 48) + 8)) "$(be64 "$data")"
		vm-img snapshot -c one "$image" 2>"$dir/out"
		assertEquals "$options: refused" 1 $?
		assertContains "$(cat "$dir/out")" 'is used for something else'
		qemu-img compare -q "$image" "$dir/before"
		assertEquals "$options: as it was" 0 $?
		vm-img check -q -r all "$image" 2>"$dir/out"
		vm-img snapshot -c one "$image"
		assertEquals "$options: repaired" 0 $?
		qemu-img compare -q "$image" "$dir/before"
		assertEquals "$options: still as it was" 0 $?
	done
}

# The same with data that only a snapshot has, of a disk whose L1 table is too
# large for what was moved to go back.
test_snapshot_with_a_refcount_block_in_its_data() {
	qemu-img create -q -f qcow2 "$image" 1100T
	qemu-io -c 'write -P 1 0 256k' "$image" >"$dir/out"
	qemu-img snapshot -c one "$image"
	data=$(peek_entry "$image" \
		"$(peek_entry "$image" "$(peek64 "$image" 40)")")
	qemu-io -c 'write -P 3 0 256k' "$image" >"$dir/out"
	poke "$image" $(($(peek64 "$image" 48) + 8)) "$(be64 "$data")"
	vm-img snapshot -c two "$image" 2>"$dir/out"
	assertEquals refused 1 $?
	assertContains "$(cat "$dir/out")" 'is used for something else'
	vm-img check -q -r all "$image" 2>"$dir/out"
	qemu-io -c 'read -P 3 0 256k' "$image" >"$dir/out"
	assertEquals 'the disk' 0 $?
	assertNotContains "$(cat "$dir/out")" 'verification failed'
	qemu-img snapshot -a one "$image"
	qemu-io -c 'read -P 1 0 256k' "$image" >"$dir/out"
	assertEquals 'the snapshot' 0 $?
	assertNotContains "$(cat "$dir/out")" 'verification failed'
}

# Counts are wrong, so that a change would write over data or give it back: one
# of zero for what a snapshot has, an entry of the refcount table onto it. The
# verb is refused, and all is as it was.
with_wrong_counts() { # DAMAGE
	qemu-img create -q -f qcow2 "$image" 10M
	qemu-io -c 'write -P 0 1M 64k' -c 'write -P 1 0 256k' "$image" \
		>"$dir/out"
	l2=$(peek_entry "$image" "$(peek64 "$image" 40)")
	zeroes=$(peek_entry "$image" $((l2 + 16 * 8)))
	data=$(peek_entry "$image" "$l2")
	qemu-img snapshot -c one "$image"
	qemu-io -c 'write -P 3 0 2M' "$image" >"$dir/out"
	table=$(peek64 "$image" 48)
	block=$(peek64 "$image" "$table")
	case $1 in
	zero) poke "$image" $((block + data / 32768)) '\0\0' ;;
	entry) poke "$image" $((table + 8)) "$(be64 "$zeroes")" ;;
	entry-with-data) poke "$image" $((table + 8)) "$(be64 "$data")" ;;
	esac
}

# The disk as it is, and as it was in the snapshot.
sums() {
	qemu-img convert -U -O raw "$image" "$dir/raw"
	cksum <"$dir/raw"
	qemu-img convert -U -l one -O raw "$image" "$dir/raw"
	cksum <"$dir/raw"
}

test_change_with_wrong_counts() {
	for damage in zero entry entry-with-data; do
		with_wrong_counts $damage
		cp "$image" "$dir/damaged"
		before=$(sums)
		for line in 'snapshot -c two' 'snapshot -a one' \
			'resize -q --shrink' 'amend -o compat=0.10' compact; do
			size=
			[ "${line#resize}" = "$line" ] || size=5M
			cp "$dir/damaged" "$image"
			# shellcheck disable=SC2086 # words
			vm-img $line "$image" $size >"$dir/out" 2>&1
			assertEquals "$damage: $line" 1 $?
			assertEquals "$damage: $line: as it was" "$before" \
				"$(sums)"
			vm-img check -q -r all "$image" >"$dir/out" 2>&1
			qemu-img check -q "$image"
			assertEquals "$damage: $line: mended" 0 $?
			assertEquals "$damage: $line: still" "$before" "$(sums)"
		done
		cp "$dir/damaged" "$image"
		vm-img bitmap --add "$image" b >"$dir/out" 2>&1
		assertEquals "$damage: bitmap: as it was" "$before" "$(sums)"
		"$B/tests/tools/image-ops" "$image" 1 50 >"$dir/out" 2>&1
		assertEquals "$damage: as it was in the snapshot" \
			"$(echo "$before" | tail -n 1)" "$(sums | tail -n 1)"
	done
}

# A count of one bit is 1 where two refer to a cluster, too.
test_shrink_with_narrow_counts() {
	qemu-img create -q -f qcow2 -o refcount_bits=1 "$image" 1M
	qemu-io -c 'write -P 1 0 64k' -c 'write -P 2 960k 64k' "$image" \
		>"$dir/out"
	l2=$(peek_entry "$image" "$(peek64 "$image" 40)")
	poke "$image" $((l2 + 8 * 15)) "$(be32 0x80000000)$(be32 \
		"$(peek_entry "$image" "$l2")")"
	vm-img resize -q --shrink "$image" 512k >"$dir/out" 2>&1
	assertEquals 1 $?
	assertContains "$(cat "$dir/out")" 'Refcounts of 1 bits'
	assertContains "$(qemu-io -r -c 'read -P 1 0 64k' "$image" 2>&1)" \
		'read 65536/65536'
}

# Blocks that count nothing are good ones, where they are what they seem.
test_shrink_with_an_empty_block() {
	with_wrong_counts none
	at=$(stat -c %s "$image")
	truncate -s +65536 "$image"
	poke "$image" $((table + 8)) "$(be64 "$at")"
	poke "$image" $((block + at / 32768)) '\0\1'
	vm-img resize -q --shrink "$image" 5M
	assertEquals 0 $?
	qemu-img check -q "$image"
	assertEquals sound 0 $?
	assertEquals 'it is gone' 0 "$(peek64 "$image" $((table + 8)))"
}

# Counts of what a change has nothing to do with: it is made, as by qemu-io.
test_counts_elsewhere_cannot_be_read() {
	qemu-img create -q -f qcow2 -o cluster_size=512 "$image" 1G
	qemu-io -c 'write -q 0 300k' -c 'discard -q 0 4k' "$image"
	# What is free is no hole, so that there is doubt.
	cp --sparse=never "$image" "$dir/full"
	last=$(peek64 "$dir/full" $(($(peek64 "$dir/full" 48) + 24)))
	# Not by blkdebug, whose rules are for what a verb does itself.
	# shellcheck disable=SC2016 # nbdkit's shell has these
	full=$dir/full bad=$last start server nbdkit -f -U "$dir/sock" eval \
		get_size='stat -c %s "$full"' flush=: can_write=: can_flush=: \
		pread='[ "$4" -gt "$bad" ] || [ "$(($4 + $3))" -le "$bad" ] || {
			echo EIO >&2
			exit 1
		}
		dd if="$full" bs=64k count="$3" skip="$4" status=none \
			iflag=count_bytes,skip_bytes' \
		pwrite='dd of="$full" bs=64k seek="$4" oflag=seek_bytes \
			conv=notrunc status=none'
	wait_socket "$dir/sock" || fail "$(cat "$dir/server.log")"
	vm-img bench -w -c 1 -s 512 -f qcow2 "nbd+unix://?socket=$dir/sock" \
		>"$dir/out" 2>&1
	assertEquals "$(cat "$dir/out")" 0 $?
	stop server
	qemu-img check -q "$dir/full"
	assertEquals sound 0 $?
}

# double FILE LEN: its content again and again, up to LEN.
double() {
	while [ "$(stat -c %s "$1")" -lt "$2" ]; do
		cat "$1" "$1" >"$dir/more"
		mv "$dir/more" "$1"
	done
}

# As many snapshots as there can be share the largest L1 table, all of whose
# entries refer to one L2 table, and those to one cluster: 2^51 references.
test_tables_that_many_refer_to() {
	qemu-img create -q -f qcow2 "$image" 64k
	qemu-io -c 'write 0 64k' "$image" >"$dir/out"
	l2=$(peek_entry "$image" "$(peek64 "$image" 40)")
	printf %b "$(be64 "$(peek_entry "$image" "$l2")")" >"$dir/table"
	double "$dir/table" 65536
	dd if="$dir/table" of="$image" bs=64k oflag=seek_bytes seek="$l2" \
		conv=notrunc status=none
	printf %b "$(be64 "$l2")" >"$dir/table"
	double "$dir/table" $((32 << 20))
	at=$(stat -c %s "$image")
	cat "$dir/table" >>"$image"
	printf %b "$(be64 "$at")$(be32 $((4 << 20)))$(be64 0)$(be64 0)$(
		be64 0)$(be32 24)$(be64 0)$(be64 65536)$(be64 0)" >"$dir/table"
	double "$dir/table" $((64 * 65536))
	poke "$image" 60 "$(be32 65536)$(be64 "$(stat -c %s "$image")")"
	cat "$dir/table" >>"$image"
	# shellcheck disable=SC2086 # none, or two words
	timeout 300 ${bounded:+prlimit --as=67108864 --cpu=10} vm-img check \
		"$image" >"$dir/out" 2>"$dir/err"
	assertEquals 'status' 2 $?
	assertContains 'references' "$(cat "$dir/out")" ' errors were found'
	assertEquals 'lines' 65537 "$(wc -l <"$dir/err")"
	assertContains 'lines' "$(tail -n 1 "$dir/err")" 'more lines'
	for line in 'snapshot -c a' 'amend -o compat=0.10' compact; do
		poke "$image" 72 "$(be64 0)"
		# shellcheck disable=SC2086 # several words
		timeout 300 ${bounded:+prlimit --cpu=10} vm-img $line "$image" \
			2>"$dir/err"
		assertEquals "$line" 1 $?
	done
}

. shunit2
