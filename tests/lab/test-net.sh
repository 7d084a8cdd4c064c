#!/bin/sh
# SPDX-License-Identifier: ISC
# Guests of vm-cpu on vm-net: with Debian's kernel, on KVM.
# shellcheck disable=SC2154,SC2016 # dir is set there; guests expand theirs
. tests/support/guest.sh

setUp() {
	test_dir
}

tearDown() {
	test_cleanup
}

start_switch() {
	start switch vm-net -v --socket-path="$dir/net" \
		--control="$dir/control" "$@"
	wait_socket "$dir/net" && wait_socket "$dir/control"
}

# boot NAME INITRAMFS MAC
boot() {
	start "$1" vm-cpu --kernel="$(guest_kernel --vmlinux)" --initrd="$2" \
		--append="$guest_append" --memory=160M \
		--net="$dir/net,mac=$3"
}

# What both guests of a pair do first; $1 is the last byte of the address.
prologue() {
	cat <<-END
		ip addr add 10.9.0.$1/24 dev eth0
		ip link set eth0 up
	END
}

control() {
	echo "$1" | timeout 10 socat -t 5 - "UNIX:$dir/control" 2>/dev/null
}

ports_are_up() {
	[ "$(control ports | grep -c '^[0-9]* vhost up')" = "$1" ]
}

# One serves a file, and says so on the serial port.
start_server() {
	{
		prologue 2
		echo 'mkdir /www; dd if=/dev/urandom of=/www/f bs=1M count=8'
		echo 'httpd -p 80 -h /www'
		echo 'echo "SUM $(sha256sum </www/f)"'
		echo 'sleep 1000'
	} >"$dir/server.script" 2>/dev/null
	boot server "$(guest_initramfs "$dir/server.script")" \
		52:54:00:00:00:02
}

sum_of() {
	sed -n "s/.*$2 \([0-9a-f]\{64\}\).*/\1/p" "$dir/$1.log" | tail -n 1
}

# Two guests reach one another; the switch knows who is where.
test_two_guests() {
	start_switch
	start_server
	{
		prologue 1
		echo 'until ping -c 1 -W 1 10.9.0.2; do sleep 1; done >/dev/null'
		echo 'ping -c 5 -i 0.2 10.9.0.2'
		echo 'wget -q -O /f http://10.9.0.2/f && echo "GOT $(sha256sum </f)"'
		echo 'read -r line'
	} >"$dir/client.script"
	mkfifo "$dir/client.in"
	exec 8<>"$dir/client.in"
	boot client "$(guest_initramfs "$dir/client.script")" \
		52:54:00:00:00:01
	wait_for "$dir/server.log" 'SUM ' 120
	wait_for "$dir/client.log" '5 packets received' 120
	assertEquals 'pings arrive' 0 $?
	wait_for "$dir/client.log" 'GOT ' 120
	assertEquals 'the file is the same' "$(sum_of server SUM)" \
		"$(sum_of client GOT)"
	assertContains "$(control fdb)" '52:54:00:00:00:02 1 '
	assertContains "$(control fdb)" '52:54:00:00:00:01 2 '
	echo >&8
	status_of client 60
	assertEquals 'client powers off' 0 $?
	exec 8>&-
	kill9 server
}

# An address by DHCP, and TCP to a server on the host.
test_dhcp_and_host() {
	start_switch --plug=slirp://
	mkdir "$dir/www"
	head -c 2097152 /dev/urandom >"$dir/www/file"
	port=$(free_port)
	start web python3 -m http.server --bind 127.0.0.1 \
		--directory "$dir/www" "$port"
	cat >"$dir/script" <<-END
		cat >/tmp/set <<'SET'
		#!/bin/sh
		[ "\$1" = bound ] || exit 0
		ip addr add "\$ip/\$mask" dev "\$interface"
		echo "ADDRESS \$ip"
		SET
		chmod +x /tmp/set
		ip link set eth0 up
		udhcpc -i eth0 -n -q -t 10 -T 2 -s /tmp/set
		wget -q -O /f http://10.0.2.2:$port/file
		echo "GOT \$(sha256sum </f)"
	END
	boot guest "$(guest_initramfs "$dir/script" --module=af_packet)" \
		52:54:00:00:00:01
	status_of guest 120
	assertEquals 'powers off' 0 $?
	assertTrue 'address' "file_has '$dir/guest.log' 'ADDRESS 10.0.2.15'"
	assertEquals "$(sha256sum <"$dir/www/file" | cut -c 1-64)" \
		"$(sum_of guest GOT)"
}

# The switch dies three times while one guest pings another, and three times
# during a transfer: neither guest notices more than a pause.
test_kill9() {
	start_switch
	start_server
	{
		prologue 1
		echo 'until ping -c 1 -W 1 10.9.0.2; do sleep 1; done >/dev/null'
		echo 'echo PINGING; ping -c 60 -i 0.2 10.9.0.2; echo PINGED'
		echo 'for i in 1 2 3 4 5 6; do wget -q -O /f http://10.9.0.2/f'
		echo 'sha256sum </f >>/sums; done'
		echo 'echo "GOT" $(sort -u /sums); dmesg | grep -i virtio'
	} >"$dir/client.script"
	boot client "$(guest_initramfs "$dir/client.script")" \
		52:54:00:00:00:01
	wait_for "$dir/client.log" PINGING 120
	for word in PINGING PINGING PINGING PINGED PINGED PINGED; do
		wait_for "$dir/client.log" $word 60
		kill9 switch
		start_switch
		wait_until 30 ports_are_up 2
		assertEquals "both are back ($word)" 0 $?
	done
	wait_for "$dir/client.log" 'GOT [0-9a-f]{64} -.?$' 120
	assertEquals 'the transfer ends' 0 $?
	assertEquals 'six times the same file' "$(sum_of server SUM)" \
		"$(sum_of client GOT)"
	lost=$(sed -n 's/.* \([0-9]*\)% packet loss.*/\1/p' "$dir/client.log")
	assertTrue "pings lost: $lost %" "[ ${lost:-100} -le 50 ]"
	assertNotContains 'no word of it' "$(cat "$dir/client.log")" 'virtio_net'
	status_of client 60
	assertEquals 'client powers off' 0 $?
	kill9 server
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
