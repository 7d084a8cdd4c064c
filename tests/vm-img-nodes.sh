#!/bin/sh
# SPDX-License-Identifier: ISC
# Options that put more than a format over a file: parts of files, images in
# images, limits of rates, other data files; and what an image that was opened
# by options is called. All as qemu-img does it.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	qemu-img create -q -f qcow2 a.qcow2 1M
	qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2
	truncate -s 1M r.raw
	head -c 64k /dev/zero | tr '\0' x |
		dd of=r.raw bs=64k seek=1 conv=notrunc status=none
}

tearDown() {
	img_cleanup
}

test_names() {
	while read -r options; do
		same info --image-opts "$options"
	done <<'END'
driver=file,filename=r.raw
driver=file,filename=r.raw,foo=1
driver=host_device,filename=r.raw
driver=raw,file.filename=r.raw
driver=qcow2,file.filename=a.qcow2,file.locking=off,lazy-refcounts=on
driver=qcow2,file.filename=b.qcow2,node-name=foo
driver=qcow2,file.driver=raw,file.file.filename=a.qcow2
driver=qcow2,file.driver=raw,file.offset=0,file.file.filename=a.qcow2
file.driver=raw,file.offset=64k,file.file.filename=r.raw
driver=null-co,size=1M
driver=null-aio,size=1M,read-zeroes=on,latency-ns=1
driver=null-co,latency-ns=1
driver=raw,file.driver=null-co
driver=raw,file.driver=null-co,file.size=1M
driver=null-co,filename=null-co://
driver=blkdebug,image.filename=a.qcow2
driver=qcow2,file.driver=blkdebug,file.align=512,file.image.filename=a.qcow2
driver=qcow2,file.driver=blkdebug,file.inject-error.0.event=read_aio,file.inject-error.0.errno=5,file.inject-error.0.once=off,file.set-state.0.event=l2_load,file.set-state.0.new_state=2,file.image.filename=a.qcow2
driver=blkdebug,image.driver=raw,image.file.filename=a.qcow2
driver=copy-on-read,file.filename=r.raw
offset=65536,file.filename=a.qcow2
driver=qcow2,file.driver=raw
driver=qcow2,file.driver=raw,file.file=x
driver=qcow2,file.driver=xyz
driver=qcow2,file.driver=raw,file.foo=1,file.file.filename=a.qcow2
driver=qcow2,file.driver=raw,file.file.foo=1,file.file.filename=a.qcow2
END
	while read -r json; do
		same info "json:$json"
		same info --output=json "json:$json"
	done <<'END'
{"file.filename": "a.qcow2"}
{"driver": "raw", "offset": 512, "size": "1k", "file": {"filename": "r.raw"}}
{"driver": "null-co", "size": 1024, "read-zeroes": true}
{"driver": "qcow2", "file": {"driver": "blkdebug", "inject-error": [{"event": "read_aio", "once": true}, {"state": 1}], "image": {"driver": "file", "filename": "a.qcow2"}}}
{"driver": "blkdebug", "image": {"driver": "raw", "file": {"driver": "file", "filename": "a.qcow2", "locking": "off", "aio": "threads", "discard": "unmap"}}, "discard": "unmap"}
{"driver": "raw", "offset": 0, "file": {"driver": "file", "filename": "r.raw", "node-name": "foo", "read-only": true}}
END
	cp r.raw 'ä"\.raw'
	same info --image-opts 'driver=raw,offset=512,file.filename=ä"\.raw'
}

