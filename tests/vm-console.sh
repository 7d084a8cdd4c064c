#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-console with guests of all kinds (a stream, QEMU's serial port, a
# vhost-user front end) and viewers of all kinds (pipes, a terminal in tmux,
# stalled ones and hostile ones).
# shellcheck disable=SC2016,SC2154 # for other shells; dir is set by test_dir
. tests/support/guest.sh

setUp() {
	test_dir
	screen=$dir/tmux
}

tearDown() {
	tmux -S "$screen" kill-server 2>/dev/null
	test_cleanup
}

# vm-console with sockets s, v, a and c in $dir, and further options.
console() {
	start console vm-console --serial="$dir/s" --socket-path="$dir/v" \
		--attach="$dir/a" --control="$dir/c" "$@"
	wait_socket "$dir/s" && wait_socket "$dir/v" &&
		wait_socket "$dir/a" && wait_socket "$dir/c"
}

control() {
	echo "$1" | timeout 60 socat -t 5 - "UNIX-CONNECT:$dir/c"
}

status_has() {
	control status | grep -qx "$1"
}

# A viewer that types $dir/NAME.in, shown in $dir/NAME.log.
viewer() {
	start "$1" timeout 120 vm-console attach "$dir/a"
}

# A guest on the serial side: writes what comes from $dir/NAME.in.
serial_guest() {
	start "$1" timeout 120 socat -t 60 - "UNIX-CONNECT:$dir/s"
}

# Before `start NAME`: its input is a pipe that stays open as descriptor 7.
pipe_to() {
	mkfifo "$dir/$1.in"
	exec 7<>"$dir/$1.in"
}

# --- usage ----------------------------------------------------------------

test_usage() {
	vm-console --help >"$dir/out"
	assertEquals 'help' 0 $?
	assertTrue "file_has '$dir/out' '--scrollback=SIZE'"
	vm-console attach --help >"$dir/out"
	assertEquals 'help of attach' 0 $?
	assertTrue "file_has '$dir/out' '--reconnect='"
	for arguments in '' --nonsense '--serial=a operand' \
		'--serial=a --serial-fd=0' '--serial=a --scrollback=much' \
		'--serial-fd=x' attach 'attach a b' 'attach --escape=ab a' \
		'attach --reconnect=soon a'; do
		# shellcheck disable=SC2086
		timeout 60 vm-console $arguments </dev/null 2>"$dir/err"
		assertEquals "vm-console $arguments" 2 $?
		assertTrue "says why: $arguments" "[ -s '$dir/err' ]"
	done
	assertEquals '{"type": "serial"}' "$(vm-console --print-capabilities)"
}

test_options_are_in_the_man_page() {
	for command in vm-console 'vm-console attach'; do
		for option in $($command --help |
			sed -n 's/^.*--\([a-z-]*\).*$/\1/p'); do
			assertTrue "$command --$option" \
				"file_has man/vm-console.1 'Fl Fl $option( |$)'"
		done
	done
}

test_failures_are_told() {
	mkdir "$dir/folder"
	for arguments in "--serial=$dir/folder" "--attach=$dir/none/a --serial=$dir/s" \
		"--serial=$dir/s --log=$dir/folder" \
		"--serial=$dir/s --control=$dir/none/c" '--serial-fd=99' \
		"attach $dir/nobody"; do
		# shellcheck disable=SC2086
		timeout 60 vm-console $arguments </dev/null 2>"$dir/err"
		assertEquals "vm-console $arguments" 1 $?
		assertEquals "one line: $arguments" 1 "$(wc -l <"$dir/err")"
	done
	assertFalse 'no socket is left' "[ -e '$dir/s' ]"
}

# --- guests ----------------------------------------------------------------

