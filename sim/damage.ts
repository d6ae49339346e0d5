/**
 * Images that somebody has damaged: the source's image is made, single fields of it are changed, and then it is opened and
 * used by the guest's operations. It may be refused in words, give errors, or work; an exception, an endless loop or memory
 * that only the image asks for is a failure. No mirror, no device, no time.
 */
import {
  addBitmap,
  BlockBackend,
  BlockError,
  BlockGraph,
  type BlockNode,
  type CheckFix,
  type CheckResult,
  type NewSnapshot,
  Permission,
  RequestFlag,
  removeBitmap,
} from '../impl/block'
import { PORTABLE_CODECS } from '../impl/block/codec_portable'
import { openQcow2, type Qcow2Driver, type Qcow2OpenOptions } from '../impl/block/drivers/qcow2'
import { type Co, describeWait, type Errno, Kernel, makeLabel, OK, strerror } from '../impl/co'
import { BriefRun, runBriefly } from './brief_run'
import type { BriefWatcher } from './brief_watch'
import { VirtualClockwork } from './clockwork'
import { dullDecider } from './decider'
import { SimDisk } from './disk'
import { makeImage } from './fresh_open'
import { emptyStores } from './image'
import { type ImageParts, openImageNodes, plainDriver } from './image_nodes'
import { MemoryGauge } from './memory_gauge'
import { type DamagePlan, type DamageUsePlan, type GuestOperation, type Plan, SECTOR_BYTES } from './plan'
import type { BufferPool } from './pool'
import type { DiskStore } from './store'
import type { WorldEnd, WorldResult } from './verdict'
import { errorText } from './watch'

const USER = makeLabel('user')
/** Far beyond what any sound image needs for so few operations. */
const STEPS_MAX = 200_000
/** A damaged image may say that it is larger than any disk; that much of it is used. */
const USED_MAX_BYTES = 2 ** 40
const ENTRY_BYTES = 8
/** Repairs that an image may take. */
const REPAIRS_MAX = 4
/** What opening, checking and using an image may need of memory, whatever the image says of itself. */
export const IMAGE_MEMORY_MAX_BYTES = 256 * 2 ** 20
/** Read of a snapshot. */
const SHOWN_BYTES = 65536
/** Of the snapshots that are made here: fixed part, extra data, id and name of a few bytes. */
const SNAPSHOT_ENTRY_BYTES = 72
const BITMAPS_EXTENSION = 0x23852875

type TableRange = readonly [startBytes: number, lengthBytes: number]

/** `memoryInUse`: bytes in use now, to judge by what the image makes us ask for; absent: nobody looks. */
export function runDamaged(plan: Plan, memoryInUse: () => number = () => 0, eye: BriefWatcher | null = null): WorldResult {
  return runBriefly('harness/damage', (pool) => new DamagedRun(plan, pool, memoryInUse, eye))
}

class DamagedRun extends BriefRun {
  private readonly memoryInUse: () => number
  private gauge: MemoryGauge | null = null
  private file: DiskStore | null = null
  /** Pictures taken: there is no time here. */
  private moments = 0

  constructor(plan: Plan, pool: BufferPool, memoryInUse: () => number, eye: BriefWatcher | null) {
    super(plan, pool, eye)
    this.memoryInUse = memoryInUse
  }

  run(): void {
    const { source, damage } = this.plan
    const format = source.format!
    const stores = emptyStores('source', source, format, this.pool)
    makeImage(stores, source, format)
    this.furnish(stores.file)
    this.file = stores.file
    this.say('the image is sound')
    const fields = new ImageFields(stores.file)
    for (const change of damage ?? []) {
      fields.damage(change)
      this.say(`${change.id}: ${damageText(change)}`)
    }
    const gauge = new MemoryGauge(this.memoryInUse)
    this.gauge = gauge
    this.toTheEnd((graph) => this.use(graph, stores.file))
    this.trace.mix(this.operationsDone)
    if (gauge.peakBytes <= IMAGE_MEMORY_MAX_BYTES) return
    const text = `the image makes us ask for ${gauge.peakBytes} bytes of memory, more than ${IMAGE_MEMORY_MAX_BYTES}`
    this.found('invariant', 'image/memory', new Error(text))
  }

