#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-cpu on this host, whatever its KVM can do: the tiny guest is all it runs.
# shellcheck disable=SC2154 # dir and pid are set by guest.sh
# shellcheck disable=SC2016 # what is quoted is for the shell in there
# shellcheck disable=SC2317 # functions that wait_until calls by name
# shellcheck disable=SC2013 # options are words
. tests/support/guest.sh

tiny=$B/tests/guests/tiny

setUp() {
	test_dir
}

tearDown() {
	[ -z "$tmux" ] || tmux -S "$dir/tmux" kill-server 2>/dev/null
	tmux=
	test_cleanup
}

# With the tiny guest's words as its command line.
cpu() {
	words=$1
	shift
	timeout -k 5 60 vm-cpu --kernel="$tiny" --append="$words" --memory=16M "$@"
}

# vm-cpu OPTION... fails with this status and one line of this text.
fails() {
	wanted=$1 line=$2
	shift 2
	timeout -k 5 60 vm-cpu "$@" >"$dir/out" 2>"$dir/err" </dev/null
	assertEquals "status of $*" "$wanted" $?
	assertEquals "$*" "vm-cpu: $line" "$(head -n 1 "$dir/err")"
}

control() {
	printf '%s\n' "$1" | timeout 60 socat -t 10 - "UNIX:$dir/control"
}

# start_guest WORDS [OPTION]...: in the background, with a control socket
start_guest() {
	words=$1
	shift
	start guest vm-cpu --kernel="$tiny" --append="$words" --memory=16M \
		--control="$dir/control" "$@"
	wait_for "$dir/guest.log" 'tiny: hello'
}

test_power_off_is_0() {
	cpu '' </dev/null >"$dir/out" 2>"$dir/err"
	assertEquals 0 $?
	assertEquals 'tiny: hello' "$(tr -d '\r' <"$dir/out")"
	assertEquals '' "$(cat "$dir/err")"
}

test_reset_is_32() {
	for word in reset reset-i8042 out8=cf9:6; do
		cpu "$word" </dev/null >"$dir/out" 2>"$dir/err"
		assertEquals "$word" 32 $?
		assertEquals "$word" '' "$(cat "$dir/err")"
	done
}

test_crash_is_33() {
	cpu triple </dev/null >"$dir/out" 2>"$dir/err"
	assertEquals 33 $?
	assertTrue "file_has '$dir/err' '^vm-cpu: guest crashed: triple fault'"
}

test_panic_is_34() {
	cpu panic </dev/null >"$dir/out" 2>"$dir/err"
	assertEquals 34 $?
	assertEquals 'vm-cpu: guest panicked' "$(cat "$dir/err")"
}

# An x87 environment in a register page: beyond KVM's emulator anywhere.
test_emulation_failure_is_33() {
	cat >"$dir/kernel.S" <<-'END'
		.section .note.pvh, "a", @note
		.long 4, 4, 18
		.asciz "Xen"
		.long start
		.text
		.globl start
		start:	fldenv 0xfea00000
		1:	hlt
		jmp 1b
	END
	cat >"$dir/kernel.lds" <<-'END'
		PHDRS { text PT_LOAD; note PT_NOTE; }
		SECTIONS {
			. = 0x100000;
			.text : { *(.text) } :text
			.note : { *(.note.pvh) } :text :note
			/DISCARD/ : { *(*) }
		}
	END
	gcc -m32 -nostdlib -static -Wl,-T,"$dir/kernel.lds" -Wl,-estart \
		-Wl,--build-id=none,--no-warn-rwx-segments \
		-o "$dir/kernel32" "$dir/kernel.S" || fail 'gcc'
	objcopy -I elf32-i386 -O elf64-x86-64 "$dir/kernel32" "$dir/kernel"
	timeout -k 5 60 vm-cpu --kernel="$dir/kernel" --memory=16M \
		</dev/null >"$dir/out" 2>"$dir/err"
	assertEquals 33 $?
	text='KVM cannot emulate the instruction d9 25 00 00 a0 fe'
	assertTrue "$(cat "$dir/err")" "file_has '$dir/err' '$text'"
	if grep -qwE 'vmx|svm' /proc/cpuinfo; then
		assertFalse "file_has '$dir/err' 'neither vmx nor svm'"
	else
		assertTrue "file_has '$dir/err' 'neither vmx nor svm'"
	fi
	assertEquals 1 "$(wc -l <"$dir/err")"
}

