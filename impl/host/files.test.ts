import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockError, type HostFile, type HostFiles, Permission } from '../block'
import { openFile } from '../block/drivers/file'
import { type Co, EAGAIN, EBADF, EFBIG, EISDIR, ENOENT, ENOTSUP, OK } from '../co'
import { identityOf, RealFiles } from './files'
import { HostLoop } from './loop'
import { loadNative } from './native'

const KIB = 1024
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'host-files-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))

const native = loadNative()
const nativeTest = native === null ? test.skip : test

/** A sparse file of the given length with data at the given offset. */
function makeFile(name: string, lengthBytes: number, dataAtBytes = 0, data = Buffer.alloc(0)): string {
  const file = path.join(folder, name)
  const descriptor = fs.openSync(file, 'w')
  fs.ftruncateSync(descriptor, lengthBytes)
  fs.writeSync(descriptor, data, 0, data.length, dataAtBytes)
  fs.closeSync(descriptor)
  return file
}

/** Opens a file, does something with it, and closes it. */
function using<T>(
  file: string,
  body: (file: HostFile) => Co<T>,
  options: { readOnly?: boolean; direct?: boolean; aio?: 'threads' | 'native' } = {},
  available = native,
): Promise<T> {
  const loop = new HostLoop()
  const files: HostFiles = new RealFiles(loop, available)
  function* main(): Co<T> {
    const opened = yield* files.open(file, { readOnly: false, direct: false, ...options })
    const result = yield* body(opened)
    assert.is(yield* opened.close(), OK)
    return result
  }
  return loop.run(main())
}

async function refusal(promise: Promise<unknown>): Promise<BlockError> {
  const error = await promise.then(
    () => assert.unreachable('it should have been refused'),
    (reason) => reason,
  )
  assert.instance(error, BlockError)
  return error
}

for (const aio of ['native', 'threads'] as const) {
  test(`what is written with ${aio} calls is read again, and zeroes beyond the end`, async () => {
    const file = makeFile(`transfer-${aio}`, 100 * KIB)
    const data = Buffer.alloc(70 * KIB, 'mirror')
    const read = Buffer.alloc(80 * KIB, 1)
    await using(
      file,
      function* (opened) {
        assert.is(yield* opened.pwrite(30 * KIB, data), OK)
        assert.is(yield* opened.sync(), OK)
        assert.is(yield* opened.pread(30 * KIB, read), OK)
      },
      { aio },
    )
    assert.ok(read.subarray(0, data.length).equals(data))
    assert.ok(read.subarray(data.length).equals(Buffer.alloc(10 * KIB)))
    assert.ok(
      fs
        .readFileSync(file)
        .subarray(30 * KIB)
        .equals(data),
    )
  })

  test(`an error of ${aio} calls is an errno`, async () => {
    const file = makeFile(`error-${aio}`, KIB)
    const errno = await using(file, (opened) => opened.pwrite(0, Buffer.alloc(KIB)), { aio, readOnly: true })
    assert.is(errno, EBADF)
  })
}

test('calls in threads run side by side', async () => {
  const file = makeFile('parallel', 16 * KIB)
  const order: string[] = []
  await using(
    file,
    function* (opened) {
      const { kernel } = loopOf(opened)
      function* reader(name: string): Co<void> {
        order.push(`+${name}`)
        yield* opened.pread(0, Buffer.alloc(KIB))
        order.push('-')
      }
      const readers = ['a', 'b'].map((name) => kernel.spawn(reader(name)))
      for (const each of readers) yield* kernel.join(each)
    },
    { aio: 'threads' },
  )
  assert.equal(order, ['+a', '+b', '-', '-'])
})

function loopOf(file: HostFile): HostLoop {
  return (file as unknown as { loop: HostLoop }).loop
}

test('traits are those of the file', async () => {
  const file = makeFile('traits', 1000, 0, Buffer.alloc(1000, 1))
  const link = path.join(folder, 'traits-link')
  fs.linkSync(file, link)
  const traits = await using(file, function* (opened) {
    return opened.traits()
  })
  assert.is(traits.lengthBytes, 1000)
  assert.is(traits.isBlockDevice, false)
  assert.is(traits.alignmentBytes, 1)
  assert.is(traits.identity, identityOf(link))
  assert.is.not(traits.identity, identityOf(folder))
  assert.is(identityOf(path.join(folder, 'absent')), null)
})