test_serial_guest() {
	console --log="$dir/log"
	pipe_to guest
	serial_guest guest
	echo 'from the guest' >&7
	wait_for "$dir/log" 'from the guest'
	echo 'typed' >"$dir/viewer.in"
	viewer viewer
	assertTrue 'scrollback is shown' \
		"wait_for '$dir/viewer.log' 'from the guest'"
	assertTrue 'the guest gets it' "wait_for '$dir/guest.log' typed"
	echo 'more of it' >&7
	assertTrue 'output is shown' \
		"wait_for '$dir/viewer.log' 'more of it'"
	exec 7>&-
	stop console
	assertEquals 'ends cleanly' 0 $?
	status_of viewer
	assertEquals 'and its viewers' 0 $?
	for socket in s v a c; do
		assertFalse "$socket is removed" "[ -e '$dir/$socket' ]"
	done
	assertEquals "$(printf 'from the guest\nmore of it')" "$(cat "$dir/log")"
}

test_virtio_guest() {
	console
	pipe_to guest
	start guest "$B/tests/tools/vhost-console" "$dir/v"
	echo 'from the guest' >&7
	seq 20000 >"$dir/viewer.in"
	viewer viewer
	assertTrue "wait_for '$dir/viewer.log' 'from the guest'"
	assertTrue 'input arrives' "wait_for '$dir/guest.log' '^20000$'"
	grep -v vhost-console "$dir/guest.log" >"$dir/typed"
	assertTrue 'all of it' "cmp '$dir/viewer.in' '$dir/typed'"
	assertTrue 'knows its sides' "status_has 'virtio input'"
	seq 100000 >&7
	assertTrue "wait_for '$dir/viewer.log' '^100000$'"
	exec 7>&-
}

# Input goes to the virtio side while that is open, else to the serial one.
test_both_sides() {
	console
	pipe_to port
	serial_guest port
	wait_until status_has 'serial input'
	start guest "$B/tests/tools/vhost-console" "$dir/v"
	wait_until status_has 'virtio input'
	assertTrue "status_has 'serial open'"
	echo one >"$dir/first.in"
	viewer first
	wait_for "$dir/guest.log" one
	stop guest
	wait_until status_has 'serial input'
	echo two >"$dir/second.in"
	viewer second
	assertTrue "wait_for '$dir/port.log' two"
	assertFalse "file_has '$dir/port.log' one"
	exec 7>&-
}

# What is typed before there is a guest is not lost, nor what a viewer typed
# that did not stay.
test_input_waits() {
	console
	seq 50000 | socat -u - "UNIX-CONNECT:$dir/a" &
	typist=$!
	wait_until status_has 'waiting 65536'
	start guest timeout 60 socat -u "UNIX-CONNECT:$dir/s" -
	wait_for "$dir/guest.log" '^50000$'
	wait "$typist"
	seq 50000 >"$dir/expected"
	assertTrue "cmp '$dir/expected' '$dir/guest.log'"
	wait_until status_has 'viewers 0'
	assertEquals 0 $?
}

test_serial_fd_ends_with_its_stream() {
	seq 200000 >"$dir/expected"
	start console sh -c 'seq 200000 | vm-console --serial-fd=0 \
		--log="$0/log" --attach="$0/a"' "$dir"
	status_of console
	assertEquals 0 $?
	assertTrue "cmp '$dir/expected' '$dir/log'"
	assertFalse "[ -e '$dir/a' ]"
}

test_chain() {
	timeout 60 vm-console --attach="$dir/a" --log="$dir/log" -- \
		sh -c 'echo "$VM_DEVICES"; exit 7' >"$dir/out"
	assertEquals "the program's status" 7 $?
	assertTrue "file_has '$dir/out' '^console:[0-9]+$'"
	assertTrue 'the server ends' "wait_gone '$dir/a'"
}

