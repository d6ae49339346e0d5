/**
 * Tables of an image in memory (slices of L2 tables, refcount blocks), and the order in which they go to the file.
 *
 * The rules, and why a power cut costs at worst leaked clusters:
 *  1. A refcount block may be written at any time. Refcounts in memory are never lower than what a table on stable storage
 *     needs, because of rule 3.
 *  2. Before an L2 entry that points to something new is written, the refcounts and the data that it stands for are on
 *     stable storage: all dirty refcount blocks are written and the files are flushed (`l2NeedsBarrier`). With lazy
 *     refcounts the dirty bit of the header stands for the refcounts, and only the data is flushed.
 *  3. What a table has let go is only noted (`Refcounts.free`). The refcount falls, and the cluster can be used again, when
 *     all tables have been written and flushed without it and every transfer that may still touch it has ended.
 *  4. L1 entries, the refcount table and the header are written through. What they point to has been written and flushed
 *     before; they are flushed at the latest by the flush of rule 2 or 3.
 * Hence dependencies never form a cycle: refcounts depend on nothing, L2 tables on refcounts and data, releases on L2 tables.
 *
 * What may fail: the file, as an errno; a table that could not be written stays dirty. All methods that yield are called
 * under the lock of the image; `find` is for everybody.
 */
import { assert, type Co, type Errno, OK } from '../../../co'
import type { BlockChild } from '../../node'

const SECTOR_BYTES = 512
const IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/** Null if a table may be written there; otherwise reports what it would overwrite and gives the errno. */
export type Guard = (offsetBytes: number, lengthBytes: number) => Co<Errno> | null

/** One table, or a slice of one. The object is used again for another table after it was evicted. */
export class Table {
  /** Where it lies in the file; -1: nowhere yet. */
  offsetBytes = -1
  /** As in the file; an L2 slice is not valid in this form, see `words`. */
  readonly bytes: Buffer
  /** The same memory as 32-bit words of the machine, high word first: entry i of an L2 slice starts at word i * 2 or i * 4. */
  readonly words: Uint32Array
  /** What has changed since it was written: [dirtyFrom, dirtyTo) in bytes. */
  dirtyFrom = 0
  dirtyTo = 0
  lastUse = 0

  constructor(tableBytes: number) {
    const memory = new ArrayBuffer(tableBytes)
    this.bytes = Buffer.from(memory)
    this.words = new Uint32Array(memory)
  }
  get isDirty(): boolean {
    return this.dirtyTo > this.dirtyFrom
  }
}

export class TableCache {
  readonly tableBytes: number
  readonly tablesMax: number
  private readonly file: () => BlockChild
  private readonly guard: Guard
  /** L2 entries are numbers in memory, refcount blocks stay bytes. */
  private readonly holdsWords: boolean
  private readonly byOffset = new Map<number, Table>()
  private readonly tables: Table[] = []
  /** Exactly the tables that are dirty. */
  private readonly dirty = new Set<Table>()
  private latest: Table
  private uses = 0
  /** For a table on its way to the file; writes run one after the other, under the lock. */
  private scratch: Buffer | null = null

  constructor(file: () => BlockChild, guard: Guard, tableBytes: number, tablesMax: number, holdsWords: boolean) {
    assert(tableBytes % SECTOR_BYTES === 0 && tablesMax >= 1, 'cache-size', () => `${tablesMax} of ${tableBytes}`)
    this.file = file
    this.guard = guard
    this.tableBytes = tableBytes
    this.tablesMax = tablesMax
    this.holdsWords = holdsWords
    this.latest = new Table(0)
  }

  /** The table at this offset if it is in memory. Valid until the caller yields, or under the lock until the next `get`. */
  find(offsetBytes: number): Table | null {
    const latest = this.latest
    if (latest.offsetBytes === offsetBytes) return latest
    const table = this.byOffset.get(offsetBytes)
    if (table === undefined) return null
    table.lastUse = ++this.uses
    this.latest = table
    return table
  }

  /** Some table that may be given up: a clean one if there is any in the older half, or null if a new one can be made. */
  victim(): Table | null {
    if (this.tables.length < this.tablesMax) return null
    let oldest: Table | null = null
    for (const table of this.tables) {
      if (table === this.latest && this.tables.length > 1) continue
      if (oldest === null || table.lastUse < oldest.lastUse) oldest = table
    }
    assert(oldest !== null, 'cache-has-victim')
    return oldest
  }

