/**
 * What a hart remembers: registers, privilege, the control and status registers, and the exception that is being raised.
 * Nothing here fails. 64-bit values are pairs of 32-bit halves; x[2 * i] is the low half of register i. The pair behind x31
 * takes what instructions write to x0.
 *
 * Time: `count` is virtual time in instructions: retired ones, those that trapped, and those that passed while waiting.
 * `minstret` counts the first kind alone.
 */
export const enum Privilege {
  User = 0,
  Supervisor = 1,
  Machine = 3,
}

/** Numbers of exceptions in mcause (Privileged ISA, table "mcause values after trap"). */
export const Cause = {
  fetchAccess: 1,
  illegal: 2,
  breakpoint: 3,
  loadMisaligned: 4,
  loadAccess: 5,
  storeMisaligned: 6,
  storeAccess: 7,
  userCall: 8,
  fetchPage: 12,
  loadPage: 13,
  storePage: 15,
} as const

/** Bits of mstatus (its low half; the high half holds constants and SD). */
export const Status = {
  SIE: 1 << 1,
  MIE: 1 << 3,
  SPIE: 1 << 5,
  MPIE: 1 << 7,
  SPP: 1 << 8,
  MPP: 3 << 11,
  FS: 3 << 13,
  MPRV: 1 << 17,
  SUM: 1 << 18,
  MXR: 1 << 19,
  TVM: 1 << 20,
  TW: 1 << 21,
  TSR: 1 << 22,
} as const
export const MPP_SHIFT = 11

/** Bits of mip and mie. */
export const Interrupt = { SSI: 1 << 1, MSI: 1 << 3, STI: 1 << 5, MTI: 1 << 7, SEI: 1 << 9, MEI: 1 << 11 } as const

/** What an instruction's execution leaves the interpreter to do. */
export const NEXT = 0
/** The exception in `trapCause` is to be taken. */
export const TRAP = 1
/** Done, but interrupts, translation or time may have changed: look before the next instruction. */
export const SYNC = 2
/** Done, and `pcLow`, `pcHigh` say where to go on. */
export const JUMP = 3

/** Where the pair behind x31 is. */
export const SINK = 64
export const PMP_ENTRIES = 16

/** A 64-bit control register that keeps what is written. */
export class Pair {
  low = 0
  high = 0
  set(low: number, high: number): void {
    this.low = low
    this.high = high
  }
}

export class HartState {
  readonly x = new Int32Array(66)
  readonly f = new Int32Array(64)
  pcLow = 0
  pcHigh = 0
  privilege: number = Privilege.Machine

  count = 0
  trapped = 0
  idled = 0
  /** What is added to make mcycle and minstret, which a guest may write: pairs. */
  readonly cycleOffset = new Pair()
  readonly instretOffset = new Pair()

  mstatus = 0
  medeleg = 0
  mideleg = 0
  mie = 0
  /** Lines of devices. */
  lines = 0
  /** Bits of mip that software set. */
  softwarePending = 0
  /** The timer of S mode (Sstc) has run out. */
  hasTimerFired = false
  mcounteren = 0
  scounteren = 0
  menvcfgLow = 0
  isStimecmpEnabled = false
  senvcfg = 0
  readonly mtvec = new Pair()
  readonly stvec = new Pair()
  readonly mepc = new Pair()
  readonly sepc = new Pair()
  readonly mcause = new Pair()
  readonly scause = new Pair()
  readonly mtval = new Pair()
  readonly stval = new Pair()
  readonly mscratch = new Pair()
  readonly sscratch = new Pair()
  readonly stimecmp = new Pair()
  readonly satp = new Pair()
  readonly pmpConfig = new Uint8Array(PMP_ENTRIES)
  /** Bits 55 to 2 of addresses, of which 51 bits are kept. */
  readonly pmpAddress = new Float64Array(PMP_ENTRIES)
  frm = 0
  fflags = 0

  /** The exception being raised; its trap value. */
  trapCause = -1
  trapLow = 0
  trapHigh = 0
  /** Place in RAM of the reservation set; -1: none. */
  reservation = -1
  isWaiting = false

  constructor(
    readonly hartId: number,
    readonly hasFloat: boolean,
  ) {}

  raise(cause: number, low: number, high: number): typeof TRAP {
    this.trapCause = cause
    this.trapLow = low
    this.trapHigh = high
    return TRAP
  }

  /** mip as it is read. */
  pending(): number {
    const timer = this.isStimecmpEnabled ? (this.hasTimerFired ? Interrupt.STI : 0) : this.softwarePending & Interrupt.STI
    return this.lines | (this.softwarePending & ~Interrupt.STI) | timer
  }

  /** Puts the hart in the state after reset (Privileged ISA, "Reset"), with the program counter at an address. */
  reset(pc: number): void {
    this.pcLow = pc | 0
    this.pcHigh = Math.floor(pc / 0x1_0000_0000) | 0
    this.privilege = Privilege.Machine
    this.mstatus &= ~(Status.MIE | Status.MPRV)
    this.mcause.set(0, 0)
    this.satp.set(0, 0)
    this.pmpConfig.fill(0)
    this.reservation = -1
    this.isWaiting = false
  }
}
