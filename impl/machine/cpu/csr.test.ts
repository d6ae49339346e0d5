import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { VirtualClock } from './bus'
import { Privilege, Status } from './state'
import { bench, RAM } from './testing'

const made = bench()
const ONES = 0xffff_ffff_ffff_ffffn

/** Writes a register in M mode and reads it back. */
function written(name: string, value: bigint): bigint {
  made.hart.reset(RAM)
  made.program(RAM, `csrrw zero,${name},a0`, `csrrs a1,${name},zero`)
  made.setX('a0', value)
  const before = made.hart.state.trapped
  made.run(2)
  assert.is(made.hart.state.trapped, before, `${name} exists`)
  return made.x('a1')
}

const LEGAL: ReadonlyArray<readonly [name: string, write: bigint, read: bigint]> = [
  ['mscratch', 0x0123_4567_89ab_cdefn, 0x0123_4567_89ab_cdefn],
  ['sscratch', ONES, ONES],
  ['mepc', ONES, ONES - 1n],
  ['sepc', ONES, ONES - 1n],
  ['mcause', 0x8000_0000_0000_0007n, 0x8000_0000_0000_0007n],
  ['stval', ONES, ONES],
  ['mtvec', 0x8000_1001n, 0x8000_1001n],
  ['mtvec', 0x8000_1002n, 0x8000_1001n],
  ['stvec', 0xffff_ffff_8000_0001n, 0xffff_ffff_8000_0001n],
  ['medeleg', ONES, 0xb3ffn],
  ['mideleg', ONES, 0x222n],
  ['mie', ONES, 0xaaan],
  ['misa', ONES, 0x8000_0000_0014_1105n],
  ['mhpmcounter3', ONES, 0n],
  ['mhpmevent31', ONES, 0n],
  ['mcountinhibit', ONES, 0n],
  ['mcounteren', ONES, 0xffff_ffffn],
  ['menvcfg', ONES, 0x8000_0000_0000_0001n],
  ['menvcfg', 0n, 0n],
  ['stimecmp', 0x0123_4567_89ab_cdefn, 0x0123_4567_89ab_cdefn],
  ['mstatus', ONES, 0xa_007e_19aan],
  ['mstatus', 0n, 0xa_0000_0000n],
  ['mstatus', 0x1000n, 0xa_0000_0000n],
  ['mstatus', 0x800n, 0xa_0000_0800n],
  ['sstatus', ONES, 0x2_000c_0122n],
  ['satp', 0x8fff_f000_0008_0000n, 0x8000_0000_0008_0000n],
  ['satp', 0x9000_0000_0008_1000n, 0x9000_0000_0008_1000n],
  ['satp', 0n, 0n],
  ['pmpaddr0', ONES, 0x7_ffff_ffff_ffffn],
  ['pmpcfg0', 0x1f18_0a08_1b19_001fn, 0x1f18_0008_1b19_001fn],
  ['pmpcfg2', 0x61n, 0x01n],
]
for (const [name, write, read] of LEGAL) {
  test(`${name} written with ${write.toString(16)} holds ${read.toString(16)}`, () => {
    // The vectors above are told in order: what is refused keeps what was there.
    assert.is(written(name, write).toString(16), read.toString(16))
  })
}

test('a translation that is not there leaves all of satp alone', () => {
  made.hart.reset(RAM)
  made.program(RAM, 'csrrw zero,satp,a0', 'csrrw zero,satp,a1', 'csrrs a2,satp,zero')
  made.setX('a0', 0x9000_0000_0008_1000n)
  made.setX('a1', 0xa000_0000_0000_0123n)
  made.run(3)
  assert.is(made.x('a2'), 0x9000_0000_0008_1000n)
})

test('changes read first, and write nothing where there is no source', () => {
  made.hart.reset(RAM)
  made.program(
    RAM,
    'csrrwi zero,mscratch,21',
    'csrrsi a0,mscratch,10',
    'csrrci a1,mscratch,3',
    'csrrs a2,mscratch,zero',
    'csrrs a3,mhartid,zero',
    'csrrc a4,mscratch,a5',
    'csrrw a5,mscratch,a5',
  )
  made.setX('a5', 0x1cn)
  made.run(7)
  assert.equal(
    ['a0', 'a1', 'a2', 'a3', 'a4', 'a5'].map((name) => made.x(name)),
    [21n, 31n, 28n, 0n, 28n, 0n],
  )
  assert.is(made.hart.state.mscratch.low, 0x1c)
})

test('sie and sip show what is delegated', () => {
  const { state } = made.hart
  made.hart.reset(RAM)
  state.mideleg = 0x202
  state.mie = 0x8a8
  made.program(RAM, 'csrrw zero,sie,a0', 'csrrs a1,sie,zero', 'csrrs a2,mie,zero', 'csrrw zero,sip,a0', 'csrrs a3,mip,zero')
  made.setX('a0', ONES)
  made.run(5)
  assert.is(made.x('a1'), 0x202n)
  assert.is(made.x('a2'), 0xaaan)
  assert.is(made.x('a3'), 2n, 'of sip only the software interrupt is written')
  state.softwarePending = 0
})

