#!/bin/sh
# SPDX-License-Identifier: ISC
# Images that have brought programs down, of each format: every one is refused
# with a message that names what is wrong, at once and in little memory. Most
# of them have been somebody's CVE.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/formats.sh

MEMORY_KIB=65536
CPU_S=1
case $B in
*asan*) MEMORY_KIB=unlimited CPU_S=unlimited ;; # its shadow: terabytes
esac

setUp() {
	formats_dir
}

tearDown() {
	img_cleanup
}

# The checksum of VHD's footer there, or of its copy.
sum_footer() { # FILE OFFSET
	poke "$1" "$2+64" "$(be32 0)"
	sum=$(od -An -v -t u1 -j "$2" -N 512 "$1" |
		awk '{ for (i = 1; i <= NF; i++) s += $i } END { print s }')
	poke "$1" "$2+64" "$(be32 $((~sum & 0xffffffff)))"
}

# quick ARG...: vm-img, and what it says, within a second of processor time.
quick() {
	(
		# shellcheck disable=SC3045 # dash and bash both have it
		ulimit -t $CPU_S
		exec timeout 60 vm-img "$@" 2>&1
	)
}

# bad MESSAGE FORMAT [PLACE BYTES | sum PLACE]...: a.img with these bytes
# changed.
bad() {
	message=$1
	format=$2
	shift 2
	cp good.img a.img
	while [ $# -gt 0 ]; do
		if [ "$1" = sum ]; then
			sum_footer a.img "$2"
		else
			poke a.img "$1" "$2"
		fi
		shift 2
	done
	text=$(
		# shellcheck disable=SC3045 # dash and bash both have it
		ulimit -v $MEMORY_KIB
		# shellcheck disable=SC3045
		ulimit -t $CPU_S
		timeout 60 vm-img info -f "$format" a.img 2>&1 >/dev/null
	)
	assertEquals "$format" "vm-img: Could not open 'a.img': $message" \
		"$text"
}

# As bad(), and QEMU says the same.
bad_both() {
	bad "$@"
	assertEquals "$2: qemu-img" "qemu-img: Could not open 'a.img': $1" \
		"$(qemu-img info -f "$2" a.img 2>&1 >/dev/null)"
}

make_good() { # FORMAT [OPTIONS]
	vm-img create -q -f "$1" ${2:+-o "$2"} good.img 10M
}

test_vdi() {
	make_good vdi
	# CVE-2014-0144: more blocks than memory for their map.
	bad_both 'unsupported VDI image (too many blocks 536870785, max is 536870784)' \
		vdi 384 "$(le32 536870785)"
	bad_both 'Unsupported VDI image size (size is 0x7fffffffffffffff, max supported is 0x1fffff8000000)' \
		vdi 368 "$(le64 0x7fffffffffffffff)"
	bad_both 'unsupported VDI image (disk size 10485760, image bitmap has room for 9437184)' \
		vdi 384 "$(le32 9)"
	bad_both 'unsupported VDI image (block size 0 is not 1048576)' \
		vdi 376 "$(le32 0)"
	bad_both 'unsupported VDI image (sector size 513 is not 512)' \
		vdi 360 "$(le32 513)"
	bad_both 'unsupported VDI image (unaligned block map offset 0x201)' \
		vdi 340 "$(le32 0x201)"
	bad_both 'unsupported VDI image (unaligned data offset 0x401)' \
		vdi 344 "$(le32 0x401)"
	bad_both 'unsupported VDI image (non-NULL link UUID)' \
		vdi 424 "$(le32 1)"
	bad_both 'unsupported VDI image (non-NULL parent UUID)' \
		vdi 440 "$(le32 1)"
	bad_both 'Image not in VDI format (bad signature 00000000)' \
		vdi 64 "$(le32 0)"
}

# More blocks in one place than there is time to tell of.
test_many_blocks_in_one_place() {
	vm-img create -q -f vdi a.img 200G
	dd if=/dev/zero of=a.img bs=512 seek=1 count=1600 conv=notrunc \
		status=none
	truncate -s 4M a.img
	vm-img check -f vdi a.img >out 2>err
	assertEquals 2 $?
	assertEquals 65538 "$(wc -l <err)"
	assertEquals 'ERROR block 65537: no more errors are looked for' \
		"$(tail -n 1 err)"
}

test_vpc() {
	make_good vpc
	# CVE-2014-0142: a block of no size; CVE-2014-0144: the table's.
	bad_both 'Invalid block size 0' vpc 544 "$(be32 0)"
	bad_both 'Invalid block size 2097153' vpc 544 "$(be32 2097153)"
	bad_both 'Page table too small' vpc 540 "$(be32 1)"
	bad 'Max Table Entries too large (2147483647)' \
		vpc 540 "$(be32 0x7fffffff)"
	bad 'Invalid header magic' vpc 512 "$(be32 0)"
	bad "The parent's name cannot be read" vpc 60 "$(be32 4)" sum 0
	bad 'Page table is out of reach' vpc 528 "$(be64 0x7fffffffffffffff)"
	# The footer and its copy: one that is good is enough.
	end=$(($(stat -c %s good.img) - 512))
	bad_both 'Incorrect header checksum' vpc 64 "$(be32 0)" \
		$((end + 64)) "$(be32 0)"
	bad_both 'Incorrect header checksum' vpc 60 "$(be32 4)" \
		$((end + 8)) "$(be32 0)"
	bad_both 'Incorrect header checksum' vpc 60 "$(be32 4)" \
		$end "$(be32 0)"
	bad 'invalid VPC image' vpc 0 "$(be32 0)" $((end + 64)) "$(be32 0)"
	make_good vpc subformat=fixed,force_size=on
	bad 'The disk ends behind the file'\''s end' vpc \
		$((10485760 + 48)) "$(be64 10486272)" sum 10485760
	bad_both 'Incorrect header checksum' vpc $((10485760 + 64)) "$(be32 0)"
	bad_both 'invalid VPC image' vpc $((10485760)) "$(be32 0)"
	truncate -s 100 good.img
	bad 'invalid VPC image' vpc
}

# An entry that is none is not zero.
test_vpc_table_of_zeroes() {
	vm-img create -q -f vpc -o force_size=on base.img 2040G
	vm-img create -q -f vpc -b base.img -F vpc child.img
	head -c 64k /dev/urandom >first
	for image in base.img child.img; do
		cp $image a.img
		table=$((0x$(od -An -t x8 --endian=big -j 528 -N 8 a.img |
			tr -d ' ')))
		fill a.img $table 1044480 "$(be32 0)"
		sum=$(sha256sum <a.img)
		refused 'error while reading block status at offset 0: Block 0 is over the headers' \
			convert -f vpc -O raw a.img b.img
		refused 'error while writing at byte 0: Block 0 is over the headers' \
			convert -n -f raw -O vpc first a.img
		assertEquals 'as it was' "$sum" "$(sha256sum <a.img)"
		# Before the header, and over the table.
		for sector in 1 2 $((table / 512)); do
			cp $image a.img
			poke a.img $table "$(be32 $sector)"
			truncate -s +4M a.img
			assertEquals "$sector" 'vm-img: Could not read file metadata: Block 0 is over the headers' \
				"$(quick map -f vpc a.img | head -n 1)"
		done
	done
}

# What the footer's copy is there for. QEMU looks at the first one only.
test_vpc_copy() {
	disk disk 10M
	vm-img convert -f raw -O vpc -o force_size=on disk good.img
	end=$(($(stat -c %s good.img) - 512))
	# Nothing, version, creator, size, geometry, type, checksum; the end.
	for place in -1 12 28 48 56 60 64 $((end + 60)); do
		cp good.img a.img
		[ $place = -1 ] || poke a.img $place '\0001\0002\0003\0005'
		vm-img compare -q -f vpc -F raw a.img disk
		assertEquals "altered at $place" 0 $?
	done
	# Written to, it has two good ones again.
	cp good.img a.img
	poke a.img 56 '\0001\0002'
	head -c 64k /dev/urandom >first
	vm-img convert -n -f raw -O vpc first a.img
	dd if=first of=disk conv=notrunc status=none
	qemu-img compare -q -f vpc -F raw a.img disk
	assertEquals 'written to: qemu-img' 0 $?
}

test_vmdk() {
	make_good vmdk
	# CVE-2014-0142 and its like: numbers of the header.
	bad_both 'Invalid granularity, image may be corrupt' \
		vmdk 20 "$(le64 0x200001)"
	bad_both 'L2 table size too big' vmdk 44 "$(le32 513)"
	bad_both 'L1 size too big' vmdk 12 "$(le64 0x3fffffffffff)"
	bad_both 'Unsupported VMDK version 4' vmdk 4 "$(le32 4)"
	bad 'VMDK extent has grains or tables of no size' vmdk 44 "$(le32 0)"
	bad 'VMDK extent has grains or tables of no size' vmdk 20 "$(le64 0)"
	bad 'File truncated, expecting at least 1099511627264 bytes' \
		vmdk 64 "$(le64 0x7fffffff)"
	bad 'Invalid footer' vmdk 56 "$(le64 -1)"
	bad 'VMDK extent is larger than any file' \
		vmdk 56 "$(le64 0x7fffffffffffff)"
	bad "VMDK descriptor is behind the file's end" vmdk 28 "$(le64 0x10000)"
}

descriptor() { # EXTENT-LINE
	printf '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n' \
		>good.img
	printf 'createType="monolithicFlat"\n%s\n' "$1" >>good.img
}

# Extents are files or block devices, by plain paths and nothing else.
test_vmdk_extent_names() {
	: >secret
	mkfifo fifo
	# QEMU waits for the other end of a FIFO.
	descriptor 'RW 1 FLAT "fifo" 0'
	bad "'file' driver requires 'fifo' to be a regular file" vmdk
	for name in . ..; do
		descriptor "RW 1 FLAT \"$name\" 0"
		bad_both "'file' driver requires '$name' to be a regular file" \
			vmdk
	done
	for name in "$dir/fifo" /dev/null; do
		descriptor "RW 1 FLAT \"$name\" 0"
		mv good.img a.img
		refused "Could not open 'a.img': 'file' driver requires '$name' to be a regular file" \
			map -f vmdk a.img
	done
	for name in ./. nbd://host/x/y; do
		descriptor "RW 1 FLAT \"$name\" 0"
		mv good.img a.img
		same map -f vmdk a.img
	done
	descriptor 'RW 1 FLAT "null-co://" 0'
	mv good.img a.img
	refused "Could not open 'a.img': Could not open './null-co://': No such file or directory" \
		map -f vmdk a.img
	descriptor 'RW 1 FLAT "" 0'
	bad 'Invalid extent line: RW 1 FLAT "" 0' vmdk
	descriptor 'RW 1 FLAT "json:{}" 0'
	bad "Could not open 'json:{}': No such file or directory" vmdk
	descriptor 'RW 1 FLAT "secret"'
	bad 'Invalid extent line: RW 1 FLAT "secret"' vmdk
	descriptor 'RW 0 FLAT "secret" 0'
	bad 'Invalid extent line: RW 0 FLAT "secret" 0' vmdk
	descriptor 'RW 99999999999999999999 FLAT "secret" 0'
	bad 'Invalid extent line: RW 99999999999999999999 FLAT "secret" 0' vmdk
	descriptor 'RW 1 SESPARSE "secret"'
	bad 'Unsupported extent type: RW 1 SESPARSE "secret"' vmdk
	descriptor 'RW 1 SPARSE "secret"'
	bad 'Image not in VMDK format' vmdk
	sed -i s/monolithicFlat/fullDevice/ good.img
	bad_both "Unsupported image type 'fullDevice'" vmdk
}

# The length of a compressed grain is the marker's word.
# As many extents as there may be, all of one file, whose locks are many, too.
test_vmdk_extents_of_one_file() {
	seq 1 4000000 | head -c 8M >data
	descriptor "$(seq 0 4 16383 | sed 's/.*/RW 4 FLAT "data" &/')"
	(
		# shellcheck disable=SC3045 # dash and bash both have it
		ulimit -t $CPU_S
		vm-img convert -f vmdk -O raw good.img b.img
	)
	assertEquals 0 $?
	assertTrue 'cmp data b.img'
}

test_vmdk_marker() {
	seq 1 20000 >disk
	qemu-img convert -f raw -O vmdk -o subformat=streamOptimized disk good.img
	for length in 0 200000 0xffffffff; do
		cp good.img a.img
		poke a.img $((128 * 512 + 8)) "$(le32 $length)"
		refused "error while reading at byte 0: Grain marker at offset \
65536 says $((length)) bytes" convert -f vmdk -O raw a.img b.img
	done
	poke a.img $((128 * 512 + 8)) "$(le32 7)"
	refused 'error while reading at byte 0: Grain at offset 65536 cannot be decompressed' \
		convert -f vmdk -O raw a.img b.img
}

test_vhdx() {
	make_good vhdx
	items=$((3 * 1048576 + 65536))
	# CVE-2014-0148: a block of no size.
	bad 'Invalid VHDX block size 0' vhdx $items "$(le32 0)"
	bad 'Invalid VHDX block size 3145728' vhdx $items "$(le32 3145728)"
	bad 'Invalid VHDX block size 536870912' vhdx $items "$(le32 536870912)"
	bad 'VHDX parent locator is not valid' \
		vhdx $((items + 4)) "$(le32 2)"
	bad 'Invalid VHDX disk size 9223372036854775296' \
		vhdx $((items + 8)) "$(le64 0x7ffffffffffffe00)"
	bad 'VHDX block table is too short for the disk' vhdx $items \
		"$(le32 1048576)" $((items + 8)) "$(le64 0x400000000000)"
	bad 'Unsupported VHDX sector size 0' vhdx $((items + 32)) "$(le32 0)"
	bad 'VHDX metadata are not valid' vhdx $((items - 65536)) "$(le32 0)"
	bad 'VHDX metadata are missing' vhdx $((items - 65536 + 10)) '\0004'
	bad 'VHDX metadata item is outside of its region' \
		vhdx $((items - 65536 + 32 + 16)) "$(le32 0x7fffffff)"
	bad 'VHDX metadata that must be understood are not known' \
		vhdx $((items - 65536 + 32)) '\0000'
	bad 'No valid VHDX header found' vhdx 65544 '\0377' 131080 '\0377'
	bad 'No valid VHDX region table found' vhdx 196616 '\0377' \
		262152 '\0377'
	bad 'Image not in VHDX format' vhdx 0 '\0000'
}

# Entries of the log each of which says that all of it is its own.
test_vhdx_log() {
	vm-img create -q -f vhdx -o log_size=64M a.img 10M
	python3 "$top/tests/support/make_vhdx_log.py" a.img
	quick check -f vhdx a.img >out
	assertEquals "$(cat out)" 0 $?
}

# All of a child's disk is one block, of which no sector is its own.
test_block_of_all() {
	vm-img create -q -f vpc -o force_size=on,size=1000G base.img
	vm-img create -q -f vpc -b base.img -F vpc a.img
	tail -c 512 a.img >footer
	table=$((0x$(od -An -t x8 --endian=big -j 528 -N 8 a.img | tr -d ' ')))
	fill a.img $table 512000 "$(be32 8192)"
	truncate -s 8M a.img
	cat footer >>a.img
	quick map -f vpc a.img >out
	assertEquals "VHD: $(cat out)" 0 $?
	assertEquals "$(head -n 3 out)" 1 "$(wc -l <out)"
	rm base.img
	vm-img create -q -f vhdx -o block_size=256M,size=16T base.img
	vm-img create -q -f vhdx -b base.img -F vhdx -o block_size=256M a.img
	parts=
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
		parts=$parts$(le64 $(((20 << 20) + 7)))
	done
	fill a.img 2097152 4096 "$parts$(le64 $(((8 << 20) + 6)))"
	truncate -s 300M a.img
	quick map -f vhdx a.img >out
	assertEquals "VHDX: $(cat out)" 0 $?
	assertEquals "$(head -n 3 out)" 1 "$(wc -l <out)"
}

test_parallels() {
	make_good parallels
	# CVE-2014-0143, CVE-2014-0142: the catalog's size and the clusters'.
	bad_both 'Catalog too large' parallels 32 "$(le32 0x7fffffff)"
	bad_both 'Invalid image: Zero sectors per track' parallels 28 "$(le32 0)"
	bad_both 'Invalid image: Too big cluster' parallels 28 "$(le32 0x7fffffff)"
	bad 'Catalog is too short for the disk' parallels 36 "$(le64 -1)"
	bad 'Catalog is too short for the disk' parallels 32 "$(le32 0)"
	bad 'Image not in Parallels format' parallels 16 "$(le32 3)"
	for sector in 1 8 100000; do
		bad_both 'Wrong parallels Format Extension magic: 0x0, expected: 0xab234cef23dcea87' \
			parallels 56 "$(le64 $sector)"
	done
	bad 'Failed to read Format Extension cluster: Invalid argument' \
		parallels 56 "$(le64 -1)"
}

# More to repair than there is time to write of, one by one.
test_parallels_many_repairs() {
	vm-img create -q -f parallels -o cluster_size=512 a.img 2G
	fill a.img 64 4194304 "$(le32 0x7fffffff)"
	(
		# shellcheck disable=SC3045 # dash and bash both have it
		ulimit -t $CPU_S
		vm-img check -f parallels -r all a.img >out 2>err
	)
	assertEquals "$(tail -n 3 err)" 0 $?
	assertTrue "$(cat out)" 'file_has out "4194304 corruptions"'
	assertTrue 'none is left' 'cmp -n 16777216 -i 64:0 a.img /dev/zero'
}

# Every L1 entry leads to one table: more to look at than there is time for.
test_qed_tables_in_use_twice() {
	vm-img create -q -f qed -o cluster_size=64k,table_size=16 a.img 1T
	printf '\0\0\040\0\0\0\0\0' >entries
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do
		cat entries entries >twice
		mv twice entries
	done
	dd if=entries of=a.img bs=64k seek=1 conv=notrunc status=none
	truncate -s 4M a.img
	(
		# shellcheck disable=SC3045 # dash and bash both have it
		ulimit -t 10
		vm-img check -f qed a.img >out 2>err
	)
	assertEquals 1 $?
	assertEquals 'vm-img: Check failed: QED tables are in use twice' \
		"$(tail -n 1 err)"
}

test_qed() {
	make_good qed
	bad 'Invalid QED cluster size 0' qed 4 "$(le32 0)"
	bad 'Invalid QED cluster size 65537' qed 4 "$(le32 65537)"
	bad 'Invalid QED table size 0' qed 8 "$(le32 0)"
	bad 'Invalid QED table size 32' qed 8 "$(le32 32)"
	bad 'Invalid QED header size' qed 12 "$(le32 -1)"
	bad_both 'QED table offset is invalid' qed 40 "$(le64 0x70000000)"
	bad_both 'QED table offset is invalid' qed 40 "$(le64 1)"
	bad 'Invalid QED image size 9223372036854775296' \
		qed 48 "$(le64 0x7ffffffffffffe00)"
	bad 'Invalid QED backing file name' qed 16 "$(le64 1)" \
		56 "$(le32 64)$(le32 0x7fffffff)"
	bad_both 'Unsupported QED features: 8' qed 16 "$(le64 8)"
}

test_qcow1() {
	make_good qcow
	# CVE-2014-0222, CVE-2014-0223: the L2 tables' size and the disk's.
	bad_both 'L2 table size must be between 512 and 64k' qcow 33 '\0377'
	bad_both 'L2 table size must be between 512 and 64k' qcow 33 '\0001'
	bad_both 'Cluster size must be between 512 and 64k' qcow 32 '\0001'
	bad_both 'Cluster size must be between 512 and 64k' qcow 32 '\0377'
	bad_both 'Image too large' qcow 24 "$(be64 -1)"
	bad_both 'Image too large' qcow 24 "$(be64 0x7fffffffffffffff)"
	bad_both 'Image size is too small (must be at least 2 bytes)' \
		qcow 24 "$(be64 1)"
	bad 'Backing file name too long' qcow 8 "$(be64 48)$(be32 1024)"
	bad_both 'invalid encryption method in qcow header' qcow 36 "$(be32 2)"
	seq 1 2000 >disk
	qemu-img convert -f raw -O qcow disk a.img
	poke a.img 4096 "$(be64 8200)"
	refused "error while reading block status at offset 0: Cluster at \
offset 8200 is not at a sector" convert -f qcow -O raw a.img b.img
	qemu-img convert -f qcow -O raw a.img b.img 2>err
	assertEquals "so does QEMU: $(cat err)" 1 $?
}

# A disk of many clusters, none of which is there.
test_qcow1_without_clusters() {
	vm-img create -q -f qcow a.img 400T
	for verb in map measure; do
		quick $verb -f qcow a.img >out
		assertEquals "$verb: $(cat out)" 0 $?
	done
	quick compare -f qcow -F qcow a.img a.img >out
	assertEquals "compare: $(cat out)" 0 $?
	# One L2 table for all of them, which is of zeroes, and no hole.
	vm-img create -q -f qcow a.img 400G
	fill a.img 48 204800 "$(be64 2097152)"
	fill a.img 2097152 4096 '\0'
	quick map -f qcow a.img >out
	assertEquals "map: $(cat out)" 0 $?
}

# More of L2 tables to look through than the file has bytes, before something
# new is written.
test_qcow1_tables_in_use_twice() {
	vm-img create -q -f qcow a.img 1M
	poke a.img 24 "$(be64 $((400 << 40)))$(bytes 16 0)$(bytes 13 0)"
	fill a.img 48 819200 "$(be64 8388608)"
	fill a.img 8388608 65536 '\0'
	head -c 64k /dev/urandom >first
	assertEquals 'vm-img: error while writing at byte 0: qcow tables are in use twice: nothing new can be written' \
		"$(quick convert -n -f raw -O qcow first a.img)"
}

test_bochs() {
	truncate -s 4096 good.img
	bochs_header good.img 3 1 4096 12288
	# CVE-2014-0142: extents of no size; CVE-2014-0147: the catalog's.
	bad_both 'Extent size must be at least 512' bochs 80 "$(le32 0)"
	bad_both 'Extent size 1000 is not a power of two' bochs 80 "$(le32 1000)"
	bad_both 'Extent size 2147483648 is too large' \
		bochs 80 "$(le32 0x80000000)"
	bad_both 'Catalog size is too large' bochs 72 "$(le32 0x7fffffff)"
	bad_both 'Catalog size is too large' bochs 72 "$(le32 -1)"
	bad_both 'Catalog size is too small for this disk size' \
		bochs 88 "$(le64 0x7fffffffffffffff)"
}

# All of a disk is one extent, of which no sector was ever written.
test_bochs_extent_of_all() {
	truncate -s 512 a.img
	bochs_header a.img 100000 2048 8388608 838860800000
	fill a.img 512 100000 "$(le32 0)"
	truncate -s 16M a.img
	quick map -f bochs a.img >out
	assertEquals "$(cat out)" 0 $?
	assertEquals "$(head -n 3 out)" 1 "$(wc -l <out)"
}

test_luks() {
	"$B/tests/tools/image-secret" abc luks good.img create 10485760 \
		key-secret=key iter-time=1
	# CVE-like: names without an end, sizes of keys, counts of nothing.
	long=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
	bad_both 'LUKS header cipher name is not NUL terminated' luks 8 $long
	bad_both 'LUKS header cipher mode is not NUL terminated' luks 40 $long
	bad_both 'LUKS header hash spec is not NUL terminated' luks 72 $long
	bad_both "Algorithm 'foo' with key size 32 bytes not supported" \
		luks 8 'foo\0'
	bad_both "Unexpected cipher mode string format 'xts'" luks 40 'xts\0'
	bad_both "Cipher mode 'foo' not supported" luks 40 'foo-plain\0'
	bad_both "IV generator 'foo' not supported" luks 40 'xts-foo\0'
	bad_both 'Missing IV generator hash specification' \
		luks 40 'xts-essiv\0'
	bad_both 'No AES cipher with key size 20 available' \
		luks 40 'xts-essiv:sha1\0'
	bad_both "Hash algorithm 'foo' not supported" luks 72 'foo\0'
	bad_both "Algorithm 'aes' with key size 0 bytes not supported" \
		luks 108 "$(be32 0)"
	bad_both "Algorithm 'aes' with key size 536870912 bytes not supported" \
		luks 108 "$(be32 0x40000000)"
	bad_both 'LUKS key iteration count is zero' luks 164 "$(be32 0)"
	# Places: of the data, and of key material.
	bad_both 'LUKS payload is overlapping with the header' \
		luks 104 "$(be32 1)"
	bad_both 'Keyslot 7 is overlapping with the encrypted payload' \
		luks 104 "$(be32 4039)"
	bad 'LUKS payload past end of file' luks 104 "$(be32 0xffffffff)"
	bad_both 'Keyslot 0 is overlapping with the LUKS header' \
		luks 248 "$(be32 1)"
	bad 'Keyslot 0 is overlapping with the encrypted payload' \
		luks 248 "$(be32 0xffffffff)"
	bad_both 'Keyslots 0 and 1 are overlapping in the header' \
		luks 248 "$(be32 9)"
	bad_both 'Keyslot 0 is corrupted (stripes 1 != 4000)' \
		luks 252 "$(be32 1)"
	bad_both 'Keyslot 0 state (active/disable) is corrupted' \
		luks 208 "$(be32 1)"
	bad_both 'Keyslot 0 iteration count is zero' luks 212 "$(be32 0)"
	# An hour of hashing, which qemu-img would do.
	bad 'Key slots ask for 8589936590 iterations of a hash, more than the 268435456 that are allowed' \
		luks 164 "$(be32 1000)" 212 "$(be32 0xffffffff)"
	head -c 500 good.img >short.img
	mv short.img good.img
	bad 'Volume is not in LUKS format' luks
}

# make_dmg PATCH...: a.img as good.img with a field changed.
bad_dmg() { # MESSAGE PATCH...
	message=$1
	shift
	python3 "$top/tests/support/make_dmg.py" src good.img zlib "$@"
	bad "$message" dmg
}

test_dmg() {
	seq 1 100000 | head -c 262144 >src
	# CVE-2014-0145: chunks that are larger than memory for one.
	bad_dmg 'sector count 131073 for chunk 0 is larger than max (131072)' \
		sectors=131073
	bad_dmg 'length 67108865 for chunk 0 is larger than max (67108864)' \
		length=67108865
	bad_dmg 'length 18446744073709551615 for chunk 0 is larger than max (67108864)' \
		length=0xffffffffffffffff
	bad_dmg 'Chunk 0 is out of range' type=0 sectors=0xffffffffffffffff
	bad_dmg 'Chunk 0 is out of range' offset=0xfffffffffffffff0
	bad_dmg 'Chunk at offset 0 overlaps the next one' sectors=129
	# Tables that are nowhere, or endless.
	bad_dmg 'Tables of dmg are past their trailer' xml_length=0x7fffffff
	bad_dmg 'Tables of dmg are past their trailer' \
		xml_offset=0xfffffffffffffff0
	bad_dmg 'There are no tables in dmg' xml_length=0
	bad_dmg 'Property list of dmg is cut off' xml_length=200
	bad_dmg 'Compression ADC of dmg is not supported' type=0x80000004
	bad_dmg 'Compression LZFSE of dmg is not supported' type=0x80000007
	python3 "$top/tests/support/make_dmg.py" src good.img zlib
	truncate -s -512 good.img
	bad 'Could not locate UDIF trailer in dmg file' dmg
	truncate -s 17M good.img
	python3 "$top/tests/support/make_dmg.py" src small zlib xml_offset=0 \
		xml_length=17000000
	tail -c 512 small >>good.img
	bad 'Property list of dmg is too large' dmg
	# Data that is no zlib.
	python3 "$top/tests/support/make_dmg.py" src a.img zlib
	poke a.img 0 '\0\0\0\0'
	refused 'error while reading at byte 0: Chunk at offset 0 cannot be decompressed' \
		convert -f dmg -O raw a.img b.img
}

# Sectors of which each is said to be compressed to 64 MiB.
test_dmg_long_chunks() {
	seq 1 100000 | head -c 131072 >src
	for method in zlib bzip2; do
		python3 "$top/tests/support/make_dmg.py" src a.img $method \
			lengths=67108864
		quick convert -f dmg -O raw a.img b.img >out
		assertEquals "$method: $(cat out)" 0 $?
		cmp src b.img
		assertEquals $method 0 $?
	done
}

test_cloop() {
	truncate -s 4096 good.img
	poke good.img 128 "$(be32 512)$(be32 3)"
	# CVE-2014-0142 to -0144: the blocks' size and number.
	bad_both 'block_size cannot be zero' cloop 128 "$(be32 0)"
	bad_both 'block_size 513 must be a multiple of 512' cloop 128 "$(be32 513)"
	bad_both 'block_size 4294966784 must be 64 MB or less' \
		cloop 128 "$(be32 0xfffffe00)"
	bad_both 'n_blocks 4294967295 must be 536870911 or less' \
		cloop 132 "$(be32 0xffffffff)"
	bad_both 'image requires too many offsets, try increasing block size' \
		cloop 132 "$(be32 0x04000001)"
	# Offsets that go back, and that reach too far.
	cp good.img a.img
	poke a.img 136 "$(be64 1000)$(be64 999)"
	refused 'error while reading block status at offset 0: offsets not monotonically increasing at index 1, image file is corrupt' \
		convert -f cloop -O raw a.img b.img
	poke a.img 136 "$(be64 0)$(be64 0x7fffffffffffffff)"
	refused 'error while reading block status at offset 0: invalid compressed block size at index 1, image file is corrupt' \
		convert -f cloop -O raw a.img b.img
	poke a.img 136 "$(be64 1000)$(be64 1000)"
	refused 'error while reading block status at offset 0: invalid compressed block size at index 1, image file is corrupt' \
		convert -f cloop -O raw a.img b.img
	# Offsets that are nowhere, or a hole, as they are of zeroes.
	cp good.img a.img
	poke a.img 132 "$(be32 67108863)"
	refused "Could not open 'a.img': The offsets are beyond the file's end" \
		map -f cloop a.img
	truncate -s 600M a.img
	assertEquals "vm-img: Could not read file metadata: invalid compressed block size at index 1, image file is corrupt" \
		"$(quick map -f cloop --output=json a.img | head -n 1)"
}

# A block of 512 bytes in each 128 MiB of a file.
test_cloop_far_apart() {
	seq 1 1000 | head -c 512 >block
	python3 -c 'import sys, zlib
sys.stdout.buffer.write(zlib.compress(sys.stdin.buffer.read()))' \
		<block >packed
	: >disk
	: >a.img
	poke a.img 128 "$(be32 512)$(be32 32)$(be64 4096)"
	for i in $(seq 1 32); do
		poke a.img "128 + 8 + 8 * $i" "$(be64 $((4096 + (i << 27))))"
		dd if=packed of=a.img conv=notrunc oflag=seek_bytes status=none \
			seek=$((4096 + ((i - 1) << 27)))
		cat block >>disk
	done
	truncate -s $((4096 + (32 << 27))) a.img
	quick convert -f cloop -O raw a.img b.img >out
	assertEquals "$(cat out)" 0 $?
	assertTrue 'cmp disk b.img'
}

. shunit2
