#!/bin/bash
# Forced cancel of a mirror in write-blocking mode while clients write: the daemon's heap is spoilt.
# Exit code 1: it was seen; 0: it was not; 77: skipped.
set -u
PATH=${QEMU_BIN:+$QEMU_BIN:}$PATH ROUNDS=${ROUNDS:-60}
for P in qemu-storage-daemon qemu-io; do command -v $P >/dev/null || { echo "skipped: $P is not installed"; exit 77; }; done
D=$(mktemp -d) && cd "$D" || exit 2
trap 'rm -r "$D"' EXIT
trap '' PIPE
truncate -s 1M src dst
mkfifo in
MALLOC_PERTURB_=165 qemu-storage-daemon --chardev stdio,id=m --monitor m --nbd-server addr.type=unix,addr.path="$D/nbd",max-connections=0 \
  --blockdev file,node-name=src,filename=src,discard=unmap --blockdev file,node-name=dst,filename=dst,discard=unmap \
  --export nbd,id=e,node-name=src,name=e,writable=on <in >out 2>err &
PID=$!
exec 3>in
echo '{"execute": "qmp_capabilities"}' >&3
sleep 0.3
WRITES=$(for i in $(seq 60); do
  echo "aio_write -P $i $((i % 16 * 65536 + 512)) 1024"
  echo "aio_write -z $((i % 16 * 65536)) 65536"
done)
client() { (for n in 1 2 3 4; do echo "$WRITES"; done; echo aio_flush) | qemu-io -f raw "nbd+unix:///e?socket=$D/nbd" >/dev/null 2>&1; }
for round in $(seq "$ROUNDS"); do
  kill -0 $PID 2>/dev/null || break
  : >out
  echo '{"execute": "blockdev-mirror", "arguments": {"job-id": "j", "device": "src", "target": "dst", "sync": "full",
    "copy-mode": "write-blocking"}}' >&3
  for i in $(seq 100); do grep -q BLOCK_JOB_READY out && break; sleep 0.01; done
  client & C1=$!
  client & C2=$!
  sleep 0.0$((RANDOM % 3 + 1))
  echo '{"execute": "block-job-cancel", "arguments": {"device": "j", "force": true}}' >&3
  wait $C1 $C2
done 2>/dev/null
echo '{"execute": "quit"}' 2>/dev/null >&3
wait $PID 2>/dev/null
CODE=$?
echo "after $round rounds the daemon ends with $CODE: $(tail -n 1 err)"
[ $CODE -lt 128 ]
