/**
 * Background copying: takes a run of dirty chunks, clears their bits, asks what the source holds there, and starts one
 * operation for each piece.
 *
 * What may fail: reads of the source and writes to the target; the piece is dirty again then, and the job hears of it.
 * What never may: a chunk whose dirty bit is cleared and that is neither in flight nor equal on both sides; more than
 * OPERATIONS_MAX operations or more bytes than the buffer has.
 */
import { assert, type Co, type Coroutine, ECANCELED, ENOMEM, type Errno, numberedLabel, OK, type WaitReason } from '../../co'
import { MirrorOperation } from './operations'
import { RunSplitter } from './split'
import { type MirrorState, OPERATIONS_MAX } from './state'
import { copyToTarget, writeTarget, zeroTarget } from './target_writes'

/** With a speed limit a run is what may pass in this part of a second, so that nobody waits long for a claim. */
const RUNS_PER_SECOND = 10
/** However large the buffer: what is claimed at once keeps guests waiting. */
const RUN_MAX_BYTES = 1024 * 1024 * 1024
/** Runs that need no I/O before others get their turn. */
export const BUSY_STEPS_MAX = 32

/** The parts of a piece without holes; the splitter's own list changes while the copy runs. */
const ALL_DATA: readonly number[] = []

/** Parks the job until something has happened; the job provides it. */
export type SleepUntilKick = (reason: WaitReason) => Co<void>

export class BackgroundCopier implements WaitReason {
  private readonly state: MirrorState
  private readonly sleep: SleepUntilKick
  /** Buffers that nobody uses at the moment, the longest ever needed. */
  private readonly spare: Uint8Array[] = []
  private steps = 0

  constructor(state: MirrorState, sleep: SleepUntilKick) {
    this.state = state
    this.sleep = sleep
  }

  describe(): string {
    return `waits for one of ${this.state.backgroundCount} background operations`
  }
  *heldBy(): Iterable<Coroutine> {
    for (const operation of this.state.operations) {
      const owner = operation instanceof MirrorOperation ? operation.owner : null
      if (operation.isInFlight && operation.kind !== 'pseudo' && owner !== null) yield owner
    }
  }

  get hasSlot(): boolean {
    return this.state.backgroundCount < OPERATIONS_MAX && this.state.freeBufferBytes > 0
  }

  /** Parks until every background operation has ended. */
  *settle(): Co<void> {
    while (this.state.backgroundCount > 0) yield* this.sleep(this)
  }

  /** Takes the next run of dirty chunks and starts copying it. Call with dirty chunks, and no reason to hold. */
  *copyNext(): Co<void> {
    const { state } = this
    const run = this.nextRun()
    if (!state.operationsInFlight.tryClaim(run)) {
      yield* state.operationsInFlight.waitForClaim(run)
      // The one that had the chunks may have copied them itself.
      if (state.mustHold || !state.dirty.isAnySet(run.claimBytes, run.lengthBytes)) return state.operationsInFlight.release(run)
    }
    this.extend(run)
    const { offsetBytes, lengthBytes } = run
    // Before the source is looked at: what is written from here on makes the chunk dirty again.
    state.dirty.reset(offsetBytes, lengthBytes)
    state.cursorBytes = offsetBytes + lengthBytes
    state.control.progress.begin(lengthBytes)
    yield* this.splitRun(run)
    assert(run.lengthBytes === 0, 'run-used-up')
  }

  private nextRun(): MirrorOperation {
    const { state } = this
    let firstBytes = state.dirty.nextDirty(state.cursorBytes)
    if (firstBytes < 0) firstBytes = state.dirty.nextDirty(0)
    assert(firstBytes >= 0, 'something-dirty')
    let startBytes = firstBytes
    let endBytes = state.chunkCeiling(firstBytes + 1)
    if (state.needsWholeClusters(startBytes, endBytes)) {
      startBytes = state.unitFloor(startBytes)
      endBytes = state.unitCeiling(endBytes)
    }
    return new MirrorOperation(state.operationsInFlight, 'pseudo', startBytes, endBytes - startBytes, startBytes, endBytes)
  }

  /** Adds the chunks that follow while they are dirty and free. Clusters that are copied whole go one by one. */
  private extend(run: MirrorOperation): void {
    const { state } = this
    const fromBytes = run.claimEndBytes
    const limitBytes = this.runLimitBytes(run.claimBytes)
    if (state.cow !== null || fromBytes >= limitBytes) return
    const cleanBytes = state.dirty.nextClean(fromBytes)
    const dirtyEndBytes = cleanBytes < 0 ? limitBytes : Math.min(cleanBytes, limitBytes)
    const endBytes = state.operationsInFlight.freeUntil(fromBytes, dirtyEndBytes)
    assert(endBytes >= fromBytes && endBytes <= dirtyEndBytes, 'extend-inside')
    if (endBytes > fromBytes) state.operationsInFlight.grow(run, endBytes)
  }

