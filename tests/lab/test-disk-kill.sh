#!/bin/sh
# SPDX-License-Identifier: ISC
# A guest on vm-cpu writes blocks that it knows again, with O_DIRECT and fsync,
# while its vm-disk is killed with SIGKILL and started again 20 times at random
# moments: no error, all is there, and the image has leaks at worst.
# shellcheck disable=SC2154 # dir is set by guest.sh
. tests/support/guest.sh

RESTARTS=20

setUp() {
	test_dir
	socket=$dir/socket
	qemu-img create -q -f qcow2 "$dir/image" 256M
}

tearDown() {
	test_cleanup
}

serve() {
	start disk vm-disk --socket-path="$socket" --control="$dir/control" \
		"$dir/image"
}

# A pause of 0 to 1.5 s, at the end of which anything may be going on.
some_time() {
	sleep "$(od -An -tu1 -N1 /dev/urandom | awk '{ print $1 / 170 }')"
}

has_served() {
	echo stats | timeout 5 socat - "UNIX:$dir/control" 2>/dev/null |
		grep -q '^writes [1-9]'
}

test_killed_disk_is_no_error_to_the_guest() {
	initramfs=$(guest_initramfs - \
		--program="$B/tests/tools/disk-writer" <<-END
		$B/tests/tools/disk-writer write /dev/vda 16 120
	END
	)
	serve
	wait_socket "$socket"
	start guest vm-cpu --kernel="$(guest_kernel --vmlinux)" \
		--initrd="$initramfs" --memory=256M --cpus=2 \
		--append="$guest_append" --blk="$socket"
	wait_for "$dir/guest.log" 'disk-writer: begins' 120
	i=0
	while [ $i -lt $RESTARTS ]; do
		[ $((i % 2)) = 0 ] || wait_until 20 has_served
		some_time
		kill9 disk
		rm -f "$dir/control"
		serve
		i=$((i + 1))
	done
	assertFalse 'it was all while the guest wrote' \
		"file_has $dir/guest.log 'all there|GUEST-STATUS'"
	status_of guest 240
	assertEquals 'the guest powers off' 0 $?
	assertEquals "$(tail -n 15 "$dir/guest.log")" 0 \
		"$(guest_status "$dir/guest.log")"
	assertTrue 'all there' "file_has $dir/guest.log 'all there'"
	assertFalse 'no error' "file_has $dir/guest.log 'I/O error'"
	stop disk
	assertEquals 0 $?
	qemu-img check "$dir/image" >"$dir/check" 2>&1
	status=$?
	assertTrue "$(tail -n 5 "$dir/check")" \
		"[ $status = 0 ] || [ $status = 3 ]"
	qemu-img convert -O raw "$dir/image" "$dir/raw"
	assertTrue 'the image has it' "file_has $dir/guest.log \
		'$("$B/tests/tools/disk-writer" digest "$dir/raw" 16)'"
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
