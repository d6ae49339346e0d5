import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { addBitmap, BlockBackend, BlockError, type BlockNode, Permission } from '../../block'
import { FilterDriver } from '../../block/drivers/filter'
import { MemoryDriver } from '../../block/testing'
import { type Co, EIO, ENOSPC, OK } from '../../co'
import type { BackupOptions } from '../backup'
import { addDisk, type ChainBench, chainBench, KIB, Layer } from '../testing'
import {
  abortAction,
  addBitmapAction,
  BackupAction,
  changeBackingFile,
  clearBitmapAction,
  enableBitmapAction,
  mergeBitmapsAction,
  removeBitmapAction,
  runTransaction,
  SnapshotAction,
  type TransactionAction,
} from './index'

const LENGTH = 256 * KIB
const CLUSTER = 64 * KIB

/** Two disks with a guest each, and two to back them up to. */
interface Bench extends ChainBench {
  second: BlockNode
  secondDisk: MemoryDriver
  secondDevice: BlockBackend
  targets: MemoryDriver[]
  targetNodes: BlockNode[]
  backup(index: number, changes?: Partial<BackupOptions>): TransactionAction
}

function bench(): Bench {
  const chain = chainBench({ lengths: [LENGTH] })
  chain.layers[0]!.plant(0, LENGTH, 0xaa)
  const secondDisk = new MemoryDriver(LENGTH)
  secondDisk.data.fill(0xbb)
  secondDisk.allocated.fill(1)
  const second = addDisk(chain, 'second', secondDisk)
  const secondDevice = new BlockBackend(chain.graph, 'drive1')
  secondDevice.attach(second, Permission.ConsistentRead | Permission.Write, Permission.All)
  const targets = [new MemoryDriver(LENGTH), new MemoryDriver(LENGTH)]
  const targetNodes = targets.map((disk, index) => addDisk(chain, `tgt${index}`, disk))
  const backup = (index: number, changes: Partial<BackupOptions> = {}): TransactionAction =>
    new BackupAction(chain.graph, chain.jobs, {
      jobId: `j${index}`,
      source: index === 0 ? chain.nodes[0]! : second,
      target: targetNodes[index]!,
      sync: 'full',
      speedBytesPerSecond: 0,
      onSourceError: 'report',
      onTargetError: 'report',
      autoFinalize: true,
      autoDismiss: true,
      ...changes,
    })
  return { ...chain, second, secondDisk, secondDevice, targets, targetNodes, backup }
}

function* refusal(body: Co<void>): Co<string> {
  try {
    yield* body
    return 'done'
  } catch (error) {
    assert.instance(error, BlockError)
    return (error as BlockError).message
  }
}

/** Events as `status of job`. */
const states = ({ events }: ChainBench): string[] =>
  events.map(({ event, data }) =>
    event === 'JOB_STATUS_CHANGE' ? `${data['status']} ${data['id']}` : `${event} ${data['device'] ?? data['id']}`,
  )

test('backups of a transaction keep the state of one moment', () => {
  const world = bench()
  for (const disk of world.targets) disk.latencyNs = 10_000
  world.begin(runTransaction([world.backup(0), world.backup(1)]))
  world.spawn('a', world.device.pwrite(0, new Uint8Array(KIB).fill(1)))
  world.spawn('b', world.secondDevice.pwrite(0, new Uint8Array(KIB).fill(1)))
  world.clock.run()
  assert.ok(world.targets[0]!.data.every((byte) => byte === 0xaa))
  assert.ok(world.targets[1]!.data.every((byte) => byte === 0xbb))
  assert.is(world.graph.nodes.size, 4)
})

test('a transaction that is aborted has started nothing', () => {
  const world = bench()
  const text = world.run(refusal(runTransaction([world.backup(0), world.backup(1), abortAction()])))
  assert.is(text, 'Transaction aborted using Abort action')
  assert.equal(states(world), [
    'created j0',
    'created j1',
    'aborting j1',
    'concluded j1',
    'null j1',
    'aborting j0',
    'concluded j0',
    'null j0',
  ])
  assert.is(world.graph.nodes.size, 4)
  for (const node of world.graph.nodes.values()) {
    assert.is(node.blockers.size, 0)
    assert.is(node.quiesceCount, 0)
  }
  assert.ok(world.targets.every((disk) => disk.log.length === 0))
})

test('the error of an action ends the transaction', () => {
  const world = bench()
  const same = world.backup(1, { target: world.second })
  assert.is(world.run(refusal(runTransaction([world.backup(0), same]))), 'Source and target cannot be the same')
  assert.is(world.jobs.jobs.size, 0)
})

