#!/bin/sh
# SPDX-License-Identifier: ISC
# The emulated host that the lab tests run on (tests/lab/run) keeps what its
# README promises. --force: also where it would not be needed.
# shellcheck disable=SC2154 # dir is set by test_dir
# shellcheck disable=SC2016 # what is quoted is for the shell in there
. tests/support/guest.sh

oneTimeSetUp() {
	test_dir
}

oneTimeTearDown() {
	test_cleanup
}

lab() {
	tests/lab/run --force --timeout 100 "$@" >"$dir/out" 2>"$dir/err"
}

test_command_finds_the_host_and_kvm() {
	mkdir "$dir/share"
	lab --share "$dir/share" -- sh -c '
		echo "here $PWD $B $IN_LAB $1"
		cat
		[ -c /dev/kvm ] && [ -w /dev/kvm ] && echo kvm
		grep -qw svm /proc/cpuinfo && echo svm
		echo kept >"$2/share/file"
		echo lost >"$2/layer" && cat "$2/layer"
		stat -f -c %T /sys/fs/cgroup
		nproc
		ip -brief address show lo | grep -o 127.0.0.1
		echo error >/dev/stderr
		sleep 1000 &
		exit 7' sh "it's; \$(one word)" "$dir" <<-'END'
		from standard input
	END
	assertEquals 'status' 7 $?
	assertEquals "here $PWD $B 1 it's; \$(one word)
from standard input
kvm
svm
lost
cgroup2fs
2
127.0.0.1" "$(cat "$dir/out")"
	assertEquals 'standard error' error "$(cat "$dir/err")"
	assertEquals 'shared folder' kept "$(cat "$dir/share/file")"
	assertFalse 'the host is untouched' "[ -e '$dir/layer' ]"
}

# A processor in guest mode: what /dev/kvm alone does not prove.
test_kvm_runs_debians_kernel() {
	initramfs=$(echo 'echo guest: $(nproc); exit 9' | guest_initramfs -)
	lab -- timeout 90 qemu-system-x86_64 -accel kvm -cpu host \
		-machine microvm -nodefaults -no-user-config -display none \
		-no-reboot -serial stdio -m 256 \
		-kernel "$(guest_kernel --vmlinux)" -initrd "$initramfs" \
		-append "$guest_append reboot=t guest.end=reboot" </dev/null
	assertEquals 0 $?
	assertEquals 9 "$(guest_status "$dir/out")"
}

test_time_limit() {
	tests/lab/run --force --timeout 1 sleep 1000 2>"$dir/err"
	assertEquals 124 $?
	assertTrue 'says so' "file_has '$dir/err' 'lab: timed out after 1 s'"
}

test_host_that_stands_still() {
	tests/lab/run --force --timeout 100 --patience 20 -- sh -c '
		pkill -STOP -f "[w]hile echo" && echo stopped; sleep 1000' \
		>"$dir/out" 2>"$dir/err"
	assertEquals 125 $?
	assertEquals 'it began' stopped "$(cat "$dir/out")"
	assertTrue 'says so' "file_has '$dir/err' 'stood still for 20 s'"
}

test_crash_is_no_success() {
	lab -- sh -c 'echo c >/proc/sysrq-trigger'
	assertEquals 125 $?
	assertTrue 'shows why' "file_has '$dir/err' 'sysrq triggered crash'"
	assertTrue 'says so' "file_has '$dir/err' 'ended without a status'"
}

# SIGTERM while the command runs: QEMU and all folders are gone.
test_interrupted_leaves_nothing() {
	mkdir "$dir/tmp"
	TMPDIR=$dir/tmp start lab tests/lab/run --force -- \
		sh -c 'echo begun; sleep 1000'
	wait_for "$dir/lab.log" begun 60
	assertEquals 'at work' 0 $?
	assertFalse 'works in TMPDIR' "rmdir '$dir/tmp' 2>/dev/null"
	echo "$dir"/tmp/* >"$dir/lab_dir"
	stop lab
	assertEquals 143 $?
	assertEquals 'no process' '' \
		"$(grep -lsFf "$dir/lab_dir" /proc/[0-9]*/cmdline)"
	assertTrue 'no file' "rmdir '$dir/tmp'"
}

test_bad_usage() {
	tests/lab/run 2>"$dir/err"
	assertEquals 2 $?
	tests/lab/run --bogus true 2>"$dir/err"
	assertEquals 2 $?
	assertTrue "file_has '$dir/err' 'unknown option --bogus'"
	tests/lab/run --force --share "$dir/none" true 2>"$dir/err"
	assertEquals 125 $?
	tests/lab/run --help | grep -q '^Usage: tests/lab/run'
	assertEquals 0 $?
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
