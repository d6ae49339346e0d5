import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { assemble } from '../isa'
import { CodeCache } from './code'
import { CODES } from './execute'
import { Hart } from './hart'
import { bench, DEVICE, RAM } from './testing'

test('code that changes itself runs as changed, with or without a fence', () => {
  for (const width of ['sw', 'sh'] as const) {
    const made = bench()
    // The third instruction is replaced after it ran once.
    made.program(RAM, 'jal zero,8', `${width} a1,8(a0)`, 'addi a2,a2,1', 'addi a3,a3,1', 'beq a3,a4,-12', 'jal zero,0')
    made.setX('a0', BigInt(RAM))
    made.setX('a1', BigInt(assemble('addi a2,a2,1') + (width === 'sw' ? 4 << 20 : 0)))
    made.setX('a4', 1n)
    made.run(8)
    assert.is(made.x('a2'), width === 'sw' ? 6n : 2n)
    assert.is(made.x('a3'), 2n)
  }
})

test('a page that was written before it ran, and is written again and again, runs as it stands', () => {
  const made = bench()
  made.program(RAM, 'sw a1,0(a0)', 'sw a4,4(a0)', 'jalr ra,0(a0)', 'add a1,a1,a3', 'jal zero,-16')
  made.setX('a0', BigInt(RAM + 0x1000))
  made.setX('a1', BigInt(assemble('addi a2,a2,1')))
  made.setX('a3', BigInt(1 << 20))
  made.setX('a4', BigInt(assemble('jalr zero,0(ra)')))
  // 1 + 2 + 3 + 4, each by an instruction of its own.
  made.run(4 * 7)
  assert.is(made.x('a2'), 10n)
})

test('half of an instruction can be changed', () => {
  const made = bench()
  made.program(RAM, 'addi a2,a2,1', 'sh a1,2(a0)', 'jal zero,-8')
  made.setX('a0', BigInt(RAM))
  made.setX('a1', BigInt((assemble('addi a2,a2,100') >>> 16) & 0xffff))
  made.run(4)
  assert.is(made.x('a2'), 101n)
})

test('a store just before an instruction leaves it as decoded, across the edge of pages too', () => {
  const made = bench()
  made.program(RAM + 0x1000, 'addi a2,a2,1', 'sd a1,-8(a0)', 'jal zero,-8')
  made.setX('a0', BigInt(RAM + 0x1000))
  made.setPc(BigInt(RAM + 0x1000))
  made.run(9)
  assert.is(made.x('a2'), 3n)
})

test('an instruction across two pages of RAM is fetched anew each time', () => {
  const made = bench()
  const half = assemble('addi a2,a2,1')
  const view = new DataView(made.ram.buffer)
  view.setUint16(0xffe, half & 0xffff, true)
  view.setUint16(0x1000, half >>> 16, true)
  view.setUint16(0x1002, 0x0001, true)
  for (const expected of [1n, 0x101n]) {
    made.setPc(BigInt(RAM + 0xffe))
    made.run(2)
    assert.is(made.x('a2'), expected)
    assert.is(made.pc(), BigInt(RAM + 0x1004))
    view.setUint16(0x1000, assemble('addi a2,a2,0x100') >>> 16, true)
  }
})

test('what a device writes into code counts once the hart is told', () => {
  const made = bench()
  made.program(RAM, 'addi a2,a2,1', 'jal zero,-4')
  made.run(2)
  new DataView(made.ram.buffer).setInt32(0, assemble('addi a2,a2,16'), true)
  made.hart.ramChanged(RAM, 4)
  made.hart.ramChanged(RAM - 4096, 4096)
  made.hart.ramChanged(DEVICE, 4)
  made.run(1)
  assert.is(made.x('a2'), 17n)
})

test('code runs from a device that answers, and faults where none does', () => {
  const made = bench()
  made.setPc(BigInt(DEVICE + 0xffc))
  made.hart.state.mtvec.set(RAM | 0, 0)
  // Reads are of two bytes: the low half first.
  const word = assemble('addi a2,a2,7')
  made.answers.push(BigInt(word & 0xffff), BigInt(word >>> 16))
  made.run(1)
  assert.is(made.x('a2'), 7n)
  assert.equal(made.log, ['r2 ffc', 'r2 ffe'])
  made.run(1)
  assert.is(made.hart.state.mcause.low, 1)
  assert.is(made.hart.state.mtval.low, DEVICE + 0x1000)
})

test('misaligned and too wide accesses of devices fault', () => {
  const made = bench()
  made.hart.state.mtvec.set((RAM + 64) | 0, 0)
  made.program(RAM, 'lw a1,1(a0)')
  made.setX('a0', BigInt(DEVICE))
  made.run(1)
  assert.is(made.hart.state.mcause.low, 5)
  assert.is(made.hart.state.mtval.low, DEVICE + 1)
  assert.equal(made.log, [])
})

test('narrow loads of devices are cut and extended as they should', () => {
  const made = bench()
  made.program(RAM, 'lb a1,0(a0)', 'lbu a2,1(a0)', 'lh a3,2(a0)', 'lwu a4,4(a0)', 'lw a5,8(a0)')
  made.setX('a0', BigInt(DEVICE))
  made.answers.push(0xff80n, 0x1ffn, 0x8000n, 0xffff_ffffn, 0x8000_0000n)
  made.run(5)
  assert.equal(
    ['a1', 'a2', 'a3', 'a4', 'a5'].map((name) => made.x(name)),
    [0xffff_ffff_ffff_ff80n, 0xffn, 0xffff_ffff_ffff_8000n, 0xffff_ffffn, 0xffff_ffff_8000_0000n],
  )
  assert.equal(made.log, ['r1 0', 'r1 1', 'r2 2', 'r4 4', 'r4 8'])
})

test('records of code are bounded: beyond, all begin anew', () => {
  const cache = new CodeCache(new Uint8Array(4 * 4096), CODES, 2)
  const first = cache.pageAt(0x0123)
  assert.is(cache.pageAt(0x0ffe), first)
  cache.pageAt(0x1000)
  assert.equal([cache.holds(0), cache.holds(0x1000), cache.holds(0x2000)], [true, true, false])
  cache.pageAt(0x2fff)
  assert.equal([cache.holds(0), cache.holds(0x1000), cache.holds(0x2000)], [false, false, true])
  assert.is(cache.pageAt(0x2000).offsetBytes, 0x2000)
  assert.is.not(cache.pageAt(0), first)
})

test('RAM is whole pages', () => {
  const busOf = (bytes: number) => ({
    ram: { baseAddress: RAM, bytes: new Uint8Array(bytes) },
    read: () => false,
    write: () => false,
  })
  assert.throws(() => new Hart(busOf(5000)), /RAM cannot be 5000 bytes: it takes whole pages/)
})

test.run()
