#!/bin/bash
# A copy that waits for room in the buffer is forgotten: the mirror takes itself for clean, and ends, while that copy has not
# begun. A job that completes in that moment shows an offset greater than its length (default), a forced cancel releases the
# buffer that the copy then fills (with the argument "cancel"). Exit code 1: it was seen; 0: it was not; 77: skipped.
set -u
HOW=${1:-complete}
PATH=${QEMU_BIN:+$QEMU_BIN:}$PATH ROUNDS=${ROUNDS:-20}
for P in qemu-storage-daemon qemu-io; do command -v $P >/dev/null || { echo "skipped: $P is not installed"; exit 77; }; done
D=$(mktemp -d) && cd "$D" || exit 2
trap 'rm -r "$D"' EXIT
trap '' PIPE
truncate -s 1M src dst
mkfifo in
# A source that is slow to read: the copies end one after the other, in the order in which they began.
MALLOC_PERTURB_=165 qemu-storage-daemon --chardev stdio,id=m --monitor m --nbd-server addr.type=unix,addr.path="$D/nbd",max-connections=0 \
  --object throttle-group,id=slow,limits.iops-read=200 \
  --blockdev throttle,node-name=src,throttle-group=slow,file.driver=file,file.filename=src --blockdev file,node-name=dst,filename=dst \
  --export nbd,id=e,node-name=src,name=e,writable=on <in >out 2>err &
PID=$!
exec 3>in
qmp() { echo "{\"execute\": \"$1\", \"arguments\": {$2}}" >&3; }
heard() { for i in $(seq 500); do grep -q "$1" out && return; kill -0 $PID || return; sleep 0.01; done; }
qmp qmp_capabilities ''
for i in $(seq 300); do [ -S nbd ] && break; sleep 0.01; done
SEEN=0
for round in $(seq "$ROUNDS"); do
  kill -0 $PID || break
  : >out
  qmp blockdev-mirror '"job-id": "j", "device": "src", "target": "dst", "sync": "none", "granularity": 512, "buf-size": 2048'
  heard BLOCK_JOB_READY
  qmp job-pause '"id": "j"'
  heard '"standby"'
  # Runs of so many chunks, with clean ones between them; the buffer has room for four.
  AT=0 WRITES=()
  for CHUNKS in 1 1 1 4 1 1 2 1 1 4; do
    WRITES+=(-c "write -P $round $AT $((CHUNKS * 512))") AT=$((AT + CHUNKS * 512 + 1024))
  done
  # The throttle lets 20 reads pass before it slows them down: these.
  for i in $(seq 24); do WRITES+=(-c 'read 0 512'); done
  qemu-io -f raw "${WRITES[@]}" "nbd+unix:///e?socket=$D/nbd" >/dev/null
  qmp job-resume '"id": "j"'
  if [ "$HOW" = cancel ]; then
    sleep 0.01
    qmp block-job-cancel '"device": "j", "force": true'
  else
    qmp block-job-cancel '"device": "j"' # a soft one: the job succeeds, and leaves the nodes to the next
  fi
  heard '"null"'
  sleep 0.1
  END=$(grep -ao 'BLOCK_JOB_COMPLETED.*' out | sed 's/.*"len": \([0-9]*\), "offset": \([0-9]*\).*/\1 \2/')
  [ -n "$END" ] && [ "${END% *}" != "${END#* }" ] && SEEN=$((SEEN + 1)) && [ $SEEN = 1 ] && echo "round $round: length, offset: $END"
done 2>/dev/null
echo '{"execute": "quit"}' 2>/dev/null >&3
wait $PID 2>/dev/null
CODE=$?
echo "length and offset differ in $SEEN of $round rounds; the daemon ends with $CODE: $(tail -n 1 err)"
[ $SEEN = 0 ] && [ $CODE -lt 128 ]
