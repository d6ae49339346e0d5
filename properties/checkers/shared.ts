/** What checkers have in common: bit maps, ranges of chunks, whose request it is. No code of what is checked. */
import { UNKNOWN_WRITER } from '../../model/disk'
import { writerOf, ZERO_WRITER } from '../../model/stamp'
import type { DiskName, DiskOperation, DiskPlan, Plan } from '../../sim/plan'

export const STATUS_OK = 0
export const STATUS_IOERR = 1
export const OK = 0
export const ENOSPC = 28

/** Requests that change what a disk holds. */
export function isChange(operation: DiskOperation): boolean {
  return operation === 'write' || operation === 'write-zeroes' || operation === 'discard'
}

export function isAnyBitSet(words: Uint32Array): boolean {
  for (let word = 0; word < words.length; word++) if (words[word] !== 0) return true
  return false
}

export function hasBit(words: Uint32Array, index: number): boolean {
  return (words[index >> 5]! & (1 << (index & 31))) !== 0
}

/** Sets the bits of the chunks that a range touches. */
export function markRange(words: Uint32Array, granularityBytes: number, offsetBytes: number, endBytes: number): void {
  const last = Math.floor((endBytes - 1) / granularityBytes)
  for (let index = Math.floor(offsetBytes / granularityBytes); index <= last; index++) words[index >> 5]! |= 1 << (index & 31)
}

/** A map with a bit for each of `count` chunks, all set or all clear. */
export function bitMap(count: number, isSet: boolean): Uint32Array {
  const words = new Uint32Array((count + 31) >> 5)
  if (isSet) setAll(words, count)
  return words
}

export function setAll(words: Uint32Array, count: number): void {
  words.fill(0xffffffff)
  if ((count & 31) !== 0) words[words.length - 1] = 2 ** (count & 31) - 1
}

/** A view on the same bytes that compares by the byte engine. */
export function bufferOn(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}

const ZEROES = Buffer.alloc(64 * 1024)

export function isZeroRange(bytes: Buffer, offsetBytes: number, endBytes: number): boolean {
  for (let at = offsetBytes; at < endBytes; at += ZEROES.length) {
    const end = Math.min(at + ZEROES.length, endBytes)
    if (bytes.compare(ZEROES, 0, end - at, at, end) !== 0) return false
  }
  return true
}

/** The first byte at which two buffers differ in a range where they do. */
export function firstDifference(left: Uint8Array, right: Uint8Array, offsetBytes: number): number {
  let at = offsetBytes
  while (at < left.length && left[at] === right[at]) at++
  return at
}

const idsOfPlans = new WeakMap<Plan, ReadonlySet<string>>()

/** Ids of the guest's operations: requests that carry one are made on the guest's behalf. Made once for a plan. */
export function guestIds(plan: Plan): ReadonlySet<string> {
  let ids = idsOfPlans.get(plan)
  if (ids === undefined) {
    ids = new Set(plan.guest.map(({ id }) => id))
    idsOfPlans.set(plan, ids)
  }
  return ids
}

/** Names the writer of a stamp. Slow; for findings only. */
export function writerNames(plan: Plan): (writer: number) => string {
  return (writer) => {
    if (writer === ZERO_WRITER) return 'nobody'
    const extents = [...plan.source.initial, ...plan.destination.initial]
    const found = [...plan.guest, ...extents].find(({ id }) => writerOf(id) === writer)
    return found === undefined ? `an unknown writer ${writer}` : found.id
  }
}

/** Whether changes of guests may have the mirror read around them, to complete clusters above an image that comes later. */
export function completesClusters({ destination }: Plan): boolean {
  return destination.format?.backing?.isDetached === true
}

/** Whether zero writes with MayUnmap that reach the node of this disk free space in it. */
export function canUnmap(disk: DiskPlan): boolean {
  return disk.writeZeroes === 'unmapping' && disk.node.discard === 'unmap'
}

/** Whether the destination's node looks for zeroes in data to free their space: the mirror claims to know nothing then. */
export function punchesZeroes(plan: Plan): boolean {
  return plan.destination.node.detectZeroes === 'unmap' && canUnmap(plan.destination)
}

export type DiscardEffect = 'none' | 'zero' | 'unknown'

function effectOf({ node, discard, writeZeroes }: DiskPlan): DiscardEffect {
  if (node.discard === 'ignore') return 'none'
  if (discard === 'reads-garbage') return 'unknown'
  // The mirror turns discards into zero writes that deallocate where it can.
  return discard === 'none' && writeZeroes !== 'unmapping' ? 'none' : 'zero'
}

function strongest(left: DiscardEffect, right: DiscardEffect): DiscardEffect {
  if (left === 'unknown' || right === 'unknown') return 'unknown'
  return left === 'zero' || right === 'zero' ? 'zero' : 'none'
}

/** What a discard may do, by the disk that the guest uses when it submits it: it may end on the other one. */
export function discardEffects({ source, destination }: Plan): Readonly<Record<DiskName, DiscardEffect>> {
  return { source: strongest(effectOf(source), effectOf(destination)), destination: effectOf(destination) }
}

/** In whose name a discard changes sectors, if it does; null where it never does. */
export function writersOfDiscards(effect: DiscardEffect): number | null {
  if (effect === 'none') return null
  return effect === 'zero' ? ZERO_WRITER : UNKNOWN_WRITER
}
