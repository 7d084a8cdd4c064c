#!/bin/sh
# SPDX-License-Identifier: ISC
# Every option that -o takes, of every format that qemu-img makes: each by a
# row of a table, which is a command line that both do alike. What the installed
# qemu-img lists and no row has is an error.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/options.sh

rows_create_qcow2() {
	cat <<'EOT'
-f qcow2 -o backing_file=b.qcow2,backing_fmt=qcow2 new
-f qcow2 -o backing_file=a.raw,backing_fmt=raw,size=2M new
-f qcow2 -o cluster_size=512,size=1M new
-f qcow2 -o cluster_size=2M new 10G
-f qcow2 -o compat=0.10 new 1M
-f qcow2 -o compat=v3 new 1M
-f qcow2 -o compression_type=zlib new 1M
-f qcow2 -o compression_type=zstd new 1M
-f qcow2 -o data_file=new.data new 1M
-f qcow2 -o data_file=new.data,data_file_raw=on new 1M
-f qcow2 -o data_file=new.data,preallocation=full new 1M
-f qcow2 -o encryption=on,encrypt.key-secret=s --object=secret,id=s,data=x new 1M
-f qcow2 -o encrypt.format=aes,encrypt.key-secret=s --object=secret,id=s,data=x new 1M
-f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,encrypt.cipher-alg=aes-128 --object=secret,id=s,data=x new 1M
-f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,encrypt.cipher-mode=cbc --object=secret,id=s,data=x new 1M
-f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,encrypt.hash-alg=sha512 --object=secret,id=s,data=x new 1M
-f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256 --object=secret,id=s,data=x new 1M
-f qcow2 -o extended_l2=on new 1M
-f qcow2 -o extended_l2=on,cluster_size=128k,preallocation=metadata new 1M
-f qcow2 -o lazy_refcounts=on new 1M
-f qcow2 -o preallocation=off new 1M
-f qcow2 -o preallocation=metadata new 1M
-f qcow2 -o preallocation=falloc new 1M
-f qcow2 -o preallocation=full new 1M
-f qcow2 -o refcount_bits=1 new 1M
-f qcow2 -o refcount_bits=64,preallocation=metadata new 1M
-f qcow2 -o extent_size_hint=0 new 1M
-f qcow2 -o nocow=on new 1M
EOT
}

rows_convert_qcow2() {
	cat <<'EOT'
-O qcow2 -o backing_file=b.qcow2,backing_fmt=qcow2 o.qcow2 new
-O qcow2 -o cluster_size=4k -f raw a.raw new
-O qcow2 -o compat=0.10 -f raw a.raw new
-O qcow2 -c -o compression_type=zlib -f raw a.raw new
-O qcow2 -c -o compression_type=zstd -f raw a.raw new
-O qcow2 -o data_file=new.data -f raw a.raw new
-O qcow2 -o data_file=new.data,data_file_raw=on -f raw a.raw new
-O qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 --object=secret,id=s,data=x -f raw a.raw new
-O qcow2 -o encryption=on,encrypt.key-secret=s --object=secret,id=s,data=x -f raw a.raw new
-O qcow2 -o extended_l2=on,cluster_size=128k -f raw a.raw new
-O qcow2 -o lazy_refcounts=on -f raw a.raw new
-O qcow2 -o preallocation=metadata -f raw a.raw new
-O qcow2 -o preallocation=falloc -f raw a.raw new
-O qcow2 -o preallocation=full -f raw a.raw new
-O qcow2 -o refcount_bits=8 -f raw a.raw new
EOT
}

