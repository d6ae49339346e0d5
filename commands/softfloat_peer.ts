/**
 * The instructions themselves as qemu-riscv64 runs them: a small C program reads cases and writes each result with its flags.
 * Throws a UsageError where a program that it needs is absent, and an Error where one fails.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import type { Expected } from '../impl/machine/softfloat/testing'
import type { Case, Operation } from '../impl/machine/softfloat/testing_operations'
import { UsageError } from './cli'
import { makeScratch, removeScratch } from './interrupt'

const COMPILER = 'riscv64-linux-gnu-gcc'
const EMULATOR = 'qemu-riscv64'
/** Words of 64 bits: a case has operation, mode and three operands; an answer has bits and flags. */
const CASE_WORDS = 5
const ANSWER_WORDS = 2

/** Whether the instruction's operands, and whether its result, are floating-point registers, by mnemonic. */
function isFloatResult(name: string): boolean {
  return !/^f(eq|lt|le|class)\.|^fcvt\.[wl]u?\./.test(name)
}

/** One instruction as the body of a case; f32 are boxed and unboxed by moves of words. */
function bodyOf({ name, operands }: Operation): string {
  const places = operands.map((type, at) => {
    if (typeof type !== 'object') return type === 'i32' ? `(long)(int)c[${at + 2}]` : `c[${at + 2}]`
    return `c[${at + 2}]`
  })
  const loads = operands.map((type, at) =>
    typeof type === 'object' ? `fmv.${type.widthBits === 32 ? 'w' : 'd'}.x ft${at}, %${at + 1}\\n` : '',
  )
  const sources = operands.map((type, at) => (typeof type === 'object' ? `ft${at}` : `%${at + 1}`))
  const isF32 = /^f[a-z]+\.s$|^fcvt\.s\./.test(name)
  const target = isFloatResult(name) ? 'ft4' : '%0'
  const store = isFloatResult(name) ? `fmv.x.${isF32 ? 'w' : 'd'} %0, ft4\\n` : ''
  const assembly = `${loads.join('')}${name} ${[target, ...sources].join(', ')}\\n${store}`
  const inputs = places.map((place) => `"r"(${place})`).join(', ')
  const value = isFloatResult(name) && isF32 ? '(unsigned int)r' : 'r'
  return `__asm__ volatile("${assembly}" : "=&r"(r) : ${inputs} : "ft0", "ft1", "ft2", "ft4"); r = ${value};`
}

function programOf(operations: Operation[]): string {
  const cases = operations.map((operation, at) => `    case ${at}: ${bodyOf(operation)} break;`)
  return `#include <stdio.h>
int main(void) {
  unsigned long c[${CASE_WORDS}], a[${ANSWER_WORDS}];
  while (fread(c, sizeof c, 1, stdin) == 1) {
    unsigned long r = 0;
    __asm__ volatile("fsrm %0\\nfsflags zero" : : "r"(c[1]) : "memory");
    switch (c[0]) {
${cases.join('\n')}
    default: return 1;
    }
    a[0] = r;
    __asm__ volatile("frflags %0" : "=r"(a[1]) : : "memory");
    if (fwrite(a, sizeof a, 1, stdout) != 1) return 1;
  }
  return 0;
}
`
}

export class SoftfloatPeer {
  private constructor(
    private readonly folder: string,
    private readonly program: string,
    private readonly operations: Operation[],
  ) {}

  static build(operations: Operation[]): SoftfloatPeer {
    for (const program of [COMPILER, EMULATOR]) {
      const { error } = spawnSync(program, ['--version'], { stdio: 'ignore' })
      if (error !== undefined) throw new UsageError(`--peer needs ${program}, which cannot be run here`)
    }
    const folder = makeScratch(os.tmpdir(), 'softfloat-')
    const source = path.join(folder, 'peer.c')
    const program = path.join(folder, 'peer')
    fs.writeFileSync(source, programOf(operations))
    execFileSync(COMPILER, ['-O1', '-static', '-march=rv64gc', '-o', program, source], { stdio: ['ignore', 'ignore', 'inherit'] })
    return new SoftfloatPeer(folder, program, operations)
  }

  answers(operation: Operation, cases: Case[]): Expected[] {
    const words = new BigUint64Array(cases.length * CASE_WORDS)
    for (const [at, { operands, mode }] of cases.entries()) {
      words.set([BigInt(this.operations.indexOf(operation)), BigInt(mode), ...operands], at * CASE_WORDS)
    }
    const input = Buffer.from(words.buffer)
    const output = execFileSync(EMULATOR, [this.program], { input, maxBuffer: input.length })
    const answers = new BigUint64Array(Uint8Array.from(output).buffer)
    if (answers.length !== cases.length * ANSWER_WORDS) throw new Error(`${EMULATOR} answered ${answers.length} words`)
    return cases.map((_, at) => ({ bits: answers[at * ANSWER_WORDS]!, flags: Number(answers[at * ANSWER_WORDS + 1]!) }))
  }

  remove(): void {
    removeScratch(this.folder)
  }
}
