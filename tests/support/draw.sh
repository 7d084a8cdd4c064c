# shellcheck shell=sh
# SPDX-License-Identifier: ISC
# What the long tests draw by their seeds; sourced.
#
#	draw_by SEED	Begin with its digits, in a mixed base.
#	choose VARIABLE VALUE...
#			The next digit chooses.
#	can_be_direct DIR
#			Whether files there take O_DIRECT: before Linux 6.6
#			those in memory do not, since then by whole pages.
draw=0

draw_by() {
	draw=$1
}

choose() {
	var=$1
	shift
	i=$((draw % $# + 1))
	draw=$((draw / $#))
	eval "$var=\${$i}"
}

can_be_direct() {
	dd if=/dev/zero of="$1/direct" bs=64k count=1 oflag=direct 2>/dev/null
}
