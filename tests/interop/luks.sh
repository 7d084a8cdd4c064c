#!/bin/sh
# SPDX-License-Identifier: ISC
# LUKS volumes made, written and read by qemu-img and by us, opened by
# cryptsetup, and damaged ones.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/formats.sh
. tests/support/luks.sh

FORMATS_LONG=${FORMATS_LONG-}

setUp() {
	formats_dir
	disk src 4M
}

tearDown() {
	img_cleanup
}

opened() { # IMAGE PASSWORD
	printf %s "$2" |
		timeout 60 cryptsetup luksOpen --test-passphrase -d - "$1" \
			2>/dev/null
}

# qemu-img takes three seconds of processor time to count iterations.
test_made_there() {
	for options in cipher-alg=aes-256 \
		${FORMATS_LONG:+cipher-alg=aes-128,hash-alg=sha1} \
		${FORMATS_LONG:+cipher-alg=serpent-256,hash-alg=sha512} \
		${FORMATS_LONG:+cipher-alg=cast5-128,cipher-mode=cbc} \
		${FORMATS_LONG:+cipher-mode=cbc,ivgen-alg=essiv} \
		${FORMATS_LONG:+cipher-mode=ctr,ivgen-alg=plain}; do
		qemu_create luks a.luks 4M "key-secret=key,iter-time=5,$options"
		qemu-img convert -n --object "$secret" -f raw src \
			--target-image-opts \
			driver=luks,key-secret=key,file.filename=a.luks
		equal luks a.luks src
		same info a.luks
		same info --output=json a.luks
		cp a.luks there.luks
		ours abc luks there.luks zero 5000 70000
		cp src zeroed
		dd if=/dev/zero of=zeroed bs=1000 seek=5 count=70 \
			conv=notrunc status=none
		equal luks there.luks zeroed
	done
}

test_made_here() {
	for options in cipher-alg=aes-256 cipher-alg=aes-128,hash-alg=sha1 \
		cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256 \
		cipher-mode=cbc,ivgen-alg=plain,hash-alg=sha512 \
		cipher-mode=ctr,hash-alg=sha224 cipher-mode=ecb \
		cipher-alg=aes-192,ivgen-alg=essiv \
		cipher-alg=serpent-192 \
		cipher-alg=twofish-128,cipher-mode=cbc,ivgen-alg=essiv \
		cipher-alg=twofish-256,cipher-mode=ctr,ivgen-alg=plain \
		cipher-alg=cast5-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=md5 \
		cipher-alg=cast5-128,cipher-mode=ctr; do
		# shellcheck disable=SC2046 # many options
		ours abc luks a.luks create 4194304 key-secret=key iter-time=5 \
			$(echo "$options" | tr , ' ')
		ours abc luks a.luks write 0 <src
		equal luks a.luks src
		same info a.luks
	done
	same info --output=json a.luks
	# The header is what cryptsetup and qemu-img agree on.
	ours abc luks a.luks create 1048576 key-secret=key iter-time=5
	assertEquals 2068480 $(($(stat -c %s a.luks) - 1048576))
}

# A new volume is noise: holes of the source are written.
test_convert() {
	silent convert --object "$secret" -f raw -O luks \
		-o key-secret=key,iter-time=5 src a.luks
	equal luks a.luks src
	silent convert --object "$secret" --image-opts -O raw \
		driver=luks,key-secret=key,file.filename=a.luks b.raw
	cmp src b.raw || fail 'and back'
	same convert -c --object "$secret" -f raw -O qcow2 \
		-o encrypt.format=luks,encrypt.key-secret=key src c.qcow2
	# Nobody needs the key to know the size.
	same create -f qcow2 -b a.luks -F luks over.qcow2
}

test_measure() {
	same measure -O luks --size 10M
	# What qemu-img says, when it can count its processor time.
	while read -r options size; do
		assertContains "$options" "$(img measure --object "$secret" \
			-O luks -o "key-secret=key,$options" --size 10000001)" \
			"required size: $size"
	done <<-EOF
		cipher-alg=aes-256 12068481
		cipher-alg=aes-128 11052673
		cipher-mode=cbc 11052673
	EOF
}