test('grouped jobs end together, in the order of QEMU, and one word finalizes all', () => {
  for (const autoFinalize of [true, false]) {
    const world = bench()
    world.targets[1]!.latencyNs = 100_000
    world.begin(runTransaction([world.backup(0), world.backup(1, { autoFinalize })], 'grouped'))
    world.clock.run()
    if (!autoFinalize) {
      assert.equal(states(world).slice(-5), ['waiting j0', 'waiting j1', 'pending j1', 'BLOCK_JOB_PENDING j1', 'pending j0'])
      world.jobs.find('j0').finalize()
      world.clock.run()
    }
    assert.equal(states(world).slice(-6), [
      'BLOCK_JOB_COMPLETED j1',
      'concluded j1',
      'null j1',
      'BLOCK_JOB_COMPLETED j0',
      'concluded j0',
      'null j0',
    ])
    assert.is(world.graph.nodes.size, 4)
  }
})

test('the failure or the cancel of one of a group cancels the others, and bitmaps stay', () => {
  for (const how of ['error', 'cancel', 'late'] as const) {
    const world = bench()
    const bitmap = world.run(addBitmap(world.nodes[0]!, { name: 'b', granularityBytes: CLUSTER }))
    bitmap.bits.set(0, 2 * CLUSTER)
    world.targets[1]!.latencyNs = 1_000_000
    if (how === 'error') world.targets[1]!.fail = () => EIO
    const first = world.backup(0, { sync: 'bitmap', bitmap: 'b', bitmapMode: 'on-success' })
    const second = world.backup(1, { autoFinalize: how !== 'late' })
    world.begin(runTransaction([first, second], 'grouped'))
    const [one, two] = [world.jobs.find('j0'), world.jobs.find('j1')]
    world.clock.run(world.clock.nowNs() + 1000)
    assert.is(one.status, 'waiting')
    if (how === 'cancel') two.cancel(true)
    world.clock.run()
    if (how === 'late') {
      assert.is(one.status, 'pending')
      one.cancel(true)
      world.clock.run()
    }
    assert.is(two.errorText, how === 'error' ? 'Input/output error' : 'Operation canceled')
    assert.is(one.errorText, 'Operation canceled')
    assert.ok(states(world).includes('BLOCK_JOB_CANCELLED j0'))
    assert.is(world.jobs.jobs.size, 0)
    assert.is(bitmap.bits.count, 2, 'as if there had been no backup')
    assert.is(world.graph.nodes.size, 4)
  }
})

test('without a group each job ends for itself', () => {
  const world = bench()
  world.targets[1]!.fail = () => EIO
  world.targets[0]!.latencyNs = 1000
  world.begin(runTransaction([world.backup(0), world.backup(1)]))
  const one = world.jobs.find('j0')
  world.clock.run()
  assert.is(one.errorText, null)
})

test('an overlay goes above a node, which stays as it is', () => {
  const world = bench()
  const overlay = world.graph.addNode({ name: 'ov', driver: new Layer(LENGTH, 'ov.img'), options: { discard: 'unmap' } })
  const [below] = world.nodes
  world.run(world.device.pwrite(0, new Uint8Array(KIB).fill(1)))
  world.run(runTransaction([new SnapshotAction(world.graph, below!, give(overlay))]))
  assert.is(world.device.root!.node, overlay)
  assert.is(overlay.below(), below)
  assert.ok(below!.options.readOnly)
  const old = world.layers[0]!.data.slice()
  assert.is(world.run(world.device.pwrite(KIB, new Uint8Array(KIB).fill(2))), OK)
  assert.equal(world.layers[0]!.data, old)
  assert.equal([world.read()[0], world.read()[KIB], world.read()[2 * KIB]], [1, 2, 0xaa])
})

function give(node: BlockNode): () => Co<BlockNode> {
  return function* () {
    return node
  }
}

test('an aborted snapshot leaves the guest where it was, and gives the overlay back', () => {
  const world = bench()
  const overlay = world.graph.addNode({ name: 'ov', driver: new Layer(LENGTH, 'ov.img') })
  const released: string[] = []
  world.graph.release = function* (node) {
    released.push(node.name)
  }
  const action = new SnapshotAction(world.graph, world.nodes[0]!, give(overlay))
  world.run(refusal(runTransaction([action, abortAction()])))
  assert.is(world.device.root!.node, world.nodes[0])
  assert.is(overlay.below(), null)
  assert.not(world.nodes[0]!.options.readOnly)
  assert.equal(released, ['ov'])
  for (const node of world.graph.nodes.values()) assert.is(node.quiesceCount, 0)
})

