#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-disk on the host: images that QEMU's tools wrote, and what it writes in
# their eyes; every way to get a connection; what goes wrong, with message and
# status. The front end is tests/tools/vhost-blk; guests are in
# tests/interop/disk-qemu.sh.
# shellcheck disable=SC2154 # dir and pid are set by guest.sh
. tests/support/guest.sh

setUp() {
	test_dir
	socket=$dir/socket
}

tearDown() {
	test_cleanup
}

# serve OPTION...: in the background, until it listens.
serve() {
	start disk vm-disk --socket-path="$socket" "$@"
	wait_socket "$socket"
}

blk() {
	timeout 60 "$B/tests/tools/vhost-blk" "$@" 2>"$dir/blk.err" || {
		cat "$dir/blk.err" >&2
		return 1
	}
}

control() {
	printf '%s\n' "$@" | timeout 60 socat -t 10 - "UNIX:$dir/control"
}

qcow2() {
	qemu-img create -q -f qcow2 "$@"
}

check_image() {
	qemu-img check -q "$1" >"$dir/check.log" 2>&1
	assertEquals "$1 is clean" 0 $?
}

# Options and usage.

test_every_option_is_in_the_man_page() {
	man=$(mandoc -Tascii man/vm-disk.1 | col -b)
	options=$(vm-disk --help | grep -oE -e '--[a-z][a-z-]*' | sort -u)
	assertContains "$options" --socket-path
	for option in $options; do
		assertContains "$option" "$man" "$option"
	done
}

test_capabilities() {
	assertEquals '{"type":"block","features":["read-only","blk-file"]}' \
		"$(vm-disk --print-capabilities | jq -c .)"
}

# usage_error TEXT ARGUMENT...: status 2 and one line with TEXT.
usage_error() {
	text=$1
	shift
	out=$(vm-disk "$@" 2>&1 </dev/null)
	assertEquals "status of vm-disk $*" 2 $?
	assertContains "$out" "vm-disk: $text"
}

test_wrong_usage() {
	truncate -s 1M "$dir/raw"
	usage_error 'no image' --socket-path="$socket"
	usage_error 'one of --socket-path' "$dir/raw"
	usage_error '--socket-path, --connect' --socket-path="$socket" \
		--connect="$socket" "$dir/raw"
	usage_error '--queues=0' --queues=0 "$dir/raw"
	usage_error '--queues=257' --queues=257 "$dir/raw"
	usage_error '--cache=maybe' --cache=maybe "$dir/raw"
	usage_error 'other: one image only' "$dir/raw" other
	usage_error 'no program after --' "$dir/raw" --
}

# Images.

test_raw() {
	truncate -s 64M "$dir/raw"
	serve --format=raw "$dir/raw"
	blk "$socket" write 4096 0x55 1M flush verify 4096 0x55 1M \
		verify 0 0 4096 write 512 1 512 verify 512 1 512 \
		zero 8192 8192 verify 8192 0 8192
	assertEquals 0 $?
	stop disk
	assertEquals 'ends well' 0 $?
	qemu-io -f raw -r -c 'read -P 1 512 512' -c 'read -P 0x55 4k 4k' \
		-c 'read -P 0 8k 8k' -c 'read -P 0x55 16k 1012k' "$dir/raw" \
		>"$dir/io"
	assertNotContains "$(cat "$dir/io")" 'failed'
}

test_qcow2_in_many_geometries() {
	for o in cluster_size=512 cluster_size=2M compat=0.10 \
		refcount_bits=1 refcount_bits=64,cluster_size=4k \
		lazy_refcounts=on,cluster_size=1k; do
		qcow2 -o "$o" "$dir/image" 64M
		serve "$dir/image"
		blk --depth=32 --queues=2 "$socket" write 1000k 0xa5 3M flush \
			verify 1000k 0xa5 3M zero 2M 64k discard 3M 128k \
			verify 2M 0 64k stress 1 >"$dir/out"
		assertEquals "$o" 0 $?
		blk "$socket" write 63M 0x17 1M
		stop disk
		assertEquals "$o ends well" 0 $?
		check_image "$dir/image"
		qemu-io -r -c 'read -P 0x17 63M 1M' "$dir/image" >"$dir/io"
		assertNotContains "$o" "$(cat "$dir/io")" 'failed'
	done
}

