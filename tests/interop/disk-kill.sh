#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-disk is killed with SIGKILL and started again, 20 times at random moments,
# while a front end writes blocks that it knows again: no error, every
# acknowledged write is there, and the image has leaks at worst.
# shellcheck disable=SC2154 # dir and pid are set by guest.sh
. tests/support/guest.sh

RESTARTS=20

setUp() {
	test_dir
	socket=$dir/socket
}

tearDown() {
	test_cleanup
}

serve() {
	start disk vm-disk --socket-path="$socket" --control="$dir/control" "$@"
}

# A pause of 0 to 0.8 s, at the end of which anything may be going on.
some_time() {
	sleep "0.$(od -An -tu1 -N1 /dev/urandom | awk '{ print int($1 / 32) }')"
}

# kill_often NAME OPTION...: RESTARTS times, as long as NAME runs.
kill_often() {
	client=$1
	shift
	i=0
	while [ $i -lt $RESTARTS ]; do
		some_time
		is_running "$client" || break
		kill9 disk
		rm -f "$dir/control"
		serve "$@"
		i=$((i + 1))
	done
	assertEquals 'killed so many times' $RESTARTS $i
}

has_served() {
	echo stats | timeout 60 socat - "UNIX:$dir/control" 2>/dev/null |
		grep -q '^writes [1-9]'
}

check_image() {
	qemu-img check "$1" >"$dir/check" 2>&1
	status=$?
	# 3: leaked clusters.
	assertTrue "$(tail -n 5 "$dir/check")" \
		"[ $status = 0 ] || [ $status = 3 ]"
}

# load_tool FORMAT IMAGE [OPTION]...
load_tool() {
	serve --format="$1" "$2"
	wait_socket "$socket"
	start client timeout 120 "$B/tests/tools/vhost-blk" --depth=32 \
		--queues=2 "$socket" stress 15
	wait_until has_served
	kill_often client --format="$1" "$2"
	status_of client 120
	assertEquals "$(tail -n 5 "$dir/client.log")" 0 $?
	assertTrue 'went on' "file_has $dir/client.log 'back end is back'"
	assertTrue 'verified' "file_has $dir/client.log 'blocks [1-9]'"
	stop disk
	assertEquals 0 $?
	[ "$1" = raw ] || check_image "$2"
}

test_load_tool_on_raw() {
	truncate -s 64M "$dir/raw"
	load_tool raw "$dir/raw"
}

test_load_tool_on_qcow2() {
	qemu-img create -q -f qcow2 "$dir/image" 64M
	load_tool qcow2 "$dir/image"
}

# Small clusters make much metadata; a base makes copies.
test_load_tool_on_small_clusters_over_a_base() {
	truncate -s 64M "$dir/base"
	qemu-img create -q -f qcow2 -o cluster_size=1k -b base -F raw \
		"$dir/image"
	load_tool qcow2 "$dir/image"
}

test_guest_of_qemu() {
	qemu-img create -q -f qcow2 "$dir/image" 256M
	initramfs=$(guest_initramfs - \
		--program="$B/tests/tools/disk-writer" <<-END
		$B/tests/tools/disk-writer write /dev/vda 32 40
	END
	)
	serve "$dir/image"
	wait_socket "$socket"
	start guest qemu_guest "$initramfs" '' -smp 2 \
		-chardev "socket,id=disk,path=$socket,reconnect=1" \
		-device vhost-user-blk-pci,chardev=disk,num-queues=2
	wait_for "$dir/guest.log" 'disk-writer: begins' 60
	i=0
	# QEMU looks once a second; every other time it gets some work done.
	while [ $i -lt $RESTARTS ]; do
		[ $((i % 2)) = 0 ] || wait_until 10 has_served
		some_time
		kill9 disk
		rm -f "$dir/control"
		serve "$dir/image"
		i=$((i + 1))
	done
	assertFalse 'it was all while the guest wrote' \
		"file_has $dir/guest.log 'all there|GUEST-STATUS'"
	status_of guest 120
	assertEquals 'the guest powers off' 0 $?
	assertEquals "$(tail -n 15 "$dir/guest.log")" 0 \
		"$(guest_status "$dir/guest.log")"
	assertTrue 'all there' "file_has $dir/guest.log 'all there'"
	assertFalse 'no error' "file_has $dir/guest.log 'I/O error'"
	stop disk
	assertEquals 0 $?
	check_image "$dir/image"
	qemu-img convert -O raw "$dir/image" "$dir/raw"
	assertTrue 'the image has it' "file_has $dir/guest.log \
		'$("$B/tests/tools/disk-writer" digest "$dir/raw" 32)'"
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
