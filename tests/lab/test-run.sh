#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-run with everything real: Debian's kernel, a disk, a network and a
# console, and each of the servers killed while the guest uses it.
# shellcheck disable=SC2154 # dir and pid are set by guest.sh
# shellcheck disable=SC2016 # what is quoted is for the guest
# shellcheck disable=SC2317 # functions are called by name
. tests/support/guest.sh

setUp() {
	test_dir
}

tearDown() {
	test_cleanup
}

# kill_server PROGRAM: the one that vm-run, process $run_pid, started.
kill_server() {
	kill -KILL "$(pgrep -P "$run_pid" -x "$1")"
}

has_server() {
	pgrep -P "$run_pid" -x "$1" >/dev/null
}

test_debian_with_each_server_killed() {
	cat >"$dir/script" <<-'END'
	# A frame that was with the switch when it died is lost.
	pings() {
		for _ in 1 2 3 4 5 6 7 8 9 10; do
			ping -c 1 -W 2 $1 >/dev/null && return
		done
		return 1
	}
	/sbin/mke2fs -q -t ext4 /dev/vda && mount /dev/vda /mnt || exit 1
	ip link set eth0 up
	udhcpc -i eth0 -n -q -f -s /lease >/dev/null 2>&1 || exit 2
	echo "address $(cat /address)"
	i=0
	while [ $i -lt 24 ]; do
		i=$((i + 1))
		dd if=/dev/urandom of=/mnt/$i bs=64k count=4 conv=fsync \
			2>/dev/null || exit 3
		pings 10.0.2.2 || exit 4
		echo "round $i"
		echo "console $i" >/dev/hvc0
	done
	read -r line </dev/hvc0
	echo "heard $line"
	cat /mnt/* | sha256sum >/sum
	umount /mnt && mount /dev/vda /mnt || exit 5
	cat /mnt/* | sha256sum | cmp - /sum || exit 6
	umount /mnt
	dmesg | grep -iE 'I/O error|ext4-fs error|virtio.*(fail|broken)' && exit 7
	exit 0
	END
	cat >"$dir/lease" <<-'END'
	#!/bin/sh
	[ "$1" = bound ] || exit 0
	ip address add "$ip/24" dev "$interface"
	echo "$ip" >/address
	END
	chmod +x "$dir/lease"
	vm-img create -q -f qcow2 "$dir/disk.qcow2" 256M
	cat >"$dir/debian.vm" <<-END
	memory  256M
	cpus    2
	kernel  $(guest_kernel --vmlinux)
	initrd  $(guest_initramfs "$dir/script" "$dir/lease=lease" \
		--program=/sbin/mke2fs)
	append  $guest_append
	disk    disk.qcow2
	net     slirp://
	console attach=viewers log=console.log
	control cpu.control
	END
	start run env XDG_RUNTIME_DIR="$dir" vm-run "$dir/debian.vm"
	run_pid=$pid
	wait_for "$dir/run.log" '^address 10\.0\.2\.' 120 || fail 'no address'

	wait_for "$dir/run.log" '^round 6' 120
	kill_server vm-disk
	wait_for "$dir/run.log" '^round 12' 120
	kill_server vm-net
	wait_for "$dir/run.log" '^round 18' 120
	kill_server vm-console
	wait_for "$dir/run.log" '^round 24' 120
	wait_for "$dir/console.log" 'console 24'
	wait_until has_server vm-console
	echo 'a word' | socat -t 5 - UNIX-CONNECT:"$dir/viewers" \
		>"$dir/viewer"
	wait_for "$dir/run.log" '^heard a word' 60
	status_of run 60
	assertEquals 'powered off' 0 $?
	assertEquals 'no error in the guest' 0 "$(guest_status "$dir/run.log")"
	for server in 'disk0: vm-disk' 'net0: vm-net' 'console0: vm-console'
	do
		assertTrue "$server" "file_has '$dir/run.log' \
			'^vm-run: $server was killed by signal 9; starting'"
	done
	assertTrue 'a viewer saw it' "file_has '$dir/viewer' 'console 24'"
	assertEquals 'no socket' '' "$(find "$dir" -type s)"
	assertEquals 'no folder' '' "$(find "$dir" -name 'vm-run.*')"

	# 3 are leaks, which is all that a kill may leave behind.
	qemu-img check -q "$dir/disk.qcow2" >"$dir/check" 2>&1
	status=$?
	assertTrue "$(cat "$dir/check")" "[ $status = 0 ] || [ $status = 3 ]"
	qemu-img convert -O raw "$dir/disk.qcow2" "$dir/disk.raw"
	e2fsck -fn "$dir/disk.raw" >"$dir/fsck" 2>&1
	assertEquals 'the file system is clean' 0 $?
}

# The guest asks for a reset once, by what it finds on its disk.
test_reboot() {
	echo 'read -r word </dev/vda
	echo "found $word"
	case $word in
	first) echo second >/dev/vda; sync; reboot -f ;;
	esac' >"$dir/script"
	truncate -s 1M "$dir/disk.raw"
	echo first | dd of="$dir/disk.raw" conv=notrunc 2>"$dir/dd"
	cat >"$dir/debian.vm" <<-END
	kernel $(guest_kernel --vmlinux)
	initrd $(guest_initramfs "$dir/script")
	append $guest_append
	disk disk.raw format=raw
	on-reboot restart
	END
	start run env XDG_RUNTIME_DIR="$dir" vm-run "$dir/debian.vm"
	status_of run 120
	assertEquals 0 $?
	assertEquals 'found first
found second' "$(tr -d '\r' <"$dir/run.log" | grep '^found')"
	assertTrue "file_has '$dir/run.log' 'cpu: vm-cpu ended with status 32'"
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
