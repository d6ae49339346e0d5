/** Every operation beside what it must give, for tests and for the sweep of `commands/softfloat.ts`. */
import * as f32 from './f32'
import * as f64 from './f64'
import { flags, INEXACT, result } from './state'
import {
  BINARY32,
  BINARY64,
  type Expected,
  expectAdd,
  expectClass,
  expectCompare,
  expectConvert,
  expectDivide,
  expectExtreme,
  expectFromInteger,
  expectMultiply,
  expectMultiplyAdd,
  expectSquareRoot,
  expectToInteger,
  type Format,
  signOf,
} from './testing'
import type { OperandSource, OperandType } from './testing_operands'

export interface Operation {
  /** The instruction's mnemonic. */
  name: string
  operands: OperandType[]
  hasMode: boolean
  /** `words` has low and high half of each operand; the result's bits, or undefined for what stands in `result`. */
  run(words: number[], mode: number): number | undefined
  expect(operands: bigint[], mode: number): Expected
}

const toI32 = (value: bigint) => Number(BigInt.asIntN(32, value))
const asNumber = (holds: boolean) => (holds ? 1 : 0)

function arithmetic32(): Operation[] {
  const F = BINARY32
  const flip = signOf(F)
  const two = [F, F]
  const three = [F, F, F]
  const row = (name: string, operands: Format[], run: Operation['run'], expect: Operation['expect']): Operation => ({
    name: `f${name}.s`,
    operands,
    hasMode: true,
    run,
    expect,
  })
  return [
    row(
      'add',
      two,
      (w, m) => f32.f32Add(w[0]!, w[2]!, m),
      ([a, b], m) => expectAdd(F, a!, b!, m),
    ),
    row(
      'sub',
      two,
      (w, m) => f32.f32Sub(w[0]!, w[2]!, m),
      ([a, b], m) => expectAdd(F, a!, b! ^ flip, m),
    ),
    row(
      'mul',
      two,
      (w, m) => f32.f32Mul(w[0]!, w[2]!, m),
      ([a, b], m) => expectMultiply(F, a!, b!, m),
    ),
    row(
      'div',
      two,
      (w, m) => f32.f32Div(w[0]!, w[2]!, m),
      ([a, b], m) => expectDivide(F, a!, b!, m),
    ),
    row(
      'sqrt',
      [F],
      (w, m) => f32.f32Sqrt(w[0]!, m),
      ([a], m) => expectSquareRoot(F, a!, m),
    ),
    row(
      'madd',
      three,
      (w, m) => f32.f32MulAdd(w[0]!, w[2]!, w[4]!, m),
      ([a, b, c], m) => expectMultiplyAdd(F, a!, b!, c!, m),
    ),
    row(
      'msub',
      three,
      (w, m) => f32.f32MulSub(w[0]!, w[2]!, w[4]!, m),
      ([a, b, c], m) => expectMultiplyAdd(F, a!, b!, c! ^ flip, m),
    ),
    row(
      'nmsub',
      three,
      (w, m) => f32.f32NegMulSub(w[0]!, w[2]!, w[4]!, m),
      ([a, b, c], m) => expectMultiplyAdd(F, a! ^ flip, b!, c!, m),
    ),
    row(
      'nmadd',
      three,
      (w, m) => f32.f32NegMulAdd(w[0]!, w[2]!, w[4]!, m),
      ([a, b, c], m) => expectMultiplyAdd(F, a! ^ flip, b!, c! ^ flip, m),
    ),
  ]
}

/** For a function that leaves its result in `result`. */
function stored(run: (words: number[], mode: number) => void): Operation['run'] {
  return (words, mode) => {
    run(words, mode)
    return undefined
  }
}

function arithmetic64(): Operation[] {
  const F = BINARY64
  const flip = signOf(F)
  const two = [F, F]
  const three = [F, F, F]
  const row = (
    name: string,
    operands: Format[],
    run: (w: number[], m: number) => void,
    expect: Operation['expect'],
  ): Operation => ({ name: `f${name}.d`, operands, hasMode: true, run: stored(run), expect })
  const ternary = (call: typeof f64.f64MulAdd) => (w: number[], m: number) => call(w[0]!, w[1]!, w[2]!, w[3]!, w[4]!, w[5]!, m)
  const binary = (call: typeof f64.f64Add) => (w: number[], m: number) => call(w[0]!, w[1]!, w[2]!, w[3]!, m)
  return [
    row('add', two, binary(f64.f64Add), ([a, b], m) => expectAdd(F, a!, b!, m)),
    row('sub', two, binary(f64.f64Sub), ([a, b], m) => expectAdd(F, a!, b! ^ flip, m)),
    row('mul', two, binary(f64.f64Mul), ([a, b], m) => expectMultiply(F, a!, b!, m)),
    row('div', two, binary(f64.f64Div), ([a, b], m) => expectDivide(F, a!, b!, m)),
    row(
      'sqrt',
      [F],
      (w, m) => f64.f64Sqrt(w[0]!, w[1]!, m),
      ([a], m) => expectSquareRoot(F, a!, m),
    ),
    row('madd', three, ternary(f64.f64MulAdd), ([a, b, c], m) => expectMultiplyAdd(F, a!, b!, c!, m)),
    row('msub', three, ternary(f64.f64MulSub), ([a, b, c], m) => expectMultiplyAdd(F, a!, b!, c! ^ flip, m)),
    row('nmsub', three, ternary(f64.f64NegMulSub), ([a, b, c], m) => expectMultiplyAdd(F, a! ^ flip, b!, c!, m)),
    row('nmadd', three, ternary(f64.f64NegMulAdd), ([a, b, c], m) => expectMultiplyAdd(F, a! ^ flip, b!, c! ^ flip, m)),
  ]
}