# It goes round the page cache or not at all; other kinds do not mind.
test_native_aio() {
	for aio in native io_uring threads foo ''; do
		for direct in '' ,cache.direct=on ,file.cache.direct=on \
			,file.cache.direct=off; do
			same info --image-opts \
				driver=raw,file.driver=file,file.filename=r.raw,file.aio=$aio$direct
		done
	done
	same info --image-opts driver=file,filename=r.raw,aio=native
	same info --image-opts driver=file,filename=none.raw,aio=native
	same info 'json:{"file": {"driver": "file", "filename": "a.qcow2", "aio": "native"}}'
	over=driver=qcow2,file.driver=blkdebug,file.image.driver=file
	over=$over,file.image.filename=a.qcow2,file.image.aio=native
	same info --image-opts $over
	same info --image-opts $over,file.image.cache.direct=on
	same info --image-opts \
		driver=qcow2,file.filename=b.qcow2,file.aio=native,cache.direct=on
	same compare --image-opts \
		driver=qcow2,file.filename=b.qcow2,backing.file.filename=a.qcow2,backing.file.aio=native \
		driver=qcow2,file.filename=a.qcow2
	quorum=driver=quorum,vote-threshold=1,children.0.filename=r.raw
	quorum=$quorum,children.0.driver=file,children.0.aio=native
	same info --image-opts $quorum
	same info --image-opts $quorum,children.0.cache.direct=on
	same bench -c 1 -n -f raw r.raw
	same bench -c 1 -n -f raw none.raw
	assertTrue 'no file' 'img bench -c 1 -n -f raw null-co:// >/dev/null'
	same convert -O raw -T none --image-opts \
		driver=raw,file.filename=r.raw,file.aio=native o.raw
	same convert -O raw --image-opts \
		driver=raw,file.filename=r.raw,file.aio=native o.raw
}

test_windows() {
	for w in offset=512,size=1000 offset=100 offset=1M offset=2M size=2M \
		offset=512,size=1M size=0 offset=abc offset=-1 size= \
		offset=512,offset=1k size=1M,foo=1 offset=1.5k; do
		same info --image-opts "driver=raw,$w,file.filename=r.raw"
	done
	in=driver=raw,offset=32k,size=64k,file.filename=r.raw
	same map --image-opts $in
	same map --output=json --image-opts $in
	same map --output=json --image-opts driver=raw,offset=32k,file.filename=r.raw
	same map --output=json --object throttle-group,id=t --image-opts \
		driver=raw,offset=512,file.driver=throttle,file.throttle-group=t,file.file.driver=raw,file.file.offset=32k,file.file.file.filename=r.raw
	same measure -O qcow2 --image-opts $in
	same check --image-opts $in
	same info --output=json --image-opts $in
	same convert -O raw --image-opts $in o.raw
	assertEquals "the part" "$(tail -c +32769 r.raw | head -c 64k | sum)" \
		"$(sum <o.raw)"
	img convert -n --target-image-opts o.raw \
		driver=raw,offset=512k,size=64k,file.filename=r.raw
	assertTrue "written there" "cmp -n 64k -i 0:512k o.raw r.raw"
	assertEquals "and nowhere else" 1048576 "$(stat -c %s r.raw)"
}

# shellcheck disable=SC2317 # before() is called by same()
test_windows_have_one_size_or_that_of_the_file() {
	before() {
		truncate -s 0 w.raw
		truncate -s 1M w.raw
	}
	same resize --image-opts driver=raw,offset=512,file.filename=w.raw +1M
	same resize --image-opts driver=raw,size=1k,file.filename=w.raw +1M
	same resize --image-opts driver=raw,size=1k,file.filename=w.raw \
		--shrink 512
	same resize --image-opts driver=raw,offset=1k,file.filename=w.raw \
		--shrink 512
	assertEquals "the file" 1536 "$(stat -c %s w.raw)"
	before() { :; }
}

test_disks_within_disks() {
	img convert -O qcow2 r.raw outer.qcow2
	img create -q -f qcow2 part.qcow2 256k
	size=$(stat -c %s part.qcow2)
	img create -q -f raw whole.raw 2M
	dd if=part.qcow2 of=whole.raw bs=64k seek=16 conv=notrunc status=none
	img convert -O qcow2 whole.raw whole.qcow2
	in=driver=qcow2,file.driver=raw,file.offset=1M,file.file.driver=qcow2
	in=$in,file.file.file.filename=whole.qcow2
	same info --image-opts $in
	same check --image-opts $in
	img convert -n --target-image-opts \
		--image-opts driver=raw,size=256k,file.filename=r.raw "$in"
	same compare --image-opts "$in" \
		driver=raw,size=256k,file.filename=r.raw
	qemu-img check -q whole.qcow2
	assertEquals "the outer one" 0 $?
	same convert -O raw --image-opts \
		driver=raw,offset=64k,size=4k,file.driver=qcow2,file.file.filename=outer.qcow2 o.raw
	assertTrue "a part of a disk" "cmp -n 4k -i 0:64k o.raw r.raw"
	assertTrue "is larger" "[ $size -lt 2000000 ]"
}

