#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-img info where versions of qemu-img differ: limits, and the files of an
# image. Debian's qemu-img knows neither: keys, texts and their order are those
# of 10.2.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
}

tearDown() {
	img_cleanup
}

# Of the lines from the first pattern to before the second.
part() {
	sed -n "/$1/,/$2/p" | sed '$d'
}

test_limits() {
	qemu-img create -q -f qcow2 a.qcow2 1M
	assertEquals 'Block limits:
    write zeroes alignment: 65536
    request alignment: 1
    min mem alignment: 1
    discard alignment: 65536
    opt mem alignment: 4096
    max iov: 1024' "$(img info --limits a.qcow2 | part '^Block' '^Format')"
	# All else is as it was.
	img info --limits a.qcow2 | sed '/^Block/,/max iov/d' >ours
	assertEquals "$(qemu-img info a.qcow2)" "$(cat ours)"
	assertEquals '{
    "limits": {
        "write-zeroes-alignment": 65536,
        "request-alignment": 1,
        "min-mem-alignment": 1,
        "discard-alignment": 65536,
        "opt-mem-alignment": 4096,
        "max-iov": 1024
    },
    "virtual-size": 1048576,' \
		"$(img info --limits --output=json a.qcow2 | head -n 10)"
}

limit() { # NAME ARGUMENT...
	name=$1
	shift
	img info --limits "$@" | sed -n "s/^    $name: //p"
}

# As many bytes of the file as QEMU's drivers read where one is asked for.
test_request_alignment() {
	for format in qcow2 vdi vpc vmdk parallels vhdx qed qcow; do
		qemu-img create -q -f "$format" a 4M
		case $format in
		parallels | vhdx | qed | qcow) n=512 ;;
		*) n=1 ;;
		esac
		assertEquals "$format" $n "$(limit 'request alignment' a)"
	done
	truncate -s 1M a.raw
	assertEquals 'a raw image that was guessed' 512 \
		"$(limit 'request alignment' a.raw)"
	assertEquals 'a raw image' 1 "$(limit 'request alignment' -f raw a.raw)"
	img create -q -f qcow2 --object secret,id=s,data=x \
		-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 \
		a.qcow2 1M
	assertEquals 'an encrypted one' 512 \
		"$(limit 'request alignment' a.qcow2)"
}

# Where QEMU's dictionary has both.
test_encrypted_with_data_file() {
	qemu-img create -q -f qcow2 --object secret,id=s,data=x \
		-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,data_file=d \
		a 1M
	same info a
	same info --output=json a
}

test_other_limits() {
	qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=128k a 1M
	assertEquals 4096 "$(limit 'write zeroes alignment' a)"
	assertEquals 131072 "$(limit 'discard alignment' a)"
	qemu-img create -q -f qed a 1M
	assertEquals 2147418112 "$(limit 'max write zeroes' a)"
	qemu-img create -q -f vmdk a 1M
	assertEquals 65536 "$(limit 'write zeroes alignment' a)"
	assertEquals '' "$(limit 'discard alignment' a)"
	assertTrue 'without the page cache' \
		"[ $(limit 'min mem alignment' -t none a) -ge 1 ]"
	assertEquals 'qemu-img: Invalid cache option: some' \
		"$(img info -t some a 2>&1)"
}

test_files() {
	qemu-img create -q -f qcow2 a.qcow2 1M
	(
		qemu-img info a.qcow2
		echo "Child node '/file':
    filename: a.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: $(qemu-img info a.qcow2 | sed -n 's/^disk size: //p')"
	) >expected
	assertEquals "$(cat expected)" "$(img info --compat=10.2 a.qcow2)"
	assertEquals "    Block limits:
        request alignment: 1
        min mem alignment: 1
        opt mem alignment: 4096
        max iov: 1024" "$(img info --compat=10.2 --limits a.qcow2 | tail -n 5)"
}

# The driver of what an image is on, when that is no file.
test_other_files() {
	qemu-img create -q -f qcow2 a.qcow2 1M
	for options in \
		"throttle driver=qcow2,file.driver=throttle,file.throttle-group=t,file.file.filename=a.qcow2" \
		"blkdebug driver=qcow2,file.driver=blkdebug,file.image.filename=a.qcow2" \
		"raw driver=raw,file.driver=raw,file.offset=512,file.file.filename=a.qcow2" \
		"qcow2 driver=raw,file.driver=qcow2,file.file.filename=a.qcow2" \
		"null-co driver=raw,file.driver=null-co,file.size=1M" \
		"null-aio driver=raw,file.driver=null-aio,file.size=1M" \
		"quorum driver=raw,file.driver=quorum,file.vote-threshold=1,file.children.0.driver=file,file.children.0.filename=a.qcow2"; do
		img info --compat=10.2 --object throttle-group,id=t \
			--image-opts "${options#* }" >out 2>&1
		assertEquals "${options#* }: $(cat out)" \
			"    protocol type: ${options%% *}" \
			"$(grep 'protocol type' out)"
	done
}

test_files_as_json() {
	truncate -s 1000 a.raw
	size=$(qemu-img info --output=json a.raw | sed -n 's/.*actual-size": //p')
	assertEquals "{
    \"children\": [
        {
            \"name\": \"file\",
            \"info\": {
                \"children\": [
                ],
                \"virtual-size\": 1024,
                \"filename\": \"a.raw\",
                \"format\": \"file\",
                \"actual-size\": $size
                \"format-specific\": {
                    \"type\": \"file\",
                    \"data\": {
                    }
                },
                \"dirty-flag\": false
            }
        }
    ],
$(qemu-img info --output=json a.raw | sed 1d)" \
		"$(img info --compat=10.2 --output=json a.raw)"
}

# The last one first, as QEMU's list of children has them.
test_files_of_vmdk() {
	qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse a.vmdk 5G
	assertEquals "Child node '/extents.2':
Child node '/extents.1':
Child node '/extents.0':
Child node '/file':" "$(img info --compat=10.2 a.vmdk | grep Child)"
	assertEquals 'a-s003.vmdk' "$(img info --compat=10.2 a.vmdk |
		sed -n 's/^    filename: //p' | head -n 1)"
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