test_processors_memory_and_pci() {
	cpu 'cpus smp memory pci' --cpus=8 </dev/null >"$dir/out"
	assertTrue "file_has '$dir/out' 'tiny: cpus 8'"
	assertTrue "file_has '$dir/out' 'tiny: smp 8'"
	assertTrue "file_has '$dir/out' \
		'tiny: memory 0000000000100000\+0000000000f00000 type 1'"
}

test_memory_beyond_4_gib() {
	cpu memory --memory=5G </dev/null >"$dir/out"
	assertTrue "file_has '$dir/out' \
		'tiny: memory 0000000100000000\+0000000080000000 type 1'"
}

# What nobody owns reads as all ones.
test_unknown_registers() {
	cpu 'in8=80 in32=cfc read32=c0000000 write32=c0000000:1' \
		</dev/null >"$dir/out"
	assertEquals 0 $?
	assertTrue "file_has '$dir/out' '[^0-9a-f]ff\$|[^0-9a-f]ff.\$'"
	assertEquals 2 "$(grep -ic 'ffffffff' "$dir/out")"
}

test_bad_usage_is_2() {
	fails 2 '--kernel is needed'
	fails 2 '--cpus=0: not a number from 1 to 64' --cpus=0
	fails 2 '--cpus=65: not a number from 1 to 64' --cpus=65
	fails 2 '--memory=much: not a size' --memory=much
	fails 2 '--memory=0: not a size' --memory=0
	fails 2 '--reconnect=0: not forever, never or seconds' --reconnect=0
	fails 2 '--blk=d,color=red: color: unknown' --blk=d,color=red
	fails 2 '--device=disk: needs ID:SOCKET' --device=disk
	fails 2 'kernel: unexpected argument' kernel
	timeout -k 5 5 vm-cpu --nonsense >"$dir/out" 2>"$dir/err" </dev/null
	assertEquals 2 $?
	VM_DEVICES=blk:x fails 2 'VM_DEVICES: blk:x: not NAME:FD' --kernel=x
}

test_no_kernel_is_1() {
	echo 'Not a kernel, but a text.' >"$dir/text"
	fails 1 "$dir: Is a directory" --kernel="$dir"
	fails 1 "$dir/none: No such file or directory" --kernel="$dir/none"
	fails 1 "$dir/text: no kernel (neither a bzImage nor ELF)" \
		--kernel="$dir/text"
	fails 1 "/dev/null: not a regular file" --kernel=/dev/null
	head -c 20000 "$(guest_kernel)" >"$dir/short"
	fails 1 "$dir/short: truncated" --kernel="$dir/short"
	head -c 600 "$tiny" >"$dir/short"
	fails 1 "$dir/short: truncated" --kernel="$dir/short"
	fails 1 "$B/bin/vm-cpu: no PVH entry (an ELF note of Xen, type 18)" \
		--kernel="$B/bin/vm-cpu"
	fails 1 "$dir/none: No such file or directory" --kernel="$tiny" \
		--initrd="$dir/none"
}

test_too_little_memory_is_1() {
	fails 1 "$tiny: needs memory up to 1.01 MiB; the guest has 4 KiB" \
		--kernel="$tiny" --memory=1k
	truncate -s 20M "$dir/initrd"
	fails 1 "$dir/initrd: needs memory up to 21 MiB; the guest has 16 MiB" \
		--kernel="$tiny" --memory=16M --initrd="$dir/initrd"
	timeout -k 5 60 vm-cpu --kernel="$(guest_kernel)" --memory=32M \
		</dev/null 2>"$dir/err"
	assertEquals 1 $?
	assertTrue "file_has '$dir/err' 'needs memory up to .* has 32 MiB'"
}

