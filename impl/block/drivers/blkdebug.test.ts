import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EIO, ENOENT, ENOSPC, ENOTSUP, makeLabel, OK } from '../../co'
import { BlockBackend } from '../backend'
import { Permission, RequestFlag } from '../flags'
import { memoryStack } from '../testing'
import { BlkdebugDriver, type BlkdebugOptions, findBlkdebug, parseBlkdebugFilename } from './blkdebug'
import { rulesOfOptions, rulesOfText } from './blkdebug_rules'
import { RawDriver } from './raw'

const ALL = Permission.ConsistentRead | Permission.Write
const bytes = (count: number, value = 1): Uint8Array => new Uint8Array(count).fill(value)

/** A raw image over blkdebug over memory; `debug` is a backend on blkdebug itself. */
function bench(options: BlkdebugOptions, limits = {}) {
  const stack = memoryStack(65536, limits, { discard: 'unmap' })
  const said: string[] = []
  const driver = new BlkdebugDriver(options, (line) => said.push(line))
  const filter = stack.graph.addNode({
    name: 'debug',
    driver,
    children: [{ name: 'image', role: 'filtered', node: stack.node }],
    options: { discard: 'unmap' },
  })
  const top = stack.graph.addNode({
    name: 'top',
    driver: new RawDriver({}, filter.lengthBytes),
    children: [{ name: 'file', role: 'image', node: filter }],
    options: { discard: 'unmap' },
  })
  const image = new BlockBackend(stack.graph, 'image')
  image.attach(top, ALL, Permission.All)
  const debug = new BlockBackend(stack.graph, 'debug0')
  debug.attach(filter, ALL, Permission.All)
  return { ...stack, said, driver, top, filter, image, debug }
}
const inject = (...rules: Array<Record<string, unknown>>) => ({ rules: rulesOfOptions({ 'inject-error': rules }) })

test('an error is injected once its event has come, until the rules say otherwise', () => {
  const { image, debug, disk, run } = bench(inject({ event: 'read_aio', errno: ENOSPC }))
  assert.is(run(debug.pread(0, bytes(512))), OK, 'nothing came to the event yet')
  assert.is(run(image.pread(0, bytes(512))), ENOSPC)
  assert.is(run(image.pwrite(0, bytes(512))), ENOSPC, 'the rule stays armed')
  assert.is(disk.log.length, 1)
})

test('once means once, and none is an event that has come at the start', () => {
  const { image, run } = bench(inject({ event: 'none', once: true }))
  assert.is(run(image.pread(0, bytes(512))), EIO)
  assert.is(run(image.pread(0, bytes(512))), OK)
})

test('a rule may name the kind of request and a sector', () => {
  const { image, top, run } = bench(
    inject(
      { event: 'none', iotype: 'write', sector: 3 },
      { event: 'none', iotype: 'block-status', errno: 28 },
      { event: 'none', iotype: 'flush', errno: 30 },
      { event: 'none', iotype: 'discard', errno: 31 },
      { event: 'none', iotype: 'write-zeroes', errno: 32 },
    ),
  )
  assert.is(run(image.pread(0, bytes(4096))), OK)
  assert.is(run(image.pwrite(0, bytes(1536))), OK)
  assert.is(run(image.pwrite(0, bytes(1537))), EIO)
  assert.is(run(image.pwrite(2048, bytes(512))), OK)
  assert.is(run(image.flush()), 30)
  assert.is(run(image.pdiscard(0, 512)), 31)
  assert.is(run(image.pwriteZeroes(0, 512)), 32)
  assert.is(run(top.blockStatus('want-zero', 0, 512)).errno, 28)
})

test('status queries fail only where asked for, through chains too', () => {
  const quiet = bench(inject({ event: 'none' }))
  assert.is(quiet.run(quiet.filter.blockStatus('want-zero', 0, 512)).errno, OK)
  const loud = bench(inject({ event: 'none', iotype: 'block-status' }))
  assert.is(loud.run(loud.filter.blockStatusAbove(null, 'want-zero', 0, 512)).errno, EIO)
})

test('states change at events and choose the rules', () => {
  const text = `
# fail the second write
[set-state]
event = "write_aio"
state = "1"
new_state = "2"

[inject-error]
event = "write_aio"
state = "2"
errno = "28"
once = "on"
immediately = "off"
`
  const { image, driver, run } = bench({ rules: rulesOfText(text) })
  assert.is(run(image.pwrite(0, bytes(512))), OK)
  assert.is(driver.state, 2)
  assert.is(run(image.pwrite(0, bytes(512))), ENOSPC)
  assert.is(run(image.pwrite(0, bytes(512))), OK)
})

