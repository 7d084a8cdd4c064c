#!/bin/sh
# SPDX-License-Identifier: ISC
# check and check -r of other hypervisors' formats: damage that is made here is
# found, by ours as by qemu-img's where that finds it, and set right.
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

make_image() { # FORMAT
	disk disk 5M
	qemu-img convert -f raw -O "$1" disk a.img
}

checked() { # STATUS TEXT ARGUMENT...
	expected=$1
	text=$2
	shift 2
	timeout 60 vm-img check "$@" a.img >out 2>&1
	assertEquals "check $*: $(cat out)" "$expected" $?
	assertTrue "check $*: $text: $(cat out)" "file_has out '$text'"
}

assert_disk() { # FORMAT
	vm-img convert -f "$1" -O raw a.img back
	cmp -n 5242880 disk back
	assertEquals "$1: the disk" 0 $?
}

test_vdi() {
	make_image vdi
	# Its first entry again in the second place.
	poke a.img 516 "$(le32 0)"
	qemu-img check -f vdi a.img >theirs 2>&1
	assertEquals 'so does QEMU' 2 $?
	checked 2 '^ERROR block 1: byte 1024 of the file is another one' -f vdi
	same check -f vdi -r all a.img
	poke a.img 512 "$(le32 9999)"
	checked 2 'ERROR block 0: .* is beyond the file' -f vdi
}

test_vmdk() {
	make_image vmdk
	checked 0 '^No errors' -f vmdk
	truncate -s 1M a.img
	checked 2 'is beyond the file' -f vmdk
}

test_parallels_closed_badly() {
	make_image parallels
	poke a.img 44 "$(le32 1953459801)"
	same check -q -f parallels a.img
	checked 2 '^ERROR image was not closed correctly' -f parallels
	checked 0 '^Repairing image was not closed correctly' -r all
	same check -f parallels a.img
	checked 0 '^No errors' -f parallels
	assert_disk parallels
}

# Of blocks with a hole between them, and of two tables', each format says what
# it likes.
test_fragments() {
	qemu-img create -q -f qed -o cluster_size=4k,table_size=2 a.img 9M
	qemu-io -f qed -c 'write 3M 64k' -c 'write 8M 64k' \
		-c 'write 4600k 256k' -c 'write 1M 1M' a.img >.io
	same check -f qed a.img
	for format in parallels qed; do
		rm -f a.img
		qemu-img create -q -f $format a.img 8M
		qemu-io -f $format -c 'write 4M 512' -c 'write 1M 512' \
			-c 'write 2M 512' -c 'write 6M 512' a.img >.io
		same check -f $format a.img
		same check -f $format --output=json a.img
		qemu-io -f $format -c 'write 3M 512' a.img >.io
		same check -f $format a.img
	done
}

test_parallels_leaks() {
	make_image parallels
	size=$(stat -c %s a.img)
	truncate -s +2500k a.img
	same check -f parallels a.img
	checked 3 'space leaked at the end of the image 2560000' -f parallels
	checked 0 '3 leaked clusters' -f parallels -r leaks
	same check -f parallels a.img
	assertEquals "$size" "$(stat -c %s a.img)"
	assert_disk parallels
}

test_parallels_lost_end() {
	make_image parallels
	truncate -s 3M a.img
	checked 2 'is beyond the file' -f parallels
	checked 0 'No errors' -f parallels -r all
	same check -f parallels a.img
	qemu-io -f parallels -c 'write -P 3 4M 1M' -c 'read -P 3 4M 1M' a.img |
		grep -q failed
	assertEquals 'can be written to' 1 $?
}

# The catalog may be longer than the disk.
test_parallels_behind_the_disk() {
	make_image parallels
	poke a.img 32 "$(le32 7)"
	same check -f parallels a.img
	poke a.img 84 "$(le32 2)"
	checked 2 'is another one' -f parallels
	poke a.img 84 "$(le32 9000)"
	checked 2 '^ERROR block 5: .* is beyond the file' -f parallels
	qemu-img check -f parallels a.img >out 2>&1
	assertEquals 'so does QEMU' 2 $?
	refused "error while writing at byte 0: The catalog leads beyond the \
file's end: it has to be repaired before it can be written to" \
		convert -n -f raw -O parallels disk a.img
	checked 0 'No errors' -f parallels -r all
	same check -f parallels a.img
	silent convert -n -f raw -O parallels disk a.img
	assert_disk parallels
}

