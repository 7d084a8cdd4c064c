#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-cpu's virtio devices with other people's back ends behind them. A guest's
# boot takes 10 seconds in the lab, so a test asks it much at once.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh

setUp() {
	test_dir
	mkfifo "$dir/guest.in"
}

tearDown() {
	test_cleanup
}

# guest OPTION...: starts it with $initramfs; say() types a line.
guest() {
	# Both ends open here, so that neither side waits for the other.
	exec 9<>"$dir/guest.in"
	start guest timeout 180 "$B/bin/vm-cpu" --kernel="$(guest_kernel)" \
		--initrd="$initramfs" --append="$guest_append" \
		--control="$dir/control" "$@"
}

say() {
	echo "$1" >&9
}

control() {
	echo "$1" | socat -t 5 - "UNIX-CONNECT:$dir/control"
}

storage_daemon() {
	rm -f "$dir/blk"
	start storage qemu-storage-daemon \
		--blockdev "driver=file,node-name=f,filename=$dir/disk" \
		--export "type=vhost-user-blk,id=e,node-name=f,addr.type=unix,addr.path=$dir/blk,writable=on,num-queues=2"
	wait_socket "$dir/blk"
}

vm_disk() {
	start disk "$B/bin/vm-disk" --socket-path="$dir/vmdisk" \
		"$dir/disk.qcow2"
	wait_socket "$dir/vmdisk"
}

# What is on the qcow2 image is a clean file system.
assert_clean() {
	qemu-img check -q "$dir/disk.qcow2" >"$dir/check.log" 2>&1
	assertEquals "$(cat "$dir/check.log")" 0 $?
	qemu-img convert -O raw "$dir/disk.qcow2" "$dir/raw"
	e2fsck -fn "$dir/raw" >"$dir/fsck.log" 2>&1
	assertEquals 'file system on qcow2 is clean' 0 $?
}

# throttle NAME PATTERN: threads of NAME called so, which poll, have a tenth of
# a processor: the emulated host has no idle one for them, and the guest that
# they are to serve would have the less.
throttle() {
	[ -d /run/lab ] || return 0
	group=/sys/fs/cgroup/polling
	echo +cpu >/sys/fs/cgroup/cgroup.subtree_control
	mkdir -p $group
	echo threaded >$group/cgroup.type
	echo '5000 50000' >$group/cpu.max
	wait_until 60 puts_in $group "/proc/$(cat "$dir/$1.pid")/task" "$2"
}

puts_in() {
	found=1
	for thread in "$2"/*; do
		grep -q "$3" "$thread/comm" || continue
		echo "${thread##*/}" >"$1/cgroup.threads" && found=0
	done
	return $found
}

# A back end that answers pings, whatever the address.
echoing_network() {
	start net dpdk-testpmd --no-huge --no-shconf -m 256 --no-pci --no-telemetry \
		-l 0,1 --vdev "net_vhost0,iface=$dir/net" -- \
		--total-num-mbufs=8192 --forward-mode=icmpecho \
		--auto-start --stats-period=1
	wait_socket "$dir/net" 60
	throttle net '^\(rte\|lcore\)-worker'
}

# Open vSwitch with DPDK in its own processes and folder: vhost-user port
# $dir/port, and the bridge's own end as a network device of this host.
open_vswitch() {
	pages=$(cat /proc/sys/vm/nr_hugepages)
	echo $((pages + 320)) >/proc/sys/vm/nr_hugepages
	export OVS_RUNDIR="$dir" OVS_LOGDIR="$dir" OVS_DBDIR="$dir"
	ovsdb-tool create "$dir/conf.db" \
		/usr/share/openvswitch/vswitch.ovsschema
	start ovsdb ovsdb-server --remote="punix:$dir/db" \
		--unixctl="$dir/ovsdb.control" "$dir/conf.db"
	wait_socket "$dir/db"
	vsctl --no-wait init -- set Open_vSwitch . \
		other_config:dpdk-init=true \
		'other_config:dpdk-extra=-m 256 --no-pci --no-telemetry'
	start ovs /usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk \
		--unixctl="$dir/ovs.control" "unix:$dir/db"
	vsctl add-br pv-br -- set bridge pv-br datapath_type=netdev -- \
		add-port pv-br port -- \
		set Interface port type=dpdkvhostuser
	wait_socket "$dir/port" 60
	throttle ovs '^pmd-'
	ip address add 192.0.2.1/24 dev pv-br
	ip link set pv-br up
}

vsctl() {
	ovs-vsctl --db="unix:$dir/db" -t 60 "$@"
}

shared_folder() {
	mkdir -p "$dir/shared"
	echo 'from the host' >"$dir/shared/note"
	start fs /usr/lib/qemu/virtiofsd --socket-path="$dir/fs" \
		-o "source=$dir/shared" -o sandbox=chroot
	wait_socket "$dir/fs"
}

