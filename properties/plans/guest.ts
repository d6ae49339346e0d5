/**
 * Draws the guest's operations. They fall on block boundaries inside the disk and crowd on a few hot chunks, because a zero
 * bit is lost or kept wrongly only where one chunk is written, zeroed, discarded and written again.
 */
import type { GuestOperation, GuestOperationKind } from '../../sim/plan'
import type { Choices, Weighted } from './choices'
import type { Geometry } from './geometry'
import type { Profile } from './mixture'
import * as mixture from './mixture_events'

/** What is decided once for all operations of a world. */
interface Habits {
  readonly kinds: Weighted<GuestOperationKind>
  readonly places: Weighted<mixture.Place>
  readonly extents: Weighted<mixture.Extent>
  readonly hotChunks: readonly number[]
  readonly lanes: number
  readonly thinkPercent: number
  readonly thinkMaxNs: number
}

export function drawGuest(choices: Choices, geometry: Geometry, profile: Profile): GuestOperation[] {
  const [fewest, most] = choices.pick(profile.guestOperations)
  const count = choices.between(fewest, most)
  const habits = drawHabits(choices, geometry)
  const operations: GuestOperation[] = []
  let leftBytes = mixture.TRANSFERRED_BYTES_MAX
  for (let number = 1; number <= count; number++) {
    const operation = drawOperation(choices, geometry, habits, `g${number}`, leftBytes)
    if (movesData(operation.kind)) leftBytes -= operation.lengthBytes
    operations.push(operation)
  }
  return operations
}

function movesData(kind: GuestOperationKind): boolean {
  return kind === 'read' || kind === 'write'
}

function drawHabits(choices: Choices, geometry: Geometry): Habits {
  const hotChunks: number[] = []
  for (let left = choices.pick(mixture.HOT_CHUNKS); left > 0; left--) hotChunks.push(choices.below(geometry.chunkCount))
  const [thinkPercent, thinkMaxNs] = choices.pick(mixture.PACE)
  return {
    kinds: choices.weigh(mixture.GUEST_KIND),
    places: choices.weigh(mixture.PLACE),
    extents: choices.weigh(mixture.EXTENT),
    hotChunks,
    lanes: choices.pick(mixture.LANES),
    thinkPercent,
    thinkMaxNs,
  }
}

/** `leftBytes`: what reads and writes of the world may still move; every one moves at least a block or two. */
function drawOperation(choices: Choices, geometry: Geometry, habits: Habits, id: string, leftBytes: number): GuestOperation {
  const kind = choices.pickWeighted(habits.kinds)
  const lane = choices.below(habits.lanes)
  const thinkNs = choices.chance(habits.thinkPercent) ? choices.below(habits.thinkMaxNs + 1) : 0
  if (kind === 'flush' || kind === 'get-id') return { id, kind, lane, offsetBytes: 0, lengthBytes: 0, thinkNs }

  const place = choices.pickWeighted(habits.places)
  const blockBytes = geometry.device.blockBytes
  let lengthBytes = drawExtent(choices, geometry, choices.pickWeighted(habits.extents))
  if (movesData(kind)) {
    const mostBytes = Math.max(blockBytes, Math.min(leftBytes, mixture.TRANSFER_BYTES_MAX))
    lengthBytes = Math.min(lengthBytes, mostBytes - (mostBytes % blockBytes))
  }
  if (place === 'straddle') lengthBytes = Math.min(geometry.lengthBytes, Math.max(lengthBytes, 2 * blockBytes))
  const offsetBytes = drawOffset(choices, geometry, habits, place, lengthBytes)
  const operation: GuestOperation = { id, kind, lane, offsetBytes, lengthBytes, thinkNs }
  if (kind === 'write-zeroes') operation.unmap = choices.chance(mixture.GUEST_UNMAP_PERCENT)
  if (kind === 'write' && choices.chance(mixture.ZERO_DATA_PERCENT)) operation.zeroData = true
  return operation
}

/** A length in bytes: whole blocks, no longer than the disk. */
function drawExtent(choices: Choices, geometry: Geometry, extent: mixture.Extent): number {
  const { granularityBytes, lengthBytes, device } = geometry
  const mostBytes = Math.min(lengthBytes, mixture.OPERATION_BYTES_MAX)
  const chunkBlocks = Math.max(1, granularityBytes / device.blockBytes)
  switch (extent) {
    case 'block':
      return device.blockBytes
    case 'part':
      return Math.min(mostBytes, choices.between(1, chunkBlocks) * device.blockBytes)
    case 'chunk':
      return Math.min(mostBytes, chunkBlocks * device.blockBytes)
    case 'chunks':
      return Math.min(mostBytes, choices.between(2, mixture.EXTENT_CHUNKS_MAX) * chunkBlocks * device.blockBytes)
    case 'disk':
      return mostBytes
  }
}

/** An offset in bytes at which `lengthBytes` fit. */
function drawOffset(choices: Choices, geometry: Geometry, habits: Habits, place: mixture.Place, lengthBytes: number): number {
  const { granularityBytes, chunkCount, device } = geometry
  const { blockBytes } = device
  const lastBytes = geometry.lengthBytes - lengthBytes
  const chunkBlocks = Math.max(1, granularityBytes / blockBytes)
  const lengthBlocks = lengthBytes / blockBytes
  let offsetBytes: number
  switch (place) {
    case 'hot': {
      const within = lengthBlocks >= chunkBlocks && choices.chance(60) ? 0 : choices.below(chunkBlocks)
      offsetBytes = habits.hotChunks[choices.below(habits.hotChunks.length)]! * granularityBytes + within * blockBytes
      break
    }
    case 'straddle':
      offsetBytes = choices.between(1, Math.max(1, chunkCount - 1)) * granularityBytes
      offsetBytes -= choices.between(1, Math.max(1, lengthBlocks - 1)) * blockBytes
      break
    case 'tail':
      offsetBytes = lastBytes - (choices.chance(30) ? blockBytes : 0)
      break
    case 'head':
      offsetBytes = 0
      break
    case 'anywhere':
      offsetBytes = choices.below(lastBytes / blockBytes + 1) * blockBytes
      break
  }
  const blocks = Math.floor(Math.min(Math.max(offsetBytes, 0), lastBytes) / blockBytes)
  return blocks * blockBytes
}
