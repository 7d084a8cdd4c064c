#!/bin/sh
# SPDX-License-Identifier: ISC
# What options and json: names say of the images under one: passwords, and
# other files in their places. All as qemu-img.
# shellcheck disable=SC2154 # dir is set by test_dir
# shellcheck disable=SC2317 # before() is called by same()
. tests/support/guest.sh
. tests/support/img.sh

zero=secret,id=s0,data=zero
one=secret,id=s1,data=one

# over.qcow2 and overl.qcow2, a raw one's, are over encrypted images, top.qcow2
# over the first one of them; over.qcow2 of folder e is encrypted itself.
setUp() {
	img_dir
	img create -q -f qcow2 --object $one -o \
		encrypt.format=luks,encrypt.key-secret=s1,encrypt.iter-time=10 \
		base.qcow2 1M
	img create -q -f luks --object $one -o key-secret=s1,iter-time=10 \
		base.luks 1M
	qemu-io --object $one -c 'write -P 7 0 128k' --image-opts \
		driver=qcow2,file.filename=base.qcow2,encrypt.key-secret=s1 >.io
	qemu-io --object $one -c 'write -P 7 0 128k' --image-opts \
		driver=luks,file.filename=base.luks,key-secret=s1 >.io
	qemu-img create -q -u -f qcow2 -b base.qcow2 -F qcow2 over.qcow2 1M
	qemu-img create -q -u -f qcow2 -b base.luks -F luks overl.qcow2 1M
	qemu-img create -q -u -f qcow2 -b over.qcow2 -F qcow2 top.qcow2 1M
	img create -q -u -f qcow2 -b base.qcow2 -F qcow2 --object $zero -o \
		encrypt.format=luks,encrypt.key-secret=s0,encrypt.iter-time=10 \
		overe.qcow2 1M
	qemu-img create -q -f qcow2 lone.qcow2 1M
	truncate -s 1M plain.raw
	mkdir kept
	cp ./*.qcow2 kept
}

tearDown() {
	before() {
		:
	}
	img_cleanup
}

# VERB IMAGE WHAT...: with what is said of images under it.
with() {
	verb=$1
	options=driver=qcow2,file.filename=$2,$3
	shift 3
	# shellcheck disable=SC2086 # words
	same $verb --object $zero --object $one --image-opts "$options" "$@"
}

test_passwords() {
	map='map --output=json'
	with "$map" over.qcow2 backing.encrypt.key-secret=s1
	with "$map" over.qcow2 backing.encrypt.key-secret=s0
	with "$map" over.qcow2 backing.encrypt.key-secret=neither
	with "$map" over.qcow2 cache.direct=off
	with "$map" overl.qcow2 backing.key-secret=s1
	with "$map" overl.qcow2 backing.driver=luks,backing.key-secret=s1
	with "$map" overl.qcow2 backing.driver=luks,backing.key-secret=s0
	with "$map" top.qcow2 backing.backing.encrypt.key-secret=s1
	with "$map" top.qcow2 backing.backing.encrypt.key-secret=s0
	with "$map" top.qcow2 backing.encrypt.key-secret=s1
	with "$map" overe.qcow2 encrypt.key-secret=s0
	with "$map" overe.qcow2 backing.encrypt.key-secret=s1
	with "$map" overe.qcow2 \
		encrypt.key-secret=s0,backing.encrypt.key-secret=s1
	same convert over.qcow2 o.raw
}

test_other_files() {
	with map over.qcow2 backing.driver=raw
	with map over.qcow2 backing.driver=neither
	with map over.qcow2 backing.file.filename=plain.raw
	with map over.qcow2 backing.driver=raw,backing.file.filename=plain.raw
	with map over.qcow2 backing.driver=raw,backing.file.filename=neither
	with map over.qcow2 backing=neither
	with map over.qcow2 backing=
	with map top.qcow2 backing.backing.driver=raw
	with map lone.qcow2 backing.driver=raw,backing.file.filename=plain.raw
	with map lone.qcow2 backing.driver=raw
	same map --image-opts driver=raw,file.filename=plain.raw,backing.driver=raw,backing.file.filename=plain.raw
	with info over.qcow2 backing=
	with info over.qcow2 backing.encrypt.key-secret=s1
	with 'info --backing-chain' over.qcow2 backing.encrypt.key-secret=s1
	loop=driver=qcow2,file.filename=over.qcow2,backing.file.filename=over.qcow2
	refused "Could not open '$loop': Backing file 'over.qcow2' creates an infinite loop." \
		map --image-opts "$loop"
}

test_json() {
	for backing in null '{"encrypt":{"key-secret":"s1"}}' \
		'{"driver":"raw","file":{"driver":"file","filename":"plain.raw"}}'; do
		same map --object $one "json:{\"driver\":\"qcow2\",\
\"file\":{\"driver\":\"file\",\"filename\":\"over.qcow2\"},\
\"backing\":$backing}"
	done
	same map --output=json --object $one 'json:{"driver":"qcow2",
		"file.filename":"overl.qcow2", "backing.key-secret":"s1"}'
}

test_verbs() {
	with check over.qcow2 backing.encrypt.key-secret=s1
	with check over.qcow2 backing.encrypt.key-secret=s0
	with 'measure -O qcow2' over.qcow2 backing.encrypt.key-secret=s1
	with compare over.qcow2 backing.encrypt.key-secret=s1 \
		driver=qcow2,file.filename=overl.qcow2,backing.key-secret=s1
	with 'convert -O raw' overe.qcow2 \
		encrypt.key-secret=s0,backing.encrypt.key-secret=s1 o.raw
	assertTrue 'its content' 'qemu-img compare -q --image-opts \
		--object secret,id=s1,data=one driver=raw,file.filename=o.raw \
		driver=qcow2,file.filename=base.qcow2,encrypt.key-secret=s1'
	same dd --object $one --image-opts bs=64k of=o.raw \
		if=driver=qcow2,file.filename=over.qcow2,backing.encrypt.key-secret=s1
}

test_verbs_that_write() {
	before() {
		cp kept/* .
		qemu-io -c 'write -P 9 64k 64k' --image-opts \
			driver=qcow2,file.filename=over.qcow2,backing= \
			>.io 2>&1
	}
	with commit over.qcow2 backing.encrypt.key-secret=s1
	assertTrue 'committed' "[ -s .io ] && qemu-io --object $one -c \
		'read -P 9 64k 64k' -c 'read -P 7 0 64k' --image-opts \
		driver=qcow2,file.filename=base.qcow2,encrypt.key-secret=s1 |
		grep -c Pattern | grep -qx 0"
	with commit over.qcow2 backing.encrypt.key-secret=s0
	with commit over.qcow2 cache.direct=off
	same commit lone.qcow2
	with 'commit -d' top.qcow2 backing.backing.encrypt.key-secret=s1
	with resize over.qcow2 backing.encrypt.key-secret=s1 2M
	with 'rebase -b ' over.qcow2 backing.encrypt.key-secret=s1
	same rebase --object $one -F qcow2 -b \
		'json:{"driver":"qcow2","file.filename":"base.qcow2","encrypt.key-secret":"s1"}' \
		lone.qcow2
	same info lone.qcow2
}

# A name that leads to the image itself, through others, ends all the same.
test_loops_by_names() {
	for name in '"driver":"qcow2","file":{"filename":"n.qcow2"}' \
		'"driver":"raw","file":{"driver":"qcow2","file":{"driver":"file","filename":"n.qcow2"}}' \
		'"driver":"raw","file":{"driver":"quorum","vote-threshold":1,"children":[{"driver":"qcow2","file":{"driver":"file","filename":"n.qcow2"}}]}' \
		'"driver":"qcow2","file":{"driver":"blkdebug","image":{"driver":"file","filename":"n.qcow2"}}'; do
		driver=${name#*:?} driver=${driver%%?,*}
		qemu-img create -q -u -f qcow2 -F "$driver" -b "json:{$name}" \
			n.qcow2 1M
		for verb in map 'convert -O raw' 'commit' 'rebase -b ""' \
			'info --backing-chain'; do
			to=o.raw
			[ "$verb" = 'convert -O raw' ] || to=
			for allowed in --allow-protocols ''; do
				said=$(eval "img $verb $allowed n.qcow2 $to" 2>&1)
				assertEquals "$verb $name: $said" 1 $?
			done
		done
	done
}

# The name is stored as it is.
test_create_over_json() {
	name='json:{"driver":"raw","file":{"driver":"file","filename":"plain.raw"}}'
	same create -f qcow2 -b "$name" -F raw n.qcow2
	same info n.qcow2
	same info --output=json n.qcow2
	same map n.qcow2
	with map n.qcow2 backing.file.filename=plain.raw
	qemu-img map n.qcow2 >theirs
	assertEquals 'allowed' "$(cat theirs)" \
		"$(img map --allow-protocols n.qcow2)"
	qemu-img create -q -f qcow2 -b n.qcow2 -F qcow2 m.qcow2
	qemu-io -c 'write -P 9 0 64k' m.qcow2 >out
	qemu-img convert -O raw m.qcow2 theirs
	for verb in 'commit -q' 'rebase -q -b ""'; do
		cp m.qcow2 o.qcow2
		eval "img $verb --allow-protocols o.qcow2"
		assertEquals "$verb" 0 $?
		qemu-img compare -q -F raw o.qcow2 theirs || fail "$verb"
	done
	same create -f qcow2 -b "$name" -F qcow2 n.qcow2
	same create -f qcow2 -b 'json:{"file.filename":"plain.raw"}' -F raw n.qcow2
	same create -f qcow2 -b 'json:{"driver":"raw","file.filename":"neither"}' \
		-F raw n.qcow2
	same create -f qcow2 -u -b 'json:{bad' -F raw n.qcow2 1M
	same create -f qcow2 -b file:plain.raw -F raw n.qcow2
	same create -f qcow2 -b foo:plain.raw -F raw n.qcow2
	same create -f qcow2 --object $one -F qcow2 -b \
		'json:{"driver":"qcow2","file.filename":"base.qcow2","encrypt.key-secret":"s1"}' \
		n.qcow2
}

# What is no more than a path, in other words, is followed as one.
test_json_names_of_files() {
	qemu-img create -q -f qcow2 b.qcow2 1M
	qemu-io -c 'write -P 7 0 64k' b.qcow2 >.io
	mkdir sub
	while read -r format name; do
		qemu-img create -q -u -f qcow2 -F "$format" -b "json:{$name}" \
			sub/n.qcow2 64k
		qemu-io -c 'write -P 9 0 4k' --image-opts \
			driver=qcow2,file.filename=sub/n.qcow2,backing= >.io 2>&1
		cp b.qcow2 sub/n.qcow2 kept
		before() {
			cp kept/b.qcow2 .
			cp kept/n.qcow2 sub
		}
		same info --output=json --backing-chain sub/n.qcow2
		same map --output=json sub/n.qcow2
		same commit sub/n.qcow2
	done <<-'EOF'
		qcow2 "driver":"qcow2","file":{"driver":"file","filename":"b.qcow2"}
		qcow2 "file.filename":"b.qcow2"
		qcow2 "driver":"qcow2","read-only":true,"file":{"filename":"b.qcow2"}
		qcow2 "driver":"qcow2","backing":null,"file":{"driver":"file","filename":"./b.qcow2"}
		qcow2 "driver":"qcow2","file":{"driver":"host_device","filename":"b.qcow2"}
		qcow2 "driver":"qcow2","file":{"driver":"file","filename":"none"}
		qcow2 "driver":"qcow2","file":{"driver":"blkdebug","inject-error":[{"event":"write_aio","errno":28,"once":true}],"image":{"driver":"file","filename":"b.qcow2"}}
		raw "driver":"raw","offset":4096,"size":65536,"file":{"driver":"file","filename":"b.qcow2"}
		raw "driver":"raw"
	EOF
	qemu-img create -q -f qcow2 -b "$dir/b.qcow2" -F qcow2 mid.qcow2
	qemu-img create -q -f qcow2 -F qcow2 -b 'json:{"driver":"qcow2","file":{"driver":"file","filename":"mid.qcow2"}}' top.qcow2
	before() {
		rm -f n.*
	}
	same info top.qcow2
	same info --backing-chain top.qcow2
	same compare top.qcow2 b.qcow2
	same convert -O raw top.qcow2 n.raw
	same commit -b "$dir/b.qcow2" top.qcow2
	same rebase -b '' top.qcow2
	img convert -O qcow2 -B mid.qcow2 -F qcow2 top.qcow2 n.qcow2
	assertEquals 'convert -B' 0 $?
}

# All else is for who says so. Nothing of it is opened, not even to be read.
test_json_names_of_more() {
	touch rules
	file='"driver":"file","filename":"plain.raw"'
	while read -r name; do
		name="json:{$name}"
		qemu-img create -q -u -f qcow2 -F raw -b "$name" n.qcow2 1M
		why="Backing file name '$name' is not a plain path"
		assertEquals "vm-img: Could not open 'n.qcow2': Could not open \
backing file: $why" "$(strace -f -o trace -e trace=%file,connect \
			vm-img map n.qcow2 2>&1 | head -n 1)"
		assertEquals "$name" '' "$(grep -e '"plain.raw"' -e '"rules"' \
			-e connect trace)"
	done <<-EOF
		bad
		"driver":"nbd","host":"127.0.0.1","port":"1"
		"driver":"raw","file":{"driver":"nbd","path":"plain.raw"}
		"driver":"raw","file":{"filename":"nbd://127.0.0.1/"}
		"driver":"raw","file":{"filename":"json:{}"}
		"driver":"raw","file":{"filename":"null-co://"}
		"driver":"null-co"
		"driver":"file","filename":"plain.raw"
		"driver":"raw","file":{$file,"locking":"off"}
		"driver":"raw","force-share":true,"file":{$file}
		"driver":"raw","file":"plain.raw"
		"driver":"raw","file":{"driver":"qcow2","file":{$file}}
		"driver":"raw","file":{"driver":"blkdebug","config":"rules","image":{$file}}
		"driver":"raw","file":{"driver":"blkdebug","align":1073741824,"image":{$file}}
		"driver":"raw","file":{"driver":"throttle","throttle-group":"t","file":{$file}}
		"driver":"raw","file":{"driver":"blklogwrites","file":{$file},"log":{$file}}
		"driver":"quorum","vote-threshold":1,"children":[{$file}]
		"driver":"luks","key-secret":"s1","file":{$file}
		"driver":"luks","file":{$file},"header":{$file}
		"driver":"qcow2","file":{$file},"data-file":{$file}
		"driver":"qcow2","file":{$file},"backing":{"driver":"raw","file":{$file}}
		"driver":"qcow2","file":{$file},"backing":"plain.raw"
	EOF
	name=${why#*"'"} name=${name%"'"*}
	refused "Could not open '$name': $why" info --backing-chain n.qcow2
	why="Could not open 'n.qcow2': Could not open backing file: $why"
	refused "$why" commit n.qcow2
	refused "$why" rebase -b '' n.qcow2
}

# A character device is none of the files that an image may name.
test_json_name_of_a_character_device() {
	qemu-img create -q -u -f qcow2 -F raw -b \
		'json:{"driver":"raw","file":{"driver":"host_device","filename":"/dev/zero"}}' \
		n.qcow2 1M
	for verb in map 'info --backing-chain' commit; do
		# shellcheck disable=SC2086 # words
		assertContains "$verb" "$(vm-img $verb n.qcow2 2>&1)" \
			"requires '/dev/zero' to be a regular file"
	done
}

# Inside its descriptor a VMDK disk says which state of its parent it is over,
# so that is read when it is made, whatever the name.
test_json_name_of_a_vmdk_parent() {
	qemu-img create -q -f vmdk b.vmdk 1M
	qemu-img create -q -f raw b.raw 1M
	qemu-io -f vmdk -c 'write -P 5 64k 64k' b.vmdk >.io
	mkdir -p sub
	cp b.vmdk kept
	before() {
		rm -f sub/*
		cp kept/b.vmdk .
	}
	while read -r name; do
		same create -f vmdk -F vmdk -b "$name" sub/n.vmdk
		same create -u -f vmdk -F vmdk -b "$name" sub/n.vmdk 2M
	done <<-EOF
		json:{'driver':'vmdk','file':{'driver':'file','filename':'b.vmdk'}}
		json:{'driver':'vmdk','file':{'driver':'blkdebug','image':{'driver':'file','filename':'b.vmdk'}}}
		json:{'driver':'raw','file':{'driver':'file','filename':'b.raw'}}
		json:{'driver':'vmdk','file':{'driver':'file','filename':'none'}}
		file:b.vmdk
		null-co://
	EOF
	name="json:{'driver':'vmdk','file':{'driver':'file','filename':'b.vmdk'}}"
	img create -q -f vmdk -F vmdk -b "$name" n.vmdk
	assertContains "$(qemu-img info n.vmdk)" "backing file: $name"
	cp n.vmdk kept
	before() {
		cp kept/?.vmdk .
		qemu-io -f vmdk -c 'write -P 6 0 64k' n.vmdk >.io
	}
	same compare n.vmdk b.vmdk
	same commit n.vmdk
	qemu-io -f vmdk -c 'write 0 64k' b.vmdk >.io
	assertContains "$(vm-img convert -O raw n.vmdk n.raw 2>&1)" \
		"'$name' has been changed since"
	name='json:{"driver":"vmdk","file":{"driver":"file","filename":"b.vmdk"}}'
	refused "n.vmdk: '$name' cannot stand in a VMDK descriptor" \
		create -q -f vmdk -F vmdk -b "$name" n.vmdk
	name="json:{'driver':'vmdk','file':{'driver':'nbd','host':'::1'}}"
	refused "n.vmdk: Could not open backing file: Backing file name \
'$name' is not a plain path" create -q -u -f vmdk -F vmdk -b "$name" n.vmdk 1M
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
