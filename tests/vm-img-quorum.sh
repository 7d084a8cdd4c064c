#!/bin/sh
# SPDX-License-Identifier: ISC
# driver=quorum: several files that hold the same, as qemu-img has them.
# shellcheck disable=SC2154,SC2317 # dir is set by test_dir; before() is called
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	img_dir
	before() { :; }
	for name in a b c; do
		random $name.raw 64k
		qemu-img resize -q -f raw $name.raw 1M
	done
	cp a.raw b.raw
}

tearDown() {
	img_cleanup
}

# A quorum of files, as the child of that name, with "." after it, or "" of
# none.
quorum() { # CHILD OPTIONS FILE...
	child=$1
	printf '%sdriver=quorum,%s' "$child" "$(echo "$2" |
		sed "s/^/$child/;s/,/,$child/g")"
	shift 2
	i=0
	for file; do
		printf ',%schildren.%d.driver=file' "$child" $i
		printf ',%schildren.%d.filename=%s' "$child" $i "$file"
		i=$((i + 1))
	done
}

# One more of those, which fails.
failing() { # INDEX FILE IOTYPE ERRNO
	rule=inject-error.0
	for option in driver=blkdebug image.driver=file "image.filename=$2" \
		$rule.event=none "$rule.iotype=$3" "$rule.errno=$4"; do
		printf ',children.%d.%s' "$1" "$option"
	done
}

test_options() {
	two=$(quorum '' vote-threshold=1 a.raw b.raw)
	for options in vote-threshold=1 vote-threshold=0 vote-threshold=-1 \
		vote-threshold=x vote-threshold=3 vote-threshold=99999999999999999999 \
		vote-threshold= vote-threshold=2,blkverify=on \
		vote-threshold=1,blkverify=on vote-threshold=2,blkverify=x \
		vote-threshold=2,rewrite-corrupted=on \
		vote-threshold=2,rewrite-corrupted=on,blkverify=on \
		vote-threshold=2,rewrite-corrupted=on,read-pattern=fifo \
		vote-threshold=2,read-pattern=quorum \
		vote-threshold=2,read-pattern=x vote-threshold=1,foo=1 \
		vote-threshold=1,children=1 \
		vote-threshold=1,children.x=1 \
		vote-threshold=1,children.3.driver=file \
		vote-threshold=1,children.00.driver=file \
		vote-threshold=1,children.2=x \
		vote-threshold=1,children.2.driver=foo \
		vote-threshold=1,children.2.driver=file \
		vote-threshold=1,children.2.filename=c.raw \
		vote-threshold=1,children.1.foo=1; do
		same info --image-opts "$(quorum '' "$options" a.raw b.raw)"
	done
	same info --image-opts driver=quorum
	same info --image-opts driver=quorum,vote-threshold=1
	same info --image-opts driver=quorum,vote-threshold=1,filename=a.raw
	same info --image-opts "$two,children.3.driver=file"
	same info --image-opts "$(quorum '' vote-threshold=1 a.raw)"
	same info --image-opts "$(quorum '' vote-threshold=1 a.raw none)"
	same info --image-opts "$(quorum '' vote-threshold=1 none a.raw)"
	same info -f quorum a.raw
	same info quorum:a.raw
	same info --image-opts \
		"$(quorum '' vote-threshold=8 a.raw b.raw a.raw b.raw a.raw \
			b.raw a.raw b.raw)"
}