  /** For those who film: a moment of its own for whatever happens. */
  private say(text: string): void {
    const { eye, file, trace } = this
    if (eye === null || file === null) return
    this.moments++
    eye.line(this.moments, 'image', text)
    const job = { jobStatus: 'none', jobOffsetBytes: 0, jobLengthBytes: 0, mirror: null }
    eye.step(this.moments, trace.timeNs, { ...job, kernel: null, guestDisk: 'image', disks: { kind: 'file', file } })
  }

  private toTheEnd(body: (graph: BlockGraph) => Co<void>): void {
    const clockwork = new VirtualClockwork(dullDecider)
    const kernel = new Kernel(clockwork)
    kernel.spawn(body(new BlockGraph(kernel)), USER)
    let steps = 0
    while (clockwork.nextNs() !== Infinity && kernel.failure === null && steps++ < STEPS_MAX) {
      clockwork.step(kernel, clockwork.nextNs())
      this.gauge?.sample()
    }
    if (steps > STEPS_MAX) this.found('liveness', 'liveness/too-many-events', new Error(`no end after ${steps} events`))
    else if (kernel.failure !== null) this.crashed(kernel.failure.error)
    else if (kernel.live.size > 0)
      this.found('liveness', 'liveness/stuck', new Error([...kernel.live].map(describeWait).join('; ')))
  }

  /** Gives the sound image its snapshots and bitmaps. */
  private furnish(file: DiskStore): void {
    const { snapshots, bitmaps } = this.plan.damageUse ?? { snapshots: 0, bitmaps: 0 }
    if (snapshots + bitmaps > 0) this.toTheEnd((graph) => furnishImage(graph, this.parts(file, false), snapshots, bitmaps))
  }

  private parts(file: DiskStore, readOnly: boolean): ImageParts<Qcow2Driver> {
    const { source } = this.plan
    return {
      name: 'image',
      stores: { file, dataFile: null, backing: null },
      format: source.format!,
      options: { readOnly, discard: 'unmap' },
      makeDisk: (store) => new SimDisk(store, source, null, null, null),
      makeDriver: plainDriver,
    }
  }

  private *use(graph: BlockGraph, file: DiskStore): Co<void> {
    const { guest, destination, damageUse } = this.plan
    const readOnly = destination.node.readOnly === true
    try {
      const { check = 'skip' } = damageUse ?? {}
      if (check !== 'skip') yield* this.check(graph, file, check)
      if (damageUse?.snapshotUse === 'show') yield* this.show(graph, file)
      const parts = this.parts(file, readOnly)
      const opened = yield* openImageNodes(graph, parts)
      this.say(`opened${readOnly ? ' to be read only' : ''}: a disk of ${opened.node.lengthBytes} bytes`)
      if (damageUse !== undefined && !readOnly) yield* this.useMore(opened.node, damageUse)
      const backend = new BlockBackend(graph, 'user')
      backend.attach(opened.node, Permission.ConsistentRead | (readOnly ? 0 : Permission.Write), Permission.All)
      let failures = 0
      for (const operation of guest) if ((yield* this.operate(backend, opened.node, operation, readOnly)) !== OK) failures++
      this.count(failures > 0 ? 'image/gives-errors' : 'image/works')
      backend.dispose()
      yield* opened.close()
      this.say('closed')
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      if (error.message === '') this.found('protocol', 'image/refused-without-words', error)
      this.trace.mixText(error.message)
      this.say(`refused: ${error.message}`)
      this.count('image/refused')
    }
  }

