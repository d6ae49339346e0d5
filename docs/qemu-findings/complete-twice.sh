#!/bin/bash
# job-complete twice for a paused mirror with "replaces": an assertion fails in the daemon.
# Exit code 1: it was seen; 0: it was not; 77: skipped.
set -u
PATH=${QEMU_BIN:+$QEMU_BIN:}$PATH
for P in qemu-storage-daemon; do command -v $P >/dev/null || { echo "skipped: $P is not installed"; exit 77; }; done
D=$(mktemp -d) && cd "$D" || exit 2
trap 'rm -r "$D"' EXIT
trap '' PIPE
truncate -s 1M src dst
mkfifo in
qemu-storage-daemon --chardev stdio,id=m --monitor m --blockdev file,node-name=src,filename=src \
  --blockdev file,node-name=dst,filename=dst <in >out 2>err &
PID=$!
exec 3>in
echo '{"execute": "qmp_capabilities"}' >&3
echo '{"execute": "blockdev-mirror", "arguments": {"job-id": "j", "device": "src", "target": "dst", "sync": "full",
  "replaces": "src"}}' >&3
for i in $(seq 500); do grep -q BLOCK_JOB_READY out && break; sleep 0.01; done
for verb in job-pause job-complete job-complete job-resume; do
  echo "{\"execute\": \"$verb\", \"arguments\": {\"id\": \"j\"}}" >&3
  sleep 0.2
done 2>/dev/null
echo '{"execute": "quit"}' 2>/dev/null >&3
wait $PID 2>/dev/null
CODE=$?
echo "the daemon ends with $CODE: $(cat err)"
[ $CODE -lt 128 ]
