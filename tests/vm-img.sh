#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img says and does what qemu-img of Debian 12 says and does.
# shellcheck disable=SC2154 # dir is set by test_dir
# shellcheck disable=SC2317 # before() is called by same()
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	before() { :; }
}

tearDown() {
	img_cleanup
}

test_usage_errors() {
	same
	same foo
	same --foo
	same create
	same create --foo x
	same create -Z x
	same create -o
	same create x 1M 2M
	same info
	same info a b
	same info --output=xml a
	same check
	same check -r some a
	same convert
	same convert a
	same resize a
	same resize -q 1M
}

test_help_and_version() {
	for way in --help -h help 'create --help' 'resize -h'; do
		# shellcheck disable=SC2086
		img $way >out 2>err
		assertEquals "$way" 0 $?
		assertFalse "$way: messages" '[ -s err ]'
		assertTrue "$way: info and -U" "grep -q 'info.*-U' out"
		assertTrue "$way" "grep -q 'Supported formats:.* raw' out"
	done
	# There is none that qemu-img does not have, and each works.
	img --help | sed -n 's/^Supported formats: //p' | tr ' ' '\n' >ours
	qemu-img --help | sed -n 's/^Supported formats: //p' | tr ' ' '\n' |
		grep -xFf ours | diff - ours || fail 'formats'
	for driver in file host_device nbd throttle quorum blkdebug raw; do
		assertTrue $driver "grep -qx $driver ours"
	done
	assertEquals 'as qemu-img, whose version scripts ask for' \
		'qemu-img version 7.2' "$(img --version | cut -c 1-20)"
	assertEquals 'vm-img version 7.2' "$(vm-img -V | cut -c 1-18)"
}

test_every_option_is_in_the_man_page() {
	mandoc -T ascii "$top/man/vm-img.1" | col -b >page
	for option in $(vm-img --help | grep -oE -e '--[a-z][a-z-]*' | sort -u); do
		assertTrue "$option" "grep -q -e '$option' page"
	done
}

test_create_raw() {
	same create a 1M
	same create -f raw a 1.5k
	same create -f raw a 1000
	same create -f raw a +1M
	same create -f raw a ' 1M'
	same create -q a 1M
	same create a 1M -q
	same create -f raw -o preallocation=falloc a 1M
	same create -f raw -o preallocation=full a 1M
	assertEquals 1048576 "$(stat -c %s a)"
	assertTrue "[ $(stat -c %b a) -ge 2048 ]"
	same create a 0
	assertEquals 0 "$(stat -c %s a)"
}

test_create_wrong_values() {
	same create -f qcow2 -o refcount_bits=-1 x 1M
	same create -f qcow2 a 3x
	same create -f qcow2 a ''
	same create -f qcow2 a 16E
	same create -f qcow2 a 8E
	same create -f qcow2 a -- -1
	same create -f foo a 1M
	same create -f foo -o help a
	same create -f qcow2 a
	same create -f qcow2 -o size=1M a 2M
	same create -f raw -o cluster_size=64k a 1M
	same create -f qcow2 -o foo=1 a 1M
	same create -f qcow2 -o foo a 1M
	same create -f qcow2 -o cluster_size=foo a 1M
	same create -f qcow2 -o lazy_refcounts=foo a 1M
	same create -f raw -b b -F raw a 1M
	same create -f raw -F raw a 1M
	same create -f qcow2 -o '' a 1M
	same create -f qcow2 -o , a 1M
	same create -f qcow2 -o compat=1.1, a 1M
	same create -f qcow2 none/a 1M
	mkdir d
	same create -f qcow2 d 1M
	assertFalse 'nothing is made' '[ -e a ]'
	# Here qemu-img leaves an empty file behind.
	same create -f raw -o preallocation=foo a 1M
	same create -f raw -o preallocation=metadata a 1M
	rm -f a
	refused 'a: invalid parameter value: foo' \
		create -q -f raw -o preallocation=foo a 1M
	assertFalse 'nothing is made' '[ -e a ]'
}

test_create_qcow2_refuses() {
	for options in cluster_size=3k cluster_size=256 cluster_size=4M \
		refcount_bits=3 refcount_bits=128 compat=foo \
		preallocation=foo refcount_bits=64,compat=0.10; do
		same create -f qcow2 -o "$options" a 1M
		assertFalse "$options" '[ -e a ]'
	done
}

# The same geometry, so the same bytes: only times and names could differ.
test_create_qcow2_byte_for_byte() {
	for options in size=10G compat=0.10,size=1G cluster_size=512,size=1M \
		cluster_size=2M,size=100G cluster_size=4k,size=40G \
		refcount_bits=1,size=1G refcount_bits=64,size=1G \
		lazy_refcounts=on,size=1G compression_type=zstd,size=1G \
		size=0 size=1000 size=512; do
		same create -f qcow2 -o "$options" a
		assertEquals "image of $options" "$(qemu-img create -q -f qcow2 \
			-o "$options" b && sha256sum <b)" "$(sha256sum <a)"
	done
	rm -f a
	vm-img create -q -f qcow2 tiny.qcow2 10G
	assertEquals 196768 "$(stat -c %s tiny.qcow2)"
}