# What begins and ends within sectors.
test_parts_of_sectors() {
	ours abc luks a.luks create 4194304 key-secret=key iter-time=5
	ours abc luks a.luks write 0 <src
	printf 'within' | ours abc luks a.luks write 700
	printf 'within' | dd of=src bs=1 seek=700 conv=notrunc status=none
	head -c 1111 /dev/urandom >part
	ours abc luks a.luks write 999 <part
	dd if=part of=src bs=1 seek=999 conv=notrunc status=none
	ours abc luks a.luks zero 1000001 300000
	dd if=/dev/zero of=src bs=1 seek=1000001 count=300000 conv=notrunc \
		status=none
	equal luks a.luks src
}

test_cryptsetup_opens_it() {
	ours abc luks a.luks create 4194304 key-secret=key iter-time=5
	assertTrue 'cryptsetup' 'opened a.luks abc'
	assertFalse 'wrong password' 'opened a.luks abd'
	# A key whose material ends within a sector; qemu-img cannot make one.
	ours abc luks b.luks create 4194304 key-secret=key iter-time=5 \
		cipher-alg=aes-192 cipher-mode=cbc
	assertTrue 'cryptsetup, aes-192' 'opened b.luks abc'
	ours abc luks b.luks write 0 <src
	assertTrue 'aes-192' 'ours abc luks b.luks read | cmp - src'
}

# cryptsetup's own, with its password in another slot.
test_of_cryptsetup() {
	truncate -s 4M c.luks
	printf xyz >other
	printf abc >pass
	timeout 60 cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 \
		--cipher aes-cbc-essiv:sha256 --key-size 128 c.luks other \
		>.out 2>&1 || fail "$(cat .out)"
	timeout 60 cryptsetup luksAddKey --pbkdf-force-iterations 1000 -d other c.luks pass \
		>.out 2>&1 || fail "$(cat .out)"
	ours abc luks c.luks read >.back
	ours xyz luks c.luks read | cmp - .back || fail 'two slots'
	same info c.luks
	equal luks c.luks .back
	# Not the first version: no raw disk either.
	truncate -s 20M d.luks
	timeout 60 cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 \
		--pbkdf-force-iterations 1000 d.luks other >.out 2>&1 ||
		fail "$(cat .out)"
	refused "Could not open 'd.luks': Image format 'luks2' is not supported yet" \
		info d.luks
}

# The values of the options come before the password that they ask for.
test_refused_ciphers() {
	for options in key-secret=none,cipher-alg=foo \
		key-secret=none,cipher-mode=foo key-secret=none,ivgen-alg=foo \
		key-secret=none,hash-alg=foo key-secret=none,cipher-alg=aes-256 \
		key-secret=none,cipher-alg=3des key-secret=key,cipher-alg=3des \
		key-secret=key,cipher-alg=des \
		key-secret=key,cipher-alg=cast5-128 \
		key-secret=key,cipher-alg=cast5-128,cipher-mode=cbc,ivgen-alg=essiv \
		key-secret=key,cipher-alg=serpent-256,ivgen-alg=essiv,ivgen-hash-alg=sha1; do
		same create --object "$secret" -f luks -o "$options" c.luks 1M
		same measure --object "$secret" -O luks -o "$options" --size 1M
	done
}

# AES is libcrypto's, and needs nothing else.
test_without_nettle() {
	ours abc luks a.luks create 1048576 key-secret=key iter-time=5 \
		cipher-alg=serpent-256
	: >libnettle.so.8
	set -- --object "$secret" --image-opts -O raw
	assertEquals "vm-img: Could not open 'driver=luks,key-secret=key,file.filename=a.luks': libnettle.so.8, which this cipher needs, is not installed" \
		"$(LD_LIBRARY_PATH=$dir timeout 60 vm-img convert "$@" \
			driver=luks,key-secret=key,file.filename=a.luks b.raw 2>&1)"
	# Nobody needs it to know what there is.
	assertContains "$(LD_LIBRARY_PATH=$dir timeout 60 vm-img info a.luks)" \
		'cipher alg: serpent-256'
	ours abc luks c.luks create 1048576 key-secret=key iter-time=5
	LD_LIBRARY_PATH=$dir timeout 60 vm-img convert "$@" \
		driver=luks,key-secret=key,file.filename=c.luks b.raw ||
		fail 'AES'
}