  /**
   * A check, and after a repair that says that all is well another one, which must agree. Tables that lie in each other may
   * take a few repairs: each changes what another one means.
   */
  private *check(graph: BlockGraph, file: DiskStore, fix: CheckFix): Co<void> {
    let text = ''
    for (let round = 0; round < REPAIRS_MAX; round++) {
      const result = yield* checkOnce(graph, this.parts(file, fix === 'none'), fix)
      this.trace.mix(result.errno)
      this.trace.mix(result.corruptions + result.leaks + result.checkErrors)
      this.say(`check, repairs ${fix}: ${checkText(result)}`)
      if (round === 0) this.count(result.errno === OK ? 'image/checked' : 'image/not-checked')
      if (fix !== 'all' || result.errno !== OK || result.corruptions + result.checkErrors > 0) return
      const { errno, corruptions, leaks, checkErrors } = yield* checkOnce(graph, this.parts(file, true), 'none')
      if (errno + corruptions + leaks + checkErrors === 0) {
        this.count('image/repaired')
        return
      }
      text = `a repaired image has ${corruptions} corruptions, ${leaks} leaks, ${checkErrors} errors (${errno})`
    }
    this.found('protocol', 'image/repair-incomplete', new Error(text))
  }

  /** Reads the start of the first snapshot, which may not be there. */
  private *show(graph: BlockGraph, file: DiskStore): Co<void> {
    const wanted = { readOnly: true, snapshot: '1' }
    const buffer = this.pool.take(SHOWN_BYTES)
    try {
      const errno = yield* withDriver(graph, this.parts(file, true), wanted, ({ node }) => readStart(graph, node, buffer))
      this.count(errno === OK ? 'image/snapshot-shown' : 'image/snapshot-fails')
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      this.count('image/snapshot-refused')
    }
  }

  private *useMore(node: BlockNode, { snapshotUse, bitmapUse }: DamageUsePlan): Co<void> {
    const { driver } = node
    const name = driver.snapshots()?.at(-1)?.name ?? 'none'
    let errno: Errno = OK
    if (snapshotUse === 'create') errno = yield* driver.snapshotCreate(newSnapshot('late'))
    if (snapshotUse === 'apply') errno = yield* driver.snapshotApply(name)
    if (snapshotUse === 'delete' && name !== 'none') errno = yield* driver.snapshotDelete(null, name)
    if (bitmapUse === 'add') yield* addBitmap(node, { name: 'late', persistent: true })
    const first = node.namedBitmaps.keys().next().value
    if (bitmapUse === 'remove' && first !== undefined) yield* removeBitmap(node, first)
    this.trace.mix(errno)
    this.say(`snapshot: ${snapshotUse}, bitmap: ${bitmapUse}: ${outcomeText(errno)}`)
  }

  private *operate(backend: BlockBackend, node: BlockNode, operation: GuestOperation, readOnly: boolean): Co<Errno> {
    const { kind, lengthBytes } = operation
    const endBytes = Math.min(node.lengthBytes, USED_MAX_BYTES)
    // The image may be shorter than it was, or much longer: then its end is used, too.
    const at =
      operation.unmap === true && endBytes > lengthBytes ? endBytes - lengthBytes : Math.min(operation.offsetBytes, endBytes)
    const bytes = Math.min(lengthBytes, endBytes - at)
    let errno: Errno = OK
    if (kind === 'flush' || bytes <= 0) errno = yield* backend.flush()
    else if (kind === 'read' || readOnly) {
      errno = (yield* node.blockStatus('want-zero', at, bytes)).errno
      const readErrno = yield* backend.pread(at, this.pool.take(bytes))
      if (errno === OK) errno = readErrno
    } else if (kind === 'write') errno = yield* backend.pwrite(at, this.pool.take(bytes).fill(this.operationsDone + 1))
    else if (kind === 'discard') errno = yield* backend.pdiscard(at, bytes)
    else errno = yield* backend.pwriteZeroes(at, bytes, operation.unmap === true ? RequestFlag.MayUnmap : 0)
    this.operationsDone++
    this.trace.begin(this.operationsDone)
    this.trace.mix(errno)
    this.trace.end(0)
    this.say(`${operation.id}: ${kind} ${at}+${Math.max(0, bytes)}: ${outcomeText(errno)}`)
    return errno
  }

  protected override crashed(error: unknown): void {
    // A file that grows without bound is refused by the disk below, in its own words.
    if (error instanceof Error && error.message.startsWith('the file of the source grows to')) this.count('image/runs-wild')
    else super.crashed(error)
    this.say(`breaks down: ${errorText(error)}`)
  }

