import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { OK } from '../co'
import { RealFiles } from './files'
import { HostLoop } from './loop'
import { loadNative } from './native'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mirrorsim-fdset-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))

function bench(native = loadNative()) {
  const loop = new HostLoop()
  const files = new RealFiles(loop, native)
  const name = path.join(folder, 'disk')
  fs.writeFileSync(name, Buffer.alloc(4096, 'disk'))
  const both = fs.openSync(name, 'r+')
  const reading = fs.openSync(name, 'r')
  return { loop, files, name, both, reading }
}

for (const [how, native] of [
  ['with system calls', loadNative()],
  ['without', null],
] as const) {
  test(`a set gives a descriptor for what is wanted, ${how}`, async () => {
    const { loop, files, both, reading } = bench(native)
    files.fdSets.add(reading, 2, null)
    assert.throws(
      () => files.fdSets.open('/dev/fdset/2', false),
      /^Could not dup FD for \/dev\/fdset\/2 flags 2: Permission denied/,
    )
    files.fdSets.add(both, 2, 'tea')
    fs.closeSync(both)
    const open = function* () {
      const file = yield* files.open('/dev/fdset/2', { readOnly: false, direct: false })
      const errno = yield* file.pwrite(0, new Uint8Array(512).fill(7))
      return { errno, file }
    }
    const { errno, file } = await loop.run(open())
    assert.is(errno, OK)
    // What is open stays open when the set has nothing left, and the set is known until it is closed.
    assert.ok(files.fdSets.remove(2, null))
    assert.equal(files.fdSets.query(), [{ id: 2, descriptors: [] }])
    const buffer = new Uint8Array(512)
    const close = function* () {
      const readErrno = yield* file.pread(0, buffer)
      return [readErrno, yield* file.close()]
    }
    assert.equal(await loop.run(close()), [OK, OK])
    assert.is(buffer[511], 7)
    assert.equal(files.fdSets.query(), [])
    assert.not(files.fdSets.remove(2, null))
  })
}

test('what is no descriptor of an image is refused', () => {
  const { files, both } = bench()
  assert.throws(() => files.fdSets.add(-1, 1, null), /^fd option is required and must be non-negative/)
  assert.throws(() => files.fdSets.add(1, 1, null), /^fd cannot be a standard I\/O stream/)
  assert.throws(() => files.fdSets.add(9999, 1, null), /^fd is not valid or already in use/)
  assert.throws(() => files.fdSets.add(both, -1, null), /^set option is required and must be non-negative/)
  assert.throws(() => files.fdSets.open('/dev/fdset/x', true), /^Could not parse fdset \/dev\/fdset\/x/)
  assert.throws(() => files.fdSets.open('/dev/fdset/1', true), /^Could not dup FD for \/dev\/fdset\/1 flags 0: No such file/)
  assert.not(files.isDevice('/dev/fdset/1'))
})

test('one descriptor of several goes', () => {
  const { files, both, reading } = bench()
  files.fdSets.add(both, 3, 'one')
  files.fdSets.add(reading, 3, null)
  files.fdSets.add(reading, 4, null)
  const [highest, lower] = files.fdSets.query()
  assert.equal([highest!.id, lower!.id], [4, 3])
  const [first, second] = lower!.descriptors
  assert.equal([first!.opaque, second!.opaque], ['one', null])
  assert.ok(files.fdSets.remove(3, first!.descriptor))
  assert.not(files.fdSets.remove(3, first!.descriptor))
  assert.equal(files.fdSets.query()[1]!.descriptors, [second])
})

test.run()
