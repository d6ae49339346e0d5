import { test } from 'uvu'
import * as assert from 'uvu/assert'
import * as f32 from './f32'
import * as f64 from './f64'
import * as index from './index'
import { flags, NEAREST_EVEN, result } from './state'
import { BINARY32, BINARY64, type Format, signOf } from './testing'
import { OperandSource, powerOf, specialsOf } from './testing_operands'
import { firstMismatch, mismatch, nextOperands, OPERATIONS, type Operation } from './testing_operations'

const CASES = 2000
const MODES = [0, 1, 2, 3, 4]

for (const operation of OPERATIONS) {
  test(`${operation.name} is what the definition gives`, () => {
    assert.is(firstMismatch(operation, new OperandSource(1), CASES), undefined)
  })
}

function bothSigns(format: Format): bigint[] {
  return specialsOf(format).flatMap((magnitude) => [magnitude, magnitude | signOf(format)])
}

function checkAll(operation: Operation, cases: bigint[][], modes: number[]): void {
  for (const operands of cases) {
    for (const mode of modes) assert.is(mismatch(operation, { operands, mode }), undefined)
  }
}

test('every pair of special operands gives what the definition gives', () => {
  for (const operation of OPERATIONS) {
    const [format] = operation.operands
    if (operation.operands.length > 2 || typeof format !== 'object') continue
    const specials = bothSigns(format)
    const cases =
      operation.operands.length === 1 ? specials.map((a) => [a]) : specials.flatMap((a) => specials.map((b) => [a, b]))
    checkAll(operation, cases, operation.hasMode ? MODES : [0])
  }
})

test('every triple of special operands gives what the definition gives', () => {
  for (const operation of OPERATIONS.filter(({ name }) => name.startsWith('fmadd'))) {
    const format = operation.operands[0] as Format
    const specials = bothSigns(format)
    for (const [at, a] of specials.entries()) {
      const cases = specials.flatMap((b) => specials.map((c) => [a, b, c]))
      checkAll(operation, cases, [at % 5])
    }
  }
})

test('sums at every distance of exponents are rounded once, with the right exceptions', () => {
  for (const operation of OPERATIONS.filter(({ name }) => /^f(add|sub|madd)/.test(name))) {
    const format = operation.operands[0] as Format
    const one = powerOf(format, 0)
    const half = 1n << BigInt(format.precision - 2)
    for (let distance = 0; distance <= Math.min(140, format.exponentMax); distance++) {
      const large = powerOf(format, distance)
      for (const a of [large, large + 1n, large + half]) {
        for (const b of [one, one + 1n, one + half]) {
          const cases =
            operation.operands.length === 3
              ? [
                  [one, a, b],
                  [one, b, a],
                  [one + 1n, b, a],
                ]
              : [
                  [a, b],
                  [b, a],
                ]
          checkAll(operation, cases, MODES)
        }
      }
    }
  }
})

test('the last digits of a long product decide a tie, however far below the addend they lie', () => {
  // (2^25 + 1) * (2^50 - 2^25 + 1) = 2^75 + 1, and half an ulp of 2^128 is 2^75. A little more in the second factor moves the
  // product up by quarters of that half's ulp.
  const short = powerOf(BINARY64, 25) + (1n << 27n)
  const long = powerOf(BINARY64, 49) + (((1n << 49n) - (1n << 25n) + 1n) << 3n)
  const operation = OPERATIONS.find(({ name }) => name === 'fmadd.d')!
  const cases: bigint[][] = []
  const scaled = (bits: bigint, exponent: number) => bits + (BigInt(exponent) << 52n)
  for (let ulps = 0n; ulps < 4n; ulps++) {
    for (let exponent = 100; exponent < 160; exponent++) {
      const addend = powerOf(BINARY64, exponent) + ulps
      cases.push([short, long + ulps, addend], [long + ulps, short, addend | signOf(BINARY64)])
    }
    // The same where the last digits of the product lie below the least subnormal number.
    for (let exponent = -1021; exponent < -946; exponent++) {
      const addend = powerOf(BINARY64, exponent) + ulps
      cases.push([scaled(short, -560), scaled(long + ulps, exponent - 128 + 560), addend])
    }
  }
  checkAll(operation, cases, MODES)
})

