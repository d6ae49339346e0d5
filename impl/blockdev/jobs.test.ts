import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, BlockError, type BlockNode, Permission } from '../block'
import { Qcow2Driver } from '../block/drivers/qcow2'
import { newImage } from '../block/drivers/qcow2/testing'
import { type Co, EACCES, OK } from '../co'
import { JobManager, startBackup, startCommit, startStream } from '../jobs'
import { parseJson } from '../json'
import { addBlockdev, closeAll } from './index'
import { type BlockdevBench, blockdevBench } from './testing'

const LENGTH = 1 << 20
const PLAIN = { speedBytesPerSecond: 0, autoFinalize: true, autoDismiss: true } as const

/** Images `a` above `b` above `c`, each with 64 KiB of its own, opened by the header of the one above. */
function chain(): BlockdevBench & { top: BlockNode; device: BlockBackend; jobs: JobManager; events: string[] } {
  const bench = blockdevBench()
  for (const [name, below] of [['c'], ['b', 'c'], ['a', 'b']] as const) {
    const backing = below === undefined ? {} : { backingName: below, backingFormat: 'qcow2' }
    bench.files.contents.set(name, newImage({ sizeBytes: LENGTH, ...backing }))
  }
  for (const [index, name] of ['c', 'b', 'a'].entries()) write(bench, name, index * 65536, 0xa0 + index)
  const top = bench.run(
    addBlockdev(bench.context, options("{'driver':'qcow2','node-name':'top','file':{'driver':'file','filename':'a'}}")),
  )
  const device = new BlockBackend(bench.graph, 'drive0')
  device.attach(top, Permission.ConsistentRead | Permission.Write, Permission.All)
  const events: string[] = []
  const jobs = new JobManager(bench.kernel, ({ event }) => events.push(event))
  return { ...bench, top, device, jobs, events }
}

function options(text: string) {
  return parseJson(text.replaceAll("'", '"')) as Parameters<typeof addBlockdev>[1]
}

function write(bench: BlockdevBench, name: string, offsetBytes: number, fill: number): void {
  const node = bench.run(
    addBlockdev(
      bench.context,
      options(`{'driver':'qcow2','node-name':'w','backing':null,'file':{'driver':'file','filename':'${name}'}}`),
    ),
  )
  const backend = new BlockBackend(bench.graph, '')
  backend.attach(node, Permission.Write, Permission.All)
  assert.is(bench.run(backend.pwrite(offsetBytes, new Uint8Array(65536).fill(fill))), OK)
  backend.detach()
  bench.run(closeAll(bench.context))
}

function read(bench: BlockdevBench & { device: BlockBackend }): number[] {
  const buffer = new Uint8Array(LENGTH)
  assert.is(bench.run(bench.device.pread(0, buffer)), OK)
  return [0, 1, 2, 3].map((index) => buffer[index * 65536]!)
}

function* refusal(body: Co<unknown>): Co<string> {
  try {
    yield* body
    return 'done'
  } catch (error) {
    assert.instance(error, BlockError)
    return (error as BlockError).message
  }
}

test('a base that was opened by a header becomes writable for a commit, file and all, and layers are closed after it', () => {
  const bench = chain()
  const { graph, jobs, top } = bench
  const before = read(bench)
  assert.equal(before, [0xa0, 0xa1, 0xa2, 0])
  const [b, c] = [top.below()!, top.below()!.below()!]
  const file = c.children.get('file')!.node
  assert.ok(c.options.readOnly && file.options.readOnly)
  const job = bench.run(startCommit(graph, jobs, { ...PLAIN, jobId: 'j', device: top, top: b, base: c, onError: 'report' }))
  bench.clock.run()
  assert.is(job.errorText, null)
  assert.equal(read(bench), before)
  assert.is(top.below(), c)
  assert.ok(c.options.readOnly && file.options.readOnly)
  assert.is(graph.findNode(b.name), null, 'nobody stands on it')
  const { driver } = top
  assert.instance(driver, Qcow2Driver)
  assert.equal([(driver as Qcow2Driver).header.backingName, (driver as Qcow2Driver).header.backingFormat], ['c', 'qcow2'])
  bench.device.dispose()
  bench.run(closeAll(bench.context))
  assert.is(bench.files.openCount, 0)
})

test('the end of an active commit leaves a writable base and closes the rest that nobody owns', () => {
  const bench = chain()
  const before = read(bench)
  const base = bench.top.below()!.below()!
  const job = bench.run(startCommit(bench.graph, bench.jobs, { ...PLAIN, jobId: 'j', device: bench.top, onError: 'report' }))
  bench.clock.run()
  job.complete()
  bench.clock.run()
  assert.is(bench.device.root!.node, base)
  assert.is(bench.run(bench.device.pwrite(3 * 65536, new Uint8Array(512).fill(7))), OK)
  assert.equal(read(bench), [...before.slice(0, 3), 7])
  bench.device.dispose()
  bench.run(closeAll(bench.context))
  bench.run(bench.graph.release(base))
  assert.is(bench.files.openCount, 0)
})

