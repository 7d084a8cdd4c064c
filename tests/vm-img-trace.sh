#!/bin/sh
# SPDX-License-Identifier: ISC
# -T and --trace: taken as qemu-img takes them, and the engine's events told.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	qemu-img create -q -f qcow2 a.qcow2 1M
}

tearDown() {
	img_cleanup
}

test_standard_options() {
	same -T
	same --trace
	same -x info a.qcow2
	same --foo=bar info a.qcow2
	same -T nosuch
	same -T nosuch info a.qcow2
	same -T nosuch --trace=neither info a.qcow2
	same -Tnosuch nosuchverb
	same --trac nosuch info
	same -- info a.qcow2
	same -T '' info a.qcow2
	same -T enable= info a.qcow2
	same -T -nosuch info a.qcow2
	same -T 'nosuch*' info a.qcow2
	same info -T nosuch a.qcow2
}

test_arguments() {
	same -T foo=bar info a.qcow2
	same -T events=/nonexistent/a info a.qcow2
	same -T nosuch,file=/nonexistent/a info a.qcow2
	same -T nosuch,file=/nonexistent/a nosuchverb
	same -T file=/nonexistent/a
	printf 'nosuch\n# no event\n\n neither\nnosuch*\n' >events
	same -T events=events info a.qcow2
	same -T enable=nosuch,events=events,file=log info a.qcow2
}

test_list() {
	for way in '-T help' '--trace=enable=?' '-T help info a.qcow2'; do
		# shellcheck disable=SC2086
		img $way >out 2>&1
		assertEquals "$way" 0 $?
		assertTrue "$way: $(cat out)" 'grep -qx bdrv_open_common out'
	done
	# Those that have QEMU's names are QEMU's.
	qemu-img -T help >theirs
	grep ^bdrv_ out >ours
	assertEquals "$(cat ours)" "$(grep -xFf ours theirs)"
}

# Without addresses and flags, which are everybody's own.
events() {
	sed 's/ bs 0x[0-9a-f]*//; s/ flags 0x[0-9a-f]*//' "$@"
}

test_events() {
	img -T 'bdrv_open*' info a.qcow2 >out 2>err
	assertEquals "$(qemu-img info a.qcow2)" "$(cat out)"
	qemu-img -T 'bdrv_open*' info a.qcow2 2>&1 >/dev/null | events |
		sort -u >theirs
	assertEquals "$(cat theirs)" "$(events err | sort -u)"
	truncate -s 1M a.raw
	img -T bdrv_co_pwritev_part,file=log bench -q -w -c 2 -s 4096 \
		-f raw a.raw >/dev/null 2>err
	img -T bdrv_co_preadv_part,file=log dd -f raw bs=64k count=2 if=a.raw \
		of=b.raw 2>err
	assertFalse "$(cat err)" '[ -s err ]'
	assertEquals 'each from the image and from its file' \
		'bdrv_co_preadv_part offset 0 bytes 131072
bdrv_co_preadv_part offset 0 bytes 131072' "$(events log)"
	printf 'bdrv_*\n-bdrv_co_preadv_part\nimage_flush\n' >list
	img -T events=list,file=log convert -t none -f raw -O qcow2 a.raw b.qcow2
	assertTrue "$(cat log)" 'grep -q "^image_flush bs" log'
	assertFalse "$(cat log)" 'grep -q bdrv_co_preadv log'
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
