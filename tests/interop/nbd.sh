#!/bin/sh
# SPDX-License-Identifier: ISC
# NBD servers of others as sources and targets: nbdkit and qemu-nbd, with
# faults and without.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/formats.sh

setUp() {
	formats_dir
	disk src 4M
	uri="nbd+unix://?socket=$dir/sock"
}

tearDown() {
	img_cleanup
}

serve() { # NBDKIT-ARGUMENT...
	rm -f sock
	start nbdkit nbdkit -f -U "$dir/sock" "$@"
	wait_socket "$dir/sock"
}

is_served() { # NAME
	vm-img info -f raw "$1" >/dev/null 2>&1
}

serve_qemu() { # QEMU-NBD-ARGUMENT...
	rm -f sock
	start qemu-nbd qemu-nbd -t -k "$dir/sock" "$@"
	wait_socket "$dir/sock"
}

# COMMAND...: one line that holds TEXT, and status 1, soon.
fails() { # TEXT COMMAND...
	text=$1
	shift
	timeout 60 "$@" >.out 2>.err
	assertEquals "$*" 1 $?
	assertEquals "$*: $(cat .err)" 1 "$(wc -l <.err)"
	assertContains "$*" "$(cat .err)" "$text"
}

test_source() {
	serve file src
	silent convert -f raw -O raw "$uri" b.raw
	cmp src b.raw || fail 'nbdkit'
	same info -f raw "$uri"
	same info -f raw --output=json "$uri"
	same compare -f raw -F raw "$uri" src
	assertEquals 'as the export says' \
		"$(qemu-img map -f raw --output=json "$uri" | tr -d '\n')" \
		"$(vm-img map -f raw --output=json "$uri" | tr -d '\n')"
	stop nbdkit
}

# An export by its options, and by the names of old.
test_names() {
	serve_qemu -f raw -x 'a b' src
	for options in "driver=nbd,export=a b,path=$dir/sock" \
		"driver=nbd,export=a b,server.type=unix,server.path=$dir/sock" \
		"driver=raw,file.driver=nbd,file.export=a b,file.path=$dir/sock"; do
		same map --output=json --image-opts "$options"
	done
	stop qemu-nbd
	serve_qemu -f raw -x a-b src
	same info "json:{'driver':'raw','file':{'driver':'nbd',
		'server':{'type':'unix','path':'$dir/sock'},'export':'a-b'}}"
	same map "nbd:unix:$dir/sock:exportname=a-b"
	stop qemu-nbd
	serve_qemu -f raw src
	same info "nbd:unix:$dir/sock"
	same map --output=json "nbd:unix:$dir/sock"
	stop qemu-nbd
	for name in driver=nbd driver=nbd,export=a driver=nbd,port=1 \
		driver=nbd,host=a,path=b driver=raw,file.driver=nbd,file.export=b; do
		same info --image-opts "$name"
	done
	same info nbd:a
}

# What is said of a server in the wrong way, and what of it is shown.
test_server_options() {
	serve_qemu -r -e 2 -f raw -x ex src
	sock=driver=nbd,path=$dir/sock,export=ex
	server=driver=nbd,server.type=unix,server.path=$dir/sock,export=ex
	for options in $sock $server driver=raw,offset=512,file.$server \
		driver=raw,offset=1k,file.driver=nbd,file.export=ex,file.path=$dir/sock \
		$server,server.foo=1 $server,host=foo $sock,foo=1 \
		driver=nbd,server.type=inet,server.host=localhost \
		driver=nbd,server.type=inet,server.port=1 \
		driver=nbd,server.type=unix driver=nbd,server.type=foo \
		driver=nbd,server.path=a driver=nbd,server=a \
		$sock,reconnect-delay=1,open-timeout=1 $sock,reconnect-delay=x \
		$sock,tls-creds=x $sock,tls-hostname=x \
		$sock,x-dirty-bitmap=foo $sock,x-dirty-bitmap=base:allocation \
		driver=nbd,path=none; do
		same info --image-opts "$options"
	done
	same info --object secret,id=x,data=a --image-opts "$sock,tls-creds=x"
	same info "json:{'driver':'raw','size':512,'file':{'driver':'nbd','server':{'type':'unix','path':'$dir/sock'},'export':'ex'}}"
	for name in nbd: nbd:foo nbd+unix:/// nbd+unix:///x?sockt=/a \
		"nbd+unix:///?socket=none" nbd:unix:none; do
		same info "$name"
	done
	stop qemu-nbd
}

