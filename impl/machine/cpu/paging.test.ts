import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Cause, Privilege, Status } from './state'
import { type Bench, bench, DEVICE, join, RAM } from './testing'

const V = 1
const R = 2
const W = 4
const X = 8
const U = 16
const A = 64
const D = 128
const ALL = V | R | W | X | A | D
const ROOT = RAM + 0x10000
/** Where the next table is, one a level. */
const TABLE = (level: number): number => ROOT + 0x1000 * level
const HANDLER = RAM + 0x8000

const entryOf = (physical: number | bigint, flags: number | bigint): bigint => ((BigInt(physical) >> 12n) << 10n) | BigInt(flags)
const indexOf = (virtual: bigint, level: number): number => Number((virtual >> BigInt(12 + 9 * level)) & 511n)

interface Space extends Bench {
  /** Maps a virtual address at a level by tables of its own; says where the leaf is. */
  map(virtual: bigint, physical: number | bigint, flags: number | bigint, level?: number): number
  /** One load, store or fetch by a mode; the cause of its exception, or undefined. */
  try(virtual: bigint, access: 'load' | 'store' | 'fetch', privilege?: number): number | undefined
}

function space(mode: 8 | 9 = 8): Space {
  const made = bench()
  const levels = mode === 8 ? 3 : 4
  const { hart } = made
  const { state, memory } = hart
  state.pmpConfig[0] = 0x1f
  state.pmpAddress[0] = 2 ** 51 - 1
  state.satp.set((ROOT / 4096) | 0, (mode << 28) | 0)
  state.mtvec.set(HANDLER | 0, 0)
  memory.protection.update()
  // In M mode with MPRV, data are seen as the mode in MPP sees them, while code stays where it is.
  made.program(RAM, 'ld a1,0(a0)', 'sd a1,0(a0)')
  return Object.assign(made, {
    map(virtual: bigint, physical: number | bigint, flags: number | bigint, level = 0): number {
      let table = ROOT
      for (let at = levels - 1; at > level; at--) {
        made.put64(table + indexOf(virtual, at) * 8, entryOf(TABLE(at), V))
        table = TABLE(at)
      }
      const place = table + indexOf(virtual, level) * 8
      made.put64(place, entryOf(physical, flags))
      memory.flush()
      return place
    },
    try(virtual: bigint, access: 'load' | 'store' | 'fetch', privilege: number = Privilege.Supervisor) {
      const before = state.trapped
      state.mcause.set(0, 0)
      if (access === 'fetch') {
        state.privilege = privilege
        made.setPc(virtual)
      } else {
        state.privilege = Privilege.Machine
        state.mstatus = (state.mstatus & ~Status.MPP) | Status.MPRV | (privilege << 11)
        made.setPc(BigInt(access === 'load' ? RAM : RAM + 4))
        made.setX('a0', virtual)
      }
      memory.changeContext()
      made.run(1)
      const cause = state.trapped > before ? state.mcause.low : undefined
      if (cause !== undefined) {
        assert.is(join(state.mtval.low, state.mtval.high), BigInt.asUintN(64, virtual), 'the trap value is the address')
        state.mstatus &= ~(Status.MPIE | Status.MIE)
      }
      return cause
    },
  })
}

const PAGE = 0x40_0000n
const TARGET = RAM + 0x20000

test('a page of each size in either mode translates', () => {
  for (const mode of [8, 9] as const) {
    for (const level of mode === 8 ? [0, 1] : [0, 1]) {
      const made = space(mode)
      const virtual = mode === 8 ? 0xffff_ffc0_4000_0000n : 0xffff_8000_4000_0000n
      made.map(virtual, level === 0 ? TARGET : RAM, ALL, level)
      const inside = level === 0 ? 0x128n : 0x20128n
      made.put64(TARGET + 0x128, 0x1122_3344_5566_7788n)
      assert.is(made.try(virtual + inside, 'load'), undefined)
      assert.is(made.x('a1'), 0x1122_3344_5566_7788n)
      made.setX('a1', 5n)
      assert.is(made.try(virtual + inside, 'store'), undefined)
      assert.is(made.get64(TARGET + 0x128), 5n)
    }
  }
})

test('a page of a gigabyte, and of half a terabyte, reach the same RAM', () => {
  for (const [mode, level] of [
    [8, 2],
    [9, 2],
    [9, 3],
  ] as const) {
    const made = space(mode)
    made.map(0n, level === 3 ? 0n : 0x8000_0000n, ALL, level)
    made.put64(TARGET, 99n)
    const virtual = level === 3 ? BigInt(TARGET) : BigInt(TARGET) - 0x8000_0000n
    assert.is(made.try(virtual, 'load'), undefined)
    assert.is(made.x('a1'), 99n)
  }
})

