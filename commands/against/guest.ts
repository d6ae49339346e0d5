/**
 * The guest of a lifecycle: our NBD client on the source's export, with the lanes of the plan side by side over one or more
 * connections, each request held against the reference disk.
 *
 * What may fail: requests, where the plan has disk errors; connections, where the daemon dies. Everything else is a finding.
 * What never may: a request of which the model does not know.
 */
import { type Co, type Errno, makeLabel, OK, strerror } from '../../impl/co'
import type { HostLoop } from '../../impl/host'
import { Sockets } from '../../impl/host/sockets'
import { callBack } from '../../impl/host/transfers'
import { ClientConnection, ClientRequest } from '../../impl/nbd/client'
import { ClientHandshake } from '../../impl/nbd/client_handshake'
import { Command, CommandFlag } from '../../impl/nbd/protocol'
import type { Change, ReferenceDisk } from '../../model/disk'
import { stampSectors, writerOf, ZERO_WRITER } from '../../model/stamp'
import { type GuestOperation, type Plan, SECTOR_BYTES } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import type { Moments } from './moments'
import type { Step } from './nodes'
import type { RealOptions } from './options'

/** Moments that requests wait for, in the order in which they come. */
export const PHASES = ['start', 'mirror-sent', 'ready', 'ending-sent', 'concluded'] as const
/** Of 100 requests of a lane, how many are made before each phase is over. */
const PHASE_ENDS = [8, 62, 82, 92, 100]
/** Before this phase the guest's main part ends: from then on the operator may complete the job. */
const LATE_PHASE = PHASES.indexOf('ending-sent')
/** Where the plan's guest pauses for less, it does not. */
const THINK_LEAST_NS = 500_000
const THINK_MOST_NS = 5_000_000

export interface GuestOutcome {
  id: string
  errno: Errno
  isLost: boolean
}

export class RealGuest {
  findings: Finding[] = []
  readonly outcomes: GuestOutcome[] = []
  /** Changes by operation, and those of them that have ended. */
  readonly changes = new Map<string, Change>()
  readonly ended = new Set<string>()
  inFlight = 0
  inFlightMost = 0
  /** After it reads are not looked at: the guest may be on a disk that never had all. */
  isReadingUnknown = false
  private readonly connections: ClientConnection[] = []
  private readonly phases: ReadonlyMap<string, number>
  private mainLeft: number
  private lanesLeft = 0
  private holds = 0
  private isHeld = false

  constructor(
    private readonly loop: HostLoop,
    private readonly socket: string,
    private readonly plan: Plan,
    private readonly options: RealOptions,
    private readonly model: ReferenceDisk,
    private readonly moments: Moments,
    private readonly steps: Step[],
  ) {
    this.phases = phasesOf(plan, options)
    this.mainLeft = plan.guest.filter(({ id }) => this.phases.get(id)! < LATE_PHASE).length
  }

  /** Until all requests have been made and `quiesced` has come. Connections are closed then. */
  *run(): Co<void> {
    const lanes = [...new Set(this.plan.guest.map(({ lane }) => lane))]
    for (let index = 0; index < Math.min(this.options.connections, Math.max(lanes.length, 1)); index++) {
      this.connections.push(yield* connectTo(this.socket, this.loop))
    }
    this.lanesLeft = lanes.length
    if (this.mainLeft === 0) this.moments.reach('guest-done')
    if (this.lanesLeft === 0) this.moments.reach('lanes-done')
    for (const [index, lane] of lanes.entries()) {
      this.loop.kernel.spawn(this.lane(lane, this.connections[index % this.connections.length]!), makeLabel(`lane-${lane}`))
    }
    yield* this.await('lanes-done')
    yield* this.await('quiesced')
    for (const connection of this.connections) yield* connection.close()
  }

  private *await(moment: string): Co<void> {
    yield* callBack(this.loop, (done) => this.moments.when(moment, () => done(0)))
  }

  private *lane(lane: number, connection: ClientConnection): Co<void> {
    let isLost = false
    for (const operation of this.plan.guest) {
      if (operation.lane !== lane) continue
      const phase = this.phases.get(operation.id)!
      if (!isLost && phase > 0) yield* this.await(PHASES[phase]!)
      if (!isLost && operation.thinkNs >= THINK_LEAST_NS) {
        yield* this.loop.kernel.sleepNs(Math.min(operation.thinkNs, THINK_MOST_NS))
      }
      while (this.isHeld && !this.moments.isOver) yield* this.await(`released ${this.holds}`)
      if (!isLost) isLost = yield* this.execute(operation, connection)
      this.moments.reach(`operation ${operation.id}`)
      if (phase < LATE_PHASE && --this.mainLeft === 0) this.moments.reach('guest-done')
    }
    if (--this.lanesLeft === 0) this.moments.reach('lanes-done')
  }

  /**
   * No request is made from now on; resolves when none is under way. `release` lets them go on. Who still waits for quiet
   * when somebody else releases, holds again.
   */
  async hold(): Promise<void> {
    do {
      if (!this.isHeld) this.holds++
      this.isHeld = true
      if (this.inFlight > 0) await this.moments.wait(`quiet ${this.holds}`)
    } while (!this.isHeld && !this.moments.isOver)
  }
  release(): void {
    if (!this.isHeld) return
    this.isHeld = false
    this.moments.reach(`released ${this.holds}`)
    this.moments.reach(`quiet ${this.holds}`)
  }

