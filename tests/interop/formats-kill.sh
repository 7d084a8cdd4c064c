#!/bin/sh
# SPDX-License-Identifier: ISC
# kill -9 of a writer of each format, again and again: qemu-img's check, where
# the format has one, finds nothing worse than leaks, and everything that the
# writer had finished is there, flushed or not. Every other kill hits an
# image that was left by the kill before.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/formats.sh

KILLS_EACH=${KILLS_EACH:-6}

setUp() {
	formats_dir
}

tearDown() {
	img_cleanup
}

# What QEMU does before it writes to such an image, or what we do; its check
# must not have anything to say then.
recover() { # FORMAT SEED
	case $1 in
	vhdx) ;;
	*) return ;;
	esac
	if [ $(($2 / 2 % 2)) = 0 ]; then
		qemu-img check -q -r all -f "$1" a.img >.check 2>&1 ||
			fail "$1, seed $2: $(cat .check)"
	else
		"$B/tests/tools/image-ops" --same-size a.img 1 0 ||
			fail "$1, seed $2: cannot be opened"
	fi
}

check_killed() { # FORMAT SEED
	has_check "$1" || return
	qemu-img check -f "$1" a.img >.check 2>&1
	case $? in
	0 | 3) ;;
	*)
		# Parallels: there was no time to say so, and no more.
		grep ERROR .check | grep -qvx \
			'ERROR image was not closed correctly' || return
		fail "$1, seed $2: $(head -n 3 .check)"
		;;
	esac
}

kill_many() { # FORMAT [OPTIONS]
	seed=1
	while [ $seed -le "$KILLS_EACH" ]; do
		if [ $((seed % 2)) = 1 ]; then
			disk disk 4M
			cp disk original
			vm-img convert -f raw -O "$1" ${2:+-o "$2"} disk a.img ||
				fail "convert -O $1"
		fi
		milliseconds=$((seed * 7919 % 60 + 4))
		"$B/tests/tools/image-writer" write a.img state $seed \
			$milliseconds 2>.err || fail "$1, seed $seed: $(cat .err)"
		recover "$1" $seed
		check_killed "$1" $seed
		"$B/tests/tools/image-writer" verify a.img state $seed \
			original 2>.err || fail "$1, seed $seed: $(cat .err)"
		seed=$((seed + 1))
	done
}

test_vdi() {
	kill_many vdi
}

test_vpc() {
	kill_many vpc force_size=on
}

test_vmdk() {
	kill_many vmdk
	kill_many vmdk subformat=streamOptimized
}

# A grain that is written in part is in another place afterwards: it must be
# there before the table says so. Of a new one this is too much to ask.
test_vmdk_power_failure() {
	truncate -s 2M original
	seq 1 250000 | dd of=original conv=notrunc status=none
	for seed in 1 2 3; do
		vm-img convert -f raw -O vmdk -o subformat=streamOptimized \
			original a.img
		timeout 100 "$B/tests/tools/image-crash" a.img $seed 80 \
			"${CRASH_STATES:-60}" original 2>.err
		assertEquals "seed $seed: $(cat .err)" 0 $?
	done
}

# A power failure leaves no entry of a table that leads beyond the file's end:
# nothing could be read there, nor would anything new be written.
test_vdi_power_failure() {
	truncate -s 4M original
	seq 1 50000 | dd of=original conv=notrunc status=none
	vm-img convert -f raw -O vdi original a.img
	timeout 100 "$B/tests/tools/image-crash" a.img 1 40 \
		"${CRASH_STATES:-60}" original 2>.err
	assertEquals "$(cat .err)" 0 $?
}

# And what comes after one spoils nothing that is there.
test_power_failure_and_on() {
	truncate -s 4M original
	seq 1 50000 | dd of=original conv=notrunc status=none
	for format in vmdk qcow; do
		for seed in 1 2; do
			vm-img convert -f raw -O $format original a.img
			timeout 100 "$B/tests/tools/image-crash" --goes-on \
				a.img $seed 40 "${CRASH_STATES:-70}" original \
				2>.err
			assertEquals "$format, seed $seed: $(cat .err)" 0 $?
		done
	done
}

test_vhdx() {
	kill_many vhdx block_size=1M
}

test_parallels() {
	kill_many parallels cluster_size=64k
}

test_qed() {
	kill_many qed cluster_size=4k
}

test_qcow1() {
	kill_many qcow
}

# A log to be replayed: not on an image that is opened for reading only.
test_vhdx_log() {
	vm-img create -q -f vhdx -o block_size=1M a.img 40M
	"$B/tests/tools/image-writer" write a.img state 3 60
	refused "Could not open 'a.img': VHDX image file 'a.img' opened \
read-only, but contains a log that needs to be replayed" info a.img
	assertEquals "$(vm-img info a.img 2>&1 | sed s/^vm/qemu/)" \
		"$(qemu-img info a.img 2>&1 | head -n 1)"
	cp a.img b.img
	qemu-img check -q -r all a.img >out 2>&1
	assertEquals "$(cat out)" 0 $?
	"$B/tests/tools/image-ops" --same-size b.img 1 0
	qemu-img compare -f vhdx -F vhdx a.img b.img >out 2>&1
	assertEquals "$(cat out)" 0 $?
}

. shunit2
