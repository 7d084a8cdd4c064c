#!/bin/sh
# SPDX-License-Identifier: ISC
# Other hypervisors' formats both ways: images that qemu-img made are read and
# written by ours, ours are read by qemu-img, random operations do the
# writing, and both describe them in the same words.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/formats.sh

setUp() {
	formats_dir
}

tearDown() {
	img_cleanup
}

test_vdi() {
	for size in 2500k 0; do
		for options in '' static=on; do
			made_there vdi "$options" $size
			made_here vdi "$options" $size
		done
	done
}

# The same bytes, but for the two UUIDs.
test_vdi_new_images() {
	for size in 0 1000 3M 10G; do
		qemu-img create -q -f vdi theirs $size
		vm-img create -q -f vdi ours $size
		for image in theirs ours; do
			head -c 32 /dev/zero | dd of=$image bs=1 seek=392 \
				conv=notrunc status=none
		done
		cmp theirs ours
		assertEquals "$size" 0 $?
	done
	same create -f vdi a.vdi 1M
}

# A count that a crash left too small or too large.
test_vdi_stale_count() {
	disk disk 5M
	for count in 0 7; do
		qemu-img convert -O vdi disk a.img
		poke a.img 388 "$(le32 $count)"
		qemu-img resize -q -f raw disk 5M
		operations "count $count" vdi a.img 3
	done
}

# The disk that a size makes is as large as its geometry, unless forced.
test_vpc() {
	made_there vpc '' 3M
	made_here vpc subformat=fixed 3M
	made_there vpc subformat=fixed,force_size=on 1000k
	made_here vpc force_size=on 3M
}

# The same bytes, but for the time, the checksum and the UUID, in both footers.
test_vpc_new_images() {
	for size in 0 1000 3M 5000M 127G 2040G; do
		for options in subformat=dynamic force_size=on; do
			qemu-img create -q -f vpc -o $options theirs $size
			vm-img create -q -f vpc -o $options ours $size
			end=$(($(stat -c %s theirs) - 512))
			for image in theirs ours; do
				for at in 0 $end; do
					poke $image $((at + 24)) "$(be32 0)"
					poke $image $((at + 64)) "$(be32 0)"
					head -c 16 /dev/zero | dd of=$image bs=1 \
						seek=$((at + 68)) conv=notrunc \
						status=none
				done
			done
			cmp theirs ours
			assertEquals "$size $options" 0 $?
		done
	done
	same create -f vpc a.vpc 1M
	same create -f vpc a.vpc 2041G
	same create -f vpc -o subformat=other a.vpc 1M
}

# Tables that reach further than 64 bits do are none that QEMU could open.
test_qed_largest_tables() {
	for cluster in 64k 2M 4M 8M 16M 64M; do
		for table in 1 2 4 8 16; do
			same create -f qed -o \
				cluster_size=$cluster,table_size=$table \
				a.qed 10M
		done
	done
	same create -f qed -o cluster_size=64M,table_size=16 a.qed 0
}

test_vmdk() {
	for options in '' zeroed_grain=on subformat=monolithicFlat \
		subformat=twoGbMaxExtentSparse subformat=twoGbMaxExtentFlat \
		subformat=streamOptimized; do
		made_there vmdk "$options" 1000k
		made_here vmdk "$options" 2M
		rm -f a-*
	done
}

test_vmdk_backing() {
	disk disk 4M
	qemu-img convert -O vmdk disk base.img
	for program in qemu-img vm-img; do
		for size in 4M 6M; do
			$program create -q -f vmdk -b base.img -F vmdk a.img $size
			cp disk mirror
			truncate -s $size mirror
			judge "$program $size" vmdk 5
		done
	done
	vm-img create -q -f vmdk -b base.img -F vmdk a.img
	qemu-io -f vmdk -c 'write 0 512' base.img >/dev/null
	refused "error while reading at byte 0: Backing file 'base.img' has \
been changed since" convert -f vmdk -O raw a.img b.raw
}

# The same bytes, but for the identity; other descriptors have other names.
test_vmdk_new_images() {
	mkdir theirs ours
	for size in 0 1000 3M 9G; do
		for options in subformat=monolithicSparse zeroed_grain=on \
			subformat=monolithicFlat,adapter_type=lsilogic \
			subformat=twoGbMaxExtentSparse,compat6=on \
			subformat=twoGbMaxExtentFlat,toolsversion=7 \
			subformat=streamOptimized,hwversion=11; do
			for folder in theirs ours; do
				rm -f $folder/*
				program=qemu-img
				[ $folder = theirs ] || program=vm-img
				# QEMU's may have fewer digits.
				until grep -aqE '^CID=.{8}$' $folder/a.vmdk; do
					$program create -q -f vmdk -o $options \
						$folder/a.vmdk $size
				done 2>/dev/null
				sed -i s/^CID=.*/CID=/ $folder/a.vmdk
			done
			diff -r theirs ours
			assertEquals "$size $options" 0 $?
		done
	done
	same create -f vmdk a.vmdk 1M
	same create -f vmdk -o subformat=other a.vmdk 1M
	same create -f vmdk -o adapter_type=lsilogic,zeroed_grain=on a.vmdk 1M
	same create -f vmdk -o compat6=on,hwversion=7 a.vmdk 1M
}

test_vhdx() {
	made_there vhdx '' 3M
	made_here vhdx block_size=1M 3M
	made_there vhdx log_size=2M,block_state_zero=off,block_size=1M 3M
	made_here vhdx subformat=fixed,block_size=2M 3M
}

