#!/bin/sh
# SPDX-License-Identifier: ISC
# Our vhost-user front end before QEMU's block back end. That one does not
# track requests in flight, so it may be killed while there are none.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh

setUp() {
	test_dir
	truncate -s 64M "$dir/disk"
	storage_daemon
}

tearDown() {
	test_cleanup
}

storage_daemon() {
	rm -f "$dir/socket"
	start daemon qemu-storage-daemon \
		--blockdev "driver=file,node-name=f,filename=$dir/disk" \
		--export "type=vhost-user-blk,id=e,node-name=f,addr.type=unix,addr.path=$dir/socket,writable=on,num-queues=4"
	wait_socket "$dir/socket"
}

blk() {
	timeout 60 "$B/tests/tools/vhost-blk" "$@"
}

test_config_and_queues() {
	assertEquals 'capacity 67108864
block-size 512
queues 3
read-only no' "$(blk --queues=3 "$dir/socket" info | grep -v features)"
}

test_writes_are_in_the_file() {
	blk --depth=32 "$dir/socket" write 4096 0x55 1M flush \
		verify 4096 0x55 1M verify 0 0 4096 zero 8192 4096 \
		verify 8192 0 4096
	assertEquals 0 $?
	{
		head -c 4096 /dev/zero
		head -c 4096 /dev/zero | tr '\0' U
		head -c 4096 /dev/zero
		head -c 1040384 /dev/zero | tr '\0' U
	} >"$dir/expected"
	cmp -n 1052672 "$dir/expected" "$dir/disk"
	assertEquals 'file has what was written' 0 $?
}

test_errors_come_back_as_errors() {
	blk "$dir/socket" refused read 64M refused write 1G verify 0 0 512
	assertEquals 0 $?
	assertContains "$(blk "$dir/socket" write 64M 1 512 2>&1)" \
		'vhost-blk: write at 67108864: I/O error'
}

test_stress_over_four_queues() {
	blk --queues=4 --depth=64 "$dir/socket" stress 2 >"$dir/out"
	assertEquals 0 $?
	assertTrue 'verified' "grep -q 'blocks [1-9]' $dir/out"
}

# With nothing in flight: QEMU 7.2's back end goes on with what it took after
# GET_VRING_BASE, on rings that may be another driver's by then. The same with
# requests in flight is in tests/vm-disk.sh.
test_reset_and_start_again() {
	blk "$dir/socket" write 0 1 4096 reset 0 verify 0 1 4096 \
		write 0 2 4096 reset 0 reset 0 verify 0 2 4096
	assertEquals 0 $?
}

test_survives_restart_of_the_back_end() {
	start client timeout 60 "$B/tests/tools/vhost-blk" "$dir/socket" \
		write 0 7 1M flush print before wait "$dir/go" \
		verify 0 7 1M write 0 8 1M verify 0 8 1M print after
	wait_for "$dir/client.log" before
	for _ in 1 2 3; do
		kill9 daemon
		storage_daemon
	done
	touch "$dir/go"
	status_of client
	assertEquals 'no error' 0 $?
	assertTrue 'goes on' "grep -q after $dir/client.log"
	assertTrue 'says so' "grep -q 'blk: back end is back' $dir/client.log"
}

test_waits_while_the_back_end_is_away() {
	start client timeout 60 "$B/tests/tools/vhost-blk" "$dir/socket" \
		print before wait "$dir/go" write 0 9 1M print after
	wait_for "$dir/client.log" before
	kill9 daemon
	touch "$dir/go"
	wait_for "$dir/client.log" 'closed the connection'
	storage_daemon
	status_of client
	assertEquals 0 $?
}

test_gives_up_when_told_to() {
	start client timeout 60 "$B/tests/tools/vhost-blk" --reconnect=1 \
		"$dir/socket" print before wait "$dir/go"
	wait_for "$dir/client.log" before
	kill9 daemon
	status_of client
	assertEquals 1 $?
	assertTrue 'says why' \
		"grep -q 'back end closed the connection' $dir/client.log"
}

test_nobody_listens() {
	stop daemon
	rm -f "$dir/socket"
	assertContains "$(blk "$dir/socket" info 2>&1)" "$dir/socket"
	blk "$dir/socket" info 2>/dev/null
	assertEquals 1 $?
}

. shunit2
