/**
 * A run cut into pieces ends as the whole does, with traps and timer interrupts on the way: time is the count of
 * instructions and nothing else.
 */
import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { assemble, INSTRUCTIONS } from '../isa'
import { VirtualClock } from './bus'
import { Status } from './state'
import { type Bench, bench, RAM, split } from './testing'

const HANDLER = RAM + 0x3000
const TOTAL = 700

/** Goes on behind what trapped, and sets the timer anew; it uses tp and gp alone. */
const LINES = [
  'csrrs tp,time,zero',
  'addi tp,tp,23',
  'csrrw zero,stimecmp,tp',
  'csrrs tp,mcause,zero',
  'blt tp,zero,16',
  'csrrs tp,mepc,zero',
  'addi tp,tp,4',
  'csrrw zero,mepc,tp',
  'addi gp,gp,1',
  'mret',
]

function machine(code: readonly number[], registers: readonly bigint[]): Bench {
  const made = bench({ ramBytes: 0x4000, clock: new VirtualClock(3) })
  made.put(RAM, ...code)
  // What the program runs into is a jump to its begin.
  for (let address = RAM + code.length * 4; address < HANDLER; address += 4) made.put(address, assemble('jal zero,0'))
  made.put(RAM + code.length * 4, assemble(`jal zero,${-4 * code.length}`))
  made.program(HANDLER, ...LINES)
  const { state, x } = made.hart
  for (const [index, value] of registers.entries()) if (index > 0) [x[index * 2], x[index * 2 + 1]] = split(value)
  state.mtvec.set(HANDLER | 0, 0)
  state.isStimecmpEnabled = true
  state.stimecmp.set(11, 0)
  state.mie = 1 << 5
  state.mstatus = Status.MIE
  return made
}

function outcome({ hart, ram, pc }: Bench): object {
  const { count, trapped, idled, mstatus, mcause, fflags } = hart.state
  return {
    x: [...hart.x.subarray(2, 64)],
    pc: pc(),
    count,
    trapped,
    idled,
    mstatus,
    mcause: { ...mcause },
    fflags,
    ram: Buffer.from(ram).toString('base64'),
  }
}

const USUAL = INSTRUCTIONS.filter(({ extension, mnemonic }) => /^(I|M|A|Zb.)$/.test(extension) || mnemonic === 'wfi')
const word = fc
  .tuple(fc.constantFrom(...USUAL), fc.integer())
  .map(([entry, random]) => entry.match | (random & ~entry.mask & ~entry.ignored))
const value = fc.oneof(
  fc.integer({ min: 0, max: 0x2fff }).map((offset) => BigInt(RAM + offset)),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
)

test('a run in pieces of any size is the whole run', () => {
  let trapped = 0
  fc.assert(
    fc.property(
      fc.array(word, { minLength: 4, maxLength: 40 }),
      fc.array(value, { minLength: 32, maxLength: 32 }),
      fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 8 }),
      (code, registers, pieces) => {
        const whole = machine(code, registers)
        whole.hart.run(TOTAL)
        const parts = machine(code, registers)
        for (let turn = 0; parts.hart.count < TOTAL; turn++) {
          parts.hart.run(Math.min(TOTAL, parts.hart.count + pieces[turn % pieces.length]!))
        }
        assert.is(whole.hart.count, TOTAL)
        trapped += whole.hart.state.trapped
        assert.equal(outcome(parts), outcome(whole))
      },
    ),
    { numRuns: 120, seed: 9 },
  )
  assert.ok(trapped > 500, `${trapped} instructions trapped`)
})

test.run()
