/** A hart over a little RAM and one device of registers, for tests: programs as assembler text, registers as BigInt. */
import { assemble, INTEGER_NAMES } from '../isa'
import { Hart, type HartOptions } from './hart'

export const RAM = 0x8000_0000
export const DEVICE = 0x1000_0000

export interface Bench {
  hart: Hart
  ram: Uint8Array
  /** What reached the device: `r4 0` or `w8 10 = 123`, offsets and values in hexadecimal. */
  log: string[]
  /** What the next reads of the device give. */
  answers: bigint[]
  /** Writes words at a physical address of RAM. */
  put(address: number, ...words: number[]): void
  program(address: number, ...lines: string[]): void
  put64(address: number, value: bigint): void
  get64(address: number): bigint
  x(name: string): bigint
  setX(name: string, value: bigint): void
  pc(): bigint
  setPc(value: bigint): void
  /** Executes this many instructions more. */
  run(count: number): boolean
}

export const split = (value: bigint): [low: number, high: number] => [
  Number(BigInt.asIntN(32, value)),
  Number(BigInt.asIntN(32, value >> 32n)),
]
export const join = (low: number, high: number): bigint => BigInt.asUintN(64, (BigInt(high) << 32n) | BigInt(low >>> 0))

const place = (name: string): number => {
  const index = INTEGER_NAMES.indexOf(name)
  if (index < 0) throw new RangeError(`there is no register '${name}'`)
  return index * 2
}

export function bench(options: HartOptions & { ramBytes?: number } = {}): Bench {
  const ram = new Uint8Array(options.ramBytes ?? 0x40000)
  const view = new DataView(ram.buffer)
  const log: string[] = []
  const answers: bigint[] = []
  const hart = new Hart(
    {
      ram: { baseAddress: RAM, bytes: ram },
      read(address, width, cell) {
        if (address < DEVICE || address + width > DEVICE + 0x1000) return false
        log.push(`r${width} ${(address - DEVICE).toString(16)}`)
        const [low, high] = split(answers.shift() ?? 0n)
        cell[0] = low
        cell[1] = high
        return true
      },
      write(address, width, low, high) {
        if (address < DEVICE || address + width > DEVICE + 0x1000) return false
        const value = BigInt.asUintN(width * 8, join(low, high))
        log.push(`w${width} ${(address - DEVICE).toString(16)} = ${value.toString(16)}`)
        return true
      },
    },
    options,
  )
  hart.reset(RAM)
  const self: Bench = {
    hart,
    ram,
    log,
    answers,
    put(address, ...words) {
      for (const [index, word] of words.entries()) view.setInt32(address - RAM + index * 4, word, true)
      hart.ramChanged(address, words.length * 4)
    },
    program: (address, ...lines) => self.put(address, ...lines.map(assemble)),
    put64(address, value) {
      view.setBigUint64(address - RAM, BigInt.asUintN(64, value), true)
      hart.ramChanged(address, 8)
    },
    get64: (address) => view.getBigUint64(address - RAM, true),
    x: (name) => join(hart.x[place(name)]!, hart.x[place(name) + 1]!),
    setX(name, value) {
      ;[hart.x[place(name)], hart.x[place(name) + 1]] = split(value)
    },
    pc: () => join(hart.state.pcLow, hart.state.pcHigh),
    setPc(value) {
      ;[hart.state.pcLow, hart.state.pcHigh] = split(value)
    },
    run: (count) => hart.run(hart.state.count + count),
  }
  return self
}