# Without what goes without saying, or with it.
test_names_that_are_shown() {
	port=$(free_port)
	start qemu-nbd qemu-nbd -t -f raw -p "$port" -b 127.0.0.1 -e 9 src
	wait_until 30 qemu-nbd -L -b 127.0.0.1 -p "$port" >.io 2>&1
	for name in "nbd://127.0.0.1:$port/" "nbd://127.0.0.1:$port" \
		"nbd:127.0.0.1:$port"; do
		same info "$name"
		same snapshot -c x "$name"
		same info --backing-chain --output=json "$name"
	done
	stop qemu-nbd
	serve_qemu -r -e 2 -f raw src
	for name in "nbd+unix:///?socket=$dir/sock" \
		"nbd+unix://?socket=$dir/sock"; do
		same info "$name"
		same map "$name"
	done
	same info nbd://127.0.0.1/
	stop qemu-nbd
}

# Bits of a bitmap are shown as if they were what is allocated.
test_bitmaps_of_a_server() {
	qemu-img create -q -f qcow2 b.qcow2 4M
	qemu-io -c 'write -P 1 0 1M' b.qcow2 >/dev/null
	qemu-img bitmap --add b.qcow2 b
	qemu-io -c 'write -P 2 512k 192k' -c 'write -P 3 3M 64k' b.qcow2 >/dev/null
	serve_qemu -r -e 2 -A -f qcow2 -B b -x ex b.qcow2
	of=driver=nbd,path=$dir/sock,export=ex
	for context in qemu:dirty-bitmap:b qemu:allocation-depth \
		base:allocation qemu:dirty-bitmap:none; do
		same map --output=json --image-opts \
			$of,x-dirty-bitmap=$context
		same map --output=json --image-opts \
			driver=raw,file.$of,file.x-dirty-bitmap=$context
	done
	img convert -O raw --image-opts \
		$of,x-dirty-bitmap=qemu:dirty-bitmap:b b.raw
	img convert -O raw --image-opts $of c.raw
	assertTrue 'all of it is read' 'cmp b.raw c.raw'
	stop qemu-nbd
}

test_tls() {
	echo qemu:0123456789abcdef0123456789abcdef >keys.psk
	key=tls-creds-psk,id=x,dir=$dir
	for object in tls-creds-x509,id=x tls-creds-x509,id=x,dir=/nope \
		$key,endpoint=foo $key,endpoint=client,foo=1 \
		tls-creds-x509,id=x,endpoint=client,verify-peer=foo; do
		same info --object "$object" src
	done
	serve_qemu -r -e 2 -f raw -x ex --tls-creds x \
		--object $key,endpoint=server src
	of=driver=nbd,path=$dir/sock,export=ex,tls-creds=x
	same info --object $key,endpoint=client --image-opts $of
	same info --object $key,endpoint=client,username=qemu --image-opts $of
	silent convert -O raw --object $key,endpoint=client --image-opts $of b.raw
	assertTrue 'what was read' 'cmp src b.raw'
	fails 'requires TLS' vm-img info --image-opts \
		driver=nbd,path="$dir/sock",export=ex
	fails 'foo' vm-img info --object $key,username=foo --image-opts $of
	stop qemu-nbd
}

# Whom the user wants to be sure of, libnbd cannot be told.
test_tls_host_of_another_name() {
	: >ca-cert.pem
	key=tls-creds-x509,id=x,dir=$dir,endpoint=client
	there=driver=nbd,host=localhost,port=1,tls-creds=x
	for options in $there,tls-hostname=example.org \
		driver=nbd,path=sock,tls-creds=x,tls-hostname=localhost; do
		fails "'tls-hostname'" vm-img info --object $key \
			--image-opts "$options"
	done
	for options in $there,tls-hostname=localhost $there; do
		fails 'Connection refused' vm-img info --object $key \
			--image-opts "$options"
	done
	fails 'Connection refused' vm-img info --object $key,verify-peer=off \
		--image-opts $there,tls-hostname=example.org
}

