#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-run: what it starts, starts again, passes on, and leaves behind.
# shellcheck disable=SC2154 # dir is set by test_dir
# shellcheck disable=SC2016 # what is quoted is for the stand-ins
# shellcheck disable=SC2317 # functions are called by name
. tests/support/guest.sh

# Stand-ins for the programs, beside a copy of vm-run. Each writes what it
# was given to $log; a server then waits for SIGTERM, vm-cpu runs $dir/cpu.
# $dir/NAME.sh, where NAME is of the program, is run, and its process id written
# to $dir/NAME.pid, before readiness is told.
setUp() {
	test_dir
	mkdir "$dir/bin" "$dir/run"
	log=$dir/log
	cp "$B/bin/vm-run" "$dir/bin"
	cat >"$dir/bin/vm-disk" <<-END
	#!/bin/sh
	dir='$dir' program=\${0##*/}
	say() { echo "\$program \$*" >>'$log'; }
	trap 'say end; exit 0' TERM
	say "start \$*"
	if [ "\${LISTEN_PID:-}" = \$\$ ]; then
	        say "sockets \$LISTEN_FDNAMES"
	        say "inode \$(readlink /proc/\$\$/fd/3)"
	fi
	[ ! -e "\$dir/\$program.sh" ] || . "\$dir/\$program.sh"
	echo \$\$ >"\$dir/\$program.pid.new"
	mv "\$dir/\$program.pid.new" "\$dir/\$program.pid"
	for word; do
	        case \$word in --ready-fd=*)
	                eval "echo >&\${word#*=}; exec \${word#*=}>&-" ;;
	        esac
	done
	if [ "\$program" = vm-cpu ]; then
	        . "\$dir/cpu"
	        exit
	fi
	mkfifo "\$dir/idle" 2>/dev/null
	exec 9<>"\$dir/idle"
	while :; do read -r idle <&9; done
	END
	chmod +x "$dir/bin/vm-disk"
	for program in vm-net vm-console vm-cpu; do
		cp "$dir/bin/vm-disk" "$dir/bin/$program"
	done
	cat >"$dir/a.vm" <<-'END'
	memory 64M
	kernel vmlinuz
	append a "b c" # d
	disk root.qcow2 read-only
	net slirp:// mac=52:54:00:12:34:56
	console
	control cpu.control
	END
	echo 'exit 0' >"$dir/cpu"
}

tearDown() {
	[ -n "$dir" ] || return 0
	assertEquals 'no process' '' "$(left_over)"
	assertEquals 'no socket' '' "$(find "$dir/run" "$dir" -type s)"
	assertTrue 'no folder' "rmdir '$dir/run'"
	test_cleanup
}

# Processes that were started from $dir/bin.
left_over() {
	echo "$dir/bin/" >"$dir/pattern"
	grep -lsFf "$dir/pattern" /proc/[0-9]*/cmdline
}

vm_run() {
	XDG_RUNTIME_DIR=$dir/run exec "$dir/bin/vm-run" "$@"
}

# Until SIGTERM, as a guest that listens to its power button.
idle_guest() {
	cat >"$dir/cpu" <<-'END'
	mkfifo "$dir/cpu.idle" 2>/dev/null
	exec 9<>"$dir/cpu.idle"
	while :; do read -r idle <&9; done
	END
}

count() {
	grep -shcE -e "$1" /dev/null "$log" | tail -n 1
}

# has_count N PATTERN: at least N times
has_count() {
	[ "$(count "$2")" -ge "$1" ]
}

