import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { addBitmap, type NamedBitmap } from '../../block'
import type { MemoryDriver } from '../../block/testing'
import { EIO, OK } from '../../co'
import type { BitmapMode } from '../sync_bitmap'
import type { MirrorJob } from './job'
import { CHUNK, LENGTH, type MirrorBench, mirrorBench, plant } from './testing'

const MODES = ['on-success', 'never', 'always'] as const

function addedBitmap(bench: MirrorBench, granularityBytes = CHUNK): NamedBitmap {
  return bench.run(addBitmap(bench.sourceNode, { name: 'b', granularityBytes }))
}
function dirtyChunks({ bits }: NamedBitmap): number[] {
  return [...Array(LENGTH / CHUNK).keys()].filter((chunk) => bits.get(chunk * CHUNK))
}
/** Chunks that the target has been told to change. */
function changedChunks(target: MemoryDriver): number[] {
  const calls = [...target.requests('write'), ...target.requests('zero'), ...target.requests('discard')]
  const chunks = calls.flatMap(({ offsetBytes, lengthBytes }) => [
    Math.floor(offsetBytes / CHUNK),
    Math.ceil((offsetBytes + lengthBytes) / CHUNK) - 1,
  ])
  return [...new Set(chunks)].sort((left, right) => left - right)
}
/** A target that has everything but chunks 1, 2 and 9, which are dirty; the source has a hole at 9. */
function behindBench(): { bench: MirrorBench; bitmap: NamedBitmap } {
  const bench = mirrorBench()
  const { source, target } = bench
  for (let chunk = 0; chunk < LENGTH / CHUNK; chunk++) {
    if (chunk !== 9) plant(source, chunk * CHUNK, CHUNK, chunk + 1)
    plant(target, chunk * CHUNK, CHUNK, [1, 2, 9].includes(chunk) ? 0xee : chunk + 1)
  }
  const bitmap = addedBitmap(bench)
  for (const chunk of [1, 2, 9]) bitmap.bits.set(chunk * CHUNK, CHUNK)
  return { bench, bitmap }
}
function startBitmap(bench: MirrorBench, bitmapMode: BitmapMode): MirrorJob {
  return bench.start({ sync: 'bitmap', bitmap: 'b', bitmapMode })
}

test('only what the bitmap has dirty is copied, and nothing is zeroed first', () => {
  for (const bitmapMode of MODES) {
    const { bench, bitmap } = behindBench()
    bench.complete(startBitmap(bench, bitmapMode))
    assert.equal(changedChunks(bench.target), [1, 2, 9])
    assert.equal(bench.target.data, bench.source.data)
    assert.equal(dirtyChunks(bitmap), bitmapMode === 'never' ? [1, 2, 9] : [], bitmapMode)
    assert.not(bitmap.isBusy)
  }
})

test('incremental is bitmap with on-success', () => {
  const { bench, bitmap } = behindBench()
  bench.complete(bench.start({ sync: 'incremental', bitmap: 'b' }))
  assert.equal(bench.target.data, bench.source.data)
  assert.equal(dirtyChunks(bitmap), [])
})

test('a soft cancel after READY leaves a copy, and the bitmap takes in what comes after it alone', () => {
  for (const bitmapMode of MODES) {
    const { bench, bitmap } = behindBench()
    const job = startBitmap(bench, bitmapMode)
    bench.clock.run()
    assert.is(bench.write(4 * CHUNK, CHUNK, 0x44), OK)
    job.cancel(false)
    bench.clock.run()
    assert.is(bench.device.root!.node, bench.sourceNode)
    assert.equal(bench.target.data, bench.source.data)
    bench.write(6 * CHUNK, 512, 0x66)
    assert.equal(dirtyChunks(bitmap), bitmapMode === 'never' ? [1, 2, 4, 6, 9] : [6], bitmapMode)
  }
})

test('a mirror that was stopped by an error goes on where it was, and loses nothing that was written meanwhile', () => {
  for (const bitmapMode of MODES) {
    const { bench, bitmap } = behindBench()
    bench.target.fail = ({ offsetBytes }) => (offsetBytes === 9 * CHUNK ? EIO : OK)
    bench.target.latencyNs = 1000
    const job = startBitmap(bench, bitmapMode)
    bench.spawn('guest', bench.device.pwrite(12 * CHUNK, new Uint8Array(512).fill(0x77)))
    bench.clock.run()
    assert.is(job.errorText, 'Input/output error')
    const dirty = dirtyChunks(bitmap)
    if (bitmapMode !== 'always') assert.equal(dirty, [1, 2, 9, 12], bitmapMode)
    else assert.equal([dirty.includes(1), dirty.includes(9)], [false, true])
    for (let chunk = 0; chunk < LENGTH / CHUNK; chunk++) {
      const [at, end] = [chunk * CHUNK, (chunk + 1) * CHUNK]
      const isEqual = Buffer.compare(bench.source.data.subarray(at, end), bench.target.data.subarray(at, end)) === 0
      assert.ok(isEqual || dirty.includes(chunk), `chunk ${chunk} differs and is not dirty`)
    }
    bench.target.fail = () => OK
    bench.complete(bench.start({ jobId: 'again', sync: 'bitmap', bitmap: 'b', bitmapMode }))
    assert.equal(bench.target.data, bench.source.data, bitmapMode)
  }
})