test('of two changes of state at one event the first in the file holds, and injected errors replace each other', () => {
  const { image, driver, run } = bench({
    rules: rulesOfOptions({
      'set-state': [
        { event: 'write_aio', state: 1, new_state: 5 },
        { event: 'write_aio', state: 1, new_state: 6 },
      ],
      'inject-error': [
        { event: 'read_aio', errno: 28 },
        { event: 'write_aio', errno: 30 },
      ],
    }),
  })
  assert.is(run(image.pwrite(0, bytes(512))), 30)
  assert.is(driver.state, 5)
  assert.is(run(image.pread(0, bytes(512))), 28)
})

test('immediately fails before anybody else runs', () => {
  for (const immediately of [true, false]) {
    const { image, kernel, clock } = bench(inject({ event: 'none', immediately }))
    const order: string[] = []
    kernel.spawn(
      (function* () {
        yield* image.pread(0, bytes(512))
        order.push('failed')
      })(),
      makeLabel('reader'),
    )
    kernel.spawn(
      (function* () {
        order.push('other')
      })(),
      makeLabel('other'),
    )
    clock.run()
    assert.equal(order, immediately ? ['failed', 'other'] : ['other', 'failed'])
  }
})

test('a breakpoint stops one request until it is resumed', () => {
  const { image, driver, top, said, kernel, clock, run } = bench({})
  assert.is(findBlkdebug(top), driver)
  driver.addBreakpoint('write_aio', 'A')
  let written = OK - 1
  kernel.spawn(
    (function* () {
      written = yield* image.pwrite(0, bytes(512))
    })(),
    makeLabel('writer'),
  )
  clock.run()
  assert.ok(driver.isSuspended('A'))
  assert.is(run(image.pwrite(512, bytes(512))), OK, 'the next one passes')
  assert.is(driver.resume('B'), ENOENT)
  assert.is(driver.resume('A'), OK)
  clock.run()
  assert.equal([written, driver.isSuspended('A')], [OK, false])
  assert.equal(said, ["blkdebug: Suspended request 'A'", "blkdebug: Resuming request 'A'"])
  assert.throws(() => driver.addBreakpoint('nonsense', 'A'), /Invalid event name "nonsense"/)
})

test('removing a breakpoint lets what it holds go', () => {
  const { image, driver, kernel, clock } = bench({})
  driver.addBreakpoint('pwritev', 'A')
  driver.addBreakpoint('pwritev', 'A')
  let done = 0
  for (const label of ['w1', 'w2']) {
    kernel.spawn(
      (function* () {
        yield* image.pwrite(0, bytes(512))
        done++
      })(),
      makeLabel(label),
    )
  }
  clock.run()
  assert.is(done, 1, 'one request stops at both breakpoints, one after the other')
  assert.is(driver.removeBreakpoint('A'), OK)
  clock.run()
  assert.is(done, 2)
  assert.is(driver.removeBreakpoint('A'), ENOENT)
})

test('reads of a read-modify-write are named, head and tail', () => {
  for (const [event, offset, length] of [
    ['pwritev_rmw_head', 512, 7680],
    ['pwritev_rmw_after_head', 512, 512],
    ['pwritev_rmw_tail', 4096, 512],
    ['pwritev_rmw_after_tail', 4096, 8704],
    ['pwritev_done', 0, 4096],
    ['flush_to_disk', 0, 4096],
  ] as const) {
    const { image, debug, driver, kernel, clock } = bench({ align: 4096 })
    driver.addBreakpoint(event, 'X')
    let isDone = false
    kernel.spawn(
      (function* () {
        yield* debug.pwrite(offset, bytes(length))
        yield* image.pwrite(32768, bytes(4096))
        yield* image.flush()
        isDone = true
      })(),
      makeLabel('w'),
    )
    clock.run()
    assert.ok(driver.isSuspended('X'), event)
    driver.resume('X')
    clock.run()
    assert.ok(isDone)
  }
})