test_names() {
	for child in '' image. file.; do
		case $child in
		'') above= ;;
		image.) above=driver=blkdebug, ;;
		file.) above=driver=raw, ;;
		esac
		same info --image-opts \
			"$above$(quorum $child vote-threshold=1 a.raw c.raw)"
	done
	same info --image-opts "$(quorum file. vote-threshold=1 a.raw c.raw)"
	same info --image-opts "driver=raw,offset=512,size=1024,$(
		quorum file. vote-threshold=1 a.raw c.raw
	)"
	same info --output=json --image-opts \
		"$(quorum '' vote-threshold=1 a.raw c.raw)"
	qemu-img create -q -f qcow2 x.qcow2 1M
	while read -r json; do
		same info "json:$json"
	done <<'END'
{"driver": "quorum", "vote-threshold": 1, "children": [{"driver": "file", "filename": "a.raw"}, "b"]}
{"driver": "quorum", "vote-threshold": 1, "children": []}
{"driver": "quorum", "vote-threshold": 1, "children": {"driver": "file", "filename": "a.raw"}}
{"driver": "quorum", "vote-threshold": 1, "blkverify": false, "rewrite-corrupted": false, "read-pattern": "quorum", "children": [{"driver": "raw", "file": {"driver": "file", "filename": "a.raw"}}, {"driver": "file", "filename": "b.raw"}]}
{"driver": "quorum", "vote-threshold": 1, "children": [{"driver": "qcow2", "file": {"driver": "file", "filename": "x.qcow2"}}, {"driver": "null-co", "size": 1048576}]}
{"driver": "quorum", "vote-threshold": 1, "children": [{"driver": "quorum", "vote-threshold": 2, "children": [{"driver": "file", "filename": "a.raw"}, {"driver": "file", "filename": "b.raw"}]}, {"driver": "file", "filename": "c.raw"}]}
{"driver": "qcow2", "file": {"driver": "quorum", "vote-threshold": 1, "children": [{"driver": "file", "filename": "x.qcow2"}, {"driver": "file", "filename": "x.qcow2"}]}}
END
}

test_reading() {
	for options in vote-threshold=1 vote-threshold=2 vote-threshold=3 \
		vote-threshold=3,read-pattern=fifo; do
		three=$(quorum '' $options a.raw b.raw c.raw)
		same convert -O raw --image-opts "$three" out.raw
		same map --output=json --image-opts "$three"
	done
	three=$(quorum '' vote-threshold=2 a.raw b.raw c.raw)
	same compare --image-opts "$three" driver=raw,file.filename=a.raw
	silent convert -O raw --image-opts \
		"$(quorum '' vote-threshold=2 c.raw a.raw b.raw)" out.raw
	assertTrue 'as two of three say' 'cmp a.raw out.raw'
	silent convert -O raw --image-opts \
		"$(quorum '' vote-threshold=3,read-pattern=fifo c.raw a.raw b.raw)" \
		out.raw
	assertTrue 'as the first says' 'cmp c.raw out.raw'
	for tool in qemu-img img; do
		$tool convert -O raw --image-opts \
			"$(quorum '' vote-threshold=1 a.raw c.raw)" $tool.raw
	done
	assertTrue 'one against one' 'cmp qemu-img.raw img.raw'
}

# What they both hold is written; where they differ is told, and nothing else.
test_two_that_must_agree() {
	strict=vote-threshold=2,blkverify=on
	raw=driver=raw,file.filename=a.raw
	same convert -O raw --image-opts "$(quorum '' $strict a.raw b.raw)" o.raw
	random d.raw 1M
	cp d.raw e.raw
	printf x | dd of=e.raw bs=1 seek=700k conv=notrunc status=none
	two=$(quorum '' $strict d.raw e.raw)
	same dd --image-opts bs=64k "if=$two" of=o.raw
	same bench -d 1 -s 64k -c 16 --image-opts "$two"
	only_differs convert -O raw --image-opts "$two" o.raw
	only_differs compare --image-opts "$two" driver=raw,file.filename=d.raw
	only_differs compare --image-opts $raw "$(quorum '' $strict a.raw c.raw)"
	same compare --image-opts $raw "$(quorum '' $strict a.raw \
		none.raw)"
	same convert -O raw --image-opts \
		"$(quorum '' $strict a.raw)$(failing 1 b.raw read 28)" o.raw
	same convert -O raw --image-opts \
		"$(quorum '' $strict,read-pattern=fifo d.raw e.raw)" o.raw
}

only_differs() { # ARG...
	for tool in qemu-img img; do
		$tool "$@" >$tool.out 2>$tool.err
		assertEquals "$tool $*" 1 $?
		sed -i 's/bytes=[0-9]*/bytes=N/; s/offset=[0-9]*/offset=N/' $tool.err
	done
	assertEquals "$*" "$(cat qemu-img.err)" "$(cat img.err)"
	assertTrue "$*: no result" 'cmp qemu-img.out img.out'
}

