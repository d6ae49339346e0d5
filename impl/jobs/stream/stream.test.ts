import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, BlockError, Permission } from '../../block'
import { EIO, ENOSPC } from '../../co'
import { type ChainBench, chainBench, KIB } from '../testing'
import { type StreamOptions, startStream } from './index'

const LENGTH = 64 * KIB

function bench(lengths: number[] = [LENGTH, LENGTH, LENGTH]): ChainBench {
  const chain = chainBench({ lengths })
  const [top, mid, base] = chain.layers
  top!.plant(0, 4 * KIB, 0xaa)
  mid!.plant(2 * KIB, 6 * KIB, 0xbb).plantZeroes(12 * KIB, 2 * KIB)
  base!.plant(0, 16 * KIB, 0xcc)
  return chain
}

function wanted(chain: ChainBench, options: Partial<StreamOptions> = {}): StreamOptions {
  return {
    jobId: 'j',
    device: chain.nodes[0]!,
    speedBytesPerSecond: 0,
    onError: 'report',
    autoFinalize: true,
    autoDismiss: true,
    ...options,
  }
}

function start(chain: ChainBench, options: Partial<StreamOptions> = {}) {
  return chain.begin(startStream(chain.graph, chain.jobs, wanted(chain, options)))
}

const layersOf = (chain: ChainBench): string[] => {
  const names = []
  for (let node = chain.device.root?.node ?? null; node !== null; node = node.below()) names.push(node.name)
  return names
}

test('the whole chain comes into the image, which stands alone afterwards', () => {
  const chain = bench()
  const before = chain.read()
  for (const layer of chain.layers) layer.latencyNs = 1000
  const job = start(chain)
  assert.is(job.type, 'stream')
  assert.equal(layersOf(chain), ['#block000', 'top', 'mid0', 'base'])
  chain.clock.run()
  assert.equal(chain.story(), ['created', 'running', 'waiting', 'pending', 'BLOCK_JOB_COMPLETED', 'concluded', 'null'])
  const end = chain.events.find(({ event }) => event === 'BLOCK_JOB_COMPLETED')!
  assert.equal(end.data, { type: 'stream', device: 'j', len: LENGTH, offset: LENGTH, speed: 0 })
  assert.equal(layersOf(chain), ['top'])
  assert.equal(chain.read(), before)
  assert.equal(chain.layers[0]!.backing, [null, null])
  assert.is(chain.graph.nodes.size, 3)
  for (const node of chain.nodes) {
    assert.is(node.blockers.size, 0)
    if (node.backing !== null) assert.not(node.backing.isFrozen)
  }
  // What the layers do not hold is not copied, and a hole stays one.
  assert.is(chain.layers[0]!.allocated[20 * 2], 0)
  assert.equal(
    chain.layers[0]!.requests('zero').map(({ offsetBytes, lengthBytes }) => [offsetBytes, lengthBytes]),
    [[12 * KIB, 2 * KIB]],
  )
  assert.ok(chain.layers[0]!.requests('flush').length > 0, 'on the medium before the header forgets the layers')
})

test('a base stays below, and the header gets its name', () => {
  for (const how of ['base', 'bottom', 'named'] as const) {
    const chain = bench()
    const before = chain.read()
    const [, mid, base] = chain.nodes
    start(chain, how === 'bottom' ? { bottom: mid! } : { base: base!, ...(how === 'named' ? { backingFile: 'b' } : {}) })
    chain.clock.run()
    assert.equal(layersOf(chain), ['top', 'base'])
    assert.equal(chain.read(), before)
    assert.equal(chain.layers[0]!.backing, [how === 'named' ? 'b' : 'base.img', 'memory'])
    // What only the base holds stays there.
    assert.is(chain.layers[0]!.allocated[10 * 2], 0)
  }
})

test('nothing between the image and its base: there is nothing to do', () => {
  const chain = bench()
  const job = start(chain, { base: chain.nodes[1]! })
  chain.clock.run()
  assert.is(job.errorText, null)
  const end = chain.events.find(({ event }) => event === 'BLOCK_JOB_COMPLETED')!
  assert.equal([end.data['len'], end.data['offset']], [0, 0])
  assert.equal(layersOf(chain), ['top', 'mid0', 'base'])
  assert.equal(chain.layers[0]!.requests('write'), [])
})

test('what a layer hides by being short stays hidden above a longer base', () => {
  const chain = chainBench({ lengths: [LENGTH, 8 * KIB, LENGTH] })
  chain.layers[2]!.plant(0, LENGTH, 0xcc)
  const before = chain.read()
  assert.is(before[9 * KIB], 0)
  start(chain, { base: chain.nodes[2]! })
  chain.clock.run()
  assert.equal(layersOf(chain), ['top', 'base'])
  assert.equal(chain.read(), before)
})

