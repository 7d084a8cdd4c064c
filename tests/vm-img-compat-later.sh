#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img --compat=10.2: texts and options of qemu-img 10.2, which is not here
# to be asked. Options are taken without --compat as well.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	qemu-img create -q -f qcow2 a.qcow2 1M
	truncate -s 1M a.raw
}

tearDown() {
	img_cleanup
}

# TEXT VERB ARGUMENT... fails with that line alone.
failed() {
	text=$1 verb=$2
	shift 2
	assertEquals "$verb $*" "qemu-img: $text
1" "$(
		img "$verb" --compat=10.2 "$@" 2>&1
		echo $?
	)"
}

# The same, and where to look.
said() {
	hinted=$1
	shift
	failed "$hinted
Try 'qemu-img $1 --help' for more information" "$@"
}

# The same of what getopt(3) says, which names the verb.
getopt_said() {
	text=$1 verb=$2
	shift 2
	assertEquals "$verb $*" "qemu-img $verb: $text
Try 'qemu-img $verb --help' for more information
1" "$(
		img "$verb" --compat=10.2 "$@" 2>&1
		echo $?
	)"
}

test_usage() {
	getopt_said "unrecognized option '--foo'" info --foo a.qcow2
	getopt_said "invalid option -- 'Z'" info -Z a.qcow2
	getopt_said "invalid option -- 'Z'" check --output=json -Zq a.qcow2
	getopt_said "option requires an argument -- 'f'" check -f
	getopt_said "option '--format' requires an argument" map --format
	getopt_said "option '--format' requires an argument" map --form
	getopt_said "option '--quiet' doesn't allow an argument" \
		check --quiet=1 a.qcow2
	same info --foo a.qcow2
}

test_operands() {
	for verb in bench check commit info map snapshot; do
		said 'Expecting one image file name' "$verb"
		said 'Expecting one image file name' "$verb" a.qcow2 a.raw
	done
	said 'Expecting one image file name' rebase -b a.raw
	said 'Expecting two image file names' compare a.qcow2
	said 'Expecting image file name' create
	said 'Unexpected argument: a' create new 1M a
	said 'Expecting image file name and size' resize
	said 'Expecting image file name and size' resize a.qcow2
	said 'Expecting image file name and size' resize -- a.qcow2 2M 3M
	said 'Extra argument(s) in command line' resize a.qcow2 2M 3M
	said 'Must specify options (-o)' amend a.qcow2
	said "Cannot mix '-l', '-a', '-c', '-d'" snapshot -l -c one a.qcow2
	said 'Must specify backing file (-b) or use unsafe mode (-u)' \
		rebase a.qcow2
	failed 'Expecting one image file name' amend -o compat=1.1
	failed 'Must specify image file name' convert a.qcow2
	same check a.qcow2 a.raw
}

test_values() {
	qemu-img create -q -f vdi a.vdi 1M
	for verb in check info map measure; do
		said "--output expects 'human' or 'json', not 'foo'" \
			"$verb" --output=foo
	done
	said "--repair (-r) expects 'leaks' or 'all', not 'foo'" \
		check -r foo a.qcow2
	failed "Could not create snapshot 'one': Operation not supported" \
		snapshot -c one a.vdi
	same check -r foo a.qcow2
	same check --output=foo a.qcow2
	same snapshot -c one a.vdi
}

# WHAT VERB ARGUMENT...: of a size or a number, which is the last one's end.
invalid() {
	what=$1
	shift
	failed "Invalid $what specified: 'foo'" "$@"
}

# WHAT MIN MAX VERB ARGUMENT...
outside() {
	range="Invalid $1 specified. Must be between $2 and $3."
	shift 3
	failed "$range" "$@"
}

test_sizes() {
	invalid 'image size' create new foo
	invalid 'image size' create new foo bar
	invalid 'image size' measure --size foo
	invalid 'start offset' map -s foo
	invalid 'max length' map -l foo
	invalid 'rate limit' commit -r foo
	invalid 'rate limit' convert -r foo
	invalid 'buffer size for sparse output' convert -S foo
	invalid granularity bitmap -g foo
	invalid bs dd bs=foo
	invalid count dd count=foo
	invalid skip dd skip=foo
	invalid offset bench -o foo
	invalid 'buffer size' bench -s foo
	invalid 'step size' bench -S foo
	outside bs 1 2147483647 dd bs=0
	outside 'buffer size' 1 2147483647 bench -s 0
	same create new foo
	same bench -S foo a.qcow2
}

test_numbers() {
	invalid 'number of coroutines' convert -m foo
	outside 'number of coroutines' 1 16 convert -m 0 a.raw new
	outside 'number of coroutines' 1 16 convert -m -1 a.raw new
	silent convert --compat=10.2 -m 0x10 -f raw a.raw new
	invalid 'request count' bench -c foo
	outside 'request count' 1 2147483647 bench -c 0 a.qcow2
	invalid 'queue depth' bench -d foo
	outside 'queue depth' 1 2147483647 bench -d 0
	invalid 'flush interval' bench --flush-interval=foo
	invalid 'pattern byte' bench --pattern=foo
	outside 'pattern byte' 0 255 bench --pattern=256
	same convert -m 0 a.raw new
	same bench -c foo a.qcow2
}

