#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-net with other people's front ends (QEMU, DPDK) and networks (VDE).
# shellcheck disable=SC2154 # dir and pid are set by support/guest.sh
. tests/support/guest.sh

setUp() {
	test_dir
}

tearDown() {
	test_cleanup
}

# Starts the switch on $dir/socket, with options.
start_switch() {
	start switch vm-net -v --socket-path="$dir/socket" \
		--control="$dir/control" "$@"
	wait_socket "$dir/socket" && wait_socket "$dir/control"
}

control() {
	printf '%s\n' "$@" | timeout 60 socat -t 5 - "UNIX:$dir/control" 2>/dev/null
}

# counter PORT NAME: one number out of stats.
counter() {
	control "stats $1" | tr ' ' '\n' | sed -n "s/^$2=//p"
}

# testpmd NAME VDEV...: forwards what it gets between its ports, and begins
# with a burst on each. 8192 buffers fit into memory that is not huge pages.
start_testpmd() {
	name=$1
	shift
	for vdev; do
		shift
		set -- "$@" --vdev "$vdev"
	done
	start "$name" dpdk-testpmd --no-huge -m 256 --no-pci -l 0,1 \
		--no-telemetry --no-shconf --file-prefix="$name$$" "$@" -- \
		--total-num-mbufs=8192 --auto-start --tx-first \
		--stats-period=1 --no-lsc-interrupt --forward-mode=io
}

at_least() {
	[ "0$(counter "$1" "$2")" -ge "$3" ]
}

test_print_capabilities() {
	assertEquals net "$(vm-net --print-capabilities | jq -r .type)"
}

test_usage() {
	vm-net >"$dir/out" 2>&1
	assertEquals 2 $?
	assertContains "$(cat "$dir/out")" 'vm-net: one of --socket-path'
	vm-net --ageing=x --socket-path=/x 2>/dev/null
	assertEquals 2 $?
	vm-net --socket-path=/nowhere/at/all/s 2>"$dir/out"
	assertEquals 1 $?
	assertContains "$(cat "$dir/out")" '/nowhere/at/all/s'
	vm-net --socket-path="$dir/s" --plug=nonsense:// 2>"$dir/out"
	assertEquals 1 $?
	assertContains "$(cat "$dir/out")" '--plug=nonsense://'
	assertFalse 'no socket is left' "[ -e $dir/s ]"
	vm-net --socket-path="$dir/s" stray 2>/dev/null
	assertEquals 2 $?
}

