import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeQcow2Checker } from './qcow2'
import { FakeWorld, keyOf } from './testing'

function checkerOf(hasFormat: boolean): ReturnType<typeof makeQcow2Checker> {
  const world = new FakeWorld(() => ({ name: 'none' }))
  Object.assign(world.plan, { faults: [] })
  if (hasFormat) Object.assign(world.plan.source, { format: { kind: 'qcow2' } })
  return makeQcow2Checker(world)
}

const END = {
  source: new Uint8Array(0),
  destination: new Uint8Array(0),
  jobCompleted: false,
  jobCancelledAfterReady: false,
}
const NO_IMAGE = new Uint8Array(1024)

test('plain disks have no image to check', () => {
  assert.is(checkerOf(false).atEnd, undefined)
  assert.is(checkerOf(true).atEnd?.({ ...END, files: { source: null, destination: null } }), null)
})

test('a file that is no sound image is told, at the end and after a power cut', () => {
  const files = { source: null, destination: NO_IMAGE }
  const atEnd = checkerOf(true).atEnd?.({ ...END, files }) ?? null
  assert.is(keyOf(atEnd), 'qcow2/corrupt')
  assert.is(atEnd?.disk, 'destination')
  assert.is(keyOf(checkerOf(true).powerCut?.({ ...END, files }) ?? null), 'qcow2/corrupt')
})

/** An image of nothing with one cluster more than it needs. */
function leaky(): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * 512))
  view.setUint32(0, 0x514649fb)
  view.setUint32(4, 3)
  view.setUint32(20, 9)
  view.setUint32(52, 512)
  view.setUint32(56, 1)
  view.setUint32(96, 4)
  view.setUint32(512 + 4, 1024)
  for (let cluster = 0; cluster < 4; cluster++) view.setUint16(1024 + cluster * 2, 1)
  return new Uint8Array(view.buffer)
}

test('leaks are forgiven after a power cut, and not after a peaceful end', () => {
  const files = { source: leaky(), destination: null }
  assert.is(keyOf(checkerOf(true).atEnd?.({ ...END, files }) ?? null), 'qcow2/leak')
  assert.is(checkerOf(true).powerCut?.({ ...END, files }), null)
})

test.run()
