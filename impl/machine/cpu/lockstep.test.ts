/**
 * Random programs under the hart and under qemu-riscv64, which must leave the same registers and memory. Skipped where that
 * program is not installed. The programs are static ELF files made here, without a tool chain.
 */
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { assemble, disassemble, INSTRUCTIONS, type Instruction, instructionNamed } from '../isa'
import { Hart } from './hart'

const BASE = 0x100000
const INPUTS = BASE + 0x4000
/** What is compared: a page of data, and behind it the registers. */
const DATA = BASE + 0x6000
const REGISTERS = DATA + 0x1000
const COMPARED_BYTES = 0x1100
const MEMORY_BYTES = 0x8000
const PROGRAMS = 12
const BODY = 400

const qemu = 'qemu-riscv64'
const hasQemu = spawnSync(qemu, ['--version']).status === 0
const qemuTest = hasQemu ? test : test.skip

/** Numbers from a seed: 32 bits each. */
function drawer(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return Math.floor(((state >>> 8) * below) / 0x1000000)
  }
}

// QEMU 7.2 counts the zeros of all 64 bits where `ctzw` meets a low word of zero.
const isArithmetic = ({ mnemonic, extension, operands }: Instruction): boolean =>
  /^(I|M|Zba|Zbb|Zbs)$/.test(extension) &&
  operands.some(({ name }) => name === 'rd') &&
  !/^(l[bhwd]u?|jalr?|ctzw)$/.test(mnemonic)
const ARITHMETIC = INSTRUCTIONS.filter(isArithmetic)
const LOADS = INSTRUCTIONS.filter(({ mnemonic }) => /^l[bhwd]u?$/.test(mnemonic))
const STORES = INSTRUCTIONS.filter(({ mnemonic }) => /^s[bhwd]$/.test(mnemonic))
const ATOMICS = INSTRUCTIONS.filter(({ mnemonic }) => /^amo/.test(mnemonic))
const BRANCHES = INSTRUCTIONS.filter(({ format }) => format === 'rs1,rs2,branch')

/** Pointers to the data that programs may not change: the middle of the page, and a line that is aligned. */
const MIDDLE = 5
const ALIGNED = 6

/** Random operands, but for those given by name. */
function draw(entry: Instruction, next: (below: number) => number, fixed: Readonly<Record<string, number>> = {}): number {
  let word = entry.match
  for (const { name, mask, put } of entry.operands) {
    const random = (next(0x10000) | (next(0x10000) << 16)) & mask
    word |= fixed[name] === undefined ? random : put(fixed[name])
  }
  const rd = (word >> 7) & 31
  const hasTarget = entry.operands.some(({ name }) => name === 'rd')
  return hasTarget && (rd === MIDDLE || rd === ALIGNED) ? word ^ (8 << 7) : word
}

function pick<T>(list: readonly T[], next: (below: number) => number): T {
  return list[next(list.length)]!
}

/** One or two instructions. A store conditional stands behind its load: what else it may do is left open. */
function instructions(next: (below: number) => number): number[] {
  const kind = next(21)
  if (kind < 12) return [draw(pick(ARITHMETIC, next), next)]
  if (kind < 14) return [draw(pick(LOADS, next), next, { rs1: MIDDLE })]
  if (kind < 16) return [draw(pick(STORES, next), next, { rs1: MIDDLE })]
  if (kind < 18) return [draw(pick(ATOMICS, next), next, { rs1: ALIGNED })]
  if (kind === 18) {
    const width = pick(['w', 'd'], next)
    return ['lr', 'sc'].map((name) => draw(instructionNamed(`${name}.${width}`)!, next, { rs1: ALIGNED }))
  }
  // Over one or two instructions; jumps link.
  const offset = 8 + 4 * next(2)
  if (kind === 19) return [draw(pick(BRANCHES, next), next, { branch: offset })]
  return [assemble(`jal ${pick(['ra', 'a0', 't6'], next)},${offset}`)]
}

function body(next: (below: number) => number): number[] {
  const words: number[] = []
  while (words.length < BODY) words.push(...instructions(next))
  return words.slice(0, BODY)
}

