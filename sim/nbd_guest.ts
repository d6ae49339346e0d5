/**
 * A guest that reaches its disk over NBD: one connection, spoken byte by byte, with several requests under way. It knows the
 * protocol from its document alone, and a few ways of breaking it. When the connection is lost it calls again.
 *
 * What may fail: the connection, and requests by the server's errors. What never may: a request without an answer on a
 * connection that lives; an answer that the model does not allow.
 */
import { type ByteStream, type Co, type Kernel, OK, WaitQueue } from '../impl/co'
import { NbdCommand, NbdConversation, type NbdEnd, NbdOption, type NbdReply } from '../model/nbd_conversation'
import type { FlatChange, FlatModel } from './flat_model'
import { type GuestOperation, type NbdClientPlan, type NbdOddityPlan, SECTOR_BYTES } from './plan'

const CALLS_MAX = 64
const CALL_PAUSE_NS = 50_000
const READ_BYTES = 4096
const ERROR_NOT_SUPPORTED = 95
const STATE_ZERO = 2
const FLAG_FUA = 1
const FLAG_NO_HOLE = 2
const FLAG_FAST_ZERO = 16
const REQUESTS_MAX = 100_000

/** What the guest tells the world. */
export interface NbdGuestHooks {
  /** Makes a connection; null: nobody answers now. */
  connect(): Co<ByteStream | null>
  wrong(kind: 'protocol' | 'content' | 'harness', key: string, text: string): void
  hit(probe: string): void
  /** A request is about to be sent. */
  began(operation: GuestOperation): void
  /** A request is over; -1: it was lost. */
  ended(operation: GuestOperation | null, error: number): void
}

interface Pending {
  readonly operation: GuestOperation | null
  readonly oddity: NbdOddityPlan | null
  readonly change: FlatChange | null
  readonly isStable: ((sector: number) => boolean) | null
  readonly isFast: boolean
}

export class NbdGuest {
  private readonly kernel: Kernel
  private readonly plan: NbdClientPlan
  private readonly model: FlatModel
  private readonly hooks: NbdGuestHooks
  private readonly changed: WaitQueue
  private readonly pending = new Map<number, Pending>()
  private stream: ByteStream | null = null
  private conversation = new NbdConversation()
  private nextCookie = 1
  /** The connection is to be lost: the server leaves who sends what cannot be understood. */
  private expectsLoss = false
  /** The link was cut on purpose. */
  wasCut = false

  constructor(kernel: Kernel, plan: NbdClientPlan, model: FlatModel, hooks: NbdGuestHooks) {
    this.kernel = kernel
    this.plan = plan
    this.model = model
    this.hooks = hooks
    this.changed = new WaitQueue(kernel)
  }

  /** Does all of it, in order; `oddities` come before the operation of their index. */
  *run(operations: readonly GuestOperation[]): Co<void> {
    for (const [index, operation] of operations.entries()) {
      for (const oddity of this.plan.oddities) if (oddity.before === index) yield* this.submitOdd(oddity)
      if (operation.thinkNs > 0) yield* this.kernel.sleepNs(operation.thinkNs)
      yield* this.submit(operation)
    }
    while (this.pending.size > 0) yield* this.changed.wait(waits('answers'))
    yield* this.leave()
  }

  private *submit(operation: GuestOperation): Co<void> {
    if (!(yield* this.ready())) return this.hooks.ended(operation, -1)
    const { model } = this
    const { kind, offsetBytes, lengthBytes } = operation
    const isFlush = kind === 'flush' || kind === 'get-id'
    const isChange = !isFlush && kind !== 'read'
    this.hooks.began(operation)
    const change = isChange ? model.begin(operation) : null
    const isStatus = kind === 'read' && this.conversation.contexts.size > 0 && this.nextCookie % 2 === 0
    const isStable = kind === 'read' ? model.look(offsetBytes, lengthBytes) : null
    const isFast = kind === 'write-zeroes' && this.plan.fastZero
    this.pending.set(this.nextCookie, { operation, oddity: null, change, isStable, isFast })
    let flags = isChange && this.plan.fua ? FLAG_FUA : 0
    if (isFast) flags |= FLAG_FAST_ZERO
    if (kind === 'write-zeroes' && operation.unmap !== true) flags |= FLAG_NO_HOLE
    const command = isFlush ? NbdCommand.Flush : commandOf(kind, isStatus)
    yield* this.send(command, flags, isFlush ? 0 : offsetBytes, isFlush ? 0 : lengthBytes, kind === 'write' ? change!.data : null)
  }