  protected countFaults(): Record<string, number> {
    return {}
  }
  protected endFacts(): Partial<WorldEnd> {
    return { memoryBytesMax: this.gauge?.peakBytes ?? 0 }
  }
}

function outcomeText(errno: Errno): string {
  return errno === OK ? 'done' : strerror(errno)
}

function damageText({ target, index, widthBytes, value }: DamagePlan): string {
  return target === 'length' ? `the file is cut, by ${index}` : `${target}, field ${index} of ${widthBytes} bytes: 0x${value}`
}

function checkText({ errno, corruptions, leaks, checkErrors }: CheckResult): string {
  return errno === OK ? `${corruptions} corruptions, ${leaks} leaks, ${checkErrors} errors` : strerror(errno)
}

function newSnapshot(name: string): NewSnapshot {
  return { name, dateSeconds: 1, dateNanoseconds: 0, vmClockNs: 0n, vmStateBytes: 0, icount: null }
}

function* furnishImage(graph: BlockGraph, parts: ImageParts<Qcow2Driver>, snapshots: number, bitmaps: number): Co<void> {
  const opened = yield* openImageNodes(graph, parts)
  for (let number = 0; number < bitmaps; number++) {
    const granularityBytes = number === 0 ? SECTOR_BYTES : 65536
    yield* addBitmap(opened.node, { name: `b${number}`, persistent: true, granularityBytes })
  }
  const backend = new BlockBackend(graph, 'furnisher')
  backend.attach(opened.node, Permission.ConsistentRead | Permission.Write, Permission.All)
  // A refcount of one bit cannot share: there is no snapshot then.
  for (let number = 0; number < snapshots; number++) {
    yield* opened.driver.snapshotCreate(newSnapshot(`s${number}`))
    yield* backend.pwrite(0, new Uint8Array(SECTOR_BYTES).fill(number + 1))
  }
  backend.dispose()
  yield* opened.close()
}

/** Opens the image for a check and closes it. Throws BlockError where even that is refused. */
function checkOnce(graph: BlockGraph, parts: ImageParts<Qcow2Driver>, fix: CheckFix): Co<CheckResult> {
  return withDriver(graph, parts, { readOnly: fix === 'none', forCheck: true }, (driver) => driver.checkImage(fix, () => {}))
}

/** Opens the image in its own way, and closes it whatever happens. */
function* withDriver<T>(
  graph: BlockGraph,
  { options, stores, makeDisk }: ImageParts<Qcow2Driver>,
  wanted: Partial<Qcow2OpenOptions>,
  body: (driver: Qcow2Driver) => Co<T>,
): Co<T> {
  const file = graph.addNode({ name: 'other-file', driver: makeDisk(stores.file), options })
  const nodes = [file]
  // What is no refusal ends the run: nobody could wait for what it has left undone.
  const close = function* (): Co<void> {
    for (const node of nodes.reverse()) yield* graph.removeNode(node)
  }
  let result: T
  try {
    const driver = yield* openQcow2(file, { codecs: PORTABLE_CODECS, ...wanted })
    const children = [{ name: 'file', role: 'image' as const, node: file }]
    nodes.push(graph.addNode({ name: 'other', driver, children, options }))
    yield* driver.start(null)
    result = yield* body(driver)
  } catch (error) {
    if (error instanceof BlockError) yield* close()
    throw error
  }
  yield* close()
  return result
}

function* readStart(graph: BlockGraph, node: BlockNode, buffer: Uint8Array): Co<Errno> {
  const backend = new BlockBackend(graph, 'shower')
  backend.attach(node, Permission.ConsistentRead, Permission.All)
  const errno = yield* backend.pread(0, buffer.subarray(0, Math.min(buffer.length, node.lengthBytes)))
  backend.dispose()
  return errno
}

/** Where the fields of an undamaged image are. */
class ImageFields {
  private readonly store: DiskStore
  private readonly view: DataView
  private readonly tables: Record<Exclude<DamagePlan['target'], 'length'>, TableRange>