test_others_back_ends() {
	truncate -s 64M "$dir/disk"
	storage_daemon
	shared_folder
	echoing_network
	qemu-img create -q -f qcow2 "$dir/disk.qcow2" 256M
	vm_disk
	initramfs=$(guest_initramfs - --program=/sbin/mke2fs <<-'END'
		set -e
		/sbin/mke2fs -q -t ext4 /dev/vda
		mount -t ext4 /dev/vda /mnt
		dd if=/dev/urandom of=/mnt/data bs=64k count=100 2>/dev/null
		sha256sum /mnt/data >/mnt/sum
		umount /mnt
		mount -t ext4 /dev/vda /mnt
		sha256sum -c /mnt/sum && echo disk good
		umount /mnt
		/sbin/mke2fs -q -t ext4 /dev/vdb
		mount -t ext4 /dev/vdb /mnt
		dd if=/dev/urandom of=/mnt/data bs=64k count=100 2>/dev/null
		sha256sum /mnt/data >/mnt/sum
		umount /mnt
		mkdir /shared
		mount -t virtiofs vm-share /shared
		echo "shared: $(cat /shared/note)"
		echo 'from the guest' >/shared/answer
		dd if=/dev/urandom of=/shared/data bs=64k count=16 2>/dev/null
		sha256sum </shared/data >/shared/sum
		umount /shared
		echo "mac $(cat /sys/class/net/eth0/address)"
		ip addr add 192.0.2.1/24 dev eth0
		ip link set eth0 up
		ping -c 5 -s 1000 192.0.2.2 && echo network good
		grep virtio /proc/interrupts
	END
	)
	guest --cpus=2 --blk="$dir/blk" --fs="$dir/fs,tag=vm-share" \
		--net="$dir/net,mac=52:54:00:01:02:03" --blk="$dir/vmdisk"
	wait_for "$dir/guest.log" 'disk good' 90
	control devices >"$dir/devices"
	status_of guest 90
	assertEquals 'powers off' 0 $?
	assertEquals 0 "$(guest_status "$dir/guest.log")"
	assertTrue 'disk' "file_has '$dir/guest.log' 'disk good'"
	assertTrue 'folder' \
		"file_has '$dir/guest.log' 'shared: from the host'"
	assertEquals 'from the guest' "$(cat "$dir/shared/answer")"
	assertEquals "$(cat "$dir/shared/sum")" \
		"$(sha256sum <"$dir/shared/data")"
	assertTrue 'mac' "file_has '$dir/guest.log' 'mac 52:54:00:01:02:03'"
	assertTrue 'network' "file_has '$dir/guest.log' 'network good'"
	assertEquals 'devices listed' "00:01.0 blk0 id 2 connected running queues 2 $dir/blk
00:02.0 fs0 id 26 connected running queues 2 $dir/fs
00:03.0 net0 id 1 connected running queues 2 $dir/net
00:04.0 blk1 id 2 connected running queues 2 $dir/vmdisk
ok" "$(cat "$dir/devices")"
	e2fsck -fn "$dir/disk" >"$dir/fsck.log" 2>&1
	assertEquals 'file system is clean' 0 $?
	stop disk
	assert_clean
	assertTrue 'interrupts by MSI-X' \
		"file_has '$dir/guest.log' 'PCI-MSI.*virtio.*req.1'"
}

# It has no config space to offer: vm-cpu makes one.
test_open_vswitch() {
	open_vswitch
	initramfs=$(guest_initramfs - <<-'END'
		echo "mac $(cat /sys/class/net/eth0/address)"
		ip addr add 192.0.2.2/24 dev eth0
		ip link set eth0 up
		until ping -c 1 -W 1 192.0.2.1; do :; done
		ping -c 5 -s 1400 192.0.2.1
	END
	)
	guest --net="$dir/port,mac=52:54:00:01:02:04"
	status_of guest 120
	assertEquals 'powers off' 0 $?
	assertEquals 0 "$(guest_status "$dir/guest.log")"
	assertTrue 'mac' "file_has '$dir/guest.log' 'mac 52:54:00:01:02:04'"
	assertTrue "file_has '$dir/guest.log' '5 packets received'"
	ovs-appctl -t "$dir/ovs.control" fdb/show pv-br >"$dir/fdb"
	assertTrue "$(cat "$dir/fdb")" \
		"file_has '$dir/fdb' '52:54:00:01:02:04'"
	ovs-appctl -t "$dir/ovs.control" exit --cleanup
	status_of ovs
	stop ovsdb
	echo "$pages" >/proc/sys/vm/nr_hugepages
}

# A guest that resets finds its devices as new, with the back ends of before.
test_devices_survive_a_reset() {
	truncate -s 16M "$dir/disk"
	storage_daemon
	initramfs=$(guest_initramfs - <<-'END'
		if [ "$(dd if=/dev/vda bs=4 count=1 2>/dev/null)" = once ]; then
			echo second boot
			exit 0
		fi
		printf once | dd of=/dev/vda bs=4096 conv=sync,fsync 2>/dev/null
		(while :; do cat /dev/vda; done) >/dev/null &
		sleep 1
		reboot -f
		sleep 100
	END
	)
	guest --reboot --blk="$dir/blk"
	status_of guest 120
	assertEquals 'powers off' 0 $?
	assertTrue 'booted twice' "file_has '$dir/guest.log' 'second boot'"
}

mmio_exits() {
	cat /sys/kernel/debug/kvm/*/mmio_exits
}

test_no_exit_for_a_request() {
	truncate -s 64M "$dir/disk"
	storage_daemon
	[ -d /sys/kernel/debug/kvm ] || mount -t debugfs debug /sys/kernel/debug
	initramfs=$(guest_initramfs - <<-'END'
		dd if=/dev/vda of=/dev/null bs=4k iflag=direct count=10 2>/dev/null
		echo 'be ready'
		read -r line
		dd if=/dev/vda of=/dev/null bs=4k iflag=direct count=2000
		echo 'have read'
		read -r line
		exit 0
	END
	)
	guest --blk="$dir/blk"
	wait_for "$dir/guest.log" '^be ready' 60
	before=$(mmio_exits)
	say go
	wait_for "$dir/guest.log" '^have read' 60
	after=$(mmio_exits)
	say end
	status_of guest
	assertEquals 'powers off' 0 $?
	assertTrue 'counted at all' "[ $before -gt 0 ]"
	assertEquals 'exits for 2000 requests' 0 $((after - before))
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
