#!/bin/sh
# SPDX-License-Identifier: ISC
# The same command lines through qemu-img and through a link of that name to
# vm-img, one after the other in a folder each: output, messages and status
# are the same, byte for byte. Lines are shell; what differs from run to run
# (dates, times, blocks on disk) is filtered in them.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	# They flush a lot, and a disk would only be slow.
	[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
	img_dir
	mkdir theirs ours
}

tearDown() {
	img_cleanup
}

test_create() {
	compare_lines <<'EOF'
qemu-img create -f qcow2 -o cluster_size=4k -o lazy_refcounts=on t.qcow2 128M
qemu-img info t.qcow2 | grep -v 'disk size'
qemu-img create -f qcow2 -o cluster_size=4k -o lazy_refcounts=on -o cluster_size=8k t.qcow2 128M
qemu-img create -f qcow2 -o cluster_size=4k,cluster_size=8k t.qcow2 128M
qemu-img create -f qcow2 -o help t.qcow2 128M
qemu-img create -f qcow2 -o ? t.qcow2 128M
qemu-img create -f qcow2 -o cluster_size=4k,help t.qcow2 128M
qemu-img create -f qcow2 -o cluster_size=4k,? t.qcow2 128M
qemu-img create -f qcow2 -o help,cluster_size=4k t.qcow2 128M
qemu-img create -f qcow2 -o cluster_size=4k -o help t.qcow2 128M
qemu-img create -f qcow2 -u -o backing_file=t.qcow2,,help -F qcow2 t.qcow2 128M
qemu-img create -f qcow2 -u -o backing_file=t.qcow2,,? -F qcow2 t.qcow2 128M
qemu-img create -f qcow2 -o backing_file=t.qcow2, -o help t.qcow2 128M
qemu-img create -f qcow2 -o backing_file=t.qcow2 -o ,help t.qcow2 128M
qemu-img create -f qcow2 -o backing_file=t.qcow2 -o ,, -o help t.qcow2 128M
qemu-img create -o help
qemu-img create -f qcow2 -o help
qemu-img create -f bochs -o help
qemu-img create -f vdi -o help
qemu-img create -f vhdx -o help
qemu-img create -f vpc -o help
qemu-img create -f vmdk -o help
qemu-img create -f qed -o help
qemu-img create -f qcow -o help
qemu-img create -f parallels -o help
qemu-img create -f luks -o help
qemu-img create -f foo -o help
qemu-img convert -O qcow2 -o cluster_size=4k -o lazy_refcounts=on t.qcow2 u.qcow2
qemu-img info u.qcow2 | grep -v 'disk size'
qemu-img convert -O qcow2 -o help t.qcow2 u.qcow2
qemu-img convert -O qcow2 -o help
qemu-img convert -o help
qemu-img convert -O qcow2 -o cluster_size=4k,help t.qcow2 u.qcow2
qemu-img convert -O qcow2 -o backing_file=t.qcow2 -o ,help t.qcow2 u.qcow2
qemu-img convert -O qcow2 -o backing_file=t.qcow2,,help -F qcow2 t.qcow2 u.qcow2
qemu-img convert -O bochs -o help t.qcow2 u.qcow2
qemu-img convert -O foo t.qcow2 u.qcow2
qemu-img amend -f qcow2 -o lazy_refcounts=on -o lazy_refcounts=off t.qcow2
qemu-img amend -f qcow2 -o help,x t.qcow2
qemu-img amend -f qcow2 -o backing_file=x -o ,, -o help t.qcow2
qemu-img amend -f qcow2 -o backing_file=t.qcow2,,help t.qcow2
qemu-img create -f qcow2 t.qcow2 1kilobyte
qemu-img create -f qcow2 t.qcow2 -- -1024
qemu-img create -f qcow2 -o size=-1024 t.qcow2
qemu-img create -f qcow2 t.qcow2 -- -1k
qemu-img create -f qcow2 -o size=-1k t.qcow2
qemu-img create -f qcow2 -o size=1kilobyte t.qcow2
qemu-img create -f qcow2 t.qcow2 foobar
qemu-img create -f qcow2 -o size=foobar t.qcow2
qemu-img create -f qcow2 -o cluster_size=1234 t.qcow2 64M
qemu-img create -f qcow2 -o cluster_size=64b t.qcow2 64M
qemu-img create -f qcow2 -o compat=0.42 t.qcow2 64M
qemu-img create -f qcow2 -o compat=foobar t.qcow2 64M
qemu-img create -f qcow2 -o preallocation=1234 t.qcow2 64M
qemu-img create -f qcow2 -o encryption=on t.qcow2 64M
qemu-img create -f qcow2 -o lazy_refcounts=on,compat=0.10 t.qcow2 64M
qemu-img create -f qcow2 -o preallocation=metadata t.qcow2 64M
qemu-img create -f qcow2 -o refcount_bits=7 t.qcow2 64M
qemu-img create -f qcow2 -o refcount_bits=99999999999999999999 t.qcow2 64M
qemu-img create -f qcow2 -o refcount_bits=010 t.qcow2 64M
qemu-img create -f qcow2 -o refcount_bits=0x10 t.qcow2 64M
qemu-img create -f qcow2 -o refcount_bits=x t.qcow2 64M
qemu-img create -f qcow2 -o refcount_bits=-1 t.qcow2 64M
qemu-img create -f qcow2 -o 'refcount_bits= 16' t.qcow2 64M
qemu-img create -f qcow2 -o size=1024 t.qcow2
qemu-img create -f qcow2 -o size=1024b t.qcow2
qemu-img create -f qcow2 t.qcow2 1024b
qemu-img create -f qcow2 t.qcow2 1.5k
qemu-img create -f qcow2 t.qcow2 0x400
qemu-img create -f qcow2 t.qcow2 1e3
qemu-img create -f qcow2 t.qcow2 16E
qemu-img create -f qcow2 t.qcow2 1E
qemu-img create -f qcow2 t.qcow2 8191P
qemu-img create -f qcow2
qemu-img create -f qcow2 t.qcow2
qemu-img create
qemu-img create -f qcow2 t.qcow2 1M 2M
qemu-img create -f qcow2 -b nothere -F qcow2 t.qcow2
qemu-img create -f qcow2 -b nothere t.qcow2
qemu-img create -f qcow2 -b u.qcow2 t.qcow2
qemu-img create -f qcow2 -b u.qcow2 -F raw t.qcow2
qemu-img create -f qcow2 -b u.qcow2 -F foo t.qcow2
qemu-img create -f qcow2 -u -b u.qcow2 -F foo t.qcow2 1M
qemu-img create -f qcow2 -u -b u.qcow2 -F qcow2 t.qcow2
qemu-img create -f raw -b u.qcow2 -F qcow2 r.raw 1M
qemu-img create -f raw -F qcow2 r.raw 1M
qemu-img create -f qcow2 -F qcow2 t.qcow2 1M
qemu-img create -f qcow2 -b '' t.qcow2 1M
qemu-img create -f qcow2 -b t.qcow2 -F qcow2 t.qcow2 1M
qemu-img create -f qcow2 /nodir/t.qcow2 1M
qemu-img create -q -f qcow2 t.qcow2 1M
qemu-img create -f qcow2 -o nolazy=1 t.qcow2 1M
qemu-img create -f qcow2 -o extended_l2=on,cluster_size=4k t.qcow2 1M
qemu-img create -f qcow2 -o extended_l2=on t.qcow2 1M
qemu-img info t.qcow2 | grep -v 'disk size'
qemu-img create -f qcow2 -o data_file=d.raw,data_file_raw=on t.qcow2 1M
qemu-img info t.qcow2 | grep -v 'disk size'
qemu-img info --output=json t.qcow2 | grep -v actual
qemu-img map t.qcow2
qemu-img map --output=json t.qcow2
qemu-img create -f qcow2 -o data_file_raw=on t.qcow2 1M
qemu-img create -f qcow2 -o compression_type=lzma t.qcow2 1M
qemu-img create -f qcow2 -o compression_type=zstd,compat=0.10 t.qcow2 1M
qemu-img create -f qcow2 -o compression_type=zstd t.qcow2 1M
qemu-img info --output=json t.qcow2 | grep -v actual
EOF
}

