#!/bin/sh
# SPDX-License-Identifier: ISC
# Every option of every verb of qemu-img, and of every format's: each by a row
# of a table, which is a command line that both do alike. What the installed
# qemu-img offers and no row has is an error, so that the tables stay whole.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/options.sh

rows_amend() {
	cat <<'EOT'
-f qcow2 -o lazy_refcounts=on b.qcow2
-o compat=0.10 -o size=2M b.qcow2
-t none -o lazy_refcounts=on b.qcow2
-t writethrough -o lazy_refcounts=on b.qcow2
-t foo -o lazy_refcounts=on b.qcow2
-p -o compat=0.10 b.qcow2
-q -p -o compat=0.10 b.qcow2
--image-opts -o lazy_refcounts=on driver=qcow2,file.filename=b.qcow2
--image-opts -f qcow2 -o lazy_refcounts=on file.filename=b.qcow2
--object=secret,id=s,data=x --object=secret,id=n,data=y -f luks -o new-secret=n,state=active,iter-time=10 --image-opts driver=luks,key-secret=s,file.filename=e.luks
--force --object=secret,id=s,data=x --image-opts -o state=active,keyslot=0,new-secret=s,iter-time=10 driver=luks,key-secret=s,file.filename=e.luks
--object=secret,id=s,data=x --image-opts -o state=inactive,old-secret=s driver=luks,key-secret=s,file.filename=e.luks
-o help b.qcow2
-f luks -o help
EOT
}

rows_bench() {
	cat <<'EOT'
-c 10 b.qcow2
-c 10 -d 4 b.qcow2
-c 10 -f qcow2 b.qcow2
-c 10 -f raw -w a.raw
-c 10 -d 4 -w --flush-interval=5 b.qcow2
-c 10 -d 4 -w --flush-interval=5 --no-drain b.qcow2
-c 10 -i threads b.qcow2
-c 10 -i io_uring b.qcow2
-c 10 -i foo b.qcow2
-c 10 -n -t none b.qcow2
-c 10 -w -o 64k b.qcow2
-c 10 -w --pattern=7 -s 1k b.qcow2
-c 10 -w --pattern=7 -s 1k -S 3k b.qcow2
-c 10 -q b.qcow2
-c 10 -t directsync -w b.qcow2
-c 10 -t foo b.qcow2
-c 10 -U b.qcow2
-c 10 -w -U b.qcow2
-c 10 --image-opts driver=qcow2,file.filename=b.qcow2
EOT
}

rows_bitmap() {
	cat <<'EOT'
--add b.qcow2 new
--add -g 128k b.qcow2 new
--add -g 100 b.qcow2 new
--add --disable b.qcow2 new
--remove m.qcow2 bits
--remove m.qcow2 none
--clear m.qcow2 bits
--enable m.qcow2 off
--disable m.qcow2 bits
--add --merge=bits m.qcow2 new
--add --merge=bits --merge=off --disable m.qcow2 new
--add --merge=bits -b m.qcow2 b.qcow2 new
--add --merge=bits -b m.qcow2 -F qcow2 b.qcow2 new
--add --merge=bits -b m.qcow2 -F raw b.qcow2 new
-f qcow2 --add b.qcow2 new
--image-opts --add driver=qcow2,file.filename=b.qcow2 new
--object=secret,id=s,data=x --image-opts --add driver=qcow2,encrypt.key-secret=s,file.filename=e.qcow2 new
EOT
}

rows_check() {
	cat <<'EOT'
b.qcow2
-f qcow2 b.qcow2
-f raw b.qcow2
-q leak.qcow2
-q a.raw
--output=human leak.qcow2
--output=json leak.qcow2
--output=foo leak.qcow2
-r leaks leak.qcow2
-r all leak.qcow2
-r all lazy.qcow2
-r foo leak.qcow2
-q -r leaks leak.qcow2
-r leaks --output=json leak.qcow2
-T none leak.qcow2
-T foo leak.qcow2
-U leak.qcow2
-U -r leaks leak.qcow2
--image-opts driver=qcow2,file.filename=leak.qcow2
--object=secret,id=s,data=x --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=e.qcow2
--repair=leaks --format=qcow2 leak.qcow2
EOT
}

