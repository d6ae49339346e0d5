import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { AssertionFailure } from './assert'
import type { Co } from './kernel'
import { makeLabel } from './label'
import { Mutex, WaitQueue } from './queue'
import { testKernel } from './testing'
import { findWaitCycle } from './waits'

const REASON = { describe: () => 'waits for a turn' }

test('wakeOne wakes the one that waits longest', () => {
  const { kernel, run } = testKernel()
  const queue = new WaitQueue(kernel)
  const order: string[] = []
  function* waiter(name: string): Co<void> {
    yield* queue.wait(REASON)
    order.push(name)
  }
  for (const name of ['a', 'b', 'c']) kernel.spawn(waiter(name), makeLabel(name))
  run()
  assert.is(queue.length, 3)
  assert.is(queue.wakeOne(), true)
  run()
  assert.equal(order, ['a'])
  queue.wakeAll()
  run()
  assert.equal(order, ['a', 'b', 'c'])
  assert.is(queue.wakeOne(), false)
  assert.is(queue.isEmpty(), true)
})

test('who waits again while all are woken waits for the next wake-up', () => {
  const { kernel, run } = testKernel()
  const queue = new WaitQueue(kernel)
  let rounds = 0
  function* waiter(): Co<void> {
    for (; rounds < 3; rounds++) yield* queue.wait(REASON)
  }
  kernel.spawn(waiter(), makeLabel('w'))
  run()
  queue.wakeAll()
  run()
  assert.is(rounds, 1)
  assert.is(queue.length, 1)
})

test('a mutex is handed over in order, and nobody gets in between', () => {
  const { kernel, run } = testKernel()
  const mutex = new Mutex(kernel, 'the table')
  const order: string[] = []
  function* user(name: string): Co<void> {
    yield* mutex.lock()
    order.push(`+${name}`)
    yield* kernel.sleepNs(10)
    order.push(`-${name}`)
    mutex.unlock()
  }
  for (const name of ['a', 'b', 'c']) kernel.spawn(user(name), makeLabel(name))
  run()
  assert.equal(order, ['+a', '-a', '+b', '-b', '+c', '-c'])
  assert.is(mutex.isLocked, false)
})

test('a spurious wake-up does not give the lock away', () => {
  const { kernel, run } = testKernel()
  const mutex = new Mutex(kernel, 'the table')
  let entered = false
  function* holder(): Co<void> {
    yield* mutex.lock()
    yield* kernel.sleepNs(1000)
    assert.is(entered, false)
    mutex.unlock()
  }
  function* waiter(): Co<void> {
    yield* mutex.lock()
    entered = true
    mutex.unlock()
  }
  kernel.spawn(holder(), makeLabel('h'))
  const waiting = kernel.spawn(waiter(), makeLabel('w'))
  function* nuisance(): Co<void> {
    yield* kernel.sleepNs(10)
    kernel.wake(waiting)
  }
  kernel.spawn(nuisance(), makeLabel('n'))
  run()
  assert.is(kernel.failure, null)
  assert.is(entered, true)
})

test('locking twice and unlocking what is free are defects', () => {
  const { kernel, run } = testKernel()
  const mutex = new Mutex(kernel, 'the table')
  assert.throws(() => mutex.unlock(), /unlock-locked: the table/)
  function* greedy(): Co<void> {
    yield* mutex.lock()
    yield* mutex.lock()
  }
  kernel.spawn(greedy(), makeLabel('g'))
  run()
  assert.is((kernel.failure?.error as AssertionFailure).invariant, 'mutex-not-recursive')
})

test('two that wait for each other are found as a cycle, and a chain is none', () => {
  const { kernel, run } = testKernel()
  const left = new Mutex(kernel, 'left')
  const right = new Mutex(kernel, 'right')
  function* taker(first: Mutex, second: Mutex): Co<void> {
    yield* first.lock()
    yield* kernel.sleepNs(10)
    yield* second.lock()
  }
  kernel.spawn(taker(left, right), makeLabel('a'))
  assert.is(findWaitCycle(kernel.live), null)
  kernel.spawn(taker(right, left), makeLabel('b'))
  function* bystander(): Co<void> {
    yield* kernel.sleepNs(5)
    yield* left.lock()
  }
  kernel.spawn(bystander(), makeLabel('c'))
  run()
  const cycle = findWaitCycle(kernel.live)
  assert.equal(cycle?.map((coroutine) => coroutine.label.id).sort(), ['a', 'b'])
  assert.is(cycle?.[0]?.waitsFor?.describe().startsWith('waits for the lock of '), true)
})

test.run()
