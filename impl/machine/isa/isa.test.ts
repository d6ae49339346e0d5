import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { assemble, decode, disassemble, encode, expand, INSTRUCTIONS, type Instruction } from '.'
import { operandsOf } from './operands'

test('no word is two instructions, and masks leave exactly the operands', () => {
  for (const one of INSTRUCTIONS) {
    assert.is((one.match & ~one.mask) >>> 0, 0, `${one.mnemonic}: fixed bits lie in its mask`)
    let covered = one.mask | one.ignored
    for (const { mask } of one.operands) {
      assert.is((covered & mask) >>> 0, 0, `${one.mnemonic}: operands overlap`)
      covered |= mask
    }
    assert.is(covered | 0, -1, `${one.mnemonic}: every bit is somebody's`)
    for (const other of INSTRUCTIONS) {
      if (other === one) continue
      const common = one.mask & other.mask
      assert.ok(((one.match ^ other.match) & common) !== 0, `${one.mnemonic} and ${other.mnemonic} share a word`)
    }
  }
})

test('mnemonics are different, and every extension is there', () => {
  assert.is(new Set(INSTRUCTIONS.map(({ mnemonic }) => mnemonic)).size, INSTRUCTIONS.length)
  const extensions = [...new Set(INSTRUCTIONS.map(({ extension }) => extension))].sort()
  assert.equal(extensions, ['A', 'D', 'F', 'I', 'M', 'S', 'Zba', 'Zbb', 'Zbs', 'Zicsr', 'Zifencei'])
})

function wordOf(entry: Instruction, random: number): number {
  return entry.match | (random & ~entry.mask & ~entry.ignored)
}

test('what the disassembler writes, the assembler reads, for every instruction', () => {
  const entries = fc.constantFrom(...INSTRUCTIONS)
  fc.assert(
    fc.property(entries, fc.integer(), (entry, random) => {
      const word = wordOf(entry, random)
      assert.is(decode(word), entry)
      assert.is(assemble(disassemble(word)), word, disassemble(word))
    }),
    { numRuns: 4000, seed: 1 },
  )
})

test('any word is an instruction that reads back, or data', () => {
  fc.assert(
    fc.property(fc.integer(), (word) => {
      const text = disassemble(word | 3)
      const entry = decode(word | 3)
      if (entry === undefined) assert.match(text, /^\.word 0x/)
      else assert.is(assemble(text), (word | 3) & ~entry.ignored)
    }),
    { numRuns: 4000, seed: 2 },
  )
})

// Words and texts as GNU binutils 2.40 pairs them (objdump -M no-aliases), with branches told as offsets.
const KNOWN: ReadonlyArray<readonly [word: number, text: string]> = [
  [0xfe010113, 'addi sp,sp,-32'],
  [0x00113c23, 'sd ra,24(sp)'],
  [0x01813083, 'ld ra,24(sp)'],
  [0x800005b7, 'lui a1,0x80000'],
  [0x00008067, 'jalr zero,0(ra)'],
  [0xf1ea9fef, 'jal t6,-354530'],
  [0x00b50463, 'beq a0,a1,8'],
  [0x43f5d593, 'srai a1,a1,63'],
  [0x02c58533, 'mul a0,a1,a2'],
  [0x0330000f, 'fence rw,rw'],
  [0x0000100f, 'fence.i'],
  [0x100527af, 'lr.w a5,(a0)'],
  [0x1ee6382f, 'sc.d.aqrl a6,a4,(a2)'],
  [0x30529073, 'csrrw zero,mtvec,t0'],
  [0x34011173, 'csrrw sp,mscratch,sp'],
  [0x30200073, 'mret'],
  [0x12000073, 'sfence.vma zero,zero'],
  [0x02b57553, 'fadd.d fa0,fa0,fa1'],
  [0xc2051553, 'fcvt.w.d a0,fa0,rtz'],
]
for (const [word, text] of KNOWN) {
  test(`${text} is the word that other tools write`, () => {
    assert.is(disassemble(word), text)
    assert.is(assemble(text) >>> 0, word)
  })
}

