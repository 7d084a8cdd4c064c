#!/bin/sh
# SPDX-License-Identifier: ISC
# Which locks vm-img takes on raw images, and on others that let writing be
# shared: what it may do beside another program is what qemu-img may.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	qemu-img create -q -f raw a.raw 4M
	qemu-img create -q -f raw b.raw 4M
	for size in 4M 5M; do
		qemu-img create -q -f qcow2 -b a.raw -F raw $size.qcow2 $size
	done
}

tearDown() {
	img_cleanup
}

# No verb may find what the other program's left.
before() {
	truncate -s 4M a.raw
}

# hold_byte BYTE FILE: a lock of one byte, and nothing else.
hold_byte() {
	rm -f held
	# F_OFD_SETLK
	start "byte$1" python3 -c 'import fcntl, signal, struct, sys
f = open(sys.argv[2], "rb")
fcntl.fcntl(f, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, int(sys.argv[1]), 1,
                               0))
open("held", "w").close()
signal.pause()' "$1" "$2"
	wait_until 30 [ -e held ] || fail "$(cat "$dir/byte$1.log")"
}

# Beside each byte that QEMU locks: somebody writes or resizes, or lets nobody
# do that. (Nobody minds readers.)
each_byte() { # FILE FUNCTION
	for byte in 101 103 201 203; do
		hold_byte $byte "$1"
		"$2"
		stop byte$byte
	done
	return 0
}

# The same, wherever it says that this was.
same_reason() {
	where="^qemu-img: \(Could not open '[^']*': \)*\(Could not open backing"
	where="$where file: \)*"
	theirs=$(outcome qemu-img "$@" | sed "s/$where//")
	ours=$(outcome "$dir/link/qemu-img" "$@" | sed "s/$where//")
	assertEquals "qemu-img $*" "$theirs" "$ours"
}

readers() {
	same info a.raw
	same info --image-opts "$part"
	same map a.raw
	same map --image-opts "$part"
	same map --image-opts "$rest"
	same map --image-opts driver=raw,offset=0,file.filename=a.raw
	same map --image-opts driver=blkdebug,image.filename=a.raw
	same measure -O qcow2 a.raw
	same compare a.raw b.raw
	same compare --image-opts "$part" "$part"
	same snapshot -l a.raw
	same dd if=a.raw of=c.raw
	same convert -O raw a.raw c.raw
	same convert -O raw --image-opts "$part" c.raw
	same map 4M.qcow2
	same check 4M.qcow2
	same convert -O raw 4M.qcow2 c.raw
}

test_readers() {
	part=driver=raw,offset=1M,size=1M,file.filename=a.raw
	rest=driver=raw,offset=1M,file.filename=a.raw
	each_byte a.raw readers
}

writers() {
	same convert -O raw b.raw a.raw
	same convert -n -O raw b.raw a.raw
	same convert -n -t none -O raw b.raw a.raw
	same convert -n --target-image-opts b.raw "$whole"
	same dd if=b.raw of=a.raw
	same create -f raw a.raw 4M
	same resize -f raw a.raw 5M
	same resize --image-opts driver=raw,offset=1M,file.filename=a.raw 4M
	qemu-img create -q -f qcow2 -b b.raw -F raw c.qcow2
	same rebase -b a.raw -F raw c.qcow2
	for size in 4M 5M; do
		same_reason commit $size.qcow2
	done
}

test_writers() {
	whole=driver=raw,offset=0,size=4M,file.filename=a.raw
	each_byte a.raw writers
}

luks() {
	same map --object "$secret" --image-opts "$luks"
	same convert --object "$secret" -O raw --image-opts "$luks" c.raw
	same convert --object "$secret" -n --target-image-opts b.raw "$luks"
	same resize --object "$secret" --image-opts "$luks" 5M
	[ "$byte" = 101 ] ||
		same create --object "$secret" -q -f luks -o key-secret=s \
			l.luks 4M
}

test_luks() {
	secret=secret,id=s,data=x
	luks=driver=luks,key-secret=s,file.filename=l.luks
	qemu-img create --object "$secret" -q -f luks \
		-o key-secret=s,iter-time=100 l.luks 4M
	each_byte l.luks luks
	hold_byte 101 l.luks
	silent create --object "$secret" -q -f luks \
		-o key-secret=s,iter-time=10 l.luks 4M
	stop byte101
	return 0
}

# One that is said, and not the one that the image names.
test_data_file() {
	qemu-img create -q -f qcow2 -o data_file=b.raw d.qcow2 4M
	said=driver=qcow2,file.filename=d.qcow2,data-file.filename=a.raw
	hold_byte 101 a.raw
	refused "Could not open '$said': Failed to get shared \"write\" lock" \
		map --image-opts $said
	stop byte101
	assertTrue free "vm-img map --image-opts $said >out"
}

# What a server has open for writing.
test_beside_a_server() {
	start holder qemu-nbd -t -f raw -k "$dir/nbd" a.raw
	wait_socket "$dir/nbd" || fail "$(cat "$dir/holder.log")"
	same map -f raw a.raw
	same measure -f raw -O raw a.raw
	same compare -f raw -F raw a.raw a.raw
	same check 4M.qcow2
	same commit 4M.qcow2
	same convert -f raw -O raw a.raw c.raw
	same resize -f raw a.raw 5M
	assertTrue 'bench' 'vm-img bench -c 1 -f raw a.raw >/dev/null'
	stop holder
	return 0
}

# Metadata has one writer, also where it is reached through raw.
test_other_formats() {
	start holder qemu-nbd -t -f raw -k "$dir/nbd" 4M.qcow2
	wait_socket "$dir/nbd" || fail "$(cat "$dir/holder.log")"
	name=driver=qcow2,file.driver=raw,file.file.filename=4M.qcow2
	same check 4M.qcow2
	same check --image-opts "$name"
	same map --image-opts driver=raw,file.driver=qcow2,file.file.filename=4M.qcow2
	stop holder
	return 0
}

is_written() {
	[ "$(stat -c %b "$1")" -gt 1024 ]
}

# Two that write to parts of a disk at the same time: the first one is stopped
# in the middle.
test_two_parts() {
	random s.raw 16M
	truncate -s 32M d.raw
	start first "$B/bin/vm-img" convert -n -f raw -r 4M \
		--target-image-opts s.raw \
		driver=raw,offset=0,size=16M,file.filename=d.raw
	wait_until 30 is_written d.raw || fail "$(cat "$dir/first.log")"
	kill -STOP "$pid"
	silent convert -n -f raw --target-image-opts s.raw \
		driver=raw,offset=16M,size=16M,file.filename=d.raw
	assertTrue 'at the same time' 'is_running first'
	kill -CONT "$(cat "$dir/first.pid")"
	status_of first
	assertEquals "$(cat "$dir/first.log")" 0 $?
	cat s.raw s.raw >expected.raw
	assertTrue 'cmp expected.raw d.raw'
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