test('what was copied before an error counts only if the target could be flushed', () => {
  const { bench, bitmap } = behindBench()
  bench.target.fail = ({ kind, offsetBytes }) => (kind === 'flush' || offsetBytes === 9 * CHUNK ? EIO : OK)
  startBitmap(bench, 'always')
  bench.clock.run()
  assert.equal(dirtyChunks(bitmap), [1, 2, 9])
})

test('a full mirror says afterwards what is left: nothing, or all if it did not come to look', () => {
  const whole = mirrorBench()
  plant(whole.source, 0, 2 * CHUNK, 1)
  const kept = addedBitmap(whole)
  kept.bits.set(0, CHUNK)
  whole.complete(whole.start({ bitmap: 'b', bitmapMode: 'on-success' }))
  assert.equal(dirtyChunks(kept), [])

  const bench = mirrorBench()
  const bitmap = addedBitmap(bench)
  bench.source.latencyNs = 1000
  bench.target.latencyNs = 1000
  const job = bench.start({ bitmap: 'b', bitmapMode: 'always' })
  job.cancel(true)
  bench.clock.run()
  assert.is(bitmap.bits.count, LENGTH / CHUNK)
})

test('a full mirror that was cancelled goes on with its bitmap', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, LENGTH, 7)
  const bitmap = addedBitmap(bench)
  bench.target.latencyNs = 1000
  const job = bench.start({ bitmap: 'b', bitmapMode: 'always', bufferBytes: CHUNK })
  while (job.view.statistics.copiedBytes < 4 * CHUNK) bench.clock.run(bench.clock.nowNs() + 500)
  job.cancel(true)
  bench.clock.run()
  const left = bitmap.bits.count
  assert.ok(left > 0 && left <= LENGTH / CHUNK - 4, String(left))
  bench.target.latencyNs = 0
  bench.target.log.length = 0
  bench.complete(bench.start({ jobId: 'again', sync: 'bitmap', bitmap: 'b', bitmapMode: 'always' }))
  assert.is(changedChunks(bench.target).length <= left, true)
  assert.equal(bench.target.data, bench.source.data)
})

test('chunks of the bitmap and of the mirror may have any lengths', () => {
  for (const granularityBytes of [512, 4 * CHUNK]) {
    const bench = mirrorBench()
    plant(bench.source, 5 * CHUNK, CHUNK, 5)
    const bitmap = addedBitmap(bench, granularityBytes)
    bitmap.bits.set(5 * CHUNK + 512, 512)
    bench.complete(startBitmap(bench, 'always'))
    assert.equal(bench.target.data, bench.source.data)
    assert.is(bitmap.bits.count, 0)
  }
})

test('what makes no sense is refused, and the bitmap is free as before', () => {
  const bench = mirrorBench()
  const bitmap = addedBitmap(bench)
  const refusals: Array<[Parameters<MirrorBench['start']>[0], RegExp]> = [
    [{ sync: 'bitmap' }, /^must provide a valid bitmap name for 'bitmap' sync mode$/],
    [{ sync: 'bitmap', bitmap: 'x', bitmapMode: 'always' }, /^Bitmap 'x' could not be found$/],
    [{ sync: 'bitmap', bitmap: 'b' }, /^Bitmap sync mode must be given when providing a bitmap$/],
    [{ sync: 'none', bitmap: 'b', bitmapMode: 'always' }, /does not produce meaningful bitmap outputs$/],
    [{ sync: 'full', bitmap: 'b', bitmapMode: 'never' }, /has no meaningful effect/],
    [{ sync: 'incremental', bitmap: 'b', bitmapMode: 'always' }, /must be 'on-success'/],
    [{ sync: 'bitmap', bitmap: 'b', bitmapMode: 'always', filterNodeName: 'tgt' }, /Duplicate nodes/],
  ]
  for (const [options, text] of refusals) {
    assert.throws(() => bench.start(options), text)
    assert.not(bitmap.isBusy)
  }
  bitmap.isInconsistent = true
  assert.throws(() => startBitmap(bench, 'always'), /^Bitmap 'b' is inconsistent and cannot be used$/)
})

test('while the job runs nobody else may use the bitmap', () => {
  const { bench, bitmap } = behindBench()
  bench.target.latencyNs = 1000
  const job = startBitmap(bench, 'always')
  assert.ok(bitmap.isBusy && bitmap.hasSuccessor)
  bench.complete(job)
  assert.not(bitmap.isBusy)
})

test.run()
