# shellcheck shell=sh
# SPDX-License-Identifier: ISC
# Shell functions for tests that hold vm-img against qemu-img. Source it, with
# support/guest.sh before it; tests run in a folder of their own, $dir.
#
#	img_dir, img_cleanup	For setUp and tearDown.
#	img ARG...		vm-img under the name of qemu-img: as messages
#				begin with that name, they must be the same.
#	same ARG...		Both, with the same arguments in the same place:
#				output, messages and status must not differ.
#				before() is called before each if there is one.
#	refused TEXT ARG...	vm-img fails with status 1, nothing on standard
#				output, and TEXT as its message's first line.
#	silent ARG...		vm-img succeeds and says nothing on either.
#	compare_lines		Lines of shell from standard input, in the folders
#				theirs and ours: what they print is the same
#				with qemu-img and with a link of that name to
#				vm-img.
#	random FILE SIZE	A file of that many random bytes.
# shellcheck disable=SC2154 # dir is set by test_dir
top=$(pwd)

img_dir() {
	test_dir
	mkdir "$dir/link"
	ln -s "$B/bin/vm-img" "$dir/link/qemu-img"
	cd "$dir" || return 1
}

img_cleanup() {
	cd "$top" || return 1
	test_cleanup
}

img() {
	timeout 120 "$dir/link/qemu-img" "$@"
}

before() {
	:
}

# Names that no test uses for an image.
outcome() {
	before
	timeout 120 "$@" >".out" 2>".err"
	echo $? >>".err"
	cat ".out" ".err"
}

same() {
	theirs=$(outcome qemu-img "$@")
	ours=$(outcome "$dir/link/qemu-img" "$@")
	assertEquals "qemu-img $*" "$theirs" "$ours"
}

refused() {
	text=$1
	shift
	assertEquals "vm-img $*" "vm-img: $text
1" "$(
		timeout 60 vm-img "$@" 2>&1 >.out | head -n 1
		timeout 60 vm-img "$@" >/dev/null 2>&1
		echo $?
	)"
	assertFalse "output of vm-img $*" "[ -s .out ]"
}

silent() {
	assertEquals "vm-img $*" 0 "$(
		timeout 120 vm-img "$@" 2>&1
		echo $?
	)"
}

random() {
	head -c "$2" /dev/urandom >"$1"
}

# Lines from standard input, each by a shell of its own.
run_lines() { # FOLDER PATH
	while read -r line; do
		[ -n "$line" ] || continue
		echo "\$ $line"
		# Read by the shell that the line is for.
		(cd "$1" && timeout 60 env PATH="$2" sh -c "$line" </dev/null 2>&1)
		echo "status $?"
	done
}

compare_lines() {
	cat >lines
	run_lines theirs "$PATH" <lines >theirs.out &
	run_lines ours "$dir/link:$PATH" <lines >ours.out
	wait
	diff -U3 theirs.out ours.out >difference
	assertEquals '' "$(head -n 60 difference)"
}
