#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img measure: qemu-img's numbers, and true ones.
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

test_geometries() {
	for size in 0 1 513 1M 5000000001 64T; do
		same measure --size $size
		for options in cluster_size=64k cluster_size=512 \
			cluster_size=2M,refcount_bits=1 \
			cluster_size=4k,refcount_bits=64 compat=0.10 \
			extended_l2=on,cluster_size=16k \
			preallocation=full backing_file=x; do
			same measure --size=$size -O qcow2 -o $options
		done
	done
	same measure --output=json --size 1G -O qcow2
	same measure --output=json --size 1G
	same measure -O qcow2 -o size=3G
	same measure -O qcow2 -o size=3G --size 2G
}

test_content() {
	truncate -s 20M a.raw
	random chunk 1M
	dd if=chunk of=a.raw bs=1 seek=4000001 conv=notrunc status=none
	dd if=chunk of=a.raw bs=512 count=3 seek=30000 conv=notrunc status=none
	qemu-img convert -f raw -O qcow2 -o cluster_size=4k a.raw a.qcow2
	qemu-img convert -c -f raw -O qcow2 a.raw small.qcow2
	qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 over.qcow2 22M
	qemu-io -c 'write -z 4M 100k' -c 'write 21M 1k' over.qcow2 >/dev/null
	qemu-img create -q -f qcow2 -o preallocation=metadata pre.qcow2 5M
	for image in a.raw a.qcow2 small.qcow2 over.qcow2 pre.qcow2; do
		same measure "$image"
		for options in cluster_size=64k cluster_size=512 compat=0.10 \
			preallocation=falloc backing_file=x; do
			same measure -O qcow2 -o $options "$image"
		done
		same measure --output=json -O qcow2 -U "$image"
	done
	# And it is what convert makes.
	silent convert -O qcow2 over.qcow2 new.qcow2
	assertTrue "[ $(img measure -O qcow2 over.qcow2 |
		sed -n 's/required size: //p') -ge $(stat -c %s new.qcow2) ]"
}

# What is in front of the data: as much as create makes. qemu-img tries how
# fast it is first, which takes seconds and fails now and then.
test_luks() {
	secret=secret,id=s,data=x
	plain=$(img measure --size 1G -O qcow2 | sed -n '1s/.*: //p')
	for options in s s,@cipher-alg=aes-128 s,@cipher-mode=cbc \
		s,@cipher-alg=aes-192,@cipher-mode=cbc,@ivgen-alg=essiv; do
		options=@key-secret=$options,@iter-time=1
		silent create -q --object $secret -f luks -o \
			"$(echo "$options" | sed 's/@//g')" a.luks 0
		header=$(stat -c %s a.luks)
		assertEquals "$options" "$((header + 1073741824))" \
			"$(img measure --object $secret --size 1G -O luks -o \
				"$(echo "$options" | sed 's/@//g')" |
				sed -n '1s/.*: //p')"
		assertEquals "$options of qcow2" \
			"$((plain + (header + 65535) / 65536 * 65536))" \
			"$(img measure --object $secret --size 1G -O qcow2 -o \
				"encrypt.format=luks,$(echo "$options" |
					sed 's/@/encrypt./g')" |
				sed -n '1s/.*: //p')"
	done
	for options in none s,encrypt.cipher-alg=foo s,encrypt.cipher-mode=foo \
		s,encrypt.hash-alg=foo s,encrypt.ivgen-alg=foo; do
		same measure --object $secret --size 1G -O qcow2 -o \
			"encrypt.format=luks,encrypt.key-secret=$options"
	done
	same measure --size 1G -O qcow2 -o encrypt.format=luks
	same measure --size 1G -O luks
}

test_wrong_usage() {
	truncate -s 1M a
	same measure
	same measure a a
	same measure --size 1G a
	same measure -f raw
	same measure --image-opts
	same measure -l snap
	same measure -l snapshot.foo=bar
	same measure -l snapshot.foo=bar a
	same measure --size foo
	same measure --size 8E
	same measure --size 7E -O qcow2
	same measure -O foo a
	same measure -O qcow2 -o foo=1 a
	same measure -O qcow2 -o help a
	same measure -O qcow2 -o cluster_size=3k a
	same measure -O qcow2 -o cluster_size=4k,extended_l2=on a
	same measure -O qcow2 -o refcount_bits=3 a
	same measure -O qcow2 -o refcount_bits=8,compat=0.10 a
	same measure -O qcow2 -o compat=foo a
	same measure -O qcow2 -o preallocation=foo a
	same measure -O qcow2 -o lazy_refcounts=foo a
	same measure -f qcow2 a
	same measure none
	same measure --output=foo a
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
