/**
 * Reading: every run from where it lies. Neighbouring clusters that lie next to each other in the file are one request.
 *
 * What may fail: files and the backing image, as an errno; compressed data that cannot be taken apart gives EIO.
 */
import { assert, type Co, EIO, ENOTSUP, type Errno, OK } from '../../../co'
import type { Qcow2Image } from './image'
import { ClusterType } from './layout'
import { findRun, Run } from './mapping'

/** Fills `buffer` with what a guest sees at `guestBytes`. */
export function* readImage(image: Qcow2Image, guestBytes: number, buffer: Uint8Array): Co<Errno> {
  const run = new Run()
  for (let at = 0; at < buffer.length; ) {
    let errno = yield* findRun(image, guestBytes + at, buffer.length - at, run)
    if (errno !== OK) return errno
    assert(run.bytes > 0 && run.bytes <= buffer.length - at, 'read-run')
    const bytes = run.bytes
    const part = bytes === buffer.length ? buffer : buffer.subarray(at, at + bytes)
    errno = yield* readRun(image, run, guestBytes + at, part)
    if (errno !== OK) return errno
    at += bytes
  }
  return OK
}

/** Looked up and begun in one step, so that what is given up meanwhile stays where it is until this has ended. */
function* readRun(image: Qcow2Image, run: Run, guestBytes: number, part: Uint8Array): Co<Errno> {
  switch (run.type) {
    case ClusterType.Normal: {
      const epoch = image.beginTransfer()
      if (image.file.node.hearsEvents) yield* image.file.node.debugEvent('read_aio')
      const errno = yield* image.readData(guestBytes, run.hostBytes, part)
      image.endTransfer(epoch)
      return errno
    }
    case ClusterType.Compressed:
      return yield* readCompressed(image, run, guestBytes % image.geometry.clusterBytes, part)
    case ClusterType.UnallocatedPlain:
    case ClusterType.UnallocatedAllocated: {
      const backing = image.backing
      if (backing !== null) {
        if (image.file.node.hearsEvents) yield* image.file.node.debugEvent('read_backing_aio')
        return yield* backing.pread(guestBytes, part)
      }
      part.fill(0)
      return OK
    }
    default:
      assert(run.type !== ClusterType.Invalid, 'run-valid')
      part.fill(0)
      return OK
  }
}

function* readCompressed(image: Qcow2Image, run: Run, inCluster: number, part: Uint8Array): Co<Errno> {
  const codec = image.codec
  if (codec === null) return ENOTSUP
  const { clusterBytes } = image.geometry
  // The length counts sectors, so the data itself may end anywhere in the last one, and the file there too.
  const input = new Uint8Array(run.compressedBytes)
  const epoch = image.beginTransfer()
  if (image.file.node.hearsEvents) yield* image.file.node.debugEvent('read_compressed')
  const errno = yield* image.data.pread(run.hostBytes, input)
  image.endTransfer(epoch)
  if (errno !== OK) return errno
  assert(inCluster + part.length <= clusterBytes, 'compressed-one-cluster')
  if (inCluster === 0 && part.length === clusterBytes) return codec.decompress(input, part) ? OK : EIO
  const cluster = new Uint8Array(clusterBytes)
  if (!codec.decompress(input, cluster)) return EIO
  part.set(cluster.subarray(inCluster, inCluster + part.length))
  return OK
}
