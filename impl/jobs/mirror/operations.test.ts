import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { testBench } from '../../block/testing'
import { type Co, makeLabel } from '../../co'
import { MirrorOperation, MirrorOperations } from './operations'

const CHUNK = 512

function bench() {
  const { kernel, clock } = testBench()
  const operations = new MirrorOperations(kernel, 8 * CHUNK, CHUNK)
  const log: string[] = []
  const claimed = new Map<string, MirrorOperation>()
  function* claim(name: string, first: number, end: number): Co<void> {
    const from = first * CHUNK
    const operation = new MirrorOperation(operations, 'active-write', from, (end - first) * CHUNK, from, end * CHUNK)
    claimed.set(name, operation)
    if (!operations.tryClaim(operation)) yield* operations.waitForClaim(operation)
    log.push(name)
  }
  const ask = (name: string, first: number, end: number) => {
    const coroutine = kernel.spawn(claim(name, first, end), makeLabel(name))
    clock.run()
    return coroutine
  }
  const release = (name: string): void => {
    operations.release(claimed.get(name)!)
    clock.run()
  }
  return { operations, ask, release, log, claimed }
}

test('claims are granted in order of arrival where they overlap', () => {
  const { ask, release, log } = bench()
  ask('a', 0, 4)
  ask('b', 2, 6)
  ask('c', 5, 8)
  ask('d', 0, 2)
  ask('e', 6, 7)
  assert.equal(log, ['a'], 'c and e wait for b and c, which wait themselves')
  release('a')
  assert.equal(log, ['a', 'b', 'd'])
  release('b')
  assert.equal(log, ['a', 'b', 'd', 'c'])
  release('c')
  assert.equal(log, ['a', 'b', 'd', 'c', 'e'])
})

test('claims beside each other do not meet', () => {
  const { ask, release, log, operations, claimed } = bench()
  ask('a', 0, 2)
  ask('b', 1, 4)
  ask('c', 4, 6)
  assert.equal(log, ['a', 'c'], 'c begins where b ends')
  operations.overtake(4 * CHUNK, 2 * CHUNK)
  assert.equal([claimed.get('b')!.isOvertaken, claimed.get('c')!.isOvertaken], [false, true])
  operations.overtake(0, CHUNK)
  assert.equal([claimed.get('a')!.isOvertaken, claimed.get('b')!.isOvertaken], [true, false])
  release('c')
  assert.is(operations.freeUntil(4 * CHUNK, 8 * CHUNK), 8 * CHUNK)
})

test('an operation that waits holds nothing', () => {
  const { operations, ask } = bench()
  ask('a', 0, 2)
  ask('b', 1, 5)
  assert.is(operations.inFlight.count, 2)
  assert.is(operations.freeUntil(2 * CHUNK, 8 * CHUNK), 2 * CHUNK, 'but nobody overtakes it')
})

test('a waiting operation names whoever it waits for', () => {
  const { ask, claimed } = bench()
  const first = ask('a', 0, 2)
  const second = ask('b', 1, 5)
  ask('c', 4, 6)
  assert.equal([...claimed.get('b')!.heldBy()], [first])
  assert.equal([...claimed.get('c')!.heldBy()], [second])
  assert.is(claimed.get('c')!.describe(), 'waits for chunks in 2048..3072')
})

test('a run hands its chunks on without letting go of them', () => {
  const { operations, ask, claimed, log } = bench()
  ask('run', 0, 4)
  const run = claimed.get('run')!
  const piece = operations.split(run, 'copy', CHUNK)
  assert.equal([run.offsetBytes, run.lengthBytes], [CHUNK, 3 * CHUNK])
  ask('b', 0, 1)
  assert.equal(log, ['run'])
  operations.release(piece)
  assert.is(operations.inFlight.count, 4, 'b has it now')
  const rest = operations.split(run, 'zero', 3 * CHUNK)
  assert.is(run.isInFlight, false)
  operations.release(rest)
  assert.is(operations.inFlight.count, 1)
})

test.run()
