import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { MemoryDriver } from '../../block/testing'
import { type Co, EIO, type Errno } from '../../co'
import { CHUNK, LENGTH, mirrorBench, plant } from './testing'

const CLUSTER = 4 * CHUNK

/**
 * A target that names a backing image which is not attached: the first write to a cluster fills the rest of it with
 * zeroes, and a cluster that was never written will show the backing image, here bytes of 0xbb.
 */
class Overlay extends MemoryDriver {
  readonly isWritten = new Uint8Array(LENGTH / CLUSTER)

  override info() {
    return { clusterBytes: CLUSTER, subclusterBytes: CLUSTER }
  }
  private touch(offsetBytes: number, lengthBytes: number): void {
    for (let cluster = Math.floor(offsetBytes / CLUSTER); cluster * CLUSTER < offsetBytes + lengthBytes; cluster++) {
      this.isWritten[cluster] = 1
    }
  }
  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    this.touch(offsetBytes, buffer.length)
    return yield* super.pwrite(offsetBytes, buffer, flags)
  }
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    assert.is(flags & 1, 0, 'deallocating would show the backing image')
    this.touch(offsetBytes, lengthBytes)
    return yield* super.pwriteZeroes(offsetBytes, lengthBytes, flags)
  }
  /** What a fresh open with the backing image reads. */
  finally(): Uint8Array {
    const bytes = this.data.slice()
    for (let cluster = 0; cluster < this.isWritten.length; cluster++) {
      if (this.isWritten[cluster] === 0) bytes.fill(0xbb, cluster * CLUSTER, (cluster + 1) * CLUSTER)
    }
    return bytes
  }
}

test('a full mirror writes every cluster of a target with a detached backing image', () => {
  const target = new Overlay(LENGTH)
  const bench = mirrorBench({ target })
  plant(bench.source, CHUNK, CHUNK, 1)
  const job = bench.start({ targetHasDetachedBacking: true })
  assert.is.not(job.view.cowWords, null)
  bench.complete(job)
  assert.equal(target.finally(), bench.source.data)
})

test('only whole clusters are written at first, in the background and in active writes', () => {
  for (const copyMode of ['background', 'write-blocking'] as const) {
    const target = new Overlay(LENGTH)
    const bench = mirrorBench({ target })
    // What the backing image holds is in the source too: it reads the same through its own.
    plant(bench.source, 0, LENGTH, 0xbb)
    const job = bench.start({ targetHasDetachedBacking: true, sync: 'none', copyMode })
    bench.clock.run()
    bench.write(CHUNK + 512, 512, 1)
    bench.run(bench.device.pwriteZeroes(CLUSTER + CHUNK, CHUNK))
    bench.run(bench.device.pwriteZeroes(2 * CLUSTER, CLUSTER))
    bench.clock.run()
    assert.equal([...target.isWritten], [1, 1, 1, 0], copyMode)
    assert.equal(target.finally(), bench.source.data, copyMode)
    const before = target.requests('write').length
    bench.write(CHUNK + 512, 512, 2)
    bench.clock.run()
    const last = target.requests('write').at(-1)!
    assert.is(target.requests('write').length, before + 1)
    assert.ok(last.lengthBytes <= CHUNK, 'the cluster is known to be whole')
    bench.complete(job)
    assert.equal(target.finally(), bench.source.data, copyMode)
  }
})

test('a cluster is whole when all of it has been written, and a part of it is not enough', () => {
  // The first write to a cluster, the range of the target's writes for it, and whether the cluster is whole afterwards.
  for (const [offsetBytes, lengthBytes] of [
    [0, CHUNK],
    [0, 512],
    [3 * CHUNK, CHUNK],
    [CLUSTER - 512, 512],
    [CHUNK, CLUSTER],
    [0, CLUSTER],
  ] as const) {
    const target = new Overlay(LENGTH)
    const bench = mirrorBench({ target })
    plant(bench.source, 0, LENGTH, 0xbb)
    const job = bench.start({ targetHasDetachedBacking: true, sync: 'none', copyMode: 'write-blocking' })
    bench.clock.run()
    bench.write(offsetBytes, lengthBytes, 1)
    const what = `${offsetBytes}+${lengthBytes}`
    assert.equal(target.finally(), bench.source.data, what)
    const clusters = Math.ceil((offsetBytes + lengthBytes) / CLUSTER)
    assert.is(job.view.cowWords![0], 2 ** (clusters * 4) - 1, what)
    assert.is(job.view.dirtyWords[0], 0, what)
    bench.write(offsetBytes, 512, 2)
    const last = target.requests('write').at(-1)!
    assert.equal([last.offsetBytes, last.lengthBytes], [offsetBytes, 512], what)
  }
})

