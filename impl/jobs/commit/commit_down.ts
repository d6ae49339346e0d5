/**
 * A commit that is done at once, without a job: what layers above an image hold is written to it. Nobody may write to the
 * layers meanwhile.
 *
 * What may fail: reading and writing, as an errno; the image below may have been changed in part then, and shows what the
 * layers show where they hide it. BlockError where the image below cannot be written to.
 */
import { BlockBackend, type BlockGraph, type BlockNode, Permission, RequestFlag, StatusFlag } from '../../block'
import { assert, type Co, ENOTSUP, type Errno, OK } from '../../co'

const PIECE_BYTES = 2 * 2 ** 20
const NS_PER_S = 1e9

export interface CopyDownOptions {
  /** 0: as fast as it goes. */
  rateBytesPerSecond?: number
  /** From 0 to 1. */
  onProgress?(fraction: number): void
}

/** Copies what the layers from `source` on hold above `base`, which is made writable. Throws BlockError. */
export function* copyDown(graph: BlockGraph, source: BlockBackend, base: BlockNode, options: CopyDownOptions = {}): Co<Errno> {
  assert(source.root?.node.reaches(base) === true, 'copy-down-to-below')
  yield* graph.drainedBegin(base)
  try {
    yield* graph.setReadOnly(base, false)
  } finally {
    graph.drainedEnd(base)
  }
  const target = new BlockBackend(graph, '')
  target.attach(base, Permission.ConsistentRead | Permission.Write | Permission.Resize, Permission.All)
  try {
    return yield* copyAll(graph, source, base, target, options)
  } finally {
    target.dispose()
  }
}

function* copyAll(
  graph: BlockGraph,
  source: BlockBackend,
  base: BlockNode,
  target: BlockBackend,
  { rateBytesPerSecond = 0, onProgress }: CopyDownOptions,
): Co<Errno> {
  const { kernel } = graph
  const top = source.root?.node
  assert(top !== undefined, 'copy-down-has-source')
  const { lengthBytes } = source
  if (target.lengthBytes < lengthBytes) {
    const errno = yield* target.truncate(lengthBytes, false, 'off')
    if (errno !== OK) return errno
  }
  const buffer = graph.allocateBuffer(PIECE_BYTES)
  assert(target.lengthBytes >= lengthBytes && buffer.length === PIECE_BYTES, 'copy-down-fits')
  const startNs = kernel.nowNs()
  let copiedBytes = 0
  for (let at = 0; at < lengthBytes; ) {
    const status = yield* top.blockStatusAbove(base, 'want-zero', at, lengthBytes - at)
    if (status.errno !== OK) return status.errno
    const isAllocated = (status.flags & StatusFlag.Allocated) !== 0
    const isZero = (status.flags & StatusFlag.Zero) !== 0
    const pieceBytes = isAllocated && !isZero ? Math.min(status.bytes, PIECE_BYTES) : status.bytes
    const errno = isAllocated ? yield* copyPiece(source, target, at, pieceBytes, isZero, buffer) : OK
    if (errno !== OK) return errno
    assert(pieceBytes > 0 && at + pieceBytes <= lengthBytes, 'copy-down-moves')
    at += pieceBytes
    onProgress?.(at / lengthBytes)
    if (!isAllocated || rateBytesPerSecond === 0) continue
    copiedBytes += pieceBytes
    const waitNs = startNs + Math.floor((copiedBytes / rateBytesPerSecond) * NS_PER_S) - kernel.nowNs()
    if (waitNs > 0) yield* kernel.sleepNs(waitNs)
  }
  return yield* target.flush()
}

function* copyPiece(
  source: BlockBackend,
  target: BlockBackend,
  atBytes: number,
  lengthBytes: number,
  isZero: boolean,
  buffer: Uint8Array,
): Co<Errno> {
  if (isZero) return yield* target.pwriteZeroes(atBytes, lengthBytes, RequestFlag.MayUnmap)
  const piece = buffer.subarray(0, lengthBytes)
  const errno = yield* source.pread(atBytes, piece)
  return errno === OK ? yield* target.pwrite(atBytes, piece) : errno
}

/** Commits an image to the one right below it, and empties it. ENOTSUP: there is none. Throws BlockError. */
export function* commitDown(graph: BlockGraph, node: BlockNode): Co<Errno> {
  const layer = node.skipFilters()
  const base = layer.backing?.node.skipFilters() ?? null
  if (base === null) return ENOTSUP
  const wasReadOnly = base.options.readOnly
  const source = new BlockBackend(graph, '')
  source.attach(layer, Permission.ConsistentRead, Permission.All)
  try {
    const errno = yield* copyDown(graph, source, base)
    if (errno !== OK) return errno
    const emptied = yield* layer.driver.makeEmpty()
    if (emptied !== OK && emptied !== ENOTSUP) return emptied
    return yield* source.flush()
  } finally {
    source.dispose()
    if (wasReadOnly) {
      yield* graph.drainedBegin(base)
      yield* graph.trySetReadOnly(base, true)
      graph.drainedEnd(base)
    }
  }
}
