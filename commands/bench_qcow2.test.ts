import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ourProgram, type Qcow2Cell, qcow2Text, stepOf } from './bench_qcow2'
import type { Qcow2Work } from './bench_qcow2_ours'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bench-qcow2-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))
const MIB = 1024 * 1024

test('random requests visit every place before any a second time', () => {
  for (const requestBytes of [4096, 65536]) {
    const stepBytes = stepOf(true, requestBytes, 16 * MIB)
    const visited = new Set<number>()
    for (let number = 0, at = 0; number < (16 * MIB) / requestBytes; number++, at = (at + stepBytes) % (16 * MIB)) visited.add(at)
    assert.is(visited.size, (16 * MIB) / requestBytes)
    assert.not.equal(stepBytes, requestBytes)
  }
  assert.is(stepOf(false, 4096, 16 * MIB), 4096)
})

test('our side makes an image, fills it, zeroes it and reads it, at depth', async () => {
  const [program, args] = await ourProgram(path.resolve(__dirname, '..'), folder)
  const file = path.join(folder, 'image.qcow2')
  const run = (work: Partial<Qcow2Work>): { status: number | null; stderr: string } => {
    const whole: Qcow2Work = { file, operation: 'read', requestBytes: 65536, stepBytes: 65536, count: 32, depth: 4, ...work }
    return spawnSync(program, [...args, JSON.stringify(whole)], { encoding: 'utf8' })
  }
  assert.is(run({ create: { sizeBytes: 4 * MIB, preallocation: 'off' } }).stderr, '')
  const emptyBytes = fs.statSync(file).size
  assert.is(run({ operation: 'write' }).stderr, '')
  assert.ok(fs.statSync(file).size >= emptyBytes + 2 * MIB, 'half of the disk has clusters now')
  assert.is(run({ operation: 'zero' }).stderr, '')
  assert.is(run({ operation: 'read', count: 100 }).stderr, '')
  const failed = run({ file: path.join(folder, 'absent') })
  assert.is(failed.status, 1)
  assert.match(failed.stderr, /No such file or directory/)
})

test('a table has a line for each row and a column for each size', () => {
  const cell = { row: 'read, random', depth: 1, count: 10, ratioMin: 0.4, ratioMax: 0.6 }
  const cells: Qcow2Cell[] = [
    { ...cell, requestBytes: 65536, oursUs: 5, peerUs: 10, ratio: 0.5 },
    { ...cell, requestBytes: MIB, oursUs: 90, peerUs: 100, ratio: 0.9 },
  ]
  const shape = { clusterBytes: 65536, extendedL2: false }
  const lines = qcow2Text(cells, shape).split('\n')
  assert.is(lines.length, 3)
  assert.match(lines[1]!, /clusters of 64 KiB +depth\s+64 KiB\s+1 MiB$/)
  assert.match(lines[2]!, /^ {2}read, random\s+1\s+5\.0\s+10\.0\s+0\.50\s+90\.0\s+100\.0\s+0\.90$/)
  assert.match(qcow2Text([{ ...cells[0]!, peerUs: null, ratio: null }], shape), /skipped/)
})

test.run()
