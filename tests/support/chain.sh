# shellcheck shell=sh
# SPDX-License-Identifier: ISC
# Shell functions for tests of backing chains. Source it after img.sh.
#
#	make_chain [SIZE]	base.qcow2 <- mid.qcow2 <- top.qcow2, each with
#				data, zeroes and holes of its own; other.qcow2,
#				alike in part; and top.raw, what top reads as.
#	killed N COMMAND...	Runs it and kills it after N milliseconds: 137,
#				or its own status.
# shellcheck disable=SC2154 # dir is set by test_dir

make_chain() {
	size=${1:-8M}
	qemu-img create -q -f qcow2 base.qcow2 "$size"
	qemu-io -c 'write -P 1 0 2M' -c 'write -P 2 5M 100k' base.qcow2 \
		>/dev/null
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 mid.qcow2
	qemu-io -c 'write -P 3 1M 64k' -c 'write -z 1280k 128k' \
		-c 'write -P 4 3M 1000' mid.qcow2 >/dev/null
	qemu-img create -q -f qcow2 -o cluster_size=4k -b mid.qcow2 -F qcow2 \
		top.qcow2
	qemu-io -c 'write -P 5 1040k 3k' -c 'write -z 500k 9k' \
		-c 'write -P 6 4M 512' -c 'write -P 7 3073k 1' top.qcow2 \
		>/dev/null
	qemu-img create -q -f qcow2 other.qcow2 "$size"
	qemu-io -c 'write -P 1 0 1M' -c 'write -P 8 4M 1M' \
		-c 'write -P 9 7M 1M' other.qcow2 >/dev/null
	qemu-img convert -O raw top.qcow2 top.raw
}

killed() {
	after=$1
	shift
	# In the foreground: it waits for what it has killed.
	timeout --foreground --signal=KILL "0.$(printf %03d "$after")" "$@"
}