test_throttle_groups() {
	over=driver=throttle,throttle-group=g,file.filename=r.raw
	for limit in limits.bps-total=1000000 x-bps-total=1M limits.bps-total=x \
		limits.foo=1 limits.bps-total=1,limits.bps-read=1 \
		limits.bps-total-max=5 limits.bps-total=-1 \
		limits.bps-total=5,limits.bps-total-max-length=0 \
		limits.bps-total=5,limits.bps-total-max=3 \
		limits.bps-total=1000000000000001 limits.iops-size=5 \
		limits.bps-total=5,limits.bps-total-max-length=2 \
		limits.bps-total=5,limits.bps-total-max=1000000000000000,limits.bps-total-max-length=2; do
		same info --object throttle-group,id=g,$limit --image-opts $over
	done
	same info --object throttle-group --image-opts $over
	same info --object throttle-group,id=g --object throttle-group,id=g \
		--image-opts $over
	same info --object throttle-group,id=g --object secret,id=g,data=a \
		--image-opts $over
	same info --object secret,id=g,data=a --object throttle-group,id=g \
		--image-opts $over
	same info --object '{"qom-type": "throttle-group", "id": "g", "limits": {"bps-total": 1000}}' \
		--image-opts $over
	same info --object '{"qom-type": "throttle-group", "id": "g", "limits": {"bps-total": "1000"}}' \
		--image-opts $over
	group=throttle-group,id=g
	same info --object $group --image-opts driver=throttle,file.filename=r.raw
	same info --object $group --image-opts driver=throttle,throttle-group=g
	same info --object $group --image-opts $over,foo=1
	same info --object $group --image-opts $over,file.foo=1
	same info --image-opts $over
	same info --object $group --image-opts \
		driver=qcow2,file.driver=throttle,file.throttle-group=g,file.file.filename=a.qcow2
	same map --output=json --object $group --image-opts $over
}

test_throttled_files_take_their_time() {
	start=$(date +%s%N)
	img bench -c 12 -s 4k -d 1 \
		--object throttle-group,id=g,limits.iops-total=20 \
		--image-opts driver=throttle,throttle-group=g,file.filename=r.raw \
		>/dev/null
	assertEquals "bench" 0 $?
	end=$(date +%s%N)
	assertTrue "not at once" "[ $((end - start)) -gt 300000000 ]"
}

