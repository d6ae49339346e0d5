#!/bin/bash
# Triggers of known faults of the mirror, one after the other, each on a daemon of its own. Prints a line for each: what was
# seen. Exit code: how many were seen; 77: skipped.
set -u
PATH=${QEMU_BIN:+$QEMU_BIN:}$PATH
for P in qemu-storage-daemon qemu-img qemu-io; do command -v $P >/dev/null || { echo "skipped: $P is not installed"; exit 77; }; done
D=$(mktemp -d) && cd "$D" || exit 2
trap 'rm -r "$D"' EXIT
trap '' PIPE
SEEN=0

start() { # start SIZE [EXTRA...]: daemon with src and dst, client on src
  rm -f in out err nbd
  truncate -s "$1" src dst
  shift
  mkfifo in
  qemu-storage-daemon --chardev stdio,id=m --monitor m --nbd-server addr.type=unix,addr.path="$D/nbd",max-connections=0 \
    --object throttle-group,id=slow,limits.iops-total=200 "$@" \
    --export nbd,id=e,node-name=src,name=e,writable=on <in >out 2>err &
  PID=$!
  exec 3>in
  echo '{"execute": "qmp_capabilities"}' >&3
  for i in $(seq 300); do [ -S nbd ] && grep -q return out && break; sleep 0.01; done
}
PLAIN=(--blockdev file,node-name=src,filename=src,discard=unmap --blockdev file,node-name=dst,filename=dst,discard=unmap)
SLOW=(--blockdev file,node-name=src,filename=src,discard=unmap
  --blockdev throttle,node-name=dst,throttle-group=slow,discard=unmap,file.driver=file,file.filename=dst,file.discard=unmap)
qmp() { echo "{\"execute\": \"$1\", \"arguments\": {$2}}" 2>/dev/null >&3; }
mirror() { qmp blockdev-mirror "\"job-id\": \"j\", \"device\": \"src\", \"target\": \"dst\", \"sync\": \"full\", $1"; }
heard() { for i in $(seq "${2:-500}"); do grep -q "$1" out && return 0; kill -0 $PID 2>/dev/null || return 1; sleep 0.01; done; return 1; }
client() { qemu-io -f raw "$@" "nbd+unix:///e?socket=$D/nbd" >/dev/null 2>&1; }
finish() { # finish NUMBER NAME: complete, quit, compare
  local late='' differs=''
  qmp job-complete '"id": "j"'
  heard '"null"' 1000 || late='; the job does not end'
  qmp quit ''
  for i in $(seq 500); do kill -0 $PID 2>/dev/null || break; sleep 0.01; done
  kill -9 $PID 2>/dev/null
  wait $PID 2>/dev/null
  CODE=$?
  qemu-img compare -q -f raw -F raw src dst || differs='; the copy differs'
  [ $CODE = 0 ] && [ -z "$late$differs" ]
  told "$1" "$2" $? "the daemon ends with $CODE$late$differs: $(tail -n 1 err)"
}
told() {
  [ "$3" = 0 ] && echo "$1 $2: not seen" || { echo "$1 $2: SEEN, $4"; SEEN=$((SEEN + 1)); }
  rm -f src dst
}

# 1: a zero write inside one chunk, on a chunk that is clean and holds data.
truncate -s 1M src && qemu-io -f raw -c 'write -P 1 0 1M' src >/dev/null
start 1M "${PLAIN[@]}"
mirror '"granularity": 65536, "copy-mode": "write-blocking"'
heard BLOCK_JOB_READY
client -c 'write -z 4096 512' -c 'write -z 70144 512' -c 'write -z 131000 2k' -c 'write -z 130560 1k' -c 'write -z 196608 64k'
finish 1 'zero write inside one chunk'

# 5: the short last chunk gets zeroes, then data, then zeroes.
start 1000448 "${PLAIN[@]}"
mirror '"granularity": 65536, "copy-mode": "write-blocking"'
heard BLOCK_JOB_READY
client -c 'write -P 7 999936 512' -c 'write -z 983040 17408' -c 'write -P 9 999424 1k' -c 'write -z 999936 512'
finish 5 'short last chunk'

