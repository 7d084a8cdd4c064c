# shellcheck shell=sh
# SPDX-License-Identifier: ISC
# Shell functions for tables of command lines that qemu-img and vm-img are to
# do alike. Source it after guest.sh and img.sh. A table is a function that
# prints rows, each the shell words behind a verb; verbs' names with their
# formats, as in rows_create_qcow2, are names of tables.
#
# Before the first test img_dir is made, in memory where that can be had, and
# $dir/in, a folder of images that each row gets a copy of.
#
#	like_qemu_img VERB TABLE	Each row of the table, by qemu-img, by vm-img,
#				and by vm-img with long names behind the operands:
#				status, output, messages and all files are alike.
#	under_other_names VERB TABLE	A row is "THEIRS == OURS": what qemu-img does
#				with the one vm-img does with the other.
#	table NAME		The rows without comments.
#	row_words NAME		The words of all rows, a line each.
#	long_names VERB		LETTER=NAME of each option with a value, and
#				LETTER:NAME of each without, of those for which
#				qemu-img 7.2 has the letter alone; the names are
#				those of 10.1.
# shellcheck disable=SC2154 # dir is set by test_dir

long_names() {
	case $1 in
	amend) echo o=options f=format t=cache p:progress q:quiet ;;
	bench)
		echo c=count d=depth f=format i=aio n:native o=offset \
			q:quiet s=buffer-size S=step-size t=cache w:write \
			U:force-share
		;;
	bitmap) echo b=source-file F=source-format g=granularity f=format ;;
	check) echo f=format T=cache r=repair U:force-share q:quiet ;;
	commit)
		echo f=format t=cache d:drop b=base r=rate-limit p:progress \
			q:quiet
		;;
	compare)
		echo f=a-format F=b-format s:strict T=cache U:force-share \
			p:progress q:quiet
		;;
	convert)
		echo f=source-format T=source-cache l=snapshot O=target-format \
			o=target-format-options t=target-cache B=backing \
			F=backing-format S=sparse-size n:no-create \
			c:compress U:force-share r=rate-limit m=parallel \
			C:copy-range-offloading W:oob-writes p:progress q:quiet
		;;
	create)
		echo f=format o=options b=backing F=backing-format \
			u:backing-unsafe q:quiet
		;;
	dd) echo f=format O=output-format U:force-share ;;
	info) echo f=format U:force-share ;;
	map) echo f=format s=start-offset l=max-length U:force-share ;;
	measure)
		echo f=format l=snapshot O=target-format o=options \
			U:force-share
		;;
	rebase)
		echo f=format t=cache b=backing F=backing-format \
			T=backing-cache u:backing-unsafe U:force-share \
			p:progress q:quiet
		;;
	resize) echo f=format q:quiet ;;
	snapshot)
		echo l:list c=create a=apply d=delete U:force-share q:quiet
		;;
	esac
}

make_images() {
	random noise 128k
	truncate -s 1M a.raw
	dd if=noise of=a.raw bs=64k seek=2 conv=notrunc status=none
	dd if=noise of=a.raw bs=4k count=1 seek=255 conv=notrunc status=none
	rm noise
	qemu-img convert -f raw -O qcow2 -o cluster_size=4k a.raw b.qcow2
	qemu-img create -q -f qcow2 -b b.qcow2 -F qcow2 -o cluster_size=4k \
		o.qcow2
	qemu-img create -q -f qcow2 -b o.qcow2 -F qcow2 top.qcow2
	qemu-io -f qcow2 -c 'write -P 7 0 8k' -c 'write -z 128k 8k' \
		-c 'write -P 8 512k 64k' -c 'write 600k 100k' o.qcow2 >/dev/null
	qemu-io -f qcow2 -c 'write -P 9 4k 4k' top.qcow2 >/dev/null
	qemu-img create -q -f qcow2 empty.qcow2 1M
	qemu-img create -q -f qcow2 -o cluster_size=4k s.qcow2 1M
	qemu-io -c 'write -P 3 0 64k' s.qcow2 >/dev/null
	qemu-img snapshot -c one s.qcow2
	qemu-io -c 'write -P 4 32k 64k' s.qcow2 >/dev/null
	qemu-img create -q -f qcow2 -o cluster_size=4k m.qcow2 1M
	qemu-img bitmap --add -g 4k m.qcow2 bits
	qemu-img bitmap --add --disable m.qcow2 off
	qemu-io -c 'write -P 5 64k 32k' m.qcow2 >/dev/null
	for format in parallels qcow qed vdi vmdk vpc; do
		qemu-img convert -f raw -O $format a.raw a.$format
	done
	cp b.qcow2 leak.qcow2
	truncate -s +4k leak.qcow2
	qemu-img create -q -f qcow2 -o lazy_refcounts=on lazy.qcow2 1M
	qemu-io -c 'write 0 64k' -c abort lazy.qcow2 >/dev/null 2>&1
	qemu-img convert -f raw -O luks --object secret,id=s,data=x \
		-o key-secret=s,iter-time=10 a.raw e.luks
	qemu-img convert -f raw -O qcow2 --object secret,id=s,data=x -o \
		encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 \
		a.raw e.qcow2
	qemu-img create -q -f qcow2 -u -b e.qcow2 -F qcow2 oe.qcow2 1M
}

