import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { VirtualClock } from './bus'
import { Cause, Privilege, Status } from './state'
import { type Bench, bench, DEVICE, join, RAM } from './testing'

const M_VECTOR = RAM + 0x1000
const S_VECTOR = RAM + 0x2000
const ALL = 0xaaa

/** A hart in a mode, with vectors set and code at the begin of RAM. */
function at(privilege: number, ...lines: string[]): Bench {
  const made = bench()
  made.program(RAM, ...lines)
  for (const vector of [M_VECTOR, S_VECTOR]) made.program(vector, 'addi zero,zero,0', 'addi zero,zero,0')
  made.hart.state.privilege = privilege
  made.hart.state.mtvec.set(M_VECTOR | 0, 0)
  made.hart.state.stvec.set(S_VECTOR | 0, 0)
  // Everything for everybody: one entry over all addresses.
  made.hart.state.pmpConfig[0] = 0x1f
  made.hart.state.pmpAddress[0] = 2 ** 51 - 1
  made.hart.memory.protection.update()
  made.hart.memory.changeContext()
  return made
}
const NOPS = new Array<string>(8).fill('addi zero,zero,0')

test('an exception in each mode goes to M, and keeps where it came from', () => {
  for (const [privilege, cause] of [
    [Privilege.User, 8],
    [Privilege.Supervisor, 9],
    [Privilege.Machine, 11],
  ] as const) {
    const { hart, run, pc } = at(privilege, 'addi a0,a0,1', 'ecall')
    hart.state.mstatus = Status.MIE
    run(2)
    assert.is(hart.state.privilege, Privilege.Machine)
    assert.is(hart.state.mcause.low, cause)
    assert.is(hart.state.mcause.high, 0)
    assert.is(join(hart.state.mepc.low, hart.state.mepc.high), BigInt(RAM + 4))
    assert.is(hart.state.mtval.low, 0)
    assert.is(pc(), BigInt(M_VECTOR))
    assert.is(hart.state.mstatus, Status.MPIE | (privilege << 11))
    assert.is(hart.state.count, 2)
    assert.is(hart.state.trapped, 1)
  }
})

test('what is delegated goes to S from S and U, never from M', () => {
  for (const privilege of [Privilege.User, Privilege.Supervisor, Privilege.Machine]) {
    const { hart, run, pc } = at(privilege, 'ebreak')
    hart.state.medeleg = 1 << Cause.breakpoint
    hart.state.mstatus = Status.SIE
    run(1)
    if (privilege === Privilege.Machine) {
      assert.is(pc(), BigInt(M_VECTOR))
      continue
    }
    assert.is(pc(), BigInt(S_VECTOR))
    assert.is(hart.state.privilege, Privilege.Supervisor)
    assert.is(hart.state.scause.low, Cause.breakpoint)
    assert.is(join(hart.state.sepc.low, hart.state.sepc.high), BigInt(RAM))
    assert.is(join(hart.state.stval.low, hart.state.stval.high), BigInt.asUintN(64, BigInt(RAM | 0) & 0xffffffffn))
    assert.is(hart.state.mstatus, Status.SPIE | (privilege === Privilege.Supervisor ? Status.SPP : 0))
  }
})

test('returns restore mode and enables, and leave the least behind', () => {
  const machine = at(Privilege.Machine, 'mret')
  machine.hart.state.mstatus = Status.MPIE | (Privilege.Supervisor << 11) | Status.MPRV
  machine.hart.state.mepc.set((RAM + 0x100) | 0, 0)
  machine.run(1)
  assert.is(machine.hart.state.mstatus, Status.MIE | Status.MPIE)
  assert.is(machine.hart.state.privilege, Privilege.Supervisor)
  assert.is(machine.pc(), BigInt(RAM + 0x100))

  const supervisor = at(Privilege.Supervisor, 'sret')
  supervisor.hart.state.mstatus = Status.SIE | Status.MPRV
  supervisor.hart.state.sepc.set((RAM + 0x200) | 0, 0)
  supervisor.run(1)
  assert.is(supervisor.hart.state.mstatus, Status.SPIE)
  assert.is(supervisor.hart.state.privilege, Privilege.User)
  assert.is(supervisor.pc(), BigInt(RAM + 0x200))
})