  constructor(store: DiskStore) {
    this.store = store
    const { bytes, lengthBytes } = store
    const view = new DataView(bytes.buffer, bytes.byteOffset, lengthBytes)
    this.view = view
    const at = (offsetBytes: number): number => Number(view.getBigUint64(offsetBytes) & 0x00fffffffffffe00n)
    const clusterBytes = 2 ** view.getUint32(20)
    const headerBytes = view.getUint32(4) === 2 ? 72 : view.getUint32(100)
    const l1Bytes = view.getUint32(36) * ENTRY_BYTES
    const l1At = Number(view.getBigUint64(40))
    const refcountTableAt = Number(view.getBigUint64(48))
    const firstOf = (tableAt: number, tableBytes: number): number => {
      for (let entry = tableAt; entry < tableAt + tableBytes; entry += ENTRY_BYTES) if (at(entry) !== 0) return at(entry)
      return tableAt
    }
    this.tables = {
      header: [0, headerBytes],
      extensions: [headerBytes, Math.min(clusterBytes - headerBytes, 256)],
      l1: [l1At, Math.max(l1Bytes, ENTRY_BYTES)],
      l2: [firstOf(l1At, l1Bytes), clusterBytes],
      'refcount-table': [refcountTableAt, 4 * ENTRY_BYTES],
      'refcount-block': [firstOf(refcountTableAt, clusterBytes), clusterBytes],
      ...this.extraTables(clusterBytes),
      anywhere: [0, lengthBytes],
    }
  }

  /** Snapshot table and bitmap directory, and the first table that each names; the header where there are none. */
  private extraTables(clusterBytes: number): Record<'snapshots' | 'snapshot-l1' | 'bitmaps' | 'bitmap-table', TableRange> {
    const { view } = this
    const header: TableRange = [0, view.getUint32(4) === 2 ? 72 : 104]
    let snapshots = header
    let snapshotL1 = header
    if (view.getUint32(60) > 0) {
      const at = Number(view.getBigUint64(64))
      snapshots = [at, 2 * SNAPSHOT_ENTRY_BYTES]
      snapshotL1 = [Number(view.getBigUint64(at)), Math.max(ENTRY_BYTES, view.getUint32(at + 8) * ENTRY_BYTES)]
    }
    const directory = findExtension(view, clusterBytes, BITMAPS_EXTENSION)
    if (directory === -1) return { snapshots, 'snapshot-l1': snapshotL1, bitmaps: header, 'bitmap-table': header }
    const at = Number(view.getBigUint64(directory + 16))
    const tableAt = Number(view.getBigUint64(at))
    return {
      snapshots,
      'snapshot-l1': snapshotL1,
      bitmaps: [at, Number(view.getBigUint64(directory + 8))],
      'bitmap-table': [tableAt, view.getUint32(at + 8) * ENTRY_BYTES],
    }
  }

  damage({ target, index, widthBytes, value }: DamagePlan): void {
    const store = this.store
    const view = this.view
    if (target === 'length') {
      store.resize(index % (store.lengthBytes + 1))
      return
    }
    const [startBytes, lengthBytes] = this.tables[target]
    const at = startBytes + (index % Math.max(1, Math.floor(lengthBytes / widthBytes))) * widthBytes
    if (at + widthBytes > store.lengthBytes) return
    store.changeCount++
    let left = BigInt(`0x${value}`)
    for (let byte = widthBytes - 1; byte >= 0; byte--, left >>= 8n) view.setUint8(at + byte, Number(left & 0xffn))
  }
}

/** Where the data of a header extension lies, or -1. */
function findExtension(view: DataView, clusterBytes: number, type: number): number {
  if (view.getUint32(4) === 2) return -1
  for (let at = view.getUint32(100); at + 8 <= Math.min(clusterBytes, view.byteLength); ) {
    const found = view.getUint32(at)
    if (found === type) return at + 8
    if (found === 0) return -1
    at += 8 + Math.ceil(view.getUint32(at + 4) / 8) * 8
  }
  return -1
}
