/**
 * Compressed instructions (Unprivileged ISA, extension C for RV64 with D): each stands for one of 32 bits.
 * `expand` gives that word, or 0 for halfwords that are illegal or reserved. Hints expand to what they encode, which
 * changes nothing.
 */

const x = (half: number, bit: number): number => (half >> bit) & 31
/** Registers of three bits name x8 to x15. */
const x3 = (half: number, bit: number): number => 8 + ((half >> bit) & 7)

/** Gathers bits: pairs of (bit of the halfword, bit of the value), with widths. */
function gather(half: number, ...pieces: ReadonlyArray<readonly [bit: number, widthBits: number, valueBit: number]>): number {
  return pieces.reduce((sum, [bit, widthBits, valueBit]) => sum | (((half >> bit) & ((1 << widthBits) - 1)) << valueBit), 0)
}

const iType = (opcode: number, funct3: number, rd: number, rs1: number, imm: number): number =>
  opcode | (rd << 7) | (funct3 << 12) | (rs1 << 15) | (imm << 20)
const sType = (opcode: number, funct3: number, rs1: number, rs2: number, imm: number): number =>
  opcode | ((imm & 31) << 7) | (funct3 << 12) | (rs1 << 15) | (rs2 << 20) | ((imm >> 5) << 25)
const rType = (opcode: number, funct3: number, funct7: number, rd: number, rs1: number, rs2: number): number =>
  opcode | (rd << 7) | (funct3 << 12) | (rs1 << 15) | (rs2 << 20) | (funct7 << 25)
const bType = (funct3: number, rs1: number, imm: number): number =>
  0x63 |
  (((imm >> 11) & 1) << 7) |
  (((imm >> 1) & 15) << 8) |
  (funct3 << 12) |
  (rs1 << 15) |
  (((imm >> 5) & 63) << 25) |
  ((imm >> 12) << 31)
const jType = (rd: number, imm: number): number =>
  0x6f | (rd << 7) | (((imm >> 12) & 255) << 12) | (((imm >> 11) & 1) << 20) | (((imm >> 1) & 1023) << 21) | ((imm >> 20) << 31)

const signed6 = (half: number): number => (gather(half, [2, 5, 0], [12, 1, 5]) << 26) >> 26
const shamt = (half: number): number => gather(half, [2, 5, 0], [12, 1, 5])
const offsetWord = (half: number): number => gather(half, [6, 1, 2], [10, 3, 3], [5, 1, 6])
const offsetDouble = (half: number): number => gather(half, [10, 3, 3], [5, 2, 6])
const LOAD = 0x03
const LOAD_FP = 0x07
const STORE = 0x23
const STORE_FP = 0x27

function expandQuadrant0(half: number): number {
  const [base, register] = [x3(half, 7), x3(half, 2)]
  switch (half >> 13) {
    case 0: {
      const imm = gather(half, [6, 1, 2], [5, 1, 3], [11, 2, 4], [7, 4, 6])
      return imm === 0 ? 0 : iType(0x13, 0, register, 2, imm)
    }
    case 1:
      return iType(LOAD_FP, 3, register, base, offsetDouble(half))
    case 2:
      return iType(LOAD, 2, register, base, offsetWord(half))
    case 3:
      return iType(LOAD, 3, register, base, offsetDouble(half))
    case 5:
      return sType(STORE_FP, 3, base, register, offsetDouble(half))
    case 6:
      return sType(STORE, 2, base, register, offsetWord(half))
    case 7:
      return sType(STORE, 3, base, register, offsetDouble(half))
    default:
      return 0
  }
}

function expandArithmetic(half: number): number {
  const rd = x3(half, 7)
  const rs2 = x3(half, 2)
  switch ((half >> 10) & 3) {
    case 0:
      return iType(0x13, 5, rd, rd, shamt(half))
    case 1:
      return iType(0x13, 5, rd, rd, shamt(half) | 0x400)
    case 2:
      return iType(0x13, 7, rd, rd, signed6(half))
  }
  const funct = (half >> 5) & 3
  if ((half & 0x1000) !== 0) return funct > 1 ? 0 : rType(0x3b, 0, funct === 0 ? 0x20 : 0, rd, rd, rs2)
  return rType(0x33, [0, 4, 6, 7][funct]!, funct === 0 ? 0x20 : 0, rd, rd, rs2)
}

function expandQuadrant1(half: number): number {
  const rd = x(half, 7)
  switch (half >> 13) {
    case 0:
      return iType(0x13, 0, rd, rd, signed6(half))
    case 1:
      return rd === 0 ? 0 : iType(0x1b, 0, rd, rd, signed6(half))
    case 2:
      return iType(0x13, 0, rd, 0, signed6(half))
    case 3: {
      if (shamt(half) === 0) return 0
      if (rd !== 2) return 0x37 | (rd << 7) | (signed6(half) << 12)
      const imm = gather(half, [6, 1, 4], [2, 1, 5], [5, 1, 6], [3, 2, 7], [12, 1, 9])
      return iType(0x13, 0, 2, 2, (imm << 22) >> 22)
    }
    case 4:
      return expandArithmetic(half)
    case 5: {
      const imm = gather(half, [3, 3, 1], [11, 1, 4], [2, 1, 5], [7, 1, 6], [6, 1, 7], [9, 2, 8], [8, 1, 10], [12, 1, 11])
      return jType(0, (imm << 20) >> 20)
    }
    default: {
      const imm = gather(half, [3, 2, 1], [10, 2, 3], [2, 1, 5], [5, 2, 6], [12, 1, 8])
      return bType((half >> 13) & 1, x3(half, 7), (imm << 23) >> 23)
    }
  }
}

function expandJumpsAndMoves(half: number): number {
  const rd = x(half, 7)
  const rs2 = x(half, 2)
  const isLinked = (half & 0x1000) !== 0
  if (rs2 !== 0) return rType(0x33, 0, 0, rd, isLinked ? rd : 0, rs2)
  if (rd === 0) return isLinked ? 0x00100073 : 0
  return iType(0x67, 0, isLinked ? 1 : 0, rd, 0)
}

function expandQuadrant2(half: number): number {
  const rd = x(half, 7)
  const rs2 = x(half, 2)
  const loadDouble = gather(half, [5, 2, 3], [12, 1, 5], [2, 3, 6])
  const storeDouble = gather(half, [10, 3, 3], [7, 3, 6])
  switch (half >> 13) {
    case 0:
      return iType(0x13, 1, rd, rd, shamt(half))
    case 1:
      return iType(LOAD_FP, 3, rd, 2, loadDouble)
    case 2:
      return rd === 0 ? 0 : iType(LOAD, 2, rd, 2, gather(half, [4, 3, 2], [12, 1, 5], [2, 2, 6]))
    case 3:
      return rd === 0 ? 0 : iType(LOAD, 3, rd, 2, loadDouble)
    case 4:
      return expandJumpsAndMoves(half)
    case 5:
      return sType(STORE_FP, 3, 2, rs2, storeDouble)
    case 6:
      return sType(STORE, 2, 2, rs2, gather(half, [9, 4, 2], [7, 2, 6]))
    default:
      return sType(STORE, 3, 2, rs2, storeDouble)
  }
}

/** The 32-bit instruction that a halfword stands for; 0: there is none. The low two bits must not be 11. */
export function expand(half: number): number {
  switch (half & 3) {
    case 0:
      return expandQuadrant0(half)
    case 1:
      return expandQuadrant1(half)
    case 2:
      return expandQuadrant2(half)
    default:
      throw new RangeError(`0x${half.toString(16)} begins an instruction of 32 bits`)
  }
}