const S = BINARY32
const D = BINARY64

/** An operation on operands of one format that takes no rounding mode. */
function unrounded(name: string, format: Format, count: number, run: Operation['run'], expect: Operation['expect']): Operation {
  const operands = Array.from({ length: count }, () => format)
  return { name: `${name}.${format === S ? 's' : 'd'}`, operands, hasMode: false, run, expect }
}

function comparisons(): Operation[] {
  const relations = ['eq', 'lt', 'le'] as const
  const singles = [f32.f32Eq, f32.f32Lt, f32.f32Le]
  const doubles = [f64.f64Eq, f64.f64Lt, f64.f64Le]
  return relations.flatMap((relation, at) => [
    unrounded(
      `f${relation}`,
      S,
      2,
      (w) => asNumber(singles[at]!(w[0]!, w[2]!)),
      ([a, b]) => expectCompare(S, relation, a!, b!),
    ),
    unrounded(
      `f${relation}`,
      D,
      2,
      (w) => asNumber(doubles[at]!(w[0]!, w[1]!, w[2]!, w[3]!)),
      ([a, b]) => expectCompare(D, relation, a!, b!),
    ),
  ])
}

function extremesAndClasses(): Operation[] {
  const singles = [f32.f32Min, f32.f32Max]
  const doubles = [f64.f64Min, f64.f64Max]
  const extremes = ['fmin', 'fmax'].flatMap((name, at) => {
    const single: Operation['run'] = (w) => singles[at]!(w[0]!, w[2]!)
    const double = stored((w) => doubles[at]!(w[0]!, w[1]!, w[2]!, w[3]!))
    return [
      unrounded(name, S, 2, single, ([a, b]) => expectExtreme(S, at === 1, a!, b!)),
      unrounded(name, D, 2, double, ([a, b]) => expectExtreme(D, at === 1, a!, b!)),
    ]
  })
  return [
    ...extremes,
    unrounded(
      'fclass',
      S,
      1,
      (w) => f32.f32Classify(w[0]!),
      ([a]) => expectClass(S, a!),
    ),
    unrounded(
      'fclass',
      D,
      1,
      (w) => f64.f64Classify(w[0]!, w[1]!),
      ([a]) => expectClass(D, a!),
    ),
  ]
}

function signInjections(): Operation[] {
  const names = ['fsgnj', 'fsgnjn', 'fsgnjx']
  const singles = [f32.f32SignInject, f32.f32SignInjectNegated, f32.f32SignInjectXor]
  const doubles = [f64.f64SignInject, f64.f64SignInjectNegated, f64.f64SignInjectXor]
  const signs = [(_: bigint, b: bigint) => b, (_: bigint, b: bigint) => ~b, (a: bigint, b: bigint) => a ^ b]
  return names.flatMap((name, at) => {
    const expect = (top: bigint, a: bigint, b: bigint): Expected => ({
      bits: (a & (top - 1n)) | (signs[at]!(a, b) & top),
      flags: 0,
    })
    const double = stored((w) => doubles[at]!(w[0]!, w[1]!, w[3]!))
    return [
      unrounded(
        name,
        S,
        2,
        (w) => singles[at]!(w[0]!, w[2]!),
        ([a, b]) => expect(signOf(S), a!, b!),
      ),
      unrounded(name, D, 2, double, ([a, b]) => expect(signOf(D), a!, b!)),
    ]
  })
}

/** Integers by the letters of their mnemonics. */
const INTEGERS = [
  { letters: 'w', type: 'i32', widthBits: 32, isSigned: true },
  { letters: 'wu', type: 'i32', widthBits: 32, isSigned: false },
  { letters: 'l', type: 'i64', widthBits: 64, isSigned: true },
  { letters: 'lu', type: 'i64', widthBits: 64, isSigned: false },
] as const

function conversion(name: string, operand: OperandType, run: Operation['run'], expect: Operation['expect']): Operation {
  return { name: `fcvt.${name}`, operands: [operand], hasMode: true, run, expect }
}

function toIntegers(): Operation[] {
  const singles = [f32.f32ToI32, f32.f32ToU32, f32.f32ToI64, f32.f32ToU64]
  const doubles = [f64.f64ToI32, f64.f64ToU32, f64.f64ToI64, f64.f64ToU64]
  return INTEGERS.flatMap(({ letters, widthBits, isSigned }, at) => {
    const single = stored((w, m) => singles[at]!(w[0]!, m))
    const double = stored((w, m) => doubles[at]!(w[0]!, w[1]!, m))
    return [
      conversion(`${letters}.s`, S, single, ([a], m) => expectToInteger(S, a!, widthBits, isSigned, m)),
      conversion(`${letters}.d`, D, double, ([a], m) => expectToInteger(D, a!, widthBits, isSigned, m)),
    ]
  })
}

