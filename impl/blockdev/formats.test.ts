/**
 * Formats that find clusters by tables, each by the same questions: what was written reads back, also after the image was
 * opened anew; status agrees with what is read; checks find what is wrong.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type BlockNode, RequestFlag, StatusFlag } from '../block'
import { randomFrom } from '../block/drivers/qcow2/testing'
import { type Co, EINVAL, EIO, ENOTSUP, OK } from '../co'
import { createImage } from './create'
import { openImage } from './open'
import { type BlockdevBench, blockdevBench } from './testing'
import { close, KiB, MiB, make, type Opened, open, SHAPES, shapeName } from './testing_formats'

/** Two requests at once, so that clusters are made while others look for them. */
function* both(bench: BlockdevBench, first: Co<number>, second: Co<number>): Co<number[]> {
  const results: number[] = []
  function* note(request: Co<number>): Co<void> {
    results.push(yield* request)
  }
  const { kernel } = bench.graph
  kernel.spawn(note(first), { id: 'first', hash: 1 })
  yield* note(second)
  while (results.length < 2) yield* kernel.sleepNs(1)
  return results
}

function* checkStatus({ node }: Opened, model: Uint8Array): Co<void> {
  for (let at = 0; at < node.lengthBytes; ) {
    const status = yield* node.blockStatus('want-zero', at, node.lengthBytes - at)
    assert.is(status.errno, OK)
    const isZero = (status.flags & StatusFlag.Zero) !== 0
    if (isZero)
      assert.ok(
        model.subarray(at, at + status.bytes).every((byte) => byte === 0),
        `zero at ${at}`,
      )
    if ((status.flags & StatusFlag.OffsetValid) !== 0) {
      const part = new Uint8Array(Math.min(status.bytes, 4096))
      assert.is(yield* (status.mapNode as BlockNode).driver.pread(status.mapOffsetBytes, part, 0), OK)
      assert.equal(Buffer.compare(part, model.subarray(at, at + part.length)), 0, `mapped at ${at}`)
    }
    at += status.bytes
  }
}

for (const shape of SHAPES) {
  const name = shapeName(shape)

  test(`${name}: reads what was written, now and after it was opened again`, () => {
    for (let seed = 1; seed <= 3; seed++) {
      const random = randomFrom(seed)
      const bench = blockdevBench()
      make(bench, shape)
      const model = new Uint8Array(shape.sizeBytes)
      let opened = open(bench, shape.format)
      assert.is(opened.node.lengthBytes, shape.sizeBytes)
      const piece = (number: number): [number, Uint8Array] => {
        const bytes = 1 + random(random(4) === 0 ? 2 * MiB : 9000)
        const at = random(Math.max(1, shape.sizeBytes - bytes))
        return [at, new Uint8Array(Math.min(bytes, shape.sizeBytes - at)).fill(number)]
      }
      for (let step = 1; step <= 12; step++) {
        const [at, bytes] = piece(step)
        // The second one is elsewhere, most often in the same clusters.
        const other = Math.floor((at + bytes.length) / 512 + 1) * 512
        const second = new Uint8Array(512).fill(100 + step)
        const fits = other + 512 <= shape.sizeBytes
        const { backend } = opened
        if (fits) assert.equal(bench.run(both(bench, backend.pwrite(at, bytes), backend.pwrite(other, second))), [OK, OK])
        else assert.is(bench.run(backend.pwrite(at, bytes)), OK)
        model.set(bytes, at)
        if (fits) model.set(second, other)
        if (random(4) === 0) {
          const zeroAt = random(shape.sizeBytes - 5000)
          assert.is(bench.run(backend.pwriteZeroes(zeroAt, 5000, random(2))), OK)
          model.fill(0, zeroAt, zeroAt + 5000)
        }
        if (random(5) === 0) {
          close(bench, opened)
          opened = open(bench, shape.format)
        }
      }
      const read = new Uint8Array(shape.sizeBytes)
      assert.is(bench.run(opened.backend.pread(0, read)), OK)
      assert.is(Buffer.compare(read, model), 0, `seed ${seed}`)
      bench.run(checkStatus(opened, model))
      close(bench, opened)
      assert.is(bench.files.openCount, 0, 'all files are closed')
    }
  })

  test(`${name}: is recognised by its first bytes`, () => {
    const bench = blockdevBench()
    make(bench, shape)
    const node = bench.run(openImage(bench.context, { filename: 'i' }))
    // A fixed image has its mark at the end only.
    assert.is(node.driver.name, shape.option?.includes('fixed') ? 'raw' : shape.format)
  })
}

