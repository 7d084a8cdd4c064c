#!/bin/sh
# SPDX-License-Identifier: ISC
# --object, as qemu-img has it: secrets that are encrypted with one another, what
# is told of those that cannot be decrypted, help, and types without effect.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/luks.sh

# Made once, the blocks without padding by -nopad:
#	printf %s abc | openssl enc -aes-256-cbc -K $(hex of $key) \
#		-iv $(hex of fedcba9876543210) | base64
key=0123456789abcdef0123456789abcdef
iv=ZmVkY2JhOTg3NjU0MzIxMA==
abc=QkxejulPQDYQV8AVjqhrug==
two_blocks=9E7Ti56IJCxF5VJXx8nSST3ybvJT3meXJ3GJaofiI4I=
the_key=9E7Ti56IJCxF5VJXx8nSSYCmqNGtCZtAgeENRluHCtQ3f7ZHVoq05DPDavBjLb4u
ends_in_0=Y8vsRgAthxmDJIfwAbjRmA==
ends_in_17=5v8x2vuq4qopmLvq4IIlKg==
ends_in_16=Rn3+6zUcRbR2cW/yLWr6ig==
ends_in_wrong_2=sNlt1Rf6WIPQoOsIUCUt0A==

setUp() {
	img_dir
	truncate -s 1M r
}

tearDown() {
	img_cleanup
}

# Info of a raw image, with a master key of $key and such a secret.
secret_same() { # PROPERTIES
	same info --object secret,id=m,data=$key --object "secret,id=s,$1" r
}

test_encrypted_secret_opens() {
	random src 1M
	qemu_create luks there.luks 1M key-secret=key,iter-time=5
	qemu-img convert -n --object "$secret" -f raw src --target-image-opts \
		driver=luks,key-secret=key,file.filename=there.luks
	printf %s $key | base64 >key.b64
	echo $abc >abc.b64
	base64 -d abc.b64 >abc.bin
	luks=driver=luks,key-secret=s,file.filename
	for given in format=base64,data=$abc format=base64,file=abc.b64 \
		file=abc.bin format=raw,file=abc.bin; do
		same compare --object secret,id=m,format=base64,file=key.b64 \
			--object "secret,id=s,keyid=m,iv=$iv,$given" \
			--image-opts $luks=there.luks \
			driver=raw,file.filename=src
	done
	silent create -q --object secret,id=m,data=$key \
		--object secret,id=s,keyid=m,iv=$iv,format=base64,data=$abc \
		-f luks -o key-secret=s,iter-time=5 here.luks 1M
	same info --object secret,id=s,data=abc --image-opts $luks=here.luks
	# The password is of another length: what is wrong is told the same.
	for given in $two_blocks $ends_in_0 $ends_in_16 $ends_in_wrong_2; do
		same map --object secret,id=m,data=$key --object \
			secret,id=s,keyid=m,iv=$iv,format=base64,data="$given" \
			--image-opts $luks=there.luks
	done
}

# By one that is itself encrypted; what is not as long as a key is none.
test_chain_of_keys() {
	for second in $the_key $two_blocks; do
		same info --object secret,id=m,data=$key --object \
			secret,id=n,keyid=m,iv=$iv,format=base64,data="$second" \
			--object secret,id=s,keyid=n,iv=$iv,format=base64,data=$abc r
	done
}

test_bad_keys() {
	for short in '' short ${key}0; do
		same info --object secret,id=m,data="$short" \
			--object secret,id=s,keyid=m,data=$abc,iv=$iv r
	done
	secret_same keyid=x,data=$abc,iv=$iv,format=base64
	secret_same keyid=,data=$abc,iv=$iv,format=base64
	secret_same keyid=s,data=$abc,iv=$iv,format=base64
	same info --object secret,id=s,keyid=m,data=$abc,iv=$iv,format=base64 \
		--object secret,id=m,data=$key r
	for other in throttle-group,id=m tls-creds-anon,id=m,endpoint=client; do
		same info --object $other --object secret,id=s,keyid=m,data=$abc r
	done
}