# shellcheck disable=SC2317 # before() is called by same()
test_data_files() {
	qemu-img create -q -f qcow2 -o data_file=d.data d.qcow2 1M
	qemu-io -c 'write -P 7 0 64k' d.qcow2 >/dev/null
	cp d.data e.data
	dd if=r.raw bs=64k skip=1 count=1 of=e.data conv=notrunc status=none
	while read -r options; do
		same convert -O raw --image-opts "$options" o.raw
	done <<'END'
data-file=foo,file.filename=d.qcow2
data-file.foo=foo,file.filename=d.qcow2
data-file.filename=zz,file.filename=d.qcow2
data-file.filename=d.data,file.filename=a.qcow2
data-file.filename=d.data,file.filename=r.raw
data-file.driver=foo,data-file.filename=d.data,file.filename=d.qcow2
data-file.filename=d.data,data-file.x=1,file.filename=d.qcow2
data-file.driver=raw,data-file.file.filename=e.data,file.filename=d.qcow2
driver=qcow2,data-file.filename=e.data,file.filename=d.qcow2
END
	assertTrue "of the other one" "cmp -n 64k -i 0:64k o.raw r.raw"
	same info --image-opts data-file.filename=e.data,file.filename=d.qcow2
	same map --image-opts data-file.filename=./e.data,file.filename=d.qcow2
	# Whatever may stand under a format.
	qemu-img create -q -f raw wide.raw 2M
	dd if=e.data of=wide.raw bs=64k seek=1 conv=notrunc status=none
	qemu-img convert -O qcow2 e.data f.qcow2
	while read -r options; do
		options=driver=qcow2,file.filename=d.qcow2,data-file.$options
		same compare --object throttle-group,id=g,x-bps-read=9999999 \
			--image-opts "$options" driver=raw,file.filename=e.data
	done <<'END'
driver=blkdebug,data-file.image.filename=e.data
driver=raw,data-file.offset=64k,data-file.file.filename=wide.raw
driver=raw,data-file.offset=64k,data-file.size=512,data-file.file.filename=wide.raw
driver=qcow2,data-file.file.filename=f.qcow2
driver=blkdebug,data-file.config=zz,data-file.image.filename=e.data
driver=blkdebug,data-file.inject-error.event=none,data-file.image.filename=e.data
driver=blkdebug,data-file.image.driver=nbd,data-file.image.path=zz
driver=nbd,data-file.path=zz
driver=null-co,data-file.size=1M,data-file.read-zeroes=on
driver=throttle,data-file.throttle-group=g,data-file.file.filename=e.data
driver=throttle,data-file.throttle-group=zz,data-file.file.filename=e.data
driver=file,data-file.locking=off,data-file.filename=e.data
END
	options=driver=qcow2,file.filename=d.qcow2,data-file.driver=blkdebug
	before() {
		cp d.data f.data
	}
	for rule in '' 'inject-error.event=none,data-file.inject-error.iotype=write,'; do
		same convert -n --target-image-opts e.data \
			"$options,data-file.${rule}image.filename=f.data"
	done
	qemu-img convert -n --target-image-opts e.data \
		driver=qcow2,file.filename=d.qcow2,data-file.filename=d.data
	img convert -n --target-image-opts e.data \
		"$options,data-file.image.filename=f.data"
	assertTrue 'written to' 'cmp d.data f.data && cmp -n 64k f.data e.data'
	before() {
		:
	}
	# Of the image that it is said of, and not of the one that holds that.
	qemu-img create -q -f qcow2 outer.qcow2 1M
	qemu-io -c "write -q -s d.qcow2 0 $(stat -c %s d.qcow2)" outer.qcow2
	same convert -O raw --image-opts \
		driver=qcow2,data-file.filename=e.data,file.driver=qcow2,file.file.filename=outer.qcow2 \
		o.raw
	assertTrue "of the inner one" "cmp -n 64k -i 0:64k o.raw r.raw"
	# An image that no longer says where its data is.
	qemu-img amend -o data_file= --image-opts \
		data-file.filename=d.data,file.filename=d.qcow2
	same info d.qcow2
	same info --image-opts data-file.filename=d.data,file.filename=d.qcow2
	same info --output=json --image-opts \
		data-file.filename=d.data,file.filename=d.qcow2
	same compare --image-opts data-file.filename=d.data,file.filename=d.qcow2 \
		driver=raw,file.filename=d.data
}

test_files_as_formats() {
	same info -f file r.raw
	same create -f file x.raw 1M
	same create -f file -o help x.raw
	same convert -O file r.raw x.raw
	same convert -f file -O qcow2 r.raw x.qcow2
	same measure -O file r.raw
	same check -f file r.raw
}

test_nodes_that_are_not_created() {
	for driver in blkdebug copy-on-read quorum throttle xyz; do
		same create -f $driver x 1M
		same create -f $driver -o help x
		same convert -O $driver r.raw x
		same measure -O $driver r.raw
	done
	assertFalse 'nothing there' '[ -e x ]'
}

# shellcheck disable=SC1091 # not part of the tree
# They make no difference here; a value that is none is a slip.
test_overlap_checks() {
	qemu-img create -q -f qcow2 o.qcow2 1M
	for name in main-header active-l1 active-l2 refcount-table \
		refcount-block snapshot-table inactive-l1 inactive-l2 \
		bitmap-directory foo; do
		for value in on off 1; do
			same map --image-opts \
				driver=qcow2,overlap-check.$name=$value,file.filename=o.qcow2
		done
	done
	same map 'json:{"driver": "qcow2", "overlap-check": {"template": "all",
		"snapshot-table": false}, "file": {"driver": "file",
		"filename": "o.qcow2"}}'
}

