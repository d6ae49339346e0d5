/**
 * Random changes of random images, alone and several at once, against an array; whatever happens, the image reads as the array
 * after each of them, and when it is closed its refcounts are exact.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, EIO, makeLabel, OK } from '../../../co'
import { RequestFlag } from '../../flags'
import type { Qcow2CreateOptions } from './index'
import { checkRefcounts, GrowingFile, type ImageStack, newImage, openStack, randomFrom } from './testing'

const SECTOR = 512

interface Scene {
  random: (below: number) => number
  stack: ImageStack
  model: Buffer
  reopen(): void
  value: number
}

/** The byte that the next data is made of: never zero. */
function nextValue(scene: Scene): number {
  scene.value = (scene.value % 255) + 1
  return scene.value
}

function filled(scene: Scene, lengthBytes: number): Buffer {
  const buffer = Buffer.alloc(lengthBytes)
  for (let at = 0; at < lengthBytes; at += SECTOR) buffer.fill(nextValue(scene), at, Math.min(at + SECTOR, lengthBytes))
  return buffer
}

function write(scene: Scene, at: number, length: number): void {
  const data = filled(scene, length)
  assert.is(scene.stack.run(scene.stack.backend.pwrite(at, data)), OK)
  data.copy(scene.model, at)
}

function discard(scene: Scene, at: number, length: number): void {
  assert.is(scene.stack.run(scene.stack.backend.pdiscard(at, length)), OK)
  const read = Buffer.alloc(length)
  assert.is(scene.stack.run(scene.stack.backend.pread(at, read)), OK)
  for (let from = 0; from < length; from += SECTOR) {
    const sector = read.subarray(from, from + SECTOR)
    const isKept = sector.equals(scene.model.subarray(at + from, at + from + sector.length))
    assert.ok(isKept || sector.every((byte) => byte === 0), 'a discarded sector reads as before, or zero')
  }
  read.copy(scene.model, at)
}

function compress(scene: Scene, at: number, clusterBytes: number): void {
  const from = at - (at % clusterBytes)
  const data = Buffer.alloc(Math.min(clusterBytes, scene.model.length - from), nextValue(scene))
  const errno = scene.stack.run(scene.stack.backend.pwrite(from, data, RequestFlag.Compressed))
  assert.ok(errno === OK || errno === EIO, 'done, or refused because something is there')
  if (errno === OK) data.copy(scene.model, from)
}

/** Neighbouring writes, a zero write beside them and a flush, all in flight at once. */
function together(scene: Scene, at: number, length: number): void {
  const { stack, random, model } = scene
  stack.file.latencyNs = 10
  const start = (body: () => Co<number>): void => {
    stack.kernel.spawn(
      (function* (): Co<void> {
        assert.is(yield* body(), OK)
      })(),
      makeLabel('guest'),
    )
  }
  for (let from = at, parts = 0; from < at + length && parts < 6; parts++) {
    const data = filled(scene, Math.min(SECTOR * (1 + random(10)), at + length - from))
    const offset = from
    start(() => stack.backend.pwrite(offset, data))
    data.copy(model, offset)
    from += data.length
  }
  const zeroAt = random(model.length / SECTOR) * SECTOR
  const zeroBytes = Math.min(model.length - zeroAt, random(60) * SECTOR)
  if (zeroBytes > 0 && (zeroAt + zeroBytes <= at || zeroAt >= at + length)) {
    start(() => stack.backend.pwriteZeroes(zeroAt, zeroBytes, RequestFlag.MayUnmap))
    model.fill(0, zeroAt, zeroAt + zeroBytes)
  }
  start(() => stack.backend.flush())
  stack.clock.run()
  stack.file.latencyNs = 0
}

function resize(scene: Scene, hasBacking: boolean): void {
  const { random, stack, model } = scene
  const wanted = Math.max(SECTOR, model.length + (random(2) === 0 ? -1 : 1) * SECTOR * random(100))
  const mayMap = wanted > model.length && !hasBacking && random(3) === 0
  assert.is(stack.run(stack.backend.truncate(wanted, false, mayMap ? 'metadata' : 'off')), OK)
  const resized = Buffer.alloc(wanted)
  model.copy(resized)
  scene.model = resized
}

function step(scene: Scene, clusterBytes: number, hasBacking: boolean): void {
  const { random, stack, model } = scene
  const at = random(model.length / SECTOR) * SECTOR
  const length = Math.min(model.length - at, SECTOR * (1 + random(random(2) === 0 ? 8 : 200)))
  const kind = random(100)
  if (kind < 40) write(scene, at, length)
  else if (kind < 45) write(scene, at + 100, Math.max(1, length - 300 - random(100)))
  else if (kind < 60) {
    assert.is(stack.run(stack.backend.pwriteZeroes(at, length, random(2) === 0 ? 0 : RequestFlag.MayUnmap)), OK)
    model.fill(0, at, at + length)
  } else if (kind < 72) discard(scene, at, length)
  else if (kind < 78) assert.is(stack.run(stack.backend.flush()), OK)
  else if (kind < 84) compress(scene, at, clusterBytes)
  else if (kind < 88) scene.reopen()
  else if (kind < 92) resize(scene, hasBacking)
  else together(scene, at, length)
}

