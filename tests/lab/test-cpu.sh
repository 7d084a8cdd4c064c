#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-cpu with Debian's own kernel: boots, ends, is paused and told to stop.
# shellcheck disable=SC2154 # dir is set by guest.sh
# shellcheck disable=SC2016 # scripts are for the guest
# shellcheck disable=SC2317 # functions that wait_until calls by name
. tests/support/guest.sh

oneTimeSetUp() {
	test_dir
	vmlinux=$(guest_kernel --vmlinux)
	initramfs=$(guest_initramfs - "$(evdev)=evdev.ko" <<-'END'
		# The test's words follow on the command line after "do:".
		for word in $(cat /proc/cmdline); do
			case $word in
			do:facts)
				echo "cpus $(grep -c ^processor /proc/cpuinfo)"
				dmesg | grep -a 'ttyS0 at I/O 0x3f8'
				echo "clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
				grep -a ttyS /proc/interrupts
				grep -ac 'hypervisor' /proc/cpuinfo
				;;
			do:shell) exec sh ;;
			do:clock)
				echo 1 >/proc/sys/kernel/watchdog_thresh
				echo ready
				while read -r line && [ "$line" != end ]; do
					echo "line=$line uptime=$(cut -d' ' -f1 /proc/uptime) date=$(date +%s)"
				done
				dmesg | grep -aiE 'lockup|stall|hung|timekeeping' |
					sed 's/^/barked: /'
				;;
			do:button)
				insmod /evdev.ko
				until [ -e /dev/input/event0 ]; do :; done
				# Events before it is open are lost.
				exec 3</dev/input/event0
				echo ready
				dd bs=24 count=1 <&3 of=/dev/null
				echo pressed
				;;
			esac
		done
		exit 7
	END
	)
}

oneTimeTearDown() {
	test_cleanup
}

evdev() {
	find "/lib/modules/$("$guests/kernel" --release cloud-amd64)" \
		-name 'evdev.ko*'
}

# boot WORDS [OPTION]...: in the foreground
boot() {
	words=$1
	shift
	timeout -k 5 100 vm-cpu --kernel="$vmlinux" --initrd="$initramfs" \
		--append="$guest_append $words" "$@" >"$dir/out" 2>"$dir/err"
}

control() {
	printf '%s\n' "$1" | timeout 10 socat -t 10 - "UNIX:$dir/control"
}

test_four_processors_and_a_16550a() {
	boot do:facts --cpus=4 </dev/null
	assertEquals 0 $?
	assertEquals 7 "$(guest_status "$dir/out")"
	assertEquals 'nothing to say' '' "$(cat "$dir/err")"
	assertTrue "file_has '$dir/out' '^cpus 4'"
	assertTrue "file_has '$dir/out' 'is a 16550A'"
	assertTrue "file_has '$dir/out' '\(irq = [1-9]'"
	assertTrue "file_has '$dir/out' '^clock (kvm-clock|tsc)'"
	assertTrue "file_has '$dir/out' 'IO-APIC .* ttyS0'"
	assertTrue "file_has '$dir/out' '^4'"
}

# The bzImage as Debian ships it, compressed: the 64-bit entry.
test_bzimage_whose_reboot_is_32() {
	timeout -k 5 100 vm-cpu --kernel="$(guest_kernel)" \
		--initrd="$initramfs" --append="$guest_append guest.end=reboot" \
		</dev/null >"$dir/out" 2>"$dir/err"
	assertEquals 32 $?
	assertEquals 7 "$(guest_status "$dir/out")"
}

test_triple_fault_is_33() {
	boot 'guest.end=reboot reboot=t' </dev/null
	assertEquals 33 $?
	assertTrue "file_has '$dir/err' 'guest crashed: triple fault'"
}

test_reboot_in_place() {
	: >"$dir/again.in"
	start again vm-cpu --kernel="$vmlinux" --initrd="$initramfs" \
		--append="$guest_append guest.end=reboot" --reboot \
		--control="$dir/control"
	twice() {
		[ "$(grep -c GUEST-STATUS "$dir/again.log")" -ge 2 ]
	}
	assertTrue "wait_until 60 twice"
	control quit >/dev/null
	status_of again
	assertEquals 1 $?
}

