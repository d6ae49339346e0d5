/**
 * Images that somebody has damaged: the source's image is made, single fields of it are changed, and then it is opened and
 * used by the guest's operations. It may be refused in words, give errors, or work; an exception, an endless loop or memory
 * that only the image asks for is a failure. No mirror, no device, no time.
 */
import { BlockBackend, BlockError, BlockGraph, type BlockNode, Permission, RequestFlag } from '../impl/block'
import { AssertionFailure, type Co, type Errno, Kernel, makeLabel, OK } from '../impl/co'
import { VirtualClockwork } from './clockwork'
import { dullDecider } from './decider'
import { SimDisk } from './disk'
import { makeImage } from './fresh_open'
import { emptyStores } from './image'
import { openImageNodes, plainDriver } from './image_nodes'
import type { DamagePlan, GuestOperation, Plan } from './plan'
import { BufferPool } from './pool'
import type { DiskStore } from './store'
import { Trace } from './trace'
import { withTripwires } from './tripwires'
import type { Failure, WorldResult } from './verdict'
import { errorText, stackOf } from './watch'

const USER = makeLabel('user')
/** Far beyond what any sound image needs for so few operations. */
const STEPS_MAX = 200_000
/** A damaged image may say that it is larger than any disk; that much of it is used. */
const USED_MAX_BYTES = 2 ** 40
const ENTRY_BYTES = 8

export function runDamaged(plan: Plan): WorldResult {
  const pool = new BufferPool()
  const run = new DamagedRun(plan, pool)
  try {
    withTripwires(() => run.run())
  } catch (error) {
    run.found('harness', 'harness/damage', error)
  } finally {
    pool.giveBack()
  }
  return run.result()
}

class DamagedRun {
  private readonly plan: Plan
  private readonly pool: BufferPool
  private readonly trace = new Trace(false)
  private readonly probes: Record<string, number> = {}
  private failure: Failure | null = null
  private operationsDone = 0

  constructor(plan: Plan, pool: BufferPool) {
    this.plan = plan
    this.pool = pool
  }

  run(): void {
    const { source, damage } = this.plan
    const format = source.format!
    const stores = emptyStores('source', source, format, this.pool)
    makeImage(stores, source, format)
    const fields = new ImageFields(stores.file)
    for (const change of damage ?? []) fields.damage(change)
    const clockwork = new VirtualClockwork(dullDecider)
    const kernel = new Kernel(clockwork)
    kernel.spawn(this.use(new BlockGraph(kernel), stores.file), USER)
    let steps = 0
    while (clockwork.nextNs() !== Infinity && kernel.failure === null && steps++ < STEPS_MAX)
      clockwork.step(kernel, clockwork.nextNs())
    if (steps > STEPS_MAX) this.found('liveness', 'liveness/too-many-events', new Error(`no end after ${steps} events`))
    else if (kernel.failure !== null) this.crashed(kernel.failure.error)
    else if (kernel.live.size > 0) this.found('liveness', 'liveness/stuck', new Error('somebody waits for ever'))
    this.trace.mix(this.operationsDone)
  }

  private *use(graph: BlockGraph, file: DiskStore): Co<void> {
    const { source, guest, destination } = this.plan
    const readOnly = destination.node.readOnly === true
    const makeDisk = (store: DiskStore): SimDisk => new SimDisk(store, source, null, null, null)
    const stores = { file, dataFile: null, backing: null }
    try {
      const options = { readOnly, discard: 'unmap' as const }
      const parts = { name: 'image', stores, format: source.format!, options, makeDisk, makeDriver: plainDriver }
      const opened = yield* openImageNodes(graph, parts)
      const backend = new BlockBackend(graph, 'user')
      backend.attach(opened.node, Permission.ConsistentRead | (readOnly ? 0 : Permission.Write), Permission.All)
      let failures = 0
      for (const operation of guest) if ((yield* this.operate(backend, opened.node, operation, readOnly)) !== OK) failures++
      this.count(failures > 0 ? 'image/gives-errors' : 'image/works')
      backend.dispose()
      yield* opened.close()
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      if (error.message === '') this.found('protocol', 'image/refused-without-words', error)
      this.trace.mixText(error.message)
      this.count('image/refused')
    }
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
    return errno
  }

  private count(probe: string): void {
    this.probes[probe] = (this.probes[probe] ?? 0) + 1
  }

  private crashed(error: unknown): void {
    const key = error instanceof AssertionFailure ? error.invariant : error instanceof Error ? error.name : 'exception'
    // A file that grows without bound is refused by the disk below, in its own words.
    if (error instanceof Error && error.message.startsWith('the file of the source grows to')) this.count('image/runs-wild')
    else this.found('crash', `crash/${key}`, error)
  }

  found(kind: Failure['class'], key: string, error: unknown): void {
    const { step, timeNs } = this.trace
    this.failure ??= { class: kind, key, text: errorText(error), details: stackOf(error), step, timeNs }
  }

  result(): WorldResult {
    const { trace, failure, probes } = this
    return {
      failure,
      events: trace.step,
      timeNs: trace.timeNs,
      hash: trace.hashText(),
      checkpoints: trace.checkpoints,
      probes,
      faultsFired: {},
      trace: [],
      end: {
        jobStatus: 'none',
        jobError: null,
        guestOperationsDone: this.operationsDone,
        sourceAllocatedBytes: 0,
        destinationAllocatedBytes: 0,
        skippedZeroBytes: 0,
        copiedBytes: 0,
      },
    }
  }
}

/** Where the fields of an undamaged image are. */
class ImageFields {
  private readonly store: DiskStore
  private readonly view: DataView
  private readonly tables: Record<Exclude<DamagePlan['target'], 'length'>, readonly [startBytes: number, lengthBytes: number]>

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
      anywhere: [0, lengthBytes],
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
    let left = BigInt(`0x${value}`)
    for (let byte = widthBytes - 1; byte >= 0; byte--, left >>= 8n) view.setUint8(at + byte, Number(left & 0xffn))
  }
}
