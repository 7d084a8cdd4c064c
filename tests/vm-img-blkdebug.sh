#!/bin/sh
# SPDX-License-Identifier: ISC
# Names that inject errors, blkdebug:CONFIG:PATH and driver=blkdebug. The same
# rules make the same command fail in the same way as qemu-img, where both come
# by the same steps.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	qemu-img create -q -f qcow2 x.qcow2 1M
	truncate -s 1M r.raw
}

tearDown() {
	img_cleanup
}

rules() { # TEXT, for printf %b
	printf %b "$1" >rules
}

test_rule_files() {
	while IFS= read -r text; do
		rules "$text"
		same info blkdebug:rules:x.qcow2
	done <<'END'
[inject-error]\nevent = "foo"\n
[inject-error]\nerrno = "5"\n
[inject-error]\nevent = "read_aio"\nerrno = "x"\n
[inject-error]\nevent = "read_aio"\nerrno = "5k"\n
[inject-error]\nevent = "none"\nerrno = "99999999999999999999"\n
[inject-error]\nevent = "read_aio"\nonce = "maybe"\n
[inject-error]\nevent = "read_aio"\niotype = "maybe"\n
[inject-error]\nevent = "read_aio"\nfoo = "maybe"\n
[bad]\nevent = "read_aio"\n
event = "read_aio"\n
[inject-error]\nevent = read_aio\n
[inject-error]\ngarbage\n
[inject-error]\n = "none"\n
[inject-error]\nevent="none"\n
[inject-error]\nevent = "none"\n   \n
[inject-error "id"]\nevent = "read_aio"\n
[inject-error "a b"]\nevent = "none"\n
[inject-error ""]\nevent = "none"\n
[inject-error "id"]\nevent = "read_aio"\n[inject-error "id"]\nevent = "none"
[set-state]\nevent = "read_aio"\nnew_state = "2"\nstate = "x"\n
[set-state]\nevent = "foo"\n[inject-error]\nevent = "bar"\n
[set-state]\nnew_state = "2"\n
# comment\n\n[inject-error]\n# c\n event = "read_aio"   # more
[inject-error
[]\nevent = "none"\n

[inject-error]\nevent = "none"\nerrno = "0x5"\n
[inject-error]\nevent = "none"\nerrno = "010"\n
[inject-error]\nevent = "none"\nerrno = "0"\n
[inject-error]\nevent = "none"\nonce = "y"\niotype = "read"\n
[inject-error]\nevent = "none"\niotype = "flush"\n
[inject-error]\nevent = "none"\nstate = "2"\n
[inject-error]\nevent = "none"\nsector = "1000"\n
[inject-error]\nevent = "none"\nimmediately = "on"\nerrno = "1"\n
[inject-error]\nevent = "reftable_load"\nonce = "on"\n
[set-state]\nevent = "none"\nnew_state = "2"\n[inject-error]\nevent = "reftable_load"\nstate = "2"\n
END
}

test_names() {
	for name in blkdebug:none:x.qcow2 blkdebug:x.qcow2 blkdebug: \
		blkdebug:: blkdebug::none blkdebug::x.qcow2 blkdebug:.:x.qcow2 \
		blkdebug::blkdebug::x.qcow2 blkdebug::r.raw \
		"blkdebug::$dir/x.qcow2"; do
		same info "$name"
		same check "$name"
	done
	same info --output=json blkdebug::r.raw
	same map --output=json -f raw blkdebug::r.raw
	same measure -f qcow2 -O raw blkdebug::x.qcow2
}

# The backing file's name counts from the folder of the file under it; inside
# an image none of these names means anything.
test_names_in_images() {
	mkdir sub
	qemu-img create -q -f qcow2 -b ../r.raw -F raw sub/over.qcow2
	same map blkdebug::sub/over.qcow2
	qemu-img rebase -u -b blkdebug::r.raw -F raw x.qcow2
	refused "Could not open 'x.qcow2': Could not open backing file: Backing file name 'blkdebug::r.raw' \
is not a plain path" map x.qcow2
	refused "Could not open 'blkdebug::x.qcow2': Could not open backing file: Backing file name \
'blkdebug::r.raw' is not a plain path" map blkdebug::x.qcow2
}

test_options() {
	for option in '' ,file.align=3 ,file.align=512 ,file.align=x \
		,file.max-transfer=511,file.align=512 \
		,file.opt-write-zero=3,file.align=2 \
		,file.opt-write-zero=2,file.max-write-zero=1 \
		,file.align=512,file.opt-discard=100 \
		,file.align=512,file.max-discard=1000 \
		,file.take-child-perms.0=write \
		,file.take-child-perms.0=write-unchanged ,file.take-child-perms.0=bad \
		,file.unshare-child-perms.0=write ,file.config=none \
		,file.inject-error.0.event=foo \
		,file.inject-error.0.errno=5 ,file.inject-error.1.event=none \
		,file.inject-error.x.event=none ,file.inject-error.event=none \
		,file.inject-error=none ,file.inject-error.0=none \
		,file.inject-error.0.event=none,file.inject-error.0.foo=5 \
		,file.inject-error.0.event=none,file.inject-error.0.once=x \
		,file.inject-error.0.event=none,file.inject-error.0.iotype=x \
		,file.inject-error.0.event=none,file.inject-error.0.iotype=flush \
		,file.set-state.0.new_state=2 ,file.foo=2 ,file.image.foo=2 \
		,file.set-state.0.event=none,file.set-state.0.bar=2 \
		,file.inject-error.foo=1,file.inject-error.event=none \
		,file.image=x; do
		same check --image-opts \
			"driver=qcow2,file.driver=blkdebug,file.image.filename=x.qcow2$option"
	done
	same info --image-opts driver=qcow2,file.driver=blkdebug
	same info --image-opts \
		driver=qcow2,file.driver=blkdebug,file.filename=x.qcow2
	same info 'json:{"driver":"blkdebug","image":"x.qcow2"}'
	for rules in '[{"event":"none","errno":5}]' '{"event":"l2_load"}' \
		'[{"event":"none","errno":28,"iotype":"flush","once":true}]'; do
		same check "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\
\"blkdebug\",\"inject-error\":$rules,\"image.filename\":\"x.qcow2\"}}"
	done
}

# Nothing is made by such a name, but written to.
test_new_images() {
	same create -f qcow2 blkdebug::new 1M
	same create -f foo blkdebug::new 1M
	same create -f qcow2 -b none -F raw blkdebug::new
	same convert -O qcow2 x.qcow2 blkdebug::new
	same convert -O qcow2 x.qcow2 foo::new
	same dd if=x.qcow2 of=blkdebug::new
	assertFalse 'a new file' '[ -e new ]'
	same convert -n -O qcow2 x.qcow2 blkdebug::r.raw
	qemu-io -c 'write -P 5 300k 100k' x.qcow2 >out
	silent convert -n -O raw x.qcow2 blkdebug::r.raw
	qemu-img compare -f raw -F qcow2 r.raw x.qcow2 >out || fail "$(cat out)"
}

make_chain() {
	qemu-img create -q -f qcow2 -o cluster_size=4k base.0 4M
	qemu-io -c 'write -P 1 0 2M' base.0 >out
	qemu-img snapshot -c s base.0
	cp base.0 base.qcow2
	qemu-img create -q -f qcow2 -o cluster_size=4k -b base.qcow2 -F qcow2 \
		over.0
	qemu-io -c 'write -P 2 1M 1M' over.0 >out
	truncate -s 4M raw.out
}

# shellcheck disable=SC2317 # same calls before
both() { # EVENT COMMAND...
	event=$1
	shift
	rules "[inject-error]\nevent = \"$event\"\nerrno = \"28\"\nonce = \"on\"\n"
	before() {
		cp base.0 base.qcow2
		cp over.0 over.qcow2
	}
	same "$@"
	assertNotEquals "$event: $*" 0 "$(tail -n 1 .err)"
	vm-img check -q over.qcow2 >out 2>&1
	case $? in
	0 | 3) ;;
	*) fail "$event: $*: $(cat out)" ;;
	esac
	before() {
		:
	}
}

