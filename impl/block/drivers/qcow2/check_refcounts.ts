/**
 * Refcounts held against references: where they differ, the refcount is put right in its block, or all blocks are made anew if
 * some have no place. New blocks and their table lie in clusters that nothing refers to, so that a power cut leaves the old
 * ones until the header names the new ones.
 *
 * What may fail: the file, as an errno.
 */
import { assert, type Co, EFBIG, type Errno, OK, strerror } from '../../../co'
import type { ReferenceCounts } from './check_references'
import type { CheckRun } from './check_run'
import type { Qcow2Image } from './image'
import { type Geometry, REFCOUNT_TABLE_BYTES_MAX, setRefcount } from './layout'
import { Place } from './overlap'

/** Which differences are put right where they are. */
export interface Fixes {
  errors: boolean
  leaks: boolean
}

/** Compares the refcount of every cluster with how often it is referred to. */
export function* compareRefcounts(run: CheckRun, fixes: Fixes): Co<void> {
  const { image, references } = run
  const { refcountBlockEntries } = image.geometry
  const end = references.clusters
  run.highestCluster = 0
  for (let from = 0; from < end; from += refcountBlockEntries) {
    const to = Math.min(from + refcountBlockEntries, end)
    const tableIndex = from / refcountBlockEntries
    const hasBlock = tableIndex < image.refcounts.table.length && image.refcounts.table[tableIndex] !== 0
    assert(Number.isInteger(tableIndex), 'compare-block')
    if (hasBlock) for (let cluster = from; cluster < to; cluster++) yield* compareOne(run, cluster, fixes)
    else {
      for (let cluster = references.next(from, to); cluster !== -1; cluster = references.next(cluster + 1, to)) {
        yield* compareOne(run, cluster, fixes)
      }
    }
  }
}

function* compareOne(run: CheckRun, cluster: number, fixes: Fixes): Co<void> {
  const { image, found } = run
  const known = image.refcounts.known(cluster)
  const errno = known === -1 ? yield* run.readRefcount(cluster) : OK
  if (errno !== OK) {
    run.tell(`Can't get refcount for cluster ${cluster}: ${strerror(errno)}`)
    found.checkErrors++
    return
  }
  const refcount = known === -1 ? image.refcounts.value : known
  const count = run.references.get(cluster)
  if (refcount > 0 || count > 0) run.highestCluster = cluster
  if (refcount === count) return
  assert(refcount >= 0, 'refcount-known')
  const isLeak = refcount > count
  if (refcount === 0) run.needsRebuild = true
  const isFixable = refcount !== 0 && (isLeak ? fixes.leaks : fixes.errors)
  const verb = isFixable ? 'Repairing' : isLeak ? 'Leaked' : 'ERROR'
  run.tell(`${verb} cluster ${cluster} refcount=${refcount} reference=${count}`)
  if (isFixable && (yield* image.refcounts.put(cluster, count)) === OK) {
    if (isLeak) found.leaksFixed++
    else found.corruptionsFixed++
    return
  }
  if (isLeak) found.leaks++
  else found.corruptions++
}

/** Makes new refcount blocks and a new table from the references, and lets the header name it. */
export function* rebuildRefcounts(run: CheckRun): Co<Errno> {
  const { image, references } = run
  if (!run.canRebuild) return EFBIG
  const built = placeRefcounts(references, image.geometry)
  if (built === null) return EFBIG
  assert(built.offsetBytes > 0, 'rebuilt-place')
  const errno = yield* writeBlocks(image, references, image.geometry, built.table)
  if (errno !== OK) {
    run.tell(`ERROR writing refblock: ${strerror(errno)}`)
    return errno
  }
  return yield* image.refcounts.replaceTable(Float64Array.from(built.table), built.offsetBytes)
}

/** A refcount table, and where it is to lie. */
export interface BuiltRefcounts {
  table: number[]
  offsetBytes: number
}

/**
 * Finds places for a new table and its blocks among clusters that nothing refers to, and counts them in. Null: there would
 * be too many.
 */
export function placeRefcounts(references: ReferenceCounts, geometry: Geometry): BuiltRefcounts | null {
  const { clusterBytes, refcountBlockEntries } = geometry
  const entriesPerCluster = clusterBytes / 8
  let table: number[] = []
  /** Places for the blocks of all clusters in use from `from` on; true if the table has become longer. */
  const placeBlocks = (from: number): boolean => {
    let hasGrown = false
    for (let cluster = references.next(from, references.clusters); cluster !== -1; ) {
      const index = Math.floor(cluster / refcountBlockEntries)
      const start = index * refcountBlockEntries
      if (index >= table.length) {
        const entries = Math.ceil((index + 1) / entriesPerCluster) * entriesPerCluster
        table = [...table, ...new Array<number>(entries - table.length).fill(0)]
        hasGrown = true
      }
      if (table[index] === 0) table[index] = references.allocate(1, start) * clusterBytes
      const next = start + refcountBlockEntries
      cluster = next < references.clusters ? references.next(next, references.clusters) : -1
    }
    return hasGrown
  }
  if (Math.ceil(references.clusters / refcountBlockEntries) * 8 > REFCOUNT_TABLE_BYTES_MAX) return null
  placeBlocks(0)
  let offsetBytes = 0
  for (let hasGrown = true; hasGrown; ) {
    const first = references.allocate(table.length / entriesPerCluster, 0)
    offsetBytes = first * clusterBytes
    hasGrown = placeBlocks(first)
  }
  assert(table.length > 0 && table.length % entriesPerCluster === 0, 'placed-table')
  return table.length * 8 > REFCOUNT_TABLE_BYTES_MAX ? null : { table, offsetBytes }
}

/** Writes the blocks of a table whose refcounts are `references`. */
export function* writeBlocks(
  image: Qcow2Image,
  references: ReferenceCounts,
  geometry: Geometry,
  table: readonly number[],
): Co<Errno> {
  const { clusterBytes, refcountBlockEntries, refcountOrder } = geometry
  for (const [index, offsetBytes] of table.entries()) {
    if (offsetBytes === 0) continue
    // Nothing that holds refers to the cluster; stray entries of the old table do not count.
    const refusal = image.guard(offsetBytes, clusterBytes, Place.RefcountBlock | Place.RefcountTable)
    if (refusal !== null) return yield* refusal
    const bytes = new Uint8Array(clusterBytes)
    const from = index * refcountBlockEntries
    const to = Math.max(from, Math.min(from + refcountBlockEntries, references.clusters))
    for (let cluster = references.next(from, to); cluster !== -1; cluster = references.next(cluster + 1, to)) {
      setRefcount(bytes, refcountOrder, cluster - from, references.get(cluster))
    }
    const errno = yield* image.writeThrough(offsetBytes, bytes)
    assert(offsetBytes % clusterBytes === 0, 'block-aligned')
    if (errno !== OK) return errno
  }
  return OK
}