# All 256 start at once, which takes some 1500 messages.
test_most_queues() {
	truncate -s 64M "$dir/raw"
	serve --queues=256 "$dir/raw"
	blk --queues=256 "$socket" stress 1 >"$dir/out"
	assertEquals 0 $?
	assertEquals 'the connection is kept' '' "$(cat "$dir/blk.err")"
	stop disk
	assertEquals 'ends well' 0 $?
}

# Written by QEMU: a raw base, compressed clusters over it, and a top.
test_chain_with_compressed_clusters() {
	for type in zlib zstd; do
		rm -f "$dir"/base "$dir"/middle "$dir"/top
		truncate -s 8M "$dir/base"
		qemu-io -f raw -c 'write -P 1 0 8M' "$dir/base" >/dev/null
		qcow2 -o compression_type=$type -b base -F raw "$dir/middle" 16M
		qemu-io -c 'write -c -P 2 1M 1M' -c 'write -c -P 3 12M 64k' \
			-c 'write -z 2M 64k' "$dir/middle" >/dev/null
		qcow2 -b middle -F qcow2 "$dir/top" 32M
		qemu-io -c 'write -P 4 3M 1M' "$dir/top" >/dev/null
		serve "$dir/top"
		blk "$socket" verify 0 1 1M verify 1M 2 1M verify 2M 0 64k \
			verify 3M 4 1M verify 4M 1 4M verify 8M 0 4M \
			verify 12M 3 64k verify 20M 0 12M
		assertEquals "$type is read" 0 $?
		blk "$socket" write 1111k 9 512 verify 1M 2 87k \
			verify 1111k 9 512 write 2M 8 4k verify 2052k 0 60k
		assertEquals "$type is written over" 0 $?
		stop disk
		check_image "$dir/top"
		qemu-io -r -c 'read -P 9 1111k 512' -c 'read -P 2 1M 87k' \
			-c 'read -P 8 2M 4k' -c 'read -P 1 4M 4M' "$dir/top" \
			>"$dir/io"
		assertNotContains "$(cat "$dir/io")" 'failed'
	done
}

test_without_page_cache() {
	qcow2 "$dir/image" 64M
	serve --cache=none "$dir/image"
	blk --depth=32 "$socket" write 512 7 1025k verify 512 7 1025k \
		stress 1 >"$dir/out"
	assertEquals 0 $?
	stop disk
	check_image "$dir/image"
}

test_size_of_no_whole_sectors() {
	truncate -s 1000 "$dir/raw"
	serve --format=raw "$dir/raw"
	assertContains "$(blk "$socket" info)" 'capacity 1024'
	blk "$socket" write 512 3 512 verify 512 3 512
	assertEquals 0 $?
}

test_read_only() {
	qcow2 "$dir/image" 16M
	qemu-io -c 'write -P 6 0 64k' "$dir/image" >/dev/null
	before=$(cksum <"$dir/image")
	serve --read-only "$dir/image"
	assertContains "$(blk "$socket" info)" 'read-only yes'
	blk "$socket" verify 0 6 64k refused write 0 verify 0 6 64k flush
	assertEquals 0 $?
	qemu-io -r -c 'read -P 6 0 64k' "$dir/image" >"$dir/io" 2>&1
	assertEquals 'others may read' 0 $?
	stop disk
	assertEquals 0 $?
	assertEquals 'nothing is written' "$before" "$(cksum <"$dir/image")"
}

test_serial() {
	truncate -s 1M "$dir/a-name-that-is-longer-than-twenty"
	serve "$dir/a-name-that-is-longer-than-twenty"
	assertEquals a-name-that-is-longe "$(blk "$socket" id)"
	stop disk
	serve --serial=0815 --blk-file="$dir/a-name-that-is-longer-than-twenty"
	assertEquals 0815 "$(blk "$socket" id)"
}

test_other_formats() {
	for format in vdi vpc vhdx vmdk parallels qed qcow; do
		qemu-img create -q -f $format "$dir/image" 16M
		serve --format=$format "$dir/image"
		blk "$socket" write 1000k 0xa5 3M flush verify 1000k 0xa5 3M \
			zero 2M 64k discard 3M 128k verify 2M 0 64k \
			write 512 1 512 flush verify 512 1 512
		assertEquals "$format" 0 $?
		stop disk
		assertEquals "$format ends well" 0 $?
		qemu-io -f $format -r -c 'read -P 1 512 512' \
			-c 'read -P 0 2M 64k' -c 'read -P 0xa5 1000k 1000k' \
			"$dir/image" >"$dir/io" 2>&1
		assertNotContains "$format: $(cat "$dir/io")" "$(cat "$dir/io")" \
			failed
		rm "$dir/image"
	done
}