  /**
   * How far a run that starts at `startBytes` may reach. It ends with a piece that the target can zero as such, however
   * small the buffer: a hole that is cut elsewhere would be filled with zeroes.
   */
  private runLimitBytes(startBytes: number): number {
    const { bufferBytes, copyMaxBytes, granularityBytes, holeUnitBytes, control, lengthBytes } = this.state
    const { speed } = control.limit
    const shareBytes =
      speed === 0 ? Math.min(bufferBytes, RUN_MAX_BYTES) : Math.min(Math.floor(speed / RUNS_PER_SECOND), copyMaxBytes)
    const stepBytes = holeUnitBytes % granularityBytes === 0 ? holeUnitBytes : granularityBytes
    const reachBytes = startBytes + Math.max(shareBytes, stepBytes)
    const limitBytes = reachBytes - (reachBytes % stepBytes)
    assert(limitBytes > startBytes, 'run-not-empty', () => `${startBytes}+${shareBytes}`)
    return Math.min(limitBytes, lengthBytes)
  }

  private *splitRun(run: MirrorOperation): Co<void> {
    const { state } = this
    const splitter = new RunSplitter(state, run.claimEndBytes)
    while (run.lengthBytes > 0) {
      if (state.mustHold) return this.giveBack(run)
      yield* splitter.next(run.offsetBytes)
      const lengthBytes = splitter.pieceEndBytes - run.offsetBytes
      assert(lengthBytes > 0 && lengthBytes <= run.lengthBytes, 'piece-inside-run')
      if (splitter.pieceIsZero) yield* this.startZeroes(run, splitter.pieceEndBytes)
      else yield* this.startCopy(run, lengthBytes, splitter.parts)
    }
  }

  /** The rest of a run is not started: it is as dirty as it was. */
  private giveBack(run: MirrorOperation): void {
    const { state } = this
    const { offsetBytes, lengthBytes } = run
    assert(lengthBytes > 0 && run.isInFlight, 'give-back-rest')
    state.control.progress.giveBack(lengthBytes)
    state.dirty.set(offsetBytes, lengthBytes)
    run.lengthBytes = 0
    state.operationsInFlight.release(run)
  }

  /** Zeroes the head of a run, without what is known to read zero: that is done at once. */
  private *startZeroes(run: MirrorOperation, endBytes: number): Co<void> {
    const { state } = this
    while (run.lengthBytes > 0 && run.offsetBytes < endBytes) {
      const at = run.offsetBytes
      const unknownBytes = state.zeroes === null ? at : state.zeroes.nextUnknown(at, endBytes)
      if (unknownBytes > at) {
        this.skip(run, unknownBytes - at)
        if (++this.steps % BUSY_STEPS_MAX === 0) yield* state.kernel.sleepNs(0)
        continue
      }
      const stopBytes = state.zeroes === null ? endBytes : state.zeroes.nextKnown(at, endBytes)
      while (!this.hasSlot && !state.mustHold) yield* this.sleep(this)
      if (state.mustHold) return
      const operation = state.operationsInFlight.split(run, 'zero', stopBytes - at)
      if (state.zeroesTakeSpace) this.account(stopBytes - at)
      this.spawn(operation, this.zero(operation))
    }
  }

  private skip(run: MirrorOperation, lengthBytes: number): void {
    const { state } = this
    const operation = state.operationsInFlight.split(run, 'zero', lengthBytes)
    state.statistics.skippedZeroBytes += lengthBytes
    state.noteCopied(lengthBytes)
    state.cow?.set(operation.claimBytes, lengthBytes)
    state.operationsInFlight.release(operation)
    assert(run.offsetBytes >= operation.claimEndBytes, 'skip-forward')
  }

  private *startCopy(run: MirrorOperation, lengthBytes: number, parts: readonly number[]): Co<void> {
    const { state } = this
    const bufferBytes = longestData(lengthBytes, parts)
    assert(bufferBytes <= state.copyMaxBytes, 'copy-bounded', () => String(bufferBytes))
    while ((!this.hasSlot || state.freeBufferBytes < bufferBytes) && !state.mustHold) yield* this.sleep(this)
    if (state.mustHold) return
    const operation = state.operationsInFlight.split(run, 'copy', lengthBytes)
    state.freeBufferBytes -= bufferBytes
    this.account(lengthBytes)
    this.spawn(operation, this.copy(operation, bufferBytes, parts.length === 0 ? ALL_DATA : parts.slice()))
  }

