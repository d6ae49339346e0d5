/**
 * Checking an image, and putting right what is wrong with it: what `qemu-img check` does and tells. References are counted from
 * the tables (check_tables), refcounts are held against them (check_refcounts), and the flags of entries against refcounts.
 *
 * What may fail: the file, and metadata that cannot be read, as `errno` of the result; everything else is counted in it.
 * Runs under the lock, with nothing else going on in the image.
 */
import { assert, type Co, EFBIG, EIO, type Errno, OK, strerror } from '../../../co'
import type { CheckFix, CheckResult } from '../../driver'
import { BlockError } from '../../error'
import { compareRefcounts, rebuildRefcounts } from './check_refcounts'
import { addResult, CheckRun, emptyResult, entryType, hex } from './check_run'
import { checkSnapshotTable, fixSnapshotTable } from './check_snapshots'
import { countReferences } from './check_tables'
import { encodeWords, type Qcow2Image } from './image'
import { ClusterType, COPIED_HIGH, entryOffset, INCOMPATIBLE_CORRUPT, INCOMPATIBLE_DIRTY, OFFSET_END_BYTES } from './layout'
import { Place } from './overlap'

const INT32_MAX = 0x7fffffff
/** New structures that are made in one repair. */
const REBUILDS_MAX = 4

/** See the head of the file. `tell` gets each line that QEMU prints. */
export function* checkMetadata(image: Qcow2Image, fix: CheckFix, tell: (line: string) => void): Co<CheckResult> {
  assert(image.lock.isLocked, 'check-under-lock')
  const run = new CheckRun(image, fix, tell)
  const sum = emptyResult()
  const snapshots = emptyResult()
  run.found = snapshots
  let errno = yield* checkSnapshotTable(run)
  if (errno === OK) {
    run.found = emptyResult()
    errno = yield* checkRefcounts(run)
    addResult(sum, run.found)
    const { imageEndOffsetBytes, totalClusters, allocatedClusters, fragmentedClusters, compressedClusters } = run.found
    Object.assign(sum, { imageEndOffsetBytes, totalClusters, allocatedClusters, fragmentedClusters, compressedClusters })
    run.found = snapshots
    const tableOffsetBytes = image.header.snapshotsOffsetBytes
    if (errno === OK) errno = yield* fixSnapshotTable(run)
    // Where the old table lay in somebody's cluster, that cluster has one user less now.
    if (errno === OK && image.header.snapshotsOffsetBytes !== tableOffsetBytes) {
      errno = yield* image.refcounts.settle()
      if (errno === OK) errno = yield* checkCopied(run)
    }
  }
  addResult(sum, snapshots)
  if (errno === OK && fix !== 'none' && sum.checkErrors === 0 && sum.corruptions === 0) errno = yield* clearBits(image)
  return { ...sum, errno }
}

/** What was repaired reaches the file; dirty and corrupt bit go. */
function* clearBits(image: Qcow2Image): Co<Errno> {
  let errno = yield* image.metadata.refcounts.writeAll()
  if (errno === OK) errno = yield* image.flushFiles()
  const wanted = image.header.incompatible & ~(INCOMPATIBLE_CORRUPT | INCOMPATIBLE_DIRTY)
  if (errno !== OK || wanted === image.header.incompatible) return errno
  return yield* image.setIncompatible(wanted)
}

