#!/bin/sh
# SPDX-License-Identifier: ISC
# What commit, rebase and convert -c ask of the qcow2 engine, one call at a
# time: the backing file's name, an image made empty, compressed clusters.
# qemu-img is the judge.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/qcow2.sh

setUp() {
	qcow2_dir
	image=$dir/a.qcow2
}

tearDown() {
	test_cleanup
}

act() {
	timeout 60 "$B/tests/tools/image-do" "$@"
}

make_raw() { # FILE SIZE
	truncate -s "$2" "$1"
	seq 1 120000 | dd of="$1" conv=notrunc status=none
	head -c 300000 /dev/urandom |
		dd of="$1" bs=65536 seek=20 conv=notrunc status=none
}

# qemu-img's own rebase -u leaves the same bytes.
test_backing_name_as_qemu_writes_it() {
	: >"$dir/raw"
	for options in cluster_size=64k cluster_size=512 compat=0.10; do
		for case in 'other raw' 'a-much-longer-name-than-before qcow2' \
			'x vmdk' ''; do
			qemu-img create -q -f qcow2 -o $options -b raw -F raw \
				"$image" 1M
			cp "$image" "$dir/b.qcow2"
			# shellcheck disable=SC2086 # two words, or none
			set -- $case
			act "$image" backing "$@"
			assertEquals "$options $case" 0 $?
			qemu-img rebase -u -b "${1-}" ${2:+-F "$2"} \
				"$dir/b.qcow2"
			for file in "$image" "$dir/b.qcow2"; do
				qemu-img info "$file" | grep '^backing' \
					>"$file.info"
			done
			diff "$image.info" "$dir/b.qcow2.info"
			assertEquals "$options $case: info" 0 $?
			[ $options = cluster_size=512 ] ||
				cmp "$image" "$dir/b.qcow2"
			assertEquals "$options $case: bytes" 0 $?
		done
	done
}

test_backing_name_that_does_not_fit() {
	qemu-img create -q -f qcow2 -o cluster_size=512 "$image" 1M
	cp "$image" "$dir/before"
	long=$(printf '%0400d' 0)
	act "$image" backing "$long" raw 2>"$dir/err"
	assertEquals 1 $?
	assertContains "$(cat "$dir/err")" 'No space left in the file header'
	act "$image" backing "$long$long$long" raw 2>"$dir/err"
	assertEquals 1 $?
	assertContains "$(cat "$dir/err")" 'Invalid argument'
	cmp "$image" "$dir/before"
	assertEquals 'nothing was changed' 0 $?
}

# insert LEN: an extension of a type that is not known, behind LEN bytes.
insert() {
	{
		head -c "$1" "$image"
		printf '\022\064\126\170\0\0\0\005hello\0\0\0'
		tail -c "+$(($1 + 1))" "$image" | head -c 400
	} >"$dir/head"
	dd if="$dir/head" of="$image" conv=notrunc status=none
}

