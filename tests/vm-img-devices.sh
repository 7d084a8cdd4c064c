#!/bin/sh
# SPDX-License-Identifier: ISC
# What is no plain file, devices and exports, by QEMU's names for them: options
# of new ones, and what is refused. Held against qemu-img.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	mkdir theirs ours
	for side in theirs ours; do
		truncate -s 1M $side/r
		: >$side/empty
	done
}

tearDown() {
	img_cleanup
}

serve() { # SIZE
	rm -f disk sock
	truncate -s "$1" disk
	start server qemu-nbd -t -f raw -k "$dir/sock" disk
	wait_socket "$dir/sock" || fail "$(cat "$dir/server.log")"
	uri="nbd+unix://?socket=$dir/sock"
}

# As far as there is room; nobody can put an extent beside it.
test_vmdk_in_an_export() {
	serve 2M
	same create -f vmdk "$uri" 512k
	same info -f vmdk "$uri"
	assertEquals 'qemu-img compare' 'Images are identical.' \
		"$(truncate -s 512k zero && qemu-img compare -f raw -F vmdk \
			zero "$uri")"
	same create -f vmdk -o subformat=monolithicFlat "$uri" 512k
	stop server
	return 0
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
