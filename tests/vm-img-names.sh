#!/bin/sh
# SPDX-License-Identifier: ISC
# What stands in the place of a file name: --image-opts, json:, file:; and
# --object. Held against qemu-img.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	qemu-img create -q -f qcow2 x.qcow2 1M
	truncate -s 1M r.raw
}

tearDown() {
	img_cleanup
}

test_image_opts() {
	for name in driver=qcow2,file.filename=x.qcow2 \
		driver=qcow2,file.filename=none.qcow2 x.qcow2 \
		file.filename=x.qcow2 filename=x.qcow2 \
		driver=foo,file.filename=x.qcow2 \
		driver=qcow2,file.filename=x.qcow2,foo=1 \
		driver=qcow2,file.filename=x.qcow2,file.foo=1 driver=qcow2 \
		driver=raw,file.driver=file,file.filename=x.qcow2 \
		driver=qcow2,file.filename=x.qcow2,read-only=maybe \
		driver=qcow2,read-only=on,file.filename=x.qcow2,cache.direct=on \
		driver=qcow2,file.filename=x.qcow2,file.locking=off,lazy-refcounts=on \
		'json:{"driver":"qcow2"}' '' driver=qcow2,file=x.qcow2; do
		same info --image-opts "$name"
	done
	same info --image-opts -f qcow2 driver=qcow2,file.filename=x.qcow2
	cp x.qcow2 'a,b'
	same check --image-opts driver=qcow2,file.filename=a,,b
}

test_json() {
	for name in '{"driver":"qcow2","file":{"driver":"file","filename":"x.qcow2"}}' \
		'{"driver":"qcow2","file.filename":"x.qcow2"}' \
		'{"file":{"driver":"file","filename":"x.qcow2"}}' \
		'{"driver":"qcow2","file":{"driver":"file","filename":"none"}}' \
		'{"driver":"qcow2","cache":{"direct":true},"file":{"filename":"x.qcow2"}}' \
		'{"driver":"qcow2","read-only":true,"file.filename":"x.qcow2"}' \
		'[]' '{}' '{"driver":"qcow2"}' '{"driver":"foo"}'; do
		same info "json:$name"
	done
	same info -f raw 'json:{"file":{"filename":"x.qcow2"}}'
}

# QEMU's JSON has strings in single quotes, and errors of its own.
test_json_words() {
	for name in "{'driver':'qcow2','file':{'filename':'x.qcow2'}}" \
		"{'driver':'qcow2','file.filename':'x\\u002eqcow2'}" \
		"{'driver':\"raw\",'file.filename':'r.raw','read-only':'yes'}" \
		"{'driver':'qcow2','file':null}" "{'driver':'qcow2','file':{}}" \
		'' '{bad' '{' '{bad:1}' "{'a':}" "{'a' 1}" "{'a':1 'b':2}" \
		"{'a':1,}" "{1:2}" '[1 2]' '[1,]' '[1' 1 '{}{}' '}' "{'a':foo}" \
		"{'a':01}" "{'a':-}" "{'a':1.}" "{'a':1e+}" "{'a':'b" \
		"{'a':'\\x'}" "{'a':'\\u12'}" "{'a':'\\ud83dx'}" \
		"{'driver':'\\ud83d\\ude00'}" "{'a':@}" "{'a':1,'a':2}" \
		"{'driver':'x'}x" "{true:1}" '{{}:1}'; do
		same info "json:$name"
	done
	same info --object '{"qom-type":"secret",}' r.raw
}

test_file() {
	same info file:x.qcow2
	same map file:x.qcow2
	same info file:none
	same create -f qcow2 file:a:b.qcow2 1M
	same info file:a:b.qcow2
	same create -f raw file: 1M
	same create -f raw c:d.raw 1M
	same convert -O qcow2 file:x.qcow2 file:./o:p.qcow2
	same convert -n file:x.qcow2 file:r.raw
	same dd if=file:x.qcow2 of=file:dd.raw
	same convert x.qcow2 foo:out.qcow2
	assertTrue 'made by their names' '[ -f a:b.qcow2 -a -f o:p.qcow2 -a -f dd.raw ]'
}