resized() { # SIZE ARGUMENT...
	size=$1
	shift
	silent resize --compat=10.2 -q "$@"
	assertEquals "resize $*" "$size" "$(qemu-img info --output=json a.qcow2 |
		sed -n 's/.*"virtual-size": \([0-9]*\).*/\1/p')"
}

# Options come after the size as well.
test_resize() {
	resized 524288 a.qcow2 512k --shrink
	resized 262144 a.qcow2 -256k --shrink
	resized 393216 a.qcow2 +128k -f qcow2
	resized 1048576 a.qcow2 -f qcow2 1M
	resized 1048064 --shrink -- a.qcow2 -512
	assertEquals 'Image resized.' "$(img resize a.qcow2 1M --compat 10.2)"
	assertEquals '' "$(img resize --compat=10.2 a.qcow2 2M -q)"
	getopt_said "invalid option -- '1'" resize a.qcow2 --shrink -1M
	getopt_said "invalid option -- '1'" resize -1M a.qcow2
	failed "Invalid preallocation mode 'foo'" \
		resize a.qcow2 --preallocation=foo
	same resize a.qcow2 1M --shrink
	same resize a.qcow2 1M -q
	same resize a.qcow2
}

test_rebase_that_cannot_compress() {
	qemu-img create -q -f qed -b a.qcow2 -F qcow2 a.qed
	failed 'Compression not supported for this file format' \
		rebase -c -u -b a.raw -F raw a.qed
	silent rebase -c -b a.raw -F raw a.qed
}

# Said since 9.0 of a header that is where it always was.
test_help_of_detached_header() {
	assertEquals '  detached-header=<bool (on/off)> - Create a detached LUKS header' \
		"$(img create --compat=10.2 -f luks -o help | grep detached)"
	assertEquals 'as before' "$(qemu-img create -f luks -o help)" \
		"$(img create -f luks -o help)"
}

test_detached_header() {
	img create -q -f luks --object secret,id=s,data=x \
		-o key-secret=s,iter-time=10 a.luks 1M
	img create -q -f qcow2 --object secret,id=s,data=x -o \
		encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 \
		e.qcow2 1M
	for image in a.luks e.qcow2; do
		assertEquals "$image" ' ivgen alg: plain64
 detached header: false
 hash alg: sha256' "$(img info --compat=10.2 $image | tr -s ' ' |
			grep -B 1 -A 1 detached)"
		assertEquals "$image" ' "ivgen-alg": "plain64",
 "detached-header": false,
 "hash-alg": "sha256",' "$(img info --compat=10.2 --output=json $image |
			tr -s ' ' | grep -B 1 -A 1 detached)"
		same info $image
	done
}

# Of the verb alone; without --compat all there is.
test_help() {
	img info --compat=10.2 --help >out
	assertEquals 1 "$(grep -c '^  info .*-U' out)"
	assertEquals 0 "$(grep -c '^  check ' out)"
	assertEquals 1 "$(img info --help | grep -c '^  check ')"
}

test_other_names() {
	silent create -q -f qcow2 -b a.raw -B raw b.qcow2
	silent create -q -f qcow2 -b a.raw --backing-format=raw b.qcow2
	silent rebase -b a.qcow2 -B qcow2 b.qcow2
	assertEquals a.qcow2 "$(qemu-img info b.qcow2 |
		sed -n 's/^backing file: //p')"
	silent convert -b a.qcow2 -F qcow2 -O qcow2 --oob-writes \
		--copy-range-offloading \
		--target-format-options=cluster_size=4k b.qcow2 c.qcow2
	assertEquals 'a.qcow2 4096' "$(qemu-img info c.qcow2 |
		sed -n 's/^backing file: //p; s/^cluster_size: //p' |
		sort -r | tr '\n' ' ' | sed 's/ $//')"
	assertEquals "$(qemu-img measure --size 5M -O qcow2 -o cluster_size=4k)" \
		"$(img measure -s 5M -O qcow2 \
			--target-format-options cluster_size=4k)"
	assertEquals "$(qemu-img measure -f raw a.raw)" \
		"$(img measure --source-format=raw a.raw)"
	assertEquals "$(qemu-img measure -f raw a.raw)" "$(img measure \
		--source-image-opts driver=raw,file.filename=a.raw)"
}

test_snapshots() {
	qemu-img snapshot -c one a.qcow2
	date=$(qemu-img snapshot -l a.qcow2 | grep -o '20..-[^ ]* [^ ]*')
	assertEquals "Snapshot list:
ID      TAG               VM_SIZE                DATE        VM_CLOCK     ICOUNT
1       one                   0 B $date  0000:00:00.000          0" \
		"$(img snapshot --compat=10.2 a.qcow2)"
	same snapshot a.qcow2
	same snapshot -l a.qcow2
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