  /** True if the connection is lost. */
  private *execute(operation: GuestOperation, connection: ClientConnection): Co<boolean> {
    const request = requestOf(operation)
    if (request === null) return false
    const { id, kind, offsetBytes, lengthBytes } = operation
    const read = kind === 'read' ? this.model.beginRead(offsetBytes, lengthBytes) : null
    const writer = kind === 'write' && operation.zeroData !== true ? writerOf(id) : ZERO_WRITER
    const change = kind === 'read' || kind === 'flush' ? null : this.model.begin(writer, offsetBytes, lengthBytes)
    if (change !== null) this.changes.set(id, change)
    this.steps.push({ guest: id })
    this.inFlight++
    this.inFlightMost = Math.max(this.inFlightMost, this.inFlight)
    yield* connection.execute(request)
    this.inFlight--
    if (this.isHeld && this.inFlight === 0) this.moments.reach(`quiet ${this.holds}`)
    const isDone = !request.isLost && request.errno === OK
    this.outcomes.push({ id, errno: request.errno, isLost: request.isLost })
    if (change !== null) {
      this.model.end(change, isDone && kind !== 'discard')
      if (!request.isLost) this.ended.add(id)
    }
    if (read !== null) this.endRead(operation, this.model.endRead(read, isDone && !this.isReadingUnknown ? request.buffer : null))
    if (!isDone && !request.isLost && this.plan.faults.length === 0) this.refuse(operation, request.errno)
    return request.isLost
  }

  private endRead(operation: GuestOperation, mismatch: ReturnType<ReferenceDisk['endRead']>): void {
    if (mismatch === null) return
    const { sectorIndex, expected, actual } = mismatch
    this.findings.push({
      class: 'content',
      key: 'content/guest-read',
      text: `${operation.id} read ${actual} where the guest must find ${expected}`,
      disk: 'guest',
      offsetBytes: sectorIndex * SECTOR_BYTES,
      lengthBytes: SECTOR_BYTES,
      operationId: operation.id,
      expected,
      actual,
    })
  }

  private refuse({ id, kind }: GuestOperation, errno: Errno): void {
    this.findings.push({
      class: 'protocol',
      key: `guest/error-without-fault`,
      text: `${id}, a ${kind}, ends with "${strerror(errno)}", and no disk has an error`,
      disk: 'guest',
      operationId: id,
    })
  }
}

/** A client of the export `disk` behind a unix socket. */
export function* connectTo(socket: string, loop: HostLoop): Co<ClientConnection> {
  const stream = yield* new Sockets(loop).connect({ type: 'unix', path: socket })
  const wish = { exportName: 'disk', tls: null, tlsHostname: null, context: null }
  return new ClientConnection(loop.kernel, yield* new ClientHandshake(stream).enter(wish), () => {})
}

/** Null: NBD has nothing like it. */
export function requestOf(operation: GuestOperation): ClientRequest | null {
  const { id, kind, offsetBytes, lengthBytes } = operation
  switch (kind) {
    case 'read':
      return new ClientRequest(Command.Read, 0, offsetBytes, lengthBytes, new Uint8Array(lengthBytes))
    case 'write': {
      const data = new Uint8Array(lengthBytes)
      const writer = operation.zeroData === true ? ZERO_WRITER : writerOf(id)
      stampSectors(data, 0, writer, offsetBytes / SECTOR_BYTES, lengthBytes / SECTOR_BYTES)
      return new ClientRequest(Command.Write, 0, offsetBytes, lengthBytes, data)
    }
    case 'write-zeroes': {
      const flags = operation.unmap === true ? 0 : CommandFlag.NoHole
      return new ClientRequest(Command.WriteZeroes, flags, offsetBytes, lengthBytes, null)
    }
    case 'discard':
      return new ClientRequest(Command.Trim, 0, offsetBytes, lengthBytes, null)
    case 'flush':
      return new ClientRequest(Command.Flush, 0, 0, 0, null)
    default:
      return null
  }
}

/** When each operation is made. What the mirror's start waits for comes before it. */
function phasesOf({ guest, control }: Plan, { pace }: RealOptions): Map<string, number> {
  const phases = new Map<string, number>()
  if (pace === 'burst') {
    for (const { id } of guest) phases.set(id, 0)
    return phases
  }
  const counts = new Map<number, number>()
  for (const { lane } of guest) counts.set(lane, (counts.get(lane) ?? 0) + 1)
  const seen = new Map<number, number>()
  for (const { id, lane } of guest) {
    const index = seen.get(lane) ?? 0
    seen.set(lane, index + 1)
    const share = ((index + 0.5) / counts.get(lane)!) * 100
    phases.set(
      id,
      PHASE_ENDS.findIndex((end) => share < end),
    )
  }
  const start = control.find(({ kind }) => kind === 'mirror-start')?.when.on
  if (typeof start === 'object' && 'operationDone' in start) {
    const last = guest.findIndex(({ id }) => id === start.operationDone)
    for (const { id, lane } of guest.slice(0, last + 1)) if (lane === guest[last]!.lane) phases.set(id, 0)
  }
  return phases
}