# start_button: a guest that waits for its power button
start_button() {
	start button vm-cpu --kernel="$vmlinux" --initrd="$initramfs" \
		--append="$guest_append do:button" --control="$dir/control"
	button=$pid
	wait_for "$dir/button.log" '^ready' 60
}

test_powerdown_by_control() {
	start_button
	assertEquals ok "$(control powerdown)"
	status_of button
	assertEquals 0 $?
	assertTrue "file_has '$dir/button.log' '^pressed'"
}

test_powerdown_by_sigterm() {
	start_button
	kill -TERM "$button"
	status_of button
	assertEquals 0 $?
	assertTrue "file_has '$dir/button.log' '^pressed'"
}

# What comes in is run and what it says comes out, in a pipe.
test_pipeline() {
	printf 'uname -sr\necho sum $((40 + 2))\nexit 3\n' |
		timeout -k 5 100 vm-cpu --kernel="$vmlinux" \
			--initrd="$initramfs" --append="$guest_append do:shell" |
		tee "$dir/tee" >"$dir/out"
	assertEquals 3 "$(guest_status "$dir/out")"
	assertTrue "file_has '$dir/out' '^Linux [0-9]'"
	assertTrue "file_has '$dir/out' '^sum 42'"
	assertTrue "cmp '$dir/tee' '$dir/out'"
}

# at LINE: what the guest answers to it, as "UPTIME DATE"
at() {
	echo "$1" >&8
	wait_for "$dir/clock.log" "^line=$1 " || return 1
	sed -n "s/\r\$//; s/^line=$1 uptime=\([0-9]*\).* date=/\1 /p" \
		"$dir/clock.log"
}

# The guest's watchdog barks after 2 s here; the pause is 5. Its clocks go on
# with the host's.
test_pause_and_resume() {
	mkfifo "$dir/clock.in"
	exec 8<>"$dir/clock.in"
	start clock vm-cpu --kernel="$vmlinux" --initrd="$initramfs" \
		--append="$guest_append do:clock" --cpus=2 --control="$dir/control"
	wait_for "$dir/clock.log" '^ready' 60
	before=$(at one)
	host_before=$(date +%s)
	assertEquals ok "$(control pause)"
	echo two >&8
	sleep 5
	assertFalse 'it stands still' "file_has '$dir/clock.log' '^line=two'"
	assertEquals ok "$(control resume)"
	wait_for "$dir/clock.log" '^line=two'
	after=$(at three)
	host_after=$(date +%s)
	echo end >&8
	status_of clock
	assertEquals 0 $?
	exec 8>&-
	host=$((host_after - host_before))
	uptime=$((${after% *} - ${before% *}))
	wall=$((${after#* } - ${before#* }))
	assertTrue "uptime $uptime, host $host" \
		"[ $((uptime - host)) -ge -2 ] && [ $((uptime - host)) -le 2 ]"
	assertTrue "date $wall, host $host" \
		"[ $((wall - host)) -ge -2 ] && [ $((wall - host)) -le 2 ]"
	assertEquals 'no watchdog barked' '' \
		"$(grep '^barked' "$dir/clock.log")"
}

test_hugepages_and_panic_is_34() {
	pages=$(cat /proc/sys/vm/nr_hugepages)
	echo $((pages + 160)) >/proc/sys/vm/nr_hugepages
	boot guest.end=panic --hugepages --memory=256M </dev/null
	assertEquals 34 $?
	assertEquals 'vm-cpu: guest panicked' "$(cat "$dir/err")"
	assertTrue "file_has '$dir/out' 'Kernel panic'"
	boot '' --hugepages --memory=1G </dev/null
	assertEquals 1 $?
	assertTrue "$(cat "$dir/err")" "file_has '$dir/err' 'guest memory of 1 GiB'"
	echo "$pages" >/proc/sys/vm/nr_hugepages
}

# shellcheck source=/dev/null
. shunit2