test('what surrounds a change and cannot be read or written is an error of its own side', () => {
  for (const [kind, action] of [
    ['read', 'read'],
    ['write', 'write'],
  ] as const) {
    const target = new Overlay(LENGTH)
    const bench = mirrorBench({ target })
    plant(bench.source, 0, LENGTH, 0xbb)
    const job = bench.start({
      targetHasDetachedBacking: true,
      sync: 'none',
      copyMode: 'write-blocking',
      onSourceError: 'ignore',
      onTargetError: 'ignore',
    })
    bench.clock.run()
    let left = 1
    const disk = kind === 'read' ? bench.source : target
    disk.fail = (request) => (request.kind === kind && left-- > 0 ? EIO : 0)
    assert.is(bench.write(CHUNK, 512, 1), 0, 'the guest does not hear of it')
    const error = bench.events.find(({ event }) => event === 'BLOCK_JOB_ERROR')!
    assert.is(error.data['operation'], action)
    bench.clock.run()
    assert.equal([target.finally(), job.view.dirtyWords[0]], [bench.source.data, 0])
  }
})

/** Clusters smaller than chunks: the target would fill the rest of one with zeroes. */
class Small extends MemoryDriver {
  override info() {
    return { clusterBytes: 1024, subclusterBytes: 1024 }
  }
}

test('with clusters smaller than chunks, what surrounds a guest’s change in its clusters is written with it', () => {
  const lengthBytes = LENGTH + 512
  const cases: Array<[at: number, length: number, writes: Array<[number, number]>]> = [
    [1024, 2048, [[1024, 2048]]],
    [512, 256, [[0, 1024]]],
    [
      512,
      2048,
      [
        [0, 1024],
        [1024, 1024],
        [2048, 1024],
      ],
    ],
    [
      1024,
      1536,
      [
        [1024, 1024],
        [2048, 1024],
      ],
    ],
    [LENGTH, 512, [[LENGTH, 512]]],
    [LENGTH, 256, [[LENGTH, 512]]],
    [
      LENGTH - 512,
      1024,
      [
        [LENGTH - 1024, 1024],
        [LENGTH, 512],
      ],
    ],
  ]
  for (const [at, length, writes] of cases) {
    const target = new Small(lengthBytes)
    const bench = mirrorBench({ target, lengthBytes })
    bench.source.data.fill(0xbb)
    target.data.fill(0xbb)
    const job = bench.start({ targetHasDetachedBacking: true, sync: 'none', copyMode: 'write-blocking' })
    bench.clock.run()
    bench.write(at, length, 1)
    const what = `${at}+${length}`
    assert.equal(
      target.requests('write').map(({ offsetBytes, lengthBytes: bytes }) => [offsetBytes, bytes]),
      writes,
      what,
    )
    assert.equal([target.data, job.view.dirtyWords[0]], [bench.source.data, 0], what)
  }
})

test('surroundings that cannot be read are an error of the source, those that cannot be written one of the target', () => {
  for (const kind of ['read', 'write'] as const) {
    const target = new Small(LENGTH)
    const bench = mirrorBench({ target })
    plant(bench.source, 0, LENGTH, 0xbb)
    bench.start({
      targetHasDetachedBacking: true,
      sync: 'none',
      copyMode: 'write-blocking',
      onSourceError: 'ignore',
      onTargetError: 'ignore',
    })
    bench.clock.run()
    let left = 1
    const disk = kind === 'read' ? bench.source : target
    disk.fail = (request) => (request.kind === kind && left-- > 0 ? EIO : 0)
    bench.write(512, 256, 1)
    const error = bench.events.find(({ event }) => event === 'BLOCK_JOB_ERROR')!
    assert.is(error.data['operation'], kind)
    bench.clock.run()
    assert.equal(target.data.subarray(0, CHUNK), bench.source.data.subarray(0, CHUNK))
  }
})

test('a run of dirty chunks does not reach into a cluster that has not been written', () => {
  const target = new Overlay(LENGTH)
  const bench = mirrorBench({ target })
  plant(bench.source, 0, LENGTH, 0xbb)
  const job = bench.start({ targetHasDetachedBacking: true, sync: 'none' })
  bench.clock.run()
  bench.write(3 * CHUNK, 2 * CHUNK, 1)
  bench.complete(job)
  assert.equal(target.finally(), bench.source.data)
})

test.run()