test_target() {
	truncate -s 4M b.raw
	serve file b.raw
	silent convert -n -f raw -O raw src "$uri"
	cmp src b.raw || fail 'nbdkit'
	# Zeroes over what is there; the holes of the source, too.
	tr '\0' x </dev/zero | head -c 4194304 >b.raw
	silent convert -n -f raw -O raw src "$uri"
	cmp src b.raw || fail 'over old data'
	stop nbdkit
	truncate -s 8M c.raw
	serve_qemu -f raw c.raw
	silent convert -f raw -O qcow2 src "$uri"
	stop qemu-nbd
	qemu-img compare -f qcow2 -F raw c.raw src >.out 2>&1 ||
		fail "$(cat .out)"
	assertEquals 'raw target' 0 "$(qemu-img check -q -f qcow2 c.raw; echo $?)"
}

# Targets by the names of old, too: made, filled, and refused.
test_old_names_of_targets() {
	truncate -s 8M b.raw
	serve_qemu -f raw -x a-b b.raw
	old=nbd:unix:$dir/sock:exportname=a-b
	for format in raw qcow2; do
		same create -f $format "$old" 4M
		assertEquals "a new $format" 0 $?
		same create -f $format "$old" 400M
		same info -f $format "$old"
	done
	same create -f raw "$old"
	same create -q -f raw "$old-c" 4M
	for name in nbd: nbd:foo nbd:unix: nbd:unix:none foo:bar; do
		same create -f raw "$name" 4M
		same convert -f raw -O qcow2 src "$name"
		same convert -n -f raw -O raw src "$name"
		same dd -f raw -O raw if=src of="$name"
	done
	silent convert -f raw -O qcow2 src "$old"
	stop qemu-nbd
	same compare -f raw -F qcow2 src b.raw
	truncate -s 4M c.raw d.raw e.raw
	for verb in 'convert -f raw -O raw src' 'convert -n -f raw -O raw src' \
		'dd -f raw -O raw if=src'; do
		tr '\0' x </dev/zero | head -c 4194304 >c.raw
		serve_qemu -f raw c.raw
		# shellcheck disable=SC2086 # words of a command
		case $verb in
		dd*) silent $verb of=nbd:unix:"$dir/sock" ;;
		*) silent $verb nbd:unix:"$dir/sock" ;;
		esac
		stop qemu-nbd
		cmp src c.raw || fail "$verb"
	done
	port=$(free_port)
	start qemu-nbd qemu-nbd -t -b 127.0.0.1 -p "$port" -f raw -x e e.raw
	wait_until 10 is_served "nbd:127.0.0.1:$port:exportname=e"
	silent convert -f raw -O raw src "nbd:127.0.0.1:$port:exportname=e"
	same create -f raw "nbd:127.0.0.1:$port:exportname=e" 4M
	stop qemu-nbd
	# create empties the first sector, as QEMU does.
	assertTrue 'over TCP' 'cmp -i 512 src e.raw'
	assertEquals 'no such file' '' "$(find . -name 'nbd*')"
}

test_image_in_an_export() {
	qemu-img convert -f raw -O qcow2 src a.qcow2
	serve_qemu -f raw a.qcow2
	silent convert -O raw "$uri" b.raw
	cmp src b.raw || fail 'qcow2 in an export'
	stop qemu-nbd
	# A name inside an image is no URI.
	qemu-img create -q -f qcow2 -u -b "$uri" -F raw b.qcow2 1M
	why="Backing file name '$uri' is not a plain path"
	refused "Could not open '$uri': $why" info --backing-chain b.qcow2
	why="Could not open 'b.qcow2': Could not open backing file: $why"
	refused "$why" convert -O raw b.qcow2 c.raw
	refused "$why" commit b.qcow2
	# Whoever types the command may lead there.
	serve_qemu -f raw src
	silent convert -O raw --image-opts driver=qcow2,file.filename=b.qcow2,\
backing.driver=raw,backing.file.driver=nbd,backing.file.path="$dir/sock" c.raw
	# Or may let the name lead there, also from further down.
	qemu-img create -q -f qcow2 -b b.qcow2 -F qcow2 d.qcow2
	qemu-img create -q -u -f qcow2 -F raw e.qcow2 1M -b \
		"json:{\"driver\":\"raw\",\"file\":{\"driver\":\"nbd\",\"path\":\"$dir/sock\"}}"
	for name in b d e; do
		silent convert --allow-protocols -O raw $name.qcow2 $name.raw
		assertEquals "map of $name" \
			"$(qemu-img map --output=json $name.qcow2)" \
			"$(vm-img map --allow-protocols --output=json $name.qcow2)"
		assertEquals "chain of $name" \
			"$(qemu-img info --backing-chain $name.qcow2 |
				sed 's,unix:///,unix://,')" \
			"$(vm-img info --allow-protocols --backing-chain \
				$name.qcow2 | sed 's,unix:///,unix://,')"
	done
	truncate -s 1M src
	for name in b c d e; do
		cmp src $name.raw || fail "$name over a server"
	done
	stop qemu-nbd
}