test_reading_what_fails() {
	for options in vote-threshold=1 vote-threshold=2 \
		vote-threshold=2,read-pattern=fifo; do
		same convert -O raw --image-opts \
			"$(quorum '' $options a.raw)$(failing 1 b.raw read 28)" \
			out.raw
		same convert -O raw --image-opts "driver=quorum,$options$(
			failing 0 b.raw read 28
			failing 1 a.raw read 5
		)" out.raw
		same map --output=json --image-opts \
			"$(quorum '' $options a.raw)$(
				failing 1 b.raw block-status 5
			)"
	done
}

# What it says and what it leaves.
same_writes() {
	before() {
		cp saved/* .
	}
	for tool in qemu-img "$dir/link/qemu-img"; do
		outcome "$tool" "$@" >"${tool%/*}.out"
		md5sum ./*.raw >>"${tool%/*}.out"
	done
	assertEquals "qemu-img $*" '' "$(diff qemu-img.out "$dir/link.out")"
}

test_writing() {
	random new.raw 1M
	mkdir saved
	cp ./*.raw saved
	for n in 1 2 3; do
		same_writes convert -n --target-image-opts -f raw new.raw \
			"$(quorum '' vote-threshold=$n a.raw b.raw c.raw)"
		assertTrue 'all of them' 'cmp c.raw new.raw'
		for io in write write-zeroes; do
			same_writes convert -n --target-image-opts -f raw new.raw \
				"$(quorum '' vote-threshold=$n a.raw b.raw)$(
					failing 2 c.raw $io 28
				)"
		done
	done
	same_writes convert -n --target-image-opts -f raw new.raw \
		"$(quorum '' vote-threshold=2 c.raw)$(
			failing 1 b.raw write 28
			failing 2 a.raw write 5
		)"
	same_writes convert -n --target-image-opts -f raw new.raw \
		"driver=quorum,vote-threshold=3$(
			failing 0 c.raw write 5
			failing 1 b.raw write 28
			failing 2 a.raw write 28
		)"
}

test_other_verbs() {
	two=$(quorum '' vote-threshold=2 a.raw b.raw)
	same check --image-opts "$two"
	same resize --image-opts "$two" 2M
	same measure -O qcow2 --image-opts "$two"
	same map --image-opts "$two"
	same snapshot -l --image-opts "$two"
	same snapshot -c s --image-opts "$two"
	same amend -o x=y --image-opts "$two"
	same rebase -u -b '' --image-opts "$two"
	same commit --image-opts "$two"
	same dd --image-opts "if=$two" of=out.raw
	img bench -w -c 64 -s 64k --image-opts "$two" >/dev/null
	assertEquals 'bench' 0 $?
	assertTrue 'both' 'cmp a.raw b.raw'
}

test_sizes() {
	truncate -s 1M s.raw
	truncate -s 1000 t.raw
	truncate -s 1024 u.raw
	truncate -s 2M v.raw
	for pair in 's.raw v.raw' 't.raw u.raw' 't.raw s.raw'; do
		# shellcheck disable=SC2086 # two words
		same info --image-opts "$(quorum '' vote-threshold=1 $pair)"
	done
}

three_images() {
	qemu-img create -q -f qcow2 x.qcow2 2M
	cp x.qcow2 y.qcow2
	cp x.qcow2 z.qcow2
}

test_formats_over_it() {
	three_images
	disk=driver=qcow2,$(quorum file. vote-threshold=2 x.qcow2 y.qcow2 \
		z.qcow2)
	silent convert -n --target-image-opts -f raw a.raw "$disk"
	assertTrue 'all of them' 'cmp x.qcow2 y.qcow2 && cmp x.qcow2 z.qcow2'
	# Other metadata in each, but never in two at one place.
	dd if=/dev/urandom of=y.qcow2 bs=64k seek=1 count=2 conv=notrunc \
		status=none
	dd if=/dev/urandom of=z.qcow2 bs=64k seek=3 count=2 conv=notrunc \
		status=none
	same check --image-opts "$disk"
	same map --image-opts "$disk"
	same map --output=json --image-opts "$disk"
	same compare --image-opts "$disk" driver=raw,file.filename=a.raw
	silent resize --image-opts "$disk" -q 3M
	silent snapshot -c s --image-opts "$disk"
	same snapshot -l --image-opts "$disk"
	same check --image-opts "$disk"
	qemu-img check -q x.qcow2
	assertEquals 'of one alone' 0 $?
}

test_rewriting() {
	three_images
	disk=driver=qcow2,$(quorum file. \
		vote-threshold=2,rewrite-corrupted=on x.qcow2 y.qcow2 z.qcow2)
	dd if=/dev/urandom of=y.qcow2 bs=512 count=1 conv=notrunc status=none
	same info --image-opts "$disk"
	assertFalse 'not yet' 'cmp -s x.qcow2 y.qcow2'
	silent convert -n --target-image-opts -f raw a.raw "$disk"
	assertTrue 'set right' 'cmp x.qcow2 y.qcow2 && cmp x.qcow2 z.qcow2'
}

# It is in no folder.
test_relative_names() {
	qemu-img create -q -f qcow2 -b a.raw -F raw x.qcow2
	cp x.qcow2 y.qcow2
	disk=driver=qcow2,$(quorum file. vote-threshold=2 x.qcow2 y.qcow2)
	same info --image-opts "$disk"
	same info --output=json --image-opts "$disk"
	same map --image-opts "$disk"
	same commit --image-opts "$disk"
	same commit -b a.raw --image-opts "$disk"
	assertContains "$(img info --backing-chain --image-opts "$disk" 2>&1)" \
		"Could not determine absolute backing filename, but backing \
filename 'a.raw' present"
	same rebase -u -b b.raw -F raw --image-opts "$disk"
	same info --image-opts "$disk"
	same rebase -u -b "$dir/b.raw" -F raw --image-opts "$disk"
	same info --backing-chain --image-opts "$disk"
	same compare --image-opts "$disk" driver=raw,file.filename=b.raw
	qemu-img create -q -f qcow2 -o data_file=d.raw x.qcow2 1M
	cp x.qcow2 y.qcow2
	same info --image-opts "$disk"
	same map --image-opts "$disk"
	qemu-img create -q -f vmdk -o subformat=monolithicFlat x.vmdk 1M
	disk=driver=vmdk,$(quorum file. vote-threshold=1 x.vmdk)
	same info --image-opts "$disk"
}

test_images_do_not_name_it() {
	json='json:{"driver":"quorum","vote-threshold":1,"children":[{"driver":
"file","filename":"a.raw"}]}'
	json=$(echo "$json" | tr -d '\n')
	qemu-img create -q -u -f qcow2 -b "$json" -F raw x.qcow2 1M
	refused "Could not open 'x.qcow2': Could not open backing file: Backing file name '$json' is not a \
plain path" map x.qcow2
	qemu-img create -q -u -f qcow2 -b a.raw -F quorum x.qcow2 1M
	same map x.qcow2
	# The user may.
	silent convert -O raw --image-opts "driver=qcow2,file.filename=x.qcow2,$(
		quorum backing. vote-threshold=1 b.raw
	)" out.raw
	assertTrue 'what is under it' 'cmp b.raw out.raw'
}

test_locks() {
	two=$(quorum '' vote-threshold=1 b.raw a.raw)
	start holder qemu-storage-daemon \
		--blockdev file,node-name=f,filename=a.raw \
		--nbd-server "addr.type=unix,addr.path=$dir/nbd" \
		--export nbd,id=e,node-name=f,writable=on
	wait_socket "$dir/nbd"
	same info --image-opts "$two"
	same map --image-opts "$two"
	same map -U --output=json --image-opts "$two"
	same map --output=json --image-opts "$two,children.1.locking=off"
	stop holder
	same convert -n --target-image-opts c.raw "$two"
	same convert -n --target-image-opts c.raw \
		"$(quorum '' vote-threshold=1 a.raw a.raw)"
}

# shellcheck disable=SC1091 # not part of the tree
. shunit2
