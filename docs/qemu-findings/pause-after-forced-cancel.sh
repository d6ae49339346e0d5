#!/bin/bash
# job-pause right after a forced cancel: the job stays in "aborting" for ever, nobody can resume it, and the daemon does
# not quit. Exit code 1: it was seen; 0: it was not; 77: skipped.
set -u
PATH=${QEMU_BIN:+$QEMU_BIN:}$PATH ROUNDS=${ROUNDS:-200}
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
MIRROR='{"execute": "blockdev-mirror", "arguments": {"job-id": "j", "device": "src", "target": "dst", "sync": "none"}}'
CANCEL='{"execute": "block-job-cancel", "arguments": {"device": "j", "force": true}}'
PAUSE='{"execute": "job-pause", "arguments": {"id": "j"}}'
IS_STUCK=0
for round in $(seq "$ROUNDS"); do
  : >out
  printf '%s\n%s\n%s\n' "$MIRROR" "$CANCEL" "$PAUSE" >&3
  IS_STUCK=1
  for i in $(seq 100); do grep -q '"status": "null"' out && IS_STUCK=0 && break; sleep 0.02; done
  [ $IS_STUCK = 1 ] && break
done
if [ $IS_STUCK = 1 ]; then
  : >out
  echo '{"execute": "query-jobs"}' >&3
  echo '{"execute": "job-resume", "arguments": {"id": "j"}}' >&3
  sleep 0.5
  echo "round $round, the job and the answer to job-resume:"
  cut -c1-250 out
fi
echo '{"execute": "quit"}' >&3
for i in $(seq 200); do kill -0 $PID 2>/dev/null || break; sleep 0.02; done
kill -9 $PID 2>/dev/null && echo 'the daemon does not quit'
echo "$round rounds, stuck: $IS_STUCK"
exit $IS_STUCK
