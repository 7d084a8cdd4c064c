#!/bin/sh
# SPDX-License-Identifier: ISC
# Options of an image that is not the uppermost node: "file.", "backing." and so
# on before each, or JSON's objects. Beside qemu-img, which does with them what it
# does with those of the uppermost.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

make_images() {
	truncate -s 1M a.raw
	qemu-img create -q -f qcow2 b.qcow2 1M
	qemu-io -c 'write -P 5 64k 32k' b.qcow2 >/dev/null
	for format in parallels qcow qed vdi vmdk vpc; do
		qemu-img convert -O $format b.qcow2 a.$format
	done
	qemu-img create -q -f qcow2 -b b.qcow2 -F qcow2 o.qcow2
	cp o.qcow2 over.qcow2
	qemu-img create -q -f qcow2 -u -b a.vdi -F vdi ov.qcow2 1M
	qemu-img create -q -f qcow2 -b a.raw -F raw or.qcow2
	qemu-img create -q -f qcow2 -o data_file=d.raw d.qcow2 1M
	cp d.raw other.raw
	set -- --object secret,id=s,data=x -f raw a.raw
	qemu-img convert "$@" -O luks -o key-secret=s,iter-time=10 e.luks
	qemu-img convert "$@" -O qcow2 -o encrypt.format=luks \
		-o encrypt.key-secret=s,encrypt.iter-time=10 e.qcow2
	qemu-img create -q -f qcow2 -u -b e.qcow2 -F qcow2 oe.qcow2 1M
}

