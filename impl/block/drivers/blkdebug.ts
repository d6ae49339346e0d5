/**
 * The `blkdebug` filter: fails chosen requests, changes its state at named points of what runs above it, stops requests at
 * such points until they are resumed, and shows other limits than its child has. The child is `image`.
 *
 * What may fail: what the rules say, before the child hears of the request; limits that cannot be (BlockError).
 * What never may: a request that a rule changes in any other way.
 */
import { assert, type Co, type Coroutine, ENOENT, ENOTSUP, type Errno, OK } from '../../co'
import { BlockError } from '../error'
import { type BlockLimits, Permission } from '../flags'
import { isAligned } from '../io_range'
import type { BlockChild, BlockNode } from '../node'
import { checkEvent, type InjectRule, type IoType, type Rule } from './blkdebug_rules'
import { FilterDriver } from './filter'

export interface BlkdebugOptions {
  rules?: readonly Rule[]
  /** 0 or absent leaves a limit as the child has it. All in bytes. */
  align?: number
  maxTransfer?: number
  optWriteZero?: number
  maxWriteZero?: number
  optDiscard?: number
  maxDiscard?: number
  /** Permission bits that the filter takes on its child, and that it does not share, whatever its users want. */
  takeChildPermissions?: number
  unshareChildPermissions?: number
}

const LIMIT_MAX_BYTES = 2 ** 31 - 1

interface Suspended {
  readonly tag: string
  readonly coroutine: Coroutine
  isResumed: boolean
}

export class BlkdebugDriver extends FilterDriver {
  readonly name = 'blkdebug'
  override readonly judgesStatus = true
  override readonly hearsEvents = true
  state = 1
  private readonly options: BlkdebugOptions
  private rules: Rule[]
  /** What the last event with an error to inject has armed, in order of configuration. */
  private active: InjectRule[] = []
  private suspended: Suspended[] = []
  /** Says what qemu-io's users read: that a request was suspended, or goes on. */
  private readonly say: (line: string) => void

  constructor(options: BlkdebugOptions = {}, say: (line: string) => void = () => {}) {
    super()
    this.options = options
    this.rules = [...(options.rules ?? [])]
    this.say = say
    this.applyEvent('none')
    assert(this.suspended.length === 0, 'nothing-suspended-at-start')
  }

  override refreshLimits(limits: BlockLimits): void {
    super.refreshLimits(limits)
    const { align = 0, maxTransfer = 0, optWriteZero = 0, maxWriteZero = 0, optDiscard = 0, maxDiscard = 0 } = this.options
    if (align !== 0 && (align < 0 || align >= LIMIT_MAX_BYTES || (align & (align - 1)) !== 0)) {
      throw new BlockError(`Cannot meet constraints with align ${align}`)
    }
    const unitBytes = Math.max(align, limits.requestAlignmentBytes)
    checkLimit('max-transfer', maxTransfer, unitBytes)
    checkLimit('opt-write-zero', optWriteZero, unitBytes)
    checkLimit('max-write-zero', maxWriteZero, Math.max(optWriteZero, unitBytes))
    checkLimit('opt-discard', optDiscard, unitBytes)
    checkLimit('max-discard', maxDiscard, Math.max(optDiscard, unitBytes))
    if (align !== 0) limits.requestAlignmentBytes = align
    if (maxTransfer !== 0) limits.maxTransferBytes = maxTransfer
    if (optWriteZero !== 0) limits.pwriteZeroesAlignmentBytes = optWriteZero
    if (maxWriteZero !== 0) limits.maxPwriteZeroesBytes = maxWriteZero
    if (optDiscard !== 0) limits.pdiscardAlignmentBytes = optDiscard
    if (maxDiscard !== 0) limits.maxPdiscardBytes = maxDiscard
    // The child cuts what is too long for it by itself.
    if (limits.maxTransferBytes < limits.requestAlignmentBytes) limits.maxTransferBytes = maxTransfer
    assert(limits.maxTransferBytes === 0 || limits.maxTransferBytes >= limits.requestAlignmentBytes, 'blkdebug-transfer-unit')
  }

