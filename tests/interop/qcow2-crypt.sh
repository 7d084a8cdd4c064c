#!/bin/sh
# SPDX-License-Identifier: ISC
# Encrypted qcow2 and qcow images: LUKS, and the legacy AES.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/formats.sh
. tests/support/luks.sh

setUp() {
	formats_dir
	disk src 3M
}

tearDown() {
	img_cleanup
}

checked() { # IMAGE
	qemu-img check --object "$secret" --image-opts \
		"driver=qcow2,encrypt.key-secret=key,file.filename=$1" \
		>.out 2>&1 || fail "$1: $(cat .out)"
}

# Whole clusters, parts of them, and zeroes over both.
written() { # IMAGE
	ours abc qcow2 "$1" write 0 <src
	equal qcow2 "$1" src encrypt.
	cp src changed
	head -c 1111 /dev/urandom >part
	ours abc qcow2 "$1" write 199999 <part
	dd if=part of=changed bs=1 seek=199999 conv=notrunc status=none
	ours abc qcow2 "$1" zero 300001 500000
	dd if=/dev/zero of=changed bs=1 seek=300001 count=500000 \
		conv=notrunc status=none
	# Into a cluster of zeroes, and where nothing was written yet.
	ours abc qcow2 "$1" write 500001 <part
	dd if=part of=changed bs=1 seek=500001 conv=notrunc status=none
	checked "$1"
	equal qcow2 "$1" changed encrypt.
}

test_luks_made_here() {
	for options in cluster_size=512 \
		preallocation=metadata,encrypt.cipher-alg=twofish-256 \
		${FORMATS_LONG:+cluster_size=65536 compat=0.10} \
		${FORMATS_LONG:+refcount_bits=1,cluster_size=4096} \
		encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv; do
		rm -f a.qcow2
		# shellcheck disable=SC2046 # many options
		ours abc qcow2 a.qcow2 create 3145728 encrypt.format=luks \
			encrypt.key-secret=key encrypt.iter-time=5 \
			$(echo "$options" | tr , ' ')
		checked a.qcow2
		same info a.qcow2
		written a.qcow2
	done
	same info --output=json a.qcow2
}

test_luks_made_there() {
	qemu_create qcow2 a.qcow2 3M encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=5,cluster_size=4096
	size=$(stat -c %s a.qcow2)
	qemu-img convert -n --object "$secret" -f raw src --target-image-opts \
		driver=qcow2,encrypt.key-secret=key,file.filename=a.qcow2
	equal qcow2 a.qcow2 src encrypt.
	same info a.qcow2
	same info --output=json a.qcow2
	written a.qcow2
	ours abc qcow2 b.qcow2 create 3145728 encrypt.format=luks \
		encrypt.key-secret=key encrypt.iter-time=5 cluster_size=4096
	assertEquals "$size" "$(stat -c %s b.qcow2)"
	assertEquals 'qcow2 header' "$(head -c 4096 b.qcow2 | sha256sum)" \
		"$(head -c 4096 a.qcow2 | sha256sum)"
}

test_legacy_aes() {
	qemu_create qcow2 a.qcow2 3M \
		encrypt.format=aes,encrypt.key-secret=key,cluster_size=4096
	qemu-img convert -n --object "$secret" -f raw src --target-image-opts \
		driver=qcow2,encrypt.key-secret=key,file.filename=a.qcow2
	equal qcow2 a.qcow2 src encrypt.
	same info a.qcow2
	same info --output=json a.qcow2
	written a.qcow2
	for options in encrypt.format=aes encryption=on; do
		rm -f a.qcow2
		ours abc qcow2 a.qcow2 create 3145728 $options \
			encrypt.key-secret=key
		same info a.qcow2
		written a.qcow2
	done
}