rows_commit() {
	cat <<'EOT'
o.qcow2
-q o.qcow2
-f qcow2 o.qcow2
-f raw o.qcow2
-t none o.qcow2
-t writethrough o.qcow2
-t foo o.qcow2
-b b.qcow2 top.qcow2
-b none top.qcow2
-r 10M o.qcow2
-r 1T -b b.qcow2 top.qcow2
-r foo o.qcow2
-d o.qcow2
-p o.qcow2
-p -q o.qcow2
--image-opts driver=qcow2,file.filename=o.qcow2
--object=secret,id=s,data=x o.qcow2
EOT
}

rows_compare() {
	cat <<'EOT'
a.raw b.qcow2
o.qcow2 b.qcow2
-f raw -F qcow2 a.raw b.qcow2
-f raw b.qcow2 a.raw
-F raw a.raw b.qcow2
-T none a.raw b.qcow2
-T foo a.raw b.qcow2
-p a.raw b.qcow2
-p o.qcow2 b.qcow2
-q a.raw b.qcow2
-q -p o.qcow2 b.qcow2
-s a.raw b.qcow2
-s b.qcow2 b.qcow2
-s o.qcow2 b.qcow2
-U a.raw b.qcow2
--image-opts driver=raw,file.filename=a.raw driver=qcow2,file.filename=b.qcow2
--object=secret,id=s,data=x --image-opts driver=luks,key-secret=s,file.filename=e.luks driver=qcow2,encrypt.key-secret=s,file.filename=e.qcow2
EOT
}

rows_convert() {
	cat <<'EOT'
b.qcow2 new
-f qcow2 b.qcow2 new
-f raw b.qcow2 new
-O qcow2 b.qcow2 new
-O foo b.qcow2 new
-f raw -O qcow2 -o cluster_size=4k -o lazy_refcounts=on a.raw new
-c -O qcow2 b.qcow2 new
-p b.qcow2 new
-q b.qcow2 new
-p -q b.qcow2 new
-n b.qcow2 a.raw
-n -f raw -O qcow2 a.raw s.qcow2
-t none b.qcow2 new
-t writethrough b.qcow2 new
-t directsync b.qcow2 new
-t unsafe b.qcow2 new
-t writeback b.qcow2 new
-t foo b.qcow2 new
-T none b.qcow2 new
-T unsafe b.qcow2 new
-T foo b.qcow2 new
-O qcow2 -B b.qcow2 -F qcow2 o.qcow2 new
-O qcow2 -B b.qcow2 o.qcow2 new
-O qcow2 -c -B b.qcow2 -F qcow2 o.qcow2 new
-O raw -B b.qcow2 -F qcow2 o.qcow2 new
-l one s.qcow2 new
-l 1 s.qcow2 new
-l snapshot.name=one s.qcow2 new
-l snapshot.id=1 s.qcow2 new
-l snapshot.id=1,snapshot.name=one s.qcow2 new
-l snapshot.id=2 s.qcow2 new
-l two s.qcow2 new
-S 0 b.qcow2 new
-S 64k -O qcow2 b.qcow2 new
-S 512 -f raw a.raw new
-S 100 b.qcow2 new
-S 1k o.qcow2 new
-r 100M b.qcow2 new
-r foo b.qcow2 new
-m 1 b.qcow2 new
-m 16 b.qcow2 new
-m 17 b.qcow2 new
-W b.qcow2 new
-W -m 4 -O qcow2 b.qcow2 new
-C b.qcow2 new
-C -f raw a.raw new
-C -c -O qcow2 b.qcow2 new
-C -S 4k b.qcow2 new
-C --salvage b.qcow2 new
-U b.qcow2 new
--salvage -f raw a.raw new
--salvage -q o.qcow2 new
--bitmaps -O qcow2 m.qcow2 new
--bitmaps m.qcow2 new
--bitmaps -O qcow2 a.raw new
--bitmaps --skip-broken-bitmaps -O qcow2 m.qcow2 new
--skip-broken-bitmaps -O qcow2 m.qcow2 new
--target-is-zero -n -f raw -O qcow2 a.raw s.qcow2
--target-is-zero b.qcow2 new
--image-opts driver=qcow2,file.filename=b.qcow2 new
-n --target-image-opts -f raw a.raw driver=qcow2,file.filename=s.qcow2
-n --image-opts --target-image-opts driver=raw,file.filename=a.raw driver=qcow2,file.filename=s.qcow2
-n --target-image-opts -O qcow2 -f raw a.raw driver=qcow2,file.filename=s.qcow2
--target-image-opts -f raw a.raw driver=qcow2,file.filename=s.qcow2
--object=secret,id=s,data=x --image-opts driver=luks,key-secret=s,file.filename=e.luks new
--object=secret,id=s,data=x -O luks -o key-secret=s,iter-time=10 b.qcow2 new
-O qcow2 b.qcow2 s.qcow2 new
-o help -O vdi b.qcow2 new
-O qcow2 -o help
EOT
}