test_parallels() {
	for options in '' cluster_size=64k; do
		made_there parallels "$options" 3M
		made_here parallels "$options" 3M
	done
}

test_qed() {
	for options in '' cluster_size=4k,table_size=2 cluster_size=1M; do
		made_there qed "$options" 3M
		made_here qed "$options" 3M
	done
}

# A table is no gap between the first cluster that it leads to and the next.
test_qed_clusters_lie_in_a_row() {
	disk a.raw 192k
	silent create -q -f qed -b a.raw -F raw a.qed
	silent rebase -b '' a.qed
	assertEquals "$(qemu-img map a.qed)" 2 "$(qemu-img map a.qed | wc -l)"
}

test_qcow1() {
	made_there qcow '' 3M
	made_here qcow '' 3M
	disk disk 2M
	qemu-img convert -c -O qcow disk a.img
	sound 'compressed there' qcow a.img disk
	judge 'compressed there' qcow 8
}

test_backing_files() {
	disk disk 4M
	for format in qed qcow; do
		qemu-img convert -O $format disk base.img
		for program in qemu-img vm-img; do
			$program create -q -f $format -b base.img -F $format \
				a.img 6M
			cp disk mirror
			truncate -s 6M mirror
			sound "$program $format, empty" $format a.img mirror
			judge "$program $format" $format 6
		done
	done
}

test_new_images_are_the_same_bytes() {
	: >base
	for what in 'parallels size=0' 'parallels size=10G' \
		'parallels size=5000,cluster_size=64k' \
		'qed size=1M,cluster_size=4k,table_size=16' 'qed size=1G' \
		'qed size=1M,backing_file=base,backing_fmt=raw' \
		'qcow size=1G' 'qcow size=1000' \
		'qcow size=7G,backing_file=base,backing_fmt=raw'; do
		qemu-img create -q -f "${what% *}" -o "${what#* }" theirs
		vm-img create -q -f "${what% *}" -o "${what#* }" ours
		cmp theirs ours
		assertEquals "$what" 0 $?
		rm -f theirs ours
	done
	same create -f parallels a.img 1M
	same create -f qed a.img 1M
	same create -f qcow a.img 1M
}

# Three extents of 4 KiB, the second is nowhere, the third comes first; of
# each the bitmap says which sectors there are.
bochs() { # FILE
	rm -f "$1"
	truncate -s $((512 + 12 + 2 * (512 + 4096))) "$1"
	bochs_header "$1" 3 1 4096 12288
	poke "$1" 512 "$(le32 1)$(le32 0xffffffff)$(le32 0)"
	head -c 4096 /dev/urandom | dd of="$1" oflag=seek_bytes \
		seek=1036 conv=notrunc status=none
	head -c 4096 /dev/urandom | dd of="$1" oflag=seek_bytes \
		seek=5644 conv=notrunc status=none
	poke "$1" 524 '\0245'
	poke "$1" 5132 '\0377'
}

test_bochs() {
	bochs a.img
	described bochs a.img
	qemu-img convert -f bochs -O raw a.img theirs
	silent convert -O raw a.img ours
	cmp theirs ours
	assertEquals 0 $?
}

# Blocks that zlib has compressed are to be had from a VMDK of qemu-img's.
# Made by a script of ours: there is no program to make them. qemu-img reads
# all but bzip2, for which Debian has no module.
test_dmg() {
	disk src 2M
	for how in raw zlib bzip2 mixed 'zlib resources'; do
		# shellcheck disable=SC2086 # words
		python3 "$top/tests/support/make_dmg.py" src a.dmg $how
		silent convert -f dmg -O raw a.dmg b.raw
		cmp src b.raw || fail "dmg $how"
		case $how in
		raw | zlib*)
			qemu-img compare -f dmg -F raw a.dmg src >.out 2>&1 ||
				fail "dmg $how: $(cat .out)"
			;;
		esac
		# It misses its modules on standard error.
		assertEquals "$how" "$(qemu-img info -f dmg a.dmg 2>.err)" \
			"$(vm-img info -f dmg a.dmg)"
	done
	# By its name, which is all that a beginning could say.
	assertContains "$(vm-img info a.dmg)" 'file format: dmg'
	refused "Could not open 'a.dmg': Image is read-only" \
		resize -f dmg a.dmg 4M
}

test_cloop() {
	seq 1 60000 | head -c 256k >disk
	qemu-img convert -O vmdk -o subformat=streamOptimized disk a.vmdk
	# shellcheck disable=SC2016 # that is the script's own affair
	printf '#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n' >a.img
	poke a.img 128 "$(be32 65536)$(be32 4)"
	at=$((136 + 5 * 8))
	grain=$((128 * 512))
	for i in 0 1 2 3; do
		length=$((0x$(od -An -tx4 -j $((grain + 8)) -N 4 a.vmdk | tr -d ' ')))
		poke a.img $((136 + i * 8)) "$(be64 $at)"
		dd if=a.vmdk of=a.img iflag=skip_bytes,count_bytes conv=notrunc \
			oflag=seek_bytes skip=$((grain + 12)) count=$length \
			seek=$at status=none
		at=$((at + length))
		grain=$(((grain + 12 + length + 511) / 512 * 512))
	done
	poke a.img 168 "$(be64 $at)"
	described cloop a.img
	qemu-img convert -f cloop -O raw a.img theirs
	silent convert -f cloop -O raw a.img ours
	cmp theirs ours && cmp disk ours
	assertEquals 0 $?
}

. shunit2
