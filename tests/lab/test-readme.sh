#!/bin/sh
# SPDX-License-Identifier: ISC
# The README's commands, run as they are written there: the blocks marked as
# shell, each after the first, which goes into the folder that make demo makes.

# block N: what is to be run for the Nth block, in $dir/block-N.
block()
{
	awk -v wanted="$1" '
		/^```sh$/ { n++; on = 1; next }
		/^```$/ { on = 0 }
		on && (n == 1 || n == wanted)' README.md
}

# run_block N: its output in $out.
run_block()
{
	block "$1" >"$dir/block-$1"
	timeout -k 5 100 bash "$dir/block-$1" >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
	out=$(cat "$dir/out") err=$(cat "$dir/err")
	[ $status = 0 ] || echo "status $status: $err: $out" | tail -n 60
	return $status
}

oneTimeSetUp()
{
	dir=$(mktemp -d)
	B=build tests/demo.d/prepare build/demo
}

oneTimeTearDown()
{
	[ -z "$dir" ] || rm -rf "$dir"
	dir=
}

test_readme_has_the_blocks_that_are_tested()
{
	assertEquals 6 "$(grep -c '^```sh$' README.md)"
}

test_chain()
{
	run_block 2
	assertEquals 0 $?
	assertContains "$out" "Hello from Linux"
	assertContains "$out" "virtio_blk"
	assertContains "$out" "10.0.2.15"
	assertContains "$(qemu-img check build/demo/root.qcow2 2>&1)" \
		"No errors"
}

test_sockets()
{
	run_block 3
	assertEquals 0 $?
	assertContains "$out" "2 CPU(s)"
	assertContains "$out" "10.0.2.15"
	assertEquals ok "$(printf '%s\n' "$out" | tail -n 1)"
}

test_pipeline()
{
	run_block 4
	assertEquals 0 $?
	assertContains "$out" "Linux guest 6.1"
}

test_vm_run()
{
	run_block 5
	assertEquals 0 $?
	assertContains "$out" "vm-disk"
	assertContains "$out" "vm-cpu"
}

test_qemu_in_front_of_vm_disk()
{
	run_block 6
	assertEquals 0 $?
	assertContains "$out" "Hello from Linux"
	assertContains "$(vm-img info build/demo/data.qcow2)" "10 GiB"
}

# shellcheck source=/dev/null
. shunit2
