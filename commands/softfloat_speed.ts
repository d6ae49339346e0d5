/** What a floating-point operation costs on ordinary operands, in CPU time, with the host's help and without. */

import { flags, INEXACT } from '../impl/machine/softfloat'
import type { Format } from '../impl/machine/softfloat/testing'
import { OperandSource } from '../impl/machine/softfloat/testing_operands'
import { nextOperands, type Operation } from '../impl/machine/softfloat/testing_operations'

const CASES = 1024
const ROUNDS = 200

export interface SpeedRow {
  operation: string
  /** No exception is raised before: integers do the work. */
  integerNs: number
  /** NX is raised already. */
  hostNs: number
}

/** Numbers in [1, 2) of either sign, as most of a program's are alike in size; integers of any size. */
function ordinary(operation: Operation, source: OperandSource): number[] {
  return nextOperands(operation, source).flatMap((operand, at) => {
    const type = operation.operands[at]!
    const bits = typeof type === 'object' ? normal(type, source) : operand
    return [Number(BigInt.asIntN(32, bits)), Number(BigInt.asIntN(32, bits >> 32n))]
  })
}

function normal(format: Format, source: OperandSource): bigint {
  const digits = BigInt(format.precision - 1)
  return (BigInt(format.exponentMax + source.below(3)) << digits) | source.bits(format.precision - 1)
}

function nsOf(operation: Operation, cases: number[][], before: number): number {
  let best = Infinity
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.cpuUsage()
    for (const words of cases) {
      flags[0] = before
      operation.run(words, 0)
    }
    const { user, system } = process.cpuUsage(start)
    best = Math.min(best, ((user + system) * 1000) / cases.length)
  }
  return Math.round(best * 10) / 10
}

export function speedOf(operation: Operation, seed: number): SpeedRow {
  const source = new OperandSource(seed)
  const cases = Array.from({ length: CASES }, () => ordinary(operation, source))
  return { operation: operation.name, integerNs: nsOf(operation, cases, 0), hostNs: nsOf(operation, cases, INEXACT) }
}

export function speedText(rows: SpeedRow[]): string {
  const lines = rows.map(
    ({ operation, integerNs, hostNs }) =>
      `${operation.padEnd(12)}${String(integerNs).padStart(10)}${String(hostNs).padStart(10)}`,
  )
  return ['ns an operation   by integers  NX raised', ...lines, ''].join('\n')
}
