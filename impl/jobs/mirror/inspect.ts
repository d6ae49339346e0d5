/**
 * The read-only window on a running mirror: what queries, the viewer and checkers outside `impl` may look at. Arrays are
 * the live ones, not copies: nobody outside the job writes to them, and whoever wants to remember a state copies it.
 * Bit i of a map is bit i & 31 of word i >> 5 and stands for chunk i.
 */

export interface MirrorOperationView {
  /** `pseudo` claims a run while it is being split; `active-*` work for a guest request. */
  readonly kind: 'pseudo' | 'copy' | 'zero' | 'discard' | 'active-write' | 'active-zero' | 'active-discard'
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** False while the operation waits for others; it has claimed no chunk then. */
  readonly isInFlight: boolean
}

/** A guest request that has entered the mirror's filter node and has not left it. */
export interface FilterRequestView {
  readonly kind: 'write' | 'write-zeroes' | 'discard'
  readonly offsetBytes: number
  readonly lengthBytes: number
}

export type MirrorPhase = 'starting' | 'zeroing' | 'scanning' | 'copying' | 'completing' | 'finished'

/** The mirror's state as checkers see it, live and for reading. */
export interface MirrorView {
  readonly granularityBytes: number
  readonly lengthBytes: number
  readonly chunkCount: number
  readonly phase: MirrorPhase
  readonly copyMode: 'background' | 'write-blocking'
  readonly activelySynced: boolean
  /** True from the first READY on. */
  readonly wasReady: boolean
  readonly dirtyWords: Uint32Array
  /** null with sync=none, and after the job has released it. */
  readonly zeroWords: Uint32Array | null
  readonly inFlightWords: Uint32Array | null
  readonly cowWords: Uint32Array | null
  readonly operations: Iterable<MirrorOperationView>
  readonly filterRequests: Iterable<FilterRequestView>
  readonly statistics: {
    readonly copiedBytes: number
    /** Zero writes not sent because the destination was known to read zero there. */
    readonly skippedZeroBytes: number
    readonly zeroedBytes: number
    readonly discardedBytes: number
  }
}