  /** Reads a table that is not in memory into the place of `victim`, which is clean. On success `find` gives it. */
  *load(offsetBytes: number, victim: Table | null): Co<Errno> {
    const table = this.take(victim)
    const file = this.file()
    if (file.node.hearsEvents) yield* file.node.debugEvent(this.holdsWords ? 'l2_load' : 'refblock_load')
    const errno = yield* file.pread(offsetBytes, table.bytes)
    if (errno !== OK) {
      table.lastUse = 0
      return errno
    }
    if (this.holdsWords && IS_LITTLE_ENDIAN) table.bytes.swap32()
    this.put(table, offsetBytes)
    return OK
  }

  /** A table of zeroes in the place of `victim`. It is clean: the caller has written it, or marks it dirty. */
  create(offsetBytes: number, victim: Table | null): Table {
    const table = this.take(victim)
    table.bytes.fill(0)
    this.put(table, offsetBytes)
    return table
  }

  private take(victim: Table | null): Table {
    if (victim === null) {
      const table = new Table(this.tableBytes)
      this.tables.push(table)
      return table
    }
    assert(!victim.isDirty, 'victim-clean')
    this.byOffset.delete(victim.offsetBytes)
    victim.offsetBytes = -1
    return victim
  }

  private put(table: Table, offsetBytes: number): void {
    assert(!this.byOffset.has(offsetBytes), 'table-once', () => String(offsetBytes))
    table.offsetBytes = offsetBytes
    table.lastUse = ++this.uses
    this.byOffset.set(offsetBytes, table)
    this.latest = table
  }

  markDirty(table: Table, fromBytes: number, toBytes: number): void {
    assert(table.offsetBytes !== -1 && toBytes <= this.tableBytes && fromBytes < toBytes, 'dirty-range')
    this.dirty.add(table)
    if (table.isDirty) {
      table.dirtyFrom = Math.min(table.dirtyFrom, fromBytes)
      table.dirtyTo = Math.max(table.dirtyTo, toBytes)
    } else {
      table.dirtyFrom = fromBytes
      table.dirtyTo = toBytes
    }
  }

  /** True if some table has to be written. */
  hasDirty(): boolean {
    return this.dirty.size > 0
  }

  /** Writes what has changed in a table, in whole blocks of the file. */
  *write(table: Table): Co<Errno> {
    const file = this.file()
    const unitBytes = Math.min(Math.max(SECTOR_BYTES, file.node.limits.requestAlignmentBytes), this.tableBytes)
    const { dirtyFrom, dirtyTo } = table
    const refusal = this.guard(table.offsetBytes, this.tableBytes)
    if (refusal !== null) return yield* refusal
    assert(table.isDirty && table.offsetBytes >= 0, 'write-dirty')
    const from = dirtyFrom - (dirtyFrom % unitBytes)
    const to = Math.min(Math.ceil(dirtyTo / unitBytes) * unitBytes, this.tableBytes)
    this.scratch ??= Buffer.from(new ArrayBuffer(this.tableBytes))
    const encoded = this.scratch.subarray(from, to)
    encoded.set(table.bytes.subarray(from, to))
    if (this.holdsWords && IS_LITTLE_ENDIAN) encoded.swap32()
    // Changes that come while this is being written make the table dirty again.
    table.dirtyFrom = 0
    table.dirtyTo = 0
    this.dirty.delete(table)
    const errno = yield* file.pwrite(table.offsetBytes + from, encoded)
    if (errno !== OK) this.markDirty(table, from, to)
    return errno
  }

  /** Writes all dirty tables in the order of the file. The error that is reported is the first one. */
  *writeAll(): Co<Errno> {
    if (this.dirty.size === 0) return OK
    const dirty = [...this.dirty].sort((left, right) => left.offsetBytes - right.offsetBytes)
    for (const table of dirty) {
      const errno = yield* this.write(table)
      if (errno !== OK) return errno
    }
    return OK
  }