rows_create() {
	cat <<'EOT'
new 1M
-f qcow2 new 1M
-f foo new 1M
-q -f qcow2 new 1M
-f qcow2 -b b.qcow2 -F qcow2 new
-f qcow2 -b b.qcow2 -F qcow2 new 2M
-f qcow2 -b b.qcow2 new
-f qcow2 -b none -F qcow2 new 1M
-u -f qcow2 -b none -F qcow2 new 1M
-u -f qcow2 -b none -F qcow2 new
-f qcow2 -o cluster_size=4k -o compat=0.10 new 1M
-f qcow2 -o cluster_size=4k,size=1M new
--object=secret,id=s,data=x -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 new 1M
EOT
}

rows_dd() {
	cat <<'EOT'
if=b.qcow2 of=new
-f qcow2 if=b.qcow2 of=new bs=64k
-f raw if=b.qcow2 of=new bs=1M
-O qcow2 if=b.qcow2 of=new bs=1M
-O foo if=b.qcow2 of=new
bs=4k count=3 skip=33 if=b.qcow2 of=new
bs=1M skip=2 if=b.qcow2 of=new
bs=1000 count=7 if=b.qcow2 of=new
bs=1M count=0 if=b.qcow2 of=new
-U if=b.qcow2 of=new bs=1M
--image-opts if=driver=qcow2,file.filename=b.qcow2 of=new bs=1M
--object=secret,id=s,data=x --image-opts if=driver=luks,key-secret=s,file.filename=e.luks of=new bs=1M
EOT
}

rows_info() {
	cat <<'EOT'
b.qcow2
-f qcow2 b.qcow2
-f raw b.qcow2
--format=vmdk b.qcow2
--output=human s.qcow2
--output=json s.qcow2
--output=json m.qcow2
--output=foo s.qcow2
--backing-chain top.qcow2
--backing-chain --output=json top.qcow2
-U b.qcow2
--image-opts driver=qcow2,file.filename=b.qcow2
--image-opts driver=qcow2,force-share=on,file.filename=b.qcow2
-U --image-opts driver=qcow2,force-share=off,file.filename=b.qcow2
--object=secret,id=s,data=x --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=e.qcow2
--object=secret,id=s,data=x --output=json --image-opts driver=luks,key-secret=s,file.filename=e.luks
EOT
}

rows_map() {
	cat <<'EOT'
o.qcow2
-f qcow2 top.qcow2
-f raw a.raw
--output=human top.qcow2
--output=json top.qcow2
--output=foo top.qcow2
-s 64k o.qcow2
-l 128k o.qcow2
-s 2M o.qcow2
--start-offset=8k --max-length=600k --output=json top.qcow2
--start-offset=1000 --max-length=1000 --output=json top.qcow2
-U o.qcow2
--image-opts driver=qcow2,file.filename=b.qcow2
--object=secret,id=s,data=x --output=json --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=e.qcow2
EOT
}

rows_measure() {
	cat <<'EOT'
--size=1M
-O qcow2 --size=10G
-O qcow2 -o cluster_size=4k --size=1G
-O qcow2 -o cluster_size=4k -o refcount_bits=1 --size=1G
-O qcow2 --output=human b.qcow2
-O qcow2 --output=json b.qcow2
-O qcow2 --output=json m.qcow2
-O raw o.qcow2
-O luks -o key-secret=s --object=secret,id=s,data=x --size=1M
-f raw -O qcow2 a.raw
-l one -O qcow2 s.qcow2
-l snapshot.name=one -O qcow2 s.qcow2
-l two -O qcow2 s.qcow2
-U -O qcow2 b.qcow2
--image-opts -O qcow2 driver=qcow2,file.filename=b.qcow2
--object=secret,id=s,data=x --image-opts -O qcow2 driver=luks,key-secret=s,file.filename=e.luks
EOT
}

