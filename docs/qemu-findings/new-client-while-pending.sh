#!/bin/bash
# A mirror stands in "pending", its source drained: requests of clients wait. A client that connects now is served none the less.
# What it writes goes to the source alone, and is lost when the job is finalized. With the argument "write-blocking" for the
# copy mode the write uses maps that the job has released, which ends the daemon sooner or later.
# Exit code 1: it was seen; 0: it was not; 77: skipped.
set -u
MODE=${1:-background}
PATH=${QEMU_BIN:+$QEMU_BIN:}$PATH
for P in qemu-storage-daemon qemu-io; do command -v $P >/dev/null || { echo "skipped: $P is not installed"; exit 77; }; done
D=$(mktemp -d) && cd "$D" || exit 2
trap 'rm -r "$D"' EXIT
trap '' PIPE
truncate -s 1M src dst
mkfifo in
MALLOC_PERTURB_=165 qemu-storage-daemon --chardev stdio,id=m --monitor m --nbd-server addr.type=unix,addr.path="$D/nbd",max-connections=0 \
  --blockdev file,node-name=src,filename=src --blockdev file,node-name=dst,filename=dst \
  --export nbd,id=e,node-name=src,name=e,writable=on <in >out 2>err &
PID=$!
exec 3>in
qmp() { echo "{\"execute\": \"$1\", \"arguments\": {$2}}" >&3; }
heard() { for i in $(seq 500); do grep -q "$1" out && return; sleep 0.01; done; }
client() { timeout 5 qemu-io -f raw -c "$1" "nbd+unix:///e?socket=$D/nbd"; }
qmp qmp_capabilities ''
for i in $(seq 300); do [ -S nbd ] && break; sleep 0.01; done
qmp blockdev-mirror '"job-id": "j", "device": "src", "target": "dst", "sync": "full", "auto-finalize": false, "granularity": 512,
  "copy-mode": "'"$MODE"'"'
heard BLOCK_JOB_READY
qmp job-complete '"id": "j"'
heard BLOCK_JOB_PENDING
client 'write -P 7 0 4096' >wrote 2>/dev/null &
CLIENT=$!
for i in $(seq 100); do grep -q ^wrote wrote && break; sleep 0.01; done
grep -q ^wrote wrote && echo 'the write is done while the job is pending' || echo 'the write waits'
qmp job-finalize '"id": "j"'
heard '"null"'
kill $CLIENT 2>/dev/null
client 'read -P 7 0 4096' >read 2>&1
qmp quit ''
for i in $(seq 200); do kill -0 $PID 2>/dev/null || break; sleep 0.01; done
kill -9 $PID 2>/dev/null && echo 'the daemon answers nobody, and turns round for ever'
wait $PID 2>/dev/null
CODE=$?
echo "afterwards: $(head -n 1 read); the daemon ends with $CODE: $(tail -n 1 err)"
! grep -qi 'pattern verification failed' read && [ $CODE -lt 128 ]