for (const format of ['qcow', 'qed', 'vmdk']) {
  test(`${format}: an overlay shows what lies below until it is written to, and keeps what surrounds a write`, () => {
    for (let seed = 1; seed <= 4; seed++) {
      const random = randomFrom(seed)
      const bench = blockdevBench()
      bench.run(createImage(bench.context, { filename: 'base', format, sizeBytes: 700 * KiB }))
      const given = { filename: 'i', format, backingFilename: 'base', backingFormat: format, sizeBytes: MiB }
      const model = new Uint8Array(MiB)
      const change = (filename: string, limitBytes: number): void => {
        const opened = open(bench, format, filename)
        for (let step = 1; step <= 10; step++) {
          const bytes = 1 + random(random(3) === 0 ? 200 * KiB : 2000)
          const at = random(limitBytes - bytes)
          const isZero = random(4) === 0
          model.fill(isZero ? 0 : step + random(200), at, at + bytes)
          const request = isZero
            ? opened.backend.pwriteZeroes(at, bytes, random(2))
            : opened.backend.pwrite(at, model.slice(at, at + bytes))
          assert.is(bench.run(request), OK)
        }
        close(bench, opened)
      }
      change('base', 700 * KiB)
      const base = bench.files.contents.get('base')!.slice()
      bench.run(createImage(bench.context, given))
      change('i', MiB)
      change('i', MiB)
      const opened = open(bench, format)
      const read = new Uint8Array(MiB)
      assert.is(bench.run(opened.backend.pread(0, read)), OK)
      assert.is(Buffer.compare(read, model), 0, `seed ${seed}`)
      bench.run(checkStatus(opened, model))
      close(bench, opened)
      assert.is(Buffer.compare(bench.files.contents.get('base')!, base), 0, 'nobody writes below')
    }
  })
}

test('qcow: compressed clusters are read, and replaced by plain ones when they are written to', () => {
  const bench = blockdevBench()
  make(bench, { format: 'qcow', sizeBytes: MiB })
  const { node, backend } = open(bench, 'qcow')
  const cluster = new Uint8Array(4096).map((_, at) => at >>> 5)
  assert.is(bench.run(backend.pwrite(8192, cluster, RequestFlag.Compressed)), OK)
  const packed = bench.run(node.blockStatus('want-zero', 8192, 4096))
  assert.is(packed.flags & (StatusFlag.Data | StatusFlag.OffsetValid), StatusFlag.Data)
  assert.is(bench.run(backend.pwrite(9000, new Uint8Array(10).fill(255))), OK)
  cluster.fill(255, 808, 818)
  const read = new Uint8Array(4096)
  assert.is(bench.run(backend.pread(8192, read)), OK)
  assert.is(Buffer.compare(read, cluster), 0)
  const plain = bench.run(node.blockStatus('want-zero', 8192, 4096))
  assert.is(plain.flags & StatusFlag.OffsetValid, StatusFlag.OffsetValid)
  close(bench, { node, backend })
})

test('qcow: an emptied image shows what lies below again', () => {
  const bench = blockdevBench()
  make(bench, { format: 'qcow', sizeBytes: MiB })
  const { node, backend } = open(bench, 'qcow')
  const lengthBytes = (): number => bench.files.contents.get('i')!.length
  const before = lengthBytes()
  assert.is(bench.run(backend.pwrite(8192, new Uint8Array(5000).fill(1))), OK)
  assert.ok(lengthBytes() > before)
  assert.is(bench.run(node.driver.makeEmpty()), OK)
  assert.ok(lengthBytes() <= before)
  const read = new Uint8Array(5000)
  assert.is(bench.run(backend.pread(8192, read)), OK)
  assert.is(
    read.findIndex((byte) => byte !== 0),
    -1,
  )
  assert.is(bench.run(backend.pwrite(8192, read.fill(2))), OK)
  close(bench, { node, backend })
})