test_file_inside() {
	mkdir sub
	for image in top.qcow2 sub/top.qcow2; do
		same create -f qcow2 -b file:x.qcow2 -F qcow2 $image
		same info --output=json $image
		same info --backing-chain $image
		same map --output=json $image
		same commit -b file:x.qcow2 file:$image
	done
	same rebase -b file:x.qcow2 -F qcow2 file:top.qcow2
	same compare file:top.qcow2 file:x.qcow2
	silent bitmap --add file:top.qcow2 b
	same bitmap --add top.qcow2 ''
	same create -f qcow2 -b top.qcow2 -F qcow2 file:im:age.qcow2
	same info file:im:age.qcow2
}

test_no_name() {
	same info ''
	same info file:
	same create -f qcow2 '' 1M
	same convert x.qcow2 ''
	same compare '' ''
	same dd if= of=x
	same rebase -b '' x.qcow2
	same resize '' 1M
	same bitmap --add '' x
	same measure -O qcow2 ''
}

# A name counts from the folder of the image that has it.
test_base_names() {
	mkdir sub
	qemu-img create -q -f qcow2 sub/base.qcow2 1M
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 sub/mid.qcow2
	qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 sub/top.qcow2
	same commit -b mid.qcow2 sub/top.qcow2
	same commit -b sub/mid.qcow2 sub/top.qcow2
	same commit -b "$dir/sub/mid.qcow2" sub/top.qcow2
	same commit -b base.qcow2 sub/top.qcow2
}

test_verbs() {
	x=driver=qcow2,file.filename=x.qcow2
	r=driver=raw,file.filename=r.raw
	same compare --image-opts $x $r
	same check --image-opts $x
	same map --image-opts $r
	same measure --image-opts -O qcow2 $x
	same snapshot --image-opts -l $x
	silent snapshot -f qcow2 -c s x.qcow2
	silent snapshot -d s --format=qcow2 x.qcow2
	same resize --image-opts $x 2M
	same resize --image-opts $r 1M
	same convert --image-opts $x out.raw
	same convert -n --target-image-opts r.raw $x
	same convert --target-image-opts r.raw $x
	same convert -n -O raw --target-image-opts r.raw $x
	same convert --image-opts --target-image-opts -c -n $r $x
	same amend --image-opts -o size=4M $x
	same create --image-opts -f qcow2 $x 1M
}

# Names inside an image never come to be anything but paths.
test_names_inside() {
	qemu-img create -q -f qcow2 -u -F raw -b \
		'json:{"driver":"raw","file.driver":"null-co"}' y.qcow2 1M
	assertFalse 'map' 'vm-img map y.qcow2 >out 2>&1'
	assertFalse 'info' 'vm-img info --backing-chain y.qcow2 >out 2>&1'
	same info --image-opts --backing-chain driver=qcow2,file.filename=x.qcow2
	qemu-img create -q -f qcow2 -F qcow2 -b x.qcow2 z.qcow2
	same info --image-opts --backing-chain driver=qcow2,file.filename=z.qcow2
}

test_integrity() {
	qemu-img create -q -f qcow2 -o data_file=d.raw base.qcow2 1M
	qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 mid.qcow2
	qemu-img create -q -f qcow2 -F qcow2 -b mid.qcow2 top.qcow2
	assertEquals "$(qemu-img info top.qcow2)
0" "$(
		vm-img info --integrity top.qcow2 2>&1
		echo $?
	)"
	rm d.raw
	assertEquals "vm-img: base.qcow2: Data file 'd.raw' is missing: No such file or directory
1" "$(
		vm-img info --integrity top.qcow2 2>&1 >/dev/null
		echo $?
	)"
	rm mid.qcow2
	assertEquals "vm-img: top.qcow2: Backing file 'mid.qcow2' is missing: No such file or directory
1" "$(
		vm-img info --integrity --output=json top.qcow2 2>&1 >out
		echo $?
	)"
	assertTrue 'the rest is told' 'grep -q virtual-size out'
}

