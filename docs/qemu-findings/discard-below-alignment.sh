#!/bin/bash
# A discard that is shorter than blkdebug's "align", with no "opt-discard" set: the program ends by SIGFPE.
# Exit code 1: it was seen; 0: it was not; 77: skipped.
set -u
PATH=${QEMU_BIN:+$QEMU_BIN:}$PATH
for P in qemu-io; do command -v $P >/dev/null || { echo "skipped: $P is not installed"; exit 77; }; done
D=$(mktemp -d) && cd "$D" || exit 2
trap 'rm -r "$D"' EXIT
truncate -s 64K image
NODE=driver=blkdebug,align=4096,discard=unmap,image.driver=file,image.filename=image,image.discard=unmap
qemu-io --image-opts "$NODE" -c 'discard 512 512' >/dev/null 2>&1
CODE=$?
qemu-io --image-opts "$NODE,opt-discard=4096" -c 'discard 512 512' >/dev/null 2>&1
echo "qemu-io ends with $CODE (136 is SIGFPE); with opt-discard=4096 it ends with $?"
[ $CODE -lt 128 ]