# What is not known stays, behind what is known: where qemu-img puts it.
test_unknown_extensions_are_kept() {
	for case in compat=0.10:72 compat=1.1:112; do
		qemu-img create -q -f qcow2 -o ${case%:*} "$image" 1M
		insert ${case#*:}
		cp "$image" "$dir/b.qcow2"
		act "$image" backing some/file raw
		assertEquals "$case: name" 0 $?
		qemu-img rebase -u -b some/file -F raw "$dir/b.qcow2"
		cmp "$image" "$dir/b.qcow2"
		assertEquals "$case: bytes with a name" 0 $?
		assertEquals "$case: there" 1 "$(grep -c hello "$image")"
		act "$image" backing
		assertEquals "$case: none" 0 $?
		qemu-img rebase -u -b '' "$dir/b.qcow2"
		cmp "$image" "$dir/b.qcow2"
		assertEquals "$case: bytes without" 0 $?
		for version in 0.10 1.1; do
			vm-img amend -o compat=$version "$image"
			assertEquals "$case: to $version" 0 $?
			qemu-img amend -o compat=$version "$dir/b.qcow2"
			cmp "$image" "$dir/b.qcow2"
			assertEquals "$case: bytes of $version" 0 $?
		done
	done
}

test_empty() {
	make_raw "$dir/raw" 4M
	for options in cluster_size=64k cluster_size=512 \
		cluster_size=4k,refcount_bits=64 cluster_size=1k,compat=0.10; do
		for compress in '' -c; do
			# shellcheck disable=SC2086 # none, or one word
			qemu-img convert $compress -f raw -O qcow2 \
				-o $options "$dir/raw" "$image"
			act "$image" empty
			assertEquals "$options $compress" 0 $?
			rm -f "$dir/mirror"
			truncate -s 4M "$dir/mirror"
			assert_sound "$options $compress" "$image"
			assertTrue "$options $compress: space given back" \
				"[ $(du -k "$image" | cut -f 1) -le 500 ]"
			ops "$image" 3 100
			assert_sound "$options $compress: used again" "$image"
		done
	done
}

test_empty_keeps_snapshots() {
	make_raw "$dir/raw" 4M
	for compress in '' -c; do
		# shellcheck disable=SC2086 # none, or one word
		qemu-img convert $compress -f raw -O qcow2 "$dir/raw" "$image"
		qemu-img snapshot -c one "$image"
		act "$image" empty
		truncate -s 0 "$dir/mirror"
		truncate -s 4M "$dir/mirror"
		assert_sound "disk $compress" "$image"
		qemu-img snapshot -a one "$image"
		cp "$dir/raw" "$dir/mirror"
		assert_sound "snapshot $compress" "$image"
	done
}

test_compressed() {
	make_raw "$dir/mirror" 4000256
	for options in cluster_size=512 cluster_size=4k \
		cluster_size=64k cluster_size=2M \
		cluster_size=64k,refcount_bits=1 \
		cluster_size=64k,compat=0.10 \
		cluster_size=64k,compression_type=zstd; do
		qemu-img create -q -f qcow2 -o "$options" "$image" 4000256
		act "$image" compress "$dir/mirror"
		assertEquals "$options" 0 $?
		assert_sound "$options" "$image"
		assertNotContains "$options is compressed" \
			"$(cat "$dir/check")" ' 0.00% compressed'
		act "$image" compress "$dir/mirror"
		assertEquals "$options: again" 0 $?
		assert_sound "$options: again" "$image"
	done
}

# Several in one host cluster; the last one out gives it back.
test_compressed_clusters_share() {
	head -c 1M /dev/zero | tr '\0' x >"$dir/mirror"
	qemu-img create -q -f qcow2 "$image" 1M
	empty=$(stat -c %s "$image")
	act "$image" compress "$dir/mirror"
	assert_sound packed "$image"
	assertTrue "16 clusters in one" \
		"[ $(stat -c %s "$image") -le $((empty + 3 * 65536)) ]"
	qemu-io -c 'discard 0 1M' "$image" >/dev/null
	truncate -s 0 "$dir/mirror"
	truncate -s 1M "$dir/mirror"
	assert_sound 'discarded by qemu-io' "$image"
}

test_random_operations_with_compression() {
	for options in cluster_size=512 cluster_size=1k,refcount_bits=8 \
		cluster_size=4k,refcount_bits=1 cluster_size=64k \
		cluster_size=4k,refcount_bits=2 cluster_size=64k,compat=0.10 \
		cluster_size=16k,compression_type=zstd; do
		qemu-img create -q -f qcow2 -o "$options" "$image" 3M
		timeout 60 "$B/tests/tools/image-ops" --compress "$image" 5 250 \
			"$dir/mirror"
		assertEquals "$options" 0 $?
		assert_sound "$options" "$image"
	done
}

. shunit2
