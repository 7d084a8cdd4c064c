#!/bin/sh
# SPDX-License-Identifier: ISC
# Images whose tables lead beyond the end of their file: a download that broke
# off, a copy to a full disk. What is lost is never read as zeroes, and check
# counts what qemu-img's does.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/formats.sh

setUp() {
	formats_dir
	random src.raw 8M
}

tearDown() {
	img_cleanup
}

make_good() { # FORMAT [OPTIONS]
	qemu-img convert -f raw -O "$1" ${2:+-o "$2"} src.raw good.img
	cp good.img a.img
}

cut_off() { # BYTES
	cp good.img a.img
	truncate -s "-$1" a.img
}

# What is done with an image says what qemu-img says.
same_all() { # FORMAT
	same convert -f "$1" -O raw a.img b.img
	same map -f "$1" a.img
	same info -f "$1" a.img
	same check -f "$1" a.img
	same compare -f "$1" -F raw a.img src.raw
}

# counted STATUS FORMAT LINES: check prints what qemu-img's does, and so many
# lines of what is lost.
counted() {
	qemu-img check -f "$2" a.img >theirs 2>err
	assertEquals "$2: qemu-img check: $(cat theirs)" "$1" $?
	timeout 60 vm-img check -f "$2" a.img >ours 2>err
	assertEquals "$2: check: $(cat ours err)" "$1" $?
	assertEquals "$2: what check prints" "$(cat theirs)" "$(cat ours)"
	assertEquals "$2: lines: $(cat err)" "$3" \
		"$(grep -c "^ERROR .* is beyond the file's end" err)"
}

test_vpc() {
	make_good vpc force_size=on
	cut_off 3145728
	same_all vpc
	refused "Could not open 'a.img': block-vpc: free_data_block_offset \
points after the end of file. The image has been truncated." \
		convert -f vpc -O raw a.img b.img
	cp good.img a.img
	poke a.img 528 "$(be64 $((1 << 40)))" # the table
	same_all vpc
	cp good.img a.img
	poke a.img 1536 "$(be32 0xf00000)" # a block
	same_all vpc
	# The footer alone is not missed, but for what stands where it was.
	cut_off 512
	same convert -f vpc -O raw a.img b.img
	cmp src.raw b.img
	assertEquals 'without a footer' 0 $?
	cut_off 1024
	same_all vpc
}

test_vhdx() {
	make_good vhdx block_size=1M
	for cut in 1048576 3000320; do
		cut_off $cut
		qemu-img info -f vhdx a.img >out 2>theirs
		refused "Could not open 'a.img': $(sed -n 's/^qemu-img: //p;q' \
			theirs)" convert -f vhdx -O raw a.img b.img
		refused "Could not open 'a.img': $(sed -n 's/^qemu-img: //p;q' \
			theirs)" map -f vhdx a.img
		counted 2 vhdx $(((cut + 1048575) / 1048576))
	done
	make_good vhdx
	cut_off 512
	counted 2 vhdx 1
	vm-img compare -q -f vhdx -F raw good.img src.raw
	assertEquals 'what is whole' 0 $?
}

test_qed() {
	make_good qed
	cut_off 5000192
	counted 2 qed 77
	refused "error while reading block status at offset 3342336: byte \
$(stat -c %s a.img) is beyond the file's end" convert -f qed -O raw a.img b.img
	# The L2 table is lost, or a part of it: one error.
	for size in 589824 2424832 2686464; do
		cp good.img a.img
		truncate -s $size a.img
		counted 2 qed 1
		refused "error while reading block status at offset 0: L2 \
table at offset 2424832 is beyond the file's end" \
			convert -f qed -O raw a.img b.img
	done
	for size in 294912 100000; do
		cp good.img a.img
		truncate -s $size a.img
		same_all qed
	done
	for place in 65536 65544; do # of the disk's blocks, and behind them
		cp good.img a.img
		poke a.img $place "$(le64 $((1 << 30)))"
		counted 2 qed 1
	done
	timeout 60 vm-img check -q -f qed -r all a.img 2>err
	assertEquals "repaired: $(cat err)" 0 $?
	same_all qed
	cp good.img a.img
	poke a.img $((2424832 + 8 * 128)) "$(le64 $((1 << 30)))"
	timeout 60 vm-img check -q -f qed a.img 2>err
	assertEquals "behind the disk's end: $(cat err)" 2 $?
}

# The next new cluster would be where a lost one was.
test_qed_is_not_written_to() {
	make_good qed
	vm-img resize -q -f qed good.img 16M
	cut_off 5000192
	head -c 64k src.raw >first.raw
	refused "error while writing at byte 0: QED tables lead beyond the \
file's end: it has to be repaired before it can be written to" \
		convert -n -f raw -O qed first.raw a.img
}

# A map has no place for what is lost, which qemu-img reads as zeroes.
test_vdi() {
	make_good vdi
	cut_off 1000000
	timeout 60 vm-img check -f vdi a.img >out 2>err
	assertEquals "check: $(cat out err)" 2 $?
	assertEquals 'lost' 1 "$(grep -c "^ERROR .* beyond the file's end" err)"
	refused "error while reading block status at offset 7340032: byte \
$(stat -c %s a.img) is beyond the file's end" convert -f vdi -O raw a.img b.img
}

# What a child has of its own is not its parent's when it is lost.
test_children() {
	for format in vpc vhdx; do
		vm-img create -q -f $format \
			-o "$([ $format = vhdx ] || echo force_size=on,)size=8M" \
			base.img
		vm-img create -q -f $format -b base.img -F $format good.img
		"$B/tests/tools/image-ops" --same-size --format=$format \
			good.img 1 20 mirror 2>err || fail "$(cat err)"
		for cut in 1024 1048576 2097152; do
			cut_off $cut
			timeout 60 vm-img convert -f $format -O raw a.img b.img \
				2>err
			assertEquals "$format: $cut" 1 $?
			assertTrue "$format: $(cat err)" \
				"file_has err 'mage has (probably )?been truncated'"
		done
		rm -f base.img good.img
	done
}

. shunit2