test_passwords() {
	ours abc luks a.luks create 1048576 key-secret=key iter-time=5
	assertEquals "image-secret: a.luks: Invalid password, cannot unlock any keyslot" \
		"$(ours abd luks a.luks read 2>&1)"
	assertEquals "image-secret: a.luks: Parameter 'key-secret' is required for cipher" \
		"$(ours '' luks a.luks read 2>&1)"
	assertEquals "image-secret: b.luks: No secret with id 'other'" \
		"$(ours abc luks b.luks create 1 key-secret=other 2>&1)"
	bad=$(printf 'a\377')
	assertEquals "image-secret: a.luks: Data from secret key is not valid UTF-8" \
		"$(ours "$bad" luks a.luks read 2>&1)"
	# No more than may be asked for when it is opened.
	assertContains "$(ours abc luks b.luks create 1 key-secret=key \
		iter-time=4294967295 2>&1)" 'iter-time is too long'
	assertFalse 'half a file' '[ -e b.luks ]'
}

# Each in turn of the two programs on a copy, with the same words and outcome.
amend() { # FORCE OPTIONS
	rm -f there here
	cp a.img there
	cp a.img here
	for who in qemu-img:there img:here; do
		# shellcheck disable=SC2086 # no --force is no word
		${who%:*} amend $1 --object "$secret" \
			--object secret,id=new,data=def \
			--object secret,id=other,data=zzz --image-opts \
			"driver=$driver,${prefix}key-secret=key,file.filename=${who#*:}" \
			-o "$2" >".out.${who#*:}" 2>&1
		echo $? >>".out.${who#*:}"
	done
	assertEquals "amend -o $2" "$(cat .out.there)" "$(cat .out.here)"
}

opens() { # PASSWORD
	ours "$1" "$driver" here read >/dev/null 2>&1
}

# Each refusal; of both formats in the long run alone.
refusals() {
	amend '' "${prefix}iter-time=10"
	amend '' "${prefix}state=active"
	amend '' "${prefix}state=foo"
	amend '' "${prefix}state=active,${prefix}new-secret=nope"
	amend '' "${prefix}state=active,${prefix}new-secret=new,${prefix}old-secret=key"
	amend '' "${prefix}state=active,${prefix}new-secret=new,${prefix}keyslot=0"
	amend '' "${prefix}state=active,${prefix}new-secret=new,${prefix}keyslot=8"
	amend '' "${prefix}state=inactive"
	amend '' "${prefix}state=inactive,${prefix}keyslot=5"
	amend '' "${prefix}state=inactive,${prefix}keyslot=0,${prefix}old-secret=other"
	amend '' "${prefix}state=inactive,${prefix}old-secret=other"
	amend '' "${prefix}state=inactive,${prefix}old-secret=key,${prefix}new-secret=new"
	amend '' "${prefix}state=inactive,${prefix}old-secret=key,${prefix}iter-time=5"
	amend '' "${prefix}state=inactive,${prefix}old-secret=key"
	amend '' "${prefix}state=inactive,${prefix}keyslot=0"
}

amended() {
	[ "$driver$FORMATS_LONG" = qcow2 ] || refusals
	img amend --object "$secret" --object secret,id=new,data=def \
		--image-opts "driver=$driver,${prefix}key-secret=key,file.filename=a.img" \
		-o "${prefix}state=active,${prefix}new-secret=new,${prefix}iter-time=5,${prefix}keyslot=3" ||
		fail 'a second slot'
	same info a.img
	cp a.img here
	assertTrue 'the old one' 'opens abc'
	assertTrue 'the new one' 'opens def'
	amend '' "${prefix}state=inactive,${prefix}old-secret=key"
	assertFalse 'erased' 'opens abc'
	assertTrue 'kept' 'opens def'
	amend '' "${prefix}state=inactive,${prefix}keyslot=3"
	assertTrue 'kept' 'opens abc'
	assertFalse 'erased' 'opens def'
	# There is nothing left of it.
	assertFalse 'no key' 'cmp -s a.img here'
	mv here a.img
	amend --force "${prefix}state=inactive,${prefix}keyslot=0"
	assertFalse 'the last one' 'opens abc'
}

test_slots() {
	driver=luks
	prefix=''
	ours abc luks a.img create 1048576 key-secret=key iter-time=5
	amended
}