test_inherited_listeners() {
	cat >"$dir/console.in" <<-'END'
		import os, socket, sys
		names = ["serial", "attach", "control"]
		for fd, name in enumerate(names, 3):
		    s = socket.socket(socket.AF_UNIX)
		    s.bind(os.path.join(sys.argv[1], name[0]))
		    s.listen()
		    os.dup2(s.detach(), 30 + fd)
		for fd in range(3, 6):
		    os.dup2(30 + fd, fd)
		os.environ.update(LISTEN_FDS="3", LISTEN_PID=str(os.getpid()),
		                  LISTEN_FDNAMES=":".join(names))
		os.execvp("vm-console", ["vm-console"])
	END
	start console python3 - "$dir"
	wait_socket "$dir/c"
	echo 'by hand' >"$dir/guest.in"
	serial_guest guest
	viewer viewer
	assertTrue "wait_for '$dir/viewer.log' 'by hand'"
	assertTrue "status_has 'viewers 1'"
	stop console
	assertEquals 0 $?
	assertTrue 'its paths are not ours' "[ -e '$dir/a' ]"
}

# --- viewers ---------------------------------------------------------------

test_scrollback_is_the_last_bytes() {
	console --scrollback=1k
	seq 10000 >"$dir/guest.in"
	serial_guest guest
	wait_until status_has 'output 48894'
	viewer viewer
	wait_for "$dir/viewer.log" '^10000$'
	tail -c 1024 "$dir/guest.in" >"$dir/expected"
	assertTrue "cmp '$dir/expected' '$dir/viewer.log'"
}

# Twenty viewers get every byte while one stands still, which costs the guest
# a moment; the stalled one is told what it missed when it reads again.
test_stalled_viewer_loses_its_own() {
	console --scrollback=0
	mkfifo "$dir/gate"
	start stalled sh -c 'socat -u "UNIX-CONNECT:$0/a" - |
		{ read -r line <"$0/gate"; cat; }' "$dir"
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		viewer "viewer$i"
	done
	wait_until status_has 'viewers 21'
	seq 1000000 >"$dir/guest.in"
	serial_guest guest
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		wait_for "$dir/viewer$i.log" '^1000000$' 60
		assertTrue "viewer $i has it all" \
			"cmp '$dir/guest.in' '$dir/viewer$i.log'"
	done
	echo go >"$dir/gate"
	assertTrue 'the stalled one is told' \
		"wait_for '$dir/stalled.log' 'bytes not shown'"
	assertTrue 'and goes on' "wait_for '$dir/stalled.log' '^1000000'"
	assertTrue 'it was behind' "[ \"\$(control viewers |
		grep -c 'lost=[1-9]')\" = 1 ]"
}

test_control() {
	console --log="$dir/log"
	assertTrue "status_has 'virtio absent'"
	assertTrue "status_has 'serial absent'"
	assertTrue "status_has 'log $dir/log missed=0'"
	viewer viewer
	wait_until status_has 'viewers 1'
	control viewers >"$dir/out"
	assertTrue "file_has '$dir/out' '^1 pid=[0-9]+ behind=0 lost=0 typed=0$'"
	assertEquals 'error no viewer 2' "$(control 'drop 2')"
	assertEquals 'error x: no viewer'\''s number' "$(control 'drop x')"
	assertEquals ok "$(control 'drop 1')"
	status_of viewer
	assertEquals 'it was put out' 0 $?
	assertTrue "status_has 'viewers 0'"
}

test_log_is_opened_anew() {
	console --log="$dir/log"
	pipe_to guest
	serial_guest guest
	echo one >&7
	wait_for "$dir/log" one
	mv "$dir/log" "$dir/log.1"
	kill -HUP "$(cat "$dir/console.pid")"
	wait_until test -e "$dir/log"
	echo two >&7
	wait_for "$dir/log" two
	mv "$dir/log" "$dir/log.2"
	assertEquals ok "$(control reopen-log)"
	echo three >&7
	wait_for "$dir/log" three
	assertEquals "$(printf 'one\ntwo\nthree')" \
		"$(cat "$dir/log.1" "$dir/log.2" "$dir/log")"
	exec 7>&-
}