# In what order faults are found, and how values are read.
test_wrong_values() {
	compare_lines <<'EOF'
qemu-img create -q -f raw r.raw 1M
qemu-img create -q -f qcow2 t.qcow2 1M
qemu-img create -q -f qcow2 -b t.qcow2 -F qcow2 o.qcow2
qemu-img create -f raw -o 'size= 1M' x
qemu-img create -f raw -o size=+1M x
qemu-img create -f raw -o 'size=1M ' x
qemu-img create -f raw -o size=99999999999999999999 x
qemu-img create -f qed -F raw x 1M
qemu-img create -f qcow2 -F raw x 1M
qemu-img create -f vmdk -F raw x 1M
qemu-img create -f qcow2 -o cluster_size=x,foo=1 x 1M
qemu-img create -f qcow2 -o foo=1,cluster_size=x x 1M
qemu-img resize --preallocation=x r.raw
qemu-img resize -f raw r.raw ' 2M'
qemu-img resize -f raw r.raw ++1M
qemu-img resize -f raw r.raw '- 1M'
qemu-img resize -f raw r.raw +-1M
qemu-img resize -f raw r.raw 99999999999999999999
qemu-img resize -f raw r.raw 9223372036854775807
qemu-img resize -f qcow2 t.qcow2 9223372035781033985
qemu-img info -f raw r.raw | grep virtual
qemu-img amend -o cluster_size=4k t.qcow2
qemu-img amend -o cluster_size=x t.qcow2
qemu-img amend -o cluster_size=4k,foo=1 t.qcow2
qemu-img amend -o lazy_refcounts=x,cluster_size=4k t.qcow2
qemu-img amend -o size=x t.qcow2
qemu-img amend -p -o foo=1 t.qcow2
qemu-img amend -p -o compat=v3 nothere
qemu-img amend -p -o compat=v3 t.qcow2 t.qcow2
qemu-img amend -p -f qcow2 -o help t.qcow2 | tail -c 2
qemu-img compare -p t.qcow2 nothere
qemu-img compare -p -T foo t.qcow2 t.qcow2
qemu-img convert -p nothere x
qemu-img convert -p -t foo t.qcow2 x; rm -f x
qemu-img convert -p -T foo t.qcow2 x
qemu-img convert -p -O qcow2 -o foo=1 t.qcow2 x
qemu-img convert -O raw -B t.qcow2 -o foo=1 t.qcow2 x
qemu-img convert -O raw -B t.qcow2 t.qcow2 t.qcow2 x
qemu-img convert -O raw -F qcow2 t.qcow2 x
qemu-img convert -O raw -o backing_file=t.qcow2 t.qcow2 x
qemu-img convert -O qcow2 --bitmaps -o foo=1 r.raw x
qemu-img convert -O qcow2 -o cluster_size=99999999999999999999 t.qcow2 x
qemu-img measure --size 1M -O qcow2 -o cluster_size=x
qemu-img check --output=json file:t.qcow2
qemu-img info -f foo nothere
qemu-img info -f qcow2 json:{}
qemu-img info json:{}
qemu-img bitmap --remove -f raw r.raw b
qemu-img bitmap --enable -g 1k t.qcow2
qemu-img bitmap --enable -F qcow2 t.qcow2
qemu-img bitmap t.qcow2
qemu-img bitmap --merge b -f raw r.raw c
qemu-img commit --image-opts driver=qcow2,file.filename=o.qcow2,read-only=on
qemu-img rebase -u -b t.qcow2 -F qcow2 --image-opts driver=qcow2,file.filename=o.qcow2,read-only=on
qemu-img resize --image-opts driver=raw,file.filename=r.raw,read-only=on 4M
qemu-img info --image-opts driver=qcow2,file.filename=t.qcow2,lazy-refcounts=x
qemu-img info --image-opts driver=qcow2,file.filename=t.qcow2,l2-cache-size=x
qemu-img info --image-opts driver=qcow2,file.filename=t.qcow2,cache-clean-interval=x
qemu-img info --image-opts driver=qcow2,file.filename=t.qcow2,overlap-check=x
qemu-img info --image-opts driver=qcow2,file.filename=t.qcow2,overlap-check=all,l2-cache-size=1M,lazy-refcounts=on,cache-clean-interval=10 | grep virtual
qemu-img info --image-opts 'driver=null-co,size= 1M' | grep virtual
EOF
}

