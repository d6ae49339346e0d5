import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Co } from './kernel'
import { makeLabel } from './label'
import { SteppedClock } from './stepped_clock'
import { testKernel } from './testing'

/** Coroutines that sleep until each of `momentsNs` on a stepped clock, and the moments at which they were woken. */
function sleepers(momentsNs: readonly number[]) {
  const { kernel, run } = testKernel()
  const clock = new SteppedClock(kernel)
  const woken: number[] = []
  function* sleep(atNs: number): Co<void> {
    const self = kernel.willPark({ describe: () => 'sleeps' })
    clock.wakeAt(self, atNs)
    yield
    woken.push(atNs)
  }
  for (const atNs of momentsNs) kernel.spawn(sleep(atNs), makeLabel(`sleeper-${atNs}`))
  run()
  return { clock, woken, run }
}

test('nobody wakes before the clock is moved, and then in order of the moments', () => {
  const { clock, woken, run } = sleepers([30, 10, 20])
  assert.equal(woken, [])
  assert.is(clock.nextNs(), 10)
  clock.moveTo(25)
  run()
  assert.equal(woken, [10, 20])
  assert.is(clock.nowNs(), 25)
  assert.is(clock.nextNs(), 30)
})

test('with nobody left there is no next moment', () => {
  const { clock, woken, run } = sleepers([5])
  clock.moveTo(5)
  run()
  assert.equal(woken, [5])
  assert.is(clock.nextNs(), null)
})

test('a clock goes forward only', () => {
  const { clock } = sleepers([])
  clock.moveTo(5)
  assert.throws(() => clock.moveTo(4), /clock-monotonic/)
})

test.run()
