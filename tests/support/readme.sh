# SPDX-License-Identifier: ISC
# shellcheck shell=sh
# The README's commands, for the tests that run them as they are written
# there: the blocks marked as shell, each after the first, which goes into the
# folder that make demo makes. To be sourced.

# block N: what is to be run for the Nth block, in $dir/block-N.
block()
{
	awk -v wanted="$1" '
		/^```sh$/ { n++; on = 1; next }
		/^```$/ { on = 0 }
		on && (n == 1 || n == wanted)' README.md
}

# run_block N: its output in $out.
run_block()
{
	block "$1" >"$dir/block-$1"
	timeout -k 5 100 bash "$dir/block-$1" >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
	out=$(cat "$dir/out") err=$(cat "$dir/err")
	[ $status = 0 ] || echo "status $status: $err: $out" | tail -n 60
	return $status
}

oneTimeSetUp()
{
	dir=$(mktemp -d)
	B=build tests/demo.d/prepare build/demo
}