test('a guest writes and reads meanwhile', () => {
  const chain = bench()
  for (const layer of chain.layers) layer.latencyNs = 1000
  const job = start(chain)
  const expected = chain.layers[2]!.data.slice()
  expected.set(chain.layers[1]!.data.subarray(2 * KIB, 8 * KIB), 2 * KIB)
  expected.fill(0, 12 * KIB, 14 * KIB)
  expected.fill(0xaa, 0, 4 * KIB)
  expected.fill(0xdd, 6 * KIB, 13 * KIB)
  chain.spawn('guest', chain.device.pwrite(6 * KIB, new Uint8Array(7 * KIB).fill(0xdd)))
  chain.spawn('reader', chain.device.pread(0, new Uint8Array(LENGTH)))
  chain.clock.run()
  assert.is(job.status, 'null')
  assert.equal(chain.read(), expected)
})

test('errors stop the job, are reported, or are left behind with the layers still there', () => {
  for (const onError of ['report', 'ignore', 'stop', 'enospc'] as const) {
    const chain = bench()
    const before = chain.read()
    let failures = 1
    chain.layers[0]!.fail = ({ kind }) => (kind === 'write' && failures-- > 0 ? (onError === 'enospc' ? ENOSPC : EIO) : 0)
    const job = start(chain, { onError })
    chain.clock.run()
    const [error] = chain.events.filter(({ event }) => event === 'BLOCK_JOB_ERROR')
    const action = onError === 'enospc' ? 'stop' : onError
    assert.equal(error!.data, { device: 'j', operation: 'read', action })
    if (action === 'stop') {
      assert.is(job.status, 'paused')
      chain.finish(job)
      assert.is(job.errorText, null)
      assert.equal(layersOf(chain), ['top'])
    } else {
      assert.is(job.errorText, 'Input/output error')
      assert.equal(layersOf(chain), ['top', 'mid0', 'base'])
      const { offsetBytes, lengthBytes } = job.progress
      assert.is(offsetBytes === lengthBytes, onError === 'ignore')
    }
    assert.equal(chain.read(), before)
  }
})

test('a flush or a header that fails leaves something to stand on', () => {
  for (const kind of ['flush', 'header']) {
    const chain = bench()
    const before = chain.read()
    if (kind === 'flush') chain.layers[0]!.fail = (request) => (request.kind === 'flush' ? EIO : 0)
    else chain.layers[0]!.changeErrno = ENOSPC
    const job = start(chain)
    chain.clock.run()
    assert.is(job.errorText, kind === 'flush' ? 'Input/output error' : 'No space left on device')
    assert.equal(layersOf(chain), kind === 'flush' ? ['top', 'mid0', 'base'] : ['top'])
    assert.equal(chain.read(), before)
  }
})

test('a read-only image is reopened for the job alone', () => {
  const chain = chainBench({ lengths: [LENGTH, LENGTH] })
  chain.layers[1]!.plant(0, 8 * KIB, 0xcc)
  chain.device.detach()
  const [top] = chain.nodes
  top!.options.readOnly = true
  chain.device.attach(top!, Permission.ConsistentRead, Permission.All)
  for (const layer of chain.layers) layer.latencyNs = 1000
  start(chain)
  assert.not(top!.options.readOnly)
  chain.clock.run()
  assert.ok(top!.options.readOnly)
  assert.equal(layersOf(chain), ['top'])
  assert.is(chain.read()[0], 0xcc)
})

test('a stream below the active layer leaves those above alone', () => {
  const chain = chainBench({ lengths: [LENGTH, LENGTH, LENGTH, LENGTH] })
  chain.layers[2]!.plant(0, 8 * KIB, 0xbb)
  chain.layers[3]!.plant(4 * KIB, 8 * KIB, 0xcc)
  const before = chain.read()
  start(chain, { device: chain.nodes[1]!, base: chain.nodes[3]! })
  chain.clock.run()
  assert.equal(layersOf(chain), ['top', 'mid0', 'base'])
  assert.equal(chain.read(), before)
  assert.ok(chain.nodes[1]!.options.readOnly)
})

test('cancelling keeps what is copied and the chain as it was', () => {
  const chain = bench()
  const before = chain.read()
  const job = start(chain, { speedBytesPerSecond: KIB })
  chain.clock.run(chain.clock.nowNs() + 1_000_000)
  job.cancel(false)
  chain.clock.run()
  assert.is(chain.story().at(-3), 'BLOCK_JOB_CANCELLED')
  assert.equal(layersOf(chain), ['top', 'mid0', 'base'])
  assert.equal(chain.read(), before)
  assert.is(chain.graph.nodes.size, 3)
})

function* attempt(chain: ChainBench, options: Partial<StreamOptions>) {
  try {
    yield* startStream(chain.graph, chain.jobs, wanted(chain, options))
    return 'started'
  } catch (error) {
    assert.instance(error, BlockError)
    return (error as BlockError).message
  }
}

