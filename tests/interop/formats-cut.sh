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

# lost PLACE LINES STATUS FORMAT: the file ends before what the disk has at
# PLACE, and check says so in so many lines; QEMU's reads zeroes there.
lost() {
	refused "error while reading block status at offset $1: byte \
$(stat -c %s a.img) is beyond the file's end" \
		convert -f "$4" -O raw a.img b.img
	timeout 60 vm-img check -f "$4" a.img >out 2>err
	assertEquals "$4: check: $(cat out err)" "$3" $?
	assertEquals "$4: lines: $(cat err)" "$2" \
		"$(grep -c "^ERROR .* beyond the file's end" err)"
}

lost_anywhere() { # FORMAT TEXT
	timeout 60 vm-img convert -f "$1" -O raw a.img b.img 2>err
	assertEquals "$1: convert: $(cat err)" 1 $?
	assertTrue "$1: $2: $(cat err)" "file_has err \"$2\""
}

test_vdi() {
	make_good vdi
	cut_off 1000000
	lost 7340032 1 2 vdi
	# Neither is what is open for writing.
	"$B/tests/tools/image-ops" --same-size --format=vdi a.img 1 0 mirror \
		2>err
	assertEquals "open for writing: $(cat err)" 1 $?
	cp good.img a.img
	truncate -s 512 a.img
	refused "Could not open 'a.img': The block map is beyond the file's \
end" convert -f vdi -O raw a.img b.img
	same info a.img
}

test_vmdk() {
	make_good vmdk
	cut_off 100
	lost 8323072 1 2 vmdk
	cut_off 1000000
	lost 7340032 16 2 vmdk
	# A table is lost: in the last MiB of the file.
	cp good.img a.img
	poke a.img $((26 * 512)) "$(le32 99999)"
	refused "error while reading block status at offset 0: Grain table at \
offset 51199488 is beyond the file's end" convert -f vmdk -O raw a.img b.img
	truncate -s 13000 a.img
	same convert -f vmdk -O raw a.img b.img
}

# The sum of what was compressed tells that its end is missing.
test_vmdk_stream() {
	make_good vmdk subformat=streamOptimized
	cut_off 1000
	timeout 60 vm-img check -f vmdk a.img >out 2>err
	assertEquals "check: $(cat out err)" 2 $?
	assertEquals 'lost' 1 "$(grep -c "^ERROR .* beyond the file's end" err)"
	lost_anywhere vmdk 'Grain at offset [0-9]* cannot be decompressed'
	cut_off 1000000
	lost_anywhere vmdk "beyond the file.s end"
}

test_vmdk_flat() {
	make_good vmdk subformat=monolithicFlat
	truncate -s 1000000 good-flat.img
	lost_anywhere vmdk "byte [0-9]* is beyond the file.s end"
	timeout 60 vm-img check -f vmdk a.img >out 2>err
	assertEquals "check: $(cat out err)" 2 $?
	silent dd -f vmdk -O raw bs=512 count=1953 if=a.img of=b.img
	cmp -n 999936 src.raw b.img
	assertEquals 'what is there' 0 $?
}

test_parallels() {
	make_good parallels
	cut_off 1000000
	lost 7340032 1 2 parallels
	cp good.img a.img
	truncate -s 70 a.img
	refused "Could not open 'a.img': The catalog is beyond the file's \
end" convert -f parallels -O raw a.img b.img
}

test_qcow1() {
	make_good qcow
	cut_off 100
	refused "error while reading block status at offset 8384512: byte \
$(stat -c %s a.img) is beyond the file's end" convert -f qcow -O raw a.img b.img
	cp good.img a.img
	truncate -s 5000 a.img # within the first L2 table
	refused "error while reading block status at offset 0: L2 table at \
offset 4096 is beyond the file's end" convert -f qcow -O raw a.img b.img
	truncate -s 50 a.img
	refused "Could not open 'a.img': L1 table is beyond the file's end" \
		convert -f qcow -O raw a.img b.img
	# Raw deflate has no sum: zeroes may be as good as what was lost.
	seq 1 1000000 | head -c 4096k >text
	vm-img convert -c -f raw -O qcow text a.img
	truncate -s -1 a.img
	refused "error while reading block status at offset 4190208: byte \
$(stat -c %s a.img) is beyond the file's end" convert -f qcow -O raw a.img b.img
}

# Two extents of 4 KiB, each with a bitmap of one sector, of which the second
# has the first sector and the last one.
test_bochs() {
	truncate -s 512 good.img
	bochs_header good.img 2 1 4096 8192
	poke good.img 512 "$(le32 -1)$(le32 0)"
	poke good.img 520 '\0201'
	head -c 4096 src.raw >>good.img
	truncate -s 5128 good.img
	dd if=src.raw of=good.img bs=4096 count=1 seek=1032 oflag=seek_bytes \
		conv=notrunc status=none
	cp good.img a.img
	same convert -f bochs -O raw a.img b.img
	cmp -n 512 -i 0:4096 src.raw b.img
	assertEquals 'what is whole' 0 $?
	cut_off 1
	lost_anywhere bochs 'byte 5127 is beyond the file.s end'
	truncate -s 1000 a.img
	refused "error while reading block status at offset 4096: Bitmap at \
offset 520 is beyond the file's end" convert -f bochs -O raw a.img b.img
	truncate -s 519 a.img
	refused "Could not open 'a.img': The catalog is beyond the file's \
end" convert -f bochs -O raw a.img b.img
}

