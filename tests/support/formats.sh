# shellcheck shell=sh
# SPDX-License-Identifier: ISC
# Shell functions for tests of other hypervisors' formats, which hold vm-img
# against qemu-img. Source it after guest.sh and img.sh.
#
#	FORMATS_LONG=1		In the environment: more of everything.
#	formats_dir		img_dir in memory where that can be had.
#	disk FILE SIZE		A raw disk: text, random bytes, holes.
#	made_there FORMAT OPTIONS SIZE
#				An image of qemu-img's with a disk in it, or
#				in the long run also without: read, written
#				and judged.
#	made_here FORMAT OPTIONS SIZE
#				The same with images of ours.
#	sound WHAT FORMAT IMAGE DISK
#				qemu-img finds no fault with it, and the raw
#				DISK in it; and so do we.
#	described FORMAT IMAGE	info and check say what qemu-img's do.
#	poke FILE OFFSET BYTES	Overwrites; BYTES as for printf %b.
#	fill FILE OFFSET N BYTES
#				The same, N times in a row.
#	bochs_header FILE ENTRIES BITMAP-SIZE EXTENT-SIZE DISK-SIZE
#				Overwrites the beginning: a growing image's.
#	le32 N, le64 N, be32 N, be64 N
#				N as bytes for poke.
# shellcheck disable=SC2154 # dir is set by test_dir

formats_dir() {
	[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
	img_dir
}

disk() {
	rm -f "$1"
	truncate -s "$2" "$1"
	[ "$2" != 0 ] || return 0
	bytes=$(stat -c %s "$1")
	seq 1 200000 | head -c $((bytes / 4)) |
		dd of="$1" conv=notrunc status=none
	head -c $((bytes / 5)) /dev/urandom |
		dd of="$1" bs=64k seek=$((bytes / 2 / 65536)) conv=notrunc \
			status=none
	truncate -s "$2" "$1"
}

# Formats whose check is worth a word.
has_check() {
	case $1 in
	vdi | vhdx | vmdk | parallels | qed) true ;;
	*) false ;;
	esac
}

sound() {
	if has_check "$2"; then
		qemu-img check -f "$2" "$3" >.check 2>&1 ||
			fail "$1: $(head -n 3 .check)"
		timeout 60 vm-img check -f "$2" "$3" >.check 2>&1 ||
			fail "$1: ours: $(head -n 3 .check)"
	fi
	qemu-img compare -f "$2" -F raw "$3" "$4" >.compare 2>&1 ||
		fail "$1: $(cat .compare)"
	timeout 60 vm-img convert -f "$2" -O raw "$3" .back 2>.err ||
		fail "$1: $(cat .err)"
	cmp -n "$(stat -c %s "$4")" "$4" .back >.compare 2>&1 || fail "$1: ours: $(cat .compare)"
}

described() {
	same info -f "$1" "$2"
	same info -f "$1" --output=json "$2"
	same check -f "$1" "$2"
	same check -f "$1" --output=json "$2"
}

# The mirror may be shorter than a disk that a format made longer.
operations() { # WHAT FORMAT IMAGE SEED
	timeout 120 "$B/tests/tools/image-ops" --same-size "--format=$2" \
		"$3" "$4" 250 mirror 2>.err || fail "$1: $(cat .err)"
	sound "$1" "$2" "$3" mirror
}

judge() { # WHAT FORMAT SEED
	operations "$1" "$2" a.img "$3"
	[ -z "$FORMATS_LONG" ] || operations "$1: again" "$2" a.img "$3"1
	described "$2" a.img
	rm -f a.img
}

made_by() { # PROGRAM FORMAT OPTIONS SIZE
	what="$1, $2 $3 $4"
	if [ -n "$FORMATS_LONG" ]; then
		timeout 60 "$1" create -q -f "$2" ${3:+-o "$3"} a.img "$4" ||
			fail "$what: create"
		described "$2" a.img
		judge "$what: empty" "$2" ${#3}
	fi
	disk disk "$4"
	timeout 60 "$1" convert -f raw -O "$2" ${3:+-o "$3"} disk a.img ||
		fail "$what: convert"
	sound "$what: with a disk" "$2" a.img disk
	judge "$what: with a disk" "$2" ${#3}
}

made_there() {
	made_by qemu-img "$@"
}

made_here() {
	made_by vm-img "$@"
}

bytes() { # N SHIFT...
	number=$1
	shift
	for shift; do
		printf '\\0%03o' $((number >> shift & 255))
	done
}

le32() {
	bytes "$1" 0 8 16 24
}

le64() {
	bytes "$1" 0 8 16 24 32 40 48 56
}

be32() {
	bytes "$1" 24 16 8 0
}

be64() {
	bytes "$1" 56 48 40 32 24 16 8 0
}

poke() {
	printf %b "$3" | dd of="$1" bs=1 seek="$(($2))" conv=notrunc status=none
}

fill() {
	printf %b "$4" >.once
	length=$(($(stat -c %s .once) * $3))
	while [ "$(stat -c %s .once)" -lt "$length" ]; do
		cat .once .once >.twice
		mv .twice .once
	done
	head -c "$length" .once |
		dd of="$1" bs=1M oflag=seek_bytes seek="$(($2))" conv=notrunc \
			iflag=fullblock status=none
	rm .once
}

bochs_header() {
	poke "$1" 0 'Bochs Virtual HD Image'
	poke "$1" 32 Redolog
	poke "$1" 48 Growing
	poke "$1" 64 "$(le32 0x20000)$(le32 512)$(le32 "$2")$(le32 "$3")$(le32 "$4")"
	poke "$1" 88 "$(le64 "$5")"
}
