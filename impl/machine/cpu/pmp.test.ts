import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Access, ProtectionTable } from './pmp'
import { Cause, HartState, Privilege, Status } from './state'
import { bench, RAM } from './testing'

const { read, write, fetch } = Access
const R = 1
const RW = 3
const RWX = 7
const TOR = 1 << 3
const NA4 = 2 << 3
const NAPOT = 3 << 3
const LOCKED = 0x80

/** The address register of a naturally aligned range. */
const napot = (first: number, bytes: number): number => first / 4 + bytes / 8 - 1

function tableOf(...entries: ReadonlyArray<readonly [config: number, address: number]>): ProtectionTable {
  const state = new HartState(0, false)
  for (const [index, [config, address]] of entries.entries()) {
    state.pmpConfig[index] = config
    state.pmpAddress[index] = address
  }
  return new ProtectionTable(state)
}
const S = Privilege.Supervisor
const M = Privilege.Machine

test('without an entry M may do everything, others nothing', () => {
  const table = tableOf()
  assert.is(table.allows(RAM, 8, write, M), true)
  assert.is(table.allows(RAM, 8, read, S), false)
  assert.is(table.allows(RAM, 8, read, Privilege.User), false)
})

test('each way to say a range has its bounds', () => {
  for (const [entries, first, end] of [
    [[[RW | NAPOT, napot(0x1000, 0x1000)]], 0x1000, 0x2000],
    [[[RW | NAPOT, napot(0x1008, 8)]], 0x1008, 0x1010],
    [[[RW | NA4, 0x1004 / 4]], 0x1004, 0x1008],
    [[[RW | TOR, 0x2000 / 4]], 0, 0x2000],
    [
      [
        [0, 0x1000 / 4],
        [RW | TOR, 0x3004 / 4],
      ],
      0x1000,
      0x3004,
    ],
  ] as const) {
    const table = tableOf(...(entries as ReadonlyArray<readonly [number, number]>))
    assert.is(table.allows(first, 4, write, S), true)
    assert.is(table.allows(end - 4, 4, write, S), true)
    assert.is(table.allows(end, 4, write, S), false)
    if (first > 0) assert.is(table.allows(first - 4, 4, write, S), false)
    assert.is(table.allows(first, 4, fetch, S), false)
  }
})

test('all of memory is one entry of ones', () => {
  const table = tableOf([RWX | NAPOT, 2 ** 51 - 1])
  assert.is(table.allows(0, 8, read, S), true)
  assert.is(table.allows(2 ** 53 - 8, 8, write, Privilege.User), true)
  assert.is(table.isUniform(RAM), true)
})

test('the lowest entry that matches decides, and must match all of an access', () => {
  const table = tableOf([R | NA4, 0x1004 / 4], [RWX | NAPOT, napot(0x1000, 0x1000)])
  assert.is(table.allows(0x1004, 4, write, S), false)
  assert.is(table.allows(0x1008, 4, write, S), true)
  assert.is(table.allows(0x1000, 8, read, S), false)
  assert.is(table.allows(0x1000, 8, read, M), false, 'not even M may straddle')
  assert.is(table.isUniform(0x1000), false)
  assert.is(table.isUniform(0x2000), true)
})

test('an empty range matches nothing', () => {
  const table = tableOf([0, 0x2000 / 4], [RWX | TOR, 0x1000 / 4], [R | NAPOT, napot(0x1000, 0x2000)])
  assert.is(table.allows(0x1800, 4, write, S), false)
  assert.is(table.allows(0x1800, 4, read, S), true)
})

test('only locked entries bind M', () => {
  assert.is(tableOf([R | NAPOT, napot(0, 0x1000)]).allows(0, 4, write, M), true)
  assert.is(tableOf([R | NAPOT | LOCKED, napot(0, 0x1000)]).allows(0, 4, write, M), false)
  assert.is(tableOf([R | NAPOT | LOCKED, napot(0, 0x1000)]).allows(0, 4, read, M), true)
})