rows_create_others() {
	cat <<'EOT'
-f raw -o size=1M new
-f raw -o preallocation=off new 1M
-f raw -o preallocation=falloc new 1M
-f raw -o preallocation=full new 1M
-f raw -o preallocation=metadata new 1M
-f raw -o nocow=on new 1M
-f raw -o extent_size_hint=0 new 1M
-f raw -o extent_size_hint=64k new 1M
-f file -o size=1M new
-f file new 1M
-f qcow -o size=1M new
-f qcow -o backing_file=b.qcow2,backing_fmt=qcow2 new
-f qcow -o encryption=on,encrypt.key-secret=s --object=secret,id=s,data=x new 1M
-f qcow -o encrypt.format=aes,encrypt.key-secret=s --object=secret,id=s,data=x new 1M
-f qed -o size=1M new
-f qed -o backing_file=b.qcow2,backing_fmt=qcow2 new
-f qed -o cluster_size=4k new 1M
-f qed -o table_size=1 new 1M
-f qed -o cluster_size=4k,table_size=16 new 1M
-f vdi -o size=1M new
-f vdi -o static=on new 1M
-f vdi -o static=off new 1M
-f vdi -o preallocation=metadata new 1M
-f vhdx -o size=1M new
-f vhdx -o size=0 new
-f vhdx -o size=0,subformat=fixed new
-f vhdx -o block_size=2M new 10M
-f vhdx -o block_size=1000 new 10M
-f vhdx -o block_state_zero=off new 10M
-f vhdx -o log_size=2M new 10M
-f vhdx -o subformat=fixed new 1M
-f vhdx -o subformat=dynamic new 1M
-f vhdx -o subformat=foo new 1M
-f vpc -o size=1M new
-f vpc -o force_size=on new 1M
-f vpc -o force_size=off new 1000k
-f vpc -o subformat=fixed new 1M
-f vpc -o subformat=fixed,force_size=on new 1M
-f vpc -o subformat=dynamic new 1M
-f vpc -o subformat=foo new 1M
-f vmdk -o size=1M new
-f vmdk -o backing_file=a.vmdk,backing_fmt=vmdk new
-f vmdk -o backing_file=b.qcow2,backing_fmt=qcow2 new
-f vmdk -o adapter_type=ide new 1M
-f vmdk -o adapter_type=lsilogic new 1M
-f vmdk -o adapter_type=buslogic new 1M
-f vmdk -o adapter_type=legacyESX new 1M
-f vmdk -o adapter_type=foo new 1M
-f vmdk -o compat6=on new 1M
-f vmdk -o hwversion=11 new 1M
-f vmdk -o hwversion=x new 1M
-f vmdk -o toolsversion=100 new 1M
-f vmdk -o zeroed_grain=on new 1M
-f vmdk -o subformat=monolithicSparse new.vmdk 1M
-f vmdk -o subformat=monolithicFlat new.vmdk 1M
-f vmdk -o subformat=twoGbMaxExtentSparse new.vmdk 1M
-f vmdk -o subformat=twoGbMaxExtentFlat new.vmdk 1M
-f vmdk -o subformat=streamOptimized new.vmdk 1M
-f vmdk -o subformat=foo new.vmdk 1M
-f parallels -o size=1M new
-f parallels -o cluster_size=64k new 1M
-f parallels -o cluster_size=1000 new 1M
-f parallels -o cluster_size=1 new 1M
-f parallels -o cluster_size=0 new 1M
-f parallels -o cluster_size=2G new 1M
EOT
}

rows_convert_others() {
	cat <<'EOT'
-O raw -o preallocation=falloc b.qcow2 new
-O raw -o preallocation=full b.qcow2 new
-O raw -o nocow=on b.qcow2 new
-O raw -o extent_size_hint=64k b.qcow2 new
-O qcow -o encrypt.format=aes,encrypt.key-secret=s --object=secret,id=s,data=x b.qcow2 new
-O qcow -o backing_file=b.qcow2,backing_fmt=qcow2 o.qcow2 new
-O qed -o cluster_size=4k,table_size=2 b.qcow2 new
-O vdi -o static=on b.qcow2 new
-O vdi b.qcow2 new
-O vhdx -o block_size=1M b.qcow2 new
-O vhdx -o block_state_zero=off,log_size=2M b.qcow2 new
-O vhdx -o subformat=fixed b.qcow2 new
-O vpc b.qcow2 new
-O vpc -o force_size=on b.qcow2 new
-O vpc -o subformat=fixed b.qcow2 new
-O vmdk b.qcow2 new.vmdk
-O vmdk -o adapter_type=lsilogic,hwversion=10,toolsversion=9 b.qcow2 new.vmdk
-O vmdk -o compat6=on b.qcow2 new.vmdk
-O vmdk -o zeroed_grain=on b.qcow2 new.vmdk
-O vmdk -o subformat=monolithicFlat b.qcow2 new.vmdk
-O vmdk -o subformat=twoGbMaxExtentFlat b.qcow2 new.vmdk
-O vmdk -o subformat=twoGbMaxExtentSparse b.qcow2 new.vmdk
-O vmdk -o subformat=streamOptimized b.qcow2 new.vmdk
-O parallels -o cluster_size=64k b.qcow2 new
-O luks -o key-secret=s,iter-time=10 --object=secret,id=s,data=x b.qcow2 new
-O luks -o key-secret=s,iter-time=10,cipher-alg=aes-128 --object=secret,id=s,data=x b.qcow2 new
-O luks -o key-secret=s,iter-time=10,cipher-alg=serpent-256 --object=secret,id=s,data=x b.qcow2 new
-O luks -o key-secret=s,iter-time=10,cipher-mode=cbc,ivgen-alg=plain --object=secret,id=s,data=x b.qcow2 new
-O luks -o key-secret=s,iter-time=10,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256 --object=secret,id=s,data=x b.qcow2 new
-O luks -o key-secret=s,iter-time=10,hash-alg=sha1 --object=secret,id=s,data=x b.qcow2 new
-O luks -o key-secret=s,iter-time=10,preallocation=full --object=secret,id=s,data=x b.qcow2 new
EOT
}