function* checkRefcounts(run: CheckRun): Co<Errno> {
  const { image, found } = run
  const { clusterBytes } = image.geometry
  if (run.fileClusters > INT32_MAX) {
    found.checkErrors++
    return EFBIG
  }
  found.totalClusters = Math.ceil(image.header.sizeBytes / clusterBytes)
  let errno = yield* countReferences(run)
  if (errno !== OK) return errno
  const before = { ...found }
  yield* compareRefcounts(run, { errors: false, leaks: false })
  if (run.needsRebuild && run.fixesErrors) errno = yield* rebuild(run)
  else if (run.fixesLeaks) {
    if (run.needsRebuild) {
      run.tell('ERROR need to rebuild refcount structures')
      return EIO
    }
    if (found.leaks > 0 || found.corruptions > 0) {
      Object.assign(found, before)
      yield* compareRefcounts(run, { errors: run.fixesErrors, leaks: run.fixesLeaks })
    }
  }
  if (errno === OK && run.fixesLeaks) errno = yield* image.metadata.refcounts.writeAll()
  if (errno === OK && run.fixesLeaks) errno = yield* image.flushFiles()
  if (errno === OK) errno = yield* checkCopied(run)
  assert(found.leaks >= 0 && found.corruptions >= 0, 'check-counts')
  if (errno === OK) found.imageEndOffsetBytes = (run.highestCluster + 1) * clusterBytes
  return errno
}

/**
 * New refcount structures; the old ones are leaks then, which nobody needs to hear of if leaks are repaired. What lay behind
 * the end of the file may lie in it now that it is longer: then it takes another round.
 */
function* rebuild(run: CheckRun): Co<Errno> {
  const { found } = run
  const old = { ...found }
  let errno = OK
  for (let round = 0; run.needsRebuild && round < REBUILDS_MAX && errno === OK; round++) {
    run.tell('Rebuilding refcount structure')
    errno = yield* rebuildOnce(run)
  }
  if (errno !== OK) return errno
  if (run.needsRebuild) run.tell('ERROR rebuilt refcount structure is still broken')
  found.corruptionsFixed += Math.max(0, old.corruptions - found.corruptions)
  found.leaksFixed += Math.max(0, old.leaks - found.leaks)
  assert(found.corruptionsFixed >= old.corruptionsFixed, 'rebuild-counts')
  return OK
}

function* rebuildOnce(run: CheckRun): Co<Errno> {
  const { found } = run
  let errno = yield* rebuildRefcounts(run)
  if (errno !== OK) {
    run.tell(`ERROR could not rebuild refcount structure: ${strerror(errno)}`)
    return errno
  }
  found.corruptions = 0
  found.leaks = 0
  run.needsRebuild = false
  run.references.clear()
  run.references.clusters = Math.max(run.references.clusters, run.fileClusters)
  // What could be repaired in tables has been; what is left is only counted.
  run.fixesErrors = false
  errno = yield* countReferences(run)
  run.fixesErrors = true
  if (errno !== OK) return errno
  const saved = { ...found }
  yield* compareRefcounts(run, { errors: false, leaks: true })
  assert(run.references.clusters > 0, 'rebuilt-references')
  if (!run.needsRebuild) Object.assign(found, saved)
  return OK
}

/** An entry says that its cluster is used once exactly where the refcount does. */
function* checkCopied(run: CheckRun): Co<Errno> {
  const { image, found } = run
  const isSafe = found.checkErrors === 0 && found.corruptions === 0 && found.leaks === 0
  const repairs = run.fixesErrors || (run.fixesLeaks && isSafe)
  const verb = repairs ? 'Repairing' : 'ERROR'
  for (let index = 0; index * 2 < image.l1.length; index++) {
    const high = image.l1[index * 2]!
    const low = image.l1[index * 2 + 1]!
    const l2OffsetBytes = entryOffset(high, low)
    if (l2OffsetBytes === 0) continue
    if ((yield* run.readRefcount(Math.floor(l2OffsetBytes / image.geometry.clusterBytes))) !== OK) continue
    const refcount = image.refcounts.value
    if ((refcount === 1) !== (high & COPIED_HIGH) < 0) {
      run.corrupt(`${verb} OFLAG_COPIED L2 cluster: l1_index=${index} l1_entry=${hex(high, low)} refcount=${refcount}`)
      if (repairs) {
        image.l1[index * 2] = (refcount === 1 ? high | COPIED_HIGH : high & ~COPIED_HIGH) >>> 0
        const errno = yield* image.writeL1Entry(index)
        if (errno !== OK) {
          found.checkErrors++
          return errno
        }
        found.corruptions--
        found.corruptionsFixed++
      }
    }
    const errno = l2OffsetBytes >= OFFSET_END_BYTES ? OK : yield* checkCopiedTable(run, l2OffsetBytes, repairs, verb)
    if (errno !== OK) return errno
  }
  assert(image.l1.length % 2 === 0, 'l1-words')
  return OK
}