const FAULTS: ReadonlyArray<
  readonly [
    what: string,
    flags: number | bigint,
    access: 'load' | 'store' | 'fetch',
    privilege: number,
    expected: number | undefined,
  ]
> = [
  ['invalid', ALL & ~V, 'load', 1, Cause.loadPage],
  ['writable, not readable', ALL & ~R, 'load', 1, Cause.loadPage],
  ['writable, not readable', ALL & ~R, 'store', 1, Cause.storePage],
  ['read only', ALL & ~W, 'store', 1, Cause.storePage],
  ['read only', ALL & ~W, 'load', 1, undefined],
  ['no code', ALL & ~X, 'fetch', 1, Cause.fetchPage],
  ['code only', V | X | A, 'load', 1, Cause.loadPage],
  ['code only', V | X | A, 'fetch', 1, undefined],
  ['of S, in U', ALL, 'load', 0, Cause.loadPage],
  ['of S, in U', ALL, 'fetch', 0, Cause.fetchPage],
  ['of U, in U', ALL | U, 'store', 0, undefined],
  ['of U, in S', ALL | U, 'load', 1, Cause.loadPage],
  ['of U, in S', ALL | U, 'fetch', 1, Cause.fetchPage],
  ['with a reserved bit', BigInt(ALL) | (1n << 54n), 'load', 1, Cause.loadPage],
  ['with a memory type', BigInt(ALL) | (1n << 61n), 'load', 1, Cause.loadPage],
  ['with the bit of contiguous pages', BigInt(ALL) | (1n << 63n), 'store', 1, Cause.storePage],
]
for (const [what, flags, access, privilege, expected] of FAULTS) {
  test(`a page ${what}: a ${access} by mode ${privilege} gives ${expected ?? 'no exception'}`, () => {
    const made = space()
    made.map(PAGE, TARGET, flags)
    made.program(TARGET, 'addi zero,zero,0')
    assert.is(made.try(PAGE, access, privilege), expected)
  })
}

test('SUM lets S at pages of U, but not execute them; MXR reads code', () => {
  const made = space()
  made.map(PAGE, TARGET, ALL | U)
  made.hart.state.mstatus = Status.SUM
  assert.is(made.try(PAGE, 'load'), undefined)
  assert.is(made.try(PAGE, 'fetch'), Cause.fetchPage)
  // Turned off again, what was remembered with it does not count.
  made.hart.state.mstatus &= ~Status.SUM
  assert.is(made.try(PAGE, 'load'), Cause.loadPage)
  const code = space()
  code.map(PAGE, TARGET, V | X | A)
  code.hart.state.mstatus = Status.MXR
  assert.is(code.try(PAGE, 'load'), undefined)
  assert.is(code.try(PAGE, 'store'), Cause.storePage)
})

test('a change of MXR by the program forgets what was remembered', () => {
  const made = space()
  made.map(PAGE, TARGET, V | X | A)
  made.program(RAM, 'ld a1,0(a0)', 'csrrc zero,mstatus,a2', 'ld a1,0(a0)')
  made.hart.state.mstatus = Status.MXR | Status.MPRV | (Privilege.Supervisor << 11)
  made.hart.memory.changeContext()
  made.setX('a0', PAGE)
  made.setX('a2', BigInt(Status.MXR))
  made.run(3)
  assert.is(made.hart.state.mcause.low, Cause.loadPage)
  assert.is(made.hart.state.mepc.low, (RAM + 8) | 0)
})

test('the hart sets accessed and dirty bits, dirty only by stores', () => {
  const made = space()
  const place = made.map(PAGE, TARGET, V | R | W | X)
  made.try(PAGE, 'load')
  assert.is(made.get64(place) & BigInt(A | D), BigInt(A))
  made.try(PAGE, 'store')
  assert.is(made.get64(place) & BigInt(A | D), BigInt(A | D))
  const fetched = made.map(PAGE + 0x1000n, TARGET, V | X)
  made.program(TARGET, 'addi zero,zero,0')
  made.try(PAGE + 0x1000n, 'fetch')
  assert.is(made.get64(fetched) & BigInt(A | D), BigInt(A))
})

