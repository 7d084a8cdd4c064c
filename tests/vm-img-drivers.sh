#!/bin/sh
# SPDX-License-Identifier: ISC
# Drivers that stand over a file and change what is written to it, beside
# qemu-img.
# shellcheck disable=SC2154,SC2317 # dir is set by test_dir; before() is called
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	before() { :; }
	seq 1 200000 | head -c 1M >in.raw
}

tearDown() {
	img_cleanup
}

holds_input() { # IMAGE
	assertEquals "$1" 'Images are identical.' \
		"$(qemu-img compare -f raw in.raw "$1")"
}

# All options, and what is wrong with them.
test_compress_options() {
	for format in qcow2 qcow qed vdi; do
		qemu-img create -q -f $format a.$format 1M
		file=file.driver=$format,file.file.filename=a.$format
		same info --image-opts driver=compress,$file
		same info --output=json --image-opts driver=compress,$file
	done
	qemu-img create -q -f vmdk -o subformat=monolithicFlat a.vmdk 1M
	flat=driver=compress,file.driver=vmdk,file.file.filename=a.vmdk
	refused "Could not open '$flat': Compression is not supported for underlying format: vmdk" \
		info --image-opts $flat
	file=file.driver=qcow2,file.file.filename=a.qcow2
	same info --image-opts driver=compress
	same info --image-opts driver=compress,x=1,$file
	same info --image-opts driver=compress,file.driver=file,file.filename=in.raw
	same info --image-opts driver=raw,file.driver=compress,file.$file
	same info "json:{\"driver\":\"compress\",\"file\":{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"a.qcow2\"}}}"
	same info --image-opts \
		driver=compress,file.driver=blkdebug,file.image.driver=qcow2,file.image.file.filename=a.qcow2
	same create -f compress new 1M
	same check --image-opts driver=compress,$file
}

test_compress() {
	compress=driver=compress,file.driver=qcow2,file.file.filename=a.qcow2
	qemu-img create -q -f qcow2 base.qcow2 1M
	qemu-io -c 'write -P 3 0 1M' base.qcow2 >/dev/null
	for from in theirs ours ours; do
		tool=qemu-img
		[ $from = theirs ] || tool=img
		[ -e a.qcow2 ] ||
			qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2
		$tool convert -n -f raw in.raw --target-image-opts $compress
		holds_input a.qcow2
		qemu-img check a.qcow2 | grep -o '[0-9.]*% compressed' >$from
		[ $from = ours ] || rm a.qcow2
	done
	assertEquals 'compressed' "$(cat theirs)" "$(cat ours)"
	# A cluster that is written in part keeps the rest, where qemu-img fails.
	rm a.qcow2
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2
	assertTrue 'bench' "vm-img bench -w --pattern=7 -c 3 -d 3 -o 60k \
		-s 10k -S 20k --image-opts $compress >out"
	qemu-io -c 'write -q -P 7 60k 10k' -c 'write -q -P 7 80k 10k' \
		-c 'write -q -P 7 100k 10k' base.qcow2
	assertEquals 'parts' 'Images are identical.' \
		"$(qemu-img compare a.qcow2 base.qcow2)"
	assertEquals 'parts, compressed' '2/16 = 12.50% allocated, 100.00% fragmented, 100.00% compressed clusters' \
		"$(qemu-img check a.qcow2 | grep compr)"
}

# It counts what comes, not what is stored.
test_compress_over_throttle() {
	head -c 8M /dev/zero | tr '\0' x >x.raw
	qemu-img create -q -f qcow2 a.qcow2 8M
	under=driver=throttle,file.throttle-group=g,file.file.driver=qcow2
	under=$under,file.file.file.filename=a.qcow2
	group='--object throttle-group,id=g,limits.bps-write=8000000'
	for over in "driver=compress,file.$under" \
		"driver=throttle,throttle-group=g,file.driver=compress,file.file.driver=qcow2,file.file.file.filename=a.qcow2"; do
		# shellcheck disable=SC2086 # words
		same info $group --image-opts "$over"
		begin=$(date +%s%N)
		# shellcheck disable=SC2086 # words
		img convert $group -n --target-image-opts --image-opts \
			driver=raw,file.filename=x.raw "$over"
		assertTrue 'as slow as it is to be' \
			"[ $(($(date +%s%N) - begin)) -gt 200000000 ]"
		assertEquals 'Images are identical.' \
			"$(qemu-img compare -f raw x.raw a.qcow2)"
		assertContains "$(qemu-img check a.qcow2)" \
			'100.00% compressed clusters'
	done
}