test_bad_vectors() {
	for vector in '' ,iv= ,iv=AAAA ,iv=AAAAA ,iv=. ,iv="A A" \
		,iv=${iv}AAAA ,iv=ZmVkY2JhOTg3NjU0MzIxMA \
		,iv=ZmVkY2JhOTg3NjU0MzIxMA=; do
		secret_same "keyid=m,format=base64,data=$abc$vector"
	done
	# Without a key it is not looked at.
	secret_same data=abc,iv=.
}

test_bad_ciphertexts() {
	for data in '' . AAAA "$abc " 'AAAA=AAA' "${abc}AAAA" $ends_in_0 \
		$ends_in_17 $ends_in_16 $ends_in_wrong_2 ${abc%==}; do
		secret_same "keyid=m,iv=$iv,format=base64,data=$data"
	done
	secret_same keyid=m,iv=$iv,data=
	secret_same keyid=m,iv=$iv,data=short
	secret_same keyid=m,iv=$iv,data=0123456789abcdef
	printf 'AAAA\0AAA' >nul
	printf 'AAAA\r\n' >crlf
	: >empty
	for file in nul crlf empty missing; do
		secret_same keyid=m,iv=$iv,format=base64,file=$file
		secret_same format=base64,file=$file
	done
	secret_same keyid=m,iv=$iv,data=$abc,file=empty
	secret_same keyid=m,iv=$iv,format=base64
}

test_bad_properties() {
	secret_same keyid=x,data=$abc,format=foo
	secret_same keyid=x,data=$abc,foo=bar
	secret_same data=abc,loaded=on
	secret_same data=abc,loaded=maybe
	for data in A AA AAA AB=C = ==== YWJj=; do
		secret_same "format=base64,data=$data"
	done
	same compare --object secret,id=m,keyid=x,data=$abc r r
}

test_help_of_types() {
	for ask in secret,? qom-type=secret,help secret,id=a,help \
		secret,help,foo=bar help,qom-type=secret; do
		same compare --object "$ask" r r
	done
	# Not a question.
	for object in '{"qom-type": "help"}' secret,help=on id=a,help=help; do
		same info --object "$object" r
	done
	assertFalse 'vm-img info --object secret,help >/dev/full 2>&1'
}

# Open an image by a key of the kernel's that holds TEXT.
with_key() { # TOOL TEXT PROPERTIES
	timeout 60 "$top/tests/support/with_key.py" "$2" "$1" convert \
		--object secret,id=m,data=$key \
		--object "secret_keyring,id=s,serial=@$3" --image-opts \
		driver=luks,key-secret=s,file.filename=there.luks out.raw 2>&1
	echo $?
}

opens() { # TEXT PROPERTIES
	rm -f out.raw
	said=$(with_key vm-img "$1" "$2")
	case $said in
	0) assertTrue "$1$2" 'cmp src out.raw' ;;
	# As in some containers.
	*) assertContains "$said" 'Unable to read serial key 00000001' ;;
	esac
}

