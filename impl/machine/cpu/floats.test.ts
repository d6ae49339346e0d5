import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { INSTRUCTIONS } from '../isa'
import type { FloatUnit } from './float_unit'
import { Cause, Status } from './state'
import { type Bench, bench, join, RAM } from './testing'

/** A unit that tells what it was asked, and answers what it is given. */
function unit(): FloatUnit & { asked: string[]; answer: [number, number, number] } {
  const result = new Int32Array(2)
  const flags = new Int32Array(1)
  const asked: string[] = []
  const made = {
    result,
    flags,
    asked,
    answer: [0, 0, 0] as [number, number, number],
    operations: {} as Record<string, (operands: Int32Array, mode: number) => void>,
  }
  for (const { mnemonic, extension } of INSTRUCTIONS) {
    if (extension !== 'F' && extension !== 'D') continue
    made.operations[mnemonic] = (operands, mode) => {
      const hex = Array.from({ length: 3 }, (_, index) => join(operands[index * 2]!, operands[index * 2 + 1]!).toString(16))
      asked.push(`${mnemonic} ${hex.join(' ')} mode ${mode}`)
      ;[result[0], result[1], flags[0]] = made.answer
    }
  }
  return made
}

function running(float: FloatUnit, ...lines: string[]): Bench {
  const made = bench({ float })
  made.program(RAM, ...lines)
  made.hart.state.mstatus = 1 << 13
  made.hart.state.mtvec.set((RAM + 0x800) | 0, 0)
  return made
}

const setF = (made: Bench, register: number, value: bigint): void => {
  made.hart.f[register * 2] = Number(BigInt.asIntN(32, value))
  made.hart.f[register * 2 + 1] = Number(BigInt.asIntN(32, value >> 32n))
}
const f = (made: Bench, register: number): bigint => join(made.hart.f[register * 2]!, made.hart.f[register * 2 + 1]!)
const boxed = (low: bigint): bigint => 0xffff_ffff_0000_0000n | low

test('single operands come unboxed, and what is not boxed is a NaN', () => {
  const float = unit()
  const made = running(float, 'fmadd.s f1,f2,f3,f4,rup')
  setF(made, 2, boxed(0x3f800000n))
  setF(made, 3, 0x3f800000n)
  setF(made, 4, boxed(0xc0000000n))
  float.answer = [0x40400000, 0x1234, 1]
  made.run(1)
  assert.equal(float.asked, ['fmadd.s 3f800000 7fc00000 c0000000 mode 3'])
  assert.is(f(made, 1), boxed(0x40400000n))
  assert.is(made.hart.state.fflags, 1)
})

test('double operands come whole, and so do answers', () => {
  const float = unit()
  const made = running(float, 'fnmsub.d f31,f30,f29,f28,rtz')
  setF(made, 30, 0x1111_1111_2222_2222n)
  setF(made, 29, 0x3333_3333_4444_4444n)
  setF(made, 28, 0x5555_5555_6666_6666n)
  float.answer = [5, 6, 0]
  made.run(1)
  assert.equal(float.asked, ['fnmsub.d 1111111122222222 3333333344444444 5555555566666666 mode 1'])
  assert.is(f(made, 31), 0x6_0000_0005n)
})

test('conversions take and give what their names say', () => {
  for (const [line, asked, expected] of [
    ['fcvt.d.s f1,f2', 'fcvt.d.s 40000000 0', 0x7_0000_0009n],
    ['fcvt.s.d f1,f3', 'fcvt.s.d 123456789abcdef0 0', boxed(9n)],
    ['fcvt.s.l f1,a0', 'fcvt.s.l fedcba9876543210 0', boxed(9n)],
    ['fcvt.d.wu f1,a0', 'fcvt.d.wu fedcba9876543210 0', 0x7_0000_0009n],
  ] as const) {
    const float = unit()
    const made = running(float, line)
    setF(made, 2, boxed(0x40000000n))
    setF(made, 3, 0x1234_5678_9abc_def0n)
    made.setX('a0', 0xfedc_ba98_7654_3210n)
    float.answer = [9, 7, 0]
    made.run(1)
    // What is not an operand may be anything.
    assert.ok(float.asked[0]!.startsWith(asked.split(' ').slice(0, 2).join(' ')), float.asked[0])
    assert.is(f(made, 1), expected, line)
  }
})