# Two blocks in one place: nobody can tell whose it is, and no header says
# that all is well.
test_parallels_twice() {
	make_image parallels
	poke a.img 68 "$(dd if=a.img bs=1 skip=64 count=4 status=none |
		od -An -to1 -v | sed 's/ /\\0/g')"
	checked 2 'is another one' -f parallels
	checked 2 'is another one' -f parallels -r all
	refused "Could not open 'a.img': parallels: Image was not closed \
correctly; cannot be opened read/write" resize -f parallels a.img 6M
}

# An entry for what a crash took away, and a table of which nothing is left.
test_qed() {
	make_image qed
	truncate -s -128k a.img
	checked 2 'is beyond the file' -f qed
	checked 0 'No errors' -f qed -r all
	same check -f qed a.img
	poke a.img 65536 "$(le64 12345)"
	checked 2 'is not in a place for it' -f qed
	assertEquals 'told once' 1 "$(grep -c '^ERROR' out)"
	checked 3 'leaked clusters' -f qed -r all
	checked 3 'leaked clusters' -f qed
	same check -q -f qed a.img
}

# Where there is never a backing file, zeroes are the image's own.
test_map() {
	for format in vdi vpc vmdk qed qcow parallels; do
		rm -f a.img
		qemu-img create -q -f $format a.img 10M
		qemu-io -f $format -c 'write -P 1 2M 2M' a.img >/dev/null
		same map -f $format --output=json a.img
		same map -f $format a.img
	done
}

# Of disks that hold next to nothing, what is not there costs no time: QEMU's
# check of such a vmdk takes minutes.
test_tables_that_are_not_there() {
	for format in vmdk qed vhdx parallels; do
		qemu-img create -q -f "$format" a.img 8T
		qemu-io -f "$format" -c 'write -P 1 8796092891136 64k' \
			-c 'write -P 2 5000000000512 64k' a.img >/dev/null
		[ "$format" != qed ] || same map -f qed --output=json a.img
		assertEquals "map of $format" 2 "$(prlimit --cpu=4 vm-img map \
			-f "$format" --output=json a.img |
			grep -c '"data": true, "offset"')"
		assertEquals "check of $format" 'No errors were found' "$(prlimit \
			--cpu=4 vm-img check -f "$format" a.img |
			head -n 1 | cut -c 1-20)"
	done
}

# And as much of it as a header can say.
test_directory_of_the_largest_vmdk() {
	qemu-img create -q -f vmdk a.img 5M
	poke a.img 12 "$(le32 0)$(le32 511)" # 2^41 sectors less 2^32
	truncate -s 200M a.img
	prlimit --cpu=1 vm-img check -f vmdk a.img >out 2>&1
	assertEquals "check: $(cat out)" 0 $?
	assertEquals 'map' 0 "$(prlimit --cpu=1 vm-img map -f vmdk \
		--output=json a.img | grep -c '"data": true, "offset"')"
}

# A table as long as a header can say, of which nothing is in the file, is
# looked through before the first write.
test_longest_tables_are_written_to() {
	head -c 64k /dev/zero | tr '\0' x >disk
	qemu-img create -q -f vpc vpc.img 5M
	poke vpc.img 528 "$(be64 8388608)" # where
	poke vpc.img 540 "$(be32 536870911)"
	poke vpc.img 8388608 "$(be32 0xffffffff)"
	qemu-img create -q -f parallels parallels.img 5M
	poke parallels.img 32 "$(le32 536870911)"
	cp parallels.img used.img
	poke used.img 44 "$(le32 1953459801)"
	qemu-img create -q -f vdi vdi.img 5M
	poke vdi.img 384 "$(le32 536870784)"
	qemu-img create -q -f vmdk vmdk.img 5M
	poke vmdk.img 12 "$(le32 0)$(le32 511)"
	qemu-img create -q -f qcow qcow.img 5M
	poke qcow.img 24 "$(be64 $((268435454 << 21)))"
	for image in vpc parallels used vdi vmdk qcow; do
		truncate -s 3G $image.img
		prlimit --cpu=1 vm-img convert -n -f raw -O \
			"$(echo $image | sed s/used/parallels/)" disk \
			$image.img >out 2>&1
		assertEquals "$image: $(cat out)" 0 $?
	done
}

