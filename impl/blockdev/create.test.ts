import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockError } from '../block'
import { jsonObject } from '../json'
import { releaseNode } from './close'
import { type CreateRequest, createImage, creatorsOf } from './create'
import { createOptionLines } from './create_options'
import { openImage } from './open'
import { findDriver } from './registry'
import { type BlockdevBench, blockdevBench } from './testing'

/** What is announced, or the error in angle brackets. */
function outcome(bench: BlockdevBench, request: CreateRequest): string {
  let announced = ''
  function* make(): Generator<undefined, string, undefined> {
    try {
      yield* createImage(bench.context, { ...request, announce: (text) => (announced = text) })
      return announced
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      return `<${error.message}>`
    }
  }
  return bench.run(make())
}

test('an encrypted image needs its password when it is made and when it is read, not to lie below another', () => {
  const bench = blockdevBench()
  const { context } = bench
  const keyed = { filename: 'b', format: 'qcow2', sizeBytes: 65536, optionTexts: ['encrypt.format=aes,encrypt.key-secret=s'] }
  assert.is(outcome(bench, keyed), "<No secret with id 's'>")
  context.secrets.add('s', jsonObject({ data: 'word' }))
  assert.match(outcome(bench, keyed), /^Formatting 'b', fmt=qcow2 encrypt.format=aes encrypt.key-secret=s /)
  context.secrets.remove('s')
  const overlay = { filename: 'o', format: 'qcow2', backingFilename: 'b', backingFormat: 'qcow2' }
  assert.match(outcome(bench, overlay), / size=65536 /)
  const wrong = { filename: 'w', format: 'qcow2', sizeBytes: 512 }
  assert.is(
    outcome(bench, { ...wrong, optionTexts: ['encryption=on,encrypt.format=luks'] }),
    "<'encrypt.format' and its alias 'encryption' can't be used at the same time>",
  )
  assert.is(outcome(bench, { ...wrong, optionTexts: ['encrypt.cipher-alg=aes-128'] }), "<Parameter 'encrypt.format' is missing>")
  assert.is(bench.files.openCount, 0)
})

test('an image is announced with its options in the order of its format, and can be opened', () => {
  const bench = blockdevBench()
  const { context } = bench
  const defaults = 'cluster_size=65536 extended_l2=off compression_type=zlib'
  assert.is(
    outcome(bench, { filename: 't', format: 'qcow2', sizeBytes: 1000 }),
    `Formatting 't', fmt=qcow2 ${defaults} size=1000 lazy_refcounts=off refcount_bits=16`,
  )
  assert.is(
    outcome(bench, { filename: 'o', format: 'qcow2', backingFilename: 't', backingFormat: 'qcow2', optionTexts: ['compat=1.1'] }),
    `Formatting 'o', fmt=qcow2 ${defaults} size=1024 compat=1.1 backing_file=t backing_fmt=qcow2 lazy_refcounts=off refcount_bits=16`,
  )
  assert.is(outcome(bench, { filename: 'r', format: 'raw', sizeBytes: 1024 }), "Formatting 'r', fmt=raw size=1024")
  const node = bench.run(openImage(context, { filename: 'o' }))
  assert.is(node.lengthBytes, 1024)
  assert.is(node.backing?.node.driver.name, 'qcow2')
  bench.run(releaseNode(context, node))
  assert.is(bench.files.openCount, 0)
})

test('a data file is made beside the image', () => {
  const bench = blockdevBench()
  outcome(bench, { filename: 'dir/t', format: 'qcow2', sizeBytes: 4096, optionTexts: ['data_file=dir/data,data_file_raw=on'] })
  assert.is(bench.files.contents.get('dir/data')?.length, 4096)
  const node = bench.run(openImage(bench.context, { filename: 'dir/t' }))
  assert.is(node.children.get('data-file')?.node.driver.name, 'file')
})

test('wrong options are refused in the words of QEMU, and leave no file', () => {
  const bench = blockdevBench()
  bench.files.contents.set('base', new Uint8Array(1024))
  const t = { filename: 't', format: 'qcow2' }
  const cases: Array<[CreateRequest, string]> = [
    [{ ...t, format: 'foo' }, "Unknown file format 'foo'"],
    [{ ...t, format: 'blkdebug' }, "Format driver 'blkdebug' does not support image creation"],
    [{ ...t, filename: 'null-co://' }, "Protocol driver 'null-co' does not support image creation"],
    [{ ...t }, 'Image creation needs a size parameter'],
    [{ ...t, sizeBytes: 1, optionTexts: ['size=2'] }, 'The image size must be specified only once'],
    [{ ...t, optionTexts: ['foo=1'] }, "Invalid parameter 'foo'"],
    [{ ...t, optionTexts: ['lazy_refcounts=1'] }, "Parameter 'lazy_refcounts' expects 'on' or 'off'"],
    [{ ...t, optionTexts: ['cluster_size='] }, "Parameter 'cluster_size' expects a non-negative number below 2^64"],
    [{ ...t, optionTexts: ['refcount_bits=1k'] }, "Parameter 'refcount_bits' expects a number"],
    [{ ...t, optionTexts: ['size=1M,cluster_size=1'] }, 'Cluster size must be a power of two between 512 and 2048k'],
    [{ ...t, optionTexts: ['size=1M,compat=2'] }, "Parameter 'version' does not accept value '2'"],
    [{ ...t, optionTexts: ['size=1M,preallocation=x'] }, "Parameter 'preallocation' does not accept value 'x'"],
    [{ ...t, optionTexts: ['size=1M,data_file_raw=on'] }, 'data-file-raw requires data-file'],
    [
      { ...t, optionTexts: ['size=1P,cluster_size=512'] },
      "The image size is too large for file format 'qcow2' (try using a larger cluster size)",
    ],
    [{ ...t, backingFilename: 't' }, 'Error: Trying to create an image with the same filename as the backing file'],
    [{ ...t, backingFilename: 'none' }, "Could not open 'none': No such file or directory"],
    [{ ...t, backingFilename: 'base' }, 'Backing file specified without backing format'],
    [{ ...t, backingFilename: 'base', isBackingUnchecked: true }, 'Backing file specified without backing format'],
    [{ ...t, format: 'raw', backingFilename: 'base' }, "Backing file not supported for file format 'raw'"],
    [{ ...t, optionTexts: ['backing_file='] }, 'Expected backing file name, got empty string'],
    [{ ...t, format: 'raw', optionTexts: ['size=1M,preallocation=x'] }, 'invalid parameter value: x'],
  ]
  for (const [request, text] of cases) {
    assert.is(outcome(bench, request), `<${text}>`)
    assert.not(bench.files.contents.has('t'), text)
  }
  assert.is(bench.files.openCount, 0)
  assert.is(bench.graph.nodes.size, 0)
})

test('options are listed by name, with their types', () => {
  const lines = createOptionLines(findDriver('raw')?.createOptions ?? [])
  assert.equal(lines, ['  size=<size>            - Virtual disk size'])
  const { options } = creatorsOf(blockdevBench().context, 'raw', 'x')
  assert.is(options.knows('preallocation'), true)
})

test.run()