test('limits are overridden, and requests are cut and padded to them', () => {
  const { debug, disk, filter, run } = bench({
    align: 4096,
    maxTransfer: 8192,
    optWriteZero: 16384,
    maxWriteZero: 32768,
    optDiscard: 8192,
    maxDiscard: 8192,
  })
  assert.is(filter.limits.requestAlignmentBytes, 4096)
  run(debug.pwrite(0, bytes(20480)))
  assert.equal(
    disk.requests('write').map((request) => request.lengthBytes),
    [8192, 8192, 4096],
  )
  run(debug.pwriteZeroes(0, 65536))
  assert.equal(
    disk.requests('zero').map((request) => request.lengthBytes),
    [32768, 32768],
  )
  assert.is(run(debug.pwriteZeroes(4096, 4096, RequestFlag.NoFallback)), ENOTSUP)
  run(debug.pdiscard(4096, 24576))
  assert.equal(
    disk.requests('discard').map((request) => [request.offsetBytes, request.lengthBytes]),
    [
      [8192, 8192],
      [16384, 8192],
    ],
  )
})

test('limits that cannot be are refused', () => {
  const refuse = (options: BlkdebugOptions, text: string): void =>
    assert.throws(
      () => bench(options, { requestAlignmentBytes: 1024, maxTransferBytes: 1024 }),
      (error: Error) => error.message === text,
      text,
    )
  refuse({ align: 3000 }, 'Cannot meet constraints with align 3000')
  refuse({ align: 2 ** 31 }, 'Cannot meet constraints with align 2147483648')
  refuse({ maxTransfer: 512 }, 'Cannot meet constraints with max-transfer 512')
  refuse({ align: 4096, optWriteZero: 1024 }, 'Cannot meet constraints with opt-write-zero 1024')
  refuse({ optWriteZero: 4096, maxWriteZero: 6144 }, 'Cannot meet constraints with max-write-zero 6144')
  refuse({ optDiscard: 512 }, 'Cannot meet constraints with opt-discard 512')
  refuse({ optDiscard: 4096, maxDiscard: 1024 }, 'Cannot meet constraints with max-discard 1024')
  assert.is(bench({ align: 4096 }, { maxTransferBytes: 1024 }).filter.limits.maxTransferBytes, 0)
})

test('permissions are taken and kept from others as asked', () => {
  const taken = bench({ takeChildPermissions: Permission.Resize, unshareChildPermissions: Permission.Resize })
  const other = new BlockBackend(taken.graph, 'other')
  assert.throws(
    () => other.attach(taken.node, Permission.Resize, Permission.All),
    /permissions 'resize' are both required by block device 'other' .* and unshared by node 'debug' \(uses node 'disk' as 'image' child\)/,
  )
  const reader = new BlockBackend(taken.graph, 'reader')
  assert.throws(
    () => reader.attach(taken.node, Permission.ConsistentRead, Permission.All & ~Permission.Resize),
    /permissions 'resize' are both required by node 'debug'/,
  )
})

test('rules that are wrong are refused in the words of QEMU', () => {
  const refuse = (rule: Record<string, unknown>, text: string): void =>
    assert.throws(
      () => rulesOfOptions({ 'inject-error': [rule] }),
      (error: Error) => error.message === text,
      text,
    )
  refuse({}, 'Missing event name for rule')
  refuse({ event: 'x' }, 'Invalid event name "x"')
  refuse({ event: 'none', errno: 'five' }, "Parameter 'errno' expects a number")
  refuse({ event: 'none', once: 1 }, "Parameter 'once' expects 'on' or 'off'")
  refuse({ event: 'none', iotype: 'erase' }, 'invalid parameter value: erase')
  refuse({ event: 'none', new_state: 1 }, "Invalid parameter 'new_state'")
  assert.throws(() => rulesOfText('[inject-error]\nevent = none\n'), /^Error: parse error$|^parse error$/)
  assert.throws(() => rulesOfText('event = "none"\n'), /no group defined/)
  assert.throws(() => rulesOfText('[nothing]\n'), /There is no option group 'nothing'/)
  assert.is(rulesOfText('# nothing\n\n').length, 0)
})

test('a file name says where the rules are', () => {
  assert.equal(parseBlkdebugFilename('blkdebug:a.conf:/x:y'), { config: 'a.conf', image: '/x:y' })
  assert.equal(parseBlkdebugFilename('blkdebug::x'), { config: null, image: 'x' })
  assert.throws(() => parseBlkdebugFilename('blkdebug:x'), /blkdebug requires both config file and image path/)
})

test.run()
