import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, Permission } from '../../block'
import { type Co, EIO, ENOSPC, ENOTSUP, type Errno, OK } from '../../co'
import { type ChainBench, chainBench, KIB } from '../testing'
import { commitDown, copyDown } from './index'

const LENGTH = 64 * KIB
const MIB = 2 ** 20

/** The upper layer holds data at 0, zeroes at 12 KiB and nothing else; the lower one is full. */
function bench(lengths: [number, number] = [LENGTH, LENGTH], readOnly = true): ChainBench {
  const chain = chainBench({ lengths, nodes: { readOnly: false } })
  chain.layers[0]!.plant(0, 4 * KIB, 0xaa).plantZeroes(12 * KIB, 2 * KIB)
  chain.layers[1]!.plant(0, lengths[1], 0xcc)
  chain.nodes[1]!.options.readOnly = readOnly
  // Something to flush.
  assert.is(chain.run(chain.device.pwrite(0, new Uint8Array(512).fill(0xab))), OK)
  return chain
}
function ranges(chain: ChainBench, kind: 'write' | 'zero'): Array<[number, number]> {
  return chain.layers[1]!.requests(kind).map(({ offsetBytes, lengthBytes }) => [offsetBytes, lengthBytes])
}
/** Makes the layer's `makeEmpty` answer so, and counts its calls. */
function answerEmptying(chain: ChainBench, errno: Errno): { calls: number } {
  const counter = { calls: 0 }
  chain.layers[0]!.makeEmpty = function* (): Co<Errno> {
    counter.calls++
    return errno
  }
  return counter
}

test('what a layer holds is written to the one below, and the layer is emptied', () => {
  for (const readOnly of [true, false]) {
    const chain = bench([LENGTH, LENGTH], readOnly)
    const before = chain.read()
    const emptied = answerEmptying(chain, OK)
    assert.is(chain.run(commitDown(chain.graph, chain.nodes[0]!)), OK)
    assert.equal(chain.layers[1]!.data, before)
    assert.is(chain.clock.nowNs(), 0, 'as fast as it goes')
    assert.equal(ranges(chain, 'write'), [[0, 4 * KIB]])
    assert.equal(ranges(chain, 'zero'), [[12 * KIB, 2 * KIB]])
    assert.is(chain.layers[1]!.requests('write')[0]!.flags, 0)
    assert.is(emptied.calls, 1)
    assert.equal([chain.layers[0]!.requests('flush').length, chain.layers[1]!.requests('flush').length], [1, 1])
    assert.is(chain.nodes[1]!.options.readOnly, readOnly, 'as it was')
    assert.equal(
      chain.nodes.map((node) => node.parents.size),
      [1, 1],
      'nobody holds the layers any more',
    )
    assert.is(chain.graph.backends.size, 1)
  }
})

test('a layer that cannot be emptied stays as it is; another error of that is one', () => {
  for (const [errno, expected] of [
    [ENOTSUP, OK],
    [EIO, EIO],
  ] as const) {
    const chain = bench()
    answerEmptying(chain, errno)
    assert.is(chain.run(commitDown(chain.graph, chain.nodes[0]!)), expected)
    assert.is(chain.layers[0]!.requests('flush').length, expected === OK ? 1 : 0)
  }
})

test('an image without another one below has nowhere to be committed to', () => {
  const chain = bench()
  assert.is(chain.run(commitDown(chain.graph, chain.nodes[1]!)), ENOTSUP)
})

test('whatever fails on the way ends it, with the lower image read-only again', () => {
  for (const [layer, kind] of [
    [0, 'status'],
    [0, 'read'],
    [0, 'flush'],
    [1, 'write'],
    [1, 'zero'],
    [1, 'flush'],
  ] as const) {
    const chain = bench()
    const emptied = answerEmptying(chain, OK)
    chain.layers[layer]!.fail = (request) => (request.kind === kind ? EIO : OK)
    const what = `${kind} of layer ${layer}`
    assert.is(chain.run(commitDown(chain.graph, chain.nodes[0]!)), EIO, what)
    assert.is(emptied.calls, layer === 0 && kind === 'flush' ? 1 : 0, what)
    assert.is(chain.nodes[1]!.options.readOnly, true, what)
    assert.is(chain.graph.backends.size, 1, what)
  }
})

test('a lower image that is shorter grows, a longer one keeps its length', () => {
  for (const [lowerBytes, expected] of [
    [8 * KIB, [[LENGTH, false, 'off']]],
    [LENGTH, []],
    [2 * LENGTH, []],
  ] as const) {
    const chain = bench([LENGTH, lowerBytes])
    const before = chain.read()
    const lower = chain.layers[1]!
    const calls: unknown[] = []
    const truncate = lower.truncate.bind(lower)
    lower.truncate = (...args: Parameters<typeof truncate>) => {
      calls.push(args)
      return truncate(...args)
    }
    assert.is(chain.run(commitDown(chain.graph, chain.nodes[0]!)), OK)
    assert.equal(calls, expected)
    assert.equal(lower.data.slice(0, LENGTH), before)
  }
  const chain = bench([LENGTH, 8 * KIB])
  chain.layers[1]!.truncate = function* () {
    return ENOSPC
  }
  assert.is(chain.run(commitDown(chain.graph, chain.nodes[0]!)), ENOSPC)
})

/** Copies the upper layer down and tells when each part was done, in seconds and as a share. */
function paced(chain: ChainBench, rateBytesPerSecond: number): Array<[number, number]> {
  const source = new BlockBackend(chain.graph, '')
  source.attach(chain.nodes[0]!, Permission.ConsistentRead, Permission.All)
  const steps: Array<[number, number]> = []
  const onProgress = (fraction: number): unknown => steps.push([chain.clock.nowNs() / 1e9, fraction])
  assert.is(chain.run(copyDown(chain.graph, source, chain.nodes[1]!, { rateBytesPerSecond, onProgress })), OK)
  steps.push([chain.clock.nowNs() / 1e9, -1])
  return steps
}

test('a copy goes in pieces, tells how far it is, and keeps to its rate', () => {
  const make = (): ChainBench => {
    const chain = chainBench({ lengths: [8 * MIB, 8 * MIB], nodes: { readOnly: false } })
    chain.layers[0]!.plant(3 * MIB, 4 * MIB, 0xaa)
    return chain
  }
  const fractions = [0.375, 0.625, 0.875, 1]
  assert.equal(
    paced(make(), MIB),
    [0, 0, 2, 4, 4].map((seconds, index) => [seconds, fractions[index] ?? -1]),
    'what the layer does not hold costs nothing',
  )
  assert.equal(paced(make(), 0).at(-1), [0, -1])
  const slow = make()
  slow.layers[1]!.latencyNs = 3e9
  // Writing takes longer than the rate would: no more waiting.
  assert.equal(
    paced(slow, MIB).map(([seconds]) => seconds),
    [0, 3, 6, 6, 9],
  )
})

test.run()