test_preallocate_options() {
	truncate -s 1M a.raw
	file=file.driver=file,file.filename=a.raw
	for option in prealloc-size=x prealloc-size=-1 prealloc-size=1000 \
		prealloc-align=3 prealloc-align=4096 foo=1; do
		same info --image-opts driver=preallocate,$option,$file
	done
	same info --image-opts driver=preallocate
	same info --image-opts driver=raw,file.driver=preallocate,file.$file
	same info --output=json --image-opts \
		driver=raw,file.driver=preallocate,file.prealloc-size=1M,file.$file
	before() { truncate -s 1M a.raw; }
	same map --image-opts driver=preallocate,$file
	same resize --image-opts driver=preallocate,$file 3M
	assertEquals 'size' $((3 << 20)) "$(stat -c %s a.raw)"
}

# There is space ahead while the image is open, and none afterwards.
test_preallocate() {
	file=file.file.driver=file,file.file.filename=a.qcow2
	options=file.prealloc-size=1M,file.prealloc-align=64k,$file
	for tool in qemu-img img; do
		qemu-img create -q -f qcow2 a.qcow2 20M
		[ $tool = img ] || {
			$tool convert -n -f raw in.raw --target-image-opts \
				driver=qcow2,file.driver=preallocate,$options
			stat -c %s a.qcow2 >theirs
			continue
		}
		strace -f -o trace -e trace=fallocate,ftruncate vm-img convert \
			-n -f raw in.raw --target-image-opts \
			driver=qcow2,file.driver=preallocate,$options
	done
	assertEquals 'size' "$(cat theirs)" "$(stat -c %s a.qcow2)"
	assertTrue "$(cat trace)" 'grep -q "fallocate([0-9]*, 0, .*= 0" trace'
	assertTrue 'content' 'qemu-img compare -f raw in.raw a.qcow2 >out'
	qemu-img check -q a.qcow2
	assertEquals 'check' 0 $?
}

test_blklogwrites_options() {
	: >log
	qemu-img create -q -f qcow2 a.qcow2 1M
	logged="driver=blklogwrites,log.driver=file,log.filename=log,file.driver=qcow2,file.file.filename=a.qcow2"
	for options in '' x=1 log-append=x log-append=on log-sector-size=4k \
		log-sector-size=16 log-sector-size=1000 log-sector-size=16M \
		log-super-update-interval=0 log-super-update-interval=x \
		log-append=on,log-sector-size=512; do
		same info --image-opts "$logged${options:+,$options}"
	done
	same info --output=json --image-opts "$logged"
	same map --output=json --image-opts "$logged"
	same info --image-opts driver=blklogwrites,file.driver=file,file.filename=in.raw
	same info --image-opts driver=blklogwrites,log.driver=file,log.filename=log
	same info --image-opts driver=blklogwrites,log.driver=file,log.filename=nil,file.driver=file,file.filename=in.raw
	for bad in 0 rhswfsj 'rhswfsj\0\2\0\0\0\0\0\0\0' \
		'rhswfsj\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\3\0\0'; do
		# shellcheck disable=SC2059 # octal
		printf "$bad" >log
		truncate -s 512 log
		same info --image-opts "$logged,log-append=on"
	done
	printf 'rhswfsj\0\1\0\0\0\0\0\0\0\377\377\377\377\377\377\377\377\0\2' >log
	truncate -s 600 log
	refused "Could not open '$logged,log-append=on': Failed to read log entry 1: Input/output error" \
		info --image-opts "$logged,log-append=on"
}