test_other_verbs() {
	compare_lines <<'EOF'
qemu-img create -q -f qcow2 t.qcow2 64M; qemu-io -c 'write -P 1 0 1M' -c 'write -P 2 10M 100k' -c 'write -z 20M 1M' t.qcow2 >/dev/null
qemu-img create -q -f qcow2 -b t.qcow2 -F qcow2 o.qcow2; qemu-io -c 'write -P 3 5M 100k' -c 'write -P 3 10M 50k' o.qcow2 >/dev/null
qemu-img map o.qcow2
qemu-img map --output=json o.qcow2
qemu-img map -s 5M -l 6M --output=json o.qcow2
qemu-img map --start-offset=5M --max-length=6M o.qcow2
qemu-img map -f raw --output=json t.qcow2 | head -3
qemu-img map --output=foo o.qcow2
qemu-img map
qemu-img map a b
qemu-img map --start-offset=foo o.qcow2
qemu-img map --max-length=-1 o.qcow2
qemu-img info
qemu-img info a b
qemu-img info nothere
qemu-img info -f foo t.qcow2
qemu-img info -f vmdk t.qcow2
qemu-img info --output=xml t.qcow2
qemu-img info --backing-chain o.qcow2 | grep -v 'disk size'
qemu-img info --backing-chain --output=json o.qcow2 | grep -v actual
qemu-img check t.qcow2
qemu-img check --output=json t.qcow2
qemu-img check -r foo t.qcow2
qemu-img check -r all t.qcow2
qemu-img check -f raw t.qcow2
qemu-img check nothere
qemu-img check
qemu-img check -q t.qcow2
qemu-img check -T foo t.qcow2
qemu-img check -f raw --output=json t.qcow2
qemu-img snapshot -c s1 t.qcow2
qemu-img snapshot t.qcow2
qemu-img snapshot -l t.qcow2 | sed 's/20[0-9-]* [0-9:]*/DATE/'
qemu-img snapshot -c s1 t.qcow2
qemu-img snapshot -d nope t.qcow2
qemu-img snapshot -a nope t.qcow2
qemu-img snapshot -c a -d b t.qcow2
qemu-img snapshot
qemu-img snapshot -l -q t.qcow2 | wc -l
qemu-img snapshot -c x t.raw
qemu-img snapshot -a s1 t.qcow2
qemu-img snapshot -d s1 t.qcow2
qemu-img create -q -f raw r.raw 1M; qemu-img snapshot -l r.raw; qemu-img snapshot -c x r.raw
qemu-img resize r.raw
qemu-img resize r.raw 2M
qemu-img resize -f raw r.raw 1M
qemu-img resize -f raw --shrink r.raw 1M
qemu-img resize -f raw r.raw +1M
qemu-img resize -f raw r.raw -1M
qemu-img resize -f raw --shrink r.raw -5M
qemu-img resize -f raw r.raw foo
qemu-img resize -f raw r.raw +
qemu-img resize -f raw --preallocation=foo r.raw +1M
qemu-img resize -f raw --preallocation=metadata r.raw +1M
qemu-img resize -f qcow2 --preallocation=foo t.qcow2 +1M
qemu-img resize -f raw --preallocation=full --shrink r.raw 1M
qemu-img resize o.qcow2 10M
qemu-img resize --shrink o.qcow2 10M
qemu-img resize o.qcow2 10000001
qemu-img resize -q o.qcow2 64M
qemu-img resize nothere 1M
qemu-img resize
qemu-img resize 1M
qemu-img resize -f raw r.raw 1M 2M
qemu-img resize r.raw --size 5
qemu-img compare t.qcow2 o.qcow2
qemu-img compare -s t.qcow2 o.qcow2
qemu-img compare t.qcow2
qemu-img compare t.qcow2 nothere
qemu-img compare -f raw t.qcow2 o.qcow2
qemu-img compare -F raw t.qcow2 o.qcow2
qemu-img compare -q t.qcow2 t.qcow2
qemu-img compare -T foo t.qcow2 t.qcow2
qemu-img commit
qemu-img commit t.qcow2
qemu-img commit -b nope o.qcow2
qemu-img commit -t foo o.qcow2
qemu-img commit -p -q o.qcow2
qemu-img commit -d o.qcow2
qemu-img commit o.qcow2
qemu-img rebase o.qcow2
qemu-img rebase -b nothere -F qcow2 o.qcow2
qemu-img rebase -b t.qcow2 o.qcow2
qemu-img rebase -b t.qcow2 -F foo o.qcow2
qemu-img rebase -u -b foo -F qcow2 o.qcow2
qemu-img info o.qcow2 | grep back
qemu-img rebase -b t.qcow2 -F qcow2 o.qcow2
qemu-img rebase -u -b '' o.qcow2
qemu-img info o.qcow2 | grep back
qemu-img rebase -u -b t.qcow2 -F qcow2 o.qcow2
qemu-img rebase -b '' o.qcow2
qemu-img rebase -f raw -b t.qcow2 -F qcow2 r.raw
qemu-img rebase -p -u -b t.qcow2 -F qcow2 o.qcow2
qemu-img rebase -F qcow2 o.qcow2
qemu-img rebase -t foo -b t.qcow2 -F qcow2 o.qcow2
qemu-img measure
qemu-img measure --size 1M -O foo
qemu-img measure --size 1M -O vmdk
qemu-img measure --size 1G -O qcow2
qemu-img measure --size 1G -O qcow2 -o cluster_size=4k,refcount_bits=1
qemu-img measure --size 1G -O qcow2 -o foo=1
qemu-img measure --size foo
qemu-img measure --size 1G -l s t.qcow2
qemu-img measure -O qcow2 t.qcow2
qemu-img measure -O qcow2 --output=json t.qcow2
qemu-img measure -O qcow2 -o preallocation=full t.qcow2
qemu-img measure --size 1M t.qcow2
qemu-img measure -f qcow2
qemu-img measure a b
qemu-img dd
qemu-img dd if=t.qcow2
qemu-img dd of=x.raw
qemu-img dd if=t.qcow2 of=x.raw
qemu-img dd if=t.qcow2 of=x.raw bs=foo
qemu-img dd if=t.qcow2 of=x.raw bs=0
qemu-img dd if=t.qcow2 of=x.raw bs=1M count=-1
qemu-img dd if=t.qcow2 of=x.raw bs=1M count=2 skip=9
qemu-img dd if=t.qcow2 of=x.raw bs=1M skip=900
qemu-img dd if=t.qcow2 of=x.raw foo=1
qemu-img dd -O foo if=t.qcow2 of=x.raw
qemu-img dd -O bochs if=t.qcow2 of=x.raw
qemu-img dd if=t.qcow2 if=t.qcow2 of=x.raw
qemu-img dd if=nothere of=x.raw
qemu-img dd -f qcow2 -O qcow2 bs=1M if=t.qcow2 of=y.qcow2; qemu-img info y.qcow2 | grep virt
qemu-img bench t.qcow2 -c foo
qemu-img bench
qemu-img bench -c 10 -s 0 t.qcow2 | grep -v completed
qemu-img bench -t foo t.qcow2
qemu-img bench -i foo t.qcow2
qemu-img bench -w --flush-interval=1 --no-drain -d 4 -c 10 t.qcow2 | grep -v completed
qemu-img bench --flush-interval=5 t.qcow2
qemu-img bench -d 4 -w --flush-interval=2 t.qcow2
qemu-img convert
qemu-img convert t.qcow2
qemu-img convert nothere x
qemu-img convert -f raw -O qcow2 t.qcow2 /nodir/x
qemu-img convert -c -O raw t.qcow2 x
qemu-img convert -c -O vdi t.qcow2 x
qemu-img convert -O qcow2 -B nothere -F qcow2 t.qcow2 x
qemu-img convert -O qcow2 -B t.qcow2 t.qcow2 x
qemu-img convert -O raw -B t.qcow2 -F qcow2 t.qcow2 x
qemu-img convert -O qcow2 -B t.qcow2 -F qcow2 t.qcow2 t.qcow2 x
qemu-img convert -S foo t.qcow2 x
qemu-img convert -S 1 t.qcow2 x
qemu-img convert -S 32M t.qcow2 x
qemu-img convert -m 0 t.qcow2 x
qemu-img convert -m 17 t.qcow2 x
qemu-img convert -n t.qcow2 nothere
qemu-img convert -n -O raw t.qcow2 r.raw
qemu-img convert -l foo -O raw t.qcow2 x
qemu-img convert -l snapshot.foo=bar t.qcow2 x
qemu-img convert -s foo t.qcow2 x
qemu-img convert -r foo t.qcow2 x
qemu-img convert -t foo t.qcow2 x
qemu-img convert -T foo t.qcow2 x
qemu-img convert --target-is-zero t.qcow2 x
qemu-img convert -n -o foo=1 t.qcow2 x
qemu-img convert -C -S 4k t.qcow2 x
qemu-img convert -O qcow2 -o cluster_size=3 t.qcow2 x
qemu-img convert -O qcow2 -o backing_file=t.qcow2 t.qcow2 x
qemu-img convert -O qcow2 -o preallocation=full -c t.qcow2 x
qemu-img
qemu-img foo
qemu-img --foo
qemu-img info -z t.qcow2
qemu-img info --foo t.qcow2
qemu-img info -f
qemu-img info --output
EOF
}

