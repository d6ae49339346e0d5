import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { disarmTripwires, withTripwires } from './tripwires'

const LEAKS: Readonly<Record<string, () => unknown>> = {
  'Date.now': () => Date.now(),
  'new Date': () => new Date(),
  'Math.random': () => Math.random(),
  setTimeout: () => setTimeout(() => undefined, 0),
  setInterval: () => setInterval(() => undefined, 0),
  setImmediate: () => setImmediate(() => undefined),
  queueMicrotask: () => queueMicrotask(() => undefined),
  'process.nextTick': () => process.nextTick(() => undefined),
  'process.hrtime': () => process.hrtime(),
  'process.hrtime.bigint': () => process.hrtime.bigint(),
  'performance.now': () => performance.now(),
  Promise: () => Promise.resolve(),
  Intl: () => new Intl.NumberFormat(),
  'String.localeCompare': () => 'a'.localeCompare('b'),
  'Number.toLocaleString': () => (1234.5).toLocaleString(),
  WeakRef: () => new WeakRef({}),
  FinalizationRegistry: () => new FinalizationRegistry(() => undefined),
}

for (const [name, leak] of Object.entries(LEAKS)) {
  test(`${name} throws inside a world, and works again after it`, () => {
    assert.throws(() => withTripwires(leak), /is out of reach inside a world/)
    const handle = leak()
    if (name === 'setTimeout' || name === 'setInterval') clearTimeout(handle as NodeJS.Timeout)
  })
}

test('wires that were left up by a world stopped in the middle are taken down', () => {
  let wasOut = false
  try {
    withTripwires(() => {
      disarmTripwires()
      wasOut = Number.isInteger(Date.now())
    })
  } finally {
    assert.ok(wasOut)
  }
})

test('worlds inside worlds leave everything as it was', () => {
  withTripwires(() => withTripwires(() => undefined))
  assert.ok(Date.now() > 0)
})

test.run()
