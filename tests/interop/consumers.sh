#!/bin/sh
# SPDX-License-Identifier: ISC
# Programs of others that call qemu-img, with Debian's and with a vm-img of
# that name before it in PATH: libvirt's storage driver, oslo.utils' parser of
# what info prints (nova, glance and cinder use it), cloud-localds and genimage.
# They say the same, and so do the images they make.
# shellcheck disable=SC2154 # dir is set by test_dir
. tests/support/guest.sh
. tests/support/img.sh
. tests/support/formats.sh

setUp() {
	formats_dir
	mkdir theirs ours
}

tearDown() {
	img_cleanup
}

# COMMAND... in the folders theirs and ours at the same time; what it prints is
# in theirs.said and ours.said, and the same but for what is of one run only.
both() {
	(cd theirs && "$@") >theirs.said 2>&1 &
	(cd ours && PATH=$dir/link:$PATH "$@") >ours.said 2>&1
	wait $!
	of_any_run <theirs.said >theirs.out
	of_any_run <ours.said >ours.out
	diff -U3 theirs.out ours.out >difference
	assertEquals "$*" '' "$(head -n 60 difference)"
}

# Folders, UUIDs, names of temporary files, times, blocks on disk, and what
# libvirt finds or not (same_image() has it).
of_any_run() {
	sed -E "s,[^ (]*/qemu-img ,qemu-img ,; s,$dir/,,g; s,\<(theirs|ours)/,,g
		s/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/UUID/g
		s/secret\.\w{6}/secret/; /<(.time|allocation|clusterSize)\>/d
		/^ *(disk size|cid|iters|master key iters):/d"
}

# What qemu-img says of FILE, which theirs and ours have each.
same_image() { # FILE
	for who in theirs ours; do
		qemu-img info "$who/$1" 2>&1 | of_any_run
	done >said
	half=$(($(wc -l <said) / 2))
	assertEquals "$1" "$(head -n $half said)" "$(tail -n +$((half + 1)) said)"
	case $1 in
	*luks*) return ;; # compared is what was made of it
	esac
	assertEquals "$1" 'Images are identical.' \
		"$(qemu-img compare "theirs/$1" "ours/$1" 2>&1)"
	qemu-img check "ours/$1" >said 2>&1
	case $? in
	0 | 63) ;; # 63: this format has no check
	*) fail "$1: $(cat said)" ;;
	esac
}

# A command of virsh and its status. It shall start no daemon of its own.
# shellcheck disable=SC2086 # words, on purpose
ask() { # COMMAND...
	echo "\$ $*"
	timeout 60 $drop env LIBVIRT_AUTOSTART=0 XDG_RUNTIME_DIR="$PWD/run" \
		XDG_CONFIG_HOME="$PWD" XDG_CACHE_HOME="$PWD" \
		virsh -q -c "${driver:-storage}:///session" "$@"
	echo "status $?"
}

# A daemon of a user's session, which touches nothing outside its folder. Root
# has no such session; so it is nobody's then.
# shellcheck disable=SC2086 # words, on purpose
libvirtd_in() { # FOLDER PATH
	mkdir "$1/run"
	[ -z "$drop" ] || chown -R 65534:65534 "$1"
	start "$1" $drop env PATH="$2" HOME="$dir/$1" \
		XDG_RUNTIME_DIR="$dir/$1/run" XDG_CONFIG_HOME="$dir/$1" \
		XDG_CACHE_HOME="$dir/$1" XDG_DATA_HOME="$dir/$1" \
		DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent \
		libvirtd
	wait_socket "$dir/$1/run/libvirt/libvirt-sock"
}

volume() { # NAME FORMAT [ELEMENTS]
	cat <<-END
		<volume><name>$1</name><capacity unit='M'>20</capacity>
		<allocation>0</allocation><target><format type='$2'/>${3-}</target>
		</volume>
	END
}

volumes() {
	ask pool-create-as p dir --target "$PWD/pool"
	for format in raw qcow2 vmdk vpc vdi qed; do
		ask vol-create-as p "a.$format" 10M --format "$format"
	done
	ask vol-upload --pool p a.raw "$dir/data"
	ask vol-create-as p backed.qcow2 20M --format qcow2 \
		--backing-vol a.raw --backing-vol-format raw
	ask vol-create-as p full.qcow2 3M --format qcow2 --allocation 3M
	ask vol-create-as p tables.qcow2 9M --format qcow2 --prealloc-metadata
	ask vol-create p "$dir/features.xml"
	for format in raw qcow2 vmdk vpc vdi qed; do
		volume "from.$format" "$format" >new.xml
		ask vol-create-from p new.xml backed.qcow2 --inputpool p
	done
	ask vol-create-from p "$dir/back.xml" from.vmdk --inputpool p
	ask vol-clone --pool p --prealloc-metadata from.qcow2 clone.qcow2
	ask vol-resize --pool p clone.qcow2 30M
	ask vol-resize --pool p clone.qcow2 12M --shrink
	ask vol-dumpxml --pool p features
	ask vol-dumpxml --pool p backed.qcow2

	echo what fails
	ask vol-resize --pool p a.vmdk 30M
	ask vol-create-as p a.cow 10M --format cow
	ask vol-create-as p a.dmg 10M --format dmg
	ask vol-create-as p bad.qcow2 1M --format qcow2 \
		--backing-vol a.vdi --backing-vol-format qcow2
	ask vol-create p "$dir/bad.xml"

	echo secrets
	driver=secret
	cat >secret.xml <<-END
		<secret><uuid>11111111-2222-3333-4444-555555555555</uuid><usage
		type='volume'><volume>$PWD/pool/luks.qcow2</volume></usage></secret>
	END
	ask secret-define secret.xml
	ask secret-set-value 11111111-2222-3333-4444-555555555555 \
		--file "$dir/password" --plain
	driver=
	ask pool-refresh p
	ask vol-resize --pool p luks.qcow2 24M
	volume plain.raw raw >new.xml
	ask vol-create-from p new.xml luks.qcow2 --inputpool p
	# At times qemu-img cannot count its own processor time.
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		ask vol-create p "$dir/luks-new.xml" >made
		grep -q 'accurate CPU usage' made || break
	done
	cat made
	ask vol-dumpxml --pool p luks-new.qcow2

	ask vol-list p
	ask vol-delete --pool p a.qed
	ask pool-destroy p
}