test_secret_of_the_kernel() {
	random src 1M
	qemu_create luks there.luks 1M key-secret=key,iter-time=5
	qemu-img convert -n --object "$secret" -f raw src --target-image-opts \
		driver=luks,key-secret=key,file.filename=there.luks
	opens abc ''
	opens YWJj ,format=base64
	# Which qemu-img refuses, as it has no zero byte behind it.
	opens $abc ,format=base64,keyid=m,iv=$iv
	for given in 'abc ' 'abd ' 'YWJj ,format=base64' 'a ,format=base32' \
		'a ,keyid=x' 'a ,data=x' 'a ,file=x' 'a ,loaded=on'; do
		assertEquals "$given" \
			"$(with_key qemu-img "${given% *}" "${given#* }")" \
			"$(with_key "$dir/link/qemu-img" "${given% *}" "${given#* }")"
	done
	for rest in '' ,serial= ,serial=0 ,serial=x ,serial=1.5 ,serial=0x7ffffff0 \
		,serial=-9 ,serial=4294967296 ,serial=-2147483649 \
		,serial=99999999999999999999; do
		same info --object "secret_keyring,id=s$rest" r
	done
	for serial in '"5"' 5.5 true 2147483647 1e3; do
		same info --object "{'qom-type': 'secret_keyring', 'id': 's',
			'serial': $serial}" r
	done
}

# The types are those that there are here.
test_help() {
	for ask in help '?' foo,help id=a,help help,id=a; do
		img convert --object "$ask" >ours 2>&1
		assertEquals "$ask" 0 $?
		qemu-img convert --object "$ask" >theirs
		assertEquals "$ask" "$(head -n 1 theirs)" "$(head -n 1 ours)"
		assertTrue "$ask: sorted" 'sed 1d ours | LC_ALL=C sort -c'
		assertEquals "$ask" '' "$(grep -vxFf theirs ours)"
	done
	sed -n 's/^  //p' ours >types
	assertTrue '[ -s types ]'
	while read -r type; do
		same info --object "$type,help"
	done <types
}

test_types_without_effect() {
	rule=rules.0.match=x,rules.0.policy
	for rest in '' ,policy=allow ,policy=foo ,foo=bar \
		,policy=deny,$rule=allow,rules.0.format=glob \
		,$rule=deny,rules.1.match=y,rules.1.policy=allow \
		,$rule=foo ,$rule=allow,rules.0.format=foo \
		,$rule=allow,rules.0.foo=bar ,$rule=allow,rules.1.match=y \
		,rules.0.match=x ,rules.0.policy=deny ,rules.1.match=x \
		,rules.0=x ,rules.x=y ,rules=x ,rulesx=y ,$rule=allow,rules.2=x; do
		same info --object "authz-list,id=a$rest" r
	done
	for rest in '' ,identity=x ,identity=x,foo=bar; do
		same info --object authz-simple,id=a$rest r
	done
	for rest in '' ,priority=x ,priority=x,endpoint=server \
		,priority=x,endpoint=foo ,priority=x,verify-peer=foo \
		,priority=x,dir=d,verify-peer=off ,foo=bar; do
		same info --object tls-cipher-suites,id=a$rest r
	done
	same info --object '{"qom-type": "authz-list", "id": "a",
		"rules": [{"match": "x", "policy": "deny"}]}' r
	same info --object authz-simple,identity=x r
	for second in authz-list,id=a secret,id=a,data=x throttle-group,id=a \
		secret,id=s,keyid=a,data=x; do
		same info --object authz-simple,id=a,identity=x \
			--object $second r
	done
	same info --object secret,id=a,data=x --object authz-list,id=a r
}

test_threads() {
	for rest in ,id=a ,id=a,aio-max-batch=5 ,id=a,aio-max-batch=-1 \
		,id=a,aio-max-batch=x ,id=a,thread-pool-min=65 \
		,id=a,thread-pool-min=65,thread-pool-max=128 \
		,id=a,thread-pool-max=0 ,id=a,thread-pool-max=-1 \
		,id=a,thread-pool-max=99999999999 ,id=a,poll-max-ns=5 \
		,id=a,foo=1 ''; do
		same info --object main-loop$rest r
	done
	for second in main-loop,id=b main-loop,id=a secret,id=a,data=x; do
		same info --object main-loop,id=a --object $second r
	done
	list=cpu-affinity
	for rest in '' ,$list=0 ,$list.0=0 ,$list.0=x ,$list.1=0 ,$list.x=0 \
		,node-affinity.0=0 ,node-affinity=0 ,node-affinity.0=x \
		,$list.0=0,node-affinity.0=0 ,foo=1; do
		same info --object "thread-context,id=a$rest" r
	done
	same info --object '{"qom-type": "main-loop", "id": "a",
		"thread-pool-max": 8}' r
}

# It would do something.
test_refused_types() {
	refused "Parameter 'qom-type' does not accept value 'pr-manager-helper'" \
		info --object pr-manager-helper,id=a,path=p r
}

# shellcheck disable=SC1091 # not part of the tree
. shunit2
