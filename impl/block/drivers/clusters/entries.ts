/**
 * The allocation tables of an image, as pages of its file: a bounded number of them is kept in memory. An entry that is
 * written goes into the file before it is seen here, so that memory never promises what the file does not hold.
 *
 * What may fail: reading and writing the file, as errno. What never may: a page that is older than the file.
 */
import { assert, type Co, type Errno, Mutex, OK } from '../../../co'
import type { BlockChild } from '../../node'

const PAGE_BYTES = 4096
const PAGES_MAX = 256
/** Entries that are read at once past the pages. */
export const STEP_ENTRIES = 8192

export interface EntryForm {
  entryBytes: 4 | 8
  isLittleEndian: boolean
}

/** An entry, or why there is none. */
export interface Entry {
  errno: Errno
  value: bigint
}

export class EntryCache {
  private readonly form: EntryForm
  private readonly file: BlockChild
  private readonly lock: Mutex
  /** By their offset in the file; the one that was used last stands last. */
  private readonly pages = new Map<number, Uint8Array>()

  constructor(file: BlockChild, form: EntryForm) {
    this.file = file
    this.form = form
    this.lock = new Mutex(file.node.kernel, 'the allocation tables')
    assert(PAGE_BYTES % form.entryBytes === 0, 'entries-in-pages')
  }

  /** The entry at a place of the file, which need not be a multiple of anything. What lies beyond the file is 0. */
  *read(offsetBytes: number): Co<Entry> {
    assert(Number.isSafeInteger(offsetBytes) && offsetBytes >= 0, 'entry-offset', () => String(offsetBytes))
    const { entryBytes } = this.form
    const bytes = new Uint8Array(entryBytes)
    const pageAt = offsetBytes - (offsetBytes % PAGE_BYTES)
    for (const at of offsetBytes + entryBytes > pageAt + PAGE_BYTES ? [pageAt, pageAt + PAGE_BYTES] : [pageAt]) {
      let page = this.pages.get(at)
      if (page === undefined) {
        page = new Uint8Array(PAGE_BYTES)
        const errno = yield* this.load(at, page)
        if (errno !== OK) return { errno, value: 0n }
      }
      const first = Math.max(offsetBytes, at)
      const end = Math.min(offsetBytes + entryBytes, at + PAGE_BYTES)
      bytes.set(page.subarray(first - at, end - at), first - offsetBytes)
    }
    return { errno: OK, value: this.decode(bytes) }
  }

  /** Writes an entry through to the file. */
  *write(offsetBytes: number, value: bigint): Co<Errno> {
    const bytes = new Uint8Array(this.form.entryBytes)
    const view = new DataView(bytes.buffer)
    if (bytes.length === 4) view.setUint32(0, Number(value), this.form.isLittleEndian)
    else view.setBigUint64(0, value, this.form.isLittleEndian)
    assert(this.decode(bytes) === value, 'entry-fits', () => String(value))
    return yield* this.writeBytes(offsetBytes, bytes)
  }

  /** Writes a piece of a table, or a whole new one, through to the file. */
  *writeBytes(offsetBytes: number, bytes: Uint8Array): Co<Errno> {
    assert(bytes.length > 0, 'entries-not-empty')
    yield* this.lock.lock()
    const errno = yield* this.file.pwrite(offsetBytes, bytes)
    for (let at = offsetBytes - (offsetBytes % PAGE_BYTES); at < offsetBytes + bytes.length; at += PAGE_BYTES) {
      const page = this.pages.get(at)
      if (page === undefined) continue
      // After an error nobody knows what the file holds: it is asked again.
      if (errno !== OK) this.pages.delete(at)
      else {
        const first = Math.max(offsetBytes, at)
        const end = Math.min(offsetBytes + bytes.length, at + PAGE_BYTES)
        page.set(bytes.subarray(first - offsetBytes, end - offsetBytes), first - at)
      }
    }
    this.lock.unlock()
    return errno
  }

  /** Shows the entries of a table one by one, past what is kept, until `visit` says false. Nobody may write meanwhile. */
  *scan(offsetBytes: number, count: number, visit: (index: number, value: number) => boolean): Co<Errno> {
    for (let first = 0; first < count; first += STEP_ENTRIES) {
      const entries = Math.min(STEP_ENTRIES, count - first)
      const { errno, values } = yield* this.values(offsetBytes + first * this.form.entryBytes, entries)
      if (errno !== OK) return errno
      for (let index = 0; index < entries; index++) if (!visit(first + index, values[index]!)) return OK
    }
    return OK
  }

  /** A few entries from the file. Those of 8 bytes that are too large to count with are only about right. */
  *values(offsetBytes: number, count: number): Co<{ errno: Errno; values: Float64Array }> {
    const { entryBytes, isLittleEndian } = this.form
    assert(count > 0 && count <= STEP_ENTRIES && Number.isSafeInteger(offsetBytes), 'values-range')
    const bytes = new Uint8Array(count * entryBytes)
    const view = new DataView(bytes.buffer)
    const values = new Float64Array(count)
    const errno = yield* this.file.pread(offsetBytes, bytes)
    for (let index = 0; index < count; index++) {
      const at = index * entryBytes
      values[index] = entryBytes === 4 ? view.getUint32(at, isLittleEndian) : Number(view.getBigUint64(at, isLittleEndian))
    }
    return { errno, values }
  }

  /** Whoever writes to the tables past this says so. */
  forget(): void {
    this.pages.clear()
  }

  private decode(bytes: Uint8Array): bigint {
    const view = new DataView(bytes.buffer)
    const { isLittleEndian } = this.form
    return bytes.length === 4 ? BigInt(view.getUint32(0, isLittleEndian)) : view.getBigUint64(0, isLittleEndian)
  }

  /** Under the lock, so that no write of the page comes between its reading and its keeping. */
  private *load(at: number, page: Uint8Array): Co<Errno> {
    yield* this.lock.lock()
    const known = this.pages.get(at)
    let errno: Errno = OK
    if (known !== undefined) page.set(known)
    else {
      errno = yield* this.file.pread(at, page)
      if (errno === OK) this.keep(at, page)
    }
    this.lock.unlock()
    return errno
  }

  private keep(at: number, page: Uint8Array): void {
    if (this.pages.size >= PAGES_MAX) {
      const oldest = this.pages.keys().next()
      assert(oldest.done !== true, 'page-to-evict')
      this.pages.delete(oldest.value)
    }
    this.pages.set(at, page)
    assert(this.pages.size <= PAGES_MAX, 'pages-bounded')
  }
}
