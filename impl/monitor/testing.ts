/** For tests only: an environment over files in memory, and conversations with its monitor. */

import { createHash } from 'node:crypto'
import { type BlockdevBench, blockdevBench } from '../blockdev/testing'
import { assert, type Co, makeLabel, SteppedClock } from '../co'
import { streamPair } from '../co/stream_pair'
import { QMP_MODULES } from '../qapi'
import type { CommandTable } from './command'
import { DAEMON_COMMANDS, SYSTEM_COMMANDS } from './commands'
import { Dispatcher } from './dispatcher'
import { QmpEnvironment } from './environment'
import { Machine } from './machine/machine'
import { findMachineType } from './machine/machine_types'
import { QmpSession } from './session'
import { endActivity } from './shutdown'

export interface MonitorBench extends BlockdevBench {
  environment: QmpEnvironment
  dispatcher: Dispatcher
  said: string[]
}

export function monitorBench(commands: CommandTable = DAEMON_COMMANDS): MonitorBench {
  const bench = blockdevBench()
  const said: string[] = []
  const environment: QmpEnvironment = new QmpEnvironment({
    context: bench.context,
    streams: { connect: refuse, listen: refuse },
    version: { major: 11, minor: 0, micro: 0, package: 'test' },
    realTimeUs: () => Math.floor(bench.kernel.nowNs() / 1000),
    *quit(): Co<void> {
      yield* endActivity(environment)
    },
    say: (text) => said.push(text),
    readFile: refuse,
    sha256: (bytes) => createHash('sha256').update(bytes).digest('hex'),
    makeCredentials: () => {
      throw new Error('no credentials here')
    },
  })
  const dispatcher = new Dispatcher(bench.kernel, environment, QMP_MODULES, commands)
  return { ...bench, environment, dispatcher, said }
}

function* refuse(): Co<never> {
  throw new Error('no sockets here')
}

export interface MachineBench extends MonitorBench {
  machine: Machine
  /** That of the machine. */
  stepped: SteppedClock
}

/** The same with a machine, as the system program has it. `machineType` is one of x86_64. */
export function machineBench(machineType = 'pc'): MachineBench {
  const bench = monitorBench(SYSTEM_COMMANDS)
  const type = findMachineType('x86_64', machineType)
  assert(type !== null, 'bench-machine')
  const clock = new SteppedClock(bench.kernel)
  bench.context.throttleGroups.clock = clock
  const machine = new Machine(bench.environment, { architecture: 'x86_64', type, clock, isStepped: true })
  machine.isBuilt = true
  return { ...bench, machine, stepped: clock }
}

/** Answers to `requests` without events, the greeting and the first answer. */
export function answersOf(bench: MonitorBench, ...requests: string[]): Array<Record<string, unknown>> {
  return toldBy(bench, ...requests).filter((message) => !('event' in message))
}
/** The same with events. */
export function toldBy(bench: MonitorBench, ...requests: string[]): Array<Record<string, unknown>> {
  const text = converse(bench, ['{"execute":"qmp_capabilities"}', ...requests].join('\n'))
  const messages = text.split('\r\n').filter((line) => line !== '')
  return messages.slice(2).map((line) => JSON.parse(line) as Record<string, unknown>)
}
export const request = (execute: string, args: unknown = {}): string => JSON.stringify({ execute, arguments: args })
export function refusalsOf(bench: MonitorBench, ...requests: string[]): unknown[] {
  return answersOf(bench, ...requests).map(({ error }) => (error as { desc: string } | undefined)?.desc)
}

/** What a client reads that sends all of `input` and then nothing more. */
export function converse(bench: MonitorBench, input: Uint8Array | string, isPretty = false): string {
  const bytes = typeof input === 'string' ? new TextEncoder().encode(input) : input
  const { near: client, far: server } = streamPair(bench.kernel, 'test')
  const session = new QmpSession({ dispatcher: bench.dispatcher, stream: server, isPretty })
  const received: Uint8Array[] = []
  function* talk(): Co<string> {
    bench.kernel.spawn(session.run(), makeLabel('session'))
    bench.kernel.spawn(send(), makeLabel('client'))
    const buffer = new Uint8Array(4096)
    for (;;) {
      const count = yield* client.read(buffer)
      if (count <= 0) break
      received.push(buffer.slice(0, count))
    }
    return Buffer.concat(received).toString()
  }
  function* send(): Co<void> {
    if (bytes.length > 0) yield* client.write(bytes)
    yield* client.endWrite()
  }
  return bench.run(talk())
}