test_images() {
	compare_lines <<'EOF'
qemu-img create -q -f raw base.raw 64M; qemu-io -f raw -c 'write -P 0x11 0 64M' base.raw >/dev/null
qemu-img create -q -f qcow2 -b base.raw -F raw t.qcow2; qemu-io -c 'write -P 0 0 3M' t.qcow2 >/dev/null
qemu-img convert -O qcow2 -B base.raw -o backing_fmt=raw t.qcow2 o.qcow2; qemu-img map --output=json o.qcow2
qemu-img convert -O qcow2 -c -B base.raw -o backing_fmt=raw t.qcow2 o.qcow2; qemu-img map --output=json o.qcow2
qemu-img convert -O qcow2 -S 0 t.qcow2 o.qcow2; qemu-img map --output=json o.qcow2
qemu-img convert -O qcow2 -S 3k t.qcow2 o.qcow2; qemu-img map --output=json o.qcow2
qemu-img convert -O qcow2 -c -S 8k t.qcow2 o.qcow2; qemu-img map --output=json o.qcow2
qemu-img convert -O raw -S 0 t.qcow2 o.raw; qemu-img map --output=json -f raw o.raw
qemu-img create -q -f qcow2 x.qcow2 1M; qemu-io -c 'write 0 64k' -c 'write 768k 64k' x.qcow2 >/dev/null
for s in 0 512 4k 64k 128k; do qemu-img convert -O raw -S $s x.qcow2 y.raw; qemu-img map --output=json -f raw y.raw; done
for s in 0 4k; do qemu-img convert -O qcow2 -S $s x.qcow2 y; qemu-img map --output=json y; done
qemu-img convert -O qcow2 -o preallocation=metadata x.qcow2 y; qemu-img map --output=json y
qemu-img convert -O qcow2 -o preallocation=falloc x.qcow2 y; qemu-img map --output=json y
qemu-img convert -O qcow2 -o preallocation=full x.qcow2 y; qemu-img map --output=json y
qemu-img convert -c -O qcow2 x.qcow2 x.qcow2 z; qemu-img info z | grep -v 'disk size'
qemu-img create -q -f qcow2 n.qcow2 1M; qemu-img convert -n -O qcow2 x.qcow2 n.qcow2; qemu-img map --output=json n.qcow2
qemu-img convert -n --target-is-zero -O qcow2 x.qcow2 n.qcow2; qemu-img map --output=json n.qcow2
qemu-img convert -O qcow2 -o backing_file=base.raw,backing_fmt=raw --target-is-zero -n x.qcow2 n.qcow2
qemu-img create -f vmdk v2.vmdk 1M; qemu-img check v2.vmdk; qemu-img check --output=json v2.vmdk
qemu-img create -f vdi v.vdi 1M; qemu-img check v.vdi; qemu-img info v.vdi | grep -v disk
qemu-img create -f vpc v.vpc 10M; qemu-img info v.vpc | grep -v 'disk size'; qemu-img check v.vpc
qemu-img create -f vpc -o force_size=on v.vpc 10M; qemu-img info v.vpc | grep -v 'disk size'
qemu-img create -f vpc -o subformat=fixed v.vpc 10M; qemu-img info -f vpc v.vpc | grep -v 'disk size'
qemu-img create -f qed -o cluster_size=1000 q.qed 1M
qemu-img create -f qed -o table_size=3 q.qed 1M
qemu-img create -f qed q.qed 1M; qemu-img check q.qed; qemu-img info q.qed | grep -v disk
qemu-img create -f parallels p.hdd 1M; qemu-img check p.hdd; qemu-img info p.hdd | grep -v disk
qemu-img create -f qcow q.qcow 1M; qemu-img check q.qcow; qemu-img info q.qcow | grep -v disk
qemu-img resize q.qcow 2M
qemu-img resize v.vdi 2M
qemu-img resize v2.vmdk 2M
qemu-img resize q.qed 2M; qemu-img resize --shrink q.qed 1M
qemu-img snapshot -c a q.qed
qemu-img create -f qcow2 s.qcow2 64M; for i in 1 2 3; do qemu-io -c "write -P $i 0 1M" s.qcow2 >/dev/null; qemu-img snapshot -c s$i s.qcow2; done
qemu-img info --output=json s.qcow2 | grep -v 'actual\|date\|sec'
qemu-img snapshot -a 1 s.qcow2; qemu-io -c 'read -P 1 0 1M' s.qcow2 | head -1
qemu-img snapshot -l s.qcow2 | sed 's/20[0-9-]* [0-9:]*/DATE/'
qemu-img create -q -f qcow2 c.qcow2 64M; qemu-io -c 'write 0 1M' c.qcow2 >/dev/null; printf '\0\3' | dd of=c.qcow2 bs=1 seek=$((131072+12)) conv=notrunc status=none; qemu-img check c.qcow2
qemu-img check --output=json c.qcow2
qemu-img check -r leaks c.qcow2
qemu-img check -r leaks --output=json c.qcow2
printf '\0\0' | dd of=c.qcow2 bs=1 seek=$((131072+12)) conv=notrunc status=none; qemu-img check c.qcow2
qemu-img check -r leaks c.qcow2
qemu-img check -r all c.qcow2
qemu-img create -q -f qcow2 c.qcow2 64M; qemu-io -c 'write 0 1M' c.qcow2 >/dev/null; printf '\200\0\0\0\0\1\0\0' | dd of=c.qcow2 bs=1 seek=$((262144)) conv=notrunc status=none; qemu-img check c.qcow2
qemu-img create -q -f qcow2 -b base.raw -F raw b1.qcow2; qemu-img create -q -f qcow2 -b b1.qcow2 -F qcow2 b2.qcow2; qemu-io -c 'write -P 7 1M 1M' b1.qcow2 >/dev/null; qemu-io -c 'write -P 8 2M 1M' b2.qcow2 >/dev/null; qemu-img commit -b base.raw b2.qcow2; qemu-img info b2.qcow2 | grep back; qemu-img map b2.qcow2
qemu-img commit b2.qcow2; qemu-img map b2.qcow2
qemu-img commit -d b1.qcow2; qemu-img map b1.qcow2
qemu-img rebase -b base.raw -F raw b2.qcow2; qemu-img map b2.qcow2
qemu-img create -q -f qcow2 -o backing_file=json:'{"driver":"raw","file.filename":"base.raw"}' -F raw j.qcow2 64M; qemu-img info j.qcow2 | grep back
qemu-img create -q -f raw 'a:b.raw' 1M
qemu-img create -f raw './a:b.raw' 1M; qemu-img info './a:b.raw' | grep -v disk
qemu-img info 'nope:x'
qemu-img compare base.raw base.raw
qemu-img create -q -f raw small.raw 1M; qemu-img compare -f raw -F raw small.raw base.raw
qemu-img create -q -f raw z.raw 2M; qemu-img compare -f raw -F raw small.raw z.raw; qemu-img compare -s -f raw -F raw small.raw z.raw
qemu-img dd -f raw if=base.raw of=dd.raw bs=1M count=1 skip=1; qemu-img info dd.raw | grep virt
qemu-img dd -f raw -O qcow2 if=base.raw of=dd.qcow2 bs=3 count=100; qemu-img info dd.qcow2 | grep virt
qemu-img dd -f raw if=base.raw of=dd.raw bs=512 skip=200000; qemu-img info dd.raw | grep virt
for o in cluster_size=512 cluster_size=2M preallocation=metadata compat=0.10 extended_l2=on,cluster_size=64k; do qemu-img measure --size 10G -O qcow2 -o $o; done
qemu-img measure --size 2E -O qcow2
qemu-img measure --size 8E -O raw
qemu-img measure -f raw -O qcow2 base.raw
qemu-img measure -O raw t.qcow2
qemu-img measure --output=xml --size 1M
qemu-img create -f qcow2 -o data_file=df.raw df.qcow2 1M; qemu-io -c 'write 4k 2k' df.qcow2 >/dev/null; qemu-img map --output=json df.qcow2; qemu-img check df.qcow2; qemu-img info df.qcow2 | grep data
qemu-img create -q -f qcow2 -o data_file=dr.raw,data_file_raw=on dr.qcow2 1M; qemu-img create -q -f raw drb.raw 1M
qemu-img rebase -u -f qcow2 -b drb.raw -F raw dr.qcow2; qemu-img rebase -f qcow2 -b drb.raw -F raw dr.qcow2
qemu-img rebase -u -f qcow2 -b '' dr.qcow2; qemu-img info dr.qcow2 | grep -e back -e data
qemu-img amend -o data_file=other.raw df.qcow2; cp df.raw other.raw; qemu-img info df.qcow2 | grep data
qemu-img amend -o data_file_raw=off df.qcow2
qemu-img amend -o compat=0.10 df.qcow2
qemu-img create -f qcow2 -o encrypt.format=foo le2.qcow2 1M
qemu-img create -f qcow2 -o encryption=on le2.qcow2 1M
EOF
}

