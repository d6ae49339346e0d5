import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, BlockError, Permission } from '../../block'
import { FilterDriver } from '../../block/drivers/filter'
import { EIO, ENOSPC, EROFS } from '../../co'
import type { MirrorJob } from '../mirror'
import { type ChainBench, chainBench, KIB, Layer } from '../testing'
import { type CommitOptions, startCommit } from './index'

const LENGTH = 64 * KIB

function bench(lengths: number[] = [LENGTH, LENGTH, LENGTH]): ChainBench {
  const chain = chainBench({ lengths })
  const [top, mid, base] = chain.layers
  top!.plant(0, 4 * KIB, 0xaa)
  mid!.plant(2 * KIB, 6 * KIB, 0xbb).plantZeroes(12 * KIB, 2 * KIB)
  base?.plant(0, 16 * KIB, 0xcc)
  return chain
}

function wanted(chain: ChainBench, options: Partial<CommitOptions> = {}): CommitOptions {
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

function start(chain: ChainBench, options: Partial<CommitOptions> = {}) {
  return chain.begin(startCommit(chain.graph, chain.jobs, wanted(chain, options)))
}

const layersOf = (chain: ChainBench): string[] => {
  const names = []
  for (let node = chain.device.root?.node ?? null; node !== null; node = node.below()) names.push(node.name)
  return names
}

test('layers that nobody writes to are written to the base and leave the chain', () => {
  const chain = bench()
  const before = chain.read()
  const [top, mid, base] = chain.nodes
  const job = start(chain, { top: mid! })
  chain.clock.run()
  assert.is(job.status, 'null')
  assert.equal(chain.story(), ['created', 'running', 'waiting', 'pending', 'BLOCK_JOB_COMPLETED', 'concluded', 'null'])
  const end = chain.events.find(({ event }) => event === 'BLOCK_JOB_COMPLETED')!
  assert.equal(end.data, { type: 'commit', device: 'j', len: LENGTH, offset: LENGTH, speed: 0 })
  assert.equal(layersOf(chain), ['top', 'base'])
  assert.equal(chain.read(), before)
  assert.equal(chain.layers[0]!.backing, ['base.img', 'memory'])
  assert.ok(base!.options.readOnly, 'the base is as it was')
  assert.is(mid!.parents.size, 0)
  for (const node of [top!, mid!, base!]) {
    assert.is(node.blockers.size, 0)
    assert.not(node.backing?.isFrozen === true)
  }
  // A hole of the upper layer is no data in the base: nothing else would keep it thin.
  assert.equal(
    chain.layers[2]!.requests('write').map(({ offsetBytes, lengthBytes }) => [offsetBytes, lengthBytes]),
    [[2 * KIB, 6 * KIB]],
  )
  assert.equal(
    chain.layers[2]!.requests('zero').map(({ offsetBytes, lengthBytes }) => [offsetBytes, lengthBytes]),
    [[12 * KIB, 2 * KIB]],
  )
  assert.is(chain.layers[2]!.requests('flush').length > 0, true, 'the base is on the medium')
})

test('the header gets the name that the user wants for the base', () => {
  const chain = bench()
  start(chain, { top: chain.nodes[1]!, backingFile: 'elsewhere/b.img' })
  chain.clock.run()
  assert.equal(chain.layers[0]!.backing, ['elsewhere/b.img', 'memory'])
})

test('a header that cannot be changed fails the job after the layers have left', () => {
  const chain = bench()
  const before = chain.read()
  chain.layers[0]!.changeErrno = ENOSPC
  const job = start(chain, { top: chain.nodes[1]! })
  chain.clock.run()
  assert.is(job.errorText, 'No space left on device')
  assert.equal(chain.story().slice(-4), ['aborting', 'BLOCK_JOB_COMPLETED', 'concluded', 'null'])
  assert.equal(layersOf(chain), ['top', 'base'])
  assert.equal(chain.read(), before)
})

test('a base that is shorter grows; one that is longer keeps its end hidden where it was', () => {
  const short = chainBench({ lengths: [LENGTH, LENGTH, 8 * KIB] })
  short.layers[1]!.plant(4 * KIB, 8 * KIB, 0xbb)
  short.layers[2]!.plant(0, 8 * KIB, 0xcc)
  const before = short.read()
  start(short, { top: short.nodes[1]! })
  short.clock.run()
  assert.is(short.nodes[2]!.lengthBytes, LENGTH)
  assert.equal(short.read(), before)
  const long = chainBench({ lengths: [LENGTH, 8 * KIB, LENGTH] })
  long.layers[2]!.plant(0, LENGTH, 0xcc)
  const hidden = long.read()
  assert.is(hidden[8 * KIB], 0)
  start(long, { top: long.nodes[1]! })
  long.clock.run()
  assert.equal(layersOf(long), ['top', 'base'])
  assert.equal(long.read(), hidden)
})

test('the active layer is committed by a job that becomes READY, and the guest moves to the base', () => {
  const chain = bench()
  const job = start(chain)
  assert.is(job.type, 'commit')
  chain.clock.run()
  assert.is(job.status, 'ready')
  assert.not('actively-synced' in job.query())
  assert.is(chain.run(chain.device.pwrite(20 * KIB, new Uint8Array(3 * KIB).fill(0xdd))), 0)
  chain.run(chain.device.pwriteZeroes(KIB, KIB))
  const before = chain.read()
  job.complete()
  chain.clock.run()
  assert.is(job.status, 'null')
  assert.is(job.errorText, null)
  assert.equal(layersOf(chain), ['base'])
  assert.equal(chain.read(), before)
  assert.not(chain.nodes[2]!.options.readOnly, 'the guest may write to it')
  for (const node of chain.nodes) {
    assert.is(node.blockers.size, 0)
    if (node.backing !== null) assert.not(node.backing.isFrozen)
  }
})

test('an active commit has no copy mode to change', () => {
  const chain = bench()
  const job = start(chain) as MirrorJob
  chain.clock.run()
  assert.throws(() => job.changeCopyMode('write-blocking'), /^Job type does not support change$/)
})

test('an active commit grows its base', () => {
  const chain = chainBench({ lengths: [LENGTH, 4 * KIB] })
  chain.layers[0]!.plant(2 * KIB, 20 * KIB, 0xaa)
  chain.layers[1]!.plant(0, 4 * KIB, 0xcc)
  const before = chain.read()
  const job = start(chain)
  chain.finish(job)
  assert.equal(layersOf(chain), ['base'])
  assert.equal(chain.read(), before)
})

test('a commit that is given up leaves the chain, and the base read-only', () => {
  for (const isActive of [false, true]) {
    const chain = bench()
    for (const layer of chain.layers) layer.latencyNs = 1000
    const before = chain.read()
    const job = start(chain, isActive ? {} : { top: chain.nodes[1]!, speedBytesPerSecond: KIB })
    assert.not(chain.nodes[2]!.options.readOnly)
    chain.clock.run(chain.clock.nowNs() + 100_000)
    job.cancel(true)
    chain.clock.run()
    assert.is(job.status, 'null')
    assert.equal(chain.story().slice(-3), ['BLOCK_JOB_CANCELLED', 'concluded', 'null'])
    assert.equal(layersOf(chain), ['top', 'mid0', 'base'])
    assert.ok(chain.nodes[2]!.options.readOnly)
    assert.equal(chain.read(), before)
    assert.is(chain.graph.nodes.size, 3)
  }
})

test('a READY commit that is cancelled softly leaves the guest where it was', () => {
  const chain = bench()
  const job = start(chain)
  chain.clock.run()
  job.cancel(false)
  chain.clock.run()
  assert.is(chain.story().at(-3), 'BLOCK_JOB_COMPLETED')
  assert.equal(layersOf(chain), ['top', 'mid0', 'base'])
  assert.ok(chain.nodes[2]!.options.readOnly)
})

test('what fails is reported, tried again, or stops the job until it is resumed', () => {
  for (const onError of ['report', 'ignore', 'stop', 'enospc'] as const) {
    const chain = bench()
    const before = chain.read()
    let failures = 3
    chain.layers[2]!.fail = ({ kind }) => (kind === 'write' && failures-- > 0 ? (onError === 'enospc' ? ENOSPC : EIO) : 0)
    const job = start(chain, { top: chain.nodes[1]!, onError })
    chain.clock.run()
    const [error] = chain.events.filter(({ event }) => event === 'BLOCK_JOB_ERROR')
    const action = onError === 'enospc' ? 'stop' : onError
    assert.equal(error!.data, { device: 'j', operation: 'write', action })
    if (onError === 'report') {
      assert.is(job.errorText, 'Input/output error')
      assert.equal(layersOf(chain), ['top', 'mid0', 'base'])
    } else {
      if (action === 'stop') {
        assert.is(job.status, 'paused')
        assert.is(job.query()['io-status'], onError === 'enospc' ? 'nospace' : 'failed')
      }
      chain.finish(job)
      assert.is(job.errorText, null)
      assert.equal(layersOf(chain), ['top', 'base'])
    }
    assert.equal(chain.read(), before)
  }
})

test('what is ignored is tried again after a while', () => {
  const chain = bench()
  let left = 1
  chain.layers[2]!.fail = ({ kind }) => (kind === 'zero' && left-- > 0 ? EIO : 0)
  start(chain, { top: chain.nodes[1]!, onError: 'ignore' })
  chain.clock.run()
  const [error] = chain.events.filter(({ event }) => event === 'BLOCK_JOB_ERROR')
  assert.is(error!.data['operation'], 'write')
  assert.is(chain.clock.nowNs(), 1_000_000)
})

test('errors of the layers are read errors', () => {
  const chain = bench()
  chain.layers[1]!.fail = ({ kind }) => (kind === 'status' ? EIO : 0)
  const job = start(chain, { top: chain.nodes[1]! })
  chain.clock.run()
  const [error] = chain.events.filter(({ event }) => event === 'BLOCK_JOB_ERROR')
  assert.is(error!.data['operation'], 'read')
  assert.is(job.errorText, 'Input/output error')
})

test('a base that cannot grow ends the job', () => {
  const chain = chainBench({ lengths: [LENGTH, LENGTH, 8 * KIB] })
  chain.layers[2]!.truncate = function* () {
    return ENOSPC
  }
  const job = start(chain, { top: chain.nodes[1]! })
  chain.clock.run()
  assert.is(job.errorText, 'No space left on device')
  assert.equal(layersOf(chain), ['top', 'mid0', 'base'])
})

test('the speed limit counts what is copied, and only that', () => {
  const chain = bench([8 * 1024 * KIB, 8 * 1024 * KIB, 8 * 1024 * KIB])
  start(chain, { top: chain.nodes[1]!, speedBytesPerSecond: 8 * KIB })
  chain.clock.run()
  // 6 KiB at 8 KiB/s; nobody waits after the last piece.
  assert.is(chain.clock.nowNs(), 750_000_000)
})

test('a job that stands still lets drained sections begin, and goes on after them', () => {
  const chain = bench()
  for (const layer of chain.layers) layer.latencyNs = 5000
  const job = start(chain, { top: chain.nodes[1]! })
  chain.clock.run(chain.clock.nowNs() + 7000)
  for (const node of chain.nodes) {
    chain.run(chain.graph.drainedBegin(node))
    chain.graph.drainedEnd(node)
  }
  chain.clock.run()
  assert.is(job.status, 'null')
  assert.is(job.errorText, null)
})

test('nobody else may use the layers or write to the base meanwhile', () => {
  const chain = bench()
  for (const layer of chain.layers) layer.latencyNs = 5000
  const [top, mid, base] = chain.nodes
  start(chain, { top: mid! })
  const job = chain.jobs.find('j')
  job.pause()
  chain.clock.run()
  const other = new BlockBackend(chain.graph, '')
  assert.throws(() => other.attach(base!, Permission.Write, Permission.All), /Permission conflict on node 'base'.*commit job 'j'/)
  assert.throws(() => other.attach(mid!, Permission.ConsistentRead, Permission.All), /unshared by commit job 'j'/)
  const refused = chain.run(attempt(chain, { jobId: 'k', top: mid! }))
  assert.is(refused, "Node 'top' is busy: block device is in use by block job: commit")
  chain.run(chain.graph.drainedBegin(mid!))
  assert.throws(
    () => chain.graph.setBacking(mid!, null),
    ({ message }: Error) => message === "Cannot change 'backing' link from 'mid0' to 'base'",
  )
  chain.graph.drainedEnd(mid!)
  job.resume()
  chain.clock.run()
  assert.equal(layersOf(chain), ['top', 'base'])
  assert.is(top!.blockers.size, 0)
})

test('every layer that will go is held, and only those', () => {
  const chain = chainBench({ lengths: [LENGTH, LENGTH, LENGTH, LENGTH] })
  for (const layer of chain.layers) layer.latencyNs = 5000
  const [, upper, lower, base] = chain.nodes
  start(chain, { top: upper! })
  const other = new BlockBackend(chain.graph, '')
  for (const node of [upper!, lower!]) {
    assert.throws(() => other.attach(node, Permission.ConsistentRead, Permission.All), /unshared by commit job 'j'/)
    assert.is(node.blockers.size, 1)
  }
  other.attach(base!, Permission.ConsistentRead, Permission.All)
  other.detach()
  chain.clock.run()
  assert.equal(layersOf(chain), ['top', 'base'])
})

test('a base that cannot become read-only again does not undo what has worked', () => {
  const chain = bench()
  const before = chain.read()
  chain.layers[2]!.setReadOnly = function* (isReadOnly: boolean) {
    if (isReadOnly) throw new BlockError('Could not write what is in memory: Input/output error', { errno: EIO })
  }
  const job = start(chain, { top: chain.nodes[1]! })
  chain.clock.run()
  assert.is(job.errorText, null)
  assert.equal(layersOf(chain), ['top', 'base'])
  assert.equal(chain.read(), before)
})

function* attempt(chain: ChainBench, options: Partial<CommitOptions>) {
  try {
    yield* startCommit(chain.graph, chain.jobs, wanted(chain, options))
    return 'started'
  } catch (error) {
    assert.instance(error, BlockError)
    return (error as BlockError).message
  }
}

test('what cannot be committed is refused with the reason, and nothing has changed', () => {
  const chain = bench()
  const [top, mid, base] = chain.nodes
  const stranger = chain.graph.addNode({
    name: 'stranger',
    driver: new (class extends FilterDriver {
      readonly name = 'f'
    })(),
    children: [{ name: 'file', role: 'filtered', node: base! }],
    options: { readOnly: true },
  })
  const refusals: Array<[Partial<CommitOptions>, string]> = [
    [{ device: mid! }, 'Need a root block node'],
    [{ top: stranger }, "'stranger' is not in this backing file chain"],
    [{ base: stranger }, "'stranger' is not in this backing file chain"],
    [{ top: mid!, base: top! }, "'top' is not in this backing file chain"],
    [{ top: base! }, 'cannot commit an image into itself'],
    [{ base: top! }, 'cannot commit an image into itself'],
    [{ backingFile: 'x' }, "'backing-file' specified, but 'top' is the active layer"],
    [{ jobId: '1bad' }, "Invalid job ID '1bad'"],
    [{ speedBytesPerSecond: -1 }, "Parameter 'speed' expects a non-negative value"],
    [{ top: mid!, filterNodeName: 'base' }, "Duplicate nodes with node-name='base'"],
    [{ filterNodeName: 'base' }, "Duplicate nodes with node-name='base'"],
  ]
  for (const [options, text] of refusals) {
    assert.is(chain.run(attempt(chain, options)), text)
    assert.equal(layersOf(chain), ['top', 'mid0', 'base'])
    assert.ok(base!.options.readOnly)
    assert.is(chain.graph.nodes.size, 4)
  }
  assert.equal(chain.story(), [])
})

test('a base that somebody keeps to himself is refused, and nothing is left behind', () => {
  const chain = bench()
  const reader = new BlockBackend(chain.graph, 'reader')
  reader.attach(chain.nodes[2]!, Permission.ConsistentRead, Permission.ConsistentRead)
  assert.match(chain.run(attempt(chain, { top: chain.nodes[1]! })), /Permission conflict/)
  assert.equal(layersOf(chain), ['top', 'mid0', 'base'])
  assert.is(chain.graph.nodes.size, 3)
  for (const node of chain.nodes) {
    assert.is(node.blockers.size, 0)
    assert.not(node.backing?.isFrozen === true)
  }
  assert.equal(
    chain.nodes.map(({ parents }) => parents.size),
    [1, 1, 2],
  )
  reader.detach()
  const job = start(chain, { top: chain.nodes[1]! })
  chain.clock.run()
  assert.is(job.errorText, null)
})

test('the filter of a commit is the user’s if he has named it; no other job freezes the chain through it', () => {
  for (const filterNodeName of [undefined, 'mine']) {
    const chain = bench()
    for (const layer of chain.layers) layer.latencyNs = 5000
    start(chain, { top: chain.nodes[1]!, ...(filterNodeName === undefined ? {} : { filterNodeName }) })
    const filter = chain.nodes[0]!.backing!.node
    assert.equal([filter.isImplicit, filter.name === 'mine'], [filterNodeName === undefined, filterNodeName === 'mine'])
    assert.is(filter.options.readOnly, true)
    const { driver } = filter
    const answers = [driver.pwrite(0, new Uint8Array(512), 0), driver.pwriteZeroes(0, 512, 0), driver.pdiscard(0, 512)]
    assert.equal(
      answers.map((answer) => answer.next().value),
      [EROFS, EROFS, EROFS],
    )
    assert.throws(() => chain.graph.freezeChain(chain.nodes[0]!, filter), /Cannot freeze 'backing' link to/)
    chain.clock.run()
  }
})

test('what is refused is refused at once, while guests’ requests are under way', () => {
  const chain = bench()
  for (const layer of chain.layers) layer.latencyNs = 1000
  chain.spawn('guest', chain.device.pwrite(0, new Uint8Array(512)))
  chain.clock.run(chain.clock.nowNs() + 10)
  for (const top of [chain.nodes[0]!, chain.nodes[1]!]) {
    assert.throws(() => start(chain, { jobId: '1bad', top }), /Invalid job ID '1bad'/)
  }
})

test('an id that was taken while the guests were being stopped is refused, with the graph as it was', () => {
  const chain = bench()
  const lower = new Layer(LENGTH, 'lower.img')
  const below = chain.graph.addNode({ name: 'lower', driver: lower, options: { readOnly: true } })
  const upper = chain.graph.addNode({
    name: 'upper',
    driver: new Layer(LENGTH, 'upper.img'),
    children: [{ name: 'backing', role: 'cow', node: below }],
  })
  const second = new BlockBackend(chain.graph, 'drive1')
  second.attach(upper, Permission.ConsistentRead | Permission.Write, Permission.All)
  for (const top of [undefined, chain.nodes[1]!]) {
    for (const layer of chain.layers) layer.latencyNs = 1000
    chain.spawn('guest', chain.device.pwrite(0, new Uint8Array(512)))
    chain.clock.run(chain.clock.nowNs() + 10)
    let answer = ''
    function* late() {
      answer = yield* attempt(chain, { jobId: 'same', ...(top === undefined ? {} : { top }) })
    }
    chain.spawn('late', late())
    const job = start(chain, { jobId: 'same', device: upper, speedBytesPerSecond: 1 })
    chain.clock.run(chain.clock.nowNs() + 5000)
    assert.is(answer, "Job ID 'same' already in use")
    assert.equal(layersOf(chain), ['top', 'mid0', 'base'])
    assert.equal(
      chain.nodes.map(({ blockers }) => blockers.size),
      [0, 0, 0],
    )
    job.cancel(true)
    chain.clock.run()
  }
})

test('a scan or a copy that fails is counted as what it is, and a job that was cancelled copies nothing', () => {
  const chain = bench()
  for (const layer of chain.layers) layer.latencyNs = 1000
  chain.layers[1]!.fail = ({ kind }) => (kind === 'read' ? EIO : 0)
  const job = start(chain, { top: chain.nodes[1]! })
  chain.clock.run()
  const [error] = chain.events.filter(({ event }) => event === 'BLOCK_JOB_ERROR')
  assert.is(error!.data['operation'], 'read')
  assert.is(job.errorText, 'Input/output error')
})

test('an image above the layers that nobody may write to is written to for its header alone', () => {
  const chain = bench()
  const other = new Layer(LENGTH, 'other.img')
  const node = chain.graph.addNode({
    name: 'other',
    driver: other,
    children: [{ name: 'backing', role: 'cow', node: chain.nodes[1]! }],
    options: { readOnly: true },
  })
  start(chain, { top: chain.nodes[1]! })
  chain.clock.run()
  assert.equal(other.backing, ['base.img', 'memory'])
  assert.is(node.options.readOnly, true)
  assert.is(node.backing!.node, chain.nodes[2])
})

test('a writer below the active layer makes the commit an active one', () => {
  const chain = bench()
  const [, mid] = chain.nodes
  mid!.options.readOnly = false
  const writer = new BlockBackend(chain.graph, '')
  writer.attach(mid!, Permission.Write, Permission.All)
  assert.is(chain.run(attempt(chain, { top: mid!, backingFile: 'x' })), "'backing-file' specified, but 'top' has a writer on it")
  const job = start(chain, { top: mid! })
  chain.finish(job)
  assert.equal(layersOf(chain), ['top', 'base'])
  assert.is(writer.root!.node.name, 'base')
})

test.run()
