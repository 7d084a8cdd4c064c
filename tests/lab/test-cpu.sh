#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-cpu with Debian's own kernel: how it boots, and how it ends.
# shellcheck disable=SC2154 # dir is set by guest.sh
# shellcheck disable=SC2016 # scripts are for the guest
. tests/support/guest.sh

oneTimeSetUp() {
	test_dir
	console='console=ttyS0 quiet panic=-1'
	vmlinux=$(guest_kernel --vmlinux)
	initramfs=$(guest_initramfs - <<-'END'
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
			esac
		done
		exit 7
	END
	)
}

oneTimeTearDown() {
	test_cleanup
}

# boot WORDS [OPTION]...: in the foreground
boot() {
	words=$1
	shift
	timeout -k 5 200 vm-cpu --kernel="$vmlinux" --initrd="$initramfs" \
		--append="$console $words" "$@" >"$dir/out" 2>"$dir/err"
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
test_bzimage() {
	timeout -k 5 200 vm-cpu --kernel="$(guest_kernel)" \
		--initrd="$initramfs" --append="$console" \
		</dev/null >"$dir/out" 2>"$dir/err"
	assertEquals 0 $?
	assertEquals 7 "$(guest_status "$dir/out")"
}

test_triple_fault_is_33() {
	boot 'guest.end=reboot reboot=t' </dev/null
	assertEquals 33 $?
	assertTrue "file_has '$dir/err' 'guest crashed: triple fault'"
}

test_panic_is_34() {
	boot guest.end=panic </dev/null
	assertEquals 34 $?
	assertEquals 'vm-cpu: guest panicked' "$(cat "$dir/err")"
	assertTrue "file_has '$dir/out' 'Kernel panic'"
}

# shellcheck source=/dev/null
. shunit2
