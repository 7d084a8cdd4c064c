#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img where something is in the way: other users, broken images, full
# disks, sudden death.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
}

tearDown() {
	[ ! -d "$dir/small" ] || umount "$dir/small" 2>/dev/null
	img_cleanup
}

# hold FORMAT IMAGE [READ-ONLY WRITABLE]: QEMU's storage daemon has it open.
hold() {
	start holder qemu-storage-daemon \
		--blockdev "file,node-name=f,filename=$2" \
		--blockdev "$1,node-name=d,file=f,read-only=${3:-off}" \
		--nbd-server "addr.type=unix,addr.path=$dir/nbd" \
		--export "nbd,id=e,node-name=d,writable=${4:-on}"
	wait_socket "$dir/nbd" || fail "$(cat "$dir/holder.log")"
}

test_locked_by_qemu() {
	qemu-img create -q -f qcow2 a.qcow2 1M
	hold qcow2 a.qcow2
	same info a.qcow2
	same check a.qcow2
	same convert a.qcow2 b.raw
	same convert -n -O qcow2 a.qcow2 a.qcow2
	same resize a.qcow2 2M
	same create -f qcow2 a.qcow2 1M
	assertEquals "qemu-img: Could not open 'a.qcow2': Failed to get \"write\" lock
Is another process using the image [a.qcow2]?" \
		"$(img resize a.qcow2 2M 2>&1)"
	same info -U a.qcow2
	same check -U a.qcow2
	same convert -U a.qcow2 b.raw
	same create -f qcow2 -b a.qcow2 -F qcow2 over.qcow2
	same check over.qcow2
	stop holder
	silent resize -q a.qcow2 2M
}

test_raw_locked_by_qemu() {
	qemu-img create -q -f raw a.raw 1M
	hold raw a.raw
	same info a.raw
	same convert -f raw a.raw b.raw
	same create -f raw a.raw 2M
	stop holder
}

# Readers are many.
test_read_by_qemu() {
	qemu-img create -q -f qcow2 a.qcow2 1M
	hold qcow2 a.qcow2 on off
	same info a.qcow2
	same check a.qcow2
	same convert a.qcow2 b.raw
	same resize a.qcow2 2M
	stop holder
}

# qemu-img meets what vm-img has open: a convert that is stopped in the
# middle, reading a.qcow2 and writing b.qcow2.
test_locked_by_us() {
	random a.raw 300M
	qemu-img convert -O qcow2 a.raw a.qcow2
	start convert "$B/bin/vm-img" convert -O qcow2 a.qcow2 b.qcow2
	wait_until 10 [ -s b.qcow2 ]
	kill -STOP "$pid"
	qemu-img info b.qcow2 >out 2>&1
	assertEquals 1 $?
	assertEquals "qemu-img: Could not open 'b.qcow2': Failed to get shared \"write\" lock
Is another process using the image [b.qcow2]?" "$(cat out)"
	qemu-io -c 'write 0 512' a.qcow2 >out 2>&1
	assertEquals "qemu-io: can't open device a.qcow2: Failed to get \"write\" lock
Is another process using the image [a.qcow2]?" "$(cat out)"
	assertTrue 'reading is shared' 'qemu-img check -q a.qcow2'
	kill -CONT "$pid"
	status_of convert
	assertEquals 0 $?
	assertTrue 'qemu-img compare -q a.qcow2 b.qcow2'
}

# Cut an image of every few KiB off: no crash, and one line that says what.
test_truncated_images() {
	random data 300000
	qemu-img convert -O qcow2 -o cluster_size=4k data a.qcow2
	size=$(stat -c %s a.qcow2)
	at=0
	while [ "$at" -lt "$size" ]; do
		head -c "$at" a.qcow2 >short
		for verb in info check; do
			timeout 60 vm-img $verb -f qcow2 short >out 2>err
			status=$?
			assertTrue "$verb at $at: status $status" \
				"[ $status -le 3 ]"
			[ $status != 1 ] || assertEquals "$verb at $at" 1 \
				"$(wc -l <err)"
		done
		timeout 60 vm-img convert -f qcow2 short b.raw 2>err ||
			assertFalse "$at" '[ -e b.raw ]'
		rm -f b.raw
		at=$((at + 3333))
	done
}

