#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-console with vm-cpu and an unmodified kernel: the virtio console in a
# terminal, over kill -9 of vm-console, and the serial port beside it.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh

setUp() {
	test_dir
}

tearDown() {
	tmux -S "$dir/tmux" kill-server 2>/dev/null
	test_cleanup
}

console() {
	start console "$B/bin/vm-console" --socket-path="$dir/v" \
		--serial="$dir/s" --attach="$dir/a" --log="$dir/log"
	wait_socket "$dir/v" && wait_socket "$dir/s" && wait_socket "$dir/a"
}

guest() {
	start guest timeout 240 "$B/bin/vm-cpu" --kernel="$(guest_kernel)" \
		--initrd="$initramfs" --append="$guest_append" \
		--console="$dir/v" --serial="$1"
}

shows() {
	tmux -S "$dir/tmux" capture-pane -p | grep -qF -e "$1"
}

keys() {
	tmux -S "$dir/tmux" send-keys "$@"
}

terminal() {
	tmux -S "$dir/tmux" -f /dev/null new-session -d -x 80 -y 24 \
		"stty -g >'$dir/before'
		'$B/bin/vm-console' attach --reconnect=60 '$dir/a'
		echo \$? >'$dir/status'; stty -g >'$dir/after.tmp'
		mv '$dir/after.tmp' '$dir/after'; sleep 60"
}

# What is typed in the terminal is heard by the guest, and its answers are
# shown, before and after each kill -9 of vm-console.
test_virtio_console_survives_kill9() {
	console
	initramfs=$(guest_initramfs - <<-'END'
		exec <>/dev/hvc0 >&0 2>&0
		stty -echo
		echo 'guest is ready'
		while read -r line; do
			echo "guest heard: $line"
			[ "$line" != quit ] || exit 3
		done
	END
	)
	guest none
	terminal
	wait_until 180 shows 'guest is ready'
	for i in 1 2 3; do
		keys "hello $i" Enter
		assertTrue "heard $i" "wait_until shows 'guest heard: hello $i'"
		kill9 console
		wait_until shows 'connection lost'
		console
		wait_until shows 'connected again'
		keys "again $i" Enter
		assertTrue "heard after kill $i" \
			"wait_until 60 shows 'guest heard: again $i'"
		keys '~?'
		wait_until shows 'leaves'
		tmux -S "$dir/tmux" clear-history
	done
	keys Enter '~.'
	assertTrue 'left' "wait_until test -e '$dir/after'"
	assertEquals 0 "$(cat "$dir/status")"
	assertEquals 'terminal as before' "$(cat "$dir/before")" \
		"$(cat "$dir/after")"
	echo quit >"$dir/quit.in"
	start quit timeout 60 "$B/bin/vm-console" attach "$dir/a"
	wait_for "$dir/log" 'guest heard: quit'
	status_of guest 60
	assertEquals 'guest powered off' 0 $?
}

# The kernel's console on the serial port, and hvc0 beside it, in one place.
test_kernel_messages_on_both_sides() {
	console
	initramfs=$(guest_initramfs - <<-'END'
		echo 'from hvc0' >/dev/hvc0
		echo 'from ttyS0' >/dev/ttyS0
		sleep 1
	END
	)
	guest "$dir/s"
	status_of guest 240
	assertEquals 0 $?
	assertTrue "file_has '$dir/log' 'from hvc0'"
	assertTrue "file_has '$dir/log' 'from ttyS0'"
	assertEquals 0 "$(guest_status "$dir/log")"
	stop console
	assertEquals 0 $?
}

. shunit2