function fromIntegers(): Operation[] {
  const singles: Operation['run'][] = [
    (w, m) => f32.i32ToF32(w[0]!, m),
    (w, m) => f32.u32ToF32(w[0]!, m),
    (w, m) => f32.i64ToF32(w[0]!, w[1]!, m),
    (w, m) => f32.u64ToF32(w[0]!, w[1]!, m),
  ]
  const doubles: Operation['run'][] = [
    stored((w) => f64.i32ToF64(w[0]!)),
    stored((w) => f64.u32ToF64(w[0]!)),
    stored((w, m) => f64.i64ToF64(w[0]!, w[1]!, m)),
    stored((w, m) => f64.u64ToF64(w[0]!, w[1]!, m)),
  ]
  return INTEGERS.flatMap(({ letters, type, widthBits, isSigned }, at) => {
    const integerOf = (bits: bigint) => (isSigned ? BigInt.asIntN(widthBits, bits) : bits)
    return [
      conversion(`s.${letters}`, type, singles[at]!, ([a], m) => expectFromInteger(S, integerOf(a!), m)),
      conversion(`d.${letters}`, type, doubles[at]!, ([a], m) => expectFromInteger(D, integerOf(a!), m)),
    ]
  })
}

function betweenFormats(): Operation[] {
  return [
    conversion(
      'd.s',
      S,
      stored((w) => f32.f32ToF64(w[0]!)),
      ([a], m) => expectConvert(S, D, a!, m),
    ),
    conversion(
      's.d',
      D,
      (w, m) => f64.f64ToF32(w[0]!, w[1]!, m),
      ([a], m) => expectConvert(D, S, a!, m),
    ),
  ]
}

export const OPERATIONS: Operation[] = [
  ...arithmetic32(),
  ...arithmetic64(),
  ...comparisons(),
  ...extremesAndClasses(),
  ...signInjections(),
  ...toIntegers(),
  ...fromIntegers(),
  ...betweenFormats(),
]

/** Operands of the next case. */
export function nextOperands(operation: Operation, source: OperandSource): bigint[] {
  const operands: bigint[] = []
  for (const type of operation.operands) {
    if (type === 'i32') operands.push(source.integer(32))
    else if (type === 'i64') operands.push(source.integer(64))
    else operands.push(source.following(type, operands))
  }
  const [format] = operation.operands
  if (typeof format !== 'object' || source.below(4) !== 0) return operands
  if (operands.length === 3) return source.nearTie(format)
  // Quotients and roots beside a number that the format has.
  if (operation.name.startsWith('fdiv')) operands[0] = source.product(format, source.float(format), operands[1]!)
  if (operation.name.startsWith('fsqrt')) operands[0] = source.product(format, operands[0]!, operands[0]!)
  return operands
}

export interface Case {
  operands: bigint[]
  mode: number
}

export function nextCase(operation: Operation, source: OperandSource): Case {
  return { operands: nextOperands(operation, source), mode: operation.hasMode ? source.below(5) : 0 }
}

/** What the implementation gives, with the exceptions `before` raised already. */
export function given(operation: Operation, { operands, mode }: Case, before: number): Expected {
  const words = operands.flatMap((operand) => [toI32(operand), toI32(operand >> 32n)])
  flags[0] = before
  const value = operation.run(words, mode)
  const wide = (BigInt(result[1]! >>> 0) << 32n) | BigInt(result[0]! >>> 0)
  return { bits: value === undefined ? wide : BigInt.asUintN(32, BigInt(value)), flags: flags[0]! }
}

/** A result beside another, in words. */
export function differenceText(operation: Operation, { operands, mode }: Case, is: Expected, expected: Expected): string {
  const hex = (bits: bigint) => `0x${bits.toString(16)}`
  const what = `${operation.name} ${operands.map(hex).join(', ')}, mode ${mode}`
  return `${what}: ${hex(is.bits)} with flags ${is.flags}, expected ${hex(expected.bits)} with flags ${expected.flags}`
}

/** What is wrong with a case, or undefined. It runs with no exception raised before, and with NX raised, where hosts help. */
export function mismatch(operation: Operation, one: Case): string | undefined {
  const expected = operation.expect(one.operands, one.mode)
  for (const before of [0, INEXACT]) {
    const is = given(operation, one, before)
    if (is.bits === expected.bits && is.flags === (expected.flags | before)) continue
    const text = differenceText(operation, one, is, { bits: expected.bits, flags: expected.flags | before })
    return `${text}, before ${before}`
  }
  return undefined
}

/** Checks the next cases of one operation; the first mismatch, or undefined. */
export function firstMismatch(operation: Operation, source: OperandSource, count: number): string | undefined {
  for (let at = 0; at < count; at++) {
    const wrong = mismatch(operation, nextCase(operation, source))
    if (wrong !== undefined) return wrong
  }
  return undefined
}
