#!/bin/sh
# SPDX-License-Identifier: ISC
# Every option of a block driver that --image-opts takes, of QEMU 7.2: each by
# a row of a table, which is a command line that both do alike. Drivers over the
# network and those of filters have tests of their own.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/options.sh

rows_read() {
	sed 's/^/--object=secret,id=s,data=x --object=throttle-group,id=g,limits.bps-total=1000000000 --image-opts /' <<'EOT'
driver=qcow2,node-name=n,file.filename=b.qcow2 new
driver=qcow2,node-name=a/b,file.filename=b.qcow2 new
driver=qcow2,discard=unmap,file.filename=b.qcow2 new
driver=qcow2,discard=foo,file.filename=b.qcow2 new
driver=qcow2,cache.direct=on,file.filename=b.qcow2 new
driver=qcow2,cache.direct=foo,file.filename=b.qcow2 new
driver=qcow2,cache.no-flush=on,file.filename=b.qcow2 new
driver=qcow2,read-only=on,file.filename=b.qcow2 new
driver=qcow2,read-only=off,file.filename=b.qcow2 new
driver=qcow2,auto-read-only=on,file.filename=b.qcow2 new
driver=qcow2,force-share=on,file.filename=b.qcow2 new
driver=qcow2,detect-zeroes=off,file.filename=b.qcow2 new
driver=qcow2,detect-zeroes=on,file.filename=b.qcow2 new
driver=qcow2,detect-zeroes=unmap,discard=unmap,file.filename=b.qcow2 new
driver=qcow2,detect-zeroes=foo,file.filename=b.qcow2 new
driver=qcow2,detect-zeroes=unmap,file.filename=b.qcow2 new
driver=raw,file.detect-zeroes=unmap,file.filename=a.raw new
driver=raw,file.detect-zeroes=unmap,file.discard=ignore,file.filename=a.raw new
driver=qcow2,file.pr-manager=p,file.filename=b.qcow2 new
driver=qcow2,file.driver=file,file.filename=b.qcow2 new
driver=qcow2,file.driver=file,file.locking=on,file.filename=b.qcow2 new
driver=qcow2,file.locking=off,file.filename=b.qcow2 new
driver=qcow2,file.locking=auto,file.filename=b.qcow2 new
driver=qcow2,file.locking=foo,file.filename=b.qcow2 new
driver=qcow2,file.aio=threads,file.filename=b.qcow2 new
driver=qcow2,file.aio=io_uring,file.filename=b.qcow2 new
driver=qcow2,file.aio=foo,file.filename=b.qcow2 new
driver=qcow2,file.aio-max-batch=4,file.filename=b.qcow2 new
driver=qcow2,file.aio-max-batch=x,file.filename=b.qcow2 new
driver=qcow2,file.drop-cache=off,file.filename=b.qcow2 new
driver=qcow2,file.x-check-cache-dropped=on,file.filename=b.qcow2 new
driver=qcow2,file.node-name=f,file.cache.direct=off,file.read-only=on,file.filename=b.qcow2 new
driver=raw,offset=128k,size=64k,file.filename=a.raw new
driver=raw,offset=128k,file.filename=a.raw new
driver=raw,size=2M,file.filename=a.raw new
driver=raw,offset=100,size=64k,file.filename=a.raw new
driver=raw,offset=2M,file.filename=a.raw new
driver=qcow2,lazy-refcounts=on,file.filename=b.qcow2 new
driver=qcow2,lazy-refcounts=off,file.filename=lazy.qcow2 new
driver=qcow2,pass-discard-request=on,file.filename=b.qcow2 new
driver=qcow2,pass-discard-snapshot=off,file.filename=b.qcow2 new
driver=qcow2,pass-discard-other=on,file.filename=b.qcow2 new
driver=qcow2,overlap-check=none,file.filename=b.qcow2 new
driver=qcow2,overlap-check=constant,file.filename=b.qcow2 new
driver=qcow2,overlap-check=cached,file.filename=b.qcow2 new
driver=qcow2,overlap-check=foo,file.filename=b.qcow2 new
driver=qcow2,overlap-check.template=all,file.filename=b.qcow2 new
driver=qcow2,overlap-check.template=foo,file.filename=b.qcow2 new
driver=qcow2,overlap-check.template=none,overlap-check.main-header=on,overlap-check.active-l1=on,overlap-check.active-l2=on,file.filename=b.qcow2 new
driver=qcow2,overlap-check.refcount-table=on,overlap-check.refcount-block=on,overlap-check.snapshot-table=on,file.filename=b.qcow2 new
driver=qcow2,overlap-check.inactive-l1=on,overlap-check.inactive-l2=on,overlap-check.bitmap-directory=on,file.filename=b.qcow2 new
driver=qcow2,overlap-check=all,overlap-check.template=none,file.filename=b.qcow2 new
overlap-check=all,overlap-check.template=all,file.filename=b.qcow2 new
lazy-refcounts=on,file.filename=a.raw new
driver=raw,lazy-refcounts=on,file.filename=a.raw new
driver=raw,cache-size=1M,file.filename=a.raw new
driver=qcow2,cache-size=1P,file.filename=b.qcow2 new
driver=qcow2,cache-size=1P,l2-cache-size=64k,file.filename=b.qcow2 new
driver=qcow2,cache-size=1P,refcount-cache-size=64k,file.filename=b.qcow2 new
driver=qcow2,refcount-cache-size=8T,file.filename=b.qcow2 new
driver=qcow2,cache-size=1M,file.filename=b.qcow2 new
driver=qcow2,cache-size=1M,l2-cache-size=512k,file.filename=b.qcow2 new
driver=qcow2,cache-size=1M,refcount-cache-size=512k,file.filename=b.qcow2 new
driver=qcow2,cache-size=1M,refcount-cache-size=2M,file.filename=b.qcow2 new
driver=qcow2,cache-size=1M,l2-cache-size=2M,file.filename=b.qcow2 new
driver=qcow2,cache-size=1M,l2-cache-size=1M,refcount-cache-size=1M,file.filename=b.qcow2 new
driver=qcow2,l2-cache-size=1P,file.filename=b.qcow2 new
driver=qcow2,l2-cache-entry-size=4k,file.filename=b.qcow2 new
driver=qcow2,l2-cache-entry-size=3k,file.filename=b.qcow2 new
driver=qcow2,cache-clean-interval=10,file.filename=b.qcow2 new
driver=qcow2,cache-clean-interval=99999999999,file.filename=b.qcow2 new
driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,file.filename=e.qcow2 new
driver=qcow2,encrypt.format=luks,file.filename=e.qcow2 new
driver=qcow2,encrypt.format=aes,encrypt.key-secret=s,file.filename=e.qcow2 new
driver=qcow2,encrypt.format=luks,file.filename=b.qcow2 new
driver=qcow,encrypt.format=aes,file.filename=a.qcow new
driver=raw,encrypt.format=aes,file.filename=a.raw new
driver=raw,encrypt.key-secret=s,file.filename=a.raw new
encrypt.format=luks,file.filename=a.raw new
encrypt.key-secret=s,file.filename=a.raw new
encrypt.format=luks,encrypt.key-secret=s,file.filename=e.qcow2 new
key-secret=s,file.filename=b.qcow2 new
key-secret=s,file.filename=e.luks new
driver=qcow2,encrypt.key-secret=none,file.filename=e.qcow2 new
driver=qcow2,encrypt.key-secret=s,file.filename=b.qcow2 new
driver=qcow2,backing.driver=qcow2,backing.file.filename=s.qcow2,file.filename=o.qcow2 new
driver=qcow2,backing.file.filename=s.qcow2,file.filename=o.qcow2 new
driver=qcow2,backing.encrypt.format=luks,backing.encrypt.key-secret=s,file.filename=oe.qcow2 new
driver=qcow2,backing.driver=qcow2,backing.encrypt.format=luks,backing.encrypt.key-secret=s,backing.file.filename=e.qcow2,file.filename=oe.qcow2 new
driver=qcow2,backing.encrypt.format=aes,backing.encrypt.key-secret=s,file.filename=oe.qcow2 new
driver=qcow2,backing.encrypt.key-secret=s,file.filename=oe.qcow2 new
driver=qcow2,backing.driver=raw,backing.offset=128k,backing.size=64k,backing.file.filename=a.raw,file.filename=o.qcow2 new
driver=qcow2,backing=,file.filename=o.qcow2 new
driver=qcow2,foo=1,file.filename=b.qcow2 new
driver=luks,key-secret=s,file.filename=e.luks new
driver=luks,file.filename=e.luks new
driver=luks,key-secret=none,file.filename=e.luks new
driver=parallels,file.filename=a.parallels new
driver=parallels,prealloc-size=1M,file.filename=a.parallels new
driver=parallels,prealloc-size=1x,file.filename=a.parallels new
driver=parallels,prealloc-mode=truncate,file.filename=a.parallels new
driver=parallels,prealloc-mode=falloc,file.filename=a.parallels new
driver=parallels,prealloc-mode=foo,file.filename=a.parallels new
driver=raw,prealloc-mode=falloc,file.filename=a.raw new
prealloc-size=1M,file.filename=a.raw new
driver=qcow,file.filename=a.qcow new
driver=qed,file.filename=a.qed new
driver=qed,backing=,file.filename=a.qed new
driver=vdi,file.filename=a.vdi new
driver=vmdk,file.filename=a.vmdk new
driver=vmdk,backing=,file.filename=a.vmdk new
driver=vpc,file.filename=a.vpc new
driver=vpc,force_size_calc=chs,file.filename=a.vpc new
driver=vpc,force_size_calc=current_size,file.filename=a.vpc new
driver=vpc,force_size_calc=foo,file.filename=a.vpc new
driver=null-co,size=1M,read-zeroes=on new
driver=null-co,size=1M,read-zeroes=on,latency-ns=1000 new
driver=null-aio,size=1M,read-zeroes=on new
driver=throttle,throttle-group=g,file.driver=qcow2,file.file.filename=b.qcow2 new
driver=throttle,file.filename=a.raw new
driver=compress,file.driver=qcow2,file.file.filename=b.qcow2 new
driver=preallocate,file.filename=a.raw new
driver=preallocate,prealloc-align=1M,prealloc-size=2M,file.filename=a.raw new
driver=preallocate,prealloc-align=100,file.filename=a.raw new
driver=copy-on-read,file.driver=qcow2,file.file.filename=b.qcow2 new
driver=copy-on-read,bottom=x,file.driver=qcow2,file.file.filename=b.qcow2 new
driver=blkdebug,image.filename=a.raw new
driver=blkdebug,align=4k,image.filename=a.raw new
driver=blkdebug,max-transfer=64k,opt-write-zero=4k,max-write-zero=64k,opt-discard=4k,max-discard=64k,image.filename=a.raw new
driver=quorum,vote-threshold=1,read-pattern=fifo,children.0.driver=file,children.0.filename=a.raw new
driver=quorum,vote-threshold=2,blkverify=off,rewrite-corrupted=off,children.0.driver=file,children.0.filename=a.raw,children.1.driver=qcow2,children.1.file.filename=b.qcow2 new
driver=quorum,vote-threshold=3,children.0.driver=file,children.0.filename=a.raw new
EOT
}

