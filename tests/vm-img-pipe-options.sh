#!/bin/sh
# SPDX-License-Identifier: ISC
# Options of what vm-img convert writes to standard output, held against
# qemu-img's reading of it.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
}

tearDown() {
	img_cleanup
}

# Half of it compresses; holes, zeroes that are written, an odd end.
make_source() { # SIZE
	truncate -s "$1" src.raw
	random chunk 300k
	yes 'what can be said again is said again' | head -c 300k >text
	dd if=chunk of=src.raw bs=1000 seek=7 conv=notrunc status=none
	dd if=text of=src.raw bs=100k seek=10 conv=notrunc status=none
	dd if=/dev/zero of=src.raw bs=64k seek=40 count=10 conv=notrunc \
		status=none
	dd if=text of=src.raw bs=1 seek=$(($1 - 512)) count=512 conv=notrunc \
		status=none
}

equal() {
	assertTrue "check of $*" 'qemu-img check -q -f qcow2 out'
	assertTrue "$*" 'qemu-img compare -q -f raw -F qcow2 src.raw out'
}

stream() {
	timeout 120 vm-img convert "$@" 2>err | cat >out
	assertEquals "$*" '' "$(cat err)"
}

info() {
	qemu-img info -f qcow2 out | sed -n "s/^ *$1: //p"
}

test_geometry() {
	make_source 4194304
	for options in compat=0.10 cluster_size=512 cluster_size=4k \
		cluster_size=2M refcount_bits=1 refcount_bits=64 \
		lazy_refcounts=on cluster_size=512,refcount_bits=64 \
		extended_l2=on,cluster_size=16k extended_l2=on,cluster_size=2M \
		compat=v3,preallocation=off; do
		stream -f raw -O qcow2 -o "$options" src.raw -
		equal "$options"
	done
	stream -f raw -O qcow2 -o extended_l2=on,cluster_size=128k src.raw -
	assertEquals true "$(info 'extended l2')"
	assertEquals 131072 "$(info cluster_size)"
	stream -f raw -O qcow2 -o compat=v2 src.raw -
	assertEquals 0.10 "$(info compat)"
	stream -f raw -O qcow2 -o lazy_refcounts=on,refcount_bits=8 src.raw -
	assertEquals 'true 8' "$(info 'lazy refcounts') $(info 'refcount bits')"
}

# As qemu-img's own, but for what it lays out otherwise.
test_header() {
	make_source 1048576
	for options in compat=v2 compression_type=zstd \
		extended_l2=on,refcount_bits=4; do
		stream -f raw -O qcow2 -o "$options" src.raw -
		qemu-img convert -f raw -O qcow2 -o "$options" src.raw theirs
		for file in out theirs; do
			dd if=$file of=$file.head bs=1 count=600 status=none
			printf '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' |
				dd of=$file.head bs=1 seek=40 conv=notrunc \
					status=none
		done
		assertTrue "$options" 'cmp out.head theirs.head'
	done
}

test_compressed() {
	make_source 4194304
	for options in compat=v3 compat=v2 compression_type=zstd \
		cluster_size=512 cluster_size=2M cluster_size=4k,refcount_bits=1 \
		cluster_size=4k,refcount_bits=2,compression_type=zstd \
		extended_l2=on; do
		stream -c -f raw -O qcow2 -o "$options" src.raw -
		equal "compressed $options"
		assertTrue "our own reader: $options" \
			'vm-img compare -q -f raw -F qcow2 src.raw out'
	done
	stream -c -f raw -O qcow2 src.raw -
	assertTrue 'small' "[ $(stat -c %s out) -lt 1000000 ]"
	assertTrue 'compressed' "vm-img check --output=json out |
		grep -q '\"compressed-clusters\": [1-9]'"
	timeout 60 vm-img convert -c -f raw -O qcow2 - - <src.raw >out
	equal 'compressed, from standard input'
	# shellcheck disable=SC2002 # a pipe, not a file
	cat src.raw | timeout 60 vm-img convert -c -f raw -O qcow2 - - | cat >out
	equal 'compressed, from a pipe'
	: >src.raw
	stream -c -f raw -O qcow2 src.raw -
	equal 'nothing'
}