test('what cannot be an overlay is refused with the reason', () => {
  const world = bench()
  const { graph } = world
  const [below] = world.nodes
  const plain = addDisk(world, 'plain', new MemoryDriver(LENGTH))
  const used = graph.addNode({ name: 'used', driver: new Layer(LENGTH, 'u') })
  new BlockBackend(graph, '').attach(used, Permission.ConsistentRead, Permission.All)
  const bare = addDisk(world, 'bare', new MemoryDriver(LENGTH))
  const above = graph.addNode({
    name: 'above',
    driver: new Layer(LENGTH, 'x'),
    children: [{ name: 'backing', role: 'cow', node: bare }],
  })
  class Filter extends FilterDriver {
    readonly name = 'f'
  }
  const filter = graph.addNode({
    name: 'filter',
    driver: new Filter(),
    children: [{ name: 'file', role: 'filtered', node: addDisk(world, 'other', new MemoryDriver(LENGTH)) }],
  })
  const refusals: Array<[BlockNode, string]> = [
    [plain, 'The overlay does not support backing images'],
    [used, 'The overlay is already in use'],
    [above, 'The overlay already has a backing image'],
    [filter, 'Filters cannot be used as overlays'],
    [below!, 'The overlay is already in use'],
  ]
  for (const [overlay, text] of refusals) {
    assert.is(world.run(refusal(runTransaction([new SnapshotAction(graph, below!, give(overlay))]))), text)
    assert.is(world.device.root!.node, below)
    assert.is(below!.quiesceCount, 0)
  }
  world.run(world.device.pwrite(0, new Uint8Array(KIB)))
  world.layers[0]!.fail = ({ kind }) => (kind === 'flush' ? EIO : OK)
  const overlay = graph.addNode({ name: 'ov', driver: new Layer(LENGTH, 'ov.img') })
  const text = world.run(refusal(runTransaction([new SnapshotAction(graph, below!, give(overlay))])))
  assert.is(text, 'An IO error has occurred')
})

test('changes of bitmaps are undone by what fails after them', () => {
  const world = bench()
  const [node] = world.nodes
  for (const name of ['a', 'b', 'c']) world.run(addBitmap(node!, { name, granularityBytes: CLUSTER }))
  const [a, b, c] = ['a', 'b', 'c'].map((name) => node!.namedBitmaps.get(name)!)
  a!.bits.set(0, 1)
  b!.bits.set(CLUSTER, 1)
  const actions = (): TransactionAction[] => [
    addBitmapAction(node!, { name: 'd' }),
    removeBitmapAction(node!, 'c'),
    mergeBitmapsAction(node!, 'a', [{ node: node!, name: 'b' }]),
    clearBitmapAction(node!, 'b'),
    enableBitmapAction(node!, 'b', false),
  ]
  world.run(refusal(runTransaction([...actions(), abortAction()])))
  assert.equal([...node!.namedBitmaps.keys()], ['a', 'b', 'c'])
  assert.equal([a!.bits.count, b!.bits.count, b!.isEnabled, c!.isBusy], [1, 1, true, false])
  world.run(runTransaction(actions()))
  assert.equal([...node!.namedBitmaps.keys()], ['a', 'b', 'd'])
  assert.equal([a!.bits.count, b!.bits.count, b!.isEnabled], [2, 0, false])
  const grouped = world.run(refusal(runTransaction([clearBitmapAction(node!, 'a')], 'grouped')))
  assert.is(grouped, "Action 'block-dirty-bitmap-clear' does not support Transaction property completion-mode = grouped")
})

test('the name of a backing file can be changed in the header of any image of a chain', () => {
  const chain = chainBench({ lengths: [LENGTH, LENGTH, LENGTH] })
  const [top, mid, base] = chain.nodes
  const change = (image: BlockNode, name: string, device = top!) =>
    chain.run(refusal(changeBackingFile(chain.graph, device, image, name)))
  assert.is(change(mid!, 'renamed'), 'done')
  assert.equal(chain.layers[1]!.backing, ['renamed', 'memory'])
  assert.ok(mid!.options.readOnly)
  assert.is(change(base!, 'x'), 'not allowing backing file change on an image without a backing file')
  assert.is(change(top!, 'x', mid!), 'Need a root block node')
  chain.layers[0]!.changeErrno = ENOSPC
  assert.is(change(top!, 'x'), "Could not change backing file to 'x': No space left on device")
})

test.run()