# The same requests leave the same log, to the byte.
test_blklogwrites() {
	logged=driver=blklogwrites,log.driver=file,log.filename=log,file.driver=raw,file.file.filename=a.raw
	for tool in qemu-img img; do
		truncate -s 1M a.raw
		: >log
		$tool bench -w --pattern=65 -c 4 -d 1 -s 8k -o 4k --image-opts \
			$logged >out
		$tool bench -w --pattern=66 -c 3 -d 1 -s 4k --image-opts \
			$logged,log-append=on >out
		cp log $tool.log
		: >log
		$tool bench -w -c 3 -d 1 -s 1000 -o 100 --image-opts \
			$logged,log-sector-size=4k >out
		cp log $tool.unaligned
	done
	assertTrue 'logs' 'cmp qemu-img.log img.log'
	assertTrue 'in part' 'cmp qemu-img.unaligned img.unaligned'
}

# What is in the log makes the file again, whoever wrote it.
test_blklogwrites_can_be_replayed() {
	logged=driver=qcow2,file.driver=blklogwrites,file.log.driver=file,file.log.filename=log
	logged=$logged,file.file.driver=file,file.file.filename=a.qcow2
	for tool in qemu-img img; do
		qemu-img create -q -f qcow2 a.qcow2 1M
		cp a.qcow2 b.qcow2
		: >log
		$tool convert -n -t writeback -f raw in.raw \
			--target-image-opts $logged
		python3 - <<-END
			import struct
			log = open("log", "rb").read()
			magic, version, n, size = struct.unpack_from("<QQQI", log)
			disk = open("b.qcow2", "r+b")
			at = size
			for i in range(n):
			    sector, count, flags, _ = struct.unpack_from("<QQQQ", log, at)
			    at += size
			    if not flags & 4:
			        disk.seek(sector * size)
			        disk.write(log[at:at + count * size])
			        at += count * size
		END
		assertEquals "$tool" 'Images are identical.' \
			"$(qemu-img compare -f qcow2 b.qcow2 a.qcow2)"
		holds_input b.qcow2
	done
}

# It writes, whatever it is opened for.
test_copy_before_write_options() {
	truncate -s 1M old.raw
	over=driver=copy-before-write,file.driver=file,file.filename=in.raw
	over=$over,target.driver=file,target.filename=old.raw
	for more in '' ,on-cbw-error=break-snapshot ,on-cbw-error=x \
		,cbw-timeout=5 ,cbw-timeout=x; do
		same info --image-opts $over$more
	done
	same convert -O raw --image-opts $over out.raw
	same create -f copy-before-write new 1M
	same amend -f copy-before-write -o help
	same info --image-opts \
		driver=copy-before-write,file.driver=file,file.filename=in.raw
}

# What was there and is changed, by clusters, and nothing else.
test_copy_before_write() {
	for format in raw qcow2; do
		for tool in qemu-img img; do
			cp in.raw disk.raw
			rm -f old
			qemu-img create -q -f $format old 1M
			case $format in
			raw) target=target.driver=file,target.filename=old ;;
			*) target=target.driver=$format,target.file.driver=file,target.file.filename=old ;;
			esac
			head -c 200000 /dev/zero | tr '\0' y >y.raw
			$tool convert -n --target-image-opts --image-opts \
				driver=raw,file.filename=y.raw \
				driver=copy-before-write,file.driver=file,file.filename=disk.raw,$target
			assertEquals "$tool $format" 0 $?
			assertTrue 'what is new' 'cmp -n 200000 y.raw disk.raw'
			assertTrue 'and else is as it was' \
				'cmp -i 200192 in.raw disk.raw'
			qemu-img convert -f $format -O raw old $tool.old
		done
		assertTrue 'what was there' 'cmp -n 262144 in.raw img.old'
		assertTrue 'and no more' 'cmp qemu-img.old img.old'
	done
	over=driver=copy-before-write,file.driver=file,file.filename=disk.raw
	over=$over,target.driver=blkdebug,target.image.driver=file
	over=$over,target.image.filename=old,target.inject-error.0.event=none
	over=$over,target.inject-error.0.iotype=write
	qemu-img create -q -f raw old 1M
	assertFalse 'no copy, no change' "img bench -c 1 -w --image-opts $over \
		>/dev/null 2>&1"
	assertTrue 'but without' "img bench -c 1 -w --image-opts \
		$over,on-cbw-error=break-snapshot >/dev/null"
}