# QEMU has it open, and writes nothing: to the header it might.
test_slots_of_an_open_image() {
	ours abc luks a.img create 1048576 key-secret=key iter-time=5
	cp a.img before
	start holder qemu-storage-daemon --object "$secret" \
		--blockdev "file,node-name=f,filename=a.img" \
		--blockdev luks,node-name=l,file=f,key-secret=key \
		--nbd-server "addr.type=unix,addr.path=$dir/nbd"
	wait_socket "$dir/nbd" || fail "$(cat "$dir/holder.log")"
	same info -U a.img
	same amend --object "$secret" --object secret,id=new,data=def \
		--image-opts "driver=luks,key-secret=key,file.filename=a.img" \
		-o state=active,new-secret=new,iter-time=5
	assertTrue 'as it was' 'cmp a.img before'
	stop holder
}

test_slots_of_qcow2() {
	driver=qcow2
	prefix=encrypt.
	ours abc qcow2 a.img create 1048576 encrypt.format=luks \
		encrypt.key-secret=key encrypt.iter-time=5 \
		encrypt.cipher-alg=serpent-256
	amended
}

# A header in a file of its own, and the data in another from its begin.
detached() { # VERB ARGUMENT...
	verb=$1
	shift
	silent "$verb" --object "$secret" "$@"
}

# qemu-img 7.2 has none of this: it sees both when they are put together.
together() { # HEADER DATA TO
	len=$(stat -c %s "$1")
	cat "$1" "$2" >"$3"
	# shellcheck disable=SC2059 # two bytes of a number
	printf "$(printf '\\%o\\%o' $((len / 131072)) $((len / 512 % 256)))" |
		dd of="$3" bs=1 seek=106 conv=notrunc status=none
}

header_of() { # DATA HEADER
	echo "driver=luks,key-secret=key,file.filename=$1,header.filename=$2"
}

test_detached_header() {
	new=key-secret=key,iter-time=5,detached-header
	assertEquals 'no size' \
		"Formatting 'h', fmt=luks key-secret=key iter-time=5 detached-header=true" \
		"$(img create --object "$secret" -f luks -o $new=true h)"
	assertEquals 'nothing but the header' 2068480 "$(stat -c %s h)"
	assertEquals 'no payload' ' 00 00 00 00' \
		"$(od -An -tx1 -j 104 -N 4 h)"
	truncate -s 9M i
	detached create -q -f luks -o $new=on,cipher-alg=aes-128 i 1M
	assertEquals 'of another length' 1052672 "$(stat -c %s i)"
	for header in h i; do
		truncate -s 0 d
		truncate -s 4M d
		detached convert -n -f raw src --target-image-opts \
			"$(header_of d $header)"
		together $header d a.luks
		equal luks a.luks src
		cp a.luks b.luks
		ours abc luks a.luks zero 5000 70000
		dd if=a.luks of=d bs=4k skip=$((len / 4096)) status=none
		detached convert --image-opts "$(header_of d $header)" -O raw b
		assertTrue 'changed there' 'ours abc luks a.luks read | cmp - b'
	done
	# The copy of a header that was not detached.
	dd if=b.luks of=copy bs=4k count=$((len / 4096)) status=none
	detached convert --image-opts "$(header_of b.luks copy)" -O raw b
	cmp src b || fail 'a copy'
	assertTrue 'cryptsetup' 'printf abc | timeout 60 cryptsetup luksOpen \
		--test-passphrase -d - --header h d 2>/dev/null'
}

test_detached_header_of_cryptsetup() {
	truncate -s 4M d
	printf abc | timeout 60 cryptsetup luksFormat -q --type luks1 \
		--pbkdf-force-iterations 1000 --header h d - >.out 2>&1 ||
		fail "$(cat .out)"
	detached convert -n -f raw src --target-image-opts "$(header_of d h)"
	together h d a.luks
	equal luks a.luks src
}

