/**
 * Numbers and names of the control and status registers (Privileged ISA, chapter "CSR Listing"), as assembler writes them.
 * A register without a name here is written as a number.
 */
const NUMBERED: ReadonlyArray<readonly [first: number, names: string]> = [
  [0x001, 'fflags frm fcsr'],
  [0x100, 'sstatus'],
  [0x104, 'sie stvec scounteren'],
  [0x10a, 'senvcfg'],
  [0x140, 'sscratch sepc scause stval sip'],
  [0x14d, 'stimecmp'],
  [0x180, 'satp'],
  [0x300, 'mstatus misa medeleg mideleg mie mtvec mcounteren'],
  [0x30a, 'menvcfg'],
  [0x320, 'mcountinhibit'],
  [0x340, 'mscratch mepc mcause mtval mip'],
  [0x7a0, 'tselect tdata1 tdata2 tdata3'],
  [0xb00, 'mcycle'],
  [0xb02, 'minstret'],
  [0xc00, 'cycle time instret'],
  [0xf11, 'mvendorid marchid mimpid mhartid mconfigptr'],
]

const byNumber = new Map<number, string>()
for (const [first, names] of NUMBERED) for (const [index, name] of names.split(' ').entries()) byNumber.set(first + index, name)
for (let index = 0; index < 16; index++) if (index % 2 === 0) byNumber.set(0x3a0 + index, `pmpcfg${index}`)
for (let index = 0; index < 64; index++) byNumber.set(0x3b0 + index, `pmpaddr${index}`)
for (let index = 3; index < 32; index++) {
  byNumber.set(0x320 + index, `mhpmevent${index}`)
  byNumber.set(0xb00 + index, `mhpmcounter${index}`)
  byNumber.set(0xc00 + index, `hpmcounter${index}`)
}
const byName = new Map([...byNumber].map(([number, name]) => [name, number]))

export function csrName(number: number): string {
  return byNumber.get(number) ?? `0x${number.toString(16)}`
}

/** Undefined: no register has this name. */
export function csrNumber(name: string): number | undefined {
  return byName.get(name)
}