test('what cannot be streamed is refused with the reason, and nothing has changed', () => {
  const chain = bench()
  const [top, mid, base] = chain.nodes
  const writer = new BlockBackend(chain.graph, '')
  const refusals: Array<[Partial<StreamOptions>, string]> = [
    [{ base: top! }, "Node 'top' is not a backing image of 'top'"],
    [{ device: mid!, base: top! }, "Node 'top' is not a backing image of 'mid0'"],
    [{ device: mid!, bottom: top! }, "Node 'top' is not in a chain starting from 'mid0'"],
    [{ backingFile: 'x' }, 'backing file specified, but streaming the entire chain'],
    [{ jobId: '' }, "Invalid job ID ''"],
    [{ speedBytesPerSecond: 0.5 }, "Parameter 'speed' expects a non-negative value"],
    [{ filterNodeName: 'base' }, "Could not create node: Duplicate nodes with node-name='base'"],
  ]
  for (const [options, text] of refusals) {
    assert.is(chain.run(attempt(chain, options)), text)
    assert.equal(layersOf(chain), ['top', 'mid0', 'base'])
    assert.is(chain.graph.nodes.size, 3)
  }
  mid!.options.readOnly = false
  writer.attach(mid!, Permission.Write, Permission.All)
  assert.match(chain.run(attempt(chain, {})), /^Permission conflict on node 'mid0': permissions 'write' are both required by/)
  assert.is(chain.graph.nodes.size, 3)
  for (const node of [top!, mid!, base!]) {
    assert.is(node.blockers.size, 0)
    assert.not(node.backing?.isFrozen === true)
  }
  assert.equal(chain.story(), [])
})

test('a guest who may change the length is in the way, and nothing is left behind', () => {
  const chain = bench()
  chain.device.setPermissions(Permission.ConsistentRead | Permission.Write | Permission.Resize, Permission.All)
  assert.throws(() => start(chain), /Permission conflict/)
  assert.equal(layersOf(chain), ['top', 'mid0', 'base'])
  assert.is(chain.graph.nodes.size, 3)
  for (const node of chain.nodes) {
    assert.equal([node.blockers.size, node.parents.size], [0, 1], node.name)
    assert.not(node.backing?.isFrozen === true)
  }
  chain.device.setPermissions(Permission.ConsistentRead | Permission.Write, Permission.All)
  const job = start(chain)
  chain.clock.run()
  assert.is(job.errorText, null)
})

test('the filter of a stream is the user’s if he has named it, and the links of the chain are frozen', () => {
  for (const filterNodeName of [undefined, 'mine']) {
    const chain = bench()
    for (const layer of chain.layers) layer.latencyNs = 5000
    start(chain, filterNodeName === undefined ? {} : { filterNodeName })
    const filter = chain.device.root!.node
    assert.equal([filter.isImplicit, filter.name === 'mine'], [filterNodeName === undefined, filterNodeName === 'mine'])
    assert.equal(
      chain.nodes.map((node) => node.backing?.isFrozen),
      [true, true, undefined],
    )
    for (const node of chain.nodes) assert.is(node.blockers.size, 1)
    chain.clock.run()
  }
})

test('what is refused is refused at once, while guests’ requests are under way', () => {
  const chain = bench()
  for (const layer of chain.layers) layer.latencyNs = 1000
  chain.spawn('guest', chain.device.pwrite(0, new Uint8Array(512)))
  chain.clock.run(chain.clock.nowNs() + 10)
  assert.throws(() => start(chain, { jobId: '1bad' }), /Invalid job ID '1bad'/)
})

test('an image or a layer that does not say what it holds is an error of reading, tried again after a while or left out', () => {
  for (const layer of [0, 1]) {
    const chain = bench()
    let left = 1
    chain.layers[layer]!.fail = ({ kind }) => (kind === 'status' && left-- > 0 ? EIO : 0)
    start(chain, { onError: 'ignore' })
    chain.clock.run()
    const [error] = chain.events.filter(({ event }) => event === 'BLOCK_JOB_ERROR')
    assert.equal(error!.data, { device: 'j', operation: 'read', action: 'ignore' })
    assert.is(chain.jobs.jobs.size, 0)
  }
})

test('layers that are not needed any more are released', () => {
  const chain = bench()
  const names: string[] = []
  chain.graph.release = function* (node) {
    names.push(node.name)
  }
  start(chain)
  chain.clock.run()
  assert.equal(names, ['mid0'])
})

test('the speed limit counts what is copied, and an error that is ignored is left behind', () => {
  const chain = bench([8 * 1024 * KIB, 8 * 1024 * KIB, 8 * 1024 * KIB])
  start(chain, { speedBytesPerSecond: 4 * KIB })
  chain.clock.run()
  // 4 to 16 KiB come from below, the last piece of which nobody waits for.
  const seconds = chain.clock.nowNs() / 1e9
  assert.ok(seconds > 0 && seconds <= 3, String(seconds))
  const copied = chain.layers[0]!.requests('write').reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)
  assert.is(copied, 10 * KIB)
})

test('a length that everybody can ask for is known from the start, and what is done is told', () => {
  const chain = bench()
  for (const layer of chain.layers) layer.latencyNs = 1000
  const job = start(chain)
  chain.clock.run(chain.clock.nowNs() + 1)
  assert.equal([job.query().len, job.query().offset], [LENGTH, 0])
  chain.clock.run(chain.clock.nowNs() + 4000)
  const { offset } = job.query()
  assert.ok(offset > 0 && offset < LENGTH, String(offset))
})

test.run()