test('a line of a device is read in mip, and setting a bit does not make it permanent', () => {
  const { state } = made.hart
  made.hart.reset(RAM)
  made.hart.setInterrupt(9, true)
  made.program(RAM, 'csrrs a0,mip,a1', 'csrrs a2,mip,zero')
  made.setX('a1', 2n)
  made.run(2)
  assert.is(made.x('a0'), 0x200n)
  assert.is(made.x('a2'), 0x202n)
  made.hart.setInterrupt(9, false)
  assert.is(state.pending(), 2)
  state.softwarePending = 0
})

test('counters count instructions, and can be written', () => {
  const own = bench({ clock: new VirtualClock(2) })
  own.program(
    RAM,
    'csrrs a0,minstret,zero',
    'csrrs a1,mcycle,zero',
    'csrrs a2,time,zero',
    'csrrw zero,minstret,t0',
    'csrrs a3,minstret,zero',
    'csrrw zero,mcycle,t0',
    'csrrs a4,mcycle,zero',
    'csrrs a5,instret,zero',
  )
  own.setX('t0', 0xffff_ffff_ffff_fff0n)
  own.run(8)
  assert.equal(
    ['a0', 'a1', 'a2', 'a3', 'a4', 'a5'].map((name) => own.x(name)),
    [0n, 1n, 1n, 0xffff_ffff_ffff_fff0n, 0xffff_ffff_ffff_fff0n, 0xffff_ffff_ffff_fff3n],
  )
})

test('counters leave out what trapped and what was waited for', () => {
  const own = bench()
  own.hart.state.mtvec.set((RAM + 0x100) | 0, 0)
  own.hart.state.mie = 8
  own.program(RAM, 'ecall')
  own.program(RAM + 0x100, 'wfi', 'csrrs a0,minstret,zero', 'csrrs a1,mcycle,zero')
  own.run(100)
  own.hart.setInterrupt(3, true)
  own.run(2)
  assert.is(own.x('a0'), 1n)
  assert.is(own.x('a1'), 101n)
})

test('user mode reads counters that both modes above allow', () => {
  for (const [mcounteren, scounteren, isOpen] of [
    [1, 1, true],
    [1, 0, false],
    [0, 1, false],
  ] as const) {
    const own = bench()
    own.program(RAM, 'csrrs a0,cycle,zero')
    const { state, memory } = own.hart
    state.pmpConfig[0] = 0x1f
    state.pmpAddress[0] = 2 ** 51 - 1
    memory.protection.update()
    state.privilege = Privilege.User
    memory.changeContext()
    state.mcounteren = mcounteren
    state.scounteren = scounteren
    own.run(1)
    assert.is(state.trapped === 0, isOpen)
  }
})

test('a locked entry keeps configuration and addresses until reset', () => {
  const own = bench()
  own.program(
    RAM,
    'csrrw zero,pmpaddr0,a0',
    'csrrw zero,pmpaddr1,a0',
    'csrrw zero,pmpcfg0,a1',
    'csrrw zero,pmpcfg0,zero',
    'csrrw zero,pmpaddr0,zero',
    'csrrw zero,pmpaddr1,zero',
    'csrrs a2,pmpcfg0,zero',
    'csrrs a3,pmpaddr0,zero',
    'csrrs a4,pmpaddr1,zero',
  )
  own.setX('a0', 0x2000_0800n)
  own.setX('a1', 0x8f00n)
  own.run(9)
  assert.equal([own.x('a2'), own.x('a3'), own.x('a4')], [0x8f00n, 0x2000_0800n, 0x2000_0800n])
})

test('the summary bit says that floats are dirty', () => {
  const own = bench({ float: { result: new Int32Array(2), flags: new Int32Array(1), operations: {} } })
  own.program(
    RAM,
    'csrrw zero,mstatus,a0',
    'csrrs a1,mstatus,zero',
    'csrrwi zero,fcsr,31',
    'csrrs a2,mstatus,zero',
    'csrrs a3,misa,zero',
  )
  own.setX('a0', BigInt(1 << 13))
  own.run(5)
  assert.is(own.x('a1'), 0xa_0000_2000n)
  assert.is(own.x('a2'), 0x8000_000a_0000_6000n)
  assert.is(own.x('a3') & 0x28n, 0x28n)
  assert.is(own.hart.state.mstatus & Status.FS, Status.FS)
})

test('a clock takes whole numbers of instructions', () => {
  assert.throws(() => new VirtualClock(0), /a tick cannot be 0 instructions/)
  const clock = new VirtualClock(100)
  clock.offsetTicks = 5
  assert.is(clock.ticksAt(clock.instructionsAt(12)), 12)
  assert.is(clock.ticksAt(clock.instructionsAt(12) - 1), 11)
  assert.is(clock.instructionsAt(2 ** 64), Infinity)
})

test.run()
