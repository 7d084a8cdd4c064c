#!/bin/sh
# SPDX-License-Identifier: ISC
# What is no plain file, devices and exports, by QEMU's names for them: options
# of new ones, and what is refused. Held against qemu-img.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	mkdir theirs ours
	for side in theirs ours; do
		truncate -s 1M $side/r
		: >$side/empty
	done
}

tearDown() {
	img_cleanup
}

serve() { # SIZE
	rm -f disk sock
	truncate -s "$1" disk
	start server qemu-nbd -t -f raw -k "$dir/sock" disk
	wait_socket "$dir/sock" || fail "$(cat "$dir/server.log")"
	uri="nbd+unix://?socket=$dir/sock"
}

# Nobody answers at these addresses.
test_help_of_options() {
	compare_lines <<-'EOF'
		for f in file nbd host_device raw qcow2; do qemu-img create -f $f -o help; qemu-img convert -O $f -o help; done
		for f in file nbd raw qcow2; do for n in x /dev/null file:x file:/dev/null nbd://localhost/x nbd:localhost:10809 nbd+unix:///?socket=x null-co:// blkdebug::x foo:x json:{}; do qemu-img create -f $f -o help $n; qemu-img convert -O $f -o help r $n; done; done
		for f in file nbd host_device throttle; do qemu-img amend -f $f -o help; done
		qemu-img amend -o help -f nbd r
		qemu-img measure -O nbd r
	EOF
}

test_new_ones() {
	compare_lines <<-'EOF'
		for f in nbd host_device; do for n in x r /dev/null foo:x; do qemu-img create -f $f $n 1M; qemu-img convert -O $f r $n; qemu-img dd -O $f if=r of=$n; done; done
		qemu-img convert -n -O host_device r empty
		for o in nocow=on extent_size_hint=1M preallocation=off preallocation=full preallocation=metadata preallocation=foo; do for f in raw host_device; do qemu-img create -f $f -o $o /dev/null 0; done; done
		for o in off falloc full metadata; do qemu-img create -f file -o preallocation=$o x.$o 1M; [ $o = metadata ] || du x.$o; done; rm -f x.metadata
		qemu-img create -f host_device -b r -F raw /dev/null 0
		qemu-img create -f qcow2 -b /dev/null -F host_device over
		qemu-img info over | grep -v '^disk'
		ls
	EOF
}

# A FIFO would have qemu-img wait.
test_names_of_devices() {
	mkdir theirs/folder ours/folder
	compare_lines <<-'EOF'
		for d in host_device host_cdrom; do for f in r none /dev/zero folder; do qemu-img info --image-opts driver=$d,filename=$f; qemu-img info --image-opts driver=raw,file.driver=$d,file.filename=$f; qemu-img info $d:$f; qemu-img info -U -f raw $d:$f; done; done
		for d in host_device host_cdrom; do for f in r none /dev/null; do qemu-img info -f $d $f; qemu-img info --output=json -f host_device $f; qemu-img info --output=json host_device:$f; done; done
		for d in host_device host_cdrom; do qemu-img info $d:; qemu-img info --image-opts driver=$d; qemu-img info --image-opts driver=$d,filename=/dev/zero,foo=1; qemu-img create -f $d -o help; qemu-img create -f raw -o help $d:x; done
		for n in x r; do qemu-img create -f raw host_device:$n 1M; qemu-img create -f qcow2 host_cdrom:$n 1M; qemu-img convert -O raw r host_device:$n; qemu-img create -f host_cdrom $n 1M; done
		qemu-img create -f raw host_device:/dev/null 1M
		qemu-img create -f raw host_device:/dev/null 0
		qemu-img convert -n -O raw host_device:r x
		qemu-img convert -f raw -O raw file:r file:y
		qemu-img info file:/dev/zero
		qemu-img convert -O raw file:/dev/null x
		qemu-img map -f raw host_device:/dev/zero
		qemu-img compare host_device:/dev/null empty
		qemu-img dd if=host_device:/dev/null of=z
		ls
	EOF
}

test_exports() {
	serve 1M
	for option in preallocation=off preallocation=full preallocation=foo \
		nocow=on; do
		same create -f raw -o $option "$uri" 1M
		same create -f nbd -o $option "$uri" 1M
	done
	same create -f nbd "$uri" 2M
	random r 1M
	same convert -f raw -O nbd r "$uri"
	assertTrue 'cmp r disk'
	# What was there does not show through.
	truncate -s 1M zero
	same convert -f raw -O nbd zero "$uri"
	assertTrue 'cmp zero disk'
	stop server
	return 0
}

# As far as there is room; nobody can put an extent beside it.
test_vmdk_in_an_export() {
	serve 2M
	same create -f vmdk "$uri" 512k
	same info -f vmdk "$uri"
	assertEquals 'qemu-img compare' 'Images are identical.' \
		"$(truncate -s 512k zero && qemu-img compare -f raw -F vmdk \
			zero "$uri")"
	same create -f vmdk -o subformat=monolithicFlat "$uri" 512k
	stop server
	return 0
}

# They have an end, which may be their begin.
test_character_devices() {
	compare_lines <<-'EOF'
		for n in /dev/null /dev/zero /dev/full; do qemu-img info $n; qemu-img info -f raw --output=json $n; done
		for f in host_device file qcow2; do qemu-img info -f $f /dev/null; done
		qemu-img info -f host_device r
		qemu-img map --output=json /dev/null
		qemu-img check /dev/null
		qemu-img compare empty /dev/null
		qemu-img compare -f raw -F raw r /dev/null
		qemu-img convert /dev/null x; ls
		qemu-img convert -n -f raw r /dev/null
		qemu-img convert -f raw r /dev/null
		qemu-img create -f raw /dev/null 1M
		qemu-img create -f raw /dev/null 0
		qemu-img resize -f raw /dev/null 1M
		qemu-img dd if=r of=/dev/null
	EOF
}

# Who has a stranger's image looked at gets no device opened by it: some do
# things when they are.
test_character_device_that_an_image_names() {
	qemu-img create -q -u -f qcow2 -b /dev/zero -F raw a 1M
	refused "Could not open 'a': Could not open backing file: 'file' driver requires '/dev/zero' to be a regular file" \
		map a
}

# The driver under a format is one for what is there.
test_drivers_by_name() {
	compare_lines <<-'EOF'
		for d in file host_device; do for n in r /dev/null x; do qemu-img info --image-opts driver=$d,filename=$n; qemu-img info --image-opts driver=raw,file.driver=$d,file.filename=$n; done; done
		qemu-img info --image-opts driver=raw,file.filename=/dev/null
		qemu-img info 'json:{"driver": "raw", "file": {"driver": "host_device", "filename": "r"}}'
	EOF
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
