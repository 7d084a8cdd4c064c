#!/bin/sh
# SPDX-License-Identifier: ISC
# The README's commands that need a KVM, run as they are written there.

# shellcheck source=tests/support/readme.sh
. tests/support/readme.sh

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

# shellcheck source=/dev/null
. shunit2