# Two blocks, of which the second ends where the file does.
test_cloop() {
	for i in 0 1; do
		dd if=src.raw bs=64k skip=$i count=1 status=none | python3 -c \
			'import sys, zlib
sys.stdout.buffer.write(zlib.compress(sys.stdin.buffer.read()))' >block$i
	done
	truncate -s 160 good.img
	end=$((160 + $(stat -c %s block0)))
	poke good.img 128 "$(be32 65536)$(be32 2)$(be64 160)$(be64 $end)"
	poke good.img 152 "$(be64 $((end + $(stat -c %s block1))))"
	cat block0 block1 >>good.img
	cp good.img a.img
	same convert -f cloop -O raw a.img b.img
	cmp -n 131072 src.raw b.img
	assertEquals 'what is whole' 0 $?
	cut_off 1
	refused "error while reading block status at offset 65536: byte \
$(stat -c %s a.img) is beyond the file's end" convert -f cloop -O raw a.img b.img
	truncate -s 159 a.img
	refused "Could not open 'a.img': The offsets are beyond the file's end" \
		convert -f cloop -O raw a.img b.img
	truncate -s 129 a.img
	refused "Could not open 'a.img': block_size cannot be zero" \
		convert -f cloop -O raw a.img b.img
}

# Its trailer is the first thing that a cut takes, and data in the middle may be
# lost to a hole.
test_dmg() {
	head -c 1M src.raw >disk
	python3 "$top/tests/support/make_dmg.py" disk good.img zlib
	cut_off 1 # of nothing
	silent convert -f dmg -O raw a.img b.img
	assertTrue 'cmp disk b.img'
	cut_off 300
	refused "Could not open 'a.img': There are no tables in dmg" \
		info -f dmg a.img
	for cut in 509 512 5000 1000000; do
		cut_off $cut
		refused "Could not open 'a.img': Could not locate UDIF trailer \
in dmg file" info -f dmg a.img
	done
	for len in 512 100; do # a trailer alone, and a part of it
		tail -c $len good.img >a.img
		timeout 60 vm-img info -f dmg a.img >out 2>err
		assertEquals "$len" 1 $?
		assertEquals "$len: $(cat err)" 1 "$(wc -l <err)"
	done
	cp good.img a.img
	fill a.img 0 4096 '\0'
	refused 'error while reading at byte 0: Chunk at offset 0 cannot be decompressed' \
		convert -f dmg -O raw a.img b.img
}

# Of what is encrypted nothing is missed but whole sectors.
test_luks() {
	"$B/tests/tools/image-secret" abc luks good.img create 1048576 \
		key-secret=key iter-time=1
	size=$(stat -c %s good.img)
	for len in 0 6 591 592 4096 $((size - 1048577)); do
		cut_off $((size - len))
		timeout 60 vm-img info -f luks a.img >out 2>err
		assertEquals "$len" 1 $?
		assertEquals "$len: $(cat err)" 1 "$(wc -l <err)"
	done
	refused "Could not open 'a.img': LUKS payload past end of file" \
		info -f luks a.img
	cut_off 1
	vm-img info -f luks --output=json a.img >out
	assertTrue "$(cat out)" "file_has out '\"virtual-size\": 1048064'"
	cut_off 1048576
	same info -f luks --output=json a.img
}

# What is written in pieces is whole at any time.
test_new_images_are_whole() {
	for how in 'vmdk monolithicSparse' 'vmdk twoGbMaxExtentSparse' \
		'vmdk monolithicFlat' 'parallels ' 'qcow ' 'vdi '; do
		format=${how% *} subformat=${how#* }
		qemu-img create -q -f "$format" \
			${subformat:+-o "subformat=$subformat"} a.img 10M
		for piece in '9M 512' '100k 3k' '5M 70k' '10485248 512'; do
			qemu-io -f "$format" -c "write -P 7 $piece" a.img >out
			same convert -f "$format" -O raw a.img b.img
		done
		rm -f ./a*
	done
}

# Of a disk's last block some leave out what is behind the disk's end.
test_last_block() {
	head -c 1050624 /dev/urandom >odd.raw
	for format in vmdk parallels qcow vdi; do
		qemu-img convert -f raw -O $format odd.raw a.img
		truncate -s -1536 a.img
		[ $format = qcow ] || silent check -q -f $format a.img
		same convert -f $format -O raw a.img b.img
		cmp odd.raw b.img
		assertEquals "$format" 0 $?
	done
}

# So did QEMU once.
test_vhdx_last_block() {
	head -c 1050624 /dev/urandom >odd.raw
	qemu-img convert -f raw -O vhdx -o block_size=1M odd.raw a.img
	truncate -s -1046528 a.img
	silent check -q -f vhdx a.img
	same convert -f vhdx -O raw a.img b.img
	cmp odd.raw b.img
	assertEquals 'what is whole' 0 $?
	truncate -s -512 a.img
	qemu-img info -f vhdx a.img >out 2>theirs
	refused "Could not open 'a.img': $(sed -n 's/^qemu-img: //p;q' theirs)" \
		convert -f vhdx -O raw a.img b.img
	counted 2 vhdx 1
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
