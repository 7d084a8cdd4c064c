#!/bin/sh
# SPDX-License-Identifier: ISC
# What comes from outside while vm-img works: a question of how far it is, and
# an output that nobody reads, or that is not there.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	random a.raw 8M
}

tearDown() {
	img_cleanup
}

# begun FILE: there is something in it, or nothing will come any more.
begun() {
	for _ in $(seq 500); do
		[ ! -s "$1" ] || return 0
		sleep 0.01
	done
	fail "nothing in $1"
}

# asked PID: as long as it runs. Its status.
asked() {
	while kill -USR1 "$1" 2>/dev/null; do
		sleep 0.05
	done
	wait "$1"
}

test_how_far_is_it() {
	link/qemu-img convert -r 8M -f raw -O qcow2 a.raw b.qcow2 >out 2>err &
	begun b.qcow2
	asked $!
	assertEquals "$(cat err)" 0 $?
	assertFalse '[ -s out ]'
	assertTrue "$(cat err)" "grep -q '^    ([0-9]*\.[0-9][0-9]/100%)\$' err"
	assertEquals '' "$(grep -v '^    ([0-9]*\.[0-9][0-9]/100%)$' err)"
	same compare -f raw -F qcow2 a.raw b.qcow2
}

# Who is told anyway is not told twice.
test_how_far_is_it_where_that_is_shown() {
	link/qemu-img convert -p -r 8M -f raw -O qcow2 a.raw b.qcow2 >out 2>err &
	begun b.qcow2
	asked $!
	assertEquals 0 $?
	assertEquals '' "$(cat err)"
	same compare -f raw -F qcow2 a.raw b.qcow2
}

# cut COMMAND...: its status, when who reads has gone after a byte.
cut_off() {
	{
		"$@" 2>err
		echo $? >status
	} | head -c 1 >/dev/null
	cat status
}

test_reader_is_gone() {
	assertEquals 0 "$(cut_off img convert -p -r 16M -f raw -O qcow2 a.raw \
		b.qcow2)"
	assertEquals '' "$(cat err)"
	same compare -f raw -F qcow2 a.raw b.qcow2
	qemu-img create -q -f qcow2 -o cluster_size=512 m.qcow2 8M
	seq -f 'write %g000 512' 0 2 8000 | qemu-io m.qcow2 >/dev/null
	for verb in map 'map --output=json' --help; do
		# shellcheck disable=SC2086 # its words
		assertEquals "$verb" 0 "$(cut_off img $verb m.qcow2)"
		assertEquals '' "$(cat err)"
	done
	assertEquals 1 "$(cut_off img convert -f raw -O raw a.raw -)"
	assertTrue "$(cat err)" "grep -q 'Broken pipe' err"
}

test_no_output() {
	for line in 'convert -f raw -O qcow2 a.raw b.qcow2' \
		'snapshot -c x b.qcow2' 'bitmap --add b.qcow2 x'; do
		# shellcheck disable=SC2086 # its words
		img $line >&- 2>err
		assertEquals "$line" 0 $?
		assertEquals '' "$(cat err)"
	done
	img info b.qcow2 >&- 2>err
	assertEquals 1 $?
	assertEquals 'qemu-img: Could not write to standard output' "$(cat err)"
}

. shunit2
