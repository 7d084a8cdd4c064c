#!/bin/sh
# SPDX-License-Identifier: ISC
# EIO and ENOSPC at each step of each change, by rule files for blkdebug: once,
# and from then on. What is left is sound, with leaks at worst, holds what was
# flushed, and the same change can be made after all; tests/tools/image-faults.c
# says how that is looked at. FAULTS=--all makes each turn of each step fail,
# not the first, the last and one between, in images of more kinds.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/qcow2.sh

setUp() {
	qcow2_dir
	image=$dir/a.qcow2
	seq 1 90000 >"$dir/raw"
	truncate -s 512k "$dir/raw"
	: >"$dir/name"
}

tearDown() {
	test_cleanup
}

# Data, a snapshot, and changes since then.
make_image() { # OPTIONS
	rm -f "$image" "$dir/data"
	qemu-img convert -f raw -O qcow2 -o "$1" "$dir/raw" "$image"
	case $1 in
	*data_file*) ;;
	*) qemu-img snapshot -c one "$image" ;;
	esac
	qemu-io -c 'write -P 3 100k 100k' -c 'write -z 300k 64k' "$image" \
		>"$dir/out"
}

faults() { # VERB...
	rm -f "$dir"/state.*
	# shellcheck disable=SC2086 # words
	timeout 600 "$B/tests/tools/image-faults" ${FAULTS-} $how \
		"--keep=$dir/state" "$image" "$@" >"$dir/n" 2>"$dir/err" ||
		fail "$options: $(cat "$dir/err")"
	for state in "$dir/state.1" "$dir/state.17"; do
		[ "$how" != --broken ] || continue
		[ -e "$state" ] || continue
		qemu-img check "$state" >"$dir/check" 2>&1
		case $? in
		0 | 3) ;;
		*) fail "$options: $*: $(cat "$dir/check")" ;;
		esac
	done
}

kinds() { # THE SHORT RUN'S, THE OTHERS
	[ "${FAULTS-}" = '' ] && echo "$1" || echo "$@"
}

test_writes() {
	for options in $(kinds cluster_size=4k \
		cluster_size=64k,extended_l2=on cluster_size=512,compat=0.10 \
		cluster_size=512,refcount_bits=64); do
		how=
		make_image "$options"
		faults flushed
		faults write 70000 90000
		faults zero 100000 200000
		faults discard 65536 262144
		faults compress "$dir/raw"
		faults empty
		faults backing name
		faults compact
	done
}

test_sizes() {
	for options in $(kinds cluster_size=4k \
		cluster_size=64k,extended_l2=on cluster_size=512); do
		how=
		make_image "$options"
		faults resize 3000320
		faults resize 250368
	done
}

test_snapshots() {
	for options in $(kinds cluster_size=4k cluster_size=512,compat=0.10 \
		cluster_size=64k,extended_l2=on); do
		how=
		make_image "$options"
		faults snapshot-create
		faults snapshot-apply
		faults snapshot-delete
	done
}

test_bitmaps() {
	for options in $(kinds cluster_size=512 cluster_size=64k); do
		how=
		make_image "$options"
		qemu-img bitmap --add -g 4k "$image" old
		qemu-io -c 'write -P 3 100k 50k' "$image" >"$dir/out"
		faults write 0 200000
		faults bitmap-add
		faults bitmap-merge
		faults bitmap-clear
		faults bitmap-off
		faults bitmap-remove
	done
}

test_amend() {
	for options in $(kinds cluster_size=4k cluster_size=512); do
		how=
		make_image "$options"
		faults amend refcount_bits 64
		faults amend refcount_bits 8
		faults amend compat 0.10
		make_image "$options,compat=0.10"
		faults amend compat 1.1
	done
}

# Counts too low and too high, flags, and no refcount block at all.
test_repair() {
	for options in $(kinds cluster_size=4k cluster_size=64k); do
		how=--broken
		make_image "$options"
		table=$(peek64 "$image" 48)
		block=$(peek_entry "$image" "$table")
		poke "$image" $((block + 12)) '\0000\0001\0000\0003\0000\0002'
		faults repair
		make_image "$options"
		poke "$image" "$table" "$(be64 0)"
		faults repair
	done
}

test_data_file() {
	for options in $(kinds cluster_size=4k cluster_size=64k,extended_l2=on); do
		for raw in off on; do
			options=$options,data_file=$dir/data,data_file_raw=$raw
			make_image "$options"
			how=--data=$dir/data
			faults flushed
			faults zero 100000 200000
			faults resize 3000320
			faults resize 250368
		done
	done
}

# The program's own verbs by names: they fail, with a message, and do no harm.
test_names() {
	options=names how=
	make_image cluster_size=4k
	qemu-img create -q -f qcow2 -o cluster_size=4k -b "$image" -F qcow2 \
		"$dir/over"
	qemu-io -c 'write -P 9 50k 100k' "$dir/over" >"$dir/out"
	cp "$dir/over" "$dir/over.made"
	qemu-img convert -O raw "$dir/over" "$dir/content"
	for event in pwritev l2_load l2_update l1_update refblock_update_part \
		cluster_alloc; do
		printf '[inject-error]\nevent = "%s"\nerrno = "28"\n' $event \
			>"$dir/rules"
		name=blkdebug:$dir/rules:$dir/over
		while read -r verb; do
			cp "$dir/over.made" "$dir/over"
			# shellcheck disable=SC2086 # words
			timeout 60 vm-img $verb "$name" >"$dir/out" 2>"$dir/err"
			status=$?
			[ $status = 0 ] || [ -s "$dir/err" ] ||
				fail "$event: $verb: no message"
			qemu-img check -q "$dir/over" >"$dir/check" 2>&1
			case $? in
			0 | 3) ;;
			*) fail "$event: $verb: $(cat "$dir/check")" ;;
			esac
			[ "${verb#convert}" = "$verb" ] || continue
			qemu-img compare -q -F raw "$dir/over" "$dir/content" ||
				fail "$event: $verb: another content"
		done <<-END
			convert -n -f raw -O qcow2 $dir/raw
			commit -d
			rebase -b $dir/raw -F raw
			amend -o refcount_bits=8
			check -r all
			snapshot -c new
			compact
		END
	done
	qemu-img check -q "$image" || fail 'the base'
}

. shunit2