test('a base whose file may not be written to is refused, and everything stays as it was', () => {
  const bench = chain()
  bench.files.readOnly.set('c', EACCES)
  const base = bench.top.below()!.below()!
  const start = startCommit(bench.graph, bench.jobs, { ...PLAIN, jobId: 'j', device: bench.top, onError: 'report' })
  assert.is(bench.run(refusal(start)), "Could not open 'c': Permission denied")
  assert.ok(base.options.readOnly && base.children.get('file')!.node.options.readOnly)
  assert.is(base.quiesceCount, 0)
})

test('a file that is read-only only until somebody writes is opened again', () => {
  const bench = blockdevBench()
  bench.files.contents.set('c', newImage({ sizeBytes: LENGTH }))
  bench.files.readOnly.set('c', EACCES)
  const { context, graph } = bench
  const file = bench.run(
    addBlockdev(context, options("{'driver':'file','node-name':'f','filename':'c','read-only':false,'auto-read-only':true}")),
  )
  const node = bench.run(addBlockdev(context, options("{'driver':'qcow2','node-name':'n','file':'f','read-only':true}")))
  assert.ok(file.options.readOnly)
  function* reopen(isReadOnly: boolean) {
    yield* graph.drainedBegin(node)
    const text = yield* refusal(graph.setReadOnly(node, isReadOnly))
    graph.drainedEnd(node)
    return text
  }
  assert.is(bench.run(reopen(false)), "Could not open 'c': Permission denied")
  assert.ok(node.options.readOnly)
  bench.files.readOnly.delete('c')
  assert.is(bench.run(reopen(false)), 'done')
  assert.not(node.options.readOnly)
  assert.not(file.options.readOnly)
  const backend = new BlockBackend(graph, '')
  backend.attach(node, Permission.Write, Permission.All)
  assert.is(bench.run(backend.pwrite(0, new Uint8Array(512).fill(1))), OK)
  assert.is(bench.run(reopen(true)), 'Block node is read-only')
  backend.detach()
  assert.is(bench.run(reopen(true)), 'done')
})

test('a stream writes into the header that there is nothing below, and closes what was', () => {
  const bench = chain()
  const before = read(bench)
  const job = bench.run(startStream(bench.graph, bench.jobs, { ...PLAIN, jobId: 'j', device: bench.top, onError: 'report' }))
  bench.clock.run()
  assert.is(job.errorText, null)
  assert.is(bench.top.below(), null)
  assert.is((bench.top.driver as Qcow2Driver).header.backingName, null)
  assert.equal(read(bench), before)
  assert.is(bench.files.openCount, 1)
})

test('copy-before-write and snapshot-access come from options; a backup of the state is the disk as it was', () => {
  const bench = chain()
  const before = read(bench)
  const { context, graph } = bench
  bench.files.contents.set('t', newImage({ sizeBytes: LENGTH }))
  bench.files.contents.set('u', newImage({ sizeBytes: LENGTH }))
  const cbw = bench.run(
    addBlockdev(
      context,
      options(
        "{'driver':'copy-before-write','node-name':'cbw','file':'top','target':{'driver':'qcow2','file':{'driver':'file'," +
          "'filename':'t'}},'on-cbw-error':'break-snapshot','cbw-timeout':30}",
      ),
    ),
  )
  bench.run(graph.drainedBegin(bench.top))
  graph.insertFilter(cbw, bench.top)
  graph.drainedEnd(bench.top)
  const state = bench.run(addBlockdev(context, options("{'driver':'snapshot-access','node-name':'state','file':'cbw'}")))
  bench.run(bench.device.pwrite(0, new Uint8Array(65536).fill(9)))
  const target = bench.run(
    addBlockdev(context, options("{'driver':'qcow2','node-name':'u','file':{'driver':'file','filename':'u'}}")),
  )
  const job = bench.run(
    startBackup(graph, bench.jobs, {
      ...PLAIN,
      jobId: 'j',
      source: state,
      target,
      sync: 'full',
      isImmutable: true,
      onSourceError: 'report',
      onTargetError: 'report',
    }),
  )
  bench.clock.run()
  assert.is(job.errorText, null)
  const copy = new BlockBackend(graph, '')
  copy.attach(target, Permission.ConsistentRead, Permission.All)
  assert.equal(read({ ...bench, device: copy }), before)
  assert.equal(read(bench), [9, ...before.slice(1)])
})

test.run()
