#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-run with the real programs and the tiny guest, on this host's KVM.
# shellcheck disable=SC2154 # dir and pid are set by guest.sh
# shellcheck disable=SC2317 # functions are called by name
. tests/support/guest.sh

# No slirp://: libvdeplug loads its plugins in a way that the address
# sanitizer does not allow. The lab's tests have it.
setUp() {
	test_dir
	mkdir "$dir/run"
	export XDG_RUNTIME_DIR="$dir/run"
	truncate -s 1M "$dir/disk.raw"
	cat >"$dir/tiny.vm" <<-END
	memory 16M
	kernel $B/tests/guests/tiny
	disk disk.raw format=raw
	net mac=52:54:00:12:34:56
	console log=console.log
	END
}

tearDown() {
	[ -n "$dir" ] || return 0
	assertEquals 'no socket' '' "$(find "$dir" -type s)"
	assertTrue 'no folder' "rmdir '$dir/run'"
	test_cleanup
}

text() {
	tr -d '\r' <"$1"
}

test_devices_in_the_order_of_the_file() {
	echo 'append pci cpus' >>"$dir/tiny.vm"
	timeout 60 vm-run --quiet "$dir/tiny.vm" </dev/null >"$dir/out"
	assertEquals 0 $?
	# Behind the host bridge: virtio-blk, -net, -console (virtio 1.2 §5).
	assertEquals 'tiny: hello
tiny: pci 01 1af4:1042
tiny: pci 02 1af4:1041
tiny: pci 03 1af4:1043
tiny: cpus 1' "$(text "$dir/out" | grep -v 'pci 00')"
}

test_same_as_shell_commands() {
	echo 'append pci cpus' >>"$dir/tiny.vm"
	timeout 60 vm-run --quiet "$dir/tiny.vm" </dev/null >"$dir/out"
	assertEquals 0 $?
	vm-run --quiet --dry-run "$dir/tiny.vm" >"$dir/script"
	TMPDIR=$dir/run timeout 60 sh "$dir/script" </dev/null >"$dir/out2"
	assertEquals 0 $?
	assertEquals "$(text "$dir/out")" "$(text "$dir/out2")"
}

test_statuses() {
	for case in :0 reset:32 triple:33 panic:34; do
		sed "\$a append ${case%:*}" "$dir/tiny.vm" |
			sed '/^append $/d' >"$dir/case.vm"
		timeout 60 vm-run --quiet "$dir/case.vm" </dev/null \
			>"$dir/out" 2>"$dir/err"
		assertEquals "'${case%:*}'" "${case#*:}" $?
	done
}

test_pipeline() {
	echo 'append echo' >>"$dir/tiny.vm"
	printf 'abc\004' | timeout 60 vm-run --quiet "$dir/tiny.vm" |
		tee "$dir/out" >/dev/null
	assertEquals "$(printf 'tiny: hello\nabc\004')" "$(text "$dir/out")"
}

test_killed_servers_serve_again() {
	printf 'append echo\ncontrol cpu.control\n' >>"$dir/tiny.vm"
	mkfifo "$dir/run.in"
	exec 5<>"$dir/run.in"
	start run vm-run "$dir/tiny.vm"
	run_pid=$pid
	wait_for "$dir/run.log" 'tiny: hello'
	for server in vm-disk vm-net vm-console; do
		old=$(pgrep -P "$run_pid" -x "$server")
		kill -KILL "$old"
		is_replaced() {
			new=$(pgrep -P "$run_pid" -x "$server") &&
				[ "$new" != "$old" ]
		}
		wait_until is_replaced
		assertEquals "$server" 0 $?
		wait_for "$dir/run.log" "$server was killed by signal 9"
	done
	printf 'still here\004' >&5
	exec 5>&-
	status_of run
	assertEquals 0 $?
	assertTrue "file_has '$dir/run.log' 'still here'"
}

test_serial_port_on_a_console() {
	printf '%s\n' 'append echo' 'serial console attach=serial log=log' \
		>>"$dir/tiny.vm"
	start run vm-run "$dir/tiny.vm"
	wait_for "$dir/log" 'tiny: hello'
	printf 'typed\004' | socat -t 5 - UNIX-CONNECT:"$dir/serial" \
		>"$dir/viewer"
	status_of run
	assertEquals 0 $?
	assertTrue 'seen' "file_has '$dir/viewer' 'typed'"
	assertTrue 'logged' "file_has '$dir/log' 'typed'"
}

test_switch_of_another_machine() {
	cp "$dir/tiny.vm" "$dir/other.vm"
	sed -i '/^net/s/$/ listen=lan/; $a append echo' "$dir/tiny.vm"
	sed -i '/^net/s/.*/net socket=lan/; /^disk/d; $a append pci' \
		"$dir/other.vm"
	mkfifo "$dir/run.in"
	exec 5<>"$dir/run.in"
	start run vm-run "$dir/tiny.vm"
	wait_for "$dir/run.log" 'tiny: hello'
	timeout 60 vm-run --quiet "$dir/other.vm" </dev/null >"$dir/out"
	assertEquals 0 $?
	assertTrue 'has a network' "file_has '$dir/out' 'pci 01 1af4:1041'"
	printf '\004' >&5
	exec 5>&-
	status_of run
	assertEquals 0 $?
}

test_image_that_is_none() {
	sed -i 's/^disk.*/disk none.qcow2/' "$dir/tiny.vm"
	timeout 60 vm-run "$dir/tiny.vm" </dev/null >"$dir/out" 2>"$dir/err"
	assertEquals 1 $?
	assertEquals 'vm-run: disk0: vm-disk ended with status 1 before it served' \
		"$(grep '^vm-run' "$dir/err")"
	assertTrue 'vm-disk says why' \
		"grep -q '^vm-disk: $dir/none.qcow2: ' '$dir/err'"
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