  override childPermissions(
    child: BlockChild,
    parentPermission: number,
    parentShared: number,
  ): { permission: number; shared: number } {
    const { permission, shared } = super.childPermissions(child, parentPermission, parentShared)
    const { takeChildPermissions = Permission.None, unshareChildPermissions = Permission.None } = this.options
    return { permission: permission | takeChildPermissions, shared: shared & ~unshareChildPermissions }
  }

  override *pread(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    this.checkAligned(offsetBytes, buffer.length)
    const errno = yield* this.check('read', offsetBytes, buffer.length)
    return errno === OK ? yield* super.pread(offsetBytes, buffer, flags) : errno
  }

  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    this.checkAligned(offsetBytes, buffer.length)
    yield* this.debugEvent('pwritev')
    let errno = yield* this.check('write', offsetBytes, buffer.length)
    if (errno === OK) errno = yield* super.pwrite(offsetBytes, buffer, flags)
    yield* this.debugEvent('pwritev_done')
    return errno
  }

  /** Zeroes less than the unit that is shown are written as data, as a driver with that unit would want it. */
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    this.checkAligned(offsetBytes, lengthBytes)
    const { requestAlignmentBytes, pwriteZeroesAlignmentBytes, maxPwriteZeroesBytes } = this.node.limits
    if (lengthBytes < Math.max(requestAlignmentBytes, pwriteZeroesAlignmentBytes)) return ENOTSUP
    assert(maxPwriteZeroesBytes === 0 || lengthBytes <= maxPwriteZeroesBytes, 'blkdebug-zero-limit')
    yield* this.debugEvent('pwritev_zero')
    let errno = yield* this.check('write-zeroes', offsetBytes, lengthBytes)
    if (errno === OK) errno = yield* super.pwriteZeroes(offsetBytes, lengthBytes, flags)
    yield* this.debugEvent('pwritev_done')
    return errno
  }

  override *pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    const { pdiscardAlignmentBytes, maxPdiscardBytes } = this.node.limits
    if (lengthBytes < pdiscardAlignmentBytes) return ENOTSUP
    this.checkAligned(offsetBytes, lengthBytes)
    assert(maxPdiscardBytes === 0 || lengthBytes <= maxPdiscardBytes, 'blkdebug-discard-limit')
    const errno = yield* this.check('discard', offsetBytes, lengthBytes)
    return errno === OK ? yield* super.pdiscard(offsetBytes, lengthBytes) : errno
  }

  override flush(): Co<Errno> {
    return this.check('flush', 0, 0)
  }
  override admitStatus(offsetBytes: number, lengthBytes: number): Co<Errno> {
    return this.check('block-status', offsetBytes, lengthBytes)
  }

  /** The block layer's word about what reaches a driver. */
  private checkAligned(offsetBytes: number, lengthBytes: number): void {
    assert(isAligned(offsetBytes, lengthBytes, this.node.limits.requestAlignmentBytes), 'blkdebug-alignment')
  }

  /** The error that an armed rule has for a request, or OK. */
  private *check(ioType: IoType, offsetBytes: number, lengthBytes: number): Co<Errno> {
    const rule = this.active.find(
      (armed) =>
        (armed.ioType === null ? ioType !== 'block-status' : armed.ioType === ioType) &&
        (armed.offsetBytes === null || (armed.offsetBytes >= offsetBytes && armed.offsetBytes < offsetBytes + lengthBytes)),
    )
    if (rule === undefined || rule.errno === OK) return OK
    if (rule.once) {
      this.active = this.active.filter((armed) => armed !== rule)
      this.rules = this.rules.filter((kept) => kept !== rule)
    }
    if (!rule.immediately) yield* this.node.kernel.sleepNs(0)
    return rule.errno
  }

  /** Applies the rules of an event at once, and gives the tags at which the caller has to stop. */
  private applyEvent(event: string): string[] {
    const matching = this.rules.filter((rule) => rule.event === event && (rule.state === 0 || rule.state === this.state))
    if (matching.length === 0) return []
    const injected = matching.filter((rule) => rule.action === 'inject-error')
    if (injected.length > 0) this.active = injected
    const tags: string[] = []
    for (const rule of matching) if (rule.action === 'suspend') tags.push(rule.tag)
    // A breakpoint stops one request.
    this.rules = this.rules.filter((rule) => rule.action !== 'suspend' || !matching.includes(rule))
    for (const rule of matching) {
      if (rule.action !== 'set-state') continue
      this.state = rule.newState
      break
    }
    return tags
  }

  override *debugEvent(event: string): Co<void> {
    if (this.rules.length === 0) return
    const tags = this.applyEvent(event)
    if (tags.length > 0) yield* this.suspend(tags)
  }

  /** Parks until each of the tags has been resumed. */
  private *suspend(tags: readonly string[]): Co<void> {
    const { kernel } = this.node
    const coroutine = kernel.current
    assert(coroutine !== null, 'suspend-inside-coroutine')
    const entries = tags.map((tag): Suspended => ({ tag, coroutine, isResumed: false }))
    this.suspended.push(...entries)
    for (const { tag } of entries) this.say(`blkdebug: Suspended request '${tag}'`)
    for (const entry of entries) {
      while (!entry.isResumed) {
        kernel.willPark({ describe: () => `waits to be resumed at breakpoint '${entry.tag}'` })
        yield
      }
    }
  }

  /** Stops the next request that comes to `event`. Throws BlockError for an event that there is not. */
  addBreakpoint(event: string, tag: string): void {
    checkEvent(event)
    this.rules.push({ action: 'suspend', event, state: 0, tag })
  }
  /** Lets the longest suspended request of that tag go on; ENOENT if there is none. */
  resume(tag: string): Errno {
    const index = this.suspended.findIndex((entry) => entry.tag === tag)
    if (index < 0) return ENOENT
    const [entry] = this.suspended.splice(index, 1)
    assert(entry !== undefined && !entry.isResumed, 'resumed-once')
    entry.isResumed = true
    this.say(`blkdebug: Resuming request '${tag}'`)
    this.node.kernel.wake(entry.coroutine)
    return OK
  }
  /** Removes the breakpoints of that tag and lets all that it has suspended go on; ENOENT if there was nothing. */
  removeBreakpoint(tag: string): Errno {
    const kept = this.rules.filter((rule) => rule.action !== 'suspend' || rule.tag !== tag)
    let errno = kept.length === this.rules.length ? ENOENT : OK
    this.rules = kept
    while (this.resume(tag) === OK) errno = OK
    assert(!this.isSuspended(tag), 'breakpoint-removed')
    return errno
  }
  isSuspended(tag: string): boolean {
    return this.suspended.some((entry) => entry.tag === tag)
  }
}

function checkLimit(name: string, bytes: number, unitBytes: number): void {
  assert(unitBytes >= 1, 'limit-unit')
  if (bytes === 0) return
  if (bytes < 0 || bytes >= LIMIT_MAX_BYTES || bytes % unitBytes !== 0) {
    throw new BlockError(`Cannot meet constraints with ${name} ${bytes}`)
  }
}

/** The first blkdebug on the way from `node` down to its data, where breakpoints go; null if there is none. */
export function findBlkdebug(node: BlockNode): BlkdebugDriver | null {
  for (let at: BlockNode | undefined = node; at !== undefined; at = (at.filtered ?? at.children.get('file'))?.node) {
    if (at.driver instanceof BlkdebugDriver) return at.driver
  }
  return null
}

/** The parts of `blkdebug:CONFIG:IMAGE`; an empty CONFIG is none. Throws BlockError. */
export function parseBlkdebugFilename(filename: string): { config: string | null; image: string } {
  const rest = filename.replace(/^blkdebug:/, '')
  const colon = rest.indexOf(':')
  if (colon < 0) throw new BlockError('blkdebug requires both config file and image path')
  return { config: colon === 0 ? null : rest.slice(0, colon), image: rest.slice(colon + 1) }
}