  private account(bytes: number): void {
    this.state.control.limit.account(this.state.kernel.nowNs(), bytes)
  }

  private spawn(operation: MirrorOperation, body: Co<void>): void {
    const { state } = this
    state.backgroundCount++
    assert(state.backgroundCount <= OPERATIONS_MAX, 'operations-bounded')
    const label = numberedLabel('b', Math.floor(operation.offsetBytes / state.granularityBytes))
    operation.owner = state.kernel.spawn(body, label)
  }

  private *zero(operation: MirrorOperation): Co<void> {
    const { offsetBytes, lengthBytes } = operation
    const errno = yield* zeroTarget(this.state, offsetBytes, offsetBytes + lengthBytes, this.state.zeroFlags)
    this.finish(operation, false, errno)
  }

  private *copy(operation: MirrorOperation, bufferBytes: number, parts: readonly number[]): Co<void> {
    const { state } = this
    const endBytes = operation.offsetBytes + operation.lengthBytes
    let errno = OK
    let isRead = false
    // Holes first: the zero bits of their chunks still tell whether they need a write.
    for (
      let part = 0, at = operation.offsetBytes;
      part < parts.length && errno === OK;
      at = parts[part + 1] ?? endBytes, part += 2
    ) {
      if (parts[part]! > at) errno = yield* zeroTarget(state, at, parts[part]!, state.zeroFlags)
    }
    let buffer: Uint8Array | null = null
    for (let part = 0, at = parts[0] ?? operation.offsetBytes; at < endBytes && errno === OK; ) {
      const stopBytes = parts[part + 1] ?? endBytes
      assert(stopBytes > at && stopBytes - at <= bufferBytes, 'part-fits-buffer')
      if (state.control.isForceCancelled) errno = ECANCELED
      else if (!state.copiesRanges || (yield* copyToTarget(state, at, stopBytes - at)) !== OK) {
        buffer ??= this.takeBuffer(at, bufferBytes)
        const data = buffer === null ? null : buffer.subarray(0, stopBytes - at)
        errno = data === null ? ENOMEM : yield* state.sourceChild.pread(at, data)
        isRead = errno !== OK
        if (data !== null && errno === OK) errno = yield* writeTarget(state, at, data)
      }
      part += 2
      at = parts[part] ?? endBytes
    }
    if (buffer !== null) this.spare.push(buffer)
    state.freeBufferBytes += bufferBytes
    assert(state.freeBufferBytes <= state.bufferBytes, 'buffer-given-back')
    this.finish(operation, isRead, errno)
  }

  private takeBuffer(offsetBytes: number, bytes: number): Uint8Array | null {
    const buffer = this.spare.pop()
    assert(bytes > 0, 'buffer-not-empty')
    if (buffer !== undefined && buffer.length >= bytes) return buffer
    const { source } = this.state
    return source.graph.transferBuffer(source, offsetBytes, bytes, false)
  }

  private finish(operation: MirrorOperation, isRead: boolean, errno: Errno): void {
    const { state } = this
    const { offsetBytes, lengthBytes } = operation
    state.backgroundCount--
    assert(state.backgroundCount >= 0 && operation.isInFlight, 'operation-ends-once')
    if (errno === OK) {
      state.noteCopied(lengthBytes)
      state.cow?.set(offsetBytes, lengthBytes)
    } else {
      state.control.progress.giveBack(lengthBytes)
      state.markDirty(offsetBytes, lengthBytes)
      if (!state.control.isForceCancelled) state.control.handleError(isRead, errno)
    }
    state.operationsInFlight.release(operation)
    state.control.kick()
    if (state.backgroundCount === 0) state.source.graph.drainProgress()
  }
}

/** Length of the longest stretch of data in a piece; 0 if all of it reads zero. */
function longestData(lengthBytes: number, parts: readonly number[]): number {
  if (parts.length === 0) return lengthBytes
  let longestBytes = 0
  for (let part = 0; part + 1 < parts.length; part += 2) {
    longestBytes = Math.max(longestBytes, parts[part + 1]! - parts[part]!)
  }
  assert(longestBytes <= lengthBytes, 'data-inside-piece')
  return longestBytes
}
