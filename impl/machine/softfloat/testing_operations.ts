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
import { OperandSource, type OperandType } from './testing_operands'

export interface Operation {
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
    name: `f32 ${name}`,
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
  ): Operation => ({ name: `f64 ${name}`, operands, hasMode: true, run: stored(run), expect })
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
      `f32 ${name}`,
      [S, S],
      (w) => asNumber(call(w[0]!, w[2]!)),
      ([a, b]) => expectCompare(S, name, a!, b!),
    )
  const compared64 = (name: 'eq' | 'lt' | 'le', call: typeof f64.f64Eq) =>
    row(
      `f64 ${name}`,
      [D, D],
      (w) => asNumber(call(w[0]!, w[1]!, w[2]!, w[3]!)),
      ([a, b]) => expectCompare(D, name, a!, b!),
    )
  const exact = (bits: bigint): Expected => ({ bits, flags: 0 })
  const signed = (format: Format, call32: Operation['run'], name: string, sign: (a: bigint, b: bigint) => bigint) => {
    const top = signOf(format)
    return row(`${format === S ? 'f32' : 'f64'} ${name}`, [format, format], call32, ([a, b]) =>
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
      'f32 min',
      [S, S],
      (w) => f32.f32Min(w[0]!, w[2]!),
      ([a, b]) => expectExtreme(S, false, a!, b!),
    ),
    row(
      'f32 max',
      [S, S],
      (w) => f32.f32Max(w[0]!, w[2]!),
      ([a, b]) => expectExtreme(S, true, a!, b!),
    ),
    row(
      'f64 min',
      [D, D],
      stored((w) => f64.f64Min(w[0]!, w[1]!, w[2]!, w[3]!)),
      ([a, b]) => expectExtreme(D, false, a!, b!),
    ),
    row(
      'f64 max',
      [D, D],
      stored((w) => f64.f64Max(w[0]!, w[1]!, w[2]!, w[3]!)),
      ([a, b]) => expectExtreme(D, true, a!, b!),
    ),
    row(
      'f32 class',
      [S],
      (w) => f32.f32Classify(w[0]!),
      ([a]) => expectClass(S, a!),
    ),
    row(
      'f64 class',
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
      'f32 to i32',
      stored((w, m) => f32.f32ToI32(w[0]!, m)),
      32,
      true,
    ),
    to(
      S,
      'f32 to u32',
      stored((w, m) => f32.f32ToU32(w[0]!, m)),
      32,
      false,
    ),
    to(
      S,
      'f32 to i64',
      stored((w, m) => f32.f32ToI64(w[0]!, m)),
      64,
      true,
    ),
    to(
      S,
      'f32 to u64',
      stored((w, m) => f32.f32ToU64(w[0]!, m)),
      64,
      false,
    ),
    to(
      D,
      'f64 to i32',
      stored((w, m) => f64.f64ToI32(w[0]!, w[1]!, m)),
      32,
      true,
    ),
    to(
      D,
      'f64 to u32',
      stored((w, m) => f64.f64ToU32(w[0]!, w[1]!, m)),
      32,
      false,
    ),
    to(
      D,
      'f64 to i64',
      stored((w, m) => f64.f64ToI64(w[0]!, w[1]!, m)),
      64,
      true,
    ),
    to(
      D,
      'f64 to u64',
      stored((w, m) => f64.f64ToU64(w[0]!, w[1]!, m)),
      64,
      false,
    ),
    from('i32', 'i32 to f32', (w, m) => f32.i32ToF32(w[0]!, m), S, true),
    from('i32', 'u32 to f32', (w, m) => f32.u32ToF32(w[0]!, m), S, false),
    from('i64', 'i64 to f32', (w, m) => f32.i64ToF32(w[0]!, w[1]!, m), S, true),
    from('i64', 'u64 to f32', (w, m) => f32.u64ToF32(w[0]!, w[1]!, m), S, false),
    from(
      'i32',
      'i32 to f64',
      stored((w) => f64.i32ToF64(w[0]!)),
      D,
      true,
    ),
    from(
      'i32',
      'u32 to f64',
      stored((w) => f64.u32ToF64(w[0]!)),
      D,
      false,
    ),
    from(
      'i64',
      'i64 to f64',
      stored((w, m) => f64.i64ToF64(w[0]!, w[1]!, m)),
      D,
      true,
    ),
    from(
      'i64',
      'u64 to f64',
      stored((w, m) => f64.u64ToF64(w[0]!, w[1]!, m)),
      D,
      false,
    ),
    row(
      'f32 to f64',
      S,
      stored((w) => f32.f32ToF64(w[0]!)),
      ([a], m) => expectConvert(S, D, a!, m),
    ),
    row(
      'f64 to f32',
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
  if (operation.name.endsWith('div')) operands[0] = source.product(format, source.float(format), operands[1]!)
  if (operation.name.endsWith('sqrt')) operands[0] = source.product(format, operands[0]!, operands[0]!)
  return operands
}

/** What is wrong with a case, or undefined. It runs with no exception raised before, and with NX raised, where hosts help. */
export function mismatch(operation: Operation, operands: bigint[], mode: number): string | undefined {
  const words = operands.flatMap((operand) => [toI32(operand), toI32(operand >> 32n)])
  const expected = operation.expect(operands, mode)
  for (const before of [0, INEXACT]) {
    flags[0] = before
    const value = operation.run(words, mode)
    const wide = (BigInt(result[1]! >>> 0) << 32n) | BigInt(result[0]! >>> 0)
    const bits = value === undefined ? wide : BigInt.asUintN(32, BigInt(value))
    const isRight = bits === expected.bits && flags[0] === (expected.flags | before)
    if (isRight) continue
    const given = operands.map((operand) => `0x${operand.toString(16)}`).join(', ')
    return `${operation.name} ${given}, mode ${mode}, flags before ${before}: 0x${bits.toString(16)} with flags ${flags[0]}, expected 0x${expected.bits.toString(16)} with ${expected.flags | before}`
  }
  return undefined
}

/** Checks cases of one operation; the first mismatch, or undefined. `seed` and `count` tell the cases. */
export function firstMismatch(operation: Operation, seed: number, count: number): string | undefined {
  const source = new OperandSource(seed)
  for (let at = 0; at < count; at++) {
    const operands = nextOperands(operation, source)
    const wrong = mismatch(operation, operands, operation.hasMode ? source.below(5) : 0)
    if (wrong !== undefined) return wrong
  }
  return undefined
}