oneTimeSetUp() {
	[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
	img_dir
	mkdir theirs
	(cd theirs && make_images)
	ln -s theirs ours # nothing is written
	cd "$top" || return 1
}

setUp() {
	cd "$dir" || return 1
}

oneTimeTearDown() {
	img_cleanup
}

# What the option can be of: driver, file, options.
options() {
	sed '/^#/d' <<'EOT'
driver=qcow2 b.qcow2 node-name=n
driver=qcow2 b.qcow2 node-name=1
driver=qcow2 b.qcow2 discard=unmap
driver=qcow2 b.qcow2 discard=foo
driver=qcow2 b.qcow2 detect-zeroes=on
driver=qcow2 b.qcow2 detect-zeroes=foo
driver=qcow2 b.qcow2 detect-zeroes=unmap,discard=unmap
driver=qcow2 b.qcow2 detect-zeroes=unmap,discard=ignore
driver=qcow2 b.qcow2 read-only=on
driver=qcow2 b.qcow2 auto-read-only=foo
driver=qcow2 b.qcow2 cache.direct=foo
driver=qcow2 b.qcow2 cache.no-flush=on
driver=qcow2 b.qcow2 foo=1
driver=qcow2 a.vdi foo=1
driver=qcow2 b.qcow2 offset=64k
driver=qcow2 b.qcow2 lazy-refcounts=on
driver=qcow2 b.qcow2 lazy-refcounts=foo
driver=qcow2 b.qcow2 pass-discard-request=on,pass-discard-snapshot=off
driver=qcow2 b.qcow2 pass-discard-other=foo
driver=qcow2 b.qcow2 overlap-check=all
driver=qcow2 b.qcow2 overlap-check=foo
driver=qcow2 b.qcow2 overlap-check.template=all
driver=qcow2 b.qcow2 overlap-check.template=none,overlap-check.main-header=on
driver=qcow2 b.qcow2 overlap-check.template=none,overlap-check.foo=on
driver=qcow2 b.qcow2 cache-size=1M
driver=qcow2 b.qcow2 cache-size=foo
driver=qcow2 b.qcow2 cache-size=1M,l2-cache-size=2M
driver=qcow2 b.qcow2 cache-size=1M,refcount-cache-size=64k
driver=qcow2 b.qcow2 l2-cache-entry-size=4k
driver=qcow2 b.qcow2 l2-cache-entry-size=3k
driver=qcow2 b.qcow2 cache-clean-interval=10
driver=qcow2 b.qcow2 cache-clean-interval=99999999999
driver=qcow2 b.qcow2 encrypt.format=luks
driver=qcow2 b.qcow2 encrypt.key-secret=s
driver=qcow2 b.qcow2 data-file.driver=file,data-file.filename=other.raw
driver=qcow2 d.qcow2 data-file.driver=file,data-file.filename=other.raw
driver=qcow2 d.qcow2 data-file.filename=other.raw
driver=qcow2 d.qcow2 data-file.filename=none.raw
driver=qcow2 d.qcow2 data-file.driver=raw,data-file.file.filename=other.raw
driver=qcow2 d.qcow2 data-file=x
driver=qcow2 e.qcow2 encrypt.format=luks,encrypt.key-secret=s
driver=qcow2 e.qcow2 encrypt.format=aes,encrypt.key-secret=s
driver=qcow2 e.qcow2 encrypt.key-secret=s
driver=qcow2 e.qcow2 encrypt.key-secret=none
driver=qcow2 e.qcow2 key-secret=s
driver=qcow2 o.qcow2 backing.driver=raw,backing.file.filename=a.raw
driver=qcow2 o.qcow2 backing.lazy-refcounts=on
driver=qcow2 o.qcow2 backing.foo=on
driver=qcow2 o.qcow2 backing.driver=foo
driver=qcow2 o.qcow2 backing=x
driver=qcow2 o.qcow2 backing=
driver=qcow2 oe.qcow2 backing.encrypt.key-secret=s
driver=qcow2 oe.qcow2 backing.encrypt.format=aes,backing.encrypt.key-secret=s
driver=qcow2 or.qcow2 backing.driver=raw,backing.offset=64k
driver=qcow2 ov.qcow2 backing.lazy-refcounts=on
driver=qcow2 ov.qcow2 backing.driver=vdi,backing.lazy-refcounts=on
driver=qcow a.qcow encrypt.format=aes
driver=qcow a.qcow lazy-refcounts=on
driver=qcow a.qcow backing=
driver=luks e.luks key-secret=s
driver=luks e.luks encrypt.key-secret=s
driver=luks e.luks key-secret=s,encrypt.format=luks
driver=luks e.luks key-secret=none
driver=parallels a.parallels prealloc-size=1M
driver=parallels a.parallels prealloc-size=1x
driver=parallels a.parallels prealloc-mode=truncate
driver=parallels a.parallels prealloc-mode=foo
driver=qed a.qed lazy-refcounts=on
driver=qed a.qed backing=
driver=vdi a.vdi lazy-refcounts=on
driver=vdi a.vdi encrypt.format=luks
driver=vdi a.vdi prealloc-mode=falloc
driver=vmdk a.vmdk backing=
driver=vmdk a.vmdk key-secret=s
driver=vpc a.vpc force_size_calc=chs
driver=vpc a.vpc force_size_calc=current_size
driver=vpc a.vpc force_size_calc=foo
driver=vdi a.vdi force_size_calc=chs
driver=raw a.raw offset=64k,size=64k
driver=raw a.raw offset=100,size=64k
driver=raw a.raw lazy-refcounts=on
driver=raw a.raw backing.driver=raw
driver=raw a.raw file.locking=off
driver=raw a.raw file.locking=foo
driver=raw a.raw file.aio=threads
driver=raw a.raw file.aio=foo
driver=raw a.raw file.aio=native
driver=raw a.raw file.drop-cache=off
driver=raw a.raw file.pr-manager=foo
driver=raw a.raw file.foo=1
driver=raw a.raw file.cache.direct=on
driver=raw a.raw file.driver=raw,file.file.filename=b.qcow2
driver=raw a.raw file=x
driver=foo a.raw read-only=on
EOT
}

# Each word of a list with something before it.
with() { # PREFIX OPTIONS
	echo "$2" | sed "s/^/$1/; s/,/,$1/g"
}

# Members of an object.
members() { # OPTIONS
	echo "$1" | sed 's/=/": "/g; s/,/", "/g; s/.*/"&"/'
}

secret='--object secret,id=s,data=x'

# A line for each of the options in each place.
lines() { # VERB PLACE
	options | while read -r driver file more; do
		one=$driver,file.filename=$file,$more
		case $2 in
		top) source="--image-opts $one" ;;
		file) source="--image-opts driver=raw,$(with file. "$one")" ;;
		image) source="--image-opts driver=blkdebug,$(with image. "$one")" ;;
		backing)
			over=driver=qcow2,file.filename=over.qcow2
			source="--image-opts $over,$(with backing. "$one")"
			;;
		children)
			over=driver=quorum,vote-threshold=1
			source="--image-opts $over,$(with children.0. "$one")"
			;;
		test)
			over=driver=blkverify,raw.filename=a.raw
			source="--image-opts $over,$(with test. "$one")"
			;;
		object)
			source="'json:{\"driver\": \"raw\", \"file\": {$(members "$one")}}'"
			;;
		members)
			over=driver=raw,$(with file. "$one")
			source="'json:{$(members "$over")}'"
			;;
		under)
			source="'json:{\"driver\": \"qcow2\", \"file.filename\": \"over.qcow2\", \"backing\": {$(members "$one")}}'"
			;;
		esac
		[ "$1" != measure ] || source="-O raw $source"
		echo "qemu-img $1 $secret $source"
	done
}

# Where it depends on the image what is shown of the one under it.
without_backing() {
	grep -vE 'backing(["=]|.encrypt|.offset|.driver=raw,.*offset)'
}

# As the disk of raw. What is under it is nowhere, says qemu-img map, so it is
# not asked.
test_file() {
	lines info file | without_backing | compare_lines
}

test_backing() {
	lines map backing | compare_lines
}

# Of several that are alike one is enough.
some() { # NTH
	awk -v nth="$1" 'NR % 3 == nth'
}

test_other_children() {
	lines map image | some 0 | compare_lines
	lines measure children | some 1 | compare_lines
	lines measure test | some 2 | compare_lines
}

test_json() {
	lines info object | without_backing | some 0 | compare_lines
	lines info members | without_backing | some 1 | compare_lines
	lines map under | some 2 | compare_lines
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
