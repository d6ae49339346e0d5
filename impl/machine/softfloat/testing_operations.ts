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

/** Widens a run on f32 operands that names its words one by one. */
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

/** Comparisons and what else takes no rounding mode. */
function unrounded(): Operation[] {
  const row = (name: string, operands: Format[], run: Operation['run'], expect: Operation['expect']): Operation => ({
    name,
    operands,
    hasMode: false,
    run,
    expect,
  })
  const [S, D] = [BINARY32, BINARY64]
  const compared32 = (name: 'eq' | 'lt' | 'le', call: typeof f32.f32Eq) =>
    row(
      `f${name}.s`,
      [S, S],
      (w) => asNumber(call(w[0]!, w[2]!)),
      ([a, b]) => expectCompare(S, name, a!, b!),
    )
  const compared64 = (name: 'eq' | 'lt' | 'le', call: typeof f64.f64Eq) =>
    row(
      `f${name}.d`,
      [D, D],
      (w) => asNumber(call(w[0]!, w[1]!, w[2]!, w[3]!)),
      ([a, b]) => expectCompare(D, name, a!, b!),
    )
  const exact = (bits: bigint): Expected => ({ bits, flags: 0 })
  const signed = (format: Format, call32: Operation['run'], name: string, sign: (a: bigint, b: bigint) => bigint) => {
    const top = signOf(format)
    return row(`f${name}.${format === S ? 's' : 'd'}`, [format, format], call32, ([a, b]) =>
      exact((a! & (top - 1n)) | (sign(a!, b!) & top)),
    )
  }
  return [
    compared32('eq', f32.f32Eq),
    compared32('lt', f32.f32Lt),
    compared32('le', f32.f32Le),
    compared64('eq', f64.f64Eq),
    compared64('lt', f64.f64Lt),
    compared64('le', f64.f64Le),
    row(
      'fmin.s',
      [S, S],
      (w) => f32.f32Min(w[0]!, w[2]!),
      ([a, b]) => expectExtreme(S, false, a!, b!),
    ),
    row(
      'fmax.s',
      [S, S],
      (w) => f32.f32Max(w[0]!, w[2]!),
      ([a, b]) => expectExtreme(S, true, a!, b!),
    ),
    row(
      'fmin.d',
      [D, D],
      stored((w) => f64.f64Min(w[0]!, w[1]!, w[2]!, w[3]!)),
      ([a, b]) => expectExtreme(D, false, a!, b!),
    ),
    row(
      'fmax.d',
      [D, D],
      stored((w) => f64.f64Max(w[0]!, w[1]!, w[2]!, w[3]!)),
      ([a, b]) => expectExtreme(D, true, a!, b!),
    ),
    row(
      'fclass.s',
      [S],
      (w) => f32.f32Classify(w[0]!),
      ([a]) => expectClass(S, a!),
    ),
    row(
      'fclass.d',
      [D],
      (w) => f64.f64Classify(w[0]!, w[1]!),
      ([a]) => expectClass(D, a!),
    ),
    signed(
      S,
      (w) => f32.f32SignInject(w[0]!, w[2]!),
      'sgnj',
      (_, b) => b,
    ),
    signed(
      S,
      (w) => f32.f32SignInjectNegated(w[0]!, w[2]!),
      'sgnjn',
      (_, b) => ~b,
    ),
    signed(
      S,
      (w) => f32.f32SignInjectXor(w[0]!, w[2]!),
      'sgnjx',
      (a, b) => a ^ b,
    ),
    signed(
      D,
      stored((w) => f64.f64SignInject(w[0]!, w[1]!, w[3]!)),
      'sgnj',
      (_, b) => b,
    ),
    signed(
      D,
      stored((w) => f64.f64SignInjectNegated(w[0]!, w[1]!, w[3]!)),
      'sgnjn',
      (_, b) => ~b,
    ),
    signed(
      D,
      stored((w) => f64.f64SignInjectXor(w[0]!, w[1]!, w[3]!)),
      'sgnjx',
      (a, b) => a ^ b,
    ),
  ]
}