test_cache_sizes() {
	qemu-img create -q -f qcow2 o.qcow2 1M
	for sizes in l2-cache-size=foo l2-cache-entry-size=4k \
		l2-cache-entry-size=0 l2-cache-entry-size=128k \
		l2-cache-entry-size=3k cache-clean-interval=4294967295 \
		cache-clean-interval=4294967296 cache-clean-interval=-1 \
		cache-size=1M,l2-cache-size=2M cache-size=1M,l2-cache-size=512k \
		cache-size=1M,refcount-cache-size=2M \
		cache-size=1M,l2-cache-size=0,refcount-cache-size=256k; do
		same map --image-opts driver=qcow2,$sizes,file.filename=o.qcow2
		same map --image-opts $sizes,file.filename=o.qcow2
	done
}

# Of version 2, and of images that are encrypted in another way or not at all.
test_what_an_image_cannot_have() {
	secret='--object secret,id=s,data=x'
	key=encrypt.key-secret=s
	qemu-img create -q -f qcow2 -o compat=0.10 v2.qcow2 1M
	qemu-img create -q -f qcow o.qcow 1M
	# shellcheck disable=SC2086 # words
	qemu-img create -q $secret -f qcow -o encrypt.format=aes,$key e.qcow 1M
	# shellcheck disable=SC2086 # words
	qemu-img create -q $secret -f qcow2 -o encrypt.format=aes,$key \
		aes.qcow2 1M
	# shellcheck disable=SC2086 # words
	qemu-img create -q $secret -f qcow2 \
		-o encrypt.format=luks,encrypt.iter-time=10,$key luks.qcow2 1M
	for image in a.qcow2 v2.qcow2; do
		for lazy in on off; do
			same map --image-opts \
				lazy-refcounts=$lazy,file.filename=$image
			same snapshot -c s --image-opts \
				driver=qcow2,lazy-refcounts=$lazy,file.filename=$image
		done
		same map --image-opts driver=qcow2,encrypt.format=luks,file.filename=$image
	done
	for image in aes.qcow2 luks.qcow2 e.qcow o.qcow; do
		for format in aes luks foo; do
			# shellcheck disable=SC2086 # words
			same info $secret --image-opts \
				driver=${image##*.},encrypt.format=$format,$key,file.filename=$image
		done
	done
}

# What one format has another one has not.
test_options_of_other_formats() {
	qemu-img create -q -f vdi o.vdi 1M
	for o in lazy-refcounts=on cache-size=1M overlap-check=all \
		overlap-check.template=all encrypt.format=luks \
		encrypt.key-secret=s cache-clean-interval=1; do
		same map --image-opts driver=vdi,file.filename=o.vdi,$o
		same map --image-opts file.filename=o.vdi,$o
		same map --image-opts driver=raw,file.filename=r.raw,$o
		same map --image-opts file.filename=r.raw,$o
	done
	for template in none all foo; do
		same map --image-opts driver=qcow2,overlap-check=all,overlap-check.template=$template,file.filename=a.qcow2
	done
}

# How to work with any node.
test_values_without_effect() {
	qemu-img create -q -f qcow2 o.qcow2 1M
	for how in discard=ignore discard=on discard=foo discard= \
		detect-zeroes=on detect-zeroes=foo cache.no-flush=on \
		cache.no-flush=foo cache.writeback=on auto-read-only=foo \
		node-name=a node-name=1a node-name=; do
		same map --image-opts driver=qcow2,$how,file.filename=o.qcow2
		same map --image-opts driver=raw,file.$how,file.filename=r.raw
		same map --image-opts driver=file,$how,filename=r.raw
	done
	for how in aio=threads aio=foo aio-max-batch=1 aio-max-batch=foo \
		drop-cache=foo x-check-cache-dropped=foo read-only=foo \
		cache.direct=foo force-share=foo; do
		same map --image-opts driver=raw,file.$how,file.filename=r.raw
	done
	qemu-img create -q -f qcow2 -b o.qcow2 -F qcow2 over.qcow2
	same map --image-opts backing.discard=foo,file.filename=over.qcow2
}

. shunit2
