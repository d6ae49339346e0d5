import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RateLimit } from './rate_limit'

test('what was sent moves the next operation, and idle time is not saved up', () => {
  const limit = new RateLimit()
  limit.setSpeed(1000)
  assert.is(limit.delayNs(0), 0)
  limit.account(0, 500)
  assert.is(limit.delayNs(0), 500_000_000)
  limit.account(0, 500)
  assert.is(limit.delayNs(250_000_000), 750_000_000)
  limit.account(9_000_000_000, 1)
  assert.is(limit.delayNs(9_000_000_000), 1_000_000)
})

test('a new speed forgets what was sent, and speed 0 is no limit', () => {
  const limit = new RateLimit()
  limit.setSpeed(1)
  limit.account(0, 1 << 30)
  limit.setSpeed(1 << 20)
  assert.is(limit.delayNs(0), 0)
  limit.setSpeed(0)
  limit.account(0, 1 << 30)
  assert.is(limit.delayNs(0), 0)
})

test('fractions are rounded against the sender', () => {
  const limit = new RateLimit()
  limit.setSpeed(3_000_000)
  limit.account(0, 1)
  assert.is(limit.delayNs(0), 1000)
})

test('nobody has to wait who has been told of no limit', () => {
  const limit = new RateLimit()
  assert.equal([limit.speed, limit.delayNs(0)], [0, 0])
  limit.account(0, 4096)
  assert.is(limit.delayNs(0), 0)
})

test.run()