/** An image of five clusters, of which the first and the last are used, and one is marked as zero. */
function qedBench(): BlockdevBench {
  const bench = blockdevBench()
  make(bench, { format: 'qed', option: 'cluster_size=4096,table_size=1', sizeBytes: 20 * KiB })
  const opened = open(bench, 'qed')
  for (const at of [0, 16 * KiB]) assert.is(bench.run(opened.backend.pwrite(at, new Uint8Array(4096).fill(1))), OK)
  assert.is(bench.run(opened.backend.pwriteZeroes(8 * KiB, 4096)), OK)
  close(bench, opened)
  return bench
}
const QED_TABLE_AT = 3 * 4096
const QED_FEATURES_AT = 16

test('qed: damage is counted, and entries that lead nowhere are emptied', () => {
  const bench = qedBench()
  const view = new DataView(bench.files.contents.get('i')!.buffer)
  const counts = (fix: 'none' | 'all'): number[] => {
    const opened = open(bench, 'qed')
    const result = bench.run(opened.node.driver.checkImage(fix, () => {}))
    close(bench, opened)
    assert.is(result.errno, OK)
    const { corruptions, leaks, corruptionsFixed, allocatedClusters, totalClusters } = result
    return [corruptions, leaks, corruptionsFixed, allocatedClusters, totalClusters]
  }
  assert.equal(counts('none'), [0, 0, 0, 2, 5])
  const first = view.getBigUint64(QED_TABLE_AT, true)
  view.setBigUint64(QED_TABLE_AT + 8, first, true)
  assert.equal(counts('none'), [1, 0, 0, 3, 5], 'one cluster for two places')
  view.setBigUint64(QED_TABLE_AT, 0n, true)
  view.setBigUint64(QED_TABLE_AT + 8, 77n, true)
  assert.equal(counts('none'), [1, 1, 0, 2, 5])
  assert.equal(counts('all'), [0, 1, 1, 2, 5])
  assert.equal(counts('none'), [0, 1, 0, 1, 5])
})

test('qed: an image that was not closed is repaired when it is opened for writing, and says so until then', () => {
  const bench = qedBench()
  const bytes = bench.files.contents.get('i')!
  assert.is(bytes[QED_FEATURES_AT], 0, 'closed cleanly')
  bytes[QED_FEATURES_AT] = 2
  new DataView(bytes.buffer).setBigUint64(QED_TABLE_AT, 77n, true)
  const opened = open(bench, 'qed')
  assert.is(bench.files.contents.get('i')![QED_FEATURES_AT], 0)
  const read = new Uint8Array(4096).fill(9)
  assert.is(bench.run(opened.backend.pread(0, read)), OK)
  assert.is(read[0], 0)
  assert.is(bench.run(opened.backend.pwrite(4096, read.fill(3))), OK)
  assert.is(bench.files.contents.get('i')![QED_FEATURES_AT], 2, 'while new clusters are made')
  close(bench, opened)
  assert.is(bench.files.contents.get('i')![QED_FEATURES_AT], 0)
})

test('qed: grows, does not shrink, and changes the name of what lies below', () => {
  const bench = qedBench()
  const opened = open(bench, 'qed')
  assert.is(bench.run(opened.backend.truncate(MiB, false, 'off')), OK)
  assert.is(opened.node.lengthBytes, MiB)
  assert.is(bench.run(opened.backend.truncate(4096, false, 'off')), ENOTSUP)
  assert.is(bench.run(opened.backend.truncate(2 ** 50, false, 'off')), EINVAL)
  assert.is(bench.run(opened.node.driver.changeBackingFile('below', 'raw')), OK)
  close(bench, opened)
  bench.run(createImage(bench.context, { filename: 'below', format: 'raw', sizeBytes: MiB }))
  const again = open(bench, 'qed')
  assert.is(again.node.backing?.node.driver.name, 'raw')
  close(bench, again)
})