function* checkCopiedTable(run: CheckRun, l2OffsetBytes: number, repairs: boolean, verb: string): Co<Errno> {
  const { image, found } = run
  const { clusterBytes, l2Entries } = image.geometry
  const words = yield* run.readTable(l2OffsetBytes)
  if (words === null) {
    run.tell(`ERROR: I/O error in check_oflag_copied: ${strerror(EIO)}`)
    found.checkErrors++
    return EIO
  }
  let changes = 0
  for (let index = 0; index < l2Entries; index++) {
    const at = index * image.entryWords
    const high = words[at]!
    const low = words[at + 1]!
    if ((high | low) === 0) continue
    const type = entryType(image, high, low)
    if (type !== ClusterType.Normal && type !== ClusterType.ZeroAllocated) continue
    let refcount = 1
    if (!image.hasDataFile) {
      if ((yield* run.readRefcount(Math.floor(entryOffset(high, low) / clusterBytes))) !== OK) continue
      refcount = image.refcounts.value
    }
    if ((refcount === 1) === (high & COPIED_HIGH) < 0) continue
    run.corrupt(`${verb} OFLAG_COPIED data cluster: l2_entry=${hex(high, low)} refcount=${refcount}`)
    if (!repairs) continue
    words[at] = (refcount === 1 ? high | COPIED_HIGH : high & ~COPIED_HIGH) >>> 0
    changes++
  }
  return changes === 0 ? OK : yield* writeTable(run, l2OffsetBytes, words, changes)
}

function* writeTable(run: CheckRun, l2OffsetBytes: number, words: Uint32Array, changes: number): Co<Errno> {
  const { image, found } = run
  const refusal = image.guard(l2OffsetBytes, image.geometry.clusterBytes, Place.ActiveL2)
  if (refusal !== null) {
    const errno = yield* refusal
    run.tell(`ERROR: Could not write L2 table; metadata overlap check failed: ${strerror(errno)}`)
    found.checkErrors++
    return errno
  }
  const errno = yield* image.writeThrough(l2OffsetBytes, encodeWords(words))
  assert(changes > 0, 'table-changed')
  if (errno !== OK) {
    run.tell(`ERROR: Could not write L2 table: ${strerror(errno)}`)
    found.checkErrors++
    return errno
  }
  found.corruptions -= changes
  found.corruptionsFixed += changes
  return OK
}

/** Checks and repairs under the lock; what is in memory is the file's afterwards. Throws BlockError if that fails. */
export function* lockedCheck(
  image: Qcow2Image,
  fix: CheckFix,
  tell: (line: string) => void,
  reload: () => Co<void>,
): Co<CheckResult> {
  yield* image.lock.lock()
  try {
    let errno: Errno = OK
    if (!image.settings.isReadOnly && !image.isBroken) {
      errno = yield* image.refcounts.settle()
      if (errno === OK) errno = yield* image.metadata.writeAll()
      if (errno === OK) errno = yield* image.metadata.refcounts.writeAll()
    }
    if (errno !== OK) return { ...emptyResult(), checkErrors: 1, errno }
    const result = yield* checkMetadata(image, fix, tell)
    if (fix === 'none') return result
    errno = yield* image.refcounts.settle()
    if (errno === OK) errno = yield* image.metadata.writeAll()
    if (errno === OK) errno = yield* image.metadata.refcounts.writeAll()
    if (errno === OK) errno = yield* image.flushFiles()
    if (errno === OK) yield* reload()
    return result.errno === OK ? { ...result, errno } : result
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    return { ...emptyResult(), checkErrors: 1, errno: error.errno }
  } finally {
    image.lock.unlock()
  }
}