test_no_kvm_is_1() {
	unshare -rm sh -c 'mount -t tmpfs none /dev &&
		exec vm-cpu --kernel="$1" --serial=none' sh "$tiny" 2>"$dir/err"
	assertEquals 1 $?
	assertEquals 'vm-cpu: /dev/kvm: No such file or directory' \
		"$(cat "$dir/err")"
	unshare -rm sh -c 'mount --bind /dev/null /dev/kvm &&
		exec vm-cpu --kernel="$1" --serial=none' sh "$tiny" 2>"$dir/err"
	assertEquals 1 $?
	assertTrue "file_has '$dir/err' '/dev/kvm: not KVM'"
}

test_no_permission_is_1() {
	run='exec vm-cpu --kernel="$1" --serial=none'
	if [ "$(id -u)" = 0 ]; then
		# The folder is ours alone: a copy where all may read.
		chmod 755 "$dir"
		cp "$B/bin/vm-cpu" "$tiny" "$dir"
		PATH=$dir:$PATH setpriv --reuid=65534 --regid=65534 \
			--clear-groups sh -c "$run" sh "$dir/tiny" 2>"$dir/err"
	else
		unshare -rm sh -c "touch '$dir/kvm'; chmod 0 '$dir/kvm'
			mount --bind '$dir/kvm' /dev/kvm; exec setpriv \
			--bounding-set=-all --inh-caps=-all $run" sh "$tiny" \
			2>"$dir/err"
	fi
	assertEquals 1 $?
	assertEquals 'vm-cpu: /dev/kvm: Permission denied' "$(cat "$dir/err")"
}

test_pipeline_loses_nothing() {
	seq 1 2000 >"$dir/in"
	(cat "$dir/in" && printf '\004') |
		cpu echo 2>"$dir/err" | tr -d '\r\004' | cat >"$dir/out"
	sed -i 1d "$dir/out"
	assertTrue 'all came back' "cmp '$dir/in' '$dir/out'"
	assertEquals '' "$(cat "$dir/err")"
}

test_input_from_a_file() {
	printf 'from a file\n\004' >"$dir/in"
	cpu echo <"$dir/in" >"$dir/out" 2>&1
	assertEquals 0 $?
	assertTrue "file_has '$dir/out' 'from a file'"
}

# A reader that is gone costs its output, not the guest.
test_reader_goes_away() {
	(cpu 'count' --control="$dir/control" 2>"$dir/err"
		echo $? >"$dir/status") </dev/null | head -n 2 >"$dir/out" &
	wait_socket "$dir/control"
	assertTrue 'goes on' "control status | grep -q 'state running'"
	control quit >/dev/null
	wait_for "$dir/status" 1
	wait
	assertTrue "file_has '$dir/err' 'serial output: Broken pipe'"
}

test_slow_reader_gets_all() {
	mkfifo "$dir/fifo"
	(
		exec 3<"$dir/fifo"
		wait_until is_gone "$dir/reading" 2>/dev/null
		cat <&3 >"$dir/out"
		touch "$dir/done"
	) &
	touch "$dir/reading"
	(seq 1 30000 && printf '\004') | cpu echo >"$dir/fifo" &
	vm=$!
	wait_until 10 [ -e "$dir/fifo" ]
	rm "$dir/reading"
	wait $vm
	assertEquals 0 $?
	wait_until [ -e "$dir/done" ]
	assertEquals "$(seq 1 30000 | cksum)" \
		"$(tr -d '\r\004' <"$dir/out" | sed 1d | cksum)"
}

test_serial_on_a_socket() {
	start server socat -u "UNIX-LISTEN:$dir/serial" "CREATE:$dir/out"
	wait_socket "$dir/serial"
	cpu '' --serial="$dir/serial" </dev/null
	assertEquals 0 $?
	wait_for "$dir/out" 'tiny: hello'
	fails 1 "serial port: $dir/none: No such file or directory" \
		--kernel="$tiny" --serial="$dir/none"
}