test('an entry that is code as well runs as its new bits say', () => {
  const made = space()
  // 0x0f in the low byte is a fence; with the accessed bit, 0x4f, it is an instruction of floats.
  const place = made.map(PAGE, TARGET, V | R | W | X)
  const { state, memory } = made.hart
  const runEntry = (): boolean => {
    const before = state.trapped
    state.privilege = Privilege.Machine
    state.mstatus = 0
    memory.changeContext()
    made.setPc(BigInt(place))
    made.run(1)
    return state.trapped === before
  }
  assert.is(runEntry(), true)
  assert.is(made.try(PAGE, 'load'), undefined)
  assert.is(runEntry(), false)
})

test('a refused access leaves the bits alone', () => {
  const made = space()
  const place = made.map(PAGE, TARGET, V | R)
  assert.is(made.try(PAGE, 'store'), Cause.storePage)
  assert.is(made.get64(place) & BigInt(A | D), 0n)
})

test('addresses must repeat their sign bit', () => {
  for (const [mode, good, bad] of [
    [8, 0x3f_ffff_f000n, 0x40_0000_0000n],
    [8, 0xffff_ffc0_0000_0000n, 0xffff_ff80_0000_0000n],
    [9, 0x7fff_ffff_f000n, 0x8000_0000_0000n],
    [9, 0xffff_8000_0000_0000n, 0xffff_0000_0000_0000n],
  ] as const) {
    const made = space(mode)
    made.map(good, TARGET, ALL)
    made.map(bad, TARGET, ALL)
    made.map(good, TARGET, ALL)
    assert.is(made.try(good, 'load'), undefined)
    assert.is(made.try(bad, 'load'), Cause.loadPage)
    assert.is(made.try(bad, 'fetch'), Cause.fetchPage)
  }
})

test('large pages must be aligned, and tables have no leaf bits', () => {
  for (const level of [1, 2]) {
    const made = space()
    made.map(PAGE, TARGET, ALL, level)
    assert.is(made.try(PAGE, 'load'), Cause.loadPage, `level ${level}`)
  }
  for (const flag of [U, A, D]) {
    const made = space()
    made.map(PAGE, TARGET, ALL)
    made.put64(ROOT + indexOf(PAGE, 2) * 8, entryOf(TABLE(2), V | flag))
    assert.is(made.try(PAGE, 'load'), Cause.loadPage)
  }
})

test('a table at the last level that points on is a fault', () => {
  const made = space()
  made.map(PAGE, TARGET, V)
  assert.is(made.try(PAGE, 'store'), Cause.storePage)
})

test('tables outside RAM and pages beyond physical addresses are access faults', () => {
  const made = space()
  made.put64(ROOT, entryOf(DEVICE, V))
  assert.is(made.try(0n, 'load'), Cause.loadAccess)
  assert.is(made.try(0n, 'store'), Cause.storeAccess)
  assert.is(made.try(0n, 'fetch'), Cause.fetchAccess)
  made.map(PAGE, 0n, BigInt(ALL) | (0xfff_ffff_ffffn << 10n))
  assert.is(made.try(PAGE, 'load'), Cause.loadAccess)
})

test('devices are reached through pages', () => {
  const made = space()
  made.map(PAGE, DEVICE, ALL)
  made.answers.push(0xabcdn)
  assert.is(made.try(PAGE + 8n, 'load'), undefined)
  assert.is(made.x('a1'), 0xabcdn)
  assert.is(made.try(PAGE + 16n, 'store'), undefined)
  assert.equal(made.log, ['r8 8', 'w8 10 = abcd'])
  // The device ends with its page: behind it nobody answers.
  made.map(PAGE, DEVICE + 0x1000, ALL)
  assert.is(made.try(PAGE, 'load'), Cause.loadAccess)
})

test('a misaligned access across pages faults on the page that is missing, and writes nothing', () => {
  const made = space()
  made.map(PAGE, TARGET, ALL)
  made.put64(TARGET + 0xff8, 0n)
  made.program(RAM, 'ld a1,0(a0)', 'sd a1,0(a0)')
  const { state, memory } = made.hart
  state.mstatus = Status.MPRV | (Privilege.Supervisor << 11)
  memory.changeContext()
  made.setX('a0', PAGE + 0xffcn)
  made.setX('a1', 0x1111_1111_2222_2222n)
  made.setPc(BigInt(RAM + 4))
  made.run(1)
  assert.is(state.mcause.low, Cause.storePage)
  assert.is(join(state.mtval.low, state.mtval.high), PAGE + 0x1000n)
  assert.is(made.get64(TARGET + 0xff8), 0n)
  made.map(PAGE, TARGET, ALL)
  made.put64(TABLE(1) + indexOf(PAGE + 0x1000n, 0) * 8, entryOf(TARGET + 0x3000, ALL))
  state.mstatus = Status.MPRV | (Privilege.Supervisor << 11)
  state.privilege = Privilege.Machine
  memory.changeContext()
  made.setPc(BigInt(RAM + 4))
  made.run(1)
  assert.is(made.get64(TARGET + 0xff8), 0x2222_2222_0000_0000n)
  assert.is(made.get64(TARGET + 0x3000), 0x1111_1111n)
})

