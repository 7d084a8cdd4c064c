#!/bin/sh
# SPDX-License-Identifier: ISC
# Differencing images of VHD and VHDX, which qemu-img does not open: made by
# the letter of the specifications and read by ours, made by ours and read by
# libvhdi; killed, failed, committed and rebased.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/formats.sh

KILLS_EACH=${KILLS_EACH:-2}

setUp() {
	formats_dir
	export IMAGE_CHAIN=1 # image-do writes as everybody else
	make_child=$top/tests/support/make_child.py
	vhdi_read=$top/tests/support/vhdi_read.py
	disk disk 9M
}

tearDown() {
	img_cleanup
}

both() { # FUNCTION
	"$1" vpc force_size=on
	"$1" vhdx block_size=1M block_size=1M
}

base() { # FORMAT OPTIONS
	rm -f ./*.img
	silent convert -f raw -O "$1" ${2:+-o "$2"} disk base.img
}

child() { # FORMAT [OPTIONS]
	silent create -q -f "$1" ${2:+-o "$2"} -b base.img -F "$1" a.img
}

by_the_letter() { # FORMAT
	case $1 in
	vpc) set -- "$1" W2ru='.\base.img' W2ku='C:\x\base.img' ;;
	vhdx) set -- "$1" parent_linkage=@ relative_path='.\base.img' \
		absolute_win32_path='\\?\C:\x\base.img' ;;
	esac
	format=$1
	shift
	"$make_child" "$format" base.img disk a.img mirror "$@"
}

reads_as() { # WHAT FORMAT IMAGE RAW
	timeout 60 vm-img compare -f "$2" -F raw "$3" "$4" >.out 2>&1 ||
		fail "$1: $(cat .out)"
	[ "$2" != vhdx ] || silent check -q -f vhdx "$3"
}

libvhdi_reads_as() { # WHAT RAW IMAGE...
	what=$1
	raw=$2
	shift 2
	rm -f got
	"$vhdi_read" got "$@" 2>.err
	cmp got "$raw" >>.err 2>&1 || fail "$what: libvhdi: $(cat .err)"
}

check_by_the_letter() {
	base "$@"
	by_the_letter "$1"
	reads_as 'as it was made' "$1" a.img mirror
	libvhdi_reads_as 'as it was made' mirror base.img a.img
	timeout 120 "$B/tests/tools/image-ops" --same-size --format="$1" a.img \
		4 150 mirror 2>.err || fail "$1: $(cat .err)"
	reads_as 'written' "$1" a.img mirror
}

test_made_by_the_letter() {
	both check_by_the_letter
}

# Pieces of 4 KiB, as guests write; libvhdi 20210425 would not read others
# right in VHD.
check_libvhdi() {
	base "$@"
	child "$1"
	cp disk mirror
	for at in 0 12288 1044480 2093056 4198400 9433088; do
		"$B/tests/tools/image-do" a.img write $at 8192 2>/dev/null ||
			"$B/tests/tools/image-do" a.img write $at 4096
	done
	"$B/tests/tools/image-do" a.img zero 65536 131072
	silent convert -f "$1" -O raw a.img mirror
	cmp -s disk mirror && fail "$1: nothing was written"
	libvhdi_reads_as "$1" mirror base.img a.img
	silent create -q -f "$1" -b a.img -F "$1" b.img
	"$B/tests/tools/image-do" b.img write 16384 4096
	silent convert -f "$1" -O raw b.img mirror
	libvhdi_reads_as "$1, two" mirror base.img a.img b.img
	assertTrue 'little was allocated' "[ $(du -k a.img | cut -f 1) -lt 900 ]"
}

test_read_by_libvhdi() {
	both check_libvhdi
}

check_chain() {
	base "$@"
	cp disk mirror
	child "$1"
	timeout 120 "$B/tests/tools/image-ops" --same-size --format="$1" \
		a.img 3 200 mirror 2>.err || fail "$1: $(cat .err)"
	reads_as "$1" "$1" a.img mirror
	assertEquals "$(stat -c %s mirror)" "$(vm-img map -f "$1" --output=json \
		a.img | jq '[.[].length] | add')"
	# One over it; the one under it by another name.
	silent create -q -f "$1" -b a.img -F "$1" b.img
	reads_as "$1: two" "$1" b.img mirror
	mkdir sub
	cp a.img sub/other.img
	cp base.img sub
	silent rebase -u -f "$1" -b sub/other.img -F "$1" b.img
	reads_as "$1: another" "$1" b.img mirror
	assertContains "$(vm-img info b.img)" 'backing file: sub/other.img'
	rm -r sub
	# All of it to the base, which is read as before; then it is empty.
	silent commit -q -f "$1" a.img
	reads_as "$1: base" "$1" base.img mirror
	reads_as "$1: committed" "$1" a.img mirror
	qemu-img compare -f "$1" -F raw base.img mirror >.out 2>&1 ||
		fail "$1: $(cat .out)"
	assertTrue "$1: empty" "[ $(stat -c %s a.img) -le 4194304 ]"
	assertEquals "$1: empty" '[]' "$(vm-img map -f "$1" --output=json a.img |
		jq -c '[.[] | select(.depth == 0)]')"
	# Written again, and to a base that is not the one under it.
	timeout 120 "$B/tests/tools/image-ops" --same-size --format="$1" a.img \
		5 100 mirror 2>.err || fail "$1: $(cat .err)"
	reads_as "$1: again" "$1" a.img mirror
	silent rebase -f "$1" -b base.img -F "$1" a.img
	reads_as "$1: rebased" "$1" a.img mirror
	silent convert -f "$1" -O qcow2 a.img flat.qcow2
	reads_as "$1: flat" qcow2 flat.qcow2 mirror
}

test_chains() {
	both check_chain
}

test_convert_over_a_base() {
	base vpc force_size=on
	cp disk new
	random piece 100k
	dd if=piece of=new bs=512 seek=333 conv=notrunc status=none
	silent create -q -f vpc -b base.img -F vpc a.img
	"$B/tests/tools/image-do" a.img write 170496 102400
	silent convert -f vpc -O vpc -B base.img -F vpc a.img b.img
	silent convert -f vpc -O raw a.img new
	reads_as 'over a base' vpc b.img new
	assertTrue 'a part of it' "[ $(stat -c %s b.img) -lt 3000000 ]"
}

# Names: relative to the image's folder, and nothing of Windows's own.
test_names() {
	base vpc force_size=on
	"$make_child" vpc base.img disk a.img mirror name=base.img
	reads_as "the header's" vpc a.img mirror
	mkdir sub
	"$make_child" vpc base.img disk sub/a.img mirror 'W2ru=..\base.img'
	reads_as 'in another folder' vpc sub/a.img mirror
	(cd sub && reads_as 'from there' vpc a.img ../mirror)
	for name in 'C:\x\base.img' '\\host\x\base.img' '\base.img'; do
		"$make_child" vpc base.img disk a.img mirror "W2ru=$name"
		vm-img info a.img | grep -qF "backing file: $name" ||
			fail "info: $name"
		refused "Could not open 'a.img': Parent '$name' is named by an \
absolute path of Windows" convert -O raw a.img b.raw
	done
	"$make_child" vpc base.img disk a.img mirror 'W2ru=.\a.img'
	refused "Could not open 'a.img': Backing \
file 'a.img' creates an infinite loop." convert -O raw a.img b.raw
	"$make_child" vpc base.img disk a.img mirror
	refused "Could not open 'a.img': The parent's name cannot be read" \
		info a.img
	"$make_child" vpc base.img disk a.img mirror 'W2ru=.\none.img'
	refused "Could not open 'a.img': Could not open backing file: Could not \
open 'none.img': No such file or directory" convert -O raw a.img b.raw
	assertEquals 1 "$(vm-img info --integrity a.img >/dev/null 2>&1
	echo $?)"
}

test_vhdx_locators() {
	base vhdx block_size=1M
	child vhdx
	"$make_child" locator a.img base.img parent_linkage=@ \
		'absolute_win32_path=\\?\C:\base.img'
	vm-img info a.img | grep -qF 'backing file: \\?\C:\base.img' ||
		fail 'info'
	refused "Could not open 'a.img': Parent '\\\\?\\C:\\base.img' is named by \
an absolute path of Windows" convert -O raw a.img b.raw
	"$make_child" locator a.img base.img 'relative_path=.\base.img'
	refused "Could not open 'a.img': VHDX parent has no valid 'parent_linkage'" \
		info a.img
	"$make_child" locator a.img base.img parent_linkage=@
	refused "Could not open 'a.img': VHDX parent has no name" info a.img
	zero='{00000000-0000-0000-0000-000000000000}'
	"$make_child" locator a.img base.img "parent_linkage=$zero" \
		parent_linkage2=@ 'relative_path=.\base.img'
	reads_as 'the second' vhdx a.img disk
	"$make_child" locator a.img base.img "parent_linkage=$zero" \
		'relative_path=.\base.img'
	refused "Could not open 'a.img': Could not open backing file: 'base.img' \
is not the image's parent, or has been changed since: its data GUID is another \
one" convert -O raw a.img b.raw
	# That can be set right.
	silent rebase -u -f vhdx -b base.img -F vhdx a.img
	reads_as 'set right' vhdx a.img disk
	"$B/tests/tools/image-do" base.img write 0 4096
	assertContains "$(vm-img compare -F raw a.img disk 2>&1)" \
		'has been changed since'
}

test_another_parent() {
	base vpc force_size=on
	child vpc
	mv base.img other.img
	silent convert -f raw -O vpc -o force_size=on disk base.img
	refused "Could not open 'a.img': Could not open backing file: 'base.img' \
is not the image's parent: its unique ID is another one" \
		convert -O raw a.img b.raw
	silent rebase -u -f vpc -b base.img -F vpc a.img
	reads_as 'set right' vpc a.img disk
	assertContains "$(vm-img rebase -f vpc -b '' a.img 2>&1)" \
		'Operation not supported'
	reads_as 'as it was' vpc a.img disk
}

test_what_cannot_be_made() {
	base vpc force_size=on
	qemu-img create -q -f qcow2 other.img 9M
	for format in vpc vhdx; do
		base $format
		refused "a.img: A fixed image has no backing file" create \
			-q -f $format -o subformat=fixed -b base.img \
			-F $format a.img
		refused "a.img: Backing file name '$dir/base.img' is not \
relative to the image's folder" create -q -f $format -b "$dir/base.img" \
			-F $format a.img
		refused "a.img: A differencing image is as large as its \
backing file, $(vm-img info --output=json base.img |
			jq '."virtual-size"') bytes" create -q -f $format \
			-b base.img -F $format a.img 3M
		assertFalse 'nothing is left' '[ -e a.img ]'
	done
	qemu-img create -q -f qcow2 other.img 9M
	refused "a.img: Backing file not supported for file format 'vhdx'" \
		create -q -f vhdx -b other.img -F qcow2 a.img
	assertContains "$(vm-img commit -f vhdx base.img 2>&1)" \
		'does not have a backing file'
}

check_kills() {
	seed=1
	while [ $seed -le "$KILLS_EACH" ]; do
		if [ $((seed % 2)) = 1 ]; then
			disk disk 4M
			base "$@"
			child "$1" ${3:+"$3"}
			cp disk original
		fi
		"$B/tests/tools/image-writer" write a.img state $seed \
			$((seed * 7919 % 60 + 4)) 2>.err ||
			fail "$1, seed $seed: $(cat .err)"
		"$B/tests/tools/image-ops" --same-size a.img 1 0 ||
			fail "$1, seed $seed: cannot be opened"
		[ "$1" = vpc ] || silent check -q a.img
		"$B/tests/tools/image-writer" verify a.img state $seed \
			original 2>.err || fail "$1, seed $seed: $(cat .err)"
		seed=$((seed + 1))
	done
}

test_kill() {
	both check_kills
}

# Each call that changes the file fails in turn: every sector is as it was
# before or after, and the image goes on to be good.
check_failures() {
	disk disk 2500k
	base "$@"
	child "$1" ${3:+"$3"}
	"$B/tests/tools/image-do" a.img write 1000448 4096
	cp a.img kept.img
	for what in 'write 2097000 5000' empty; do
		silent convert -f "$1" -O raw kept.img before
		cp kept.img a.img
		# shellcheck disable=SC2086 # words
		"$B/tests/tools/image-do" a.img $what
		silent convert -f "$1" -O raw a.img after
		n=1
		while :; do
			cp kept.img a.img
			# shellcheck disable=SC2086 # words
			IMAGE_FAIL=$n "$B/tests/tools/image-do" a.img $what \
				2>.err
			[ $? != 3 ] || break
			# Another one has to replay its log.
			[ "$1" = vpc ] || silent check -q -r all a.img
			reads=$(vm-img convert -f "$1" -O raw a.img out 2>&1)
			assertEquals "$1 $what $n" '' "$reads"
			"$B/tests/tools/image-mix" out before after ||
				fail "$1 $what, failure $n"
			n=$((n + 1))
		done
		assertTrue "$1 $what: $n calls" "[ $n -gt 3 ]"
	done
}

test_failures() {
	both check_failures
}

. shunit2