function conversions(): Operation[] {
  const [S, D] = [BINARY32, BINARY64]
  const row = (name: string, operand: OperandType, run: Operation['run'], expect: Operation['expect']): Operation => ({
    name,
    operands: [operand],
    hasMode: true,
    run,
    expect,
  })
  const to = (format: Format, name: string, run: Operation['run'], widthBits: number, isSigned: boolean) =>
    row(name, format, run, ([a], m) => expectToInteger(format, a!, widthBits, isSigned, m))
  const from = (operand: 'i32' | 'i64', name: string, run: Operation['run'], format: Format, isSigned: boolean) =>
    row(name, operand, run, ([a], m) => {
      const width = operand === 'i32' ? 32 : 64
      return expectFromInteger(format, isSigned ? BigInt.asIntN(width, a!) : a!, m)
    })
  return [
    to(
      S,
      'fcvt.w.s',
      stored((w, m) => f32.f32ToI32(w[0]!, m)),
      32,
      true,
    ),
    to(
      S,
      'fcvt.wu.s',
      stored((w, m) => f32.f32ToU32(w[0]!, m)),
      32,
      false,
    ),
    to(
      S,
      'fcvt.l.s',
      stored((w, m) => f32.f32ToI64(w[0]!, m)),
      64,
      true,
    ),
    to(
      S,
      'fcvt.lu.s',
      stored((w, m) => f32.f32ToU64(w[0]!, m)),
      64,
      false,
    ),
    to(
      D,
      'fcvt.w.d',
      stored((w, m) => f64.f64ToI32(w[0]!, w[1]!, m)),
      32,
      true,
    ),
    to(
      D,
      'fcvt.wu.d',
      stored((w, m) => f64.f64ToU32(w[0]!, w[1]!, m)),
      32,
      false,
    ),
    to(
      D,
      'fcvt.l.d',
      stored((w, m) => f64.f64ToI64(w[0]!, w[1]!, m)),
      64,
      true,
    ),
    to(
      D,
      'fcvt.lu.d',
      stored((w, m) => f64.f64ToU64(w[0]!, w[1]!, m)),
      64,
      false,
    ),
    from('i32', 'fcvt.s.w', (w, m) => f32.i32ToF32(w[0]!, m), S, true),
    from('i32', 'fcvt.s.wu', (w, m) => f32.u32ToF32(w[0]!, m), S, false),
    from('i64', 'fcvt.s.l', (w, m) => f32.i64ToF32(w[0]!, w[1]!, m), S, true),
    from('i64', 'fcvt.s.lu', (w, m) => f32.u64ToF32(w[0]!, w[1]!, m), S, false),
    from(
      'i32',
      'fcvt.d.w',
      stored((w) => f64.i32ToF64(w[0]!)),
      D,
      true,
    ),
    from(
      'i32',
      'fcvt.d.wu',
      stored((w) => f64.u32ToF64(w[0]!)),
      D,
      false,
    ),
    from(
      'i64',
      'fcvt.d.l',
      stored((w, m) => f64.i64ToF64(w[0]!, w[1]!, m)),
      D,
      true,
    ),
    from(
      'i64',
      'fcvt.d.lu',
      stored((w, m) => f64.u64ToF64(w[0]!, w[1]!, m)),
      D,
      false,
    ),
    row(
      'fcvt.d.s',
      S,
      stored((w) => f32.f32ToF64(w[0]!)),
      ([a], m) => expectConvert(S, D, a!, m),
    ),
    row(
      'fcvt.s.d',
      D,
      (w, m) => f64.f64ToF32(w[0]!, w[1]!, m),
      ([a], m) => expectConvert(D, S, a!, m),
    ),
  ]
}

export const OPERATIONS: Operation[] = [...arithmetic32(), ...arithmetic64(), ...unrounded(), ...conversions()]

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