# One field of the header at a time, with nonsense in it.
test_corrupt_headers() {
	random data 300000
	qemu-img convert -O qcow2 data good.qcow2
	for field in 4:4 8:8 16:4 20:4 24:8 32:4 36:4 40:8 48:8 56:4 60:4 \
		64:8 72:8 96:4 100:4; do
		for byte in 377 001 200; do
			cp good.qcow2 bad.qcow2
			# shellcheck disable=SC2059
			for i in $(seq 0 $((${field#*:} - 1))); do
				printf "\\$byte" | dd of=bad.qcow2 bs=1 \
					seek=$((${field%:*} + i)) conv=notrunc \
					status=none
			done
			timeout 60 vm-img convert -f qcow2 bad.qcow2 b.raw \
				2>err
			status=$?
			assertTrue "$field $byte: status $status" \
				"[ $status -le 1 ]"
			assertEquals "$field $byte: $(cat err)" $status \
				"$(wc -l <err)"
			rm -f b.raw
		done
	done
}

test_full_disk() {
	mkdir small
	mount -t tmpfs -o size=4M none small
	assertEquals 0 $?
	random a.raw 8M
	for format in raw qcow2; do
		vm-img convert -f raw -O $format a.raw small/b >out 2>err
		assertEquals $format 1 $?
		assertEquals "$format: $(cat err)" 1 "$(wc -l <err)"
		assertTrue "$(cat err)" \
			"grep -q 'error while writing at byte [0-9]*: .*No space left on device' err"
		assertFalse 'no half an image' '[ -e small/b ]'
	done
	refused 'small/c: Could not preallocate data: No space left on device' \
		create -q -f raw -o preallocation=full small/c 8M
	assertFalse 'no half an image' '[ -e small/c ]'
	vm-img create -q -f qcow2 -o preallocation=full small/d 8M 2>err
	assertEquals 1 $?
	assertTrue "$(cat err)" "grep -q 'No space left on device' err"
	assertFalse 'no half an image' '[ -e small/d ]'
}

# A size that the disk does not get costs it no bitmap.
test_full_disk_keeps_bitmaps() {
	mkdir small
	mount -t tmpfs -o size=4M none small
	qemu-img create -q -f qcow2 -o cluster_size=4k made.qcow2 2M
	qemu-io -c 'write 0 2M' made.qcow2 >/dev/null
	qemu-img snapshot -c one made.qcow2
	qemu-img bitmap --add -g 4k made.qcow2 on
	qemu-io -c 'write -P 3 1M 64k' made.qcow2 >/dev/null
	qemu-img bitmap --add --disable -g 512 made.qcow2 off
	for how in '--shrink 1M' '--shrink 2093056' 3M \
		'--preallocation=full 3M'; do
		for n_free in 0 1 2 3 4 5 6 7 40; do
			cp made.qcow2 small/a.qcow2
			rm -f small/fill
			cat /dev/zero >small/fill 2>/dev/null
			truncate -s -$((n_free * 4096)) small/fill
			# shellcheck disable=SC2086 # words
			vm-img resize -q small/a.qcow2 $how 2>err ||
				assertEquals "$how $n_free: $(cat err)" 1 \
					"$(grep -c 'No space left' err)"
			assertEquals "$how $n_free: bitmaps" 2 \
				"$(qemu-img info small/a.qcow2 |
					grep -c granularity)"
			assertFalse "$how $n_free: in use" \
				'qemu-img info small/a.qcow2 | grep in-use'
			assertTrue "$how $n_free: clean but for leaks" \
				'qemu-img check -q small/a.qcow2 >/dev/null 2>&1 ||
				[ $? = 3 ]'
		done
	done
}

# A limit that says EFBIG instead.
test_file_size_limit() {
	random a.raw 8M
	(
		ulimit -f 4096
		exec vm-img convert -f raw -O qcow2 a.raw b.qcow2
	) 2>err
	assertEquals 1 $?
	assertTrue "$(cat err)" "grep -q ': .*File too large' err"
	assertFalse '[ -e b.qcow2 ]'
}

# The file behind a link goes, the link stays, and so does what was there.
test_failure_removes_only_its_own() {
	mkdir small
	mount -t tmpfs -o size=4M none small
	random a.raw 8M
	ln -s "$dir/small/real" link.raw
	vm-img convert -f raw -O raw a.raw link.raw 2>/dev/null
	assertEquals 1 $?
	assertTrue '[ -L link.raw ]'
	assertFalse '[ -e small/real ]'
	vm-img create -q -f qcow2 small/n.qcow2 8M
	vm-img convert -n -f raw -O qcow2 a.raw small/n.qcow2 2>/dev/null
	assertEquals 1 $?
	assertTrue '[ -e small/n.qcow2 ]'
	assertTrue 'clean but for leaks' \
		'qemu-img check -q small/n.qcow2 >/dev/null 2>&1 || [ $? = 3 ]'
}

# What a network's file system tells of only when a file is closed: by convert,
# which flushes nothing, and create, whose image holds nothing yet.
test_failing_close() {
	random a.raw 1M
	mkdir d
	qemu-img create -q -f qcow2 old.qcow2 1M
	throttled=driver=raw,file.driver=throttle,file.throttle-group=t
	throttled=$throttled,file.file.filename=old.raw
	truncate -s 1M old.raw
	while read -r file command; do
		# shellcheck disable=SC2086
		LD_PRELOAD=$B/tests/preload/close_fails.so CLOSE_FAILS=$file \
			vm-img $command 2>err
		assertEquals "$command" 1 $?
		assertEquals "$command: $(cat err)" 1 \
			"$(grep -c 'Disk quota exceeded' err)"
		assertEquals "$command" '' "$(ls d)"
	done <<-EOF
		n.raw convert -O raw a.raw d/n.raw
		n.qcow2 convert -O qcow2 a.raw d/n.qcow2
		n.data convert -O qcow2 -o data_file=d/n.data a.raw d/n.qcow2
		n-flat.vmdk convert -O vmdk -o subformat=monolithicFlat a.raw d/n.vmdk
		n.vmdk convert -O vmdk a.raw d/n.vmdk
		n.vpc convert -O vpc a.raw d/n.vpc
		n.raw create -q -o preallocation=full d/n.raw 1M
		old.qcow2 convert -n -O qcow2 a.raw old.qcow2
		old.raw convert -n --object throttle-group,id=t --target-image-opts a.raw $throttled
	EOF
	LD_PRELOAD=$B/tests/preload/close_fails.so CLOSE_FAILS=a.raw \
		vm-img convert -O qcow2 a.raw n.qcow2
	assertEquals 'a source' 0 $?
}

# Nor do the files that an image has beside its own stay and fill the disk.
test_failure_removes_companions() {
	random a.raw 8M
	mkdir d
	while read -r format options; do
		for verb in "convert -O $format -o $options -f raw a.raw" \
			"create -q -f $format -o $options"; do
			size=
			[ "${verb%% *}" = convert ] || size=3G
			(
				trap '' XFSZ
				ulimit -f 200
				# shellcheck disable=SC2086
				exec vm-img $verb d/b.vmdk $size
			) >out 2>err
			assertEquals "$verb" 1 $?
			assertEquals "$verb" '' "$(ls d)"
		done
	done <<-'EOF'
		vmdk subformat=monolithicFlat
		vmdk subformat=twoGbMaxExtentFlat
		vmdk subformat=twoGbMaxExtentSparse
		qcow2 data_file=x.d,preallocation=full
	EOF
	rm -f d/*
}

# Where a file was, nothing is left of it but what create made. A link stays.
test_failed_create_over_a_file() {
	while read -r format options; do
		for name in old.img link.img; do
			rm -f ./*.img
			echo old >old.img
			ln -s old.img link.img
			(
				trap '' XFSZ
				ulimit -f 4
				# shellcheck disable=SC2086
				exec vm-img create -q -f $format $options $name 2M
			) 2>err
			assertEquals "$format" 1 $?
			assertEquals "$format: $(cat err)" 1 "$(wc -l <err)"
			assertFalse "$format over $name" '[ -e old.img ]'
			[ $name = old.img ] ||
				assertTrue "$format" '[ -L link.img ]'
			rm -f ./*.img x
		done
	done <<-'EOF'
		raw -o preallocation=full
		qcow2
		qcow2 -o preallocation=full,cluster_size=512
		luks --object secret,id=s,data=x -o key-secret=s,iter-time=10
		vmdk
		vmdk -o subformat=streamOptimized
		vpc -o subformat=fixed
		vhdx
		parallels
	EOF
}

# What fails before it touches a file, and what is another one's, loses nothing.
test_refused_create_over_a_file() {
	echo old >old.img
	ln -s none link.img
	for options in foo=bar cluster_size=3 backing_file=none \
		compat=0.10,lazy_refcounts=on; do
		for name in old.img link.img; do
			assertFalse "$options" \
				"vm-img create -q -f qcow2 -o $options $name 1M 2>err"
		done
		assertEquals "$options" old "$(cat old.img)"
		assertTrue "$options" '[ -L link.img ]'
	done
	qemu-img create -q -f qcow2 a.qcow2 1M
	hold qcow2 a.qcow2
	for format in raw qcow2 vmdk; do
		assertFalse $format "vm-img create -q -f $format a.qcow2 1M 2>err"
		assertTrue $format 'qemu-img info -U a.qcow2 | grep -q qcow2'
	done
}

# What was there beside it is another matter, whatever is left in it.
test_failure_keeps_old_companions() {
	random a.raw 8M
	for old in x.d b-flat.vmdk; do
		case $old in
		x.d) options='-O qcow2 -o data_file=x.d' ;;
		*) options='-O vmdk -o subformat=monolithicFlat' ;;
		esac
		echo mine >$old
		(
			trap '' XFSZ
			ulimit -f 200
			# shellcheck disable=SC2086
			exec vm-img convert $options -f raw a.raw b.vmdk
		) 2>err
		assertEquals "$options" 1 $?
		assertTrue "$options" "[ -e $old ]"
		assertFalse "$options" '[ -e b.vmdk ]'
	done
}

test_killed_convert_leaves_the_source() {
	random a.raw 100M
	qemu-img convert -O qcow2 a.raw a.qcow2
	before=$(sha256sum <a.qcow2)
	for round in 1 2 3 4 5; do
		rm -f b.qcow2
		start convert "$B/bin/vm-img" convert -O qcow2 a.qcow2 b.qcow2
		wait_until 10 [ -s b.qcow2 ]
		kill9 convert
		assertEquals "round $round" "$before" "$(sha256sum <a.qcow2)"
	done
	assertTrue 'no lock is left' 'qemu-io -c "write 0 512" a.qcow2 >/dev/null'
	silent convert -O qcow2 a.qcow2 b.qcow2
}

# What another process cuts off of a source is not zeroes.
test_source_is_cut_off() {
	random a.raw 32M
	qemu-img convert -O qcow2 a.raw a.qcow2
	for format in raw qcow2; do
		rm -f b
		start convert "$B/bin/vm-img" convert -r 16M -f $format -O raw \
			a.$format b
		wait_until 10 [ -s b ]
		truncate -s 20M a.$format
		status_of convert
		assertEquals "$format" 1 $?
		assertEquals "$format" \
			'File has become shorter since it was opened' \
			"$(sed 's/^vm-img: error while reading [^:]*: //' \
				convert.log)"
		assertFalse "$format: no half an image" '[ -e b ]'
	done
}

test_no_standard_input() {
	assertEquals 'vm-img: Could not open standard input: Bad file descriptor' \
		"$(vm-img convert -f raw -O raw - b.raw 2>&1 <&-)"
	assertFalse '[ -e b.raw ]'
}

test_strange_files() {
	mkdir d
	mkfifo f
	same info d
	same create -f raw d 1M
	refused "Could not open 'f': 'file' driver requires 'f' to be a regular file" \
		info f
	: >empty
	same info empty
	same check -f qcow2 empty
	same info -f qcow2 empty
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