test_blkverify() {
	truncate -s 1M a.raw
	qemu-img create -q -f qcow2 a.qcow2 1M
	right=driver=blkverify,raw.filename=a.raw
	both=$right,test.driver=qcow2,test.file.filename=a.qcow2
	for options in $both $both,x=1 $right $right,test.filename=a.raw \
		driver=blkverify,test.driver=file,test.filename=a.raw \
		$right,raw.driver=raw,test.driver=file,test.filename=in.raw; do
		same info --image-opts "$options"
		same info --output=json --image-opts "$options"
	done
	qcow2=driver=qcow2,file.driver=blkverify,file.raw.filename=a.qcow2
	qcow2=$qcow2,file.test.driver=file,file.test.filename=a.qcow2
	same info --image-opts $qcow2
	same map --output=json --image-opts $qcow2
	same measure -O raw --image-opts $both
	for tool in img qemu-img; do
		$tool convert -n -f raw in.raw --target-image-opts $both
		holds_input a.qcow2
		assertTrue 'both' 'cmp in.raw a.raw'
		same convert -O raw --image-opts $both out.raw
		assertTrue 'read' 'cmp in.raw out.raw'
		qemu-img create -q -f qcow2 a.qcow2 1M
		: >a.raw
		truncate -s 1M a.raw
	done
}

test_blkverify_by_name() {
	qemu-img convert -O qcow2 in.raw a.qcow2
	qemu-img convert -O qcow2 in.raw b.qcow2
	qemu-io -c 'write -P 0 700k 1k' b.qcow2 >/dev/null
	while read -r name; do
		same info "$name"
		same compare -f raw "$name" in.raw
		same convert -O raw "$name" o.raw
		same info -f qcow2 "$name"
		same create -f raw "$name" 1M
		same convert -O raw in.raw "$name"
	done <<'END'
blkverify:in.raw:a.qcow2
blkverify:in.raw:in.raw
blkverify:in.raw:blkdebug::a.qcow2
blkverify:in.raw:blkverify:in.raw:in.raw
blkverify:in.raw
blkverify:
blkverify::x
blkverify:none:a.qcow2
blkverify:in.raw:none
END
	silent convert -O raw \
		'blkverify:in.raw:json:{"driver": "qcow2", "file.filename": "a.qcow2"}' \
		o.raw
	assertFalse 'what differs' \
		'img convert -O raw blkverify:in.raw:b.qcow2 o.raw 2>err'
	assertContains "$(cat err)" 'contents mismatch at offset 716800'
}

# Whoever has not the same is found, and nothing of it is taken for right.
test_blkverify_finds_what_differs() {
	both=driver=blkverify,raw.filename=in.raw,test.driver=qcow2
	both=$both,test.file.filename=a.qcow2
	qemu-img convert -O qcow2 in.raw a.qcow2
	qemu-io -c 'write -P 0 700k 1k' a.qcow2 >/dev/null
	for tool in img qemu-img; do
		assertFalse "$tool" "$tool convert -O raw --image-opts $both \
			out.raw 2>$tool.out"
	done
	assertEquals "$(cut -d ' ' -f 5- qemu-img.out)" \
		"$(head -n 1 img.out | cut -d ' ' -f 5-)"
	assertEquals 'contents mismatch at offset 716800' \
		"$(head -n 1 img.out | cut -d ' ' -f 5-)"
	only_differs convert -O raw --image-opts $both out.raw
	only_differs bench -d 1 -c 10 -s 128k --image-opts $both
	only_differs dd --image-opts if=$both of=out.raw
	only_differs compare --image-opts $both driver=raw,file.filename=in.raw
}

# A line of where they differ, which is the last: as qemu-img, which ends there.
only_differs() { # ARG...
	for tool in img qemu-img; do
		$tool "$@" >$tool.out 2>$tool.err
		assertEquals "$tool $*" 1 $?
		assertEquals "$tool $*" 'contents mismatch at offset 716800' \
			"$(cut -d ' ' -f 5- $tool.err)"
	done
	assertTrue "$*: no result" 'cmp qemu-img.out img.out'
}

# What is for machines that run, or reads no image.
test_refused_by_name() {
	for driver in nvme replication \
		snapshot-access vvfat; do
		refused "Could not open 'driver=$driver,file.driver=file,file.filename=in.raw': Driver '$driver' is not supported" \
			info --image-opts \
			driver=$driver,file.driver=file,file.filename=in.raw
	done
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
