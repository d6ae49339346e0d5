import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, BlockError, type BlockNode, Permission } from '../block'
import { createQcow2, type Qcow2CreateOptions } from '../block/drivers/qcow2'
import { EPERM, OK } from '../co'
import { type JsonObject, parseJson } from '../json'
import { closeAll, deleteBlockdev, releaseNode } from './close'
import { parseQemuOpts } from './keyval'
import { addBlockdev, openImage } from './open'
import { Options } from './options'
import { type BlockdevBench, blockdevBench } from './testing'

const json = (text: string): JsonObject => parseJson(text) as JsonObject

/** What a coroutine refuses, or fails if it does not. */
function refusal(bench: BlockdevBench, body: Generator<undefined, unknown, undefined>): string {
  function* attempt(): Generator<undefined, string, undefined> {
    try {
      yield* body
    } catch (error) {
      if (error instanceof BlockError) return error.message
      throw error
    }
    return 'nothing was refused'
  }
  return bench.run(attempt())
}

function makeQcow2(bench: BlockdevBench, path: string, options: Partial<Qcow2CreateOptions> = {}): void {
  function* make(): Generator<undefined, void, undefined> {
    const { context } = bench
    bench.files.contents.set(path, new Uint8Array(0))
    const file = yield* openImage(context, { options: Options.ofJson(json(`{'driver':'file','filename':'${path}'}`)) })
    yield* createQcow2(file, { sizeBytes: 1 << 20, ...options })
    yield* releaseNode(context, file)
  }
  bench.run(make())
}

/** A node and all below it, in words. */
function shape(node: BlockNode): string {
  const below = [...node.children.values()].map((child) => `${child.name}:${shape(child.node)}`)
  const name = `${node.driver.name}${node.options.readOnly ? '(ro)' : ''}`
  return below.length === 0 ? name : `${name}[${below.join(' ')}]`
}

const byOptions = (text: string) => ({ options: Options.ofJson(json(text)) })
const byText = (text: string) => ({ options: parseQemuOpts(text).options })

test('a name alone is probed: qcow2 by its header, everything else is raw', () => {
  const bench = blockdevBench()
  const { context, files } = bench
  makeQcow2(bench, 'a.qcow2')
  files.contents.set('plain', new Uint8Array(4096))
  assert.is(shape(bench.run(openImage(context, { filename: 'a.qcow2' }))), 'qcow2[file:file]')
  assert.is(bench.warnings.length, 0)
  assert.is(shape(bench.run(openImage(context, { filename: 'file:plain' }))), 'raw[file:file]')
  assert.match(bench.warnings[0] ?? '', "WARNING: Image format was not specified for 'plain' and probing guessed raw.")
})

test('a probed raw image does not get the header of another format', () => {
  const bench = blockdevBench()
  bench.files.contents.set('plain', new Uint8Array(4096))
  const node = bench.run(openImage(bench.context, { filename: 'plain' }))
  const backend = new BlockBackend(bench.graph, '')
  backend.attach(node, Permission.ConsistentRead | Permission.Write, Permission.All)
  const head = new Uint8Array(512)
  head.set([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3])
  assert.is(bench.run(backend.pwrite(0, head)), EPERM)
  assert.is(bench.run(backend.pwrite(512, head)), OK)
  assert.is(bench.run(backend.pwrite(0, new Uint8Array(512))), OK)
})

test('options describe the same tree as JSON, as text and in a name', () => {
  const bench = blockdevBench()
  const { context } = bench
  makeQcow2(bench, 'a.qcow2')
  const tree = `{'driver':'qcow2','file':{'driver':'file','filename':'a.qcow2'},'read-only':true}`
  for (const request of [
    byOptions(tree),
    { filename: `json:${tree}` },
    byText('driver=qcow2,file.driver=file,file.filename=a.qcow2,read-only=on'),
    byText('file.filename=a.qcow2,read-only=yes'),
    byOptions(`{'driver':'qcow2','file.filename':'a.qcow2','read-only':'on'}`),
  ]) {
    const node = bench.run(openImage(context, request))
    assert.is(shape(node), 'qcow2(ro)[file:file(ro)]')
    bench.run(releaseNode(context, node))
  }
  assert.is(bench.files.openCount, 0)
})

test('images below are found beside the image, and only read', () => {
  const bench = blockdevBench()
  const { context } = bench
  makeQcow2(bench, 'dir/base')
  makeQcow2(bench, 'dir/mid', { backingName: 'base', backingFormat: 'qcow2' })
  makeQcow2(bench, 'top', { backingName: `json:{"driver":"qcow2","file":{"driver":"file","filename":"dir/mid"}}` })
  const node = bench.run(openImage(context, { filename: 'top' }))
  assert.is(shape(node), 'qcow2[file:file backing:qcow2(ro)[file:file(ro) backing:qcow2(ro)[file:file(ro)]]]')
  bench.run(releaseNode(context, node))
  assert.is(bench.graph.nodes.size, 0)
  const alone = bench.run(openImage(context, { filename: 'top', noBacking: true }))
  assert.is(shape(alone), 'qcow2[file:file]')
  bench.run(releaseNode(context, alone))
  const cut = bench.run(openImage(context, byText('driver=qcow2,file.filename=top,backing.file.filename=dir/base')))
  assert.is(shape(cut), 'qcow2[file:file backing:qcow2(ro)[file:file(ro)]]')
})

