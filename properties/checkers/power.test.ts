import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { SurvivingImages } from '../../sim/observer'
import type { ControlOperation } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import { makePowerChecker } from './power'
import { FakeWorld, keyOf, op, type PlanParts } from './testing'

const CUT: ControlOperation[] = [
  { id: 'c1', when: { on: 'start', afterNs: 0 }, kind: 'mirror-start' },
  { id: 'p1', when: { on: 'guest-done', afterNs: 0 }, kind: 'power-cut' },
]

interface Scene {
  world: FakeWorld
  /** The power goes off, and this is what is left. */
  cut(change?: (images: { source: Uint8Array; destination: Uint8Array }) => void): Finding | null
}

function scene(writeCache = true, parts: PlanParts = {}): Scene {
  let checker: ReturnType<typeof makePowerChecker> | null = null
  const world = new FakeWorld((view) => {
    Object.assign(view.plan, { control: CUT, device: { ...view.plan.device, writeCache } })
    checker = makePowerChecker(view)
    return checker
  }, parts)
  const cut: Scene['cut'] = (change) => {
    const files = { source: null, destination: null }
    const images: SurvivingImages = { source: world.source.bytes.slice(), destination: world.destination.bytes.slice(), files }
    change?.(images)
    return checker?.powerCut?.(images) ?? null
  }
  return { world, cut }
}

/** A write that the guest has been told of, and that is on the source. */
function written(world: FakeWorld, id: string): void {
  const operation = op(id, 'write', 0, 512)
  world.begin(operation)
  world.source.write(id, 0, 512)
  world.end(operation)
}
function flushed(world: FakeWorld, status = 0): void {
  const operation = op('f1', 'flush')
  world.begin(operation)
  world.end(operation, status)
}
const lose = (images: { source: Uint8Array }): void => {
  images.source.fill(0, 0, 512)
}

test('a world without a power cut has nothing to do', () => {
  const checker = makePowerChecker(new FakeWorld(() => ({ name: 'none' })))
  assert.is(checker.guestSubmitted, undefined)
})

test('what was not flushed may be lost', () => {
  const { world, cut } = scene()
  written(world, 'g1')
  assert.is(cut(lose), null)
  assert.is(cut(), null)
})

test('what was flushed is there', () => {
  const { world, cut } = scene()
  written(world, 'g1')
  flushed(world)
  assert.is(cut(), null)
  assert.is(keyOf(cut(lose)), 'power/lost')
})

test('a flush that failed promises nothing', () => {
  const { world, cut } = scene()
  written(world, 'g1')
  flushed(world, 1)
  assert.is(cut(lose), null)
})

test('without a write cache nothing is lost that has ended', () => {
  const { world, cut } = scene(false)
  written(world, 'g1')
  assert.is(keyOf(cut(lose)), 'power/lost')
})

test('when the guest has moved, all that it knew of is on its new disk', () => {
  const { world, cut } = scene()
  world.start()
  written(world, 'g1')
  world.destination.write('g1', 0, 512)
  world.status('pending')
  world.guestDisk = 'destination'
  world.event('BLOCK_JOB_COMPLETED')
  assert.is(cut(lose), null, 'the old disk does not count any more')
  const found = cut((images) => images.destination.fill(0, 0, 512))
  assert.is(keyOf(found), 'power/lost')
  assert.is(found?.disk, 'destination')
})

test('without a first copy, what was in flight when the mirror started may be left behind, flushed or not', () => {
  const { world, cut } = scene(true, { mirror: { sync: 'none' } })
  const operation = op('g1', 'write', 0, 512)
  world.begin(operation)
  world.start()
  world.source.write('g1', 0, 512)
  world.status('pending')
  world.guestDisk = 'destination'
  world.event('BLOCK_JOB_COMPLETED')
  world.end(operation)
  flushed(world)
  assert.is(cut(), null)
})

test('a copy that is said to be done is there to the last byte', () => {
  const { world, cut } = scene()
  world.start()
  world.status('pending')
  world.event('BLOCK_JOB_COMPLETED')
  assert.is(cut(), null)
  const found = cut((images) => images.destination.fill(1, 700, 701))
  assert.is(keyOf(found), 'power/copy-lost')
  assert.is(found?.offsetBytes, 700)
})

test('a job that has not ended promises nothing of the copy', () => {
  const { world, cut } = scene()
  world.start()
  assert.is(
    cut((images) => images.destination.fill(1)),
    null,
  )
})

test.run()