test_encrypted() {
	secret="$B/tests/tools/image-secret"
	printf abc >"$dir/key"
	"$secret" abc luks "$dir/image" create 16777216 key-secret=key \
		iter-time=5
	"$secret" abc qcow2 "$dir/qcow2" create 16777216 encrypt.format=luks \
		encrypt.key-secret=key encrypt.iter-time=5
	for image in image qcow2; do
		serve --key-file="$dir/key" "$dir/$image"
		blk --depth=8 "$socket" write 1000k 0xa5 3M flush \
			verify 1000k 0xa5 3M write 1M 1 512 \
			zero 2M 64k verify 2M 0 64k verify 1M 1 512 stress 1 \
			>"$dir/out"
		assertEquals "$image" 0 $?
		stop disk
		refuse 'is required for cipher' "$dir/$image"
		refuse 'Invalid password' --key-file=/dev/null "$dir/$image"
		assertFalse 'stored as it is' "grep -q '$(printf '\245\245\245\245')' $dir/$image"
	done
	refuse 'No such file' --key-file="$dir/none" "$dir/image"
}

test_for_reading_only() {
	head -c 262144 /dev/zero | tr '\0' 1 >"$dir/raw"
	python3 tests/support/make_dmg.py "$dir/raw" "$dir/a.dmg"
	refuse 'Image is read-only' --format=dmg "$dir/a.dmg"
	serve --read-only --format=dmg "$dir/a.dmg"
	blk "$socket" verify 4096 0x31 128k
	assertEquals 0 $?
	stop disk
}

test_nbd() {
	start nbdkit nbdkit -f -U "$dir/nbd" memory 16M
	wait_socket "$dir/nbd"
	serve --format=raw "nbd+unix://?socket=$dir/nbd"
	blk --depth=8 "$socket" write 1000k 0xa5 3M flush verify 1000k 0xa5 3M \
		zero 2M 64k discard 3M 128k verify 2M 0 64k stress 1 \
		>"$dir/out"
	assertEquals 0 $?
	# A server that goes away is an I/O error to the guest, and no more.
	kill9 nbdkit
	assertFalse 'fails' "blk $socket verify 1000k 0xa5 4k"
	assertTrue 'goes on' 'is_running disk'
	stop disk
	assertEquals 'cannot flush' 1 $?
}

# Sectors of 512 bytes in blocks of 4096, written by many threads at once.
test_nbd_of_large_blocks() {
	start nbdkit nbdkit -f -U "$dir/nbd" --filter=blocksize-policy \
		memory 16M blocksize-minimum=4096 blocksize-preferred=4096 \
		blocksize-maximum=64k blocksize-error-policy=error
	wait_socket "$dir/nbd"
	serve --format=raw "nbd+unix://?socket=$dir/nbd"
	assertTrue 'stress' \
		"blk --depth=16 --span=256k $socket stress 1 >$dir/out"
	assertTrue 'stress' "blk --depth=16 --span=8M $socket stress 1 >$dir/out"
	stop disk
	assertEquals 'status' 0 $?
	stop nbdkit
}

# A server that stalls keeps a guest waiting, but never the loop.
test_nbd_stalls() {
	start nbdkit nbdkit -f -U "$dir/nbd" memory 16M
	wait_socket "$dir/nbd"
	serve --control="$dir/control" --format=raw \
		"nbd+unix://?socket=$dir/nbd"
	blk "$socket" verify 0 0 4k
	kill -STOP "$(cat "$dir/nbdkit.pid")"
	start blk "$B/tests/tools/vhost-blk" --depth=4 "$socket" \
		write 0 0xa5 1M flush verify 0 0xa5 1M
	wait_until 10 is_at_work
	assertContains "$(control stats)" 'connections 2'
	kill -CONT "$(cat "$dir/nbdkit.pid")"
	status_of blk
	assertEquals "$(cat "$dir/blk.log")" 0 $?
	# Ending waits for it, unless there is a second signal.
	kill -STOP "$(cat "$dir/nbdkit.pid")"
	kill -TERM "$(cat "$dir/disk.pid")"
	wait_gone "$socket"
	stop disk INT
	assertEquals 'status' 1 $?
	assertContains "$(cat "$dir/disk.log")" 'not flushed'
	kill -CONT "$(cat "$dir/nbdkit.pid")"
	stop nbdkit
}

