/**
 * Labels name what a coroutine works for: a guest operation, a chunk that is copied, a job. They are stable across
 * runs and across the deletion of other operations, because decisions are keyed by them: a label never holds a counter
 * that is global to the run.
 */

/** A name with its hash, made once and carried along; `hash` is an unsigned 32-bit integer. */
export interface Label {
  readonly id: string
  readonly hash: number
}

/** FNV-1a over UTF-16 units with a final avalanche: decisions take the low bits. Returns an unsigned 32-bit integer. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  }
  return mix32(hash)
}

/** The 32-bit finaliser of splitmix-like hashes (public-domain constants); bijective, so it loses nothing. */
export function mix32(value: number): number {
  let mixed = value | 0
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad)
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
  return (mixed ^ (mixed >>> 15)) >>> 0
}

export function makeLabel(id: string): Label {
  return { id, hash: hashText(id) }
}

const NUMBERED = new Map<string, Label[]>()
const NUMBERED_MAX = 4096

/** `makeLabel(prefix + number)`, cached for small numbers: background work asks for the same few names again and again. */
export function numberedLabel(prefix: string, number: number): Label {
  if (number >= NUMBERED_MAX) return makeLabel(prefix + number)
  let cached = NUMBERED.get(prefix)
  if (cached === undefined) {
    cached = []
    NUMBERED.set(prefix, cached)
  }
  cached[number] ??= makeLabel(prefix + number)
  return cached[number]
}