# A descriptor's extents may be anywhere, and are what its maker wants: info
# tells, and looks at none of them.
test_vmdk_extents_elsewhere() {
	mkdir here here/sub there
	for disk in f a s; do
		kind=monolithicFlat
		[ $disk != s ] || kind=twoGbMaxExtentSparse
		qemu-img create -q -f vmdk -o subformat=$kind here/$disk.vmdk 1M
	done
	qemu-io -f vmdk -c 'write -P 1 0 64k' here/f.vmdk >/dev/null
	qemu-io -f vmdk -c 'write -P 2 64k 64k' here/s.vmdk >/dev/null
	mv here/f-flat.vmdk here/sub
	mv here/a-flat.vmdk there
	mv here/s-s001.vmdk there
	sed -i 's,"f-,"sub/f-,' here/f.vmdk
	sed -i "s,\"a-,\"$dir/there/a-," here/a.vmdk
	sed -i 's,"s-,"../there/s-,' here/s.vmdk
	for disk in f a s; do
		same info --backing-chain here/$disk.vmdk
		same map --output=json here/$disk.vmdk
		same measure -O raw here/$disk.vmdk
		same compare here/$disk.vmdk here/$disk.vmdk
		same check here/$disk.vmdk
		qemu-img convert -O raw here/$disk.vmdk theirs.raw
		silent convert -O raw here/$disk.vmdk ours.raw
		assertTrue "$disk" 'cmp theirs.raw ours.raw'
		vm-img info here/$disk.vmdk | grep -v 'disk size' >ours.info
		qemu-img info here/$disk.vmdk |
			grep -v 'disk size\|cluster.size' >theirs.info
		assertEquals "$disk" '' "$(diff theirs.info ours.info)"
	done
	random in.raw 1M
	silent convert -n -O vmdk in.raw here/s.vmdk
	assertEquals 'Images are identical.' \
		"$(qemu-img compare in.raw here/s.vmdk)"
	strace -f -o trace -e trace=open,openat vm-img info here/a.vmdk >out
	assertTrue 'traced' 'grep -q here/a.vmdk trace'
	assertFalse 'opened' 'grep -q there/a-flat trace'
	rm -r there
	assertTrue 'info' 'vm-img info here/a.vmdk >out'
	assertEquals "vm-img: here/s.vmdk: Extent 'here/../there/s-s001.vmdk' is missing: No such file or directory
1" "$(
		vm-img info --integrity here/s.vmdk 2>&1 >out
		echo $?
	)"
	refused "Could not open 'here/a.vmdk': Could not open '$dir/there/a-flat.vmdk': No such file or directory" \
		info --backing-chain here/a.vmdk
}

test_object() {
	printf '\377\376' >bin
	for object in secret,id=a secret,data=a secret,id=a,data=b \
		secret,id=a,data=b,file=c secret,id=a,file=c \
		secret,id=a,data=YWJj,format=base64 \
		secret,id=a,data=b,format=foo foo,id=a \
		secret,id=a,data=b,zz=1 secret,id=a,file=bin \
		'{"qom-type":"secret","id":"a","data":"x"}' \
		secret,id=1a,data=b; do
		same info --object "$object" x.qcow2
	done
	same info --object secret,id=a,data=b --object secret,id=a,data=c \
		x.qcow2
	printf 'YWJj\r\n' >crlf
	printf 'YWJj\0' >nul
	for data in data=b data=YWJjYQ data=YQ==YWJj data=. file=crlf \
		file=nul; do
		same info --object secret,id=a,$data,format=base64 x.qcow2
	done
}

# shellcheck disable=SC1091 # not part of the tree
. shunit2