nativeTest('holes and data are told apart, to the end of the file', async () => {
  const file = makeFile('extents', 1024 * KIB, 256 * KIB, Buffer.alloc(128 * KIB, 1))
  const extents = await using(file, function* (opened) {
    const found = []
    for (let at = 0; at < 1024 * KIB; ) {
      const extent = yield* opened.extentAt(at)
      found.push([extent.errno, extent.isData, extent.endBytes / KIB])
      at = extent.endBytes
    }
    return found
  })
  assert.equal(extents, [
    [OK, false, 256],
    [OK, true, 384],
    [OK, false, 1024],
  ])
})

nativeTest('a punched hole reads zero, takes no room, and leaves what is around it alone', async () => {
  const file = makeFile('punch', 256 * KIB, 0, Buffer.alloc(256 * KIB, 1))
  const before = fs.statSync(file).blocks
  const errno = await using(file, (opened) => opened.punchHole(64 * KIB, 128 * KIB))
  assert.is(errno, OK)
  assert.is(before - fs.statSync(file).blocks, 256)
  const expected = Buffer.alloc(256 * KIB, 1).fill(0, 64 * KIB, 192 * KIB)
  assert.ok(fs.readFileSync(file).equals(expected))
})

nativeTest('allocation takes room without changing what is read', async () => {
  const file = makeFile('allocate', 256 * KIB, 0, Buffer.alloc(4 * KIB, 1))
  assert.is(await using(file, (opened) => opened.allocate(0, 256 * KIB)), OK)
  assert.ok(fs.statSync(file).blocks >= 512)
  assert.ok(
    fs
      .readFileSync(file)
      .subarray(4 * KIB)
      .equals(Buffer.alloc(252 * KIB)),
  )
})

nativeTest('direct I/O takes memory from anywhere', async () => {
  const file = makeFile('direct', 2048 * KIB)
  const data = Buffer.alloc(1028 * KIB, 'direct')
  const misaligned = Buffer.alloc(data.length + 1).subarray(1)
  const traits = await using(
    file,
    function* (opened) {
      assert.is(yield* opened.pwrite(512 * KIB, data), OK)
      assert.is(yield* opened.pread(512 * KIB, misaligned), OK)
      return opened.traits()
    },
    { direct: true },
  )
  assert.ok(misaligned.equals(data))
  assert.ok(traits.alignmentBytes >= 512 && traits.alignmentBytes <= 4096, String(traits.alignmentBytes))
})

nativeTest('a direct read past an end inside a block gives zeroes', async () => {
  const file = makeFile('direct-tail', 5000, 0, Buffer.alloc(5000, 7))
  const read = Buffer.alloc(8192, 1)
  assert.is(await using(file, (opened) => opened.pread(0, read), { direct: true, readOnly: true }), OK)
  assert.ok(read.equals(Buffer.concat([Buffer.alloc(5000, 7), Buffer.alloc(3192)])))
})

test('without native calls files are read and written, and nothing is known of holes', async () => {
  const file = makeFile('plain', 64 * KIB)
  await using(
    file,
    function* (opened) {
      assert.is(yield* opened.pwrite(0, Buffer.alloc(KIB, 1)), OK)
      assert.is(yield* opened.punchHole(0, KIB), ENOTSUP)
      assert.is(yield* opened.zeroRange(0, KIB, true), ENOTSUP)
      assert.is(yield* opened.allocate(0, KIB), ENOTSUP)
      assert.is((yield* opened.extentAt(0)).errno, ENOTSUP)
      assert.is(opened.traits().canPunchHoles, false)
    },
    {},
    null,
  )
})

test('what cannot be an image is refused with the path and the reason', async () => {
  const nothing = function* (): Co<void> {}
  const absent = path.join(folder, 'absent')
  const missing = await refusal(using(absent, nothing))
  assert.is(missing.errno, ENOENT)
  assert.is(missing.message, `Could not open '${absent}': No such file or directory`)
  assert.is((await refusal(using(folder, nothing))).errno, EISDIR)
  const pipe = path.join(folder, 'pipe')
  execFileSync('mkfifo', [pipe])
  assert.match((await refusal(using(pipe, nothing))).message, /neither a regular file nor a block device/)
  assert.match((await refusal(using(absent, nothing, { direct: true }, null))).message, /does not support O_DIRECT/)
})