oneTimeSetUp() {
	[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
	img_dir
	mkdir in
	(cd in && make_images)
	cd "$top" || return 1
}

setUp() {
	cd "$dir" || return 1
}

oneTimeTearDown() {
	img_cleanup
}

table() {
	"rows_$1" | sed '/^#/d; /^$/d'
}

row_words() {
	table "$1" | while read -r words; do
		eval "printf '%s\n' $words"
	done
}

# NAMES LETTER: the rest of its entry, with what stands before it.
long_name() {
	rest=" $1"
	case $rest in
	*" $2="*) rest=${rest#*" $2"} ;;
	*" $2:"*) rest=${rest#*" $2"} ;;
	*) rest= ;;
	esac
	echo "${rest%% *}"
}

# The words of a row as another row: operands, and options by long names.
lengthen() { # VERB WORD...
	names=$(long_names "$1")
	is_last_fixed=$([ "$1" != resize ] || echo yes)
	shift
	operands='' options=''
	while [ $# -gt 0 ]; do
		word=$1
		case $word in
		-[a-zA-Z]) long=$(long_name "$names" "${word#-}") ;;
		*) long= ;;
		esac
		case $long in
		=*)
			word=--${long#=}=$2
			shift
			;;
		:*) word=--${long#:} ;;
		esac
		shift
		word="'$(printf %s "$word" | sed "s/'/'\\\\''/g")'"
		case $word in
		\'-[!0-9]*) options="$options $word" ;;
		*) operands="$operands $word" ;;
		esac
	done
	if [ -n "$is_last_fixed" ]; then
		echo "$options $operands"
	else
		echo "$operands $options"
	fi
}

run_in() { # FOLDER PROGRAM WORD...
	folder=$1
	shift
	rm -rf "$folder"
	cp -r in "$folder"
	(cd "$folder" && exec timeout 60 "$@") \
		>"$folder.out" 2>"$folder.err" </dev/null
	echo "status $?" >>"$folder.out"
}

# What differs from run to run.
without_noise() {
	sed -E -e 's/completed in [0-9.]+/completed in N/' \
		-e 's/( *\([0-9.]+\/100%\)\r)+/PROGRESS/' \
		-e 's/[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}/DATE/' \
		-e '/^disk size: /d; /"(actual-size|date-n?sec)": /d' "$@"
}

# What an image says of itself, less what no two images have in common.
image_info() { # IMAGE
	qemu-img info --output=json "$1" 2>&1 | without_noise |
		grep -vE '"([pc]id|parent-cid|uuid|master-key-iters|iters)": '
	qemu-img check --output=json "$1" 2>&1 |
		grep -E '(allocated|compressed|total)-clusters|leaks|corrupt'
}

# What --image-opts takes it for. A fixed disk of VPC is not told from a raw one.
image_name() { # IMAGE
	case $row in
	*vpc*)
		printf 'driver=vpc,file.filename=%s' "$1"
		return
		;;
	esac
	if grep -q '"format": "luks"' info.theirs; then
		secret=key-secret=s
		grep -q '^    "format": "luks"' info.theirs ||
			secret=encrypt.$secret
		printf 'driver=%s,file.filename=%s,%s' \
			"$(sed -n 's/^    "format": "\(.*\)",$/\1/p' \
				info.theirs)" "$1" $secret
	else
		printf 'file.filename=%s' "$1"
	fi
}

# Two images that are not the same bytes. What luks has in unwritten places is
# what its key makes of zeroes.
alike() { # IMAGE REFERENCE FOLDER
	(cd "$2" && image_info "$1") >info.theirs
	(cd "$3" && image_info "$1") >info.ours
	diff info.theirs info.ours && [ -z "$has_no_content" ] &&
		qemu-img compare --object secret,id=s,data=x --image-opts \
			"$(image_name "$2/$1")" "$(image_name "$3/$1")" 2>&1 |
		grep -v '^Images are identical.$'
}

differences() { # REFERENCE FOLDER
	for what in out err; do
		cmp -s "$1.$what" "$2.$what" && continue
		without_noise "$1.$what" >expected
		without_noise "$2.$what" | diff expected -
	done
	# Half an image is left behind by qemu-img alone.
	! grep -q 'status 1' "$1.out" || rm -f "$1/new" "$2/new"
	diff -rq "$1" "$2" | while read -r word first rest; do
		if [ "$word" = Files ]; then
			alike "${first#"$1"/}" "$1" "$2"
		else
			echo "$word $first $rest"
		fi
	done
}

judge() { # WHAT REFERENCE FOLDER
	difference=$(differences "$2" "$3")
	[ -z "$difference" ] || fail "$1: $difference"
}

# By the link's name, as messages begin with it.
like_qemu_img() { # VERB TABLE
	table "$2" >rows
	while read -r row <&3; do
		eval "run_in theirs qemu-img $1 $row" &
		eval "run_in ours \"\$dir/link/qemu-img\" $1 $row"
		case " $row " in
		*" -"[a-zA-Z]" "*)
			eval "long=\$(lengthen $1 $row)"
			eval "run_in long \"\$dir/link/qemu-img\" $1 $long"
			judge "$1 $long" ours long
			;;
		esac
		wait
		judge "$1 $row" theirs ours
	done 3<rows
}

under_other_names() { # VERB TABLE
	table "$2" >rows
	while read -r row <&3; do
		eval "run_in theirs qemu-img $1 ${row%% == *}" &
		eval "run_in ours \"\$dir/link/qemu-img\" $1 ${row##* == }"
		wait
		judge "$1 ${row##* == }" theirs ours
	done 3<rows
}
