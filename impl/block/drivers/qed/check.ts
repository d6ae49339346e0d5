/**
 * The check of `qed` images: which clusters of the file are in use, and whether twice. Entries that lead nowhere can be
 * emptied; clusters that nobody uses stay.
 *
 * What may fail: the file, as errno of the result; EFBIG for a file with more clusters than are kept track of.
 */
import { assert, type Co, EFBIG, type Errno, OK } from '../../../co'
import type { CheckResult } from '../../driver'
import type { BlockChild } from '../../node'
import { STEP_ENTRIES } from '../clusters/entries'
import type { QedDriver } from './driver'

const ENTRY_BYTES = 8
const CLUSTERS_MAX = 2 ** 31

export function* checkQed(driver: QedDriver, file: BlockChild, repairs: boolean): Co<CheckResult> {
  const { clusterBytes, header } = driver
  const clusters = Math.floor(file.node.lengthBytes / clusterBytes)
  const check = new QedCheck(driver, clusters, repairs)
  if (clusters > CLUSTERS_MAX) return { ...check.result, errno: EFBIG }
  const errno = yield* check.run()
  const { corruptionsFixed, allocatedClusters, fragmentedClusters } = check.result
  assert((repairs || corruptionsFixed === 0) && fragmentedClusters <= allocatedClusters, 'qed-checked')
  for (let cluster = header.headerClusters; cluster < clusters; cluster++) if (!check.isUsed(cluster)) check.result.leaks++
  return { ...check.result, errno }
}

class QedCheck {
  readonly result: CheckResult
  private readonly driver: QedDriver
  private readonly clusters: number
  private readonly repairs: boolean
  private readonly used: Uint8Array

  constructor(driver: QedDriver, clusters: number, repairs: boolean) {
    this.driver = driver
    this.clusters = clusters
    this.repairs = repairs
    this.used = new Uint8Array(clusters > CLUSTERS_MAX ? 0 : Math.ceil(clusters / 8))
    this.result = {
      ...{ errno: OK as Errno, corruptions: 0, leaks: 0, checkErrors: 0, corruptionsFixed: 0, leaksFixed: 0 },
      ...{ imageEndOffsetBytes: 0, allocatedClusters: 0, fragmentedClusters: 0, compressedClusters: 0 },
      totalClusters: Math.ceil(driver.lengthBytes() / driver.clusterBytes),
    }
  }

  isUsed(cluster: number): boolean {
    return (this.used[cluster >>> 3]! & (1 << (cluster & 7))) !== 0
  }
  /** Marks clusters of the file; false, and a corruption, if one was in use already. */
  private use(offsetBytes: number, lengthBytes: number): boolean {
    const first = offsetBytes / this.driver.clusterBytes
    const end = first + lengthBytes / this.driver.clusterBytes
    assert(Number.isInteger(first) && end <= this.clusters, 'qed-use-range')
    let isFree = true
    for (let cluster = first; cluster < end; cluster++) {
      if (this.isUsed(cluster)) isFree = false
      this.used[cluster >>> 3]! |= 1 << (cluster & 7)
    }
    if (!isFree) this.result.corruptions++
    return isFree
  }

  *run(): Co<Errno> {
    const { driver } = this
    this.use(driver.header.tableOffsetBytes, driver.tableBytes)
    return yield* this.walk(driver.header.tableOffsetBytes, (tableAt) => this.table(tableAt))
  }

  /** Shows each entry of a table that is not empty; null: it stays as it is, false: it leads nowhere. */
  private *walk(tableAt: number, visit: (value: number) => Co<Errno | 'invalid'>): Co<Errno> {
    const { tables, entries } = this.driver
    assert(entries > 0 && tableAt % this.driver.clusterBytes === 0, 'qed-walk-table')
    for (let first = 0; first < entries; first += STEP_ENTRIES) {
      const count = Math.min(STEP_ENTRIES, entries - first)
      const { errno, values } = yield* tables.values(tableAt + first * ENTRY_BYTES, count)
      if (errno !== OK) return errno
      for (let index = 0; index < count; index++) {
        if (values[index] === 0) continue
        const outcome = yield* visit(values[index]!)
        const failed = outcome === 'invalid' ? yield* this.drop(tableAt + (first + index) * ENTRY_BYTES) : outcome
        if (failed !== OK) return failed
      }
    }
    return OK
  }
  private *drop(entryAt: number): Co<Errno> {
    assert(entryAt % ENTRY_BYTES === 0, 'qed-drop-entry')
    if (this.repairs) this.result.corruptionsFixed++
    else this.result.corruptions++
    return this.repairs ? yield* this.driver.tables.write(entryAt, 0n) : OK
  }

  private *table(tableAt: number): Co<Errno | 'invalid'> {
    if (!this.driver.isTableAt(tableAt)) return 'invalid'
    // What it holds was counted where it was used first.
    if (!this.use(tableAt, this.driver.tableBytes)) return OK
    const { clusterBytes } = this.driver
    let lastBytes = 0
    const { result } = this
    const data = function* (this: QedCheck, offsetBytes: number): Co<Errno | 'invalid'> {
      if (offsetBytes === 1) return OK
      result.allocatedClusters++
      if (lastBytes !== 0 && offsetBytes !== lastBytes + clusterBytes) result.fragmentedClusters++
      lastBytes = offsetBytes
      if (!this.driver.isClusterAt(offsetBytes)) return 'invalid'
      this.use(offsetBytes, clusterBytes)
      return OK
    }
    return yield* this.walk(tableAt, data.bind(this))
  }
}