# Nothing is written to the image, and what was lost is not read as zeroes.
not_written_to() { # TEXT FORMAT [-c]
	head -c 64k /dev/zero | tr '\0' z >disk
	# shellcheck disable=SC2086 # it may be none
	refused "error while writing at byte 0: $1" \
		convert -n -f raw $3 -O "$2" disk a.img
	vm-img convert -f "$2" -O raw a.img back 2>err
	assertEquals "$2: read" 1 $?
	assertTrue "$2: $(cat err)" 'file_has err "beyond the file.s end"'
}

# What is written next must not be in the place of what was lost, nor behind
# it: the file would be as long as before.
test_lost_end() {
	for format in vdi vmdk parallels qcow; do
		rm -f a.img
		qemu-img create -q -f $format a.img 10M
		size=$(stat -c %s a.img)
		# At the beginning of an L2 table of qcow, which is lost, too.
		qemu-io -f $format -c 'write -P 1 4M 64k' a.img >/dev/null
		truncate -s "$size" a.img
		case $format in
		vdi) text="The block map leads beyond the file's end: nothing \
can be written" ;;
		parallels) text="The catalog leads beyond the file's end: it \
has to be repaired before it can be written to" ;;
		vmdk) text="VMDK tables lead beyond the file's end: nothing \
new can be written" ;;
		qcow) text="qcow tables lead beyond the file's end: nothing \
new can be written" ;;
		esac
		not_written_to "$text" $format
	done
	# But where there is something already.
	qemu-img create -q -f vmdk a.img 10M
	qemu-io -f vmdk -c 'write -P 1 0 64k' -c 'write -P 1 4M 64k' a.img \
		>/dev/null
	truncate -s -512 a.img
	silent convert -n -f raw -O vmdk disk a.img
	vm-img dd -f vmdk -O raw bs=64k count=1 if=a.img of=back
	cmp disk back
	assertEquals 'read again' 0 $?
}

test_lost_end_of_compressed() {
	truncate -s 1M disk
	head -c 64k /dev/zero | tr '\0' a >>disk
	qemu-img convert -c -f raw -O qcow disk a.img
	truncate -s -22 a.img # the last of 16 clusters
	not_written_to "qcow tables lead beyond the file's end: nothing new \
can be written" qcow -c
	rm -f disk
	truncate -s 1M disk
	head -c 64k /dev/urandom >>disk
	vm-img convert -f raw -O vmdk -o subformat=streamOptimized disk b.img
	for left in 65536 66048 100352; do
		cp b.img a.img
		truncate -s $left a.img
		head -c 64k /dev/zero | tr '\0' z >disk
		refused "error while writing at byte 0: VMDK tables lead \
beyond the file's end: nothing new can be written" \
			convert -n -f raw -O vmdk disk a.img
		vm-img convert -f vmdk -O raw a.img back 2>err
		assertEquals "$left: read" 1 $?
		checked 2 "byte $left is beyond the file" -f vmdk
	done
}

# The other directory of a VMDK has tables of its own, and one of those may be
# lost.
test_lost_redundant_table() {
	qemu-img create -q -f vmdk a.img 64M
	poke a.img $((21 * 512 + 4)) "$(le32 $(($(stat -c %s a.img) / 512)))"
	head -c 64k /dev/zero | tr '\0' z >disk
	refused "error while writing at byte 0: VMDK tables lead beyond the \
file's end: nothing new can be written" convert -n -f raw -O vmdk disk a.img
}

# A table is read in large parts when it is looked through: one of 2 MiB here.
test_long_table_is_read_at_once() {
	vm-img create -q -f vhdx -o subformat=fixed,block_size=1M a.img 256G
	vm-img -T bdrv_co_preadv_part info -f vhdx a.img >out 2>&1
	n=$(grep -c bdrv_co_preadv_part out)
	assertTrue "$n reads" "[ $n -gt 8 ] && [ $n -lt 40 ]"
}

test_vhdx_log_is_replayed() {
	vm-img create -q -f vhdx -o block_size=1M a.img 40M
	"$B/tests/tools/image-writer" write a.img state 3 60
	cp a.img b.img
	checked 1 'contains a log that needs to be replayed' -f vhdx
	checked 0 '1 corruptions' -f vhdx -r all
	checked 0 '^No errors' -f vhdx
	qemu-img check -q -r all b.img >out 2>&1
	qemu-img compare -f vhdx -F vhdx a.img b.img >out 2>&1
	assertEquals "$(cat out)" 0 $?
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