// Halfwords as GNU binutils 2.40 reads them; the text is of the instruction that the compressed one stands for.
const COMPRESSED: ReadonlyArray<readonly [half: number, text: string]> = [
  [0x0000, '.half 0x0'],
  [0x0001, 'addi zero,zero,0'],
  [0x0020, 'addi s0,sp,8'],
  [0x1ffc, 'addi a5,sp,1020'],
  [0x2006, 'fld ft0,64(sp)'],
  [0x2000, 'fld fs0,0(s0)'],
  [0x4004, 'lw s1,0(s0)'],
  [0x4086, 'lw ra,64(sp)'],
  [0x60a2, 'ld ra,8(sp)'],
  [0x6000, 'ld s0,0(s0)'],
  [0x6109, 'addi sp,sp,128'],
  [0x7139, 'addi sp,sp,-64'],
  [0x6101, '.half 0x6101'],
  [0x6005, 'lui zero,0x1'],
  [0x757d, 'lui a0,0xfffff'],
  [0x2081, 'addiw ra,ra,0'],
  [0x2001, '.half 0x2001'],
  [0x557d, 'addi a0,zero,-1'],
  [0x8005, 'srli s0,s0,1'],
  [0x8405, 'srai s0,s0,1'],
  [0x8805, 'andi s0,s0,1'],
  [0x8c05, 'sub s0,s0,s1'],
  [0x8c25, 'xor s0,s0,s1'],
  [0x8c45, 'or s0,s0,s1'],
  [0x8c65, 'and s0,s0,s1'],
  [0x9c05, 'subw s0,s0,s1'],
  [0x9c25, 'addw s0,s0,s1'],
  [0x9c45, '.half 0x9c45'],
  [0xa005, 'jal zero,32'],
  [0xa009, 'jal zero,2'],
  [0xbffd, 'jal zero,-2'],
  [0xc005, 'beq s0,zero,32'],
  [0xe009, 'bne s0,zero,2'],
  [0x0086, 'slli ra,ra,1'],
  [0x8082, 'jalr zero,0(ra)'],
  [0x9082, 'jalr ra,0(ra)'],
  [0x8002, '.half 0x8002'],
  [0x9002, 'ebreak'],
  [0x852e, 'add a0,zero,a1'],
  [0x952e, 'add a0,a0,a1'],
  [0xe406, 'sd ra,8(sp)'],
  [0xc006, 'sw ra,0(sp)'],
  [0xa006, 'fsd ft1,0(sp)'],
  [0xe000, 'sd s0,0(s0)'],
  [0x8000, '.half 0x8000'],
]
for (const [half, text] of COMPRESSED) {
  test(`0x${half.toString(16)} stands for ${text}`, () => assert.is(disassemble(half), text))
}

test('every halfword stands for an instruction of the table, or for none', () => {
  let known = 0
  for (let half = 0; half < 65536; half++) {
    if ((half & 3) === 3) continue
    const word = expand(half)
    if (word === 0) continue
    known++
    assert.ok(decode(word) !== undefined, `0x${half.toString(16)} expands to 0x${(word >>> 0).toString(16)}`)
  }
  assert.is(known, 49152 - 2409)
})

test('refuses what it cannot encode, in words', () => {
  assert.throws(() => encode('addi', 1, 2, 2048), /imm cannot be 2048/)
  assert.throws(() => encode('beq', 1, 2, 3), /branch cannot be 3/)
  assert.throws(() => encode('add', 1, 2), /add takes 3 operands \(rd,rs1,rs2\), not 2/)
  assert.throws(() => encode('vadd.vv', 1, 2, 3), /no instruction 'vadd.vv'/)
  assert.throws(() => assemble('add a0,a1'), /takes rd,rs1,rs2/)
  assert.throws(() => assemble('add a0,a1,q7'), /'q7' is no rs2/)
  assert.throws(() => assemble('add.aq a0,a1,a2'), /no instruction 'add.aq'/)
  assert.throws(() => operandsOf('rd,nonsense'), /operand 'nonsense'/)
  assert.throws(() => expand(3), /begins an instruction of 32 bits/)
})

test('registers have two names', () => {
  assert.is(assemble('add x10,x11,x12'), assemble('add a0,a1,a2'))
  assert.is(assemble('addi fp,x0,1'), assemble('addi s0,zero,1'))
})

test.run()