test('answers that are integers go to integer registers, and leave floats clean', () => {
  for (const line of ['fcvt.l.d a1,f3', 'flt.s a1,f2,f3', 'fclass.d a1,f2', 'fcvt.wu.s a1,f2']) {
    const float = unit()
    const made = running(float, line)
    float.answer = [-2, -1, 0]
    made.run(1)
    assert.is(made.x('a1'), 0xffff_ffff_ffff_fffen, line)
    assert.is(made.hart.state.mstatus & Status.FS, 1 << 13, line)
    // Flags are of the state of floats, too.
    float.answer = [0, 0, 16]
    made.setPc(BigInt(RAM))
    made.run(1)
    assert.is(made.hart.state.mstatus & Status.FS, Status.FS, line)
    assert.is(made.hart.state.fflags, 16)
  }
})

test('flags add up until they are written', () => {
  const float = unit()
  const made = running(float, 'fadd.d f1,f2,f3', 'fadd.d f1,f2,f3', 'csrrw a0,fflags,zero', 'csrrs a1,fcsr,zero')
  float.answer = [0, 0, 1]
  made.run(1)
  float.answer = [0, 0, 4]
  made.run(3)
  assert.equal([made.x('a0'), made.x('a1')], [5n, 0n])
})

test('a dynamic mode is that of frm, and reserved modes are illegal', () => {
  const float = unit()
  const made = running(float, 'csrrwi zero,frm,2', 'fadd.s f1,f2,f3', 'csrrwi zero,frm,5', 'fadd.s f1,f2,f3')
  made.run(3)
  assert.match(float.asked[0]!, /mode 2$/)
  made.run(1)
  assert.is(made.hart.state.mcause.low, Cause.illegal)
  assert.is(made.hart.state.mepc.low, (RAM + 12) | 0)
  for (const rm of [5, 6]) {
    const other = running(float, 'addi zero,zero,0')
    other.put(RAM, 0x00000053 | (rm << 12))
    other.run(1)
    assert.is(other.hart.state.mcause.low, Cause.illegal)
    assert.is(other.hart.state.mtval.low, 0x53 | (rm << 12))
  }
  assert.is(float.asked.length, 1)
})

test('every instruction of F and D is illegal while floats are off', () => {
  for (const { mnemonic, match, extension } of INSTRUCTIONS) {
    if (extension !== 'F' && extension !== 'D') continue
    const made = running(unit(), 'addi zero,zero,0')
    made.put(RAM, match)
    made.hart.state.mstatus = 0
    made.run(1)
    assert.is(made.hart.state.mcause.low, Cause.illegal, mnemonic)
  }
})

test('moves, signs, loads and stores need no unit', () => {
  const float = unit()
  const made = running(
    float,
    'fmv.w.x f1,a0',
    'fmv.d.x f2,a0',
    'fmv.x.w a1,f1',
    'fmv.x.d a2,f1',
    'fsgnjn.s f3,f1,f1',
    'fsgnjx.d f4,f2,f2',
    'fsgnj.s f5,f2,f1',
    'fsd f2,8(a3)',
    'fsw f2,4(a3)',
    'flw f6,4(a3)',
    'fld f7,6(a3)',
  )
  made.setX('a0', 0x8765_4321_8fed_cba9n)
  made.setX('a3', BigInt(RAM) + 0x1000n)
  made.run(11)
  assert.is(f(made, 1), boxed(0x8fed_cba9n))
  assert.is(f(made, 2), 0x8765_4321_8fed_cba9n)
  assert.is(made.x('a1'), 0xffff_ffff_8fed_cba9n)
  assert.is(made.x('a2'), 0xffff_ffff_8fed_cba9n)
  assert.is(f(made, 3), boxed(0x0fed_cba9n))
  assert.is(f(made, 4), 0x0765_4321_8fed_cba9n)
  // f2 is not boxed as a single: the canonical NaN, with the sign of f1.
  assert.is(f(made, 5), boxed(0xffc0_0000n))
  assert.is(f(made, 6), boxed(0x8fed_cba9n))
  assert.is(f(made, 7), 0x4321_8fed_cba9_8fedn)
  assert.equal(float.asked, [])
  assert.is(made.hart.state.mstatus & Status.FS, Status.FS)
})

test('f0 is a register like the others', () => {
  const made = running(unit(), 'fmv.d.x f0,a0', 'fmv.x.d a1,f0')
  made.setX('a0', 77n)
  made.run(2)
  assert.is(made.x('a1'), 77n)
})

test('a load that faults leaves register and state as they were', () => {
  const made = running(unit(), 'fld f1,0(a0)')
  setF(made, 1, 5n)
  made.run(1)
  assert.is(made.hart.state.mcause.low, Cause.loadAccess)
  assert.is(f(made, 1), 5n)
  assert.is(made.hart.state.mstatus & Status.FS, 1 << 13)
})

test.run()
