/**
 * A guest for `--guest-seed`: it writes, zeroes and discards while its disk is mirrored. The seed decides everything that
 * it does; each lane keeps to its own part of the disk, so that the content it leaves does not depend on timing.
 */
import type { BlockBackend } from '../block'
import { RequestFlag } from '../block'
import { assert, type Co, type Coroutine, type Errno, type Kernel, makeLabel, mix32, OK } from '../co'

const LANES = 4
const SECTOR_BYTES = 512
const OPERATION_MAX_BYTES = 256 * 1024
const THINK_MAX_NS = 2_000_000

export interface GuestOutcome {
  operations: number
  /** Of the first request that failed. */
  errno: Errno
}

export class SeededGuest {
  readonly outcome: GuestOutcome = { operations: 0, errno: OK }
  private readonly kernel: Kernel
  private readonly disk: BlockBackend
  private readonly seed: number
  private readonly lanes: Coroutine[] = []

  constructor(kernel: Kernel, disk: BlockBackend, seed: number) {
    this.kernel = kernel
    this.disk = disk
    this.seed = mix32(seed ^ Math.floor(seed / 2 ** 32))
  }

  /** Starts to do `operations` requests. */
  start(operations: number): void {
    const laneSectors = Math.floor(this.disk.lengthBytes / SECTOR_BYTES / LANES)
    if (laneSectors === 0) return
    for (let lane = 0; lane < LANES; lane++) {
      const count = Math.floor((operations + LANES - 1 - lane) / LANES)
      this.lanes.push(this.kernel.spawn(this.work(lane, laneSectors, count), makeLabel(`guest-${lane}`)))
    }
  }

  /** Waits until all requests have been done, or one has failed. */
  *finish(): Co<void> {
    for (const lane of this.lanes) yield* this.kernel.join(lane)
  }

  private *work(lane: number, laneSectors: number, count: number): Co<void> {
    let state = mix32(this.seed + lane)
    const draw = (limit: number): number => {
      state = mix32(state + 0x9e3779b9)
      return state % limit
    }
    for (let index = 0; index < count && this.outcome.errno === OK; index++) {
      yield* this.kernel.sleepNs(draw(THINK_MAX_NS))
      const sectors = Math.min(1 + draw(OPERATION_MAX_BYTES / SECTOR_BYTES), laneSectors)
      // Two draws: one has not enough bits for a large disk.
      const place = (draw(2 ** 20) * 2 ** 20 + draw(2 ** 20)) % (laneSectors - sectors + 1)
      const offsetBytes = (lane * laneSectors + place) * SECTOR_BYTES
      const errno = yield* this.request(draw(10), offsetBytes, sectors * SECTOR_BYTES, draw(2 ** 31))
      if (errno !== OK) this.outcome.errno = errno
      this.outcome.operations++
    }
  }

  private request(kind: number, offsetBytes: number, lengthBytes: number, stamp: number): Co<Errno> {
    assert(offsetBytes + lengthBytes <= this.disk.lengthBytes, 'guest-inside-disk')
    if (kind < 2) return this.disk.pdiscard(offsetBytes, lengthBytes)
    if (kind < 4) return this.disk.pwriteZeroes(offsetBytes, lengthBytes, RequestFlag.MayUnmap)
    const data = new Uint8Array(lengthBytes)
    // One write in six is of zeroes.
    if (kind > 4) stampSectors(data, stamp)
    return this.disk.pwrite(offsetBytes, data)
  }
}

/** Fills every sector with a number of its own. */
function stampSectors(data: Uint8Array, stamp: number): void {
  const words = new Uint32Array(data.buffer)
  const sectorWords = SECTOR_BYTES / 4
  for (let at = 0; at < words.length; at += sectorWords) words.fill(mix32(stamp + at) | 1, at, at + sectorWords)
}
