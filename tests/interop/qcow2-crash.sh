#!/bin/sh
# SPDX-License-Identifier: ISC
# The order of writes: random operations are recorded system call by system
# call, and the image is made as a kill or a power failure could have left it
# at random moments. It is always sound, and what was done is there. Some of
# these states are shown to qemu-img check as well.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/qcow2.sh

setUp() {
	qcow2_dir
	flags=
	ops=80
	image=$dir/a.qcow2
	truncate -s 2M "$dir/empty"
	truncate -s 2M "$dir/raw"
	seq 1 200000 | dd of="$dir/raw" conv=notrunc status=none
}

tearDown() {
	test_cleanup
}

# The command makes the image anew for each seed.
crash() { # NAME ORIGINAL COMMAND...
	name=$1
	original=$2
	shift 2
	for seed in ${CRASH_SEEDS:-1 2 3}; do
		rm -f "$image"
		"$@" "$image" || fail "$name: cannot be made"
		# shellcheck disable=SC2086 # words
		timeout 100 "$B/tests/tools/image-crash" $flags "$image" "$seed" \
			$ops "${CRASH_STATES:-80}" "$original" "$dir/state" \
			2>"$dir/log" ||
			fail "$name: $(cat "$dir/log")"
		for state in "$dir"/state.[0-9] "$dir"/state.1[0-9]; do
			qemu-img check "$state" >"$dir/check" 2>&1
			case $? in
			0 | 3) ;;
			*) fail "$name: $(cat "$dir/check")" ;;
			esac
		done
	done
}

create() { # OPTIONS IMAGE
	qemu-img create -q -f qcow2 -o "$1" "$2" 2M
}

create_over() { # OPTIONS IMAGE
	qemu-img create -q -f qcow2 -o "$1" -b "$dir/raw" -F raw "$2"
}

convert() { # OPTIONS IMAGE
	qemu-img convert -f raw -O qcow2 -o "$1" "$dir/raw" "$2"
}

compress() { # OPTIONS IMAGE
	qemu-img convert -c -f raw -O qcow2 -o "$1" "$dir/raw" "$2"
}

with_snapshot() { # COMMAND OPTIONS IMAGE
	"$1" "$2" "$3" && qemu-img snapshot -c s "$3"
}

test_empty() {
	for options in cluster_size=64k cluster_size=512 \
		cluster_size=4k,refcount_bits=64 cluster_size=1M \
		cluster_size=512,compat=0.10; do
		crash "empty $options" "$dir/empty" create $options
	done
}

test_overlay() {
	for options in cluster_size=64k,extended_l2=on cluster_size=512 \
		cluster_size=16k,compat=0.10; do
		crash "overlay $options" "$dir/raw" create_over $options
	done
}

test_full() {
	crash full "$dir/raw" convert cluster_size=64k
	crash full "$dir/raw" convert cluster_size=1k,compat=0.10
}

test_compressed() {
	crash compressed "$dir/raw" compress cluster_size=64k
	crash compressed "$dir/raw" compress cluster_size=4k
}

test_snapshot() {
	crash snapshot "$dir/raw" with_snapshot convert cluster_size=64k
	crash snapshot "$dir/raw" with_snapshot convert cluster_size=512
	crash snapshot "$dir/raw" with_snapshot compress \
		cluster_size=64k,extended_l2=on
}

# Guest data and metadata in two files, which nothing but flushes orders. A raw
# data file reads as the disk does, whatever of both was lost.
crash_both() { # OPTION DATA-FILE'S OPTIONS
	for seed in ${CRASH_SEEDS:-1 2 3}; do
		rm -rf "$dir/both"
		mkdir -p "$dir/both" "$dir/states"
		(cd "$dir/both" && create "data_file=data,$2" a.qcow2)
		# From a folder without such a file: it is beside the image.
		# shellcheck disable=SC2086 # words
		timeout 100 "$B/tests/tools/image-crash" $1 \
			--data="$dir/both/data" "$dir/both/a.qcow2" "$seed" 80 \
			"${CRASH_STATES:-80}" "$dir/empty" "$dir/states" \
			2>"$dir/log" || fail "$2, seed $seed: $(cat "$dir/log")"
		(cd "$dir/states" && qemu-img check image) >"$dir/check" 2>&1
		case $? in
		0 | 3) ;;
		*) fail "$2: $(cat "$dir/check")" ;;
		esac
	done
}

test_data_file() {
	for options in cluster_size=4k cluster_size=64k,extended_l2=on; do
		crash_both '' $options
	done
}

test_raw_data_file() {
	for options in cluster_size=4k cluster_size=16k,extended_l2=on; do
		crash_both --raw data_file_raw=on,$options
	done
}

# Metadata is written behind: what a flush had covered is there, and nothing
# else need be.
test_behind() {
	flags=--behind
	crash 'behind: empty' "$dir/empty" create cluster_size=512
	crash 'behind: empty' "$dir/empty" create \
		cluster_size=4k,refcount_bits=1
	crash 'behind: overlay' "$dir/raw" create_over \
		cluster_size=16k,extended_l2=on
	crash 'behind: compressed' "$dir/raw" compress cluster_size=4k
	crash 'behind: snapshot' "$dir/raw" with_snapshot convert \
		cluster_size=512
	flags='--behind --full'
	crash 'behind, full: empty' "$dir/empty" create cluster_size=64k
	crash 'behind, full: snapshot' "$dir/raw" with_snapshot compress \
		cluster_size=64k
}

# Every thirtieth write fails with ENOSPC, of data and of metadata alike.
test_full_disk() {
	flags=--full
	crash 'full: empty' "$dir/empty" create cluster_size=64k
	crash 'full: empty' "$dir/empty" create \
		cluster_size=512,refcount_bits=64
	crash 'full: overlay' "$dir/raw" create_over cluster_size=4k
	crash 'full: snapshot' "$dir/raw" with_snapshot compress \
		cluster_size=64k
}

# Who waits for a flush lets others go on.
test_threads() {
	flags=--threads=4
	ops=160
	crash 'threads: empty' "$dir/empty" create \
		cluster_size=512,refcount_bits=1
	crash 'threads: overlay' "$dir/raw" create_over \
		cluster_size=16k,extended_l2=on
	crash 'threads: snapshot' "$dir/raw" with_snapshot compress \
		cluster_size=4k
}

. shunit2