const REFUSED: ReadonlyArray<readonly [line: string, privilege: number, mstatus: number]> = [
  ['mret', Privilege.Supervisor, 0],
  ['mret', Privilege.User, 0],
  ['sret', Privilege.User, 0],
  ['sret', Privilege.Supervisor, Status.TSR],
  ['wfi', Privilege.User, 0],
  ['wfi', Privilege.Supervisor, Status.TW],
  ['sfence.vma zero,zero', Privilege.User, 0],
  ['sfence.vma a0,zero', Privilege.Supervisor, Status.TVM],
  ['csrrs a0,satp,zero', Privilege.Supervisor, Status.TVM],
  ['csrrs a0,mstatus,zero', Privilege.Supervisor, 0],
  ['csrrs a0,sstatus,zero', Privilege.User, 0],
  ['csrrs a0,cycle,zero', Privilege.User, 0],
  ['csrrs a0,time,zero', Privilege.Supervisor, 0],
  ['csrrs a0,stimecmp,zero', Privilege.Supervisor, 0],
  ['csrrw zero,mhartid,a0', Privilege.Machine, 0],
  ['csrrs a0,0x7c0,zero', Privilege.Machine, 0],
  ['csrrs a0,pmpaddr16,zero', Privilege.Machine, 0],
  ['csrrs a0,fcsr,zero', Privilege.Machine, 0],
  ['csrrs a0,0x3a1,zero', Privilege.Machine, 0],
  ['fadd.d fa0,fa0,fa0', Privilege.Machine, 0],
  ['fld fa0,0(a0)', Privilege.Machine, Status.FS],
]
for (const [line, privilege, mstatus] of REFUSED) {
  test(`${line} is illegal in mode ${privilege} with mstatus ${mstatus.toString(16)}`, () => {
    const made = at(privilege, line)
    made.hart.state.mstatus = mstatus
    made.setX('a0', 0x77n)
    made.run(1)
    assert.is(made.hart.state.mcause.low, Cause.illegal)
    assert.is(made.hart.state.mtval.low, new DataView(made.ram.buffer).getInt32(0, true))
    assert.is(made.x('a0'), 0x77n)
    assert.is(made.pc(), BigInt(M_VECTOR))
  })
}

test('the same is allowed one mode higher, or where mstatus allows it', () => {
  for (const [line, privilege] of [
    ['sret', Privilege.Machine],
    ['sfence.vma zero,zero', Privilege.Supervisor],
    ['csrrs a0,satp,zero', Privilege.Supervisor],
    ['csrrs a0,time,zero', Privilege.Machine],
    ['csrrs a0,stimecmp,zero', Privilege.Machine],
    ['csrrs a0,mhartid,zero', Privilege.Machine],
    ['csrrs a0,mcountinhibit,zero', Privilege.Machine],
  ] as const) {
    const { hart, run } = at(privilege, line)
    run(1)
    assert.is(hart.state.trapped, 0, line)
  }
})

test('interrupts come in the order of the specification', () => {
  const { hart, run } = at(Privilege.Machine, ...NOPS)
  hart.state.mie = ALL
  hart.state.mstatus = Status.MIE
  hart.state.softwarePending = 0x222
  for (const bit of [3, 7, 11]) hart.setInterrupt(bit, true)
  const taken: number[] = []
  for (let turn = 0; turn < 6; turn++) {
    hart.state.mstatus = Status.MIE
    run(1)
    assert.is(hart.state.mcause.high, 0x80000000 | 0)
    const number = hart.state.mcause.low
    taken.push(number)
    if (number === 3 || number === 7 || number === 11) hart.setInterrupt(number, false)
    hart.state.softwarePending &= ~(1 << number)
    hart.memory.changeContext()
  }
  assert.equal(taken, [11, 3, 7, 9, 1, 5])
})

test('an interrupt is taken between two instructions, and costs no time', () => {
  const { hart, run, pc } = at(Privilege.Machine, ...NOPS)
  hart.state.mstatus = Status.MIE
  run(2)
  hart.state.mie = ALL
  hart.setInterrupt(7, true)
  run(1)
  assert.is(join(hart.state.mepc.low, hart.state.mepc.high), BigInt(RAM + 8))
  assert.is(hart.state.count, 3)
  assert.is(hart.state.trapped, 0)
  assert.is(pc(), BigInt(M_VECTOR + 4))
})

interface Pending {
  what: string
  privilege: number
  mstatus: number
  mideleg: number
  line: number
  taken: 'M' | 'S' | 'no'
}
const M = Privilege.Machine
const S = Privilege.Supervisor
const U = Privilege.User
const PENDING: Pending[] = [
  { what: 'M with MIE off', privilege: M, mstatus: 0, mideleg: 0, line: 7, taken: 'no' },
  { what: 'M with MIE on', privilege: M, mstatus: Status.MIE, mideleg: 0, line: 7, taken: 'M' },
  { what: 'S, whatever MIE is', privilege: S, mstatus: 0, mideleg: 0, line: 7, taken: 'M' },
  { what: 'M, delegated', privilege: M, mstatus: Status.MIE | Status.SIE, mideleg: 0x222, line: 9, taken: 'no' },
  { what: 'S, delegated, SIE off', privilege: S, mstatus: Status.MIE, mideleg: 0x222, line: 9, taken: 'no' },
  { what: 'S, delegated, SIE on', privilege: S, mstatus: Status.SIE, mideleg: 0x222, line: 9, taken: 'S' },
  { what: 'U, delegated, SIE off', privilege: U, mstatus: 0, mideleg: 0x222, line: 9, taken: 'S' },
  { what: 'U, not delegated', privilege: U, mstatus: 0, mideleg: 0, line: 9, taken: 'M' },
]
for (const { what, privilege, mstatus, mideleg, line, taken } of PENDING) {
  test(`an interrupt in ${what}: ${taken}`, () => {
    const { hart, run } = at(privilege, ...NOPS)
    hart.state.mstatus = mstatus
    hart.state.mideleg = mideleg
    hart.state.mie = ALL
    hart.setInterrupt(line, true)
    run(1)
    const [m, s] = [hart.state.mcause.high !== 0, hart.state.scause.high !== 0]
    assert.equal([m, s], [taken === 'M', taken === 'S'])
  })
}