is_at_work() {
	control stats | grep -q '^writes [1-9]'
}

# Bad images: refuse TEXT OPTION...: status 1, one line with TEXT.
refuse() {
	text=$1
	shift
	out=$(timeout 60 vm-disk --socket-path="$socket" "$@" 2>&1)
	assertEquals "status of vm-disk $*" 1 $?
	assertContains "$out" "$text"
	assertEquals 'one line' 1 "$(echo "$out" | wc -l)"
	assertFalse 'no socket is left' "[ -e $socket ]"
}

test_images_that_are_none() {
	refuse 'No such file or directory' "$dir/nowhere"
	refuse "$dir: " "$dir"
	mkfifo "$dir/fifo"
	refuse "$dir/fifo: " "$dir/fifo"
	truncate -s 1M "$dir/raw"
	refuse "$dir/raw: " --format=qcow2 "$dir/raw"
	refuse "nonsense" --format=nonsense "$dir/raw"
}

test_truncated_and_corrupt_images() {
	qcow2 "$dir/image" 64M
	qemu-io -c 'write 0 1M' "$dir/image" >/dev/null
	head -c 50 "$dir/image" >"$dir/short"
	refuse "$dir/short: " --format=qcow2 "$dir/short"
	head -c 70000 "$dir/image" >"$dir/cut"
	refuse "$dir/cut: " "$dir/cut"
	# The L1 table's offset, beyond the end and not aligned.
	cp "$dir/image" "$dir/bad"
	printf '\0\0\1\0\0\0\0\1' |
		dd of="$dir/bad" bs=1 seek=40 conv=notrunc status=none
	refuse 'L1 table' "$dir/bad"
	# An unknown incompatible feature.
	cp "$dir/image" "$dir/new"
	printf '\200' | dd of="$dir/new" bs=1 seek=72 conv=notrunc status=none
	refuse 'eature' "$dir/new"
}

# A cluster whose L2 entry is nonsense costs that request, and no more.
test_corrupt_entry_is_an_error_of_one_request() {
	qcow2 "$dir/image" 64M
	qemu-io -c 'write -P 5 0 1M' "$dir/image" >/dev/null
	l1=$(od -An -tu1 -j40 -N8 "$dir/image" |
		awk '{ n = 0; for (i = 1; i <= 8; i++) n = n * 256 + $i; print n }')
	l2=$(od -An -tu1 -j"$l1" -N8 "$dir/image" |
		awk '{ n = 0; for (i = 2; i <= 8; i++) n = n * 256 + $i; print n }')
	printf '\200\0\0\0\0\0\2\0' |
		dd of="$dir/image" bs=1 seek=$((l2 + 16)) conv=notrunc \
			status=none
	serve "$dir/image"
	blk "$socket" verify 64k 5 64k refused read 128k verify 192k 5 64k
	assertEquals 0 $?
	assertTrue 'is told' \
		"grep -q '^vm-disk: $dir/image: read at 131072: ' '$dir/disk.log'"
}

test_image_that_qemu_holds() {
	qcow2 "$dir/image" 16M
	start qemu qemu-storage-daemon \
		--blockdev "driver=qcow2,node-name=f,file.driver=file,file.filename=$dir/image" \
		--export "type=vhost-user-blk,id=e,node-name=f,addr.type=unix,addr.path=$dir/qsd,writable=on" \
		--pidfile "$dir/ready"
	wait_socket "$dir/qsd"
	refuse "$dir/image: Failed to get \"write\" lock" "$dir/image"
	refuse "Failed to get" --read-only "$dir/image"
}

test_image_that_we_hold() {
	qcow2 "$dir/image" 16M
	serve "$dir/image"
	out=$(qemu-io -c 'read 0 512' "$dir/image" 2>&1)
	assertContains "$out" 'Is another process using the image'
	qemu-img info -U "$dir/image" >/dev/null
	assertEquals 'but -U can look' 0 $?
	stop disk
	qemu-io -c 'read 0 512' "$dir/image" >/dev/null
	assertEquals 'free afterwards' 0 $?
}

