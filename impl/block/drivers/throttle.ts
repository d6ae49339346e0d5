/**
 * The `throttle` filter: requests wait until the limits of their throttle group let them start. Flushes and status queries
 * are not held back. A drained section lets everything through; what went through then is paid for afterwards.
 */
import { assert, type Co, type Errno, OK } from '../../co'
import { Direction, type ThrottleGroup, ThrottleMember } from '../throttle'
import { FilterDriver } from './filter'

export class ThrottleDriver extends FilterDriver {
  readonly name = 'throttle'
  private member: ThrottleMember

  /** Joins the group at once: if no node comes of the driver, `release` it. */
  constructor(group: ThrottleGroup) {
    super()
    this.member = new ThrottleMember(group)
  }

  get group(): ThrottleGroup {
    return this.member.group
  }
  /** Another group from now on. Call drained. */
  setGroup(group: ThrottleGroup): void {
    assert(this.node.quiesceCount > 0 && this.node.inFlight === 0, 'throttle-moves-drained', () => this.node.name)
    this.member.leave()
    this.member = new ThrottleMember(group)
    this.member.unlimit()
    assert(this.group === group, 'throttle-group-taken')
  }
  release(): void {
    this.member.leave()
  }

  override *pread(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    yield* this.member.admit(Direction.Read, buffer.length)
    return yield* super.pread(offsetBytes, buffer, flags)
  }
  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    yield* this.member.admit(Direction.Write, buffer.length)
    return yield* super.pwrite(offsetBytes, buffer, flags)
  }
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    yield* this.member.admit(Direction.Write, lengthBytes)
    return yield* super.pwriteZeroes(offsetBytes, lengthBytes, flags)
  }
  override *pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    yield* this.member.admit(Direction.Write, lengthBytes)
    return yield* super.pdiscard(offsetBytes, lengthBytes)
  }

  override drainBegin(): void {
    this.member.unlimit()
  }
  override drainEnd(): void {
    this.member.limit()
  }
  override *close(): Co<Errno> {
    this.release()
    return OK
  }
}