test_serial_on_a_descriptor() {
	cpu '' --serial=fd:7 7>"$dir/out" </dev/null
	assertEquals 0 $?
	assertTrue "file_has '$dir/out' 'tiny: hello'"
	fails 1 'serial port: descriptor 77: Bad file descriptor' \
		--kernel="$tiny" --serial=fd:77
}

test_no_serial() {
	cpu '' --serial=none </dev/null >"$dir/out" 2>&1
	assertEquals 0 $?
	assertEquals '' "$(cat "$dir/out")"
}

test_reboot_in_place() {
	(cpu 'reset' --reboot --control="$dir/control" 2>"$dir/err"
		echo $? >"$dir/status") </dev/null >"$dir/out" &
	many_hellos() {
		[ "$(grep -c hello "$dir/out")" -ge 3 ]
	}
	assertTrue "wait_until many_hellos"
	control quit >/dev/null
	wait_for "$dir/status" 1
	wait
}

test_control_verbs() {
	start_guest count --cpus=2
	assertEquals "state running
cpus 2
memory 16777216
ok" "$(control status)"
	assertEquals 600 "$(stat -c %a "$dir/control")"
	assertEquals 'ok' "$(control pause)"
	assertTrue "control status | grep -q 'state paused'"
	assertEquals 2 "$(control status | grep -c '^cpu [01] at 0x[0-9a-f]*$')"
	assertEquals 'error already paused' "$(control pause)"
	size=$(stat -c %s "$dir/guest.log")
	assertEquals 'ok' "$(control resume)"
	assertEquals 'error not paused' "$(control resume)"
	grows() {
		[ "$(stat -c %s "$dir/guest.log")" -gt "$size" ]
	}
	assertTrue 'the guest goes on' "wait_until grows"
	assertEquals 'ok' "$(control powerdown)"
	assertTrue "control nonsense | grep -q '^error '"
	for verb in status pause resume powerdown reset quit devices; do
		assertTrue "help has $verb" "control help | grep -qw $verb"
	done
	assertEquals 'ok' "$(control reset)"
	status_of guest
	assertEquals 32 $?
	assertTrue 'the socket is gone' "is_gone '$dir/control'"
}

test_paused_guest_stands_still() {
	start_guest count
	control pause >/dev/null
	size=$(stat -c %s "$dir/guest.log")
	control status >/dev/null
	assertEquals "$size" "$(stat -c %s "$dir/guest.log")"
	control quit >/dev/null
	status_of guest
	assertEquals 1 $?
}

# The button does nothing in a guest without a driver; the second one ends.
test_sigterm_twice() {
	start_guest halt
	kill -TERM "$pid"
	assertTrue 'it goes on' "control status | grep -q running"
	stop guest TERM
	assertEquals 1 $?
	assertTrue "file_has '$dir/guest.log' \
		'vm-cpu: stopped before the guest powered off'"
}

test_ready_fd() {
	cpu '' --ready-fd=8 8>"$dir/ready" </dev/null >/dev/null
	assertEquals 1 "$(wc -l <"$dir/ready")"
}