# Of a raw one QEMU's own tools would share the writing.
test_raw_image_that_we_hold() {
	truncate -s 1M "$dir/raw"
	serve "$dir/raw"
	out=$(qemu-io -f raw -c 'write 0 512' "$dir/raw" 2>&1)
	assertContains "$out" 'Failed to get "write" lock'
	out=$(vm-img resize -f raw "$dir/raw" 2M 2>&1)
	assertContains "$out" 'Is another process using the image'
	assertTrue 'others may look' "vm-img map -f raw '$dir/raw' >'$dir/out'"
	stop disk
}

test_full_disk() {
	cat >"$dir/full.sh" <<-'END'
		set -e
		dir=$1
		mkdir "$dir/small"
		mount -t tmpfs -o size=3M none "$dir/small"
		cd "$dir/small"
		qemu-img create -q -f qcow2 image 64M
		head -c 512k /dev/zero >filler
		vm-disk --socket-path="$dir/socket" image 2>"$dir/full.log" &
		trap 'kill $! 2>/dev/null || :' EXIT
		tries=500
		until [ -S "$dir/socket" ]; do
			tries=$((tries - 1))
			[ $tries -gt 0 ]
			sleep 0.02
		done
		blk="$B/tests/tools/vhost-blk $dir/socket"
		$blk write 0 0x31 1M flush
		$blk write 1M 0x32 8M && exit 1
		$blk verify 0 0x31 1M
		rm filler
		$blk write 32M 0x33 64k flush verify 32M 0x33 64k \
			verify 0 0x31 1M
		kill $!
		wait $!
		qemu-img check image
		qemu-io -r -c 'read -P 0x31 0 1M' -c 'read -P 0x33 32M 64k' \
			image
		echo all well
	END
	timeout 60 unshare -rm sh "$dir/full.sh" "$dir" >"$dir/out" 2>&1
	assertEquals "$(tail -n 5 "$dir/out")" 0 $?
	assertContains "$(cat "$dir/out")" 'I/O error'
	assertNotContains "$(cat "$dir/out")" 'failed'
	assertTrue 'is told' "file_has $dir/full.log \
		'^vm-disk: image: write at [0-9]+: .*No space left on device'"
	assertTrue 'not too often' "[ $(wc -l <"$dir/full.log") -le 2 ]"
}

# Connections.

# What was in flight is over, one way or the other, when a reset is done.
test_reset_with_requests_in_flight() {
	truncate -s 1M "$dir/raw"
	serve --format=raw "$dir/raw"
	for declined in 0 $((1 << 34)); do
		for _ in $(seq 20); do
			blk --decline=$declined "$socket" write 0 1 4096 \
				reset 16 verify 0 1 4096 write 0 2 4096 \
				reset 16 reset 16 verify 0 2 4096 || break 2
		done
	done
	assertEquals 'every time' 0 $?
	stop disk
	assertEquals 'not a word' '' "$(cat "$dir/disk.log")"
}

test_one_connection_after_another() {
	truncate -s 1M "$dir/raw"
	serve --control="$dir/control" "$dir/raw"
	for i in 1 2 3 4 5; do
		blk "$socket" write 0 $i 4096 verify 0 $i 4096 || fail "$i"
	done
	assertContains "$(control stats)" 'connections 5'
	# Gone in the middle of its writes.
	start client "$B/tests/tools/vhost-blk" --depth=64 --span=1M \
		"$socket" stress 30
	wait_until 10 writes_go_on
	kill9 client
	blk "$socket" write 0 9 4096 verify 0 9 4096
	assertEquals 'next is served' 0 $?
	stop disk
	assertEquals 0 $?
	assertFalse 'socket is gone' "[ -e $socket ]"
}

writes_go_on() {
	[ "$(control stats | awk '/^writes/ { print $2 }')" -gt 1000 ]
}

