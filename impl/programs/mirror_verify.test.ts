import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { HostFile } from '../block'
import { type Co, EIO, ENOTSUP } from '../co'
import { HostLoop, RealFiles } from '../host'
import { loadNative } from '../host/native'
import { type Comparison, compareFiles } from './mirror_verify'

const MIB = 1024 * 1024
const nativeTest = loadNative() === null ? test.skip : test
const LENGTH_BYTES = 8 * MIB
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'verify-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))

/** A sparse file with bytes at some offsets. */
function makeFile(name: string, bytes: ReadonlyArray<readonly [offsetBytes: number, data: Buffer]>): string {
  const file = path.join(folder, name)
  const descriptor = fs.openSync(file, 'w')
  fs.ftruncateSync(descriptor, LENGTH_BYTES)
  for (const [offsetBytes, data] of bytes) fs.writeSync(descriptor, data, 0, data.length, offsetBytes)
  fs.closeSync(descriptor)
  return file
}

interface Compared extends Comparison<HostFile> {
  /** Reads of both files. */
  reads: number
}

function compare(left: string, right: string, change: (file: HostFile) => void = () => {}): Promise<Compared> {
  const loop = new HostLoop()
  const files = new RealFiles(loop)
  let reads = 0
  function* open(name: string): Co<HostFile> {
    const file = yield* files.open(name, { readOnly: true, direct: false })
    const pread = file.pread.bind(file)
    file.pread = (offsetBytes, buffer) => {
      reads++
      return pread(offsetBytes, buffer)
    }
    change(file)
    return file
  }
  function* main(): Co<Compared> {
    const pair = [yield* open(left), yield* open(right)] as const
    const comparison = yield* compareFiles(loop.kernel, ...pair, LENGTH_BYTES, () => {})
    for (const file of pair) yield* file.close()
    return { ...comparison, reads }
  }
  return loop.run(main())
}

const DATA = Buffer.alloc(2 * MIB, 'data')

nativeTest('equal files are equal, and what is a hole in both is not read', async () => {
  const left = makeFile('left', [[4 * MIB, DATA]])
  const right = makeFile('right', [[4 * MIB, DATA]])
  const { differenceBytes, reads } = await compare(left, right)
  assert.is(differenceBytes, null)
  assert.is(reads, 4)
})

test('a hole is equal to zeroes', async () => {
  const left = makeFile('left', [[4 * MIB, DATA]])
  const right = makeFile('right', [
    [0, Buffer.alloc(LENGTH_BYTES)],
    [4 * MIB, DATA],
  ])
  assert.is((await compare(left, right)).differenceBytes, null)
  assert.is((await compare(right, left)).differenceBytes, null)
})

test('the first byte that differs is told, wherever it is', async () => {
  const plain = makeFile('plain', [[4 * MIB, DATA]])
  for (const atBytes of [0, 12345, 4 * MIB - 1, 4 * MIB, 5 * MIB + 7, 6 * MIB, LENGTH_BYTES - 1]) {
    const changed = makeFile('changed', [
      [4 * MIB, DATA],
      [atBytes, Buffer.from([255])],
      [LENGTH_BYTES - 1, Buffer.from([254])],
    ])
    assert.is((await compare(plain, changed)).differenceBytes, atBytes)
    assert.is((await compare(changed, plain)).differenceBytes, atBytes)
  }
})

test('data that has become a hole is a difference', async () => {
  const left = makeFile('left', [[4 * MIB, DATA]])
  assert.is((await compare(left, makeFile('right', []))).differenceBytes, 4 * MIB)
})

test('where holes cannot be told from data, all is read', async () => {
  const left = makeFile('left', [[4 * MIB, DATA]])
  const right = makeFile('right', [[4 * MIB, DATA]])
  const { differenceBytes, reads } = await compare(left, right, (file) => {
    file.extentAt = function* (offsetBytes) {
      return { errno: ENOTSUP, isData: true, endBytes: offsetBytes }
    }
  })
  assert.is(differenceBytes, null)
  assert.is(reads, 16)
})

test('a read that fails is told, with its file', async () => {
  const left = makeFile('left', [[4 * MIB, DATA]])
  const right = makeFile('right', [[4 * MIB, DATA]])
  const { errno, failed } = await compare(left, right, (file) => {
    if (file.path === right) {
      file.pread = function* () {
        return EIO
      }
    }
  })
  assert.is(errno, EIO)
  assert.is(failed?.path, right)
})

test.run()
