/**
 * Images whose bytes were changed at random: they are refused in words, or give errors, or work; never an exception, never
 * an endless loop, never memory that the image alone asks for.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockError } from '../../error'
import { RequestFlag } from '../../flags'
import { type ImageStack, newStack, openStack, randomFrom } from './testing'

type Random = (below: number) => number

/** An image of every kind of cluster. */
function sound(random: Random): Buffer {
  const clusterBytes = [512, 1024, 4096, 16384][random(4)]!
  const extendedL2 = clusterBytes === 16384 && random(2) === 0
  const stack = newStack({ sizeBytes: 64 * clusterBytes, clusterBytes, extendedL2, refcountBits: 1 << random(7) })
  for (let number = 1; number <= 6; number++) {
    stack.run(stack.backend.pwrite(random(60) * clusterBytes, new Uint8Array(clusterBytes * 2).fill(number)))
    stack.run(stack.backend.pwriteZeroes(random(60) * clusterBytes, clusterBytes, random(2)))
    stack.run(stack.backend.pwrite(random(60) * clusterBytes, new Uint8Array(clusterBytes).fill(number), RequestFlag.Compressed))
  }
  return Buffer.from(stack.close())
}

function damage(content: Buffer, random: Random): Buffer {
  for (let count = 1 + random(4); count > 0; count--) {
    const at = [random(112), random(Math.min(content.length, 65536)), random(content.length)][random(3)]!
    if (random(3) > 0) content[at] = random(2) === 0 ? 255 : random(256)
    else content.writeUInt32BE(random(2) === 0 ? 0xffffffff : random(2 ** 24) * 256, Math.min(at & ~3, content.length - 4))
  }
  if (random(5) === 0) content.fill(0, random(content.length))
  return random(6) === 0 ? content.subarray(0, random(content.length)) : content
}

/** Requests of every kind; what they answer does not matter. Returns how many failed. */
function use(stack: ImageStack, random: Random, isReadOnly: boolean): number {
  const { backend, node, run } = stack
  const endBytes = Math.min(backend.lengthBytes, 2 ** 40)
  let failures = 0
  for (let number = 0; number < 12; number++) {
    const length = Math.min(endBytes, 1 + random(100000))
    const at = Math.floor(
      (random(2 ** 20) / 2 ** 20) * (random(2) === 0 ? endBytes - length : Math.min(endBytes - length, 2 ** 20)),
    )
    const kind = random(isReadOnly ? 2 : 7)
    let errno = 0
    if (kind === 0) errno = run(backend.pread(at, new Uint8Array(length)))
    else if (kind === 1) errno = run(node.blockStatus('want-zero', at, length)).errno
    else if (kind < 4) errno = run(backend.pwrite(at, new Uint8Array(length).fill(9)))
    else if (kind === 4) errno = run(backend.pwriteZeroes(at, length, random(2)))
    else if (kind === 5) errno = run(backend.pdiscard(at, length))
    else errno = run(backend.flush())
    if (errno !== 0) failures++
  }
  return failures
}

test('a damaged image is refused or gives errors, and harms nobody', () => {
  const seen = { refused: 0, failed: 0, worked: 0 }
  for (let seed = 1; seed <= 150; seed++) {
    const random = randomFrom(seed * 65537)
    const content = damage(sound(random), random)
    const readOnly = random(4) === 0
    try {
      const stack = openStack(content, { open: { readOnly, l2CacheBytes: 0 } })
      if (use(stack, random, readOnly) > 0) seen.failed++
      else seen.worked++
      if (!readOnly && random(3) === 0) stack.run(stack.backend.truncate(512 * (1 + random(200)), false, 'off'))
      stack.close()
    } catch (error) {
      assert.instance(error, BlockError, `seed ${seed}: ${error}`)
      seen.refused++
    }
  }
  assert.ok(seen.refused > 30 && seen.failed > 5 && seen.worked > 30, JSON.stringify(seen))
})

test.run()
