#!/bin/sh
# SPDX-License-Identifier: ISC
# The guests that other tests use do what these believe, under QEMU's TCG.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh

setUp() {
	test_dir
}

tearDown() {
	test_cleanup
}

tiny() {
	append=$1
	shift
	timeout 60 qemu-system-x86_64 -accel tcg -nodefaults -no-user-config \
		-machine microvm,acpi=on,pcie=on,rtc=off,pit=off,pic=off \
		-display none -no-reboot -serial stdio -m 64 -smp 3 \
		-kernel "$B/tests/guests/tiny" -append "$append" "$@"
}

test_script_status_files_and_programs() {
	echo 'from the host' >"$dir/note"
	initramfs=$(guest_initramfs - "$dir/note=note" \
		--program=/sbin/mke2fs <<-'END'
		cat /note
		truncate -s 8M /disk
		/sbin/mke2fs -q -t ext4 /disk && echo made
		ls /dev/hwrng /sys/bus/virtio/drivers
		exit 5
	END
	)
	start guest qemu_guest "$initramfs" ''
	status_of guest
	assertEquals 'powers off' 0 $?
	assertEquals 5 "$(guest_status "$dir/guest.log")"
	for line in 'from the host' made virtio_blk virtio_net \
		virtio_console virtiofs; do
		assertTrue "says $line" \
			"file_has '$dir/guest.log' '$line'"
	done
}

test_end_as_asked() {
	initramfs=$(echo 'exit 0' | guest_initramfs -)
	start guest qemu_guest "$initramfs" guest.end=panic
	status_of guest
	assertEquals 'ends' 0 $?
	assertTrue 'panicked' \
		"file_has '$dir/guest.log' 'sysrq triggered crash'"
}

test_tiny_obeys_words() {
	tiny 'cmdline cpus smp in8=3fd write32=200000:1234 read32=200000 hm' \
		</dev/null >"$dir/out" 2>&1
	assertEquals 0 $?
	assertEquals "tiny: hello
tiny: cmdline cmdline cpus smp in8=3fd write32=200000:1234 read32=200000 hm
tiny: cpus 3
tiny: smp 3
tiny: in8=3fd 60
tiny: read32=200000 00001234
tiny: unknown word hm" "$(cat "$dir/out")"
}

test_tiny_echoes_until_end_of_transmission() {
	printf 'abc\004def' | tiny echo >"$dir/out" 2>&1
	assertEquals "$(printf 'tiny: hello\nabc\004')" "$(cat "$dir/out")"
}

test_tiny_ends_otherwise() {
	for word in reset triple; do
		tiny "$word count" </dev/null >"$dir/out" 2>&1
		assertEquals "$word ends QEMU" 0 $?
		assertEquals "$word prints no more" 'tiny: hello' \
			"$(cat "$dir/out")"
	done
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
