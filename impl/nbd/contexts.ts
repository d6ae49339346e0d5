/**
 * Metadata contexts: what a client may ask of a range besides its content. `base:allocation` says where there are holes and
 * zeroes, `qemu:allocation-depth` which layer holds the data, `qemu:dirty-bitmap:NAME` what a bitmap has recorded.
 *
 * What may fail: the status query of the first extent, as an errno. What never may: an extent of no bytes; an answer that
 * reaches beyond what was asked; more than `EXTENTS_MAX` extents.
 */
import { type DirtyBitmap, StatusFlag } from '../block'
import { assert, type Co, type Errno, type Kernel, OK } from '../co'
import type { NbdExport } from './export'
import { AllocationState, DIRTY_STATE } from './protocol'

/** Ids of contexts: the bitmaps follow in the order of the export. */
const enum ContextId {
  Allocation = 0,
  Depth = 1,
  FirstBitmap = 2,
}

const EXTENTS_MAX = 8192
/** After so many queries, others get their turn. */
const QUERIES_A_TURN = 256

export interface Extent {
  bytes: number
  state: number
}

export interface Context {
  readonly id: number
  readonly name: string
}

/** Everything that can be asked of an export. */
export function contextsOf(exported: NbdExport): Context[] {
  const contexts: Context[] = [{ id: ContextId.Allocation, name: 'base:allocation' }]
  if (exported.allocationDepth) contexts.push({ id: ContextId.Depth, name: 'qemu:allocation-depth' })
  for (const [index, { name }] of exported.bitmaps.entries()) {
    contexts.push({ id: ContextId.FirstBitmap + index, name: `qemu:dirty-bitmap:${name}` })
  }
  return contexts
}

/**
 * The contexts that one query means. A namespace, and the group of bitmaps, stand for all that is in them when contexts are
 * listed; to be selected, a context must be named. What is not known means nothing.
 */
export function matchContexts(contexts: readonly Context[], query: string, isListing: boolean): Context[] {
  const isGroup = query === 'base:' || query === 'qemu:' || query === 'qemu:dirty-bitmap:'
  if (isGroup) return isListing ? contexts.filter(({ name }) => name.startsWith(query)) : []
  return contexts.filter(({ name }) => name === query)
}

/** Collects extents; neighbours in one state are one extent. */
class ExtentList {
  readonly extents: Extent[] = []
  totalBytes = 0

  /** False: no more extents are wanted, and this one was not taken. */
  add(bytes: number, state: number, countMax: number): boolean {
    assert(bytes > 0, 'extent-not-empty')
    const last = this.extents.at(-1)
    if (last !== undefined && last.state === state) last.bytes += bytes
    else if (this.extents.length === countMax) return false
    else this.extents.push({ bytes, state })
    this.totalBytes += bytes
    return true
  }
}

export interface ExtentsAsked {
  readonly exported: NbdExport
  readonly kernel: Kernel
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** One extent is enough. */
  readonly isOne: boolean
}

/** The extents of one context from the start of the range on; they may end before the range does. */
export function* extentsOf(id: number, asked: ExtentsAsked): Co<{ errno: Errno; extents: Extent[] }> {
  const list = new ExtentList()
  assert(asked.lengthBytes > 0, 'extents-asked')
  const countMax = asked.isOne ? 1 : EXTENTS_MAX
  if (id >= ContextId.FirstBitmap) {
    const bitmap = asked.exported.bitmaps[id - ContextId.FirstBitmap]
    assert(bitmap !== undefined, 'context-known', () => String(id))
    addBitmap(list, bitmap.bitmap, asked.offsetBytes, asked.offsetBytes + asked.lengthBytes, countMax)
    return { errno: OK, extents: list.extents }
  }
  for (let queries = 1; list.totalBytes < asked.lengthBytes; queries++) {
    const at = asked.offsetBytes + list.totalBytes
    const leftBytes = asked.lengthBytes - list.totalBytes
    const one =
      id === ContextId.Allocation ? yield* allocation(asked.exported, at, leftBytes) : yield* depth(asked.exported, at, leftBytes)
    if (one.errno !== OK && list.totalBytes === 0) return { errno: one.errno, extents: [] }
    if (one.errno !== OK || !list.add(one.bytes, one.state, countMax)) break
    if (queries % QUERIES_A_TURN === 0) yield* asked.kernel.sleepNs(0)
  }
  return { errno: OK, extents: list.extents }
}

interface OneExtent extends Extent {
  errno: Errno
}

function* allocation(exported: NbdExport, offsetBytes: number, lengthBytes: number): Co<OneExtent> {
  const { errno, flags, bytes } = yield* exported.status('want-zero', offsetBytes, lengthBytes)
  const hole = (flags & StatusFlag.Data) === 0 ? AllocationState.Hole : 0
  const zero = (flags & StatusFlag.Zero) !== 0 ? AllocationState.Zero : 0
  return { errno, bytes, state: hole | zero }
}

function* depth(exported: NbdExport, offsetBytes: number, lengthBytes: number): Co<OneExtent> {
  const { errno, depth: state, bytes } = yield* exported.depth(offsetBytes, lengthBytes)
  return { errno, bytes, state }
}

/** What lies beyond the end of the bitmap is clean. */
function addBitmap(list: ExtentList, bitmap: DirtyBitmap, offsetBytes: number, endBytes: number, countMax: number): void {
  for (let at = offsetBytes; at < endBytes; ) {
    const isDirty = at < bitmap.lengthBytes && bitmap.get(at)
    const next = at >= bitmap.lengthBytes ? -1 : isDirty ? bitmap.nextClean(at) : bitmap.nextDirty(at)
    const stopBytes = next < 0 ? (isDirty ? Math.min(bitmap.lengthBytes, endBytes) : endBytes) : Math.min(next, endBytes)
    assert(stopBytes > at, 'bitmap-progress')
    if (!list.add(stopBytes - at, isDirty ? DIRTY_STATE : 0, countMax)) return
    at = stopBytes
  }
}
