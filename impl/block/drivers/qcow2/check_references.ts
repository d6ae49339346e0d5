/**
 * How often every cluster of the file is referred to, counted from the tables: the one truth that refcounts are held against.
 * Only what tables lie at is looked at, never what refcounts say.
 *
 * Bounded: a page of counters exists only where something is referred to, what lies behind the end of the file is not
 * counted, and no L1 table is followed into more tables than the file has clusters.
 */
import { assert } from '../../../co'

const PAGE_ENTRIES = 1024
/** Ranges behind the end of the file; an image that names more is not given new tables. */
const AVOIDED_MAX = 1024

export class ReferenceCounts {
  /** Clusters that are looked at: those of the file, and what was referred to right behind its end. */
  clusters: number
  private readonly countMax: number
  private readonly pages = new Map<number, Uint32Array>()
  private avoided: Array<{ from: number; to: number }> = []
  private latestIndex = -1
  private latest: Uint32Array = new Uint32Array(0)

  constructor(clusters: number, refcountMax: number) {
    assert(clusters >= 0 && refcountMax >= 1, 'reference-counts')
    this.clusters = clusters
    this.countMax = Math.min(refcountMax, 0xffffffff)
  }

  private page(index: number): Uint32Array | null {
    if (index === this.latestIndex) return this.latest
    const page = this.pages.get(index)
    if (page === undefined) return null
    this.latestIndex = index
    this.latest = page
    return page
  }

  get(cluster: number): number {
    const page = this.page(Math.floor(cluster / PAGE_ENTRIES))
    return page === null ? 0 : page[cluster % PAGE_ENTRIES]!
  }

  set(cluster: number, count: number): void {
    assert(cluster >= 0 && count >= 0 && count <= this.countMax, 'reference-count')
    const index = Math.floor(cluster / PAGE_ENTRIES)
    let page = this.page(index)
    if (page === null) {
      page = new Uint32Array(PAGE_ENTRIES)
      this.pages.set(index, page)
      this.latestIndex = index
      this.latest = page
    }
    page[cluster % PAGE_ENTRIES] = count
    if (cluster >= this.clusters) this.clusters = cluster + 1
  }

  /** One reference more; false: it is more than a refcount can say. */
  add(cluster: number): boolean {
    const count = this.get(cluster)
    if (count === this.countMax) return false
    this.set(cluster, count + 1)
    return true
  }

  /** The first cluster in [from, to) that is referred to, or -1. */
  next(from: number, to: number): number {
    assert(from <= to, 'reference-range')
    for (let cluster = from; cluster < to; ) {
      const page = this.page(Math.floor(cluster / PAGE_ENTRIES))
      const pageEnd = Math.min(to, (Math.floor(cluster / PAGE_ENTRIES) + 1) * PAGE_ENTRIES)
      if (page !== null) {
        for (let at = cluster; at < pageEnd; at++) if (page[at % PAGE_ENTRIES] !== 0) return at
      }
      cluster = pageEnd
    }
    return -1
  }

  /** Something refers to clusters behind the end of the file: nothing new may be put there. False: too many to remember. */
  avoid(from: number, to: number): boolean {
    assert(from < to, 'avoided-range')
    if (this.avoided.length >= AVOIDED_MAX) return false
    this.avoided.push({ from, to })
    return true
  }

  private avoidedUntil(cluster: number): number {
    for (const { from, to } of this.avoided) if (cluster >= from && cluster < to) return to
    return 0
  }

  /** The offset, in clusters, of the first `count` neighbours from `from` on that nothing refers to; they are taken. */
  allocate(count: number, from: number): number {
    let found = 0
    let cluster = from
    for (; found < count; cluster++) {
      const end = this.avoided.length === 0 ? 0 : this.avoidedUntil(cluster)
      if (end === 0 && (cluster >= this.clusters || this.get(cluster) === 0)) found++
      else {
        found = 0
        cluster = Math.max(cluster, end - 1)
      }
    }
    const first = cluster - found
    for (let number = 0; number < count; number++) this.set(first + number, 1)
    assert(first >= from, 'reference-allocated')
    return first
  }

  clear(): void {
    this.pages.clear()
    this.avoided = []
    this.latestIndex = -1
  }
}