# What the top image holds and no more: data, zeroes, and clusters of both.
test_backing() {
	make_source 4194304
	qemu-img convert -f raw -O qcow2 src.raw base.qcow2
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 \
		-o cluster_size=4k over.qcow2
	qemu-io -c 'write -P 5 1M 70k' -c 'write -z 200k 256k' \
		-c 'write -z 8k 4k' -c 'write -z 3M 1M' -c 'write -P 6 3500k 4k' \
		over.qcow2 >.io
	qemu-img convert -O raw over.qcow2 src.raw
	for options in compat=v3 compat=v2 extended_l2=on cluster_size=4k; do
		for way in '-O qcow2' '-c -O qcow2'; do
			# shellcheck disable=SC2086 # words
			stream $way -B base.qcow2 -F qcow2 -o "$options" \
				over.qcow2 -
			assertEquals "$options" base.qcow2 \
				"$(info 'backing file')"
			equal "$way $options over another"
		done
	done
	stream -O qcow2 -B base.qcow2 -F qcow2 over.qcow2 -
	assertTrue 'no more than that' "[ $(stat -c %s out) -lt 1000000 ]"
	refused 'Use of backing file requires explicit backing format' \
		convert -O qcow2 -B base.qcow2 over.qcow2 -
	# What is nowhere in a source without that is zero, whatever is under
	# the target.
	qemu-img create -q -f qcow2 alone.qcow2 3M
	qemu-io -f qcow2 -c 'write -P 8 1M 100k' alone.qcow2 >/dev/null
	for options in compat=v3 compat=v2; do
		stream -O qcow2 -B base.qcow2 -F qcow2 -o $options \
			alone.qcow2 -
		assertTrue "$options" 'qemu-img compare -q out alone.qcow2'
	done
}

test_encrypted() {
	make_source 2097152
	for options in cluster_size=64k cluster_size=4k,extended_l2=off \
		extended_l2=on,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv; do
		stream --object secret,id=s,data=geheim -f raw -O qcow2 -o \
			"$options,encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10" \
			src.raw -
		assertTrue "check $options" 'qemu-img check -q --image-opts \
			--object secret,id=s,data=geheim \
			driver=qcow2,file.filename=out,encrypt.key-secret=s'
		assertTrue "$options" 'qemu-img compare -q --image-opts \
			--object secret,id=s,data=geheim \
			driver=raw,file.filename=src.raw \
			driver=qcow2,file.filename=out,encrypt.key-secret=s'
	done
	assertFalse 'plain text' "grep -q 'said again' out"
	refused "Parameter 'encrypt.key-secret' is required for cipher" \
		convert -f raw -O qcow2 -o encrypt.format=luks src.raw -
}

test_vmdk() {
	make_source 4194304
	for options in adapter_type=lsilogic,toolsversion=99 hwversion=17 \
		compat6=on; do
		timeout 60 vm-img convert -c -f raw -O vmdk -o \
			"subformat=streamOptimized,$options" src.raw - |
			cat >out
		assertTrue "$options" \
			'qemu-img compare -q -f raw -F vmdk src.raw out'
		qemu-img convert -f raw -O vmdk -o \
			"subformat=streamOptimized,$options" src.raw theirs
		assertEquals "$options" "$(strings theirs | grep ^ddb)" \
			"$(strings out | grep ^ddb)"
	done
	refused 'compat6 cannot be enabled with hwversion set' \
		convert -f raw -O vmdk -o \
		subformat=streamOptimized,compat6,hwversion=4 src.raw -
}

test_refused() {
	make_source 1048576
	for option in data_file=d preallocation=metadata preallocation=full \
		encryption=on encrypt.format=aes nocow=on; do
		refused "Option '$option' is not available for standard output" \
			convert -f raw -O qcow2 -o $option src.raw -
	done
	assertFalse 'no data file' '[ -e d ]'
	refused "Option 'zeroed_grain=on' is not available for standard output" \
		convert -f raw -O vmdk -o \
		subformat=streamOptimized,zeroed_grain=on src.raw -
	refused 'Invalid parameter '"'foo'" \
		convert -f raw -O qcow2 -o foo=bar src.raw -
	refused 'Cluster size must be a power of two between 512 and 2048k' \
		convert -f raw -O qcow2 -o cluster_size=3 src.raw -
	refused 'Compression and encryption not supported at the same time' \
		convert -c -f raw -O qcow2 -o encrypt.format=luks src.raw -
	refused 'Compression not supported for this file format' \
		convert -c -f raw -O raw src.raw -
}

# Each way to write: what closes early, and what takes its time.
test_other_ends() {
	make_source 8388608
	for way in '-c -O qcow2' '-O qcow2 -o cluster_size=4k' \
		'-c -O qcow2 -o compression_type=zstd,cluster_size=512'; do
		{
			# shellcheck disable=SC2086 # words
			timeout 60 vm-img convert $way -f raw src.raw - 2>err
			echo $? >status
		} | head -c 1000 >out
		assertEquals "$way" "vm-img: Could not write to standard \
output: Broken pipe
1" "$(cat err status)"
		# shellcheck disable=SC2086
		timeout 60 vm-img convert $way -f raw src.raw - |
			dd bs=7 iflag=fullblock status=none |
			dd bs=1000 status=none >out
		equal "slowly: $way"
	done
}

# shellcheck disable=SC1091 # not part of the tree
. shunit2