test_failures_of_other_formats() {
	random in.raw 1M
	rules '[inject-error]\nevent = "write_aio"\nerrno = "28"\n'
	for format in qcow qed raw; do
		qemu-img create -q -f $format new.$format 1M
		same convert -n -O $format in.raw blkdebug:rules:new.$format
		assertEquals "$format" 1 "$(tail -n 1 .err)"
	done
}

test_same_failures() {
	make_chain
	name=blkdebug:rules:over.qcow2
	for event in l2_load read_aio pwritev l1_update \
		empty_image_prepare; do
		both $event commit $name
	done
	both read_aio commit -d $name
	for event in l1_update l2_load l2_alloc_write write_aio refblock_load \
		cluster_alloc pwritev; do
		both $event convert -n -O qcow2 base.qcow2 $name
	done
	for event in l2_load read_aio read_backing_aio; do
		both $event convert -n -O raw $name raw.out
		both "$event" compare $name over.qcow2
	done
	for event in l2_load write_aio refblock_load cluster_alloc pwritev; do
		both $event rebase -b '' $name
	done
	for event in l2_load refblock_load refblock_update_part cluster_alloc \
		pwritev; do
		both $event snapshot -c new blkdebug:rules:base.qcow2
	done
	both l2_load snapshot -a s blkdebug:rules:base.qcow2
	both l2_load snapshot -d s blkdebug:rules:base.qcow2
	both l2_load resize -q --shrink $name 512k
	both l2_load amend -f qcow2 -o compat=0.10 $name
}