test_every_option_is_in_the_manual() {
	for option in $(vm-net --help | grep -o -e '--[a-z-]*' | sort -u); do
		name=${option#--}
		assertTrue "$option" "mandoc -Tascii man/vm-net.1 | col -b |
			grep -q -e '--$name'"
	done
	assertEquals '' "$(mandoc -Tlint -Wwarning man/vm-net.1)"
}

test_ready_and_end() {
	mkfifo "$dir/ready"
	vm-net --socket-path="$dir/socket" --control="$dir/control" \
		--ready-fd=9 9>"$dir/ready" &
	echo $! >"$dir/switch.pid"
	started=switch
	timeout 20 head -n 1 "$dir/ready" >/dev/null
	assertTrue 'ready after listening' "listens $dir/socket"
	assertEquals ok "$(control ports)"
	stop switch
	assertEquals 'ends cleanly' 0 $?
	assertFalse 'leaves no socket' "[ -e $dir/socket ]"
	assertFalse 'leaves no control' "[ -e $dir/control ]"
}

test_control_errors() {
	start_switch
	assertEquals 'error no port 7' "$(control 'stats 7')"
	assertEquals "error unknown verb 'nonsense'" "$(control nonsense)"
	assertContains "$(control help)" 'fdb: '
}

# Two ports forward to one another through the switch, split and packed
# rings: every frame arrives.
test_testpmd_forwards() {
	start_switch
	start_testpmd pmd "net_virtio_user0,path=$dir/socket" \
		"net_virtio_user1,path=$dir/socket,packed_vq=1"
	wait_until 30 at_least 1 rx_frames 20000
	assertEquals 'frames go both ways' 0 $?
	wait_until 5 at_least 2 rx_frames 20000
	stop pmd INT
	wait_until 10 has_no_ports
	assertEquals 'ports go with their front end' 0 $?
	in=$(sed -n 's/.*RX-packets: *\([0-9]*\).*/\1/p' "$dir/pmd.log" | tail -1)
	out=$(sed -n 's/.*TX-packets: *\([0-9]*\).*/\1/p' "$dir/pmd.log" | tail -1)
	# What is in the rings when it stops is not counted as received.
	assertTrue "all arrived: $out sent, $in received" \
		"[ $in -gt 40000 ] && [ $((out - in)) -le 512 ]"
}

has_no_ports() {
	[ "$(control ports)" = ok ]
}

has_port() {
	control ports | grep -q "^$1 "
}

# A port is numbered when its front end connects, with the lowest number free.
some_port_at_least() {
	at_least 1 "$@" || at_least 2 "$@" || at_least 3 "$@"
}

# The front end listens and we connect; killed with -9 and started again, the
# switch gets its frames.
test_connect_and_kill9() {
	start pmd dpdk-testpmd --no-huge -m 256 --no-pci -l 0,1 \
		--no-telemetry --no-shconf --file-prefix="pmd$$" \
		--vdev "net_virtio_user0,path=$dir/pmd,server=1" -- \
		--total-num-mbufs=8192 --auto-start --stats-period=1 \
		--forward-mode=txonly
	for round in 1 2 3 4; do
		start "switch$round" vm-net -v --connect="$dir/pmd" \
			--control="$dir/control"
		wait_socket "$dir/control"
		wait_until 30 at_least 1 rx_frames 1000
		assertEquals "round $round: frames come" 0 $?
		kill9 "switch$round"
		assertTrue 'killed' $?
	done
	stop pmd INT
}

# Three that cost nobody anything: one says nothing and loses its port for it,
# one talks nonsense, one promises more than a message can hold.
test_hostile_clients() {
	start_switch
	start silent socat "UNIX:$dir/socket" EXEC:'sleep 1000'
	wait_until has_port 1
	assertEquals 'the silent one is port 1' 0 $?
	head -c 4096 /dev/urandom |
		timeout 60 socat -t 0.1 - "UNIX:$dir/socket" >/dev/null 2>&1
	printf '\001\000\000\000\001\000\000\000\377\377\377\377' |
		timeout 60 socat -t 5 - "UNIX:$dir/socket" >/dev/null 2>&1
	for line in 'port 2: connection closed: .' 'port .: .*length|too long'; do
		wait_for "$dir/switch.log" "$line" 5
		assertEquals "says $line" 0 $?
	done
	start_testpmd pmd "net_virtio_user0,path=$dir/socket" \
		"net_virtio_user1,path=$dir/socket"
	wait_until 30 some_port_at_least rx_frames 1000
	assertEquals 'others go on' 0 $?
	stop pmd INT
	wait_for "$dir/switch.log" 'port 1: connection closed: silent' 10
	assertEquals 'the silent one is gone' 0 $?
}

# vde_switch takes commands on its input, and ends with it.
start_vde() {
	[ -e "$dir/vde.in" ] || mkfifo "$dir/vde.in"
	exec 7<>"$dir/vde.in"
	start vde vde_switch --sock "$dir/vde"
	wait_socket "$dir/vde/ctl"
}

# An uplink to a VDE switch, at whose other end is another of ours. When the
# VDE switch is started anew, both come back.
test_vde_uplink() {
	start_vde
	start_switch --plug="vde://$dir/vde"
	start other vm-net --socket-path="$dir/other.socket" \
		--control="$dir/other.control" --plug="vde://$dir/vde"
	wait_socket "$dir/other.control"
	start_testpmd pmd "net_virtio_user0,path=$dir/socket" \
		"net_virtio_user1,path=$dir/other.socket"
	wait_until 30 at_least 1 tx_frames 100
	assertEquals 'out by the uplink' 0 $?
	wait_until 30 at_least 1 rx_frames 100
	assertEquals 'in by the uplink' 0 $?
	kill9 vde
	wait_for "$dir/switch.log" 'connection lost' 10
	assertEquals 'the loss is told' 0 $?
	start_vde
	wait_for "$dir/switch.log" 'connected again' 20
	assertEquals 'plugged in again' 0 $?
	stop pmd INT
	exec 7>&-
}

# Debian's kernel gets an address by DHCP, fetches a file of 4 MiB from a
# server on the host, and sends it back, in large segments that are cut up for
# the uplink. The switch is killed with -9 between fetches.
test_guest_and_kill9() {
	start_switch --plug=slirp://
	mkdir "$dir/www"
	head -c 4194304 /dev/urandom >"$dir/www/file"
	port=$(free_port)
	start web python3 -m http.server --bind 127.0.0.1 \
		--directory "$dir/www" "$port"
	back=$(free_port)
	start sink socat -u "TCP-LISTEN:$back,bind=127.0.0.1" \
		"OPEN:$dir/back,creat"
	initramfs=$(guest_initramfs - --module=af_packet <<-END
		cat >/tmp/set <<'SET'
		#!/bin/sh
		[ "\$1" = bound ] || exit 0
		ip addr add "\$ip/\$mask" dev "\$interface"
		echo "ADDRESS \$ip"
		SET
		chmod +x /tmp/set
		ip link set eth0 up
		udhcpc -i eth0 -n -q -t 10 -T 1 -s /tmp/set || exit 1
		for i in 1 2 3; do
			wget -q -O /file "http://10.0.2.2:$port/file"
			sha256sum </file
			echo "FETCHED \$i"
			[ \$i != 1 ] || nc 10.0.2.2 $back </file
			echo "SENT \$i"
			[ \$i = 3 ] || read -r line
		done
	END
	)
	mkfifo "$dir/guest.in"
	exec 8<>"$dir/guest.in"
	start guest qemu_guest "$initramfs" '' \
		-chardev "socket,id=c,path=$dir/socket,reconnect=1" \
		-netdev vhost-user,id=n,chardev=c \
		-device virtio-net-pci,netdev=n,vectors=0,romfile=
	wait_for "$dir/guest.log" 'ADDRESS 10.0.2.15' 60
	assertEquals 'DHCP' 0 $?
	for i in 1 2; do
		wait_for "$dir/guest.log" "SENT $i" 60
		[ $i != 1 ] || large=$(($(counter 1 tx_frames) - \
			$(counter 2 rx_frames)))
		kill9 switch
		start_switch --plug=slirp://
		wait_until 20 is_up 2
		echo >&8
	done
	status_of guest 90
	assertEquals 'guest ends' 0 $?
	exec 8>&-
	assertEquals 0 "$(guest_status "$dir/guest.log")"
	cmp "$dir/www/file" "$dir/back"
	assertEquals 'sent as it was fetched' 0 $?
	assertTrue "large segments were cut up: $large" "[ $large -gt 1000 ]"
	assertEquals 'three times the same file' 3 "$(grep -c \
		"^$(sha256sum <"$dir/www/file" | cut -c 1-64)" "$dir/guest.log")"
}

is_up() {
	control ports | grep -q "^$1 vhost up"
}

# No path: the program behind -- finds its connection in VM_DEVICES, and the
# switch ends with it.
test_chain() {
	cat >"$dir/program" <<-'END'
		#!/bin/sh
		echo "$VM_DEVICES $$" >"$1"
		ls /proc/self/fd >/dev/null
	END
	chmod +x "$dir/program"
	start chain vm-net --control="$dir/control" --plug=slirp:// -- \
		"$dir/program" "$dir/out"
	status_of chain 20
	assertEquals 0 $?
	assertTrue "device: $(cat "$dir/out")" "file_has '$dir/out' '^net:[0-9]+ $pid\$'"
	wait_gone "$dir/control" 10
	assertEquals 'the switch ends' 0 $?
}

# shellcheck disable=SC1091
. shunit2
