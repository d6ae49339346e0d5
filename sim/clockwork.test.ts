import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, type Coroutine, Kernel, makeLabel } from '../impl/co'
import { BoundedSearch } from './bounded_search'
import { VirtualClockwork, WakeHeap } from './clockwork'
import { type Decider, dullDecider, seededDecider } from './decider'

interface Bench {
  kernel: Kernel
  clockwork: VirtualClockwork
  log: string[]
  spawn(name: string, body: (name: string) => Co<void>): Coroutine
  run(): void
}

function bench(decider: Decider = dullDecider): Bench {
  const clockwork = new VirtualClockwork(decider)
  const kernel = new Kernel(clockwork)
  const log: string[] = []
  return {
    kernel,
    clockwork,
    log,
    spawn: (name, body) => kernel.spawn(body(name), makeLabel(name)),
    run: () => {
      for (let nextNs = clockwork.nextNs(); nextNs !== Infinity; nextNs = clockwork.nextNs()) clockwork.step(kernel, nextNs)
    },
  }
}

function sleeper(world: Bench, ...durationsNs: number[]): (name: string) => Co<void> {
  return function* (name) {
    for (const durationNs of durationsNs) {
      yield* world.kernel.sleepNs(durationNs)
      world.log.push(`${name}@${world.kernel.nowNs()}`)
    }
  }
}

test('the heap gives wake-ups in the order of their times, and of their arrival at one time', () => {
  const world = bench()
  const coroutines = Array.from({ length: 200 }, (_, index) => world.spawn(String(index), sleeper(world)))
  const heap = new WakeHeap()
  const times = coroutines.map((_, index) => (index * 37) % 11)
  for (const [index, coroutine] of coroutines.entries()) heap.push(coroutine, 0, times[index]!)
  // Take some out between, as a world does.
  const expected = coroutines.map(({ serial }) => serial).sort((a, b) => times[a]! - times[b]! || a - b)
  const given: number[] = []
  while (heap.size > 0) {
    assert.is(heap.firstNs, times[heap.firstCoroutine.serial])
    given.push(heap.firstCoroutine.serial)
    heap.removeFirst()
  }
  assert.equal(given, expected)
  assert.is(heap.firstNs, Infinity)
})

test('time goes from wake-up to wake-up', () => {
  const world = bench()
  world.spawn('a', sleeper(world, 30, 5))
  world.spawn('b', sleeper(world, 10, 10, 10))
  world.run()
  assert.equal(world.log, ['b@10', 'b@20', 'a@30', 'b@30', 'a@35'])
})

test('a wake-up that has become stale neither runs anybody nor moves time', () => {
  const world = bench()
  const sleeping = world.spawn('a', sleeper(world, 1000))
  world.spawn('b', function* () {
    yield* world.kernel.sleepNs(5)
    world.kernel.wake(sleeping)
  })
  world.run()
  assert.equal(world.log, ['a@5'])
  assert.is(world.clockwork.nowNs(), 5)
})

test('the decider says who of several goes first, and is not asked about one', () => {
  const asked: string[] = []
  const lastFirst: Decider = {
    decide: (site, subject, attempt, count) => {
      asked.push(`${site.id}/${subject.id}/${attempt} of ${count}`)
      return count - 1
    },
  }
  const world = bench(lastFirst)
  for (const name of ['a', 'b', 'c']) {
    world.spawn(name, function* () {
      world.log.push(name)
    })
  }
  world.run()
  assert.equal(world.log, ['c', 'b', 'a'])
  assert.equal(asked, ['order/a/0 of 3', 'order/a/1 of 2'])
})

test('every order of three can be reached', () => {
  const search = new BoundedSearch()
  const orders: string[] = []
  do {
    const world = bench(search)
    for (const name of ['a', 'b', 'c']) {
      world.spawn(name, function* () {
        world.log.push(name)
      })
    }
    world.run()
    orders.push(world.log.join(''))
  } while (search.next())
  assert.equal(orders.sort(), ['abc', 'acb', 'bac', 'bca', 'cab', 'cba'])
})

test('nobody is overtaken for ever', () => {
  const world = bench({ decide: (_site, _subject, _attempt, count) => count - 1 })
  let isOver = false
  world.spawn('patient', function* () {
    isOver = true
  })
  let rounds = 0
  world.spawn('pushing', function* () {
    while (!isOver && rounds < 1000) {
      rounds++
      yield* world.kernel.sleepNs(0)
    }
  })
  world.run()
  assert.ok(rounds <= 20, `${rounds} rounds`)
})

test('the same seed gives the same order, another seed another', () => {
  const orderOf = (seed: string): string => {
    const world = bench(seededDecider(seed))
    for (const name of 'abcdefgh') world.spawn(name, sleeper(world, 0, 10, 0))
    world.run()
    return world.log.join(' ')
  }
  assert.is(orderOf('x'), orderOf('x'))
  assert.is.not(orderOf('x'), orderOf('y'))
})

test('nothing is scheduled in the past', () => {
  const world = bench()
  const coroutine = world.spawn('a', sleeper(world, 10, 10))
  world.run()
  assert.throws(() => world.clockwork.schedule(coroutine, 0, 3), /schedule-not-in-past/)
})

test.run()