# 7: hardly any data, and a limit that only data may be held against.
truncate -s 64M src
start 64M "${PLAIN[@]}"
mirror '"speed": 1048576'
heard BLOCK_JOB_READY 300
told 7 'skipped zeroes are throttled' $? 'not READY after 3 s for a source of holes'
qmp quit ''
wait $PID

# 16: active writes below the granularity over chunks that are still to be copied, with a slow target.
truncate -s 4M src && qemu-io -f raw -c 'write -P 1 0 4M' src >/dev/null
start 4M "${SLOW[@]}"
mirror '"granularity": 65536, "buf-size": 65536, "copy-mode": "write-blocking"'
C=()
for i in $(seq 0 40); do C+=(-c "aio_write -P $((i + 2)) $((i * 99840 % 4128768 / 512 * 512)) 1536" -c "aio_write -z $((i * 77824 % 4128768)) 3072"); done
client "${C[@]}" -c aio_flush
heard BLOCK_JOB_READY 2000
finish 16 'active writes below the granularity'

# 17, 18: more requests than slots, overlapping, small buffer.
truncate -s 4M src && qemu-io -f raw -c 'write -P 1 0 4M' src >/dev/null
start 4M "${SLOW[@]}"
mirror '"granularity": 4096, "buf-size": 4096, "speed": 1048576, "copy-mode": "write-blocking"'
C=()
for i in $(seq 0 60); do C+=(-c "aio_write -P $((i + 2)) $((i % 5 * 4096 + i % 3 * 512)) 12k"); done
client "${C[@]}" -c aio_flush &
W=$!
client "${C[@]}" -c aio_flush
wait $W
qmp block-job-set-speed '"device": "j", "speed": 0'
heard BLOCK_JOB_READY 3000
finish 17/18 'overlapping active writes with few slots'

# 22: forced cancel under load is a script of its own; here: soft cancel after READY, then again, then forced.
start 1M "${PLAIN[@]}"
mirror '"copy-mode": "background"'
heard BLOCK_JOB_READY
qmp job-pause '"id": "j"'
qmp block-job-cancel '"device": "j", "force": true'
qmp block-job-cancel '"device": "j", "force": true'
heard '"null"' 500
told 24 'cancelled twice while paused' $? 'the job does not end'
qmp quit ''
wait $PID

# 30: a target that is smaller.
start 1M "${PLAIN[@]}"
truncate -s 512K dst
qmp blockdev-add '"driver": "file", "node-name": "small", "filename": "dst"'
qmp blockdev-mirror '"job-id": "j", "device": "src", "target": "small", "sync": "full"'
heard 'different sizes' 300
told 30 'sizes are not compared' $? 'a smaller target is taken'
qmp quit ''
wait $PID

# 31, 50: a target that holds other data, below holes of the source.
truncate -s 1M src && truncate -s 1M dst && qemu-io -f raw -c 'write -P 9 0 1M' dst >/dev/null
start 1M "${PLAIN[@]}"
mirror '"copy-mode": "background"'
heard BLOCK_JOB_READY
finish 31/50 'data of the target below holes'

# 46: a size that is no multiple of the granularity.
truncate -s 1049088 src && qemu-io -f raw -c 'write -P 3 0 1049088' src >/dev/null
start 1049088 "${PLAIN[@]}"
mirror '"granularity": 1048576'
heard BLOCK_JOB_READY
finish 46 'size between chunks'

# 53: a background write comes while its chunk is being copied, with a slow target.
truncate -s 2M src && qemu-io -f raw -c 'write -P 1 0 2M' src >/dev/null
start 2M "${SLOW[@]}"
mirror '"granularity": 4096, "buf-size": 8192'
C=()
for i in $(seq 0 200); do C+=(-c "write -P $((i % 250 + 2)) $((i * 9728 % 2093056 / 512 * 512)) 2k"); done
client "${C[@]}"
heard BLOCK_JOB_READY 3000
finish 51/53 'background writes beside the copy'

echo "$SEEN seen"
exit $SEEN