rows_amend_formats() {
	cat <<'EOT'
-o backing_file=s.qcow2,backing_fmt=qcow2 o.qcow2
-o backing_fmt=qcow2 o.qcow2
-o backing_file=s.qcow2 o.qcow2
-o compat=1.1 b.qcow2
-o compat=0.10 lazy.qcow2
-o data_file=none b.qcow2
-o data_file_raw=on b.qcow2
-o lazy_refcounts=on b.qcow2
-o lazy_refcounts=off lazy.qcow2
-o refcount_bits=1 b.qcow2
-o refcount_bits=64 s.qcow2
-o refcount_bits=1 s.qcow2
-o size=2M b.qcow2
-o size=512k b.qcow2
--object=secret,id=s,data=x --object=secret,id=n,data=y -o encrypt.new-secret=n,encrypt.state=active,encrypt.keyslot=3,encrypt.iter-time=10 --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=e.qcow2
--object=secret,id=s,data=x -o encrypt.state=inactive,encrypt.old-secret=s --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=e.qcow2
--object=secret,id=s,data=x -o state=inactive,keyslot=0 --image-opts driver=luks,key-secret=s,file.filename=e.luks
--object=secret,id=s,data=x -o state=active,keyslot=2,new-secret=s,iter-time=10 --image-opts driver=luks,key-secret=s,file.filename=e.luks
--object=secret,id=s,data=x --object=secret,id=n,data=y -o state=inactive,old-secret=n --image-opts driver=luks,key-secret=s,file.filename=e.luks
--object=secret,id=s,data=x -o state=inactive,keyslot=3 --image-opts driver=luks,key-secret=s,file.filename=e.luks
--object=secret,id=s,data=x -o state=active,keyslot=9,new-secret=s --image-opts driver=luks,key-secret=s,file.filename=e.luks
-o preallocation=off b.qcow2
-o cluster_size=64k a.raw
EOT
}

rows_measure_formats() {
	cat <<'EOT'
-O raw -o preallocation=full --size=1M
-O raw -o nocow=on,extent_size_hint=0 b.qcow2
-O qcow2 -o backing_file=b.qcow2,backing_fmt=qcow2 --size=1M
-O qcow2 -o compat=0.10,compression_type=zlib,lazy_refcounts=off b.qcow2
-O qcow2 -o data_file=x,data_file_raw=on b.qcow2
-O qcow2 -o data_file=x b.qcow2
-O qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=aes-128 --object=secret,id=s,data=x b.qcow2
-O qcow2 -o encryption=on,encrypt.key-secret=s --object=secret,id=s,data=x b.qcow2
-O qcow2 -o encrypt.format=luks --size=1M
-O qcow2 -o extended_l2=on --size=1G
-O qcow2 -o preallocation=falloc b.qcow2
-O qcow2 -o preallocation=metadata b.qcow2
-O qcow2 -o refcount_bits=64,cluster_size=512 --size=1G
-O luks -o key-secret=s,cipher-alg=aes-128 --object=secret,id=s,data=x b.qcow2
-O luks --size=1M
-O qed --size=1M
-O vdi --size=1M
EOT
}
# Its master key and salts are random.
rows_create_luks() {
	sed 's/^/--object=secret,id=s,data=x -f luks -o key-secret=s,iter-time=10,/' <<'EOT'
size=1M new
cipher-alg=aes-128 new 1M
cipher-alg=foo new 1M
cipher-mode=cbc new 1M
hash-alg=sha512 new 1M
hash-alg=foo new 1M
cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256 new 1M
cipher-mode=cbc,ivgen-alg=plain new 1M
EOT
}

test_create_qcow2() {
	like_qemu_img create create_qcow2
}

test_create_luks() {
	has_no_content=yes
	like_qemu_img create create_luks
	has_no_content=
}

test_create_others() {
	like_qemu_img create create_others
}

test_convert_qcow2() {
	like_qemu_img convert convert_qcow2
}

test_convert_others() {
	like_qemu_img convert convert_others
}

test_amend() {
	like_qemu_img amend amend_formats
}

test_measure() {
	like_qemu_img measure measure_formats
}

# VERB FORMAT PATTERN TABLE...: what it lists is in a row that has PATTERN.
exercised() {
	qemu-img "$1" -f "$2" -o help | sed -n 's/^  \([^=]*\)=<.*/\1/p' >names
	assertTrue "$1 $2" '[ -s names ]'
	what="$1 $2" pattern=$3
	shift 3
	for name; do table "$name"; done | grep -e "$pattern" >rows
	while read -r name; do
		grep -q "[ ,]$name=" rows || fail "no row of $what has $name"
	done <names
}

test_what_is_listed_there() {
	for format in luks parallels qcow qcow2 qed raw vdi vhdx vmdk vpc; do
		exercised create $format "-f $format " create_qcow2 \
			create_luks create_others
	done
	exercised create file '-f raw ' create_others
	exercised amend qcow2 '' amend_formats
	exercised amend luks '' amend_formats
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