test_create_qcow2_preallocated() {
	for mode in off metadata falloc full; do
		same create -f qcow2 -o preallocation=$mode a 10M
		assertTrue "$mode" 'qemu-img check -q a'
		assertEquals "$mode" '10 MiB' "$(img info a |
			sed -n 's/virtual size: \(.*\) (.*/\1/p')"
	done
	assertTrue "[ $(stat -c %b a) -ge 20480 ]"
}

test_create_over_backing_file() {
	same create -f qcow2 -b '' x 1M
	qemu-img create -q -f qcow2 base.qcow2 3M
	qemu-img create -q -f raw base.raw 2M
	same create -f qcow2 -b base.qcow2 -F qcow2 a
	same create -f qcow2 -b base.raw -F raw a
	same create -f qcow2 -b base.qcow2 -F qcow2 a 10M
	same create -f qcow2 -o backing_file=base.qcow2,backing_fmt=qcow2 a
	mkdir sub
	same create -f qcow2 -b ../base.qcow2 -F qcow2 sub/a
	assertTrue 'qemu-img check -q sub/a'
	same info sub/a
	rm a
	same create -f qcow2 -b none -F qcow2 a
	same create -f qcow2 -b none -F qcow2 a 1M
	same create -f qcow2 -b base.qcow2 -F foo a
	same create -f qcow2 -b a -F qcow2 a 1M
	same create -f qcow2 -F qcow2 a 1M
	same create -u -f qcow2 -b none a 1M
	same create -u -f qcow2 -b none -F raw a
	assertFalse 'nothing is made' '[ -e a ]'
	same create -u -f qcow2 -b none -F raw a 1M
	# qemu-img leaves its last line without an end.
	qemu-img create -f qcow2 -b base.qcow2 a 2>theirs
	img create -f qcow2 -b base.qcow2 a 2>ours
	assertTrue "$(cat ours)" 'cmp theirs ours'
}

test_create_option_lists() {
	same create -f qcow2 -o cluster_size=64K,cluster_size=128K a 1M
	same create -f qcow2 -o cluster_size=64K -o lazy_refcounts=on a 1M
	same create -f qcow2 -o lazy_refcounts=yes a 1M
	same create -u -f qcow2 -o backing_file=a,,b,backing_fmt=raw x 1M
	same create -f qcow2 "a b'c,d" 1M
	same create -f qcow2 -o help
	same create -f qcow2 -o help x
	same create -f qcow2 -o cluster_size=4k,help x
	same create -f raw -o help x
	same convert -O qcow2 -o help
	same convert -O qcow2 -o help x y
	same create -f bochs -o help
	same create -f bochs x 1M
}

# They are the file system's matter, and not every one's.
test_create_file_options() {
	same create -f qcow2 -o nocow=on,extent_size_hint=0 x 1M
	same create -f vdi -o nocow=off,extent_size_hint=2M x 1M
	same create -f raw -o nocow=maybe x 1M
	same create -f raw -o extent_size_hint=maybe x 1M
	silent convert -f raw -O qcow2 -o nocow=on x y
	same amend -f qcow2 -o nocow=on y
	refused "z: Extent size hint is too large" \
		create -q -f raw -o extent_size_hint=4G z 1M
	assertFalse 'nothing is left' '[ -e z ]'
	same create -f raw -o extent_size_hint=513 x 1M
}

# What info says of every kind of image that can be opened.
make_images() {
	random data 3000000
	truncate -s 1000 short.raw
	qemu-img create -q -f raw a.raw 10M
	qemu-img create -q -f qcow2 a.qcow2 1G
	qemu-img create -q -f qcow2 -o compat=0.10 v2.qcow2 1G
	qemu-img create -q -f qcow2 -o lazy_refcounts=on,cluster_size=4k \
		lazy.qcow2 10000000
	qemu-img create -q -f qcow2 -o compression_type=zstd zstd.qcow2 1M
	qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 over.qcow2
	qemu-img create -q -u -f qcow2 -b none -F raw lost.qcow2 1M
	qemu-img create -q -f qcow2 -b over.qcow2 -F qcow2 'top "x" ü.qcow2'
	qemu-img convert -O qcow2 data data.qcow2
	qemu-img convert -c -O qcow2 data small.qcow2
	mkdir -p sub
	qemu-img create -q -u -f qcow2 -b ../a.qcow2 -F qcow2 sub/a.qcow2 1M
	qemu-img create -q -f qcow2 snap.qcow2 1M
	qemu-img snapshot -c first snap.qcow2
	qemu-img snapshot -c 'a name longer than the column' snap.qcow2
}

