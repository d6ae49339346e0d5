/**
 * What lies where in an image file, as far as it is known, and whether a write would destroy it. An image with wrong refcounts
 * or stray entries would otherwise be ruined by the first write; so every write is held against the tables first.
 */
import { assert } from '../../../co'

/** What a place of the file may hold; a bit set. */
export const enum Place {
  None = 0,
  Header = 1,
  ActiveL1 = 2,
  ActiveL2 = 4,
  RefcountBlock = 8,
  RefcountTable = 16,
  SnapshotTable = 32,
  InactiveL1 = 64,
  InactiveL2 = 128,
  BitmapDirectory = 256,
}

/** The templates of the option `overlap-check`: what costs nothing to look at, what is in memory anyway, everything. */
export const OVERLAP_TEMPLATES = {
  none: Place.None,
  constant: Place.Header | Place.ActiveL1 | Place.RefcountTable | Place.SnapshotTable | Place.BitmapDirectory,
  cached: 511 & ~Place.InactiveL2,
  all: 511,
} as const

/** The names of single checks in options (`overlap-check.main-header`), and in messages. */
export const PLACE_NAMES: ReadonlyArray<readonly [place: Place, option: string, text: string]> = [
  [Place.Header, 'main-header', 'qcow2_header'],
  [Place.ActiveL1, 'active-l1', 'active L1 table'],
  [Place.ActiveL2, 'active-l2', 'active L2 table'],
  [Place.RefcountTable, 'refcount-table', 'refcount table'],
  [Place.RefcountBlock, 'refcount-block', 'refcount block'],
  [Place.SnapshotTable, 'snapshot-table', 'snapshot table'],
  [Place.InactiveL1, 'inactive-l1', 'inactive L1 table'],
  [Place.InactiveL2, 'inactive-l2', 'inactive L2 table'],
  [Place.BitmapDirectory, 'bitmap-directory', 'bitmap directory'],
]

/** How a message calls a place. */
export function placeName(place: Place): string {
  return PLACE_NAMES.find(([known]) => known === place)?.[2] ?? 'metadata'
}

const RECENT_MAX = 64

/** Clusters by their offset: sorted, with a short tail of new ones. */
export class OffsetSet {
  private sorted = new Float64Array(0)
  private recent: number[] = []

  /** `offsets` of 0 stand for none. The array, which may have millions of them, is not kept. */
  fill(offsets: ArrayLike<number>): void {
    const wanted: number[] = []
    for (let index = 0; index < offsets.length; index++) if (offsets[index] !== 0) wanted.push(offsets[index]!)
    this.sorted = Float64Array.from(wanted).sort()
    this.recent = []
  }
  add(offsetBytes: number): void {
    assert(offsetBytes > 0, 'offset-set')
    this.recent.push(offsetBytes)
    if (this.recent.length > RECENT_MAX) this.fill([...this.sorted, ...this.recent])
  }
  /** Forgets one offset, if it is there. */
  remove(offsetBytes: number): void {
    const at = this.recent.indexOf(offsetBytes)
    if (at !== -1) {
      this.recent.splice(at, 1)
      return
    }
    const index = this.firstFrom(offsetBytes)
    if (this.sorted[index] !== offsetBytes) return
    this.sorted.copyWithin(index, index + 1)
    this.sorted = this.sorted.subarray(0, this.sorted.length - 1)
  }
  /** Whether one of the offsets lies in [fromBytes, toBytes). */
  hits(fromBytes: number, toBytes: number): boolean {
    assert(fromBytes < toBytes, 'offset-range')
    for (const offset of this.recent) if (offset >= fromBytes && offset < toBytes) return true
    const index = this.firstFrom(fromBytes)
    return index < this.sorted.length && this.sorted[index]! < toBytes
  }
  /** Index of the first sorted offset that is not below `offsetBytes`. */
  private firstFrom(offsetBytes: number): number {
    let low = 0
    let high = this.sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.sorted[middle]! < offsetBytes) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** A table in one piece. */
export interface TableRange {
  offsetBytes: number
  lengthBytes: number
}

/** The places of one image. Its owner keeps the fields up to date. */
export class PlaceMap {
  /** Which places are held against writes. */
  checked: number
  readonly l2Tables = new OffsetSet()
  readonly refcountBlocks = new OffsetSet()
  /** L2 tables of snapshots; filled only where InactiveL2 is checked. */
  readonly inactiveL2Tables = new OffsetSet()
  l1: TableRange = { offsetBytes: 0, lengthBytes: 0 }
  refcountTable: TableRange = { offsetBytes: 0, lengthBytes: 0 }
  snapshotTable: TableRange = { offsetBytes: 0, lengthBytes: 0 }
  bitmapDirectory: TableRange = { offsetBytes: 0, lengthBytes: 0 }
  inactiveL1: TableRange[] = []
  private readonly clusterBytes: number

  constructor(clusterBytes: number, checked: number) {
    assert((checked & ~OVERLAP_TEMPLATES.all) === 0, 'overlap-places')
    this.clusterBytes = clusterBytes
    this.checked = checked
  }

  /** The first checked place, except those in `ignored`, that a write to the range would touch. */
  placeIn(offsetBytes: number, lengthBytes: number, ignored: number): Place {
    assert(offsetBytes >= 0 && lengthBytes > 0, 'overlap-range')
    const clusterBytes = this.clusterBytes
    const wanted = this.checked & ~ignored
    const from = offsetBytes - (offsetBytes % clusterBytes)
    const to = Math.ceil((offsetBytes + lengthBytes) / clusterBytes) * clusterBytes
    if ((wanted & Place.Header) !== 0 && from < clusterBytes) return Place.Header
    if ((wanted & Place.ActiveL1) !== 0 && touches(this.l1, from, to)) return Place.ActiveL1
    if ((wanted & Place.ActiveL2) !== 0 && this.l2Tables.hits(from, to)) return Place.ActiveL2
    if ((wanted & Place.RefcountTable) !== 0 && touches(this.refcountTable, from, to)) return Place.RefcountTable
    if ((wanted & Place.RefcountBlock) !== 0 && this.refcountBlocks.hits(from, to)) return Place.RefcountBlock
    if ((wanted & Place.SnapshotTable) !== 0 && touches(this.snapshotTable, from, to)) return Place.SnapshotTable
    if ((wanted & Place.InactiveL1) !== 0) {
      for (const table of this.inactiveL1) if (touches(table, from, to)) return Place.InactiveL1
    }
    if ((wanted & Place.InactiveL2) !== 0 && this.inactiveL2Tables.hits(from, to)) return Place.InactiveL2
    if ((wanted & Place.BitmapDirectory) !== 0 && touches(this.bitmapDirectory, from, to)) return Place.BitmapDirectory
    return Place.None
  }
}

function touches(table: TableRange, fromBytes: number, toBytes: number): boolean {
  return table.lengthBytes > 0 && table.offsetBytes < toBytes && table.offsetBytes + table.lengthBytes > fromBytes
}
