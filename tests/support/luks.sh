# shellcheck shell=sh
# SPDX-License-Identifier: ISC
# Shell functions for tests of encrypted images; source it after img.sh. The
# password is always "abc", of id "key" here and there.
#
#	$secret			qemu-img's --object argument for it.
#	qemu_create FORMAT IMAGE SIZE OPTIONS
#				qemu-img create, again if it cannot count its
#				own processor time, which happens.
#	ours PASSWORD FORMAT IMAGE VERB...
#				tests/tools/image-secret.
#	equal FORMAT IMAGE RAW [PREFIX]
#				The image holds RAW, as qemu-img sees it and as
#				we do. PREFIX: "encrypt." of qcow2.
# shellcheck disable=SC2154 # dir is set by test_dir

secret=secret,id=key,data=abc

qemu_create() {
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		timeout 60 qemu-img create -q -f "$1" --object "$secret" \
			-o "$4" "$2" "$3" 2>.err && return
		grep -q 'accurate CPU usage' .err || break
	done
	fail "qemu-img create -o $4: $(cat .err)"
}

ours() {
	timeout 60 "$B/tests/tools/image-secret" "$@"
}

equal() {
	qemu-img compare --object "$secret" --image-opts \
		"driver=raw,file.filename=$3" \
		"driver=$1,${4-}key-secret=key,file.filename=$2" >.out 2>&1 ||
		fail "$1 $2: $(cat .out)"
	ours abc "$1" "$2" read >.back 2>.err || fail "$1 $2: $(cat .err)"
	cmp "$3" .back >.out 2>&1 || fail "$1 $2: ours: $(cat .out)"
}