# Blocks of 4096 bytes and nothing smaller; little at once.
test_limits_of_the_server() {
	truncate -s 4M b.raw
	serve --filter=blocksize-policy file b.raw \
		blocksize-minimum=4096 blocksize-preferred=4096 \
		blocksize-maximum=65536 blocksize-error-policy=error
	silent convert -n -f raw -O raw src "$uri"
	cmp src b.raw || fail 'written'
	silent convert -f raw -O qcow2 "$uri" c.qcow2
	same compare -f qcow2 -F raw c.qcow2 src
	# Headers and tables are not as aligned as data.
	truncate -s 0 b.raw
	truncate -s 8M b.raw
	stop nbdkit
	serve --filter=blocksize-policy file b.raw \
		blocksize-minimum=4096 blocksize-preferred=4096 \
		blocksize-maximum=65536 blocksize-error-policy=error
	silent convert -f raw -O qcow2 src "$uri"
	stop nbdkit
	qemu-img compare -f qcow2 -F raw b.raw src >.out 2>&1 ||
		fail "$(cat .out)"
}

# A server may tell of less than a block, which is data if any of it is.
test_blocks_that_are_data_in_part() {
	head -c 1000 src >short
	serve_qemu short 2>/dev/null
	same map -f raw --output=json "nbd:unix:$dir/sock"
	stop qemu-nbd
	serve_qemu -f raw short
	same map -f raw --output=json "nbd:unix:$dir/sock"
	stop qemu-nbd
	truncate -s 0 holes
	truncate -s 48k holes
	# Blocks that end, begin and are in the middle of data, and two holes
	# of different kinds.
	cat >extents <<'END'
0 3000 hole,zero
3000 6000
9000 500 hole,zero
9500 2788
12288 1000 zero
13288 7192 hole,zero
20480 100 hole,zero
20580 100
20680 20280 hole,zero
40960 8192
END
	serve --filter=blocksize-policy --filter=extentlist file holes \
		extentlist=extents blocksize-minimum=4096 \
		blocksize-preferred=4096 blocksize-maximum=65536
	assertEquals 'blocks' '0-12288:true 12288-8192:false 20480-4096:true
24576-16384:false 40960-8192:true' \
		"$(vm-img map -f raw --output=json "$uri" | tr , '\n' |
		sed -n 's/.*"start": //p;s/.*"length": /-/p;s/.*"data": \([a-z]*\).*/:\1 /p' |
		tr -d '\n' | fold -s -w 54 | sed 's/ $//')"
	stop nbdkit
}

# It has the size that it has.
test_export_that_is_too_small() {
	truncate -s 4M small
	serve_qemu -f raw small
	same create -f qcow2 -o preallocation=metadata "$uri" 4M
	same create -f raw "$uri" 8M
	stop qemu-nbd
	truncate -s 8M small
	serve_qemu -f raw small
	same create -f qcow2 -o preallocation=metadata "$uri" 4M
	stop qemu-nbd
	qemu-img check -q -f qcow2 small
	assertEquals 'check' 0 $?
	for uri in "nbd+unix:///?socket=none" nbd+unix:///; do
		same create -f raw "$uri" 4M
		same convert -f raw -O qcow2 src "$uri"
		same dd -f raw -O raw if=src of="$uri"
	done
}

