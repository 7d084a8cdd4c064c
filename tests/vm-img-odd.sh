#!/bin/sh
# SPDX-License-Identifier: ISC
# Command lines that nobody means: what is told of first, and with which
# status, is what qemu-img tells.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	qemu-img create -q -f qcow2 a 1M
	truncate -s 1M r
}

tearDown() {
	img_cleanup
}

test_objects() {
	for verb in info check map compare; do
		same $verb --object
		same $verb --object '' a
		same $verb --object '{}' a
		same $verb --object secret a
		same $verb --object foo a
	done
	for object in secret,foo secret,id=a,data secret,id secret,id=a,data=,x \
		secret,data=a,id throttle-group,id=a,x-bps-total \
		'{"qom-type": 1}' '{"qom-type": "secret", "id": 1}' \
		'{"qom-type": "secret", "id": "a", "data": 1}' \
		'{"qom-type": "secret", "id": "a", "data": "x", "format": null}' \
		'{"qom-type": "secret", "id": "a", "file": true}'; do
		same map --object "$object" a
	done
}

# Which of several faults is told of.
test_convert() {
	for options in '-C -c' --skip-broken-bitmaps '-n -o foo=1' \
		'-n -o help' '--target-image-opts --target-is-zero' \
		--target-is-zero '-o help -O qcow2'; do
		# shellcheck disable=SC2086
		same convert $options
		# shellcheck disable=SC2086
		same convert $options r
		# shellcheck disable=SC2086
		same convert $options nope x
	done
	for format in qcow2 qed qcow vmdk; do
		same convert -O $format -o backing_fmt=foo r x
		same convert -O $format -B r -F foo r x
	done
	same convert -O vmdk -B r -F raw r x
	same convert -n -O foo r a
	same convert -n -c r a
	same convert -n -c -O qcow2 r nope
	same convert -l s a r x
	same convert -l s a nope x
	same convert -n -B r r a
	same convert -n --target-image-opts -O raw r driver=raw,file.filename=a
	same convert -n --target-image-opts -c r driver=raw,file.filename=a
}

test_operands() {
	same bitmap
	same bitmap --
	same bitmap --add
	same bitmap --add a
	same bitmap -b a x y
	same create a b c d
	same create a 1M c d
	same create a 1M c
	same measure --size 1M --image-opts
	silent bitmap -g 0 --add a x
	same bitmap -g 9E --add a y
}

test_sizes() {
	same create -f raw x 8191P
	same resize --preallocation=full a 1M
	same resize --preallocation=falloc a +0
	same resize --preallocation=off a 1M
	same resize a 1M
	same convert -O raw -o backing_fmt=qcow2 a x
	same convert -O raw -F qcow2 a x
}

# No time for hashing a password is the least that there is.
test_encryption() {
	secret=secret,id=s,data=x
	same create --object $secret -q -f luks -o key-secret=s,iter-time=0 x 1M
	for number in -1 4294967296 x; do
		assertFalse "vm-img create --object $secret -q -f luks \
			-o key-secret=s,iter-time=$number x 1M 2>err"
	done
	same create -f qcow -o encrypt.format=luks x 1M
	same create -f qcow -o encrypt.format=foo x 1M
}

# Whoever may write to it is told that it was taken for raw.
test_guesses() {
	for line in 'commit r' 'rebase -u -b a -F qcow2 r' \
		'amend -o compat=1.1 r' 'check -r all r' 'check r' \
		'snapshot -c x r' 'snapshot -l r' 'resize r 1M' \
		'resize --image-opts file.filename=r 1M' \
		'resize -f raw r 1M' 'convert -n a r' 'map r' \
		'commit --image-opts file.filename=r' \
		'commit --image-opts driver=raw,file.filename=r'; do
		# shellcheck disable=SC2086 # a line is several words
		same $line
	done
}

# shellcheck disable=SC1091 # not part of the tree
# What may come yet is not taken for raw.
test_versions() {
	qemu-img create -q -f qcow q 1M
	for version in '\0\0\0\0' '\0\0\0\4' '\0\0\0\377' '\1\0\0\2' \
		'\377\377\377\377'; do
		for file in a q; do
			# shellcheck disable=SC2059 # of octal digits
			printf "$version" |
				dd of=$file bs=1 seek=4 conv=notrunc status=none
			same info $file
			same check $file
			same convert -O raw $file x
		done
	done
}

. shunit2
