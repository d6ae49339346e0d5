#!/bin/bash
# Writes that come while a mirror looks through its source for data are lost: the copy differs from its original.
# Exit code 1: it was seen; 0: it was not; 77: skipped.
set -u
PATH=${QEMU_BIN:+$QEMU_BIN:}$PATH
for P in qemu-storage-daemon qemu-img qemu-io; do command -v $P >/dev/null || { echo "skipped: $P is not installed"; exit 77; }; done
D=$(mktemp -d) && cd "$D" || exit 2
trap 'rm -r "$D"' EXIT
trap '' PIPE
# 32 tables, each of which is read slowly: the look through the image takes about two seconds.
qemu-img create -q -f qcow2 -o cluster_size=512 src 1M
qemu-img create -q -f qcow2 -o cluster_size=512 dst 1M
for i in $(seq 31); do echo "write -P 99 $((i * 32768)) 512"; done | qemu-io -f qcow2 src >/dev/null
mkfifo in
qemu-storage-daemon --chardev stdio,id=m --monitor m --nbd-server addr.type=unix,addr.path="$D/nbd",max-connections=0 \
  --object throttle-group,id=slow,limits.iops-read=20 \
  --blockdev qcow2,node-name=src,file.driver=throttle,file.throttle-group=slow,file.file.driver=file,file.file.filename=src \
  --blockdev qcow2,node-name=dst,discard=unmap,file.driver=file,file.filename=dst,file.discard=unmap \
  --export nbd,id=e,node-name=src,name=e,writable=on <in >out 2>err &
PID=$!
exec 3>in
qmp() { echo "{\"execute\": \"$1\", \"arguments\": {$2}}" >&3; }
heard() { for i in $(seq 2000); do grep -q "$1" out && return; sleep 0.01; done; }
qmp qmp_capabilities ''
for i in $(seq 300); do [ -S nbd ] && break; sleep 0.01; done
qmp blockdev-mirror '"job-id": "j", "device": "src", "target": "dst", "sync": "full", "granularity": 512'
heard '"running"'
sleep 0.5
# To where nothing was when the mirror looked.
qemu-io -f raw -c 'write -P 7 8192 4096' "nbd+unix:///e?socket=$D/nbd" >/dev/null 2>&1
grep -q '"ready"' out && echo 'the write came too late'
heard BLOCK_JOB_READY
qmp block-job-cancel '"device": "j"' # a soft one: the destination is a copy of the source then
heard '"null"'
qmp quit ''
wait $PID
echo "the daemon ends with $?: $(tail -n 1 err)"
qemu-img compare -f qcow2 -F qcow2 src dst