test('a chain that comes back to itself is refused, and leaves nothing open', () => {
  const bench = blockdevBench()
  makeQcow2(bench, 'a', { backingName: 'b', backingFormat: 'qcow2' })
  makeQcow2(bench, 'b', { backingName: 'a', backingFormat: 'qcow2' })
  const text = refusal(bench, openImage(bench.context, { filename: 'a' }))
  assert.match(text, /^Could not open backing file: .*creates an infinite loop\.$/)
  assert.is(bench.graph.nodes.size, 0)
  assert.is(bench.files.openCount, 0)
})

test('wrong descriptions are refused in the words of QEMU, and leave nothing open', () => {
  const bench = blockdevBench()
  const { context, files } = bench
  makeQcow2(bench, 'a')
  makeQcow2(bench, 'o', { backingName: 'gone', backingFormat: 'raw' })
  files.folders.add('dir')
  files.readOnly.set('a', EPERM)
  const before = { nodes: bench.graph.nodes.size, files: files.openCount }
  const cases: Array<[Parameters<typeof openImage>[1], string]> = [
    [{ filename: 'x' }, "Could not open 'x': No such file or directory"],
    [{ filename: 'dir' }, "Could not open 'dir': Is a directory"],
    [byOptions(`{'driver':'nothing'}`), "Unknown driver 'nothing'"],
    [{ filename: 'foo:bar' }, "Unknown protocol 'foo'"],
    [byOptions(`{}`), 'Must specify either driver or file'],
    [byOptions(`{'driver':'file'}`), "The 'file' block driver requires a file name"],
    [byOptions(`{'driver':'qcow2'}`), 'A block device must be specified for "file"'],
    [byOptions(`{'driver':'qcow2','file':'gone'}`), "Cannot find device='gone' nor node-name='gone'"],
    [byText('driver=qcow2,file.filename=o'), "Could not open backing file: Could not open 'gone': No such file or directory"],
    [byText('driver=qcow2,read-only=on,file.filename=a,foo=1'), "Block format 'qcow2' does not support the option 'foo'"],
    [byText('driver=raw,read-only=on,file.filename=a,file.foo=1'), "Block protocol 'file' doesn't support the option 'foo'"],
    [byText('driver=null-co,read-only=maybe'), "Parameter 'read-only' expects 'on' or 'off'"],
    [byText('driver=null-co,size=x'), "Parameter 'size' expects a non-negative number below 2^64"],
    [{ filename: 'json:{' }, 'Could not parse the JSON options: JSON parse error, premature EOI'],
    [{ filename: 'json:[]' }, 'Invalid JSON object given'],
    [{ filename: 'null-co://1G' }, "The only allowed filename for this driver is 'null-co://'"],
    [byText('driver=null-co,force-share=on'), 'force-share=on can only be used with read-only images'],
    [byText('driver=null-co,discard=maybe'), 'Invalid discard option'],
    [byText('driver=raw,file.driver=null-co,file.size=1M,offset=2M'), /Offset \(2097152\) cannot be greater than size/],
    [byText('driver=throttle,file.driver=null-co,throttle-group=t'), "Throttle group 't' does not exist"],
  ].map((entry) => entry as [Parameters<typeof openImage>[1], string])
  for (const [request, expected] of cases) {
    const text = refusal(bench, openImage(context, request))
    if ((expected as unknown) instanceof RegExp) assert.match(text, expected)
    else assert.is(text, expected)
    assert.is(bench.graph.nodes.size, before.nodes, expected)
    assert.is(files.openCount, before.files, expected)
  }
})

test('filters stand on probed images or on files, as their kind is', () => {
  const bench = blockdevBench()
  const { context } = bench
  makeQcow2(bench, 'a')
  const shapes: Array<[Parameters<typeof openImage>[1], string]> = [
    [byText('driver=copy-on-read,file.file.filename=a'), 'copy-on-read[file:qcow2[file:file]]'],
    [byText('driver=compress,file.driver=qcow2,file.file.filename=a'), 'compress[file:qcow2[file:file]]'],
    [{ filename: 'blkdebug::a' }, 'qcow2[file:blkdebug[image:file]]'],
    [
      byText('driver=qcow2,file.driver=preallocate,file.file.driver=file,file.file.filename=a'),
      'qcow2[file:preallocate[file:file]]',
    ],
  ]
  for (const [request, expected] of shapes) {
    const node = bench.run(openImage(context, request))
    assert.is(shape(node), expected)
    bench.run(releaseNode(context, node))
  }
})

test('nodes of the monitor stay until it deletes them, and take what only they need with them', () => {
  const bench = blockdevBench()
  const { context } = bench
  makeQcow2(bench, 'a')
  bench.run(addBlockdev(context, json(`{'driver':'file','node-name':'f','filename':'a'}`)))
  bench.run(addBlockdev(context, json(`{'driver':'qcow2','node-name':'q','file':'f'}`)))
  assert.is(refusal(bench, deleteBlockdev(context, 'f')), 'Block device f is in use')
  assert.is(refusal(bench, deleteBlockdev(context, 'g')), "Failed to find node with node-name='g'")
  assert.is(
    refusal(bench, addBlockdev(context, json(`{'driver':'null-co','node-name':'q'}`))),
    "Duplicate nodes with node-name='q'",
  )
  assert.is(refusal(bench, addBlockdev(context, json(`{'driver':'null-co'}`))), "'node-name' must be specified for the root node")
  bench.run(deleteBlockdev(context, 'q'))
  assert.equal([...bench.graph.nodes.keys()], ['f'])
  bench.run(closeAll(context))
  assert.is(bench.graph.nodes.size, 0)
  assert.is(bench.files.openCount, 0)
})

test.run()