  /** Forgets the tables of a range whose clusters are being given up, dirty or not. */
  forget(offsetBytes: number, lengthBytes: number): void {
    assert(offsetBytes % this.tableBytes === 0 && lengthBytes % this.tableBytes === 0, 'forget-range')
    for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += this.tableBytes) {
      const table = this.byOffset.get(at)
      if (table !== undefined) this.drop(table)
    }
  }

  private drop(table: Table): void {
    this.byOffset.delete(table.offsetBytes)
    this.dirty.delete(table)
    table.offsetBytes = -1
    table.dirtyFrom = 0
    table.dirtyTo = 0
    table.lastUse = 0
  }

  /** Forgets everything, dirty or not: other tables have taken its place. */
  dropAll(): void {
    for (const table of this.tables) if (table.offsetBytes !== -1) this.drop(table)
  }

  /** Forgets everything, which must be clean: the file has been changed by somebody else. */
  clear(): void {
    assert(!this.hasDirty(), 'clear-clean')
    for (const table of this.tables) if (table.offsetBytes !== -1) this.drop(table)
  }
}

/** Both caches of an image and rule 2 of the order of writing. */
export class Metadata {
  readonly l2: TableCache
  readonly refcounts: TableCache
  /** An L2 table in memory points to something whose refcount or data may not be on stable storage yet. */
  l2NeedsBarrier = false
  /** Refcounts need not be written before L2 tables: the dirty bit is set. */
  hasLazyRefcounts = false
  private readonly flushFiles: () => Co<Errno>

  constructor(l2: TableCache, refcounts: TableCache, flushFiles: () => Co<Errno>) {
    this.l2 = l2
    this.refcounts = refcounts
    this.flushFiles = flushFiles
  }

  /** Makes everything stable that L2 tables in memory point to. */
  private *barrier(): Co<Errno> {
    if (!this.l2NeedsBarrier) return OK
    if (!this.hasLazyRefcounts) {
      const errno = yield* this.refcounts.writeAll()
      if (errno !== OK) return errno
    }
    const errno = yield* this.flushFiles()
    if (errno === OK) this.l2NeedsBarrier = false
    return errno
  }

  /** Writes all tables, in the order of the rules. They are stable after the next flush of the file. */
  *writeAll(): Co<Errno> {
    const errno = this.hasLazyRefcounts ? OK : yield* this.refcounts.writeAll()
    return errno === OK ? yield* this.writeL2() : errno
  }

  *writeL2(): Co<Errno> {
    if (!this.l2.hasDirty()) return OK
    const errno = yield* this.barrier()
    return errno === OK ? yield* this.l2.writeAll() : errno
  }

  /** Brings an L2 slice into memory; `l2.find` gives it then. */
  *loadL2(offsetBytes: number): Co<Errno> {
    if (this.l2.find(offsetBytes) !== null) return OK
    const victim = this.l2.victim()
    const errno = victim === null ? OK : yield* this.cleanL2(victim)
    return errno === OK ? yield* this.l2.load(offsetBytes, victim) : errno
  }

  *loadRefcounts(offsetBytes: number): Co<Errno> {
    if (this.refcounts.find(offsetBytes) !== null) return OK
    const victim = this.refcounts.victim()
    const errno = victim?.isDirty ? yield* this.refcounts.write(victim) : OK
    return errno === OK ? yield* this.refcounts.load(offsetBytes, victim) : errno
  }

  /** Makes room for a table to be created. */
  *cleanL2(victim: Table): Co<Errno> {
    if (!victim.isDirty) return OK
    const errno = yield* this.barrier()
    return errno === OK && victim.isDirty ? yield* this.l2.write(victim) : errno
  }

  /** A new, empty refcount block. */
  *createRefcounts(offsetBytes: number): Co<Errno> {
    const victim = this.refcounts.victim()
    const errno = victim?.isDirty ? yield* this.refcounts.write(victim) : OK
    if (errno !== OK) return errno
    this.refcounts.markDirty(this.refcounts.create(offsetBytes, victim), 0, this.refcounts.tableBytes)
    return OK
  }

  /** An L2 slice of zeroes that the file holds already. */
  *adoptL2(offsetBytes: number): Co<Errno> {
    const victim = this.l2.victim()
    const errno = victim === null ? OK : yield* this.cleanL2(victim)
    if (errno === OK) this.l2.create(offsetBytes, victim)
    return errno
  }
}