test_everything_is_started_in_order() {
	start run vm_run "$dir/a.vm"
	status_of run
	assertEquals 'status' 0 $?
	assertEquals 'no message' '' "$(cat "$dir/run.log")"
	assertTrue 'disk' "grep -q 'vm-disk start --ready-fd=5 --read-only \
$dir/root.qcow2$' '$log'"
	assertTrue 'net' "grep -q 'vm-net start --ready-fd=5 \
--plug=slirp://$' '$log'"
	assertEquals 'sockets' "vm-console sockets vhost:control:attach
vm-disk sockets vhost:control
vm-net sockets vhost:control" "$(grep sockets "$log" | sort)"
	run_dir=$(sed -n 's,.*--blk=\(.*\)/disk0.sock.*,\1,p' "$log")
	assertTrue 'private folder' \
		"expr '$run_dir' : '$dir/run/vm-run\.[A-Za-z0-9]*$' >/dev/null"
	assertTrue 'cpu' "grep -qF 'vm-cpu start --ready-fd=3 --memory=64M \
--kernel=$dir/vmlinuz --append=a b c --control=$dir/cpu.control \
--blk=$run_dir/disk0.sock --net=$run_dir/net0.sock,mac=52:54:00:12:34:56 \
--console=$run_dir/console0.sock' '$log'"
	assertEquals 'ended' 3 "$(count ' end$')"
}

test_folder_is_private() {
	echo 'stat -c %a "$dir"/run/vm-run.* >"$dir/mode"
	stat -c %a "$dir"/run/vm-run.*/disk0.sock >>"$dir/mode"' \
		>"$dir/cpu"
	start run vm_run "$dir/a.vm"
	status_of run
	assertEquals '700 600' "$(xargs <"$dir/mode")"
}

test_cpu_waits_for_all_servers() {
	mkfifo "$dir/gate"
	echo 'read -r go <"$dir/gate"' >"$dir/vm-net.sh"
	start run vm_run "$dir/a.vm"
	wait_until has_count 3 'vm-.* start'
	wait_until [ -e "$dir/vm-disk.pid" ]
	wait_until [ -e "$dir/vm-console.pid" ]
	assertEquals 0 "$(count 'vm-cpu start')"
	echo go >"$dir/gate"
	status_of run
	assertEquals 0 $?
	assertEquals 1 "$(count 'vm-cpu start')"
}

test_status_is_passed_on() {
	for status in 0 1 32 33 34; do
		echo "exit $status" >"$dir/cpu"
		start run vm_run --quiet "$dir/a.vm"
		status_of run
		assertEquals $status $?
	done
	echo 'kill -KILL $$' >"$dir/cpu"
	start run vm_run "$dir/a.vm"
	status_of run
	assertEquals 137 $?
	assertTrue "file_has '$dir/run.log' \
'^vm-run: cpu: vm-cpu was killed by signal 9$'"
	assertEquals 'verbosity is handed on' 20 "$(count 'start .*--quiet')"
}

test_standard_streams_are_the_guests() {
	echo 'read -r line; echo "got $line"' >"$dir/cpu"
	echo 'echo noise' >"$dir/vm-disk.sh"
	echo 'typed' >"$dir/run.in"
	(vm_run "$dir/a.vm") <"$dir/run.in" >"$dir/out" 2>"$dir/err"
	assertEquals 'got typed' "$(cat "$dir/out")"
	assertEquals 'noise' "$(cat "$dir/err")"
}

test_server_that_fails_at_once() {
	echo 'exit 1' >"$dir/vm-net.sh"
	start run vm_run "$dir/a.vm"
	status_of run
	assertEquals 1 $?
	assertEquals 'vm-run: net0: vm-net ended with status 1 before it served' \
		"$(cat "$dir/run.log")"
	assertEquals 'no guest' 0 "$(count 'vm-cpu start')"
}

test_killed_server_comes_back_on_its_socket() {
	idle_guest
	start run vm_run "$dir/a.vm"
	wait_until [ -e "$dir/vm-cpu.pid" ]
	kill -KILL "$(cat "$dir/vm-disk.pid")"
	wait_until has_count 2 'vm-disk start'
	wait_until has_count 2 'vm-disk inode'
	assertEquals 'the same socket' 1 \
		"$(grep 'vm-disk inode' "$log" | sort -u | wc -l)"
	assertEquals 'the guest goes on' 1 "$(count 'vm-cpu start')"
	assertTrue 'one line' "file_has '$dir/run.log' '^vm-run: disk0: \
vm-disk was killed by signal 9; starting again'"
	stop run
	assertEquals 0 $?
}