rows_rebase() {
	cat <<'EOT'
-b b.qcow2 -F qcow2 top.qcow2
-q -b b.qcow2 -F qcow2 top.qcow2
-f qcow2 -b s.qcow2 -F qcow2 o.qcow2
-t none -b s.qcow2 -F qcow2 o.qcow2
-t foo -b s.qcow2 -F qcow2 o.qcow2
-T none -b s.qcow2 -F qcow2 o.qcow2
-T foo -b s.qcow2 -F qcow2 o.qcow2
-p -b s.qcow2 -F qcow2 o.qcow2
-p -q -b s.qcow2 -F qcow2 o.qcow2
-u -b none -F qcow2 o.qcow2
-u -b '' o.qcow2
-u o.qcow2
-b '' o.qcow2
-u -b s.qcow2 o.qcow2
-b s.qcow2 -F foo o.qcow2
-b s.qcow2 -F raw o.qcow2
-U -b s.qcow2 -F qcow2 o.qcow2
--image-opts -b s.qcow2 -F qcow2 driver=qcow2,file.filename=o.qcow2
--object=secret,id=s,data=x -b s.qcow2 -F qcow2 o.qcow2
EOT
}

rows_resize() {
	cat <<'EOT'
b.qcow2 2M
b.qcow2 +1M
b.qcow2 512k
--shrink b.qcow2 512k
--shrink b.qcow2 -512k
-f qcow2 b.qcow2 2M
-f raw b.qcow2 2M
-q b.qcow2 2M
--preallocation=off b.qcow2 2M
--preallocation=metadata b.qcow2 2M
--preallocation=falloc b.qcow2 2M
--preallocation=full b.qcow2 2M
-f raw --preallocation=falloc a.raw 2M
-f raw --preallocation=full a.raw 2M
--preallocation=foo b.qcow2 2M
--image-opts driver=qcow2,file.filename=b.qcow2 2M
--object=secret,id=s,data=x --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=e.qcow2 2M
EOT
}

rows_snapshot() {
	cat <<'EOT'
-l s.qcow2
-c two s.qcow2
-c one s.qcow2
-a one s.qcow2
-a 1 s.qcow2
-a two s.qcow2
-d one s.qcow2
-d two s.qcow2
-q -c two s.qcow2
-U -l s.qcow2
-U -c two s.qcow2
-l b.qcow2
-l --image-opts driver=qcow2,file.filename=s.qcow2
--object=secret,id=s,data=x --image-opts -c two driver=qcow2,encrypt.key-secret=s,file.filename=e.qcow2
EOT
}

# What came after 7.2, next to what 7.2 has for it.
rows_later_bench() {
	cat <<'EOT'
-c 10 b.qcow2 == -c 10 --object=secret,id=s,data=x b.qcow2
EOT
}

rows_later_check() {
	cat <<'EOT'
-r all -f qcow2 leak.qcow2 == leak.qcow2 --format qcow2 --repair all
-T none -q leak.qcow2 == leak.qcow2 --cache none --quiet
EOT
}

rows_later_commit() {
	cat <<'EOT'
-b b.qcow2 -r 10M -d -t none top.qcow2 == top.qcow2 --base b.qcow2 --rate-limit 10M --drop --cache none
EOT
}

rows_later_convert() {
	cat <<'EOT'
-O qcow2 -B b.qcow2 -F qcow2 o.qcow2 new == -O qcow2 -b b.qcow2 -F qcow2 o.qcow2 new
-O qcow2 -B b.qcow2 -F qcow2 o.qcow2 new == -O qcow2 --backing b.qcow2 --backing-format qcow2 o.qcow2 new
-O qcow2 -o cluster_size=4k b.qcow2 new == -O qcow2 --options cluster_size=4k b.qcow2 new
-W -O qcow2 b.qcow2 new == --out-of-order -O qcow2 b.qcow2 new
-C b.qcow2 new == --copy-offload b.qcow2 new
EOT
}

rows_later_create() {
	cat <<'EOT'
-f qcow2 -b b.qcow2 -F qcow2 new == -f qcow2 -b b.qcow2 -B qcow2 new
-f qcow2 -b b.qcow2 -F qcow2 new == new --format qcow2 --backing b.qcow2 --backing-format qcow2
EOT
}

rows_later_info() {
	cat <<'EOT'
b.qcow2 == -t none b.qcow2
b.qcow2 == --cache writethrough b.qcow2
b.qcow2 == --integrity b.qcow2
-U b.qcow2 == b.qcow2 --force-share
EOT
}

rows_later_map() {
	cat <<'EOT'
--start-offset=8k --max-length=8k top.qcow2 == top.qcow2 -s 8k -l 8k
EOT
}