/** A hart that firmware left in S: the first half page of its area closed, the rest open. */
function guarded(privilege: number): ReturnType<typeof bench> {
  const made = bench()
  const { state, memory } = made.hart
  state.pmpConfig[0] = NAPOT
  state.pmpAddress[0] = napot(RAM + 0x2000, 0x800)
  state.pmpConfig[1] = RWX | NAPOT
  state.pmpAddress[1] = 2 ** 51 - 1
  state.privilege = privilege
  state.mtvec.set((RAM + 0x100) | 0, 0)
  memory.protection.update()
  memory.changeContext()
  return made
}

test('accesses in a page that is closed in part are told apart each time', () => {
  for (const [offset, cause] of [
    [0x2000, Cause.loadAccess],
    [0x2800, undefined],
    [0x27f8, Cause.loadAccess],
    [0x3000, undefined],
  ] as const) {
    const made = guarded(Privilege.Supervisor)
    made.program(RAM, 'ld a1,0(a2)', 'ld a1,0(a0)')
    made.setX('a2', BigInt(RAM + 0x2800))
    made.setX('a0', BigInt(RAM + offset))
    made.run(2)
    assert.is(made.hart.state.trapped === 1 ? made.hart.state.mcause.low : undefined, cause)
  }
})

test('code in a page that is closed in part runs up to the closed bytes', () => {
  const made = guarded(Privilege.Supervisor)
  made.program(RAM + 0x2800, 'addi a0,a0,1', 'jal zero,-4')
  made.setPc(BigInt(RAM + 0x2800))
  made.run(2)
  assert.is(made.x('a0'), 1n)
  made.program(RAM + 0x2804, 'jal zero,-2052')
  made.run(2)
  assert.is(made.hart.state.trapped, 0)
  made.setPc(BigInt(RAM + 0x2800))
  made.run(3)
  assert.is(made.hart.state.mcause.low, Cause.fetchAccess)
  assert.is(made.hart.state.mepc.low, (RAM + 0x2000) | 0)
})

test('M passes where S does not, unless it looks as S', () => {
  const made = guarded(Privilege.Machine)
  made.program(RAM, 'sd a1,0(a0)', 'csrrs zero,mstatus,a2', 'sd a1,0(a0)')
  made.setX('a0', BigInt(RAM + 0x2000))
  made.setX('a2', BigInt(Status.MPRV | (Privilege.Supervisor << 11)))
  made.run(3)
  assert.is(made.hart.state.mcause.low, Cause.storeAccess)
  assert.is(made.hart.state.mepc.low, (RAM + 8) | 0)
})

test('closing a page takes effect at the next access', () => {
  const made = guarded(Privilege.Machine)
  const { state } = made.hart
  state.mstatus = Status.MPRV | (Privilege.Supervisor << 11)
  made.hart.memory.changeContext()
  made.program(RAM, 'ld a1,0(a0)', 'csrrw zero,pmpcfg0,zero', 'ld a1,0(a0)')
  made.setX('a0', BigInt(RAM + 0x4000))
  made.run(3)
  assert.is(state.mcause.low, Cause.loadAccess)
  assert.is(state.mepc.low, (RAM + 8) | 0)
})

test('page tables are read, and their bits set, as S may', () => {
  const made = bench()
  const { state, memory } = made.hart
  const root = RAM + 0x10000
  state.pmpConfig[0] = R | NAPOT
  state.pmpAddress[0] = napot(root, 0x1000)
  state.pmpConfig[1] = RWX | NAPOT
  state.pmpAddress[1] = 2 ** 51 - 1
  memory.protection.update()
  state.satp.set((root / 4096) | 0, 0x80000000 | 0)
  state.mstatus = Status.MPRV | (Privilege.Supervisor << 11)
  memory.changeContext()
  made.program(RAM, 'ld a1,0(a0)')
  made.setX('a0', BigInt(RAM))
  // One page of a gigabyte, without the accessed bit, in a table that cannot be written.
  made.put64(root + 2 * 8, (0x80000n << 10n) | 7n)
  made.run(1)
  assert.is(state.mcause.low, Cause.loadAccess)
  made.put64(root + 2 * 8, (0x80000n << 10n) | 0x47n)
  made.setPc(BigInt(RAM))
  state.mstatus = Status.MPRV | (Privilege.Supervisor << 11)
  memory.changeContext()
  made.run(1)
  assert.is(state.trapped, 1)
})

test.run()
