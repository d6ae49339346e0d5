/**
 * The guest's workload: each lane is a coroutine that submits its operations one after another, so the number of lanes is
 * the queue depth. An operation that a reset of the device ended is not tried again.
 */
import { type Co, type Kernel, makeLabel } from '../impl/co'
import { stampSectors, writerOf, ZERO_WRITER } from '../model/stamp'
import { type GuestDriver, guestRamBytes } from './guest/driver'
import { type DevicePlan, type GuestOperation, SECTOR_BYTES } from './plan'
import type { BufferPool } from './pool'

/** Bytes that a driver gets from GET_ID. */
const ID_BYTES = 20

/** Operations of each lane, in the order of the plan; lanes in the order of their first operation. */
function operationsByLane(operations: readonly GuestOperation[]): Map<number, GuestOperation[]> {
  const lanes = new Map<number, GuestOperation[]>()
  for (const operation of operations) {
    const lane = lanes.get(operation.lane)
    if (lane === undefined) lanes.set(operation.lane, [operation])
    else lane.push(operation)
  }
  return lanes
}

function largestOf(operations: readonly GuestOperation[]): number {
  let largestBytes = ID_BYTES
  for (const { kind, lengthBytes } of operations) {
    if ((kind === 'read' || kind === 'write') && lengthBytes > largestBytes) largestBytes = lengthBytes
  }
  return largestBytes
}

export class GuestLanes {
  private readonly lanes: Map<number, GuestOperation[]>
  /** Lanes that still have something to do. */
  running = 0

  constructor(operations: readonly GuestOperation[]) {
    this.lanes = operationsByLane(operations)
  }

  /** RAM that lets all lanes have their largest operation in flight. */
  ramBytes(plan: DevicePlan): number {
    let sumBytes = guestRamBytes(plan, ID_BYTES, 1)
    for (const operations of this.lanes.values()) sumBytes += guestRamBytes(plan, largestOf(operations), 1)
    return sumBytes
  }

  /** Starts all lanes; `done` is called when the last one has ended, at once if there is none. */
  start(kernel: Kernel, driver: GuestDriver, pool: BufferPool, done: () => void): void {
    this.running = this.lanes.size
    for (const [lane, operations] of this.lanes) {
      // Filled by `fill` for a write, and by the driver before anybody sees what a read has brought.
      const buffer = pool.takeToOverwrite(largestOf(operations))
      kernel.spawn(this.run(kernel, driver, operations, buffer, done), makeLabel(`lane${lane}`))
    }
    if (this.running === 0) done()
  }

  private *run(
    kernel: Kernel,
    driver: GuestDriver,
    operations: readonly GuestOperation[],
    buffer: Uint8Array,
    done: () => void,
  ): Co<void> {
    for (const operation of operations) {
      if (operation.thinkNs > 0) yield* kernel.sleepNs(operation.thinkNs)
      const request = yield* driver.submit(operation, fill(operation, buffer))
      yield* driver.wait(request)
    }
    this.running--
    if (this.running === 0) done()
  }
}

/** What the driver has to be given with an operation: the start of the lane's buffer, with data in it for a write. */
function fill(operation: GuestOperation, buffer: Uint8Array): Uint8Array | null {
  const { id, kind, offsetBytes, lengthBytes, zeroData } = operation
  if (kind === 'get-id') return buffer.subarray(0, ID_BYTES)
  if (kind !== 'read' && kind !== 'write') return null
  const bytes = buffer.subarray(0, lengthBytes)
  if (kind === 'write') {
    const writer = zeroData === true ? ZERO_WRITER : writerOf(id)
    stampSectors(bytes, 0, writer, offsetBytes / SECTOR_BYTES, lengthBytes / SECTOR_BYTES)
  }
  return bytes
}
