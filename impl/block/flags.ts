/** Request flags, block-status flags, permissions and limits: the vocabulary every driver and every caller shares. */

/** Flags of a write or write-zeroes request; a bit set. */
export const enum RequestFlag {
  None = 0,
  /** Write-zeroes may deallocate what it zeroes. */
  MayUnmap = 1,
  /** Write-zeroes fails with ENOTSUP rather than write zeroes as data. */
  NoFallback = 2,
  /** The data must be on stable storage when the request completes. */
  Fua = 4,
  /** The write does not change what the node reads (copy-on-read, mirror into a shared target). Needs only WriteUnchanged. */
  WriteUnchanged = 8,
  /** Whole clusters are to be stored compressed where that is shorter; ENOTSUP by drivers that never can. */
  Compressed = 16,
  /** Excludes everything that overlaps, in whole clusters, while it runs. Meant for the node itself; not handed on. */
  Serialising = 32,
}

/** What a block-status query says about a range; a bit set, as QEMU's BDRV_BLOCK_*. */
export const enum StatusFlag {
  None = 0,
  /** This layer determines the data (as opposed to a backing layer). */
  Allocated = 1,
  /** Reading goes to storage: the content is not known without reading. */
  Data = 2,
  /** The range reads as zeroes. */
  Zero = 4,
  /** `mapOffsetBytes` in `mapNode` holds the raw data. */
  OffsetValid = 8,
  /** The range ends at the end of the node. */
  Eof = 16,
  /** A driver asks the block layer to refine Data by asking its child (raw over a sparse protocol). */
  Recurse = 32,
}

/** What a parent needs from a child node, and what it allows others to hold; a bit set. */
export const enum Permission {
  None = 0,
  ConsistentRead = 1,
  Write = 2,
  WriteUnchanged = 4,
  Resize = 8,
  All = 15,
}

/** Limits of a node, in bytes; 0 means "no limit" for maxima and "none" for optima. Alignments are powers of two. */
export interface BlockLimits {
  /** Reads and writes to the driver have this alignment in offset and length; the block layer pads what has not. */
  requestAlignmentBytes: number
  /** Largest single read or write; the block layer splits above it. A multiple of requestAlignmentBytes. */
  maxTransferBytes: number
  optTransferBytes: number
  /** Write-zeroes: largest request and the alignment below which the driver may answer ENOTSUP. */
  maxPwriteZeroesBytes: number
  pwriteZeroesAlignmentBytes: number
  maxPdiscardBytes: number
  pdiscardAlignmentBytes: number
  /** Memory alignment that O_DIRECT needs for buffers. */
  memoryAlignmentBytes: number
}

export function defaultLimits(): BlockLimits {
  return {
    requestAlignmentBytes: 1,
    maxTransferBytes: 0,
    optTransferBytes: 0,
    maxPwriteZeroesBytes: 0,
    pwriteZeroesAlignmentBytes: 0,
    maxPdiscardBytes: 0,
    pdiscardAlignmentBytes: 0,
    memoryAlignmentBytes: 1,
  }
}

/** Largest request the block layer takes, and the step for status queries: 2^31 - 1 rounded down to 64 KiB. */
export const REQUEST_MAX_BYTES = 0x7fff0000