test('a sum that the host rounds to a digit beside a tie of f32 stays off the tie', () => {
  // Products just below 2^-24 * (1 + 2^-28), so that beside 1 a double rounds them up to a digit of its own.
  const operation = OPERATIONS.find(({ name }) => name === 'fmadd.s')!
  const target = 2 ** 46 + 2 ** 18 - 2 ** 16
  let found = 0
  for (let step = 0; step < 4000; step++) {
    const first = 2 ** 23 + 2 * step + 1
    const second = Math.floor(target / first)
    if (Math.abs(first * second - target) >= 2 ** 16) continue
    found++
    // Each times 2^-35; the second has one digit less.
    const factors = [powerOf(BINARY32, -12) + BigInt(first - 2 ** 23), powerOf(BINARY32, -13) + BigInt(2 * second - 2 ** 23)]
    for (const addend of [powerOf(BINARY32, 0), powerOf(BINARY32, 0) + 1n]) checkAll(operation, [[...factors, addend]], MODES)
  }
  assert.ok(found > 5, `${found} products`)
})

test("the host's square root is but a guess", () => {
  const { sqrt } = Math
  const operation = OPERATIONS.find(({ name }) => name === 'fsqrt.d')!
  try {
    for (const factor of [1 + 2 ** -51, 1 - 2 ** -51]) {
      Math.sqrt = (value) => sqrt(value) * factor
      assert.is(firstMismatch(operation, new OperandSource(3), 200), undefined)
    }
  } finally {
    Math.sqrt = sqrt
  }
})

test('an f32 stands boxed in a register, and what is not boxed is a NaN', () => {
  flags[0] = 0
  f32.boxF32(0x3f800000)
  assert.equal([...result], [0x3f800000, -1])
  assert.is(f32.unboxF32(0x3f800000, -1), 0x3f800000)
  assert.is(f32.unboxF32(0x3f800000, 0x7fffffff), 0x7fc00000)
  assert.is(f32.unboxF32(0x3f800000, 0), 0x7fc00000)
  assert.is(flags[0], 0)
})

test('no operation is left out', () => {
  const exported = [...Object.keys(f32), ...Object.keys(f64)].filter((name) => !/box/i.test(name))
  assert.is(exported.length, OPERATIONS.length)
  assert.equal(
    [...Object.keys(f32), ...Object.keys(f64)].filter((name) => !Object.hasOwn(index, name)),
    [],
  )
})

test('results of f64 are those of the host, which rounds to nearest even', () => {
  const source = new OperandSource(7)
  const host = new Float64Array(2)
  const words = new Int32Array(host.buffer)
  const bits = new BigUint64Array(host.buffer)
  const operations: [string, (a: number, b: number) => number][] = [
    ['fadd.d', (a, b) => a + b],
    ['fsub.d', (a, b) => a - b],
    ['fmul.d', (a, b) => a * b],
    ['fdiv.d', (a, b) => a / b],
    ['fsqrt.d', (a) => Math.sqrt(a)],
  ]
  for (const [name, compute] of operations) {
    const operation = OPERATIONS.find((one) => one.name === name)!
    for (let at = 0; at < CASES; at++) {
      const operands = nextOperands(operation, source)
      bits[0] = operands[0]!
      bits[1] = operands[1] ?? 0n
      const operandWords = [...words]
      const value = compute(host[0]!, host[1]!)
      host[0] = value
      flags[0] = 0
      operation.run(operandWords, NEAREST_EVEN)
      const expected = Number.isNaN(value) ? [0, 0x7ff80000] : [words[0], words[1]]
      assert.equal([...result], expected, `${name} ${operands.map((operand) => operand.toString(16))}`)
    }
  }
})

test.run()
