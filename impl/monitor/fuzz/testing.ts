/**
 * For tests and long runs only: conversations of QMP that go wrong. Commands that are right are left out, repeated and put in
 * another order, their values are exchanged for others of any type, and their text is changed in its bytes; all of it is sent
 * to a monitor in pieces of any length.
 *
 * One number makes one case. What a case checks: nothing throws, nobody hangs, each line that comes is one message of the
 * protocol, there are no more answers than the text may hold requests, and the next client is served as if nothing had been.
 */
import { type Co, makeLabel, streamPair } from '../../co'
import { Dice } from '../../nbd/fuzz/testing'
import { QmpSession } from '../session'
import { answersOf, type MonitorBench, monitorBench, request } from '../testing'

const LABEL = makeLabel('fuzz')
const INPUT_MAX_BYTES = 64 * 1024

const VALUES: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1e300,
  2 ** 63,
  '',
  'n',
  'x'.repeat(5000),
  '\u0000',
  '\ud800',
  [],
  [[[[]]]],
  {},
  { driver: 'null-co' },
]
const node = (name: string): object => ({ driver: 'null-co', 'node-name': name, size: 65536 })
const COMMANDS: ReadonlyArray<readonly [string, object]> = [
  ['qmp_capabilities', {}],
  ['query-jobs', {}],
  ['query-named-block-nodes', { flat: true }],
  ['query-block-jobs', {}],
  ['query-commands', {}],
  ['blockdev-add', node('n')],
  ['blockdev-add', node('t')],
  ['blockdev-del', { 'node-name': 'n' }],
  ['blockdev-mirror', { 'job-id': 'j', device: 'n', target: 't', sync: 'full' }],
  ['job-cancel', { id: 'j' }],
  ['block-job-set-speed', { device: 'j', speed: 1 }],
  ['block-dirty-bitmap-add', { node: 'n', name: 'b' }],
  ['transaction', { actions: [{ type: 'block-dirty-bitmap-clear', data: { node: 'n', name: 'b' } }] }],
  ['object-add', { 'qom-type': 'throttle-group', id: 'g' }],
  ['block_resize', { 'node-name': 'n', size: 4096 }],
  ['x-debug-query-block-graph', {}],
]

/** One value somewhere in it is another one. */
function changed(dice: Dice, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || dice.below(4) === 0) return dice.pick(VALUES)
  if (Array.isArray(value)) return value.map((item) => (dice.below(2) === 0 ? changed(dice, item) : item))
  const entries = Object.entries(value).filter(() => dice.below(8) !== 0)
  if (dice.below(5) === 0) entries.push([dice.pick(['more', 'driver', 'id', '']), dice.pick(VALUES)])
  return Object.fromEntries(entries.map(([name, item]) => [name, dice.below(3) === 0 ? changed(dice, item) : item]))
}

function message(dice: Dice): string {
  const [execute, args] = dice.pick(COMMANDS)
  const whole: object = { execute, arguments: args, id: dice.below(100) }
  return JSON.stringify(dice.below(3) === 0 ? changed(dice, whole) : whole)
}

function spoil(dice: Dice, text: Buffer): Buffer {
  const at = dice.below(Math.max(1, text.length))
  switch (dice.below(6)) {
    case 0:
      text[at]! ^= 1 << dice.below(8)
      return text
    case 1:
      return text.subarray(0, at)
    case 2:
      return Buffer.concat([text.subarray(0, at), Buffer.from(Array.from({ length: dice.below(40) }, () => dice.below(256)))])
    case 3:
      return Buffer.concat([
        text.subarray(0, at),
        Buffer.from(dice.pick('{}[]":,\\\'%\n\xff'.split('')).repeat(dice.below(3000))),
      ])
    case 4:
      return Buffer.concat([text, text])
    default:
      return Buffer.concat([text.subarray(0, at), text.subarray(Math.min(text.length, at + 1 + dice.below(8)))])
  }
}

/** What is sent in one case. */
function spoiltText(dice: Dice): Buffer {
  const parts: Buffer[] = [Buffer.from(dice.below(5) === 0 ? '' : '{"execute":"qmp_capabilities"}\n')]
  for (let count = dice.below(15); count > 0; count--) {
    const text = Buffer.from(`${message(dice)}\n`)
    parts.push(dice.below(3) === 0 ? spoil(dice, text) : text)
  }
  return Buffer.concat(parts).subarray(0, INPUT_MAX_BYTES)
}

/** Throws an Error for what a monitor may not do. */
export function fuzzMonitor(seed: number): void {
  const dice = new Dice(seed)
  const bench = monitorBench()
  const input = spoiltText(dice)
  const { near, far } = streamPair(bench.kernel, 'fuzz', { pieceBytes: (_direction, bytes) => 1 + dice.below(bytes) })
  const session = new QmpSession({ dispatcher: bench.dispatcher, stream: far })
  let output = ''
  function* talk(): Co<void> {
    bench.kernel.spawn(session.run(), LABEL)
    bench.kernel.spawn(send(), LABEL)
    const buffer = new Uint8Array(4096)
    for (let count = yield* near.read(buffer); count > 0; count = yield* near.read(buffer))
      output += Buffer.from(buffer.subarray(0, count)).toString('latin1')
  }
  function* send(): Co<void> {
    yield* near.write(input)
    yield* near.endWrite()
  }
  bench.run(talk())
  checkOutput(output, input)
  checkNext(bench)
}

/** Each answer stands for something in the input: no token is shorter than a byte. */
export function checkOutput(output: string, input: Uint8Array): void {
  const lines = output.split('\r\n')
  if (lines.pop() !== '') throw new Error(`the last line is not whole: ${output.slice(-80)}`)
  let answers = 0
  for (const line of lines) {
    const { QMP, event, return: value, error } = JSON.parse(line) as Record<string, unknown>
    const kinds = [QMP, event, value, error].filter((member) => member !== undefined)
    if (kinds.length !== 1) throw new Error(`no message of QMP: ${line.slice(0, 80)}`)
    if (value !== undefined || error !== undefined) answers++
  }
  if (answers > input.length) throw new Error(`${answers} answers to ${input.length} bytes`)
}

function checkNext(bench: MonitorBench): void {
  const [answer] = answersOf(bench, request('query-version'))
  if (answer === undefined || !('return' in answer)) throw new Error(`the next client is answered ${JSON.stringify(answer)}`)
}