rows_later_measure() {
	cat <<'EOT'
-O qcow2 --size=1G == -O qcow2 -s 1G
-O qcow2 -o cluster_size=4k --size=1G == -O qcow2 --target-format-options cluster_size=4k -s 1G
-f raw -O qcow2 a.raw == --source-format raw -O qcow2 a.raw
--image-opts -O qcow2 driver=qcow2,file.filename=b.qcow2 == --source-image-opts -O qcow2 driver=qcow2,file.filename=b.qcow2
EOT
}

rows_later_rebase() {
	cat <<'EOT'
-b s.qcow2 -F qcow2 o.qcow2 == -b s.qcow2 -B qcow2 o.qcow2
-u -b b.qcow2 -F qcow2 top.qcow2 == -c -u -b b.qcow2 -F qcow2 top.qcow2
-u -b b.qcow2 -F qcow2 -T none top.qcow2 == --compress --backing-unsafe --backing b.qcow2 --backing-format qcow2 --backing-cache none top.qcow2
EOT
}

rows_later_snapshot() {
	cat <<'EOT'
-l s.qcow2 == -l -f qcow2 s.qcow2
-l --image-opts driver=raw,file.filename=s.qcow2 == --format raw --list s.qcow2
-c two s.qcow2 == --create two s.qcow2
EOT
}

verbs='amend bench bitmap check commit compare convert create dd info map'
verbs="$verbs measure rebase resize snapshot"

# Defined after the tables, which shunit2 cannot find itself.
suite() {
	for verb in $verbs; do
		eval "test_$verb() { verb_test $verb; }"
		suite_addTest "test_$verb"
	done
	suite_addTest test_standard_options
	suite_addTest test_what_is_offered_there
	suite_addTest test_what_is_offered_here
}

has_later() { # VERB
	command -v "rows_later_$1" >/dev/null
}

verb_test() { # VERB
	like_qemu_img "$1" "$1"
	! has_later "$1" || under_other_names "$1" "later_$1"
	first=$(table "$1" | head -n 1)
	# shellcheck disable=SC2034 # the table
	eval "rows_own() { echo \"\$first == --allow-protocols \" \
		\"--compat=7.2 \$first\"; }"
	under_other_names "$1" own
}

# Before the verb, or in its place.
test_standard_options() {
	for option in -h --help -V --version; do
		assertTrue "$option" "qemu-img $option >theirs.out"
		assertTrue "$option" "img $option >ours.out"
	done
	same -T foo info in/b.qcow2
	same --trace enable=foo info in/b.qcow2
	for verb in $verbs; do
		assertTrue "$verb -h" "img $verb -h >ours.out"
		assertTrue "$verb" "grep -q '^  $verb ' ours.out"
		assertTrue "$verb --help" "img $verb --help >ours.out"
	done
}

# Option words without their values, and operands of dd.
option_words() {
	sed -E 's/^(--?[a-zA-Z][^=]*)=.*/\1/; s/^([a-z]+=).*/\1/'
}

# TABLE OPTION...: each is in a row of the table.
exercised() {
	what=$1
	shift
	row_words "$what" | option_words >words
	for option; do
		grep -qxF -e "$option" words || fail "no row of $what has $option"
	done
}

test_what_is_offered_there() {
	qemu-img --help | sed -n '/^Command syntax/,/^Command param/p' >syntax
	assertEquals "$verbs" "$(
		sed -n 's/^  \([a-z]*\) .*/\1/p' syntax | sort | xargs
	)"
	for verb in $verbs; do
		# shellcheck disable=SC2046 # words
		exercised "$verb" $(sed -n "s/^  $verb //p" syntax |
			grep -oE '(^|[[ |(])(--?[a-zA-Z][-a-z]*|[a-z]+=)' |
			tr -d '[ |(')
	done
}

# All that help has: by its long name, or by a letter that stands for it.
test_what_is_offered_here() {
	for verb in $verbs; do
		{
			row_words "$verb"
			! has_later "$verb" || row_words "later_$verb"
			# The rows with these letters have been run with these.
			for name in $(long_names "$verb"); do
				echo "--${name#?[=:]}"
			done
			echo '-h --help --allow-protocols --compat --limits' |
				tr ' ' '\n'
		} | option_words >words
		for option in $(img "$verb" --compat=10.2 --help | grep -oE \
			'^(  -.,|     ) --[-a-z]+|^  -.' | tr -d ,); do
			grep -qxF -e "$option" words ||
				fail "no row of $verb has $option"
		done
	done
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
