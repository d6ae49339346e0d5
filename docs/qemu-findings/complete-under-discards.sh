#!/bin/bash
# A mirror to a qcow2 image completes while clients discard and zero: the daemon spoils its heap, or spins in "pending" and
# answers nobody. Exit code 1: it was seen; 0: it was not; 77: skipped.
set -u
PATH=${QEMU_BIN:+$QEMU_BIN:}$PATH ROUNDS=${ROUNDS:-120}
for P in qemu-storage-daemon qemu-img qemu-io; do command -v $P >/dev/null || { echo "skipped: $P is not installed"; exit 77; }; done
D=$(mktemp -d) && cd "$D" || exit 2
trap 'rm -r "$D"' EXIT
trap '' PIPE
COMMANDS=$(for i in $(seq 400); do
  echo "aio_write -z -u $((i % 60 * 512)) 512"
  echo "discard $((i % 60 * 512)) 512"
done)
client() { (echo "$COMMANDS"; echo aio_flush) | qemu-io -f raw "nbd+unix:///e?socket=$D/nbd" >/dev/null 2>&1; }
SEEN=0
for round in $(seq "$ROUNDS"); do
  rm -f src dst in nbd out
  truncate -s 32k src
  qemu-io -f raw -c 'write -P 1 0 32k' src >/dev/null
  qemu-img create -q -f qcow2 -o cluster_size=32k dst 32k
  mkfifo in
  MALLOC_PERTURB_=165 qemu-storage-daemon --chardev stdio,id=m --monitor m --nbd-server addr.type=unix,addr.path="$D/nbd",max-connections=0 \
    --blockdev file,node-name=src,filename=src,discard=unmap \
    --blockdev qcow2,node-name=dst,file.driver=file,file.filename=dst,file.discard=unmap,discard=unmap \
    --export nbd,id=e,node-name=src,name=e,writable=on <in >out 2>err &
  PID=$!
  exec 3>in
  echo '{"execute": "qmp_capabilities"}' >&3
  echo '{"execute": "blockdev-mirror", "arguments": {"job-id": "j", "device": "src", "target": "dst", "sync": "full",
    "granularity": 512, "copy-mode": "write-blocking"}}' >&3
  for i in $(seq 100); do grep -q BLOCK_JOB_READY out && break; sleep 0.01; done
  client & C1=$!
  client & C2=$!
  sleep 0.0$((RANDOM % 4))$((RANDOM % 10))
  echo '{"execute": "job-complete", "arguments": {"id": "j"}}' 2>/dev/null >&3
  for i in $(seq 500); do grep -q '"null"' out && break; kill -0 $PID 2>/dev/null || break; sleep 0.01; done
  if ! grep -q '"null"' out; then
    kill -9 $PID 2>/dev/null && echo "stuck after $(grep -o '"status": "[a-z]*"' out | tail -n 1)"
    SEEN=1
  fi
  wait $C1 $C2
  echo '{"execute": "quit"}' 2>/dev/null >&3
  wait $PID 2>/dev/null
  CODE=$?
  [ $CODE -ge 128 ] && SEEN=1
  [ $SEEN = 1 ] && echo "round $round: the daemon ends with $CODE: $(tail -n 1 err)" && break
done 2>/dev/null
echo "$round rounds, seen: $SEEN"
exit $SEEN
