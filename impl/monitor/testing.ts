/** For tests only: an environment over files in memory, and conversations with its monitor. */

import { createHash } from 'node:crypto'
import { type BlockdevBench, blockdevBench } from '../blockdev/testing'
import type { Co } from '../co'
import { makeLabel } from '../co'
import { streamPair } from '../co/stream_pair'
import { QMP_MODULES } from '../qapi'
import { DAEMON_COMMANDS } from './commands'
import { Dispatcher } from './dispatcher'
import { QmpEnvironment } from './environment'
import { QmpSession } from './session'
import { endActivity } from './shutdown'

export interface MonitorBench extends BlockdevBench {
  environment: QmpEnvironment
  dispatcher: Dispatcher
  said: string[]
}

export function monitorBench(): MonitorBench {
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
  const dispatcher = new Dispatcher(bench.kernel, environment, QMP_MODULES, DAEMON_COMMANDS)
  return { ...bench, environment, dispatcher, said }
}

function* refuse(): Co<never> {
  throw new Error('no sockets here')
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