test('an instruction across pages traps at the second, counted from the first', () => {
  const made = space()
  made.map(PAGE, TARGET, ALL)
  made.put64(TARGET + 0xff8, 0x0013_0000_0000_0000n)
  const { state, memory } = made.hart
  state.privilege = Privilege.Supervisor
  memory.changeContext()
  made.setPc(PAGE + 0xffen)
  made.run(1)
  assert.is(state.mcause.low, Cause.fetchPage)
  assert.is(join(state.mepc.low, state.mepc.high), PAGE + 0xffen)
  assert.is(join(state.mtval.low, state.mtval.high), PAGE + 0x1000n)
  // With the second page there it is `addi x0, x0, 0x123`, or what the second page says at the time.
  made.put64(TABLE(1) + indexOf(PAGE + 0x1000n, 0) * 8, entryOf(TARGET + 0x3000, ALL))
  for (const imm of [0x123n, 0x77n]) {
    made.put64(TARGET + 0xff8, 0x0513_0000_0000_0000n)
    made.put64(TARGET + 0x3000, imm << 4n)
    state.privilege = Privilege.Supervisor
    memory.changeContext()
    made.setPc(PAGE + 0xffen)
    made.run(1)
    assert.is(made.x('a0'), imm)
    assert.is(made.pc(), PAGE + 0x1002n)
  }
})

test('what is remembered lasts until a fence, for its address or for all', () => {
  for (const fence of ['sfence.vma a0,zero', 'sfence.vma zero,zero']) {
    for (const level of [0, 1]) {
      const made = space()
      const place = made.map(PAGE, level === 0 ? TARGET : RAM, ALL, level)
      made.program(RAM, 'ld a1,0(a2)', fence, 'ld a3,0(a2)')
      const { state, memory } = made.hart
      state.mstatus = Status.MPRV | (Privilege.Supervisor << 11)
      memory.changeContext()
      // For a large page any of its addresses is all of it.
      made.setX('a0', level === 0 ? PAGE : PAGE + 0x5000n)
      made.setX('a2', PAGE)
      made.run(1)
      new DataView(made.ram.buffer).setBigUint64(place - RAM, 0n, true)
      made.run(2)
      assert.is(state.mcause.low, Cause.loadPage, `${fence}, level ${level}`)
      assert.is(state.mepc.low, (RAM + 8) | 0)
    }
  }
})

test('a fence for another address leaves the rest remembered', () => {
  const made = space()
  const place = made.map(PAGE, TARGET, ALL)
  made.program(RAM, 'ld a1,0(a2)', 'sfence.vma a0,zero', 'ld a3,0(a2)')
  made.hart.state.mstatus = Status.MPRV | (Privilege.Supervisor << 11)
  made.hart.memory.changeContext()
  made.setX('a0', PAGE + 0x1000n)
  made.setX('a2', PAGE)
  made.run(1)
  new DataView(made.ram.buffer).setBigUint64(place - RAM, 0n, true)
  made.run(2)
  assert.is(made.hart.state.trapped, 0)
})

test('atomic operations fault as stores, reservations as loads', () => {
  for (const [line, cause] of [
    ['amoadd.d a1,a2,(a0)', Cause.storePage],
    ['sc.d a1,a2,(a0)', Cause.storePage],
    ['lr.d a1,(a0)', Cause.loadPage],
  ] as const) {
    const made = space()
    made.program(RAM, line)
    made.hart.state.mstatus = Status.MPRV | (Privilege.Supervisor << 11)
    made.hart.memory.changeContext()
    made.setX('a0', PAGE)
    made.run(1)
    assert.is(made.hart.state.mcause.low, cause, line)
    assert.is(made.hart.state.mtval.low, Number(PAGE))
  }
})

test('modes U and S without tables see physical addresses', () => {
  const made = space()
  made.hart.state.satp.set(0, 0)
  made.hart.memory.flush()
  for (const privilege of [Privilege.User, Privilege.Supervisor]) {
    assert.is(made.try(BigInt(TARGET), 'load', privilege), undefined)
    assert.is(made.try(2n ** 60n, 'load', privilege), Cause.loadAccess)
  }
})

test.run()