rows_write() {
	sed 's/^/-n -f qcow2 o.qcow2 --object=secret,id=s,data=x --target-image-opts /' <<'EOT'
driver=qcow2,file.filename=s.qcow2
driver=qcow2,discard=ignore,file.filename=s.qcow2
driver=qcow2,discard=unmap,file.filename=s.qcow2
driver=qcow2,discard=unmap,detect-zeroes=unmap,file.filename=s.qcow2
driver=qcow2,detect-zeroes=on,file.filename=s.qcow2
driver=qcow2,detect-zeroes=unmap,file.filename=s.qcow2
driver=qcow2,detect-zeroes=unmap,discard=ignore,file.filename=s.qcow2
driver=qcow2,read-only=on,file.filename=s.qcow2
driver=qcow2,cache.direct=on,file.cache.direct=on,file.filename=s.qcow2
driver=qcow2,cache.no-flush=on,file.filename=s.qcow2
driver=qcow2,lazy-refcounts=on,file.filename=s.qcow2
driver=qcow2,overlap-check=all,file.filename=s.qcow2
driver=qcow2,l2-cache-size=64k,l2-cache-entry-size=512,refcount-cache-size=64k,file.filename=s.qcow2
driver=qcow2,pass-discard-request=off,pass-discard-other=on,file.filename=s.qcow2
driver=qcow2,encrypt.key-secret=s,file.filename=e.qcow2
driver=luks,key-secret=s,file.filename=e.luks
driver=raw,size=1M,offset=0,file.filename=a.raw
driver=raw,size=512k,offset=512k,file.filename=a.raw
driver=parallels,prealloc-size=1M,prealloc-mode=truncate,file.filename=a.parallels
driver=parallels,prealloc-size=1M,prealloc-mode=falloc,file.filename=a.parallels
driver=vpc,force_size_calc=chs,file.filename=a.vpc
driver=vdi,file.filename=a.vdi
driver=vmdk,file.filename=a.vmdk
driver=qed,file.filename=a.qed
driver=qcow,file.filename=a.qcow
driver=preallocate,prealloc-size=2M,file.filename=a.raw
driver=blkdebug,align=4k,image.filename=a.raw
driver=null-co,size=1M
driver=quorum,vote-threshold=1,children.0.driver=file,children.0.filename=a.raw,children.1.driver=qcow2,children.1.file.filename=s.qcow2
EOT
}
# All is written, what is zero too. Zeroes are detected by requests, which are not
# as long as qemu-img's, so detect-zeroes has no row.
rows_write_all() {
	rows_write | grep -v detect-zeroes | sed 's/^/-S 0 /'
}

test_read() {
	like_qemu_img convert read
}

test_write() {
	like_qemu_img convert write
}

test_write_all() {
	like_qemu_img convert write_all
}

# shellcheck disable=SC1091 # found in PATH
. shunit2
