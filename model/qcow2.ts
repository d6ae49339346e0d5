/**
 * Whether a qcow2 file is sound, by the published format alone: every reference leads to a whole cluster, every cluster is
 * counted at least as often as it is referred to, and what says to be the only reference to a cluster is it. A cluster that is
 * counted too often has leaked: space is lost, and nothing else.
 *
 * Bounded by the file: references far behind its end are corruptions, not work.
 */

const MAGIC = 0x514649fb
const DIRTY = 1
const CORRUPT = 2
const DATA_FILE = 4
const EXTENDED_L2 = 16
const COPIED = 0x80000000
const COMPRESSED = 0x40000000
/** How far behind the end of its file an image may refer to clusters that nobody has written to yet. */
const REACH_CLUSTERS = 256

export interface ImageReport {
  /** The first ones, in words; none if the image is sound. */
  corruptions: string[]
  leakedClusters: number
}

const CORRUPTIONS_MAX = 8

export function checkImage(file: Uint8Array): ImageReport {
  const check = new ImageCheck(file)
  check.run()
  return { corruptions: check.corruptions, leakedClusters: check.leakedClusters }
}

class ImageCheck {
  readonly corruptions: string[] = []
  leakedClusters = 0
  private readonly view: DataView
  private readonly lengthBytes: number
  /** In the order of the machine: good for finding zeroes. */
  private readonly words: Int32Array
  private clusterBits = 16
  private clusterBytes = 65536
  private refcountOrder = 4
  private features = 0
  /** References to each cluster of the file and a little behind it. */
  private references = new Uint32Array(0)
  private refcountBlocks = new Float64Array(0)

  constructor(file: Uint8Array) {
    this.view = new DataView(file.buffer, file.byteOffset, file.byteLength)
    this.lengthBytes = file.length
    const isAligned = file.byteOffset % 4 === 0
    const aligned = isAligned ? file : new Uint8Array(file)
    this.words = new Int32Array(aligned.buffer, aligned.byteOffset, aligned.length >> 2)
  }

  private u32(at: number): number {
    return at + 4 <= this.lengthBytes ? this.view.getUint32(at) : 0
  }
  private u64(at: number): number {
    return this.u32(at) * 2 ** 32 + this.u32(at + 4)
  }
  /** Whether an entry of a table is one of those that say nothing, as most of most tables do. False where it is hard to see. */
  private isNull(at: number): boolean {
    const word = at >> 2
    return at % 4 === 0 && this.words[word] === 0 && this.words[word + 1] === 0
  }
  /** The offset in a table entry: bits 9 to 55. */
  private offsetAt(at: number): number {
    return (this.u32(at) & 0x00ffffff) * 2 ** 32 + ((this.u32(at + 4) & 0xfffffe00) >>> 0)
  }
  private bad(text: string): void {
    if (this.corruptions.length < CORRUPTIONS_MAX) this.corruptions.push(text)
  }

  run(): void {
    const version = this.u32(4)
    this.clusterBits = this.u32(20)
    if (this.u32(0) !== MAGIC || this.clusterBits < 9 || this.clusterBits > 21) {
      this.bad('the file does not begin as an image')
      return
    }
    this.clusterBytes = 2 ** this.clusterBits
    this.features = version === 3 ? this.u32(76) : 0
    this.refcountOrder = version === 3 ? this.u32(96) : 4
    if ((this.features & CORRUPT) !== 0) this.bad('the image calls itself corrupt')
    this.references = new Uint32Array(Math.ceil(this.lengthBytes / this.clusterBytes) + REACH_CLUSTERS)
    this.refer(0, this.clusterBytes, 'the header')
    this.readRefcountTable()
    this.readL1()
    // Refcounts of a dirty image are put right when it is opened.
    if ((this.features & DIRTY) === 0) this.compare()
  }

  private refer(offsetBytes: number, lengthBytes: number, what: string): boolean {
    const first = Math.floor(offsetBytes / this.clusterBytes)
    const end = Math.ceil((offsetBytes + lengthBytes) / this.clusterBytes)
    if (end > this.references.length) {
      this.bad(`${what} lies at ${offsetBytes}, far behind the end of the file`)
      return false
    }
    for (let cluster = first; cluster < end; cluster++) this.references[cluster]!++
    return true
  }