test('vdi: what is wrong with the map is told and not repaired', () => {
  const bench = blockdevBench()
  make(bench, SHAPES[0]!)
  const opened = open(bench, 'vdi')
  for (const at of [0, MiB, 2 * MiB]) assert.is(bench.run(opened.backend.pwrite(at, new Uint8Array(512).fill(1))), OK)
  close(bench, opened)
  const view = new DataView(bench.files.contents.get('i')!.buffer)
  view.setUint32(512 + 4, 0, true)
  view.setUint32(512 + 8, 77, true)
  const again = open(bench, 'vdi')
  const lines: string[] = []
  const result = bench.run(again.node.driver.checkImage('none', (line) => lines.push(line)))
  assert.equal(lines, [
    'ERROR: block index 1 also used by 0',
    'ERROR: block index 2 too large, is 77',
    'ERROR: allocated blocks mismatch, is 2, should be 3',
  ])
  assert.is(result.corruptions, 3)
  close(bench, again)
})

test('vmdk: an overlay shows its base until that one has changed', () => {
  const bench = blockdevBench()
  bench.run(createImage(bench.context, { filename: 'base', format: 'vmdk', sizeBytes: MiB }))
  const write = (filename: string, byte: number): void => {
    const { node, backend } = open(bench, 'vmdk', filename)
    assert.is(bench.run(backend.pwrite(1000, new Uint8Array(3000).fill(byte))), OK)
    close(bench, { node, backend })
  }
  write('base', 1)
  const given = { filename: 'i', format: 'vmdk', backingFilename: 'base', backingFormat: 'vmdk' }
  bench.run(createImage(bench.context, given))
  const above = open(bench, 'vmdk')
  const bytes = new Uint8Array(4096)
  assert.is(bench.run(above.backend.pwrite(2000, new Uint8Array(10).fill(7))), OK)
  assert.is(bench.run(above.backend.pread(0, bytes)), OK)
  assert.equal([bytes[999], bytes[1000], bytes[1999], bytes[2000], bytes[2010], bytes[4000]], [0, 1, 1, 7, 1, 0])
  close(bench, above)
  write('base', 2)
  const again = open(bench, 'vmdk')
  assert.is(bench.run(again.backend.pread(0, bytes)), OK, 'its own grain')
  assert.is(bench.run(again.backend.pread(128 * KiB, bytes)), EINVAL)
  assert.is(bench.run(again.backend.pwrite(128 * KiB, bytes)), EINVAL)
  close(bench, again)
  bench.run(createImage(bench.context, { filename: 'raw', format: 'raw', sizeBytes: MiB }))
  const over = { ...given, filename: 'o', backingFilename: 'raw', backingFormat: 'raw' }
  assert.throws(() => bench.run(createImage(bench.context, over)), /backing_file must be a vmdk image/)
})

test('vmdk: compressed grains are written whole and once', () => {
  const bench = blockdevBench()
  make(bench, { format: 'vmdk', option: 'subformat=streamOptimized', sizeBytes: 200 * KiB })
  const { node, backend } = open(bench, 'vmdk')
  const grain = new Uint8Array(64 * KiB).map((_, at) => (at >>> 7) & 255)
  assert.is(node.driver.needsCompressedWrites, true)
  assert.is(bench.run(backend.pwrite(0, grain.subarray(0, 512))), EINVAL)
  assert.is(bench.run(backend.pwrite(0, grain)), OK)
  assert.is(bench.run(backend.pwrite(0, grain)), EIO)
  assert.is(bench.run(backend.pwrite(192 * KiB, grain.subarray(0, 8 * KiB))), OK, 'up to the end of the disk')
  const read = new Uint8Array(64 * KiB)
  assert.is(bench.run(backend.pread(0, read)), OK)
  assert.is(Buffer.compare(read, grain), 0)
  assert.ok(bench.files.contents.get('i')!.length < 128 * KiB)
  close(bench, { node, backend })
})

test.run()
