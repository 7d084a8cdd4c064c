#!/bin/sh
# What every program has in common, and what installing gives.

programs='vm-console vm-cpu vm-disk vm-img vm-net vm-run'
bin=${B:-build}/bin

oneTimeSetUp()
{
	dir=$(mktemp -d)
}

oneTimeTearDown()
{
	[ -z "$dir" ] || rm -rf "$dir"
}

test_help_goes_to_standard_output()
{
	for p in $programs; do
		"$bin/$p" --help >"$dir/out" 2>"$dir/err" </dev/null
		assertEquals "$p: status" 0 $?
		assertTrue "$p: says something" "[ -s $dir/out ]"
		assertFalse "$p: standard error is empty" "[ -s $dir/err ]"
	done
}

test_version_is_one_line()
{
	for p in $programs; do
		out=$("$bin/$p" --version 2>&1 </dev/null)
		assertEquals "$p: status" 0 $?
		assertContains "$p" "$(printf '%s\n' "$out" | head -n 1)" "$p"
	done
}

# vm-img has qemu-img's status for this, 1.
test_unknown_option_is_refused_in_one_line()
{
	for p in $programs; do
		want=2
		[ "$p" != vm-img ] || want=1
		"$bin/$p" --no-such-option >"$dir/out" 2>"$dir/err" </dev/null
		assertEquals "$p: status" $want $?
		assertFalse "$p: standard output is empty" "[ -s $dir/out ]"
		assertContains "$p" "$(head -n 1 "$dir/err")" no-such-option
		assertContains "$p" "$(head -n 1 "$dir/err")" "$p: "
	done
}

test_every_option_is_in_the_man_page()
{
	for p in $programs; do
		page=$(mandoc -Tascii "man/$p.1" | col -b)
		for o in $("$bin/$p" --help | grep -oE -- '--[a-z][a-z-]+' |
			sort -u); do
			assertContains "$p $o" "$page" "$o"
		done
	done
}

test_family_page_lists_each_program_as_its_own_page_does()
{
	for p in $programs; do
		nd=$(sed -n 's/^\.Nd //p' "man/$p.1")
		line=$(grep -A1 "^\.It Xr $p 1" man/pipevisor.7 | tail -n 1)
		assertEquals "$p" "$line" "$nd"
	done
}

test_man_pages_are_clean()
{
	assertEquals "" "$(mandoc -Tlint -Wwarning man/*.[157] 2>&1)"
}

test_install_puts_programs_and_pages_in_place()
{
	make -s install DESTDIR="$dir/root" PREFIX=/usr >"$dir/log" 2>&1
	assertEquals "$(cat "$dir/log")" 0 $?
	for p in $programs; do
		assertTrue "$p" "[ -x $dir/root/usr/bin/$p ]"
		assertTrue "$p.1" "[ -f $dir/root/usr/share/man/man1/$p.1 ]"
	done
	assertTrue "vm-run.5" "[ -f $dir/root/usr/share/man/man5/vm-run.5 ]"
	assertTrue "pipevisor.7" \
		"[ -f $dir/root/usr/share/man/man7/pipevisor.7 ]"
	# A link of this name is how it takes qemu-img's place.
	ln -s vm-img "$dir/root/usr/bin/qemu-img"
	assertContains "$("$dir/root/usr/bin/qemu-img" nonsense 2>&1)" \
		"qemu-img: "
}

# shellcheck source=/dev/null
. shunit2