/** One image with its life. Gives its file. */
function life(seed: number): Uint8Array {
  const random = randomFrom(seed * 7919)
  const clusterBytes = SECTOR << random(8)
  const extendedL2 = clusterBytes >= 16384 && random(2) === 0
  const version = !extendedL2 && random(5) === 0 ? 2 : 3
  const sizeBytes = Math.max(SECTOR * (1 + random(200)), clusterBytes * (1 + random(40)))
  const create: Qcow2CreateOptions = {
    sizeBytes,
    clusterBytes,
    extendedL2,
    version,
    refcountBits: version === 2 ? 16 : 1 << random(7),
    lazyRefcounts: version === 3 && random(4) === 0,
  }
  const backing = random(2) === 0 ? null : Buffer.alloc(Math.max(SECTOR, (sizeBytes >> random(3)) & ~(SECTOR - 1)))
  if (backing !== null) {
    for (let at = 0; at < backing.length; at += SECTOR) backing.fill(random(4) === 0 ? 0 : 200 + random(50), at, at + SECTOR)
  }
  let content = newImage(create)
  const open = (): ImageStack =>
    openStack(content, {
      open: { discardNoUnref: random(4) === 0, l2CacheBytes: random(2) * 65536 },
      ...(backing === null
        ? {}
        : { backing: ({ graph }) => graph.addNode({ driver: new GrowingFile(backing), options: { readOnly: true } }) }),
    })
  const model = Buffer.alloc(sizeBytes)
  backing?.copy(model)
  const reopen = (): void => {
    content = scene.stack.close()
    checkRefcounts(content, true)
    scene.stack = open()
  }
  const scene: Scene = { random, stack: open(), model, reopen, value: 0 }
  for (let number = 0; number < 40; number++) {
    step(scene, clusterBytes, backing !== null)
    const read = Buffer.alloc(scene.model.length)
    assert.is(scene.stack.run(scene.stack.backend.pread(0, read)), OK)
    assert.ok(read.equals(scene.model), `seed ${seed}, step ${number}: the image reads as it was written`)
  }
  content = scene.stack.close()
  checkRefcounts(content, true)
  return content
}

test('an image reads as it was written, and its refcounts are exact', () => {
  for (let seed = 1; seed <= 40; seed++) life(seed)
})

/** A file that fails now and then. A sector may read what it was before a failed change, or after it; nothing else. */
function failingLife(seed: number): number {
  const random = randomFrom(seed * 104729)
  const clusterBytes = SECTOR << random(4)
  const sizeBytes = 64 * clusterBytes
  const stack = openStack(newImage({ sizeBytes, clusterBytes, refcountBits: 1 << random(7) }), { open: { l2CacheBytes: 0 } })
  const legal = Array.from({ length: sizeBytes / SECTOR }, () => new Set([0]))
  let failures = 0
  for (let number = 1; number <= 60; number++) {
    stack.file.fail = ({ kind }) => (kind !== 'read' && random(12) === 0 ? EIO : OK)
    const first = random(legal.length)
    const count = Math.min(legal.length - first, 1 + random(40))
    const kind = random(8)
    const value = kind < 4 ? number : 0
    let errno = OK
    if (kind < 4) errno = stack.run(stack.backend.pwrite(first * SECTOR, new Uint8Array(count * SECTOR).fill(value)))
    else if (kind < 6) errno = stack.run(stack.backend.pwriteZeroes(first * SECTOR, count * SECTOR, kind - 4))
    else if (kind === 6) stack.run(stack.backend.flush())
    else stack.run(stack.backend.pdiscard(first * SECTOR, count * SECTOR))
    if (errno !== OK) failures++
    stack.file.fail = () => OK
    for (let sector = first; kind !== 6 && sector < first + count; sector++) {
      if (kind < 6 && errno === OK) legal[sector] = new Set([value])
      else legal[sector]!.add(value)
    }
    const read = new Uint8Array(sizeBytes)
    assert.is(stack.run(stack.backend.pread(0, read)), OK)
    for (const [sector, values] of legal.entries()) {
      const is = read[sector * SECTOR]!
      assert.ok(values.has(is), `seed ${seed}, step ${number}: sector ${sector} reads ${is}, not one of ${[...values].join(' ')}`)
    }
  }
  checkRefcounts(stack.close())
  return failures
}

test('a file that fails harms nothing but the request that met the failure', () => {
  let failures = 0
  for (let seed = 1; seed <= 40; seed++) failures += failingLife(seed)
  assert.ok(failures > 100, `${failures} failed requests`)
})

test('one history gives one image, byte by byte', () => {
  for (let seed = 1; seed <= 5; seed++) assert.is(Buffer.compare(life(seed), life(seed)), 0)
})

test.run()
