import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { createSparseFile, measureChild } from './bench_copy'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bench-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))
const MIB = 1024 * 1024

test('a quarter of the file is data, and the rest takes no room', () => {
  const file = path.join(folder, 'sparse.raw')
  createSparseFile(file, 16 * MIB)
  const { size, blocks } = fs.statSync(file)
  assert.is(size, 16 * MIB)
  assert.ok(blocks * 512 <= 5 * MIB, `${blocks * 512} bytes allocated`)
  const bytes = fs.readFileSync(file)
  for (let at = 0; at < 16 * MIB; at += 4 * MIB) {
    assert.not.ok(bytes.subarray(at, at + MIB).equals(Buffer.alloc(MIB)))
    assert.ok(bytes.subarray(at + MIB, at + 4 * MIB).equals(Buffer.alloc(3 * MIB)))
  }
})

test('a child is charged with what it used, its memory included', async () => {
  const spin = 'const end = process.cpuUsage().user + 200000; const held = Buffer.alloc(200 << 20, 1);'
  const usage = await measureChild(process.execPath, ['-e', `${spin} while (process.cpuUsage().user < end); held.fill(2)`])
  assert.ok(usage.cpuSeconds >= 0.2 && usage.cpuSeconds < 20, `${usage.cpuSeconds} CPU s`)
  assert.ok(usage.peakBytes >= 200 * MIB && usage.peakBytes < 2000 * MIB, `${usage.peakBytes} bytes`)
})

test('a child that fails is an error with what it said', async () => {
  try {
    await measureChild(process.execPath, ['-e', 'console.error("no such disk"); process.exit(7)'])
    assert.unreachable()
  } catch (error) {
    assert.match((error as Error).message, /fails with code 7: no such disk/)
  }
})

test.run()