test_full_log_is_told_once() {
	console --log=/dev/full
	pipe_to guest
	serial_guest guest
	viewer viewer
	for i in 1 2 3; do
		echo "line $i" >&7
		wait_for "$dir/viewer.log" "line $i"
	done
	assertEquals 1 "$(grep -c 'No space left' "$dir/console.log")"
	assertTrue "status_has 'log /dev/full missed=21'"
	exec 7>&-
}

# --- the terminal ----------------------------------------------------------

# terminal TEXT [OPTION]...: attach in a terminal of its own, until it shows
# TEXT.
terminal() {
	# A server that is ending still has its socket.
	screen=$screen+
	tmux -S "$screen" -f /dev/null new-session -d -x 80 -y 24 \
		"stty -g >'$dir/before'
		vm-console attach $2 '$dir/a'
		echo \$? >'$dir/status'; stty -g >'$dir/after.tmp'
		mv '$dir/after.tmp' '$dir/after'; sleep 60"
	wait_until shows "$1"
}

keys() {
	tmux -S "$screen" send-keys "$@"
}

shows() {
	tmux -S "$screen" capture-pane -p | grep -qF -e "$1"
}

# It ended with this status and left the terminal as it was.
expect_restored() {
	assertTrue 'it ends' "wait_until test -e '$dir/after'"
	assertEquals "$1" "$(cat "$dir/status")"
	assertEquals 'the terminal is as before' "$(cat "$dir/before")" \
		"$(cat "$dir/after")"
	rm -f "$dir/after"
	tmux -S "$screen" kill-server
}

terminal_pid() {
	pgrep -f "^vm-console attach .*$dir/a"
}

# A guest that says something and echoes what is typed.
echoing_guest() {
	start guest timeout 120 socat -t 60 "UNIX-CONNECT:$dir/s" \
		SYSTEM:'echo guest is here; cat'
}

test_escapes() {
	console
	echoing_guest
	terminal 'guest is here'
	keys 'abc' C-c '~x' Enter '~?'
	assertTrue 'help' "wait_until shows '~. leaves'"
	keys '~~y' Enter
	assertTrue 'to the guest as typed' "wait_until shows '~y'"
	assertTrue 'not at the start of a line' "wait_until shows '~x'"
	keys '~.'
	expect_restored 0
	terminal 'guest is here' --escape=none
	keys Enter '~.z' Enter
	assertTrue 'no escapes' "wait_until shows '~.z'"
	kill -TERM "$(terminal_pid)"
	expect_restored 143
}

test_terminal_restored_when_the_server_ends() {
	console
	echoing_guest
	terminal 'guest is here'
	stop console
	expect_restored 0
	console
	stop guest
	echoing_guest
	terminal 'guest is here' --reconnect=never
	kill9 console
	expect_restored 0
	console
	stop guest
	echoing_guest
	terminal 'guest is here' --reconnect=1
	kill9 console
	expect_restored 1
}

test_terminal_reattaches_after_kill9() {
	console
	echoing_guest
	terminal 'guest is here'
	for i in 1 2 3; do
		kill9 console
		wait_until shows 'connection lost'
		console
		wait_until shows 'connected again'
		stop guest
		echoing_guest
		keys "again $i" Enter
		assertTrue "typed after kill $i" "wait_until shows 'again $i'"
		keys C-l
	done
	keys Enter '~.'
	expect_restored 0
}

# --- kill -9 under guests that stay ------------------------------------------