# AddressSanitizer's shadow is not vm-cpu's.
test_own_memory_is_small() {
	most=3072
	! grep -q __asan_init "$B/bin/vm-cpu" || most=65536
	start_guest halt --cpus=4
	own=$(awk '/^[0-9a-f]+-[0-9a-f]+ / { guest = /memfd:/ }
		/^Pss:/ && !guest { sum += $2 } END { print sum }' \
		"/proc/$pid/smaps")
	assertTrue "$own KiB" "[ $own -le $most ]"
}

test_hugepages_are_asked_for() {
	if [ "$(cat /proc/sys/vm/nr_hugepages)" = 0 ]; then
		fails 1 'guest memory of 16 MiB: Cannot allocate memory' \
			--kernel="$tiny" --memory=16M --hugepages
	else
		cpu '' --hugepages </dev/null >"$dir/out"
		assertEquals 0 $?
	fi
}

# A terminal's modes before and after, whatever ends vm-cpu.
terminal_kept() {
	script -qec "stty -g; $1; echo status \$?; stty -g" /dev/null \
		</dev/null >"$dir/screen" 2>&1
	first=$(tr -d '\r' <"$dir/screen" | head -n 1)
	last=$(tr -d '\r' <"$dir/screen" | tail -n 1)
	assertTrue "$1: modes shown" "[ -n '$first' ]"
	assertEquals "$1" "$first" "$last"
}

test_terminal_is_restored() {
	terminal_kept "vm-cpu --kernel=$tiny --append=''"
	assertTrue "file_has '$dir/screen' 'status 0'"
	terminal_kept "vm-cpu --kernel=$tiny --append=triple"
	assertTrue "file_has '$dir/screen' 'status 33'"
	terminal_kept "vm-cpu --kernel=$dir"
	assertTrue "file_has '$dir/screen' 'status 1'"
}

# A second SIGTERM as well, and while the guest goes on.
test_terminal_is_restored_by_signals() {
	tmux_start
	wait_until screen_has 'prompt>'
	keys "stty -g >'$dir/before'" Enter
	keys "vm-cpu --kernel='$tiny' --append=halt --control='$dir/control'" \
		Enter
	wait_until screen_has 'tiny: hello'
	pid=$(pgrep -f "control=$dir/control")
	kill -TERM "$pid"
	control status >/dev/null
	kill -TERM "$pid"
	wait_until screen_has 'prompt> *$'
	keys "echo status \$?; stty -g >'$dir/after'; echo done" Enter
	assertTrue 'status' "wait_until screen_has 'status 1'"
	wait_until screen_has '^done'
	assertTrue 'modes' "cmp '$dir/before' '$dir/after'"
}

tmux_start() {
	tmux=1
	tmux -S "$dir/tmux" -f /dev/null new-session -d -x 80 -y 24 \
		"PS1='prompt> ' PATH='$PATH' sh"
}

screen_has() {
	tmux -S "$dir/tmux" capture-pane -p | grep -qE -e "$1"
}

keys() {
	tmux -S "$dir/tmux" send-keys "$@"
}

# Keys go to the guest one by one, Ctrl-C too; Ctrl-A x ends.
test_terminal_keys() {
	tmux_start
	wait_until screen_has 'prompt>'
	keys "stty -g >'$dir/before'" Enter
	keys "vm-cpu --kernel='$tiny' --append=echo" Enter
	wait_until screen_has 'tiny: hello'
	keys abc
	assertTrue 'no echo but the guest'\''s' "wait_until screen_has '^abc'"
	keys C-c
	keys def
	assertTrue 'Ctrl-C is a key' "wait_until screen_has 'abc.*def'"
	keys C-a C-a
	keys ghi
	assertTrue 'Ctrl-A twice is one' "wait_until screen_has 'def.*ghi'"
	keys C-a x
	wait_until screen_has 'prompt> *$'
	keys "echo status \$?; stty -g >'$dir/after'; echo done" Enter
	assertTrue 'status' "wait_until screen_has 'status 1'"
	wait_until screen_has '^done'
	assertTrue 'modes' "cmp '$dir/before' '$dir/after'"
}

test_help_is_in_the_man_page() {
	vm-cpu --help >"$dir/help"
	assertEquals 0 $?
	for option in $(grep -oE -- '--[a-z-]+' "$dir/help" | sort -u); do
		name=$(echo "${option#--}" | sed 's/-/\\\\?-/g')
		assertTrue "$option" "grep -qE 'Fl Fl $name( |\$)' man/vm-cpu.1"
	done
	assertEquals '' "$(mandoc -Tlint -Wwarning man/vm-cpu.1)"
}

tmux=
# shellcheck source=/dev/null
. shunit2