test('a vectored handler is four bytes a cause from the base, for interrupts alone', () => {
  const interrupted = at(Privilege.Machine, ...NOPS)
  interrupted.program(M_VECTOR + 28, 'addi a0,zero,7')
  interrupted.hart.state.mtvec.set(M_VECTOR | 1 | 0, 0)
  interrupted.hart.state.mstatus = Status.MIE
  interrupted.hart.state.mie = ALL
  interrupted.hart.setInterrupt(7, true)
  interrupted.run(1)
  assert.is(interrupted.x('a0'), 7n)

  const called = at(Privilege.Machine, 'ecall')
  called.hart.state.mtvec.set(M_VECTOR | 1 | 0, 0)
  called.run(1)
  assert.is(called.pc(), BigInt(M_VECTOR))
})

test('a write that enables interrupts lets one in before the next instruction', () => {
  const made = at(Privilege.Machine, 'csrrsi zero,mstatus,8', 'addi a0,zero,1')
  made.program(M_VECTOR, 'addi a1,zero,2')
  made.hart.state.mie = ALL
  made.hart.setInterrupt(3, true)
  made.run(2)
  assert.is(made.x('a0'), 0n)
  assert.is(made.x('a1'), 2n)
  assert.is(join(made.hart.state.mepc.low, made.hart.state.mepc.high), BigInt(RAM + 4))
})

test('a store to a device that raises a line lets the interrupt in before the next instruction', () => {
  const made = at(Privilege.Machine, 'sw a1,0(a0)', 'addi a2,zero,1')
  made.setX('a0', BigInt(DEVICE))
  made.hart.state.mie = ALL
  made.hart.state.mstatus = Status.MIE
  const bus = made.hart.memory.bus
  const write = bus.write.bind(bus)
  bus.write = (...given) => {
    made.hart.setInterrupt(11, true)
    return write(...given)
  }
  made.run(2)
  assert.equal(made.log, ['w4 0 = 0'])
  assert.is(made.x('a2'), 0n)
  assert.is(join(made.hart.state.mepc.low, made.hart.state.mepc.high), BigInt(RAM + 4))
})

test('wfi passes time until an interrupt that is enabled, be it taken or not', () => {
  const made = at(Privilege.Machine, 'wfi', 'addi a0,zero,1')
  made.hart.state.mie = 1 << 7
  assert.is(made.run(1000), false)
  assert.is(made.hart.state.count, 1000)
  assert.is(made.hart.state.idled, 999)
  assert.is(made.x('a0'), 0n)
  made.hart.setInterrupt(11, true)
  assert.is(made.run(10), false, 'an interrupt that is not enabled does not wake')
  made.hart.setInterrupt(7, true)
  assert.is(made.run(1), true)
  assert.is(made.x('a0'), 1n)
  assert.is(made.hart.state.mcause.low, 0, 'MIE is off')
})

test('a wait that has ended stays ended when the line falls', () => {
  const made = at(Privilege.Machine, 'wfi', 'addi a0,a0,1', 'addi a0,a0,1', 'addi a0,a0,1')
  made.hart.state.mie = 1 << 7
  made.run(10)
  made.hart.setInterrupt(7, true)
  made.run(1)
  made.hart.setInterrupt(7, false)
  assert.is(made.run(2), true)
  assert.is(made.x('a0'), 3n)
})

test('wfi with something pending goes on at once', () => {
  const made = at(Privilege.Machine, 'wfi', 'addi a0,zero,1')
  made.hart.state.mie = 1 << 3
  made.hart.setInterrupt(3, true)
  assert.is(made.run(2), true)
  assert.is(made.x('a0'), 1n)
  assert.is(made.hart.state.idled, 0)
})