test_pauses_grow() {
	idle_guest
	start run vm_run "$dir/a.vm"
	wait_until [ -e "$dir/vm-cpu.pid" ]
	echo 'exit 3' >"$dir/vm-net.sh"
	kill -KILL "$(cat "$dir/vm-net.pid")"
	wait_for "$dir/run.log" 'again in 400 ms'
	assertTrue 'doubled' "sed -n 's/.*again in //p' '$dir/run.log' | xargs |
		grep -q '50 ms 100 ms 200 ms 400 ms'"
	# It comes back to life when it can.
	rm "$dir/vm-net.sh" "$dir/vm-net.pid"
	wait_until [ -e "$dir/vm-net.pid" ]
	stop run
	assertEquals 0 $?
}

test_reboot_and_crash() {
	cat >"$dir/cpu" <<-'END'
	case $(grep -c 'vm-cpu start' "$dir/log") in
	1) exit 32 ;;
	2) exit 33 ;;
	*) exit 0 ;;
	esac
	END
	echo 'on-reboot restart' >>"$dir/a.vm"
	start run vm_run "$dir/a.vm"
	status_of run
	assertEquals 'a crash is the end' 33 $?
	assertEquals 2 "$(count 'vm-cpu start')"
	assertEquals 'with the same servers' 1 "$(count 'vm-disk start')"

	rm "$log"
	echo 'on-crash restart' >>"$dir/a.vm"
	start run vm_run "$dir/a.vm"
	status_of run
	assertEquals 'powered off at last' 0 $?
	assertEquals 3 "$(count 'vm-cpu start')"
	assertTrue 'after a pause' "file_has '$dir/run.log' \
'status 33; starting again in 1000 ms'"
}

test_signals_ask_then_insist() {
	idle_guest
	start run vm_run "$dir/a.vm"
	wait_until [ -e "$dir/vm-cpu.pid" ]
	stop run INT
	assertEquals 'powered off' 0 $?
	assertTrue "file_has '$dir/run.log' 'cpu: asked to power off'"

	# A guest, and a server, that do not listen.
	echo 'trap "say deaf" TERM' >"$dir/vm-cpu.sh"
	echo 'trap "say deaf" TERM' >"$dir/vm-net.sh"
	rm "$dir/vm-cpu.pid" "$log"
	start run vm_run "$dir/a.vm"
	wait_until [ -e "$dir/vm-cpu.pid" ]
	kill -TERM "$pid"
	wait_until has_count 1 'vm-cpu deaf'
	kill -TERM "$pid"
	wait_until has_count 2 'vm-cpu deaf'
	kill -TERM "$pid"
	wait_until has_count 1 'vm-net deaf'
	kill -TERM "$pid"
	status_of run
	assertEquals 137 $?
	assertTrue "file_has '$dir/run.log' 'cpu: does not end: killed'"
	assertTrue "file_has '$dir/run.log' 'net0: does not end: killed'"
	assertEquals 'the others ended well' 2 "$(count ' end$')"
}

test_shutdown_timeout() {
	idle_guest
	echo 'trap "" TERM' >"$dir/vm-cpu.sh"
	echo 'shutdown-timeout 1' >>"$dir/a.vm"
	start run vm_run "$dir/a.vm"
	wait_until [ -e "$dir/vm-cpu.pid" ]
	stop run
	assertEquals 137 $?
	assertTrue "file_has '$dir/run.log' 'cpu: does not end: killed'"
}

test_killed_itself_it_leaves_no_process() {
	idle_guest
	start run vm_run "$dir/a.vm"
	wait_until [ -e "$dir/vm-cpu.pid" ]
	kill9 run
	no_process() { [ -z "$(left_over)" ]; }
	wait_until no_process
	assertEquals 0 $?
	rm -r "$dir"/run/vm-run.*
}