test_legacy_aes_of_qcow() {
	qemu_create qcow a.qcow 3M encrypt.format=aes,encrypt.key-secret=key
	qemu-img convert -n --object "$secret" -f raw src --target-image-opts \
		driver=qcow,encrypt.key-secret=key,file.filename=a.qcow
	equal qcow a.qcow src encrypt.
	same info a.qcow
	same info --output=json a.qcow
	ours abc qcow b.qcow create 3145728 encrypt.format=aes \
		encrypt.key-secret=key
	same info b.qcow
	ours abc qcow b.qcow write 0 <src
	equal qcow b.qcow src encrypt.
	head -c 1111 /dev/urandom >part
	ours abc qcow b.qcow write 199999 <part
	dd if=part of=src bs=1 seek=199999 conv=notrunc status=none
	ours abc qcow b.qcow zero 300001 500000
	dd if=/dev/zero of=src bs=1 seek=300001 count=500000 conv=notrunc \
		status=none
	equal qcow b.qcow src encrypt.
}

test_refused() {
	make='ours abc qcow2 a.qcow2 create 1048576'
	assertEquals "image-secret: a.qcow2: Parameter 'encrypt.key-secret' is required for cipher" \
		"$($make encrypt.format=luks 2>&1)"
	assertEquals "image-secret: a.qcow2: Parameter 'encrypt.format' is missing" \
		"$($make encrypt.key-secret=key 2>&1)"
	assertEquals "image-secret: a.qcow2: Parameter 'format' does not accept value 'foo'" \
		"$($make encrypt.format=foo 2>&1)"
	assertEquals "image-secret: a.qcow2: Parameter 'encrypt.iter-time' is unexpected" \
		"$($make encrypt.format=aes encrypt.iter-time=1 2>&1)"
	assertFalse 'no file' '[ -e a.qcow2 ]'
	$make encrypt.format=luks encrypt.key-secret=key encrypt.iter-time=5
	assertEquals "image-secret: a.qcow2: Invalid password, cannot unlock any keyslot" \
		"$(ours abd qcow2 a.qcow2 read 2>&1)"
	assertEquals "image-secret: a.qcow2: Parameter 'encrypt.key-secret' is required for cipher" \
		"$(ours '' qcow2 a.qcow2 read 2>&1)"
	# A header somewhere else, and none at all.
	cp a.qcow2 b.qcow2
	poke b.qcow2 120 "$(be64 1000)"
	refused "Could not open 'b.qcow2': Encryption header offset '1000' is not a multiple of cluster size '65536'" \
		info b.qcow2
	poke b.qcow2 120 "$(be64 0x7fffffffffff0000)"
	refused "Could not open 'b.qcow2': LUKS header past end of file" \
		info b.qcow2
	cp a.qcow2 b.qcow2
	poke b.qcow2 128 "$(be64 100)"
	refused "Could not open 'b.qcow2': LUKS header past end of file" \
		info b.qcow2
	cp a.qcow2 b.qcow2
	poke b.qcow2 112 "$(be32 0)$(be32 0)"
	refused "Could not open 'b.qcow2': CRYPTO header required for LUKS encryption method" \
		info b.qcow2
}

# A length of the header that is not what is there: it reads as QEMU reads it,
# but no check takes key material for what nobody needs, nor does anybody write.
test_luks_of_another_length() {
	qemu-img convert --object "$secret" -f raw -O qcow2 -o \
		encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10 \
		src a.qcow2
	for len in 0x100000 0x200000 0x10000000 0x7fffffffffffffff \
		-4611686018427387904 -256; do
		cp a.qcow2 b.qcow2
		poke b.qcow2 128 "$(be64 $len)"
		cp b.qcow2 c.qcow2
		equal qcow2 b.qcow2 src encrypt.
		for option in '' '-r leaks' '-r all'; do
			# shellcheck disable=SC2086 # none, or two words
			vm-img check $option b.qcow2 >.out 2>&1
			status=$?
			case $len in
			0x?00000) assertEquals "$len $option" 0 $status ;;
			*)
				assertEquals "$len $option" 1 $status
				assertEquals "$len $option" "\
vm-img: Could not open 'b.qcow2': LUKS header past end of file" "$(cat .out)"
				;;
			esac
			cmp b.qcow2 c.qcow2
			assertEquals "$len $option: as it was" 0 $?
		done
	done
	assertEquals 'image-secret: b.qcow2: LUKS header past end of file' \
		"$(ours abc qcow2 b.qcow2 zero 0 65536 2>&1)"
}

. shunit2