test_libvirt() {
	disk data 5M
	printf 'one two' >password
	volume features qcow2 "<compat>1.1</compat>
		<clusterSize unit='KiB'>128</clusterSize>
		<features><lazy_refcounts/><extended_l2/></features>" \
		>features.xml
	volume bad qcow2 "<clusterSize unit='B'>1000</clusterSize>" >bad.xml
	volume back.raw raw >back.xml
	volume luks-new.qcow2 qcow2 "<encryption format='luks'><secret
		type='passphrase' uuid='11111111-2222-3333-4444-555555555555'/>
		</encryption>" >luks-new.xml
	# libvirt has no way to ask for a key that is quick to make.
	vm-img convert -f raw -O qcow2 --object secret,id=s,file=password \
		-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 \
		data luks
	for i in theirs ours; do
		mkdir "$i/pool"
		cp luks "$i/pool/luks.qcow2"
	done
	drop=
	if [ "$(id -u)" = 0 ]; then
		drop='setpriv --reuid=65534 --regid=65534 --clear-groups'
		chmod 755 "$dir"
		# Nobody may have no way to where it is built.
		cp --remove-destination "$B/bin/vm-img" link/qemu-img
	fi
	libvirtd_in theirs "$PATH" && libvirtd_in ours "$dir/link:$PATH" ||
		return
	both volumes
	stop ours
	stop theirs

	assertEquals 'what fails, and by us' 5 \
		"$(grep -c "^error: internal .*($dir/link/qemu-img " ours.said)"
	[ "$(id -u)" != 0 ] || chown -R 0:0 theirs ours
	n=0
	for i in ours/pool/*; do
		case $i in *.raw) ;; *) same_image "pool/${i##*/}" ;; esac
		n=$((n + 1))
	done
	assertEquals 'volumes' 20 $n
	for i in back plain; do
		cmp -n 5M data "ours/pool/$i.raw" || fail "$i.raw"
	done
}

test_oslo() {
	disk raw 2M
	qemu-img create -q -f qcow2 -b raw -F raw qcow2 3M
	qemu-img snapshot -c one qcow2
	qemu-img snapshot -c 'two words' qcow2
	vm-img create -q -f luks --object secret,id=s,data=x \
		-o key-secret=s,iter-time=10 luks 1M
	for format in vmdk vpc vdi vhdx parallels; do
		qemu-img convert -O $format raw $format
	done
	cat >parse.py <<-'END'
		import json, subprocess, sys, warnings
		from oslo_utils.imageutils import QemuImgInfo

		warnings.simplefilter("ignore")
		for name in sys.argv[1:]:
		    for how in "json", "human":
		        said = subprocess.run(
		            ["env", "LC_ALL=C", "LANG=C", "qemu-img", "info", name,
		             "--force-share", "--output=" + how], check=True,
		            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
		        info = QemuImgInfo(said.stdout.decode(), format=how)
		        print(json.dumps(vars(info), sort_keys=True))
	END
	both /usr/bin/python3 ../parse.py ../raw ../qcow2 ../luks ../vmdk ../vpc \
		../vdi ../vhdx ../parallels
	assertEquals "$(cat ours.out)" 16 "$(grep -c '"virtual_size": [1-9]' \
		ours.out)"
}

test_cloud_localds() {
	printf '#cloud-config\npassword: x\n' >user-data
	for format in raw qcow2 vmdk vpc none; do
		both cloud-localds -d "$format" "seed.$format" ../user-data
	done
	grep -q 'Unknown file format .none' ours.out || fail "$(cat ours.out)"
	for format in qcow2 vmdk vpc; do
		qemu-img convert -O raw "ours/seed.$format" iso
		assertEquals "$format" "$(cat user-data)" \
			"$(isoinfo -R -x /user-data -i iso)"
	done
}

test_genimage() {
	disk part 4M
	cat >config <<-'END'
		image whole { hdimage {}
			partition one { partition-type = 0x83 image = "part" } }
		image qcow2 { qemu { format = "qcow2" extraargs = "-c" }
			partition one { image = "whole" } }
		image vmdk { qemu { format = "vmdk"
			extraargs = "-o subformat=streamOptimized" }
			partition one { image = "whole" } }
	END
	printf 'image x { qemu { format = "x" } partition a { image = "part" } }' \
		>bad
	mkdir root
	for i in config bad; do
		both genimage --config "../$i" --inputpath .. --rootpath ../root \
			--tmppath tmp --outputpath out
	done
	for i in qcow2 vmdk; do
		same_image "out/$i"
		qemu-img compare ours/out/whole "ours/out/$i" >/dev/null ||
			fail "$i"
	done
}

. shunit2