# Other hypervisors' formats: where the data is, and options of the file.
test_other_formats() {
	compare_lines <<'EOF'
qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentFlat f.vmdk 5G; qemu-img map --output=json f.vmdk
qemu-io -c 'write 64k 64k' -c 'write 3G 64k' f.vmdk >/dev/null; qemu-img map f.vmdk; qemu-img map --output=json f.vmdk
qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse s.vmdk 5G; qemu-io -c 'write 0 64k' -c 'write 3G 64k' s.vmdk >/dev/null; qemu-img map s.vmdk; qemu-img map --output=json s.vmdk
qemu-img create -q -f vmdk -o subformat=monolithicFlat f.vmdk 50M; qemu-img map --output=json f.vmdk; qemu-io -c 'write 1M 64k' f.vmdk >/dev/null; qemu-img map f.vmdk
qemu-img create -q -f vpc -o subformat=fixed f.vpc 50M; qemu-img map -f vpc --output=json f.vpc; stat -c %b f.vpc
qemu-img create -q -f vdi -o static=on f.vdi 50M; qemu-io -c 'write 1M 64k' f.vdi >/dev/null; qemu-img map --output=json f.vdi
for o in '' ' 0' ' -1' ' 2 3'; do for t in FLAT SPARSE VMFS VMFSSPARSE; do echo "$t$o"; printf 'version=1\nCID=12345678\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 64 %s "s-s001.vmdk"%s\n' "$t" "$o" >d.vmdk; qemu-img info d.vmdk | head -3; done; done
for f in raw vdi vpc vhdx qed parallels qcow vmdk luks; do qemu-img create -f $f -o help x 1M | grep prealloc; qemu-img create -f $f -o help | grep prealloc; done
for f in raw vdi vpc vhdx qed parallels qcow vmdk; do for p in off metadata falloc full foo; do rm -f x; qemu-img create -f $f -o preallocation=$p x 1M; done; done
qemu-img create -f vdi -o preallocation=off,nocow=on x 1M
qemu-img create -f raw -o preallocation=off,nocow=on x 1M
for i in a b; do qemu-img create -q -f qed $i.qed 1M; qemu-io -c "write -P 0x$i 0 64k" -c "write -P 0x$i 256k 64k" $i.qed >/dev/null; done
qemu-img create -q -f qed -b a.qed -F qed top.qed; qemu-img rebase -b b.qed -F qed top.qed; qemu-img info top.qed | grep backing; qemu-io -c 'read -P 0xa 0 64k' -c 'read -P 0xa 256k 64k' top.qed | grep -v ops; qemu-img check top.qed | sed 1q
qemu-img create -q -f raw r.raw 1M; qemu-img rebase -u -b r.raw -F raw top.qed; qemu-img info top.qed | grep backing; head -c 64 top.qed | tail -c +17 | od -An -tx1
qemu-img rebase -u -b a.qed top.qed; qemu-img info top.qed | grep backing
qemu-img rebase -b '' top.qed; qemu-img info top.qed | grep backing
qemu-img create -q -f qcow b.qcow 1M; qemu-img create -q -f qcow -b b.qcow -F qcow t.qcow; qemu-io -c 'write -P 7 0 64k' -c 'write -P 7 512k 1k' t.qcow >/dev/null; qemu-img commit t.qcow; stat -c %s t.qcow; qemu-io -c 'read -P 7 0 64k' -c 'write 0 512' t.qcow | grep -v ops; qemu-img map t.qcow | grep t.qcow
qemu-img create -f qcow -u -b nofile -F garbage x 1M
for b in a.qed s.vmdk nofile; do for f in vmdk qed garbage; do qemu-img create -f vmdk -u -b $b -F $f x 1M; done; done
qemu-img create -q -f raw data 1M; qemu-io -f raw -c 'write 0 1M' data >/dev/null; for s in monolithicSparse monolithicFlat twoGbMaxExtentFlat streamOptimized; do qemu-img convert -c -f raw -O vmdk -o subformat=$s data c.vmdk; done
qemu-img measure -l snapshot.foo=bar
qemu-img convert -l snapshot.foo=bar nofile x
qemu-img measure -l a
qemu-img measure --image-opts
: >empty; echo hi >short; for f in vdi vpc qed parallels qcow vmdk luks bochs; do for i in empty short data; do qemu-img info -f $f $i; done; done; qemu-img info -f dmg empty 2>&1 | grep -v module
qemu-img create -q -f qcow2 v.qcow2 1M; for v in 0 2 3 4; do printf "\\0\\0\\0\\$v" | dd of=v.qcow2 bs=1 seek=4 conv=notrunc status=none; qemu-img info -f qcow v.qcow2; done
for s in 2M +1 1025 0 1000000000G; do qemu-img create -q -f qed r.qed 1M; qemu-img resize r.qed $s; qemu-img resize --shrink r.qed $s; done
qemu-img create -f vmdk z.vmdk 0; qemu-img info z.vmdk
qemu-img create -f parallels big 8191P 2>&1 | tail -1
for i in z.vmdk b.qcow top.qed f.vdi; do for o in -c -a -d; do qemu-img snapshot $o a $i; done; qemu-img snapshot -l $i; qemu-img convert -l a $i x; qemu-img measure -l a $i; done
EOF
}

# shellcheck disable=SC1091 # not part of the tree
. shunit2
