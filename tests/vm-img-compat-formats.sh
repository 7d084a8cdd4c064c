#!/bin/sh
# SPDX-License-Identifier: ISC
# What vm-img-compat.sh does, for other formats than qcow2: new images and
# what is said of them, byte for byte.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh

setUp() {
	[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
	img_dir
	mkdir theirs ours
}

tearDown() {
	img_cleanup
}

# Lengths that are none: rounded, cut, or refused; and where blocks begin.
test_vhdx() {
	compare_lines <<'EOF'
for o in block_size=1000 block_size=3M block_size=512M block_size=5G log_size=0 log_size=1000 log_size=2M log_size=4G block_size=1M,subformat=dynamic; do rm -f x; qemu-img create -f vhdx -o $o x 40G && qemu-img info x | grep -v disk && stat -c %s x; done
qemu-img create -f vhdx -o subformat=foo x 1M
EOF
}

# Differencing images are ours alone; all else about them is as it is there.
test_no_backing_file() {
	for format in vpc vhdx vdi parallels luks raw; do
		compare_lines <<EOF
qemu-img create -q -f raw in.raw 1M
qemu-img create -f $format -F raw t.img 1M
qemu-img create -f $format -F raw t.img
qemu-img create -f $format -F foo t.img 1M
qemu-img create -f $format -F '' t.img 1M
qemu-img create -f $format -u -F raw t.img 1M
qemu-img create -f $format -b in.raw -F raw t.img
qemu-img create -f $format -u -b in.raw -F qcow2 t.img 1M
qemu-img create -f $format -b '' t.img 1M
qemu-img create -f $format -b '' -F raw t.img 1M
qemu-img create -f $format -o backing_fmt=raw t.img 1M
qemu-img create -f $format -o backing_file=in.raw,backing_fmt=raw t.img
qemu-img convert -O $format -F raw in.raw t.img
qemu-img convert -O $format -B in.raw -F raw in.raw t.img
qemu-img convert -O $format -o backing_fmt=raw in.raw t.img
EOF
	done
}

# Those that QEMU writes and cannot read again, of qcow and QED, are not made.
test_long_names() {
	name=$(printf '%01024d' 0)
	short=$(printf '%0400d' 0)
	compare_lines <<EOF
qemu-img create -q -f raw in.raw 1M
qemu-img create -f qcow2 -u -b $name -F raw t.img 1M 2>&1 | cut -c -400
qemu-img create -f qcow2 -u -b ${name%0} -F raw t.img 1M
qemu-img rebase -u -b $name -F raw t.img
qemu-img rebase -u -b $short -F raw t.img
qemu-img create -f qcow2 -o cluster_size=512 -u -b $short -F raw t.img 1M
qemu-img create -q -f qcow2 -o cluster_size=512 t.img 1M
qemu-img rebase -u -b $short -F raw t.img
EOF
}

# Two sizes are in the footer.
test_vpc_size() {
	compare_lines <<'EOF'
qemu-img create -q -f vpc -o force_size=on a 12345k; qemu-img create -q -f qcow2 b 1M
for m in chs current_size auto foo ''; do for d in driver=vpc, '' driver=raw,; do qemu-img info --image-opts ${d}force_size_calc=$m,file.filename=a | grep -v disk; done; done
for d in driver=qcow2, ''; do qemu-img info --image-opts ${d}force_size_calc=chs,file.filename=b; done
qemu-img map --output=json 'json:{"driver": "vpc", "force_size_calc": "chs", "file.filename": "a"}'
qemu-img convert -O raw --image-opts driver=vpc,force_size_calc=current_size,file.filename=a c; stat -c %s c
EOF
}

# Where tables and clusters are.
test_qcow() {
	compare_lines <<'EOF'
qemu-img create -q -f raw s 3000k; qemu-io -f raw -c 'write -P 5 1M 100k' -c 'write -P 6 2999k 1k' s >/dev/null; qemu-img convert -f raw -O qcow s t; qemu-img map t; stat -c %s t
qemu-img create -q -f qcow o 1M; qemu-img create -q -f qcow -b o -F qcow p; qemu-io -c 'write -P 4 0 64k' -c 'write -P 5 512k 1k' p >/dev/null; qemu-img rebase -b '' p; qemu-img map p; stat -c %s p
EOF
}

# Extents are beside the descriptor, whatever they are called.
test_vmdk_names() {
	compare_lines <<'EOF'
mkdir d; for s in twoGbMaxExtentSparse twoGbMaxExtentFlat monolithicFlat; do qemu-img create -q -f vmdk -o subformat=$s d/a:b.vmdk 1M; qemu-img info d/a:b.vmdk | grep -v 'cid\|disk'; qemu-img create -q -f vmdk -b ./a:b.vmdk -F vmdk d/c:d.vmdk; qemu-img map --output=json d/c:d.vmdk; rm d/*; done
qemu-img create -q -f vmdk -o subformat=monolithicFlat file:a:b.vmdk 1M; qemu-img info ./a:b.vmdk | grep -v 'cid\|disk'; qemu-img map file:a:b.vmdk
EOF
}

# It is where the user says, and not where the image is.
test_data_file_names() {
	compare_lines <<'EOF'
for d in d d/d ./a:b file:d file:a:b file: nosuch:d none/d; do for i in t d/t file:a:b.qcow2; do mkdir x; cd x; mkdir d; qemu-img create -f qcow2 -o data_file=$d $i 1M; find . -type f | sort; qemu-img info $i | grep 'data file:'; qemu-img map $i; cd ..; rm -r x; done; done
qemu-img create -q -f raw s 1M; mkdir d; for d in d/d file:d/d; do qemu-img convert -f raw -O qcow2 -o data_file=$d s d/t; qemu-img compare s d/t; qemu-img amend -o data_file=d/e d/t; mv d/d d/e; qemu-img compare s d/t; qemu-img check d/t | head -n 1; rm d/*; done
EOF
}

# What is too large for a file is told of as the disk's size.
test_too_large_for_a_file() {
	compare_lines <<'EOF'
for o in data_file=d data_file=d,data_file_raw=on preallocation=falloc; do (trap '' XFSZ; ulimit -f 2000; qemu-img create -f qcow2 -o $o t 64M); done
for f in raw 'vdi -o static=on' 'vpc -o subformat=fixed' 'vhdx -o subformat=fixed'; do (trap '' XFSZ; ulimit -f 2000; qemu-img create -q -f $f t 64M); done
EOF
}

# Which of several faults is told of.
test_create_order() {
	compare_lines <<'EOF'
for o in '-o foo' '-o static=foo' '-o size=1M' '-o size=1M,foo' '-o backing_file=x' '-b x' '-F raw' '-b x -o foo' '-b x -o static=foo' '-b x -o size=1M'; do for n in a nosuch:a; do for s in '' 1M x; do qemu-img create -f vdi $o $n $s; done; done; done
for o in '-o foo' '-o cluster_size=3' '-b x' '-F foo -b x' '-b x -F raw -o foo' '-o backing_file=x -b y -F raw' '-o backing_file='; do for s in '' 1M x; do qemu-img create -f qcow2 $o a $s; done; done
qemu-img create -f foo -b x a x
qemu-img create -f bochs -o foo a
EOF
}

# shellcheck disable=SC1091 # not part of the tree
. shunit2
