#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-disk behind QEMU (TCG): what Debian's kernel makes of the device, and
# file systems that it writes.
# shellcheck disable=SC2154 # dir is set by guest.sh
. tests/support/guest.sh

setUp() {
	test_dir
	qemu-img create -q -f qcow2 "$dir/image" 256M
}

tearDown() {
	test_cleanup
}

serve() {
	start disk vm-disk --socket-path="$dir/socket" --control="$dir/control" \
		"$@"
	wait_socket "$dir/socket"
}

# boot INITRAMFS [OPTION]...: with the disk, and waits for the end.
boot() {
	initramfs=$1
	shift
	start guest qemu_guest "$initramfs" '' \
		-chardev "socket,id=disk,path=$dir/socket" \
		-device vhost-user-blk-pci,chardev=disk "$@"
	status_of guest 120
	assertEquals 'the guest powers off' 0 $?
	assertEquals "$(tail -n 15 "$dir/guest.log")" 0 \
		"$(guest_status "$dir/guest.log")"
}

says() {
	assertTrue "says $1" "file_has '$dir/guest.log' '$1'"
}

test_file_system() {
	serve --serial=0123456789abcdefghij "$dir/image"
	initramfs=$(guest_initramfs - --program=/sbin/mke2fs <<-'END'
		cd /sys/block/vda
		echo "serial $(cat serial)"
		echo "size $(cat size) ro $(cat ro)"
		for f in logical_block_size physical_block_size minimum_io_size \
			optimal_io_size discard_granularity write_cache \
			max_segments; do
			echo "$f $(cat queue/$f)"
		done
		set -e
		/sbin/mke2fs -q -t ext4 /dev/vda
		mkdir -p /mnt
		mount -t ext4 /dev/vda /mnt
		dd if=/dev/urandom of=/mnt/random bs=1M count=20 2>/dev/null
		sum=$(md5sum </mnt/random)
		mkdir /mnt/many
		for i in $(seq 200); do
			echo "file $i" >"/mnt/many/$i"
		done
		rm /mnt/many/1*
		fstrim -v /mnt
		umount /mnt
		echo 3 >/proc/sys/vm/drop_caches
		mount -t ext4 /dev/vda /mnt
		[ "$sum" = "$(md5sum </mnt/random)" ]
		cat /mnt/many/20
		echo "md5 $sum"
		umount /mnt
	END
	)
	boot "$initramfs"
	for line in 'serial 0123456789abcdefghij' 'size 524288 ro 0' \
		'logical_block_size 512' 'physical_block_size 4096' \
		'minimum_io_size 4096' 'optimal_io_size 65536' \
		'discard_granularity 65536' 'write_cache write back' \
		'max_segments 126' 'file 20' '/mnt: .* trimmed'; do
		says "$line"
	done
	stats=$(echo stats | socat - "UNIX:$dir/control")
	assertNotContains "$stats" 'discards 0'
	assertContains "$stats" 'errors 0'
	stop disk
	assertEquals 0 $?
	qemu-img check -q "$dir/image" >"$dir/check" 2>&1
	assertEquals 'clean' 0 $?
	qemu-img convert -O raw "$dir/image" "$dir/raw"
	/sbin/e2fsck -fn "$dir/raw" >"$dir/fsck" 2>&1
	assertEquals "$(cat "$dir/fsck")" 0 $?
	/sbin/debugfs -R 'cat random' "$dir/raw" 2>/dev/null | md5sum \
		>"$dir/md5"
	says "md5 $(cat "$dir/md5")"
}

# Many writers on many queues; the image has what they read back.
test_multi_queue() {
	serve "$dir/image"
	initramfs=$(guest_initramfs - --program="$B/tests/tools/disk-writer" <<-END
		echo "queues \$(ls /sys/block/vda/mq | wc -l)"
		$B/tests/tools/disk-writer write /dev/vda 64 8
	END
	)
	boot "$initramfs" -smp 3
	says 'queues 3'
	says 'all there'
	stop disk
	qemu-img check -q "$dir/image" >"$dir/check" 2>&1
	assertEquals 'clean' 0 $?
	qemu-img convert -O raw "$dir/image" "$dir/raw"
	says "$("$B/tests/tools/disk-writer" digest "$dir/raw" 64)"
}

test_read_only() {
	serve --read-only "$dir/image"
	initramfs=$(guest_initramfs - <<-'END'
		cat /sys/block/vda/ro
		! dd if=/dev/zero of=/dev/vda bs=4k count=1 2>/dev/null
	END
	)
	boot "$initramfs"
	says '^1'
}

test_full_host_disk_is_an_error_for_the_guest() {
	cat >"$dir/serve.sh" <<-'END'
		mount -t tmpfs -o size=8M none "$1/small" &&
		qemu-img create -q -f qcow2 "$1/small/image" 256M &&
		exec vm-disk --socket-path="$1/socket" "$1/small/image"
	END
	mkdir "$dir/small"
	start disk unshare -rm sh "$dir/serve.sh" "$dir"
	wait_socket "$dir/socket"
	initramfs=$(guest_initramfs - <<-'END'
		dd if=/dev/zero of=/dev/vda bs=64k count=16 oflag=direct \
			2>/dev/null || exit 1
		! dd if=/dev/zero of=/dev/vda bs=1M seek=1 count=64 \
			oflag=direct || exit 1
		dd if=/dev/vda of=/dev/null bs=64k count=16 iflag=direct \
			2>/dev/null
	END
	)
	boot "$initramfs"
	says 'I/O error'
	assertTrue "$(cat "$dir/disk.log")" \
		"file_has '$dir/disk.log' 'No space left on device'"
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
