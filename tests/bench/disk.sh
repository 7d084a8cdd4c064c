#!/bin/sh
# SPDX-License-Identifier: ISC
# vm-disk and qemu-storage-daemon, the same image, cache and load generator:
# random 4 KiB requests per second, and the server's CPU time for each.
# Interleaved, medians of ROUNDS (5) runs of RUN_SECONDS (2); prints ratios of
# vm-disk to qemu-storage-daemon. CACHE is none (O_DIRECT) or writeback.
set -eu
B=${B:-build}
ROUNDS=${ROUNDS:-5} SECONDS_EACH=${RUN_SECONDS:-2} SIZE=${SIZE:-1G}
CACHE=${CACHE:-none}
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/pipevisor.XXXXXX")
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$dir"' EXIT

direct=off
[ "$CACHE" = writeback ] || direct=on

# start SERVER FORMAT IMAGE
start() {
	rm -f "$dir/socket"
	case $1 in
	ours) "$B/bin/vm-disk" --format="$2" --cache="$CACHE" \
		--socket-path="$dir/socket" "$3" & ;;
	qsd) qemu-storage-daemon --blockdev "driver=file,node-name=file,filename=$3,aio=io_uring,cache.direct=$direct" \
		--blockdev "driver=$2,node-name=disk,file=file,cache.direct=$direct" \
		--export "type=vhost-user-blk,id=e,node-name=disk,addr.type=unix,addr.path=$dir/socket,writable=on" & ;;
	esac
	server=$!
	tries=500
	until [ -S "$dir/socket" ]; do
		tries=$((tries - 1))
		[ $tries -gt 0 ]
		sleep 0.02
	done
}

cpu_ticks() {
	awk '{ print $14 + $15 }' "/proc/$server/stat"
}

# run SERVER FORMAT OPERATION DEPTH: appends "IOPS MICROSECONDS" to a file.
run() {
	start "$1" "$2" "$dir/$2"
	before=$(cpu_ticks)
	iops=$("$B/tests/bench/disk_load" "$dir/socket" "$3" "$4" \
		"$SECONDS_EACH")
	after=$(cpu_ticks)
	kill "$server"
	wait "$server" || :
	server=
	awk -v n="$iops" -v t=$((after - before)) -v s="$SECONDS_EACH" \
		-v hz="$(getconf CLK_TCK)" \
		'BEGIN { print n, t / hz * 1e6 / (n * s) }' >>"$dir/$1.$2.$3.$4"
}

# median FILE COLUMN
median() {
	awk -v c="$2" '{ print $c }' "$1" | sort -n |
		awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

dd if=/dev/urandom of="$dir/raw" bs=1M count="$((${SIZE%G} * 1024))" \
	status=none
qemu-img convert -f raw -O qcow2 "$dir/raw" "$dir/qcow2"
sync
for _ in $(seq "$ROUNDS"); do
	for format in raw qcow2; do
		for operation in read write; do
			for depth in 1 32; do
				run ours $format $operation $depth
				run qsd $format $operation $depth
			done
		done
	done
done
echo "cache=$CACHE       IOPS          ratio   CPU µs each   ratio"
for format in raw qcow2; do
	for operation in read write; do
		for depth in 1 32; do
			name=$format.$operation.$depth
			awk -v name="$name" \
				-v a="$(median "$dir/ours.$name" 1)" \
				-v b="$(median "$dir/qsd.$name" 1)" \
				-v c="$(median "$dir/ours.$name" 2)" \
				-v d="$(median "$dir/qsd.$name" 2)" 'BEGIN {
				printf "%-14s %6d / %6d  %5.2f", name, a, b, a / b
				printf "  %5.1f / %5.1f  %5.2f\n", c, d, c / d }'
		done
	done
done