function program(seed: number): Uint8Array {
  const next = drawer(seed)
  const memory = new Uint8Array(MEMORY_BYTES)
  const view = new DataView(memory.buffer)
  const loads = Array.from({ length: 30 }, (_, index) => `ld x${index + 1},${(index + 1) * 8}(x31)`)
  const stores = Array.from({ length: 31 }, (_, index) => `sd x${index + 1},${(index + 1) * 8}(x5)`)
  const words = [
    ...[`lui x31,0x${(INPUTS >> 12).toString(16)}`, ...loads, 'ld x31,248(x31)'].map(assemble),
    ...body(next),
    // Room to jump into from the end.
    ...['addi zero,zero,0', 'addi zero,zero,0', 'addi zero,zero,0', 'addi x5,x5,2047', 'addi x5,x5,1', ...stores].map(assemble),
    ...[
      'addi a0,zero,1',
      `lui a1,0x${(DATA >> 12).toString(16)}`,
      'lui a2,0x1',
      'addi a2,a2,0x100',
      'addi a7,zero,64',
      'ecall',
    ].map(assemble),
    ...['addi a0,zero,0', 'addi a7,zero,93', 'ecall'].map(assemble),
  ]
  for (const [index, word] of words.entries()) view.setInt32(index * 4, word, true)
  for (let index = 1; index < 32; index++) {
    const high = pick([0, -1, next(0x1000000), next(256) << 24], next)
    view.setInt32(INPUTS - BASE + index * 8, next(4) === 0 ? high : next(0x10000) | (next(0x10000) << 16), true)
    view.setInt32(INPUTS - BASE + index * 8 + 4, high, true)
  }
  view.setBigUint64(INPUTS - BASE + MIDDLE * 8, BigInt(DATA + 0x800), true)
  view.setBigUint64(INPUTS - BASE + ALIGNED * 8, BigInt(DATA + 0x400), true)
  for (let index = 0; index < 4096; index++) memory[DATA - BASE + index] = next(256)
  return memory
}

/** An executable of one segment that is all of it. */
function elfOf(memory: Uint8Array): Uint8Array {
  const file = new Uint8Array(0x1000 + memory.length)
  const view = new DataView(file.buffer)
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  for (const [offset, value] of [
    [16, 2],
    [18, 243],
    [52, 64],
    [54, 56],
    [56, 1],
  ] as const)
    view.setUint16(offset, value, true)
  for (const [offset, value] of [
    [20, 1],
    [24, BASE],
    [32, 64],
    // Compressed instructions, floats of 64 bits in registers.
    [48, 5],
    [64, 1],
    [68, 7],
    [72, 0x1000],
    [80, BASE],
    [88, BASE],
    [96, memory.length],
    [104, memory.length],
    [112, 0x1000],
  ] as const)
    view.setUint32(offset, value, true)
  file.set(memory, 0x1000)
  return file
}

function underQemu(memory: Uint8Array): Uint8Array {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-'))
  try {
    const file = path.join(folder, 'program')
    fs.writeFileSync(file, elfOf(memory), { mode: 0o755 })
    const { status, stdout, stderr } = spawnSync(qemu, [file], { timeout: 60_000 })
    assert.is(status, 0, `qemu-riscv64 ends well: ${stderr}`)
    return stdout
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

/** The same up to the first call of the system. */
function underHart(memory: Uint8Array): Uint8Array {
  const bytes = memory.slice()
  const hart = new Hart({ ram: { baseAddress: BASE, bytes }, read: () => false, write: () => false })
  hart.reset(BASE)
  for (let turn = 0; hart.state.trapped === 0 && turn < 2 * BODY; turn++) hart.run(hart.count + 1)
  assert.is(hart.state.mcause.low, 11, `a call ends the program, at ${hart.state.mepc.low.toString(16)}`)
  return bytes.subarray(DATA - BASE, DATA - BASE + COMPARED_BYTES)
}

for (let seed = 1; seed <= PROGRAMS; seed++) {
  qemuTest(`program ${seed} of ${PROGRAMS} leaves what qemu-riscv64 leaves`, () => {
    const memory = program(seed)
    const theirs = underQemu(memory)
    const mine = underHart(memory)
    assert.is(theirs.length, COMPARED_BYTES)
    const first = mine.findIndex((byte, index) => byte !== theirs[index])
    if (first < 0) return
    const view = new DataView(memory.buffer)
    const listing = Array.from({ length: BODY }, (_, index) => disassemble(view.getInt32(32 * 4 + index * 4, true)))
    const place = DATA + first
    const where = place < REGISTERS ? `memory ${place.toString(16)}` : `x${(place - REGISTERS) >> 3}`
    assert.unreachable(`${where} differs after\n${listing.join('\n')}`)
  })
}

test.run()
