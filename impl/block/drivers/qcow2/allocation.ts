/**
 * Writes that have taken clusters which no L2 table points to yet. Whoever wants to change the same clusters waits until the
 * table says where they are.
 */
import { assert, type Co, type Kernel, WaitQueue } from '../../../co'

/** One such write. All offsets are the guest's; `fromBytes` and `toBytes` are cluster boundaries. */
export class Allocation {
  readonly fromBytes: number
  readonly toBytes: number
  /** Where `fromBytes` will lie in the file. */
  readonly hostBytes: number
  /** The clusters were there before, and are only being filled. */
  readonly keepsClusters: boolean
  /** What the write fills together with what it copies around its data: [copyFrom, copyTo). */
  copyFromBytes = 0
  copyToBytes = 0
  private readonly done: WaitQueue

  constructor(kernel: Kernel, fromBytes: number, toBytes: number, hostBytes: number, keepsClusters: boolean) {
    assert(fromBytes < toBytes, 'allocation-range')
    this.fromBytes = fromBytes
    this.toBytes = toBytes
    this.hostBytes = hostBytes
    this.keepsClusters = keepsClusters
    this.done = new WaitQueue(kernel)
  }

  *wait(): Co<void> {
    yield* this.done.wait({ describe: () => `waits for the clusters of guest offset ${this.fromBytes}` })
  }
  /** Called when it is no longer in the list. */
  finish(): void {
    this.done.wakeAll()
  }
}

/** The first allocation that shares a cluster with [fromBytes, toBytes), by guest offset, or null. */
export function overlapping(list: readonly Allocation[], fromBytes: number, toBytes: number): Allocation | null {
  let first: Allocation | null = null
  for (const allocation of list) {
    if (allocation.fromBytes >= toBytes || allocation.toBytes <= fromBytes) continue
    if (first === null || allocation.fromBytes < first.fromBytes) first = allocation
  }
  return first
}
