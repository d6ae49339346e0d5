/** Formats that are only read: what images hold, who may open them, and what damage does. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, BlockError, type BlockNode, Permission } from '../block'
import { FOREIGN_IMAGES, type ForeignImage } from '../block/drivers/clusters/testing'
import { randomFrom } from '../block/drivers/qcow2/testing'
import { OK } from '../co'
import { releaseNode } from './close'
import { openImage } from './open'
import { Options } from './options'
import { type BlockdevBench, blockdevBench } from './testing'

function openReadOnly(bench: BlockdevBench, { format, filename, bytes }: ForeignImage): BlockNode {
  bench.files.contents.set(filename, bytes.slice())
  const options = new Options([['read-only', true]])
  if (format !== 'dmg') options.set('driver', format)
  return bench.run(openImage(bench.context, { filename, options }))
}

for (const make of FOREIGN_IMAGES) {
  const { format, filename, content, bytes } = make()

  test(`${format}: reads what the image holds, in pieces of any length`, () => {
    const bench = blockdevBench()
    const node = openReadOnly(bench, make())
    assert.is(node.driver.name, format, 'by its name, too')
    assert.is(node.lengthBytes, content.length)
    const backend = new BlockBackend(bench.graph, '')
    backend.attach(node, Permission.ConsistentRead, Permission.All)
    const random = randomFrom(7)
    for (let step = 0; step < 60; step++) {
      const at = random(content.length)
      const piece = new Uint8Array(1 + random(Math.min(9000, content.length - at)))
      assert.is(bench.run(backend.pread(at, piece)), OK)
      assert.is(Buffer.compare(piece, content.subarray(at, at + piece.length)), 0, `at ${at}`)
    }
    backend.dispose()
    bench.run(releaseNode(bench.context, node))
    assert.is(bench.files.openCount, 0)
  })

  test(`${format}: opens for reading only`, () => {
    const open = (more: Array<[string, boolean]>): BlockNode => {
      const bench = blockdevBench()
      bench.files.contents.set(filename, bytes.slice())
      return bench.run(openImage(bench.context, { filename, options: new Options([['driver', format], ...more]) }))
    }
    assert.throws(() => open([]), /Image is read-only/)
    const node = open([['auto-read-only', true]])
    assert.is(node.options.readOnly, true)
  })

  test(`${format}: damaged images are refused in words, or give errors`, () => {
    let noticed = 0
    for (let seed = 1; seed <= 150; seed++) {
      const random = randomFrom(seed)
      const bench = blockdevBench()
      const damaged = bytes.slice(0, random(6) === 0 ? random(bytes.length) : bytes.length)
      for (let count = 1 + random(4); count > 0 && damaged.length > 0; count--) {
        const at = random(2) === 0 ? random(Math.min(300, damaged.length)) : random(damaged.length)
        damaged[at] = random(2) === 0 ? 255 : random(256)
      }
      let node: BlockNode
      try {
        bench.files.contents.set(filename, damaged)
        const options = new Options([
          ['driver', format],
          ['read-only', true],
        ])
        node = bench.run(openImage(bench.context, { filename, options }))
      } catch (error) {
        if (!(error instanceof BlockError)) throw error
        noticed++
        continue
      }
      const backend = new BlockBackend(bench.graph, '')
      backend.attach(node, Permission.ConsistentRead, Permission.All)
      const endBytes = Math.min(node.lengthBytes, 200_000)
      for (let at = 0; at + 4096 <= endBytes; at += 4096) {
        if (bench.run(backend.pread(at, new Uint8Array(4096))) !== OK) noticed++
      }
      backend.dispose()
      bench.run(releaseNode(bench.context, node))
    }
    assert.ok(noticed > 0)
  })
}

test.run()