test('the timer of S mode ends a wait at its instruction', () => {
  const made = at(Privilege.Supervisor, 'wfi', 'addi a0,zero,1')
  made.program(S_VECTOR, 'csrrs a1,time,zero', 'csrrw zero,stimecmp,a2', 'csrrs a3,sip,zero')
  const { state } = made.hart
  state.isStimecmpEnabled = true
  state.mcounteren = 2
  state.mideleg = 0x222
  state.mie = 1 << 5
  state.mstatus = Status.SIE
  state.stimecmp.set(50, 0)
  made.setX('a2', 0xffff_ffff_ffff_ffffn)
  assert.is(made.run(4000), true, 'it waits, but needs nobody')
  assert.is(made.hart.count, 4000)
  assert.is(made.run(1000), true, 'the timer has just run out')
  assert.is(made.run(1), true)
  assert.is(made.x('a1'), 50n)
  assert.is(made.x('a3'), 0n, 'a later deadline takes the interrupt back')
  assert.is(join(state.sepc.low, state.sepc.high), BigInt(RAM + 4))
  assert.is(state.idled, 4999)
  assert.is(state.scause.low, 5)
})

test('a timer that is not enabled as interrupt wakes nobody', () => {
  const made = at(Privilege.Machine, 'wfi')
  made.hart.state.isStimecmpEnabled = true
  made.hart.state.stimecmp.set(50, 0)
  made.hart.state.mie = 1 << 7
  assert.is(made.run(1000), false)
  assert.is(made.run(9000), false)
})

test('the timer of S mode interrupts running code at its instruction', () => {
  const made = bench({ clock: new VirtualClock(1) })
  made.program(RAM, 'addi a0,a0,1', 'jal zero,-4')
  made.program(M_VECTOR, 'jal zero,0')
  const { state } = made.hart
  state.mtvec.set(M_VECTOR | 0, 0)
  state.isStimecmpEnabled = true
  state.mie = 1 << 5
  state.mstatus = Status.MIE
  state.stimecmp.set(1001, 0)
  made.run(5000)
  assert.is(made.x('a0'), 501n)
  assert.is(state.mcause.low, 5)
  assert.is(state.count, 5000)
})

test('traps for ever still come to an end', () => {
  const made = at(Privilege.Machine)
  made.put(M_VECTOR, 0)
  made.run(1000)
  assert.is(made.hart.state.count, 1000)
  assert.is(made.hart.state.trapped, 1000)
})

test('a count is met exactly, wherever the runs are cut', () => {
  const whole = at(Privilege.Machine, 'addi a0,a0,1', 'addi a1,a1,3', 'bne a0,a1,-8')
  const parts = at(Privilege.Machine, 'addi a0,a0,1', 'addi a1,a1,3', 'bne a0,a1,-8')
  whole.run(997)
  for (let left = 997, cut = 1; left > 0; left -= cut, cut = Math.min(left, (cut * 7) % 13)) parts.run(cut)
  assert.is(parts.hart.state.count, 997)
  assert.equal([...parts.hart.x], [...whole.hart.x])
  assert.is(parts.pc(), whole.pc())
})

test('a device ends the run behind the instruction that reached it, or later', () => {
  for (const [stopAt, count] of [
    [0, 3],
    [6, 6],
    [100, 10],
  ] as const) {
    const made = at(Privilege.Machine, 'addi zero,zero,0', 'addi zero,zero,0', 'sw a1,0(a0)', ...NOPS, ...NOPS)
    made.setX('a0', BigInt(DEVICE))
    const bus = made.hart.memory.bus
    bus.write = () => {
      assert.is(made.hart.count, 2, 'the count is that of the instruction')
      made.hart.stopAt(stopAt)
      return true
    }
    assert.is(made.run(10), true)
    assert.is(made.hart.count, count)
    assert.is(made.run(1), true, 'the next run goes on')
    assert.is(made.hart.count, count + 1)
  }
})

test('a wait ends where a run is told to end', () => {
  const made = at(Privilege.Machine, 'sw a1,0(a0)', 'wfi')
  made.setX('a0', BigInt(DEVICE))
  made.hart.memory.bus.write = () => {
    made.hart.stopAt(20)
    return true
  }
  assert.is(made.run(100), false)
  assert.is(made.hart.count, 20)
})

test('a clock that is set ahead moves the timer with it', () => {
  const made = at(Privilege.Machine, 'csrrs a0,time,zero', 'wfi', 'csrrs a1,time,zero')
  made.hart.state.isStimecmpEnabled = true
  made.hart.state.mie = 1 << 5
  made.hart.state.stimecmp.set(1000, 0)
  made.hart.setTimeOffset(900)
  made.run(10_001)
  assert.equal([made.x('a0'), made.x('a1')], [900n, 1000n])
  assert.is(made.hart.count, 10_001)
})

test('only lines of devices can be set from outside', () => {
  assert.throws(() => bench().hart.setInterrupt(5, true), /interrupt 5 is no device's line/)
})

test.run()
