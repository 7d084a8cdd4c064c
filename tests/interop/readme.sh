#!/bin/sh
# SPDX-License-Identifier: ISC
# The README's commands that need no KVM, run as they are written there.

# shellcheck source=tests/support/readme.sh
. tests/support/readme.sh

oneTimeTearDown()
{
	[ -z "$dir" ] || rm -rf "$dir"
	dir=
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
