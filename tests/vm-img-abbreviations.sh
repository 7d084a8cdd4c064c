#!/bin/sh
# SPDX-License-Identifier: ISC
# Long options that are cut short: what means one thing to qemu-img goes on
# meaning that, though vm-img has more names that begin so.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	mkdir theirs ours
	for folder in theirs ours; do
		(
			cd $folder || exit
			qemu-img create -q -f qcow2 a.qcow2 1M
			qemu-img bitmap --add a.qcow2 b
		)
	done
}

tearDown() {
	img_cleanup
}

# Names that vm-img has; those that qemu-img does not have, it refuses.
names() { # VERB
	vm-img --help | sed -n "/^Options of $1:/,/^\$/s/.* --\\([a-z-]*\\).*/\\1/p"
}

# All beginnings that several names have, and of each the first one and all of it
# that no other has.
beginnings() { # VERB
	names "$1" | awk '{
		name[NR] = $0
		for (i = 1; i <= length($0); i++)
			n[substr($0, 1, i)]++
	}
	END {
		for (j = 1; j <= NR; j++) {
			print name[j]
			for (i = 1; i <= length(name[j]); i++) {
				print substr(name[j], 1, i)
				if (n[substr(name[j], 1, i)] == 1)
					break
			}
		}
	}' | sort -u
}

# Without an operand all verbs fail, once they have taken their options.
test_all() {
	for verb in amend bench bitmap check commit compare convert create dd \
		info map measure rebase snapshot; do
		for name in $(beginnings $verb); do
			qemu-img $verb --"$name" >theirs.out 2>&1
			! grep -q 'unrecognized option' theirs.out || continue
			img $verb --"$name" >ours.out 2>&1
			! grep -q '^usage:' theirs.out || continue
			cmp -s theirs.out ours.out ||
				fail "$verb --$name: $(head -n 1 ours.out)"
		done
	done
}

test_meanings() {
	compare_lines <<'EOF2'
qemu-img info --i driver=qcow2,file.filename=a.qcow2
qemu-img info --o json a.qcow2
qemu-img info --b a.qcow2
qemu-img bitmap --a a.qcow2 c
qemu-img bitmap --c a.qcow2 b
qemu-img bitmap --d a.qcow2 b
qemu-img bitmap --r a.qcow2 b
qemu-img bitmap --source-fi a.qcow2 --source-fo qcow2 --m c a.qcow2 c
qemu-img resize --s a.qcow2 512k
qemu-img resize --p=full a.qcow2 2M
qemu-img resize --i driver=qcow2,file.filename=a.qcow2 3M
qemu-img info --output=json --f=qcow2 a.qcow2
qemu-img info --fo qcow2 a.qcow2
qemu-img map --s 64k --m 64k a.qcow2
qemu-img convert --b -O qcow2 a.qcow2 n.qcow2
qemu-img convert --t -n a.qcow2 driver=qcow2,file.filename=n.qcow2
qemu-img measure --s 1M -O qcow2
EOF2
}

# With --compat=10.2 there are more names in that place.
test_later() {
	for words in 'info --i' 'info --l' 'bitmap --a' 'commit --c' \
		'convert --comp'; do
		eval "set -- $words"
		img "$1" --compat=10.2 "$2" none >out 2>&1
		assertFalse "$words: $(cat out)" \
			"grep -q 'ambiguous\|unrecognized' out"
	done
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