test_virtio_guest_survives_kill9() {
	console
	pipe_to guest
	start guest "$B/tests/tools/vhost-console" "$dir/v"
	# A front end's first connection is not tried again.
	wait_until status_has 'virtio input'
	for i in 1 2 3 4 5; do
		kill9 console
		# Written while nobody is there.
		echo "line $i" >&7
		console
		echo "typed $i" >"$dir/viewer$i.in"
		viewer "viewer$i"
		assertTrue "shown after kill $i" \
			"wait_for '$dir/viewer$i.log' 'line $i'"
		assertTrue "typed after kill $i" \
			"wait_for '$dir/guest.log' 'typed $i'"
	done
	assertTrue 'the guest runs on' 'is_running guest'
	exec 7>&-
}

# QEMU's serial port, an unmodified kernel, a shell in it: its output is
# shown, commands are typed, and vm-console is killed in between.
test_qemu_serial_guest() {
	console --log="$dir/log"
	initramfs=$(guest_initramfs - <<-'END'
		exec <>/dev/ttyS1 >&0 2>&0
		stty -echo
		while echo ready && read -r line; do
			echo "guest heard: $line"
			[ "$line" != quit ] || break
		done
		exit 3
	END
	)
	start guest qemu_guest "$initramfs" '' -chardev \
		"socket,id=second,path=$dir/s,reconnect=1" \
		-serial chardev:second
	wait_for "$dir/log" ready 120
	echo hello >"$dir/first.in"
	viewer first
	assertTrue "wait_for '$dir/first.log' 'guest heard: hello'"
	kill9 console
	status_of first
	console --log="$dir/log"
	wait_until 60 status_has 'serial input'
	echo quit >"$dir/second.in"
	viewer second
	assertTrue "wait_for '$dir/log' 'guest heard: quit'"
	status_of guest 60
	assertEquals 'the guest saw all of it' 3 "$(guest_status "$dir/guest.log")"
}

# --- hostile clients -----------------------------------------------------

test_hostile_clients() {
	console
	pipe_to guest
	serial_guest guest
	viewer viewer
	# To the back end: silence, garbage, a huge length, an end in between.
	cat >"$dir/silent.in" <<-'END'
		import socket, sys, time
		s = socket.socket(socket.AF_UNIX)
		s.connect(sys.argv[1])
		print("here", flush=True)
		time.sleep(60)
	END
	start silent python3 - "$dir/v"
	wait_for "$dir/silent.log" here
	echo 'beside it' >&7
	assertTrue 'others go on' "wait_for '$dir/viewer.log' 'beside it'"
	# Then it is dropped, for there is one place only.
	wait_for "$dir/console.log" 'connection closed: silent'
	assertEquals 'the silent one is told of' 0 $?
	head -c 100000 /dev/urandom | socat -u - "UNIX-CONNECT:$dir/v" \
		2>/dev/null
	printf '\5\0\0\0\1\0\0\0\377\377\377\377' |
		socat -t 5 - "UNIX-CONNECT:$dir/v"
	printf '\5\0\0' | socat -u - "UNIX-CONNECT:$dir/v"
	wait_for "$dir/console.log" 'SET_MEM_TABLE: message too long'
	assertEquals 0 $?
	# To viewers' socket: ones that come and go, and 300 at once.
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		socat -u /dev/null "UNIX-CONNECT:$dir/a"
	done
	cat >"$dir/crowd.in" <<-'END'
		import socket, sys, time
		crowd = []
		for _ in range(300):
		    s = socket.socket(socket.AF_UNIX)
		    s.setblocking(False)
		    try:
		        s.connect(sys.argv[1])
		    except BlockingIOError:
		        break
		    crowd.append(s)
		print("here", flush=True)
		time.sleep(60)
	END
	start crowd python3 - "$dir/a"
	wait_for "$dir/crowd.log" here
	echo 'still here' >&7
	assertTrue 'the viewer sees' "wait_for '$dir/viewer.log' 'still here'"
	stop crowd
	wait_until status_has 'viewers 1'
	start guest2 "$B/tests/tools/vhost-console" "$dir/v"
	assertTrue 'the back end serves' "wait_until status_has 'virtio input'"
	exec 7>&-
}

. shunit2
