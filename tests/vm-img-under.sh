#!/bin/sh
# SPDX-License-Identifier: ISC
# Options that say what is under an image: another backing image than its own,
# no file at all, no locks. Beside qemu-img.
# shellcheck disable=SC2154,SC2317 # dir is set by test_dir; before() is called
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	before() { :; }
}

tearDown() {
	img_cleanup
}

test_backing_options() {
	random base.raw 1M
	qemu-img convert -O qcow2 base.raw base.qcow2
	qemu-img create -q -u -f qcow2 -b gone -F raw a.qcow2 1M
	qemu-io -c "open -o backing.driver=qcow2,backing.file.filename=base.qcow2 \
a.qcow2" -c 'write -P 1 64k 64k' >/dev/null
	own=driver=qcow2,file.filename=a.qcow2
	same map --image-opts --output=json \
		"$own,backing.driver=qcow2,backing.file.filename=base.qcow2"
	same map --image-opts "$own,backing.driver=foo"
	same map --image-opts "$own,backing=x"
	qemu-img rebase -u -b base.qcow2 -F raw a.qcow2
	same map --image-opts --output=json "$own,backing.driver=qcow2"
	before() {
		cp a.qcow2 b.qcow2
		cp base.qcow2 c.qcow2
	}
	same commit --image-opts "driver=qcow2,file.filename=b.qcow2,\
backing.driver=qcow2,backing.file.filename=c.qcow2"
	assertTrue 'committed' 'qemu-io -c "read -P 1 64k 64k" c.qcow2 |
		grep -q "^read 65536"'
	assertFalse 'into no other' 'qemu-img compare -q base.qcow2 c.qcow2'
}

# Each has a secret of its own.
test_encrypted_backing() {
	luks=encrypt.format=luks,encrypt.iter-time=10,encrypt.key-secret
	set -- --object secret,id=s0,data=one --object secret,id=s1,data=two
	img create -q "$@" -f qcow2 -o "$luks=s0" base.qcow2 1M
	img create -q "$@" -f qcow2 -o "$luks=s1" -u -b base.qcow2 \
		-F qcow2 a.qcow2 1M
	under="driver=qcow2,file.filename=base.qcow2,encrypt.key-secret=s0"
	own="driver=qcow2,file.filename=a.qcow2,encrypt.key-secret=s1"
	own="$own,backing.driver=qcow2,backing.file.filename=base.qcow2"
	own="$own,backing.encrypt.key-secret=s0"
	qemu-io "$@" -c 'write -P 5 0 128k' --image-opts "$under" >/dev/null
	qemu-io "$@" -c 'write -P 6 64k 32k' --image-opts "$own" >/dev/null
	qemu-img convert "$@" --image-opts "$own" theirs
	silent convert "$@" --image-opts "$own" ours
	assertTrue 'cmp theirs ours'
	silent commit -q "$@" --image-opts "$own"
	silent convert "$@" --image-opts "$under" ours
	assertTrue 'cmp theirs ours'
}

test_no_file_at_all() {
	for name in null-co:// null-aio://; do
		same info "$name"
		same info --output=json "$name"
		same create -f qcow2 "$name" 1M
		same create -f qcow2 -b "$name" -F raw a.qcow2
		same info --backing-chain a.qcow2
	done
	for options in driver=null-co driver=null-aio \
		driver=null-co,latency-ns=-1; do
		same info --image-opts "$options"
	done
	same map --output=json --image-opts driver=null-co,size=1M,read-zeroes=on
	same convert -O qcow2 -S 0 --image-opts \
		driver=null-co,size=1M,read-zeroes=on a.qcow2
	same map --output=json a.qcow2
	same resize --image-opts driver=null-co 1M
	same info -U --image-opts driver=null-co,force-share=on
	same info -U --image-opts driver=null-co,force-share=off
}

test_nothing_under_it() {
	qemu-img create -q -f qcow2 -b null-co:// -F raw a.qcow2 4M
	same map --output=json --image-opts \
		driver=qcow2,file.filename=a.qcow2,backing.driver=null-co,backing.size=1M,backing.read-zeroes=on
}

test_no_locks() {
	qemu-img create -q -f raw a.raw 1M
	start holder qemu-storage-daemon \
		--blockdev "file,node-name=f,filename=a.raw" \
		--nbd-server "addr.type=unix,addr.path=$dir/nbd" \
		--export "nbd,id=e,node-name=f,writable=on"
	wait_socket "$dir/nbd" || fail "$(cat "$dir/holder.log")"
	own=driver=raw,file.filename=a.raw
	same resize --image-opts "$own" 2M
	same resize --image-opts "$own,file.locking=on" 2M
	same resize --image-opts "$own,file.locking=off" 2M
	same resize --image-opts "$own,file.locking=x" 2M
	stop holder
}

# What is written and zero, as zeroes: each request as a whole.
test_detect_zeroes() {
	random data 1M
	{
		cat data
		head -c 8M /dev/zero
		cat data
	} >in.raw
	for format in qcow2 raw vmdk vdi qcow; do
		target=driver=$format,file.filename=t
		for how in off on unmap,discard=unmap on,discard=unmap; do
			for tool in qemu-img img; do
				qemu-img convert -f raw -O "$format" in.raw t
				$tool bench -q -w --pattern=0 -c 8 -s 256k -d 1 \
					-t none --image-opts \
					"$target,detect-zeroes=$how" >/dev/null
				qemu-img map --output=json -f "$format" t >$tool.map
			done
			assertEquals "$format $how" "$(cat qemu-img.map)" \
				"$(cat img.map)"
		done
	done
	for how in off on unmap,discard=unmap; do
		for tool in qemu-img img; do
			qemu-img create -q -f qcow2 t 10M
			$tool convert -n -S 0 -f raw in.raw --target-image-opts \
				"driver=qcow2,file.filename=t,detect-zeroes=$how"
			qemu-img compare -f raw in.raw -F qcow2 t >/dev/null
			assertEquals "content: $tool" 0 $?
		done
	done
	assertContains 'zeroes of convert' "$(qemu-img map --output=json t)" \
		'"present": true, "zero": true, "data": false'
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