test_size_is_the_servers() {
	serve file src
	same resize -f raw "$uri" 5M
	same resize -f raw --shrink "$uri" 1M
	same resize -f raw "$uri" 4M
	same create -q -f raw "$uri" 5M
	stop nbdkit
}

test_read_only() {
	serve -r file src
	fails 'read-only' vm-img convert -n -f raw -O raw src "$uri"
	silent convert -f raw -O raw "$uri" b.raw
	cmp src b.raw || fail 'read'
	stop nbdkit
}

test_errors() {
	serve --filter=error file src error-pread=EIO error-pread-rate=100%
	fails 'error while reading' vm-img convert -f raw -O raw "$uri" b.raw
	stop nbdkit
	serve --filter=error memory 4M error-pwrite=ENOSPC error-pwrite-rate=100%
	fails 'No space left' vm-img convert -n -f raw -O raw src "$uri"
	stop nbdkit
	fails "Failed to connect to '$dir/sock': Connection refused" vm-img info "$uri"
	port=$(free_port)
	fails "Failed to connect to '127.0.0.1:$port': Connection refused" \
		vm-img info "nbd://127.0.0.1:$port/"
}

# The disk's begin is read more slowly than what follows, and fails later.
# What fails last has no byte to name; the target has a name all the same.
test_last_flush_fails() {
	# shellcheck disable=SC2016 # nbdkit's shell
	serve eval get_size='echo 4194304' pread='head -c $3 /dev/zero' \
		pwrite='cat >/dev/null' can_write='exit 0' \
		can_flush='exit 0' flush='echo EIO broken >&2; exit 1'
	text="Could not finish writing '$uri': Input/output error"
	fails "$text" vm-img convert -n -t none -f raw -O raw src "$uri"
	fails "$text" vm-img bench -q -w -c 1 -t none -f raw "$uri"
	fails "$text" vm-img resize -q -f raw "$uri" 4M
	stop nbdkit
}

test_no_such_export() {
	serve_qemu -f raw -x yes -e 9 src
	same info "nbd+unix:///nosuch?socket=$dir/sock"
	same convert -O raw "nbd:unix:$dir/sock:exportname=nosuch" b.raw
	stop qemu-nbd
}

test_first_of_two_errors() {
	# shellcheck disable=SC2016 # of the script that nbdkit starts
	serve eval thread_model='echo parallel' get_size='echo 4M' \
		pread='[ $4 != 0 ] || sleep 1; echo EIO >&2; exit 1'
	for target in b.raw -; do
		fails 'error while reading at byte 0: Input/output error' \
			vm-img convert -f raw -O raw "$uri" $target
	done
	stop nbdkit
}

# It reads slowly, so that it is still reading when its server is killed.
test_server_dies() {
	serve --filter=delay file src delay-read=300ms
	vm-img convert -f raw -O raw "$uri" b.raw >.out 2>.err &
	client=$!
	wait_until 10 is_connected
	kill9 nbdkit
	wait $client
	assertEquals 'status' 1 $?
	assertEquals "one line: $(cat .err)" 1 "$(wc -l <.err)"
}

# What another server must never be able to do: each is one line, and soon.
test_garbage() {
	for how in greeting garbage handle half; do
		rm -f sock
		start bad "$top/tests/support/nbd_bad.py" "$dir/sock" $how
		wait_socket "$dir/sock"
		case $how in
		# In libnbd's words: "server did not send expected NBD magic",
		# or others if it has hung up by then.
		greeting) text="Failed to connect to '" ;;
		*) text=': Input/output error' ;;
		esac
		fails "$text" vm-img convert -f raw -O raw "$uri" b.raw
		kill9 bad
	done
	rm sock
}

# Memory that no data has come to is not told to whoever reads the copy. One
# worker reads to where the data of before has been.
test_data_left_out() {
	rm -f sock
	start bad "$top/tests/support/nbd_bad.py" "$dir/sock" twice
	wait_socket "$dir/sock"
	silent convert -m 1 -f raw -O raw "$uri" b.raw
	assertEquals 'sent' 3145728 "$(head -c 3145728 b.raw | tr -dc x | wc -c)"
	assertEquals 'left out' 524288 \
		"$(tail -c 1048576 b.raw | tr -d '\0' | wc -c)"
	kill9 bad
	rm sock
}

