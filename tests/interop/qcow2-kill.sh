#!/bin/sh
# SPDX-License-Identifier: ISC
# kill -9 of a qcow2 writer, 200 times at random points: qemu-img check never
# finds corruption (leaks are allowed), and everything that the writer had
# finished is there, flushed or not. Half of the kills hit an image that was
# left by the kill before.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/qcow2.sh

KILLS_EACH=15

setUp() {
	qcow2_dir
	truncate -s 4M "$dir/raw"
	seq 1 300000 | dd of="$dir/raw" conv=notrunc status=none
}

tearDown() {
	test_cleanup
}

# One kill after some milliseconds; what it left is judged.
kill_one() { # IMAGE SEED
	milliseconds=$(($2 * 7919 % 90 + 4))
	"$B/tests/tools/image-writer" write "$1" "$1.state" "$2" \
		$milliseconds 2>"$1.writer" || {
		fail "seed $2: $(cat "$1.writer")"
		return 1
	}
	qemu-img check "$1" >"$1.check" 2>&1
	case $? in
	0 | 3) ;;
	*)
		fail "seed $2, $milliseconds ms: $(head -n 2 "$1.check")"
		return 1
		;;
	esac
	"$B/tests/tools/image-writer" verify "$1" "$1.state" "$2" \
		"$1.original" 2>"$1.verify" || {
		fail "seed $2, $milliseconds ms: $(cat "$1.verify")"
		return 1
	}
}

# An image made by qemu-img with what is in $dir/raw, killed again and again;
# every other time it is made anew.
kill_many() { # FIRST-SEED CONVERT-OPTION...
	seed=$1
	shift
	end=$((seed + KILLS_EACH))
	while [ "$seed" -lt $end ]; do
		if [ $((seed % 2)) = 0 ]; then
			make_image "$dir/$1.qcow2" "$@"
		fi
		kill_one "$dir/$1.qcow2" "$seed" || return
		seed=$((seed + 1))
	done
}

make_image() { # IMAGE KIND OPTIONS
	cp "$dir/raw" "$1.original"
	case $2 in
	empty)
		truncate -s 0 "$1.original"
		truncate -s 4M "$1.original"
		qemu-img create -q -f qcow2 -o "$3" "$1" 4M
		;;
	full) qemu-img convert -f raw -O qcow2 -o "$3" "$dir/raw" "$1" ;;
	compressed)
		qemu-img convert -c -f raw -O qcow2 -o "$3" "$dir/raw" "$1"
		;;
	overlay)
		qemu-img create -q -f qcow2 -o "$3" -b "$dir/raw" -F raw "$1" 4M
		;;
	snapshot)
		qemu-img convert -f raw -O qcow2 -o "$3" "$dir/raw" "$1"
		qemu-img snapshot -c s "$1"
		;;
	esac
}

test_empty() {
	kill_many 0 empty cluster_size=64k
}

test_empty_small_clusters() {
	kill_many 100 empty cluster_size=512,refcount_bits=64
}

test_empty_large_clusters() {
	kill_many 200 empty cluster_size=1M,refcount_bits=1
}

test_full() {
	kill_many 300 full cluster_size=64k
}

test_full_version_2() {
	kill_many 400 full cluster_size=4k,compat=0.10
}

test_compressed() {
	kill_many 500 compressed cluster_size=64k
}

test_overlay() {
	kill_many 600 overlay cluster_size=64k
}

test_overlay_version_2() {
	kill_many 700 overlay cluster_size=16k,compat=0.10
}

test_snapshot() {
	kill_many 800 snapshot cluster_size=64k
}

test_snapshot_small_clusters() {
	kill_many 900 snapshot cluster_size=512
}

test_overlay_with_subclusters() {
	kill_many 1000 overlay cluster_size=64k,extended_l2=on
}

test_snapshot_with_subclusters() {
	kill_many 1100 snapshot cluster_size=16k,extended_l2=on
}

test_data_file() {
	kill_many 1200 empty "cluster_size=64k,data_file=$dir/data"
}

. shunit2
