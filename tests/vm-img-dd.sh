#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img dd and bench: qemu-img's operands, output and messages.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
	img_dir
}

tearDown() {
	img_cleanup
}

test_dd() {
	random a.raw 3000000
	qemu-img convert -f raw -O qcow2 a.raw a.qcow2
	for operands in '' bs=1M count=3 'bs=1000 count=7' 'bs=64k skip=3' \
		'bs=3 skip=100 count=5000' 'count=0' 'bs=2M skip=1' \
		'count=1 bs=100M'; do
		for image in a.raw a.qcow2; do
			for format in raw qcow2; do
				rm -f x y
				# shellcheck disable=SC2086
				silent dd -O $format $operands if=$image of=x
				# shellcheck disable=SC2086
				qemu-img dd -O $format $operands if=$image of=y
				assertTrue "$operands $image $format" \
					"qemu-img compare -q -f $format -F $format x y"
				assertEquals "$operands $image $format" \
					"$(qemu-img info --output=json y |
						grep virtual)" \
					"$(qemu-img info --output=json x |
						grep virtual)"
			done
		done
	done
}

test_dd_wrong_usage() {
	random a 100k
	for operands in 'if=a' 'of=o' 'if=a of=o bs=0' 'if=a of=o bs=foo' \
		'if=a of=o bs=3G' 'if=a of=o count=foo' 'if=a of=o skip=-1' \
		'if=a of=o seek=1' 'foo if=a of=o' 'if=a of=o -O foo' \
		'-f foo if=a of=o' 'if=none of=o' 'if=a of=none/o' \
		'if=a of=o skip=1000' 'if=a of=o bs=1M skip=9000000000000' \
		'if=a of=o -U' '--foo if=a of=o'; do
		# shellcheck disable=SC2086
		same dd $operands
	done
}

# Half a copy looks like a whole one. A link stays, without what it led to.
test_dd_leaves_no_half() {
	random a.raw 3M
	mkdir d
	ln -s ../real d/link
	for format in raw qcow2 vmdk vdi vpc vhdx parallels qed qcow; do
		for name in link b; do
			(
				trap '' XFSZ
				ulimit -f 4000
				exec vm-img dd -O $format bs=64k if=a.raw \
					of=d/$name
			) 2>err
			assertEquals $format 1 $?
			assertEquals "$format: $(cat err)" 1 "$(wc -l <err)"
			assertEquals $format link "$(ls d)"
			assertFalse $format '[ -e real ]'
		done
	done
}

# But for the time it took, which nobody can say before.
same_run() {
	theirs=$(outcome qemu-img bench "$@" | sed 's/[0-9.]* seconds/N/')
	ours=$(outcome "$dir/link/qemu-img" bench "$@" |
		sed 's/[0-9.]* seconds/N/')
	assertEquals "bench $*" "$theirs" "$ours"
}

test_bench() {
	qemu-img create -q -f qcow2 a.qcow2 4M
	truncate -s 4M a.raw
	for image in a.qcow2 a.raw; do
		same_run -c 10 $image
		same_run -c 2000 -d 4 -s 512 -S 1k -o 1M $image
		same_run -c 3 -s 4M -d 1 $image
		same_run -c 0 $image
		same_run -c 100 -q -U -t none -n $image
		same_run -f ${image##*.} -c 300 -w --pattern=7 $image
		same_run -f ${image##*.} -c 300 -w --flush-interval=64 $image
		same_run -f ${image##*.} -c 300 -w --flush-interval=100 \
			--no-drain -i threads $image
	done
	assertTrue 'qemu-img check -q a.qcow2'
	# 300 blocks of 4 KiB, but the last write was of zeroes.
	silent_run=$(vm-img bench -f raw -w -c 1024 --pattern=0x41 a.raw)
	assertNotNull "$silent_run"
	assertEquals A "$(head -c 4000000 a.raw | tr -s A)"
}

test_bench_wrong_usage() {
	truncate -s 1M a
	for options in '-c foo' '-c 4294967296' '-d foo' '-s foo' '-s 2G' \
		'-S foo' '-o foo' '-o 9E' '--pattern=256' '--pattern=foo' \
		'--flush-interval=64' '--flush-interval=3 -w' \
		'--flush-interval=foo' '-t foo' '-i foo' '-n -c 1' '-U -w' \
		'-f foo' '--foo'; do
		# shellcheck disable=SC2086
		same bench -f raw $options a
	done
	same bench
	same bench none
	same_run -f raw -c 1 -o 2M a
	refused 'Invalid queue depth specified' bench -d 0 a
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
