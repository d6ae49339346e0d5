#!/bin/bash
# Discards and zero writes beside first writes to the same clusters of a qcow2 image: the image is corrupt afterwards.
# Exit code 1: it was seen; 0: it was not; 77: skipped.
set -u
PATH=${QEMU_BIN:+$QEMU_BIN:}$PATH ROUNDS=${ROUNDS:-100}
for P in qemu-storage-daemon qemu-img qemu-io; do command -v $P >/dev/null || { echo "skipped: $P is not installed"; exit 77; }; done
D=$(mktemp -d) && cd "$D" || exit 2
trap 'rm -r "$D"' EXIT
client() { (echo "$COMMANDS"; echo aio_flush) | qemu-io -f raw "nbd+unix:///e?socket=$D/nbd" >/dev/null 2>&1; }
BAD=0
for round in $(seq "$ROUNDS"); do
  qemu-img create -q -f qcow2 -o cluster_size=32k,extended_l2=on image 64k
  COMMANDS=$(for i in $(seq 60); do
    echo "aio_write -P $((i % 250 + 1)) $((RANDOM % 24 * 512)) $((RANDOM % 32 * 512 + 512))"
    echo "aio_write -z -u $((RANDOM % 24 * 512)) $((RANDOM % 32 * 512 + 512))"
    echo 'discard 0 64k'
  done)
  qemu-storage-daemon --nbd-server addr.type=unix,addr.path="$D/nbd",max-connections=0 \
    --blockdev qcow2,node-name=n,discard=unmap,detect-zeroes=on,file.driver=file,file.filename=image,file.discard=unmap \
    --export nbd,id=e,node-name=n,name=e,writable=on 2>/dev/null &
  PID=$!
  for i in $(seq 300); do [ -S nbd ] && break; sleep 0.01; done
  client & C1=$!
  client & C2=$!
  wait $C1 $C2
  kill $PID 2>/dev/null
  wait $PID 2>/dev/null
  if ! qemu-img check -q -f qcow2 image >check 2>&1; then
    BAD=$((BAD + 1))
    [ $BAD = 1 ] && head -n 3 check
  fi
  rm -f image nbd
done
echo "$BAD of $ROUNDS images are not sound"
[ $BAD = 0 ]