test_readiness_is_told() {
	mkfifo "$dir/ready"
	idle_guest
	started() {
		XDG_RUNTIME_DIR=$dir/run exec "$dir/bin/vm-run" --ready-fd=7 \
			"$dir/a.vm" 7>"$dir/ready"
	}
	start run started
	read -r line <"$dir/ready"
	assertEquals 0 $?
	assertEquals '' "$line"
	assertEquals 1 "$(count 'vm-cpu start')"
	stop run
}

test_socket_of_somebody_else_is_left_alone() {
	idle_guest
	start run vm_run "$dir/a.vm"
	wait_until [ -e "$dir/vm-cpu.pid" ]
	echo "net slirp:// listen=lan" >>"$dir/a.vm"
	start lan socat UNIX-LISTEN:"$dir/lan",fork PIPE
	wait_socket "$dir/lan"
	start second vm_run "$dir/a.vm"
	status_of second
	assertEquals 1 $?
	assertTrue "file_has '$dir/second.log' '^vm-run: $dir/lan: '"
	stop lan
	stop run
	assertEquals 0 $?
}

# What is printed is run as it is.
test_dry_run_is_a_script() {
	cd "$dir" || return
	echo 'on-reboot restart' >>a.vm
	bin/vm-run --dry-run a.vm >script
	assertEquals 0 $?
	assertFalse 'nothing was started' "[ -e '$log' ]"
	cat >cpu <<-'END'
	[ "$(grep -c 'vm-cpu start' "$dir/log")" = 2 ] || exit 32
	exit 34
	END
	PATH=$dir/bin:$PATH TMPDIR=$dir/run timeout 30 sh script >out 2>&1
	assertEquals 'status' 34 $?
	assertEquals 'no message' '' "$(cat out)"
	assertEquals 'servers' 3 "$(count 'vm-(disk|net|console) start')"
	assertEquals 'ended' 3 "$(count ' end$')"
	assertTrue 'cpu' "grep -q 'vm-cpu start --memory=64M --kernel=vmlinuz \
--append=a b c .*--blk=.*/disk0.sock --net=.*/net0.sock,mac=52:54:00:12:34:56 \
--console=.*/console0.sock$' '$log'"
	cd - >/dev/null || return
}

test_bad_input() {
	echo 'memry 1G' >>"$dir/a.vm"
	start run vm_run "$dir/a.vm"
	status_of run
	assertEquals 1 $?
	assertEquals "vm-run: $dir/a.vm:8: unknown directive 'memry'" \
		"$(cat "$dir/run.log")"
	start run vm_run "$dir/none.vm"
	status_of run
	assertEquals 1 $?
	assertEquals "vm-run: $dir/none.vm: No such file or directory" \
		"$(cat "$dir/run.log")"
	start run vm_run
	status_of run
	assertEquals 2 $?
	start run vm_run --bogus "$dir/a.vm"
	status_of run
	assertEquals 2 $?
	rm "$dir/bin/vm-net"
	sed -i /memry/d "$dir/a.vm"
	start run env PATH=/usr/bin:/bin XDG_RUNTIME_DIR="$dir/run" \
		"$dir/bin/vm-run" "$dir/a.vm"
	status_of run
	assertEquals 1 $?
	assertEquals 'vm-run: vm-net: neither beside vm-run nor in PATH' \
		"$(cat "$dir/run.log")"
	assertFalse 'nothing was started' "[ -e '$log' ]"
}

test_options_are_in_the_manual() {
	"$B/bin/vm-run" --help >"$dir/help"
	assertEquals 0 $?
	options=$(grep -oE -e '--[a-z-]+' "$dir/help" | sort -u)
	assertNotNull "$options"
	for option in $options; do
		name=$(echo "${option#--}" | sed 's/-/\\\\\\?-/g')
		assertTrue "$option" "grep -q 'Fl Fl $name' man/vm-run.1"
	done
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