  private *submitOdd(oddity: NbdOddityPlan): Co<void> {
    if (!(yield* this.ready())) return
    const { exportBytes } = this.conversation
    this.hooks.hit(`nbd/odd-${oddity.kind}`)
    this.pending.set(this.nextCookie, { operation: null, oddity, change: null, isStable: null, isFast: false })
    const data = new Uint8Array(SECTOR_BYTES)
    if (oddity.kind === 'magic') {
      this.expectsLoss = true
      yield* this.write(new Uint8Array(64).fill(0x5a))
      while (this.stream !== null) yield* this.changed.wait(waits('the server to leave'))
      this.expectsLoss = false
    } else if (oddity.kind === 'write-beyond')
      yield* this.send(NbdCommand.Write, 0, exportBytes - SECTOR_BYTES + 1, SECTOR_BYTES, data)
    else if (oddity.kind === 'read-beyond') yield* this.send(NbdCommand.Read, 0, exportBytes, SECTOR_BYTES, null)
    else if (oddity.kind === 'command') yield* this.send(77, 0, 0, SECTOR_BYTES, null)
    else if (oddity.kind === 'flags') yield* this.send(NbdCommand.Trim, 1 << 12, 0, SECTOR_BYTES, null)
    else yield* this.send(NbdCommand.Read, 0, 0, 33 * 1024 * 1024, null)
  }

  /** Waits for a connection with room for a request. False: nobody answers. */
  private *ready(): Co<boolean> {
    while (true) {
      while (this.stream !== null && this.pending.size >= this.plan.depth) yield* this.changed.wait(waits('room for a request'))
      if (this.stream !== null) return true
      if (!(yield* this.call())) return false
    }
  }

  private *send(command: number, flags: number, offsetBytes: number, lengthBytes: number, data: Uint8Array | null): Co<void> {
    const isExtended = this.conversation.headers === 'extended'
    const headBytes = isExtended ? 32 : 28
    const bytes = new Uint8Array(headBytes + (data?.length ?? 0))
    const view = new DataView(bytes.buffer)
    view.setUint32(0, isExtended ? 0x21e41c71 : 0x25609513)
    view.setUint16(4, flags | (isExtended && data !== null ? 32 : 0))
    view.setUint16(6, command)
    view.setBigUint64(8, BigInt(this.nextCookie++))
    view.setBigUint64(16, BigInt(offsetBytes))
    if (isExtended) view.setBigUint64(24, BigInt(lengthBytes))
    else view.setUint32(24, lengthBytes)
    if (data !== null) bytes.set(data, headBytes)
    if (this.nextCookie > REQUESTS_MAX) throw new Error('a guest sends requests without end')
    yield* this.write(bytes)
  }

  private *write(bytes: Uint8Array): Co<void> {
    const { stream } = this
    if (stream === null) return
    this.conversation.sent(bytes)
    if ((yield* stream.write(bytes)) !== OK && this.stream === stream) this.lost()
  }

  // ------------------------------------------------------------------------------------------------------ the connection

  /** Calls until somebody answers and shakes hands. */
  private *call(): Co<boolean> {
    for (let calls = 0; calls < CALLS_MAX; calls++) {
      const stream = yield* this.hooks.connect()
      if (stream !== null) {
        this.wasCut = false
        this.stream = stream
        this.conversation = new NbdConversation((reply) => this.replied(reply))
        this.kernel.spawn(this.receive(stream))
        if (yield* this.shakeHands(stream)) return true
      }
      yield* this.kernel.sleepNs(CALL_PAUSE_NS << Math.min(calls, 10))
    }
    return false
  }

  private *shakeHands(stream: ByteStream): Co<boolean> {
    const { headers, allocation } = this.plan
    const isByName = headers === 'simple' && !allocation
    yield* this.write(words(isByName ? 3 : 1))
    if (headers === 'structured') yield* this.option(NbdOption.Structured, [])
    if (headers === 'extended') yield* this.option(NbdOption.Extended, [])
    const name = [...new TextEncoder().encode('disk')]
    if (headers !== 'simple' && allocation) {
      const context = [...new TextEncoder().encode('base:allocation')]
      yield* this.option(NbdOption.Context, [...words(name.length), ...name, ...words(1), ...words(context.length), ...context])
    }
    if (isByName) yield* this.option(NbdOption.ExportName, name)
    else yield* this.option(NbdOption.Go, [...words(name.length), ...name, 0, 0])
    return this.stream === stream && this.conversation.isTransmitting
  }