test_info() {
	make_images
	for image in data ./*.raw ./*.qcow2 sub/a.qcow2 "$dir/a.qcow2"; do
		same info "$image"
		same info --output=json "$image"
		same info --output=human -U "$image"
		same info --backing-chain "$image"
		same info --backing-chain --output=json "$image"
		same info -f raw "$image"
	done
	same info -f qcow2 a.raw
	same info -f foo a.raw
	same info none
	same info sub
}

# Latin-1, a cut character, one of four bytes, control characters, quotes:
# JSON knows none of them as they are.
test_info_escapes_names() {
	for name in 'caf\351' 'cut\342\202' '\360\237\222\276 \342\202\254' \
		'tab\there\177' 'a\134b"c'; do
		# shellcheck disable=SC2059 # they are formats
		name=$(printf "$name")
		qemu-img create -q -f raw "$name" 1M
		same info --output=json "$name"
	done
}

test_info_shows_flags() {
	qemu-img create -q -f qcow2 a.qcow2 1M
	qemu-img create -q -f qcow2 -o lazy_refcounts=on b.qcow2 1M
	# incompatible_features: the corrupt bit, the dirty bit
	printf '\2' | dd of=a.qcow2 bs=1 seek=79 conv=notrunc status=none
	printf '\1' | dd of=b.qcow2 bs=1 seek=79 conv=notrunc status=none
	for image in a.qcow2 b.qcow2; do
		same info "$image"
		same info --output=json "$image"
	done
}

test_info_opens_nothing_else() {
	qemu-img create -q -f raw base.raw 1M
	qemu-img create -q -f qcow2 -b base.raw -F raw over.qcow2
	strace -f -o trace -e trace=open,openat vm-img info over.qcow2 >out
	assertTrue "grep -q over.qcow2 trace"
	assertFalse "grep -q base.raw trace"
}

test_backing_loop() {
	qemu-img create -q -f qcow2 a.qcow2 1M
	qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2
	qemu-img rebase -u -b b.qcow2 -F qcow2 a.qcow2
	same info --backing-chain a.qcow2
	refused "Could not open 'a.qcow2': Could not open backing file: Backing file 'a.qcow2' creates an infinite loop." \
		check a.qcow2
}

# Only the file's own maker knows what "nbd:" is; nobody connects to it here.
test_backing_protocols_are_not_followed() {
	for name in nbd://127.0.0.1/x 'json:{"driver":"nbd"}' \
		ssh://host/x; do
		qemu-img create -q -u -f qcow2 -b "$name" -F raw a.qcow2 1M
		refused "Could not open 'a.qcow2': Could not open backing file: Backing file name '$name' is not a plain path" \
			convert a.qcow2 b
		assertFalse '[ -e b ]'
	done
}

test_check() {
	make_images
	for image in ./*.qcow2 ./*.raw sub/a.qcow2 none; do
		same check "$image"
		same check --output=json "$image"
		same check -q "$image"
		same check -f qcow2 -T none "$image"
	done
	same check -T foo a.qcow2
}

# A leak, a reference without a count, and both. The refcount block is the
# third cluster of a small image.
test_check_finds_what_is_wrong() {
	random data 3000000
	qemu-img convert -O qcow2 data good.qcow2
	cp good.qcow2 leak.qcow2
	truncate -s +65536 leak.qcow2
	printf '\0\1' | dd of=leak.qcow2 bs=1 seek=$((131072 + 2 * 51)) \
		conv=notrunc status=none
	cp good.qcow2 bad.qcow2
	printf '\0\0' | dd of=bad.qcow2 bs=1 seek=$((131072 + 2 * 10)) \
		conv=notrunc status=none
	cp leak.qcow2 both.qcow2
	printf '\0\0' | dd of=both.qcow2 bs=1 seek=$((131072 + 2 * 10)) \
		conv=notrunc status=none
	for image in good leak bad both; do
		same check $image.qcow2
		same check --output=json $image.qcow2
		same check -q $image.qcow2
	done
	img check -q bad.qcow2 2>/dev/null
	assertEquals 2 $?
	img check -q leak.qcow2 2>/dev/null
	assertEquals 3 $?
	img check -q data 2>/dev/null
	assertEquals 63 $?
}

test_written_out_or_said_so() {
	qemu-img create -q -f qcow2 a.qcow2 1M
	timeout 60 vm-img info a.qcow2 >/dev/full 2>err
	assertEquals 1 $?
	assertEquals 'vm-img: Could not write to standard output' "$(cat err)"
}

# A name may hold anything; the terminal sees only what can be printed.
test_names_do_not_reach_the_terminal() {
	name=$(printf 'a\033[2Jb\n')
	assertEquals 1 "$(vm-img info "$name" 2>&1 | wc -l)"
	assertFalse "vm-img info '$name' 2>&1 | grep -q '$(printf '\033')'"
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