test_fd() {
	truncate -s 1M "$dir/raw"
	cat >"$dir/pair.py" <<-'END'
		import os, socket, subprocess, sys
		ours, theirs = socket.socketpair()
		tool, raw = sys.argv[1:]
		disk = subprocess.Popen(["vm-disk", f"--fd={theirs.fileno()}",
		                         raw], pass_fds=[theirs.fileno()])
		theirs.close()
		status = subprocess.call([tool, f"--fd={ours.fileno()}",
		                          "--reconnect=never", "write", "0",
		                          "5", "64k", "verify", "0", "5",
		                          "64k"], pass_fds=[ours.fileno()])
		ours.close()
		sys.exit(status or disk.wait(10))
	END
	timeout 60 python3 "$dir/pair.py" "$B/tests/tools/vhost-blk" "$dir/raw"
	assertEquals 0 $?
	cmp -s -n 65536 "$dir/raw" /dev/zero
	assertEquals 'written' 1 $?
}

# The end of the connection says that the image is flushed and unlocked.
test_image_is_closed_before_the_connection() {
	qcow2 "$dir/image" 16M
	cat >"$dir/eof.py" <<-'END'
		import socket, subprocess, sys
		ours, theirs = socket.socketpair()
		disk = subprocess.Popen(["vm-disk", f"--fd={theirs.fileno()}",
		                         sys.argv[1]],
		                        pass_fds=[theirs.fileno()])
		theirs.close()
		ours.shutdown(socket.SHUT_WR)
		assert ours.recv(1) == b""
		sys.exit(subprocess.call(["qemu-io", "-c", "write 0 512",
		                          sys.argv[1]]) or disk.wait(10))
	END
	for _ in 1 2 3 4 5; do
		timeout 60 python3 "$dir/eof.py" "$dir/image" >"$dir/out" 2>&1
		assertEquals "$(cat "$dir/out")" 0 $?
	done
}