# The most requests of KIND that were with the server at once.
most() { # KIND
	awk -v kind="$1" '
		$0 ~ " \\.\\.\\." kind { n-- }
		$0 ~ " " kind " " { if (++n > most) most = n }
		END { print most + 0 }' log
}

test_many_requests_in_flight() {
	random big 32M
	rm -f log
	serve --filter=log --filter=delay file big logfile=log \
		delay-read=100ms delay-write=100ms
	silent convert -f raw -O raw "$uri" b.raw
	cmp big b.raw || fail 'read'
	assertTrue "reads: $(most Read)" "[ $(most Read) -ge 8 ]"
	random c.raw 32M
	silent convert -n -f raw -O raw c.raw "$uri"
	cmp big c.raw || fail 'written'
	assertTrue "writes: $(most Write)" "[ $(most Write) -ge 8 ]"
	# One request of a program that has no more threads, in parts.
	rm -f log
	stop nbdkit
	serve --filter=log --filter=delay file big logfile=log delay-read=100ms
	vm-img bench -q -f raw -c 1 -d 1 -s 8M "$uri" >.out 2>&1
	assertTrue "parts: $(most Read)" "[ $(most Read) -ge 8 ]"
	stop nbdkit
}

# A file of 16 MiB: N runs of 64 KiB of data, and holes.
make_runs() { # FILE N
	truncate -s 16M "$1"
	i=0
	while [ $i -lt "$2" ]; do
		dd if=/dev/urandom of="$1" bs=64k count=1 \
			seek=$((i * 256 / $2)) conv=notrunc status=none
		i=$((i + 1))
	done
}

# Not one for each run of clusters, but one for all that wait together.
test_few_writes_of_tables() {
	make_runs runs 64
	rm -f log
	serve --filter=log memory 20M logfile=log
	silent convert -f raw -O qcow2 runs "$uri"
	n=$(grep -c ' Write id=' log)
	assertTrue "$n writes" "[ $n -le 96 ]"
	vm-img compare -q -f raw -F qcow2 runs "$uri" || fail 'compare'
	stop nbdkit
}

# One run's clusters come after the other's, but nobody waits for these to be
# written: the target is what one worker would have made of it.
test_runs_in_flight() {
	make_runs runs 64
	dd if=src of=runs bs=1M seek=8 conv=notrunc status=none
	truncate -s 20M a b
	rm -f log
	serve --filter=log --filter=delay file a logfile=log delay-write=50ms
	silent convert -f raw -O qcow2 runs "$uri"
	assertTrue "writes: $(most Write)" "[ $(most Write) -ge 6 ]"
	stop nbdkit
	serve file b
	silent convert -m 1 -f raw -O qcow2 runs "$uri"
	stop nbdkit
	vm-img compare -q -f raw -F qcow2 runs a || fail 'compare'
	cmp a b || fail 'order'
	# Over what was there, with zeroes to be written in between.
	serve file a
	silent convert -n -f raw -O qcow2 src "$uri"
	silent convert -n -f raw -O qcow2 runs "$uri"
	qemu-img check -q "$uri" || fail 'check'
	vm-img compare -q -f raw -F qcow2 runs "$uri" || fail 'again'
	stop nbdkit
}

# Extents that one answer told of are not asked for again.
test_few_questions() {
	rm -f big log
	truncate -s 16M big
	for i in 1 3 5 7 9 11 13 15; do
		dd if=/dev/urandom of=big bs=1M count=1 seek=$i conv=notrunc \
			status=none
	done
	serve --filter=log file big logfile=log
	assertEquals 'as the export says' \
		"$(qemu-img map -f raw --output=json "$uri" | tr -d '\n')" \
		"$(: >log
		vm-img map -f raw --output=json "$uri" | tr -d '\n')"
	assertTrue "$(cat log)" "[ $(grep -c ' Extents ' log) -le 2 ]"
	stop nbdkit
}

is_connected() {
	ss -xp 2>/dev/null | grep -q "$dir/sock.*ESTAB\|ESTAB.*$dir/sock"
}

test_slow_server() {
	serve --filter=delay file src delay-open=1 delay-read=1ms
	silent convert -f raw -O raw "$uri" b.raw
	cmp src b.raw || fail 'slow'
	stop nbdkit
}

. shunit2
