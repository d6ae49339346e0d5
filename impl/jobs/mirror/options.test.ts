import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FilterDriver } from '../../block/drivers/filter'
import { MemoryDriver } from '../../block/testing'
import { EIO } from '../../co'
import type { MirrorOptions } from './options'
import { chooseBuffer, chooseGranularity } from './options'
import type { MirrorState } from './state'
import { CHUNK, LENGTH, mirrorBench, OverlayDriver, plant } from './testing'

const KIB = 1024

class Clustered extends MemoryDriver {
  clusterBytes = 0
  override info() {
    return { clusterBytes: this.clusterBytes, subclusterBytes: this.clusterBytes }
  }
}
class Through extends FilterDriver {
  readonly name = 'through'
}

test('chunks are as large as the target’s clusters where nobody says otherwise, within bounds', () => {
  const target = new Clustered(LENGTH)
  const { targetNode } = mirrorBench({ target })
  const chosen = (clusterBytes: number, granularityBytes?: number): number => {
    target.clusterBytes = clusterBytes
    return chooseGranularity({ target: targetNode, granularityBytes } as MirrorOptions)
  }
  assert.equal(
    [0, 512, 4 * KIB, 8 * KIB, 64 * KIB, 1024 * KIB].map((bytes) => chosen(bytes)),
    [64 * KIB, 4 * KIB, 4 * KIB, 8 * KIB, 64 * KIB, 64 * KIB],
  )
  assert.is(chosen(8 * KIB, 512), 512)
  assert.is(chosen(8 * KIB, 0), 8 * KIB)
})

test('the buffer has whole chunks, and room for what is copied at once', () => {
  const buffer = (bufferBytes: number | undefined, chunkBytes: number, unitBytes: number): number =>
    chooseBuffer({ bufferBytes } as MirrorOptions, chunkBytes, unitBytes)
  assert.is(buffer(undefined, 4 * KIB, 4 * KIB), 16 * 1024 * KIB)
  assert.is(buffer(0, 4 * KIB, 4 * KIB), 16 * 1024 * KIB)
  assert.is(buffer(5 * KIB, 4 * KIB, 4 * KIB), 8 * KIB)
  assert.is(buffer(8 * KIB, 4 * KIB, 4 * KIB), 8 * KIB)
  assert.is(buffer(1, 4 * KIB, 64 * KIB), 64 * KIB)
})

test('a copy at once is a sixteenth of the buffer, within bounds, in whole units', () => {
  const MIB = 1024 * KIB
  const copyMax = (bufferBytes: number, clusterBytes = 0): [number, number, number] => {
    const target = new Clustered(LENGTH)
    target.clusterBytes = clusterBytes
    const bench = mirrorBench({ target })
    const job = bench.start({ bufferBytes, ...(clusterBytes === 0 ? {} : { targetHasDetachedBacking: true }) })
    const { copyMaxBytes, unitBytes, filledBytes } = job.view as MirrorState
    return [copyMaxBytes, unitBytes, filledBytes]
  }
  assert.equal(
    [CHUNK, MIB, 16 * MIB, 64 * MIB, 64 * MIB + CHUNK, 2048 * MIB].map((bytes) => copyMax(bytes)[0]),
    [CHUNK, MIB, MIB, 4 * MIB, 4 * MIB, 64 * MIB],
  )
  assert.equal(copyMax(100 * KIB, 64 * KIB), [64 * KIB, 64 * KIB, 1], 'clusters are copied whole')
  assert.equal(copyMax(100 * KIB, CHUNK), [100 * KIB, CHUNK, CHUNK], 'a chunk is a cluster')
  assert.equal(copyMax(100 * KIB, 512), [100 * KIB, CHUNK, 512])
})

test('granularities from 512 bytes to 64 MiB are taken, and powers of two alone', () => {
  const start = (granularityBytes: number): string => {
    try {
      mirrorBench().start({ granularityBytes })
      return 'started'
    } catch (error) {
      return (error as Error).message
    }
  }
  const range = "Parameter 'granularity' expects a value in range [512B, 64MB]"
  assert.equal([256, 512, 64 * 1024 * KIB, 128 * 1024 * KIB].map(start), [range, 'started', 'started', range])
  assert.is(start(513), "Parameter 'granularity' expects a power of 2")
})

test('a filter on top of what the source shows is no target, nor what a filter shows that is the source', () => {
  const base = new MemoryDriver(LENGTH)
  const bench = mirrorBench({ source: new OverlayDriver(LENGTH), base })
  const over = (name: string, node: string) =>
    bench.graph.addNode({
      name,
      driver: new Through(),
      children: [{ name: 'file', role: 'filtered', node: bench.graph.nodes.get(node)! }],
      options: { discard: 'unmap' },
    })
  const onBase = over('on-base', 'base')
  const onTarget = over('on-target', 'tgt')
  assert.throws(() => bench.start({ target: onBase }), /Cannot mirror to a filter on top of a node in the source's backing chain/)
  const onSource = over('on-source', 'src')
  assert.throws(() => bench.start({ source: onSource, target: bench.sourceNode }), /Can't mirror node into itself/)
  bench.graph.nodes.get('on-source')!.isImplicit = true
  const job = bench.start({ source: onSource, target: onTarget })
  bench.complete(job)
  assert.is(job.errorText, null)
})

test('what is replaced must show what the source shows, and be in nobody’s use', () => {
  const bench = mirrorBench()
  bench.graph.addNode({ name: 'other', driver: new MemoryDriver(2 * LENGTH) })
  // Whether it can be replaced at all is asked before its length, as QEMU does.
  assert.throws(() => bench.start({ replaces: 'other' }), /^Cannot replace 'other' by a node mirrored from/)
  bench.graph.nodes.get('other')!.blockers.add({ reason: 'it is busy', allows: new Set() })
  assert.throws(() => bench.start({ replaces: 'other' }), /^Node 'other' is busy: it is busy$/)
})

test('a target that does not say what it holds, or a source that does not, ends the job', () => {
  for (const side of ['source', 'target'] as const) {
    const bench = mirrorBench({ source: new OverlayDriver(LENGTH), base: new MemoryDriver(LENGTH) })
    plant(bench.source, 0, CHUNK, 1)
    bench[side].fail = ({ kind }) => (kind === 'status' ? EIO : 0)
    const job = bench.start({ sync: 'top' })
    bench.clock.run()
    assert.is(job.errorText, 'Input/output error', side)
    assert.is(bench.target.requests('write').length, 0)
  }
})

test('a scan ends when the job is cancelled, and stands still when it is to', () => {
  const scanning = () => {
    const bench = mirrorBench({ source: new OverlayDriver(LENGTH), base: new MemoryDriver(LENGTH) })
    for (let chunk = 0; chunk < LENGTH / CHUNK; chunk += 2) plant(bench.source, chunk * CHUNK, CHUNK, 1)
    bench.source.latencyNs = 1000
    return bench
  }
  for (const verb of ['cancel', 'pause'] as const) {
    const bench = scanning()
    const job = bench.start({ sync: 'top' })
    bench.clock.run(bench.clock.nowNs() + 2500)
    if (verb === 'cancel') job.cancel(true)
    else job.pause()
    bench.clock.run()
    assert.ok(bench.source.requests('status').length < 6, verb)
    assert.is(job.status, verb === 'cancel' ? 'null' : 'paused')
    if (verb === 'cancel') continue
    job.resume()
    bench.clock.run()
    assert.is(job.status, 'ready')
    assert.is(bench.target.requests('write').length, LENGTH / CHUNK / 2)
  }
})

test.run()