  private readRefcountTable(): void {
    const at = this.u64(48)
    const lengthBytes = this.u32(56) * this.clusterBytes
    if (!this.refer(at, lengthBytes, 'the refcount table')) return
    this.refcountBlocks = new Float64Array(lengthBytes / 8)
    for (let entry = 0; entry < lengthBytes; entry += 8) {
      if (this.isNull(at + entry)) continue
      const block = this.u64(at + entry)
      this.refcountBlocks[entry / 8] = block
      if (block === 0) continue
      if (block % this.clusterBytes !== 0) this.bad(`a refcount block lies at ${block}, which is no cluster`)
      else this.refer(block, this.clusterBytes, 'a refcount block')
    }
  }

  private readL1(): void {
    const entries = this.u32(36)
    const at = this.u64(40)
    if (entries === 0 || !this.refer(at, entries * 8, 'the L1 table')) return
    for (let index = 0; index < entries; index++) {
      const entry = at + index * 8
      const table = this.offsetAt(entry)
      if (table === 0) continue
      if (table % this.clusterBytes !== 0) this.bad(`L2 table ${index} lies at ${table}, which is no cluster`)
      else if (this.refer(table, this.clusterBytes, `L2 table ${index}`)) {
        this.checkAlone(table, (this.u32(entry) & COPIED) !== 0, `L2 table ${index}`)
        this.readL2(table, index)
      }
    }
  }

  private readL2(table: number, tableIndex: number): void {
    const entryBytes = (this.features & EXTENDED_L2) !== 0 ? 16 : 8
    const end = Math.min(table + this.clusterBytes, this.lengthBytes)
    for (let at = table; at < end; at += entryBytes) {
      if (this.isNull(at)) continue
      const high = this.u32(at)
      const what = `entry ${(at - table) / entryBytes} of L2 table ${tableIndex}`
      if ((high & COMPRESSED) !== 0) this.readCompressed(at, high, what)
      else this.readEntry(at, high, what)
    }
  }

  private readCompressed(at: number, high: number, what: string): void {
    const offsetBits = 62 - (this.clusterBits - 8)
    const offset = (high & (2 ** (offsetBits - 32) - 1)) * 2 ** 32 + this.u32(at + 4)
    const sectors = ((high & 0x3fffffff) >>> (offsetBits - 32)) + 1
    if ((high & COPIED) !== 0) this.bad(`${what} is compressed and says to be alone`)
    this.refer(offset, sectors * 512 - (offset % 512), what)
  }

  private readEntry(at: number, high: number, what: string): void {
    const offset = this.offsetAt(at)
    // Data in another file has no clusters here.
    if ((this.features & DATA_FILE) !== 0 || offset === 0) return
    if (offset % this.clusterBytes !== 0) this.bad(`${what} leads to ${offset}, which is no cluster`)
    else if (this.refer(offset, this.clusterBytes, what)) this.checkAlone(offset, (high & COPIED) !== 0, what)
  }

  /** An entry says that it is the only one exactly if its cluster is counted once. */
  private checkAlone(offset: number, saysAlone: boolean, what: string): void {
    if ((this.features & DIRTY) !== 0) return
    const count = this.refcountOf(offset / this.clusterBytes)
    if (saysAlone !== (count === 1))
      this.bad(`${what} says ${saysAlone ? '' : 'not '}to be alone, and its cluster is counted ${count} times`)
  }

  private refcountOf(cluster: number): number {
    const bits = 2 ** this.refcountOrder
    const perBlock = (this.clusterBytes * 8) / bits
    const block = this.refcountBlocks[Math.floor(cluster / perBlock)] ?? 0
    if (block === 0) return 0
    const index = cluster % perBlock
    if (bits === 64) return this.u64(block + index * 8)
    if (bits === 32) return this.u32(block + index * 4)
    const at = block + Math.floor((index * bits) / 8)
    // Files end at whole sectors.
    if (at >= this.lengthBytes) return 0
    if (bits === 16) return this.view.getUint16(at)
    return (this.view.getUint8(at) >>> ((index * bits) % 8)) & (2 ** bits - 1)
  }

  private compare(): void {
    for (let cluster = 0; cluster < this.references.length; cluster++) {
      const count = this.refcountOf(cluster)
      const wanted = this.references[cluster]!
      if (count < wanted) this.bad(`cluster ${cluster} is referred to ${wanted} times and counted ${count} times`)
      else if (count > wanted) this.leakedClusters++
    }
  }
}
