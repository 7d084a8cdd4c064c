# shellcheck shell=sh
# SPDX-License-Identifier: ISC
# Shell functions for tests that start servers and guests. Source it before
# shunit2; B is where things are built. All of it is POSIX sh.
#
#	test_dir		Makes this test's own folder, $dir; to be called
#				first, from setUp or oneTimeSetUp.
#	test_cleanup		Removes it, and ends everything started with
#				`start`; from tearDown or oneTimeTearDown.
#	start NAME COMMAND...	Runs it in the background with input from
#				$dir/NAME.in if there is such a file, output to
#				$dir/NAME.log; its process id is then $pid.
#	stop NAME [SIGNAL]	Ends it (TERM) and waits; returns its status.
#	kill9 NAME		kill -9, and waits until it is gone.
#	status_of NAME [S]	Waits for its end, at most S (60) seconds, and
#				returns its status; 124 if it goes on. Like
#				`stop`, not in a subshell nor in assertTrue.
#	is_running NAME
#	wait_until [S] COMMAND...	Polls until COMMAND succeeds, at most S (30)
#				seconds; on failure says what it waited for.
#	wait_for FILE PATTERN [S]	... until a line of FILE matches (grep -E);
#				on failure shows the end of FILE.
#	wait_socket PATH [S]	... until somebody listens on the Unix socket.
#	wait_gone PATH [S]	... until nothing is at PATH.
#	free_port		Prints a TCP port of 127.0.0.1 that nobody uses.
#
#	$guest_append		What guests have on the kernel's command line.
#	guest_kernel [--vmlinux]	Prints the path of Debian's cloud kernel: its
#				bzImage, or the ELF file cut out of it.
#	guest_initramfs SCRIPT [SOURCE=PATH]... [--program=FILE]...
#				Prints the path of an initramfs whose init loads
#				the virtio drivers, runs SCRIPT ("-": standard
#				input) and says "GUEST-STATUS: N" on the console
#				(tests/guests/init). SOURCE=PATH adds a file,
#				--program an executable with its libraries; call
#				that by its path, as busybox prefers its own.
#	guest_status FILE	Prints N of the "GUEST-STATUS: N" in FILE.
#	qemu_guest INITRAMFS APPEND [OPTION]...
#				Boots it under QEMU's TCG, in the foreground: one
#				CPU, 256 MiB in a shared memfd, serial port on
#				standard output; OPTIONs are QEMU's. Use with
#				`start`.
guests=$(cd "${top:-.}/tests/guests" && pwd)
dir=
started=

# Debian's qemu-img, but for a clock.
PATH=${guests%/guests}/support/bin:$PATH

test_dir() {
	dir=$(mktemp -d "${TMPDIR:-/tmp}/pipevisor.XXXXXX")
}

test_cleanup() {
	for name in $started; do stop "$name" KILL; done 2>/dev/null
	started=
	[ -z "$dir" ] || rm -rf "$dir"
	dir=
}

start() {
	name=$1
	shift
	input=$dir/$name.in
	[ -e "$input" ] || input=/dev/null
	"$@" >"$dir/$name.log" 2>&1 <"$input" &
	pid=$!
	echo "$pid" >"$dir/$name.pid"
	started="$started $name"
}

# A zombie has ended: kill -0 would still find it.
is_running() {
	read -r number <"$dir/$1.pid"
	read -r stat 2>/dev/null <"/proc/$number/stat" || return 1
	case ${stat##*) } in Z* | X*) return 1 ;; esac
}

has_ended() {
	! is_running "$1"
}

status_of() {
	wait_until "${2:-60}" has_ended "$1" || return 124
	wait "$(cat "$dir/$1.pid")" 2>/dev/null
}

stop() {
	kill -"${2:-TERM}" "$(cat "$dir/$1.pid")" 2>/dev/null
	status_of "$1"
}

kill9() {
	stop "$1" KILL
	[ $? = 137 ]
}

# Every 20 ms: tests wait for what happens, not for time to pass.
# Seconds since this host's boot, without a process.
uptime_s() {
	read -r uptime _ </proc/uptime
	uptime=${uptime%.*}
}

# What is waited for comes, on a machine as slow or as busy as may be; limits
# are seconds of a good day, and end only what would wait for ever.
patience=4

# In the lab each process costs what a hundred cost here.
poll_s=${IN_LAB:+0.5}

wait_until() {
	limit=30
	case $1 in [0-9]*)
		limit=$1
		shift
		;;
	esac
	limit=$((limit * patience))
	uptime_s
	deadline=$((uptime + limit))
	until "$@"; do
		uptime_s
		if [ "$uptime" -gt "$deadline" ]; then
			echo "waited $limit s in vain: $*" >&2
			return 1
		fi
		sleep "${poll_s:-0.02}"
	done
}

file_has() {
	grep -qE -e "$2" "$1" 2>/dev/null
}

wait_for() {
	wait_until "${3:-30}" file_has "$1" "$2" || {
		tail -n 30 "$1" >&2
		return 1
	}
}

listens() {
	awk -v path="$1" '$8 == path && $4 == "00010000" { found = 1 }
		END { exit !found }' /proc/net/unix
}

wait_socket() {
	wait_until "${2:-30}" listens "$1"
}

is_gone() {
	[ ! -e "$1" ]
}

wait_gone() {
	wait_until "${2:-30}" is_gone "$1"
}

free_port() {
	python3 -c 'import socket; s = socket.socket()
s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Without the kernel's tests of its cryptography, which take a second of a
# guest's boot in the lab.
guest_append='console=ttyS0 quiet panic=-1 cryptomgr.notests'

guest_kernel() {
	"$guests/kernel" "${1:---image}" cloud-amd64
}

# The archive of all guests is made once; a test's own is appended.
guest_initramfs() {
	script=$1
	shift
	if [ "$script" = - ]; then
		script=$(mktemp "$dir/script.XXXXXX")
		cat >"$script"
	fi
	base=$("$guests/base") || return 1
	for arg; do
		shift
		case $arg in --*) ;; *) arg=--file=$arg ;; esac
		set -- "$@" "$arg"
	done
	out=$(mktemp "$dir/initramfs.XXXXXX")
	"$guests/mkinitramfs" --bare --file="$script=script" "$@" "$out.own" ||
		return 1
	cat "$base" "$out.own" >"$out"
	rm -f "$out.own" "$out.own.arguments"
	echo "$out"
}

guest_status() {
	sed -n 's/\r$//; s/^GUEST-STATUS: //p' "$1" | tail -n 1
}

qemu_guest() {
	initrd=$1 append=$2
	shift 2
	exec qemu-system-x86_64 -nodefaults -no-user-config -display none \
		-no-reboot -machine pc,hpet=off,memory-backend=memory \
		-accel tcg -cpu max -m 256 \
		-object memory-backend-memfd,id=memory,size=256M,share=on \
		-serial stdio -kernel "$(guest_kernel --vmlinux)" \
		-initrd "$initrd" \
		-append "$guest_append reboot=t $append" "$@"
}