test_use_of_a_detached_header() {
	new=key-secret=key,iter-time=5,detached-header=on
	detached create -q -f luks -o $new h
	truncate -s 4M d
	cp h before
	of=$(header_of d h)
	detached convert -n -f raw src --target-image-opts "$of"
	vm-img info --compat=10.2 --object secret,id=key,data=abc \
		--image-opts "$of" >told
	assertTrue "$(cat told)" "grep -qx '    detached header: true' told"
	detached compare -q --image-opts "$of" driver=raw,file.filename=src
	detached compare -q "json:{'driver':'luks','key-secret':'key',
		'file':{'filename':'d'},'header':{'driver':'raw',
		'file':{'driver':'file','filename':'h'}}}" src
	assertEquals 'name' 'image: json:{"header": {"driver": "file", "filename": "h"}, "driver": "luks", "file": {"driver": "file", "filename": "d"}, "key-secret": "key"}' \
		"$(img info --image-opts "$of" --object "$secret" | head -n 1)"
	assertContains 'both files' "$(img info --compat=10.2 --image-opts \
		driver=luks,file.filename=d,header.filename=h |
		tr '\n' ' ')" "Child node '/header':     filename: h "
	# Under another image, and over one.
	qemu-img create -q -u -f qcow2 -b d -F luks over.qcow2 4M
	detached compare -q --image-opts "driver=qcow2,file.filename=over.qcow2,\
backing.driver=luks,backing.key-secret=key,backing.file.filename=d,\
backing.header.filename=h" driver=raw,file.filename=src
	qemu-img convert -f raw -O qcow2 d d.qcow2
	detached compare -q --image-opts driver=luks,key-secret=key,\
file.driver=qcow2,file.file.filename=d.qcow2,header.filename=h \
		driver=raw,file.filename=src
	assertTrue 'the header is as it was' 'cmp h before'
	assertEquals "Image resized." "$(img resize --object "$secret" \
		--image-opts "$of" 5M)"
	assertEquals 'all of it is data' 5242880 "$(stat -c %s d)"
	assertEquals "Image resized." "$(img resize --object "$secret" \
		--shrink --image-opts "$of" 4M)"
	cp d before
	detached amend --object secret,id=new,data=def --image-opts \
		-o state=active,new-secret=new,iter-time=5 "$of"
	detached amend --image-opts -o state=inactive,old-secret=key "$of"
	cmp d before || fail 'amend is of the header'
	assertFalse 'the old one' "img compare -q --object $secret --image-opts \
		$of driver=raw,file.filename=src >.out 2>&1"
	silent compare -q --object secret,id=key,data=def --image-opts "$of" \
		driver=raw,file.filename=src
}

test_bad_detached_headers() {
	new=key-secret=key,iter-time=5,detached-header
	set -- --object "$secret" --image-opts -O raw
	detached create -q -f luks -o $new=on h
	truncate -s 1M d
	refused "Could not open 'h': LUKS payload is overlapping with the header" \
		info h
	refused "i: Image creation needs a size parameter" create \
		--object "$secret" -f luks -o $new=off i
	refused "Could not open 'i': LUKS payload is overlapping with the header" \
		convert --object "$secret" -f raw -O luks -o $new=on src i
	assertFalse 'half a volume' '[ -e i ]'
	while IFS='|' read -r data header what; do
		of=$(header_of "$data" "$header")
		refused "Could not open '$of': $what" convert "$@" "$of" b
	done <<-'EOF'
		d|d|LUKS header 'd' is the payload itself
		d|none|Could not open 'none': No such file or directory
		d|src|Volume is not in LUKS format
		d|h,header.driver=nbd|A header must be a plain file
		d|h,header.foo=1|Block protocol 'file' doesn't support the option 'foo'
		d|h,header=x|Cannot find device='x' nor node-name='x'
	EOF
	refused "Could not open 'driver=raw,file.filename=d,header.filename=h': Block format 'raw' does not support the option 'header.filename'" \
		info --image-opts driver=raw,file.filename=d,header.filename=h
	of=$(header_of d i)
	# The last slot ends here, and before.
	for len in 2066432 2066431 262144 592 591 0; do
		head -c $len h >i
		case $len in
		2066432) silent convert "$@" "$of" b && continue ;;
		2066431) what='Keyslot 7 past end of file' ;;
		262144) what='Keyslot 1 past end of file' ;;
		592) what='Keyslot 0 past end of file' ;;
		*) what='Volume is not in LUKS format' ;;
		esac
		refused "Could not open '$of': $what" convert "$@" "$of" b
	done
	cp h i
	printf '\377\377\377\377' | dd of=i bs=1 seek=104 conv=notrunc status=none
	refused "Could not open '$of': LUKS payload past end of file" \
		convert "$@" "$of" b
	cp h i
	printf '\377\377\377\377' | dd of=i bs=1 seek=248 conv=notrunc status=none
	refused "Could not open '$of': Keyslot 0 past end of file" \
		convert "$@" "$of" b
}

. shunit2