test('a file whose offsets are no exact numbers is refused', async () => {
  const file = makeFile('huge', 0)
  const machine: typeof fs = require('node:fs')
  const real = machine.fstatSync
  machine.fstatSync = ((descriptor: number) => Object.assign(real(descriptor), { size: 2 ** 53 })) as typeof real
  try {
    const error = await refusal(using(file, function* () {}))
    assert.is(error.errno, EFBIG)
  } finally {
    machine.fstatSync = real
  }
})

nativeTest('the system copies between two files, but not where slow calls are to be made in threads', async () => {
  const data = Buffer.alloc(300 * KIB, 'range')
  const from = makeFile('copy-from', 400 * KIB, 0, data)
  const to = makeFile('copy-to', 400 * KIB)
  const loop = new HostLoop()
  const files: HostFiles = new RealFiles(loop)
  function* copy(aio: 'threads' | 'native'): Co<void> {
    const source = yield* files.open(from, { readOnly: true, direct: false })
    const target = yield* files.open(to, { readOnly: false, direct: false, aio })
    assert.is(target.copiesFrom?.(source), aio === 'native')
    if (aio === 'native') assert.is(yield* target.copyFrom!(source, 64 * KIB, 128 * KIB), OK)
    // A file that ends earlier than was said.
    if (aio === 'native') assert.is(yield* target.copyFrom!(source, 400 * KIB, KIB), ENOTSUP)
    yield* source.close()
    yield* target.close()
  }
  await loop.run(copy('threads'))
  await loop.run(copy('native'))
  const found = fs.readFileSync(to)
  assert.ok(found.subarray(64 * KIB, 192 * KIB).equals(data.subarray(64 * KIB, 192 * KIB)))
  assert.ok(found.subarray(0, 64 * KIB).equals(Buffer.alloc(64 * KIB)))
  assert.ok(found.subarray(192 * KIB).equals(Buffer.alloc(208 * KIB)))
})

nativeTest('descriptors see each other’s locks, not their own, and a file in use is not emptied', async () => {
  const file = makeFile('locks', KIB, 0, Buffer.alloc(KIB, 1))
  const loop = new HostLoop()
  const files = new RealFiles(loop)
  function* main(): Co<void> {
    const first = yield* openFile(files, { filename: file, locking: 'on' })
    const second = yield* files.open(file, { readOnly: true, direct: false })
    const undo = first.setPermissions(Permission.Write, Permission.All & ~Permission.Resize)
    assert.is(first.file.testLock?.(101), OK)
    assert.is(second.testLock?.(101), EAGAIN)
    assert.is(second.testLock?.(203), EAGAIN)
    assert.is(second.testLock?.(100), OK)
    let text = ''
    try {
      yield* files.create(file, 0)
    } catch (error) {
      text = (error as BlockError).message
    }
    assert.is(text, 'Failed to get "resize" lock')
    assert.is(fs.statSync(file).size, KIB)
    undo?.()
    assert.is(second.testLock?.(101), OK)
    yield* (yield* files.create(file, 0)).close()
    assert.is(fs.statSync(file).size, 0)
    yield* first.close()
    yield* second.close()
  }
  await loop.run(main())
})

nativeTest('memory for transfers starts at a page and is all there', () => {
  const files = new RealFiles(new HostLoop())
  for (const bytes of [1, 512, 64 * KIB, 1024 * KIB]) {
    const buffer = files.allocateBuffer(bytes)
    assert.is(buffer.length, bytes)
    assert.is(native!.misalignment(buffer, 4096), 0)
  }
  assert.is(new RealFiles(new HostLoop(), null).allocateBuffer(100).length, 100)
})

test('creating gives an empty or longer file of zeroes, whatever was there', async () => {
  const file = makeFile('create', 64 * KIB, 0, Buffer.alloc(KIB, 1))
  const loop = new HostLoop()
  const files = new RealFiles(loop)
  function* create(): Co<void> {
    const created = yield* files.create(file, 8 * KIB)
    yield* created.close()
  }
  await loop.run(create())
  assert.ok(fs.readFileSync(file).equals(Buffer.alloc(8 * KIB)))
})

test.run()
