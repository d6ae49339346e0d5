import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { durationNs, LeakyBucket, RATE_MAX } from './bucket'

const SECOND_NS = 1_000_000_000

test('durations are exact, rounded up, and bounded', () => {
  const rate = fc.oneof(
    fc.integer({ min: 1, max: 1000 }),
    fc.maxSafeInteger().map((n) => (Math.abs(n) % RATE_MAX) + 1),
  )
  fc.assert(
    fc.property(fc.oneof(fc.nat(), fc.nat({ max: 2 ** 31 }), fc.maxSafeNat()), rate, (units, perSecond) => {
      const exact = (BigInt(units) * BigInt(SECOND_NS) + BigInt(perSecond) - 1n) / BigInt(perSecond)
      const bounded = exact > 2n ** 50n ? 2n ** 50n : exact
      const got = BigInt(durationNs(units, perSecond))
      // Right at the bound one nanosecond of rounding may be left over.
      return got === bounded || (bounded === 2n ** 50n && got - bounded === 1n)
    }),
    { seed: 1 },
  )
})

test('without a burst rate a tenth of a second of the average may come at once', () => {
  const bucket = new LeakyBucket()
  bucket.configure(1000, 0, 1)
  bucket.account(0, 100, 1)
  assert.is(bucket.waitNs(0), 0)
  bucket.account(0, 50, 1)
  assert.is(bucket.waitNs(0), SECOND_NS / 20)
  assert.is(bucket.waitNs(SECOND_NS / 20), 0)
})

test('a burst of one second may come at once, and is paid for at the average', () => {
  const bucket = new LeakyBucket()
  bucket.configure(1000, 5000, 1)
  bucket.account(0, 5000, 1)
  assert.is(bucket.waitNs(0), 0)
  bucket.account(0, 1000, 1)
  assert.is(bucket.waitNs(0), SECOND_NS)
})

test('a longer burst is held to its own rate', () => {
  const bucket = new LeakyBucket()
  bucket.configure(1000, 5000, 10)
  bucket.account(0, 5000, 1)
  assert.is(bucket.waitNs(0), SECOND_NS - SECOND_NS / 10)
  for (let second = 1; second < 12; second++) bucket.account(second * SECOND_NS, 5000, 1)
  // 60000 units in 11 s, of which 11000 have leaked; the bucket holds 50000 of them.
  assert.is(bucket.waitNs(11 * SECOND_NS), SECOND_NS - SECOND_NS / 10)
  bucket.account(11 * SECOND_NS, 2000, 1)
  assert.is(bucket.waitNs(11 * SECOND_NS), SECOND_NS + (SECOND_NS / 10) * 3)
})

test('in any span no more is let through than the rate, a tenth of a second and one request', () => {
  const step = fc.record({ pauseNs: fc.nat({ max: SECOND_NS / 4 }), units: fc.integer({ min: 1, max: 5000 }) })
  fc.assert(
    fc.property(fc.integer({ min: 10, max: 100_000 }), fc.array(step, { maxLength: 40 }), (rate, steps) => {
      const bucket = new LeakyBucket()
      bucket.configure(rate, 0, 1)
      let nowNs = 0
      const sent: Array<{ atNs: number; units: number }> = []
      for (const { pauseNs, units } of steps) {
        nowNs += pauseNs
        nowNs += bucket.waitNs(nowNs)
        bucket.account(nowNs, units, 1)
        sent.push({ atNs: nowNs, units })
      }
      for (let first = 0; first < sent.length; first++) {
        let sum = 0
        for (let last = first; last < sent.length; last++) {
          const allowed = (rate * (sent[last]!.atNs - sent[first]!.atNs)) / SECOND_NS + rate / 10
          if (sum > allowed + 1e-6) return false
          sum += sent[last]!.units
        }
      }
      return true
    }),
    { seed: 2 },
  )
})

test('the tiniest rate does not overflow', () => {
  const bucket = new LeakyBucket()
  bucket.configure(1, 0, 1)
  for (let count = 0; count < 10; count++) bucket.account(2 ** 52, 2 ** 31, 1)
  assert.ok(Number.isSafeInteger(bucket.waitNs(2 ** 52)))
})

test.run()