test_salvage() {
	qemu-io -c 'write -P 1 0 1M' x.qcow2 >out
	rules '[inject-error]\nevent = "none"\niotype = "read"\nsector = "1000"\n'
	same convert -O raw -f raw blkdebug:rules:r.raw a.raw
	same convert --salvage -O raw -f raw blkdebug:rules:r.raw a.raw
	same convert --salvage -O raw -f qcow2 blkdebug:rules:x.qcow2 b.raw
	tr '\0' '\2' <r.raw >twos
	same convert --salvage -O raw -f raw blkdebug:rules:twos a.raw
	same compare -f raw -F raw a.raw twos
}

# The name of x.qcow2 with rules: s100 is a sector whose status cannot be told,
# r100 one that cannot be read.
failing() { # RULE...
	list=
	for rule in "$@"; do
		type='read'
		[ "${rule#s}" = "$rule" ] || type=block-status
		list="$list${list:+,}{\"event\":\"none\",\"errno\":5,
			\"iotype\":\"$type\",\"sector\":${rule#[sr]}}"
	done
	printf %s "json:{\"driver\":\"blkdebug\",\"inject-error\":[$list],
		\"image\":{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",
		\"filename\":\"x.qcow2\"}}}"
}

# A map is asked for less and less, down to what cannot be told, once to count
# and once to copy.
test_salvage_of_maps() {
	qemu-io -c 'write -P 1 64k 100k' -c 'write -P 2 512k 300k' x.qcow2 >out
	img create -q -f raw r.raw 100k
	for rules in s0 s100 's128 s129 s130' 's3 s300 s1025 s1100' s2047; do
		# shellcheck disable=SC2086 # several words
		name=$(failing $rules)
		for how in '-O raw' '-O raw -q' '-O raw -S 0' '-O qcow2' \
			'-O qcow2 -c' '-O qcow2 -o cluster_size=4k'; do
			# shellcheck disable=SC2086 # several words
			{
				same convert --salvage $how "$name" y
				assertEquals "$rules $how" 'Images are identical.' \
					"$(img compare x.qcow2 y)"
				same convert --salvage $how r.raw "$name" y
			}
		done
	done
}

# What is told of while copying is in the order of the disk, however many read
# it at once.
test_salvage_in_order() {
	img create -q -f qcow2 x.qcow2 16M
	qemu-io -c 'write -P 1 0 16M' x.qcow2 >out
	all='r0 s9 r9 r4095 r4096 s5000 r8192 r12000 s12288 r16388 r20480
		s20481 r28672 s28673 r32767'
	# shellcheck disable=SC2086 # several words
	name=$(failing $all)
	for pass in 's*' '*'; do
		for line in $all; do
			# shellcheck disable=SC2254 # it is a pattern
			case $line in $pass) echo "$line" ;; esac
		done
	done >expected
	for how in '-O raw -m 1' '-O raw' '-O qcow2 -m 16' '-O raw' '-O raw'; do
		# shellcheck disable=SC2086 # several words
		img convert --salvage $how "$name" y 2>err
		assertEquals "$how" "$(cat expected)" "$(sed -E \
			-e 's/.*reading block status at offset/s/' \
			-e 's/.*reading offset/r/' -e 's/:.*//' err |
			awk '{ print $1 $2 / 512 }')"
	done
}

# Locks that are asked for meet those of another program.
test_locks() {
	name=driver=qcow2,file.driver=blkdebug,file.image.filename=x.qcow2
	name=$name,file.unshare-child-perms.0=consistent-read
	same check --image-opts $name
	mkfifo ready end
	# F_OFD_SETLK of the byte that says: I read.
	python3 -c 'import fcntl, struct
f = open("x.qcow2", "rb")
fcntl.fcntl(f, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 100, 1, 0))
open("ready", "w").close()
open("end").read()' &
	cat ready
	same check --image-opts $name
	same check x.qcow2
	: >end
	wait $!
}

test_disk_server_takes_no_such_name() {
	timeout 60 vm-disk --socket-path=sock blkdebug::x.qcow2 2>err
	assertEquals 1 $?
	assertContains "$(cat err)" "Could not open 'blkdebug::x.qcow2'"
}

. shunit2