  private *option(option: number, data: readonly number[]): Co<void> {
    const { conversation } = this
    const head = [...new TextEncoder().encode('IHAVEOPT'), ...words(option), ...words(data.length)]
    yield* this.write(Uint8Array.from([...head, ...data]))
    while (this.stream !== null && conversation.openOptions > 0) yield* this.changed.wait(waits('the answer to an option'))
    if (conversation.refusal !== 0) this.hooks.wrong('protocol', 'nbd/option-refused', `option ${option} is refused`)
  }

  private *receive(stream: ByteStream): Co<void> {
    const buffer = new Uint8Array(READ_BYTES)
    const { conversation } = this
    while (this.stream === stream) {
      const count = yield* stream.read(buffer)
      if (this.stream !== stream) return
      if (count <= 0) break
      conversation.received(buffer.subarray(0, count))
      this.judge()
      this.changed.wakeAll()
    }
    this.lost()
  }

  private judge(): void {
    const { conversation, plan } = this
    const ends: readonly NbdEnd[] = plan.oddities.length === 0 ? ['client', 'server'] : ['server']
    const breach = conversation.breaches.find(({ end }) => ends.includes(end))
    if (breach !== undefined) this.hooks.wrong(breach.end === 'server' ? 'protocol' : 'harness', breach.key, breach.text)
  }

  /** Nothing comes any more: what was under way may be done or not, now or later. */
  private lost(): void {
    if (this.stream === null) return
    if (!this.wasCut && !this.expectsLoss && !this.conversation.isOver)
      this.hooks.wrong('protocol', 'nbd/server-left', 'the server ended a connection that nobody had cut')
    this.stream.close()
    this.stream = null
    for (const { change, operation } of this.pending.values()) {
      if (change !== null) this.model.lose(change)
      this.hooks.ended(operation, -1)
    }
    if (this.pending.size > 0) this.hooks.hit('nbd/requests-lost')
    this.pending.clear()
    this.changed.wakeAll()
  }

  private *leave(): Co<void> {
    if (this.stream === null) return
    yield* this.send(NbdCommand.Disconnect, 0, 0, 0, null)
    this.stream?.close()
    this.stream = null
  }

  // ------------------------------------------------------------------------------------------------------------- answers

  private replied({ cookie, error, data, extents }: NbdReply): void {
    const request = this.pending.get(cookie)
    if (request === undefined) return
    this.pending.delete(cookie)
    const { operation, oddity, change, isStable, isFast } = request
    if (oddity !== null) {
      if (error === 0) this.hooks.wrong('protocol', `nbd/odd-${oddity.kind}-accepted`, 'what breaks the protocol was answered')
      return
    }
    if (change !== null) {
      // Zeroes that cannot be fast have not been written.
      if (isFast && error === ERROR_NOT_SUPPORTED) this.hooks.hit('nbd/zeroes-not-fast')
      this.model.end(change, error === 0)
    }
    if (operation !== null && error === 0 && isStable !== null) {
      if (data !== null) this.compareData(operation, data, isStable)
      for (const list of extents.values()) this.compareStatus(operation, list, isStable)
    }
    this.hooks.ended(operation, error)
  }

  private compareData({ offsetBytes, id }: GuestOperation, data: Uint8Array, isStable: (sector: number) => boolean): void {
    const sector = this.model.firstWrong(data, offsetBytes, isStable)
    if (sector === -1) return
    this.hooks.wrong('content', 'content/guest-read', `a read (${id}) finds other data in sector ${sector} than was written`)
  }

  /** What is said to read as zeroes must do so. */
  private compareStatus(
    { offsetBytes, lengthBytes, id }: GuestOperation,
    extents: ReadonlyArray<{ lengthBytes: number; state: number }>,
    isStable: (sector: number) => boolean,
  ): void {
    let at = offsetBytes
    for (const { lengthBytes: extentBytes, state } of extents) {
      const end = Math.min(at + extentBytes, offsetBytes + lengthBytes)
      if ((state & STATE_ZERO) !== 0 && at < end && this.model.firstWrong(new Uint8Array(end - at), at, isStable) !== -1)
        this.hooks.wrong('content', 'content/guest-status', `${id}: zeroes are told of at ${at}, where data was written`)
      at = end
    }
    this.hooks.hit('nbd/status')
  }
}

function commandOf(kind: GuestOperation['kind'], isStatus: boolean): number {
  if (kind === 'write') return NbdCommand.Write
  if (kind === 'write-zeroes') return NbdCommand.Zeroes
  if (kind === 'discard') return NbdCommand.Trim
  return isStatus ? NbdCommand.Status : NbdCommand.Read
}

function words(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}

function waits(what: string): { describe: () => string } {
  return { describe: () => `waits for ${what} over NBD` }
}