test_chain_loading() {
	qcow2 "$dir/image" 16M
	# shellcheck disable=SC2016 # for the program
	out=$(echo input | timeout 60 vm-disk "$dir/image" -- sh -c '
		read -r line
		echo "$line $VM_DEVICES"
		"$0" --fd="${VM_DEVICES#blk:}" --reconnect=never \
			write 1M 3 1M verify 1M 3 1M || exit
		exit 7' "$B/tests/tools/vhost-blk")
	assertEquals 'status of the program' 7 $?
	assertContains "$out" 'input blk:'
	wait_until 10 qemu-io -c 'read -P 3 1M 1M' "$dir/image" >"$dir/io" 2>&1
	assertEquals 'unlocked soon' 0 $?
	assertNotContains "$(cat "$dir/io")" 'failed'
	timeout 60 vm-disk "$dir/image" -- "$dir/nowhere" 2>"$dir/err"
	assertEquals 127 $?
	out=$(timeout 60 vm-disk "$dir/none" -- echo started 2>&1)
	assertEquals 1 $?
	assertNotContains "$out" started
}

test_socket_activation_and_readiness() {
	truncate -s 1M "$dir/raw"
	cat >"$dir/listen.py" <<-'END'
		import os, socket, sys
		listener = socket.socket(socket.AF_UNIX)
		listener.bind(sys.argv[1])
		listener.listen()
		os.dup2(listener.fileno(), 3)
		os.set_inheritable(3, True)
		ready = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
		os.dup2(ready, 9)
		os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
		os.execvp(sys.argv[3], sys.argv[3:])
	END
	start disk python3 "$dir/listen.py" "$socket" "$dir/ready" vm-disk \
		--ready-fd=9 "$dir/raw"
	wait_until 10 test -s "$dir/ready"
	assertEquals "ready" "$(printf '\n.')" "$(cat "$dir/ready" && echo .)"
	blk "$socket" write 0 1 4096 verify 0 1 4096
	assertEquals 0 $?
	stop disk
	assertEquals 0 $?
	assertTrue "somebody else's socket stays" "[ -S $socket ]"
}

test_connect() {
	truncate -s 1M "$dir/raw"
	start disk vm-disk --connect="$socket" "$dir/raw"
	wait_for "$dir/disk.log" 'trying again'
	cat >"$dir/accept.py" <<-'END'
		import socket, subprocess, sys
		listener = socket.socket(socket.AF_UNIX)
		listener.bind(sys.argv[1])
		listener.listen()
		for i in "1", "2":
		    fd = listener.accept()[0]
		    status = subprocess.call(
		        [sys.argv[2], f"--fd={fd.fileno()}",
		         "--reconnect=never", "write", "0", i, "4k", "verify",
		         "0", i, "4k"], pass_fds=[fd.fileno()])
		    fd.close()
		    if status: sys.exit(status)
	END
	timeout 60 python3 "$dir/accept.py" "$socket" "$B/tests/tools/vhost-blk"
	assertEquals 0 $?
}

test_no_thread_spins_or_stays() {
	truncate -s 1M "$dir/raw"
	serve "$dir/raw"
	disk=$(cat "$dir/disk.pid")
	blk "$socket" write 0 1 1M flush zero 0 64k
	before=$(awk '{ print $14 + $15 }' "/proc/$disk/stat")
	blk "$socket" print idle
	sleep 1 # to see what idling costs
	after=$(awk '{ print $14 + $15 }' "/proc/$disk/stat")
	assertTrue "idles ($before to $after)" "[ $((after - before)) -le 5 ]"
}

# Hostile clients, each of which a good one follows.

hostile() {
	timeout 20 python3 -c "
import socket, struct, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect('$socket')
$1
s.settimeout(15)
try:
    while s.recv(4096):
        pass
except ConnectionResetError:
    pass
"
	assertEquals "is closed: $1" 0 $?
	blk "$socket" verify 0 1 4096
	assertEquals "others are served after: $1" 0 $?
}

test_hostile_clients() {
	truncate -s 1M "$dir/raw"
	serve "$dir/raw"
	blk "$socket" write 0 1 4096
	hostile 's.send(b"GET / HTTP/1.0\r\n\r\n")'
	hostile 's.send(struct.pack("<III", 1, 1, 0xffffffff))'
	hostile 's.send(struct.pack("<III", 5, 1, 0xfffffff0) + b"x" * 4096)'
	hostile 's.send(struct.pack("<III", 0xffff, 1, 0))'
	hostile 's.send(struct.pack("<II", 1, 1)); s.shutdown(socket.SHUT_WR)'
	# GET_FEATURES without end, of which no answer is read.
	hostile 's.setblocking(False)
try:
    while True: s.send(struct.pack("<III", 1, 1, 0))
except BlockingIOError: pass
s.setblocking(True)
s.shutdown(socket.SHUT_WR)'
	assertTrue 'is told' "grep -q 'connection dropped' $dir/disk.log"
}

test_silent_client() {
	truncate -s 1M "$dir/raw"
	serve "$dir/raw"
	start silent python3 -c "
import socket, time
s = socket.socket(socket.AF_UNIX)
s.connect('$socket')
print('connected', flush=True)
time.sleep(60)"
	wait_for "$dir/silent.log" connected
	blk "$socket" write 0 1 4096 verify 0 1 4096
	assertEquals 0 $?
	assertTrue 'is told' "grep -q 'dropped: silent' $dir/disk.log"
}

# Signals and control.

test_signals_end_in_good_order() {
	for signal in TERM INT; do
		qcow2 "$dir/image" 64M
		serve --control="$dir/control" "$dir/image"
		start client timeout 60 "$B/tests/tools/vhost-blk" --depth=64 \
			--reconnect=forever "$socket" stress 3
		wait_until 10 writes_go_on
		stop disk $signal
		assertEquals "$signal" 0 $?
		check_image "$dir/image"
		assertFalse 'socket is gone' "[ -e $socket ]"
		assertFalse 'control is gone' "[ -e $dir/control ]"
		serve --control="$dir/control" "$dir/image"
		status_of client
		assertEquals 'the client lost nothing' 0 $?
		stop disk
		assertEquals 0 $?
		check_image "$dir/image"
	done
}

test_control() {
	qcow2 "$dir/image" 16M
	serve --control="$dir/control" "$dir/image"
	blk "$socket" write 0 1 64k verify 0 1 64k flush refused read 1G
	assertEquals "image $dir/image
format qcow2
size 16777216
read-only no
connected no
in-progress 0
ok" "$(control status)"
	stats=$(control stats)
	for row in 'writes 1' 'written-bytes 65536' 'reads 1' 'flushes 1' \
		'errors 0' ok; do
		assertContains "$row" "$stats" "$row"
	done
	assertEquals ok "$(control flush)"
	assertContains "$(control help)" 'flush'
	assertContains "$(control nonsense)" 'error'
	assertEquals 600 "$(stat -c %a "$dir/control")"
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
