import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, BlockError, type BlockNode, DirtyBitmap, Permission, RequestFlag, StatusFlag } from '../block'
import { type Co, EIO, ENOSPC, ENOTSUP, makeLabel, OK } from '../co'
import { type NbdDriver, type NbdOptions, openNbd, REQUEST_ATTEMPTS_MAX } from './driver'
import { ADDRESS, type ServerBench, serverBench, TestHost } from './testing'

const KIB = 1024
const SECOND_NS = 1_000_000_000
const LABEL = makeLabel('test')

interface ClientBench extends ServerBench {
  host: TestHost
  driver: NbdDriver
  remote: BlockNode
  local: BlockBackend
}

/** A node `remote` over the export `disk` of a server over memory, and a backend on it. */
function clientBench(options: Partial<NbdOptions> = {}, ...server: Parameters<typeof serverBench>): ClientBench {
  const bench = serverBench(...server)
  const host = new TestHost(bench.kernel, (stream) => bench.server.serve(stream))
  const driver = bench.run(openNbd(bench.kernel, host, { server: ADDRESS, exportName: 'disk', readOnly: false, ...options }))
  const remote = bench.graph.addNode({ name: 'remote', driver, options: { readOnly: driver.isReadOnly, discard: 'unmap' } })
  const local = new BlockBackend(bench.graph, '')
  local.attach(remote, Permission.ConsistentRead | (driver.isReadOnly ? 0 : Permission.Write), Permission.All)
  return { ...bench, host, driver, remote, local }
}

function close(bench: ClientBench): void {
  bench.local.dispose()
  bench.run(bench.graph.removeNode(bench.remote))
  assert.is(bench.server.connectionCount, 0)
}

test('everything that a node can be asked reaches the server’s disk', () => {
  const bench = clientBench()
  bench.disk.supportedWriteFlags |= RequestFlag.Fua
  const { local, disk } = bench
  bench.run(
    (function* (): Co<void> {
      const data = new Uint8Array(3000).fill(9)
      assert.is(yield* local.pwrite(1000, data), OK)
      assert.is(yield* local.pwrite(8192, data.subarray(0, 512), RequestFlag.Fua), OK)
      const back = new Uint8Array(5000)
      assert.is(yield* local.pread(0, back), OK)
      assert.equal(back.subarray(1000, 4000), data)
      assert.is(yield* local.pwriteZeroes(1024, 512), OK)
      assert.is(yield* local.pwriteZeroes(2048, 512, RequestFlag.MayUnmap), OK)
      assert.is(yield* local.pdiscard(4096, 4096), OK)
      assert.is(yield* local.flush(), OK)
    })(),
  )
  assert.equal(
    disk.log.map(({ kind, offsetBytes, lengthBytes, flags }) => [kind, offsetBytes, lengthBytes, flags]),
    [
      ['write', 1000, 3000, 0],
      ['write', 8192, 512, RequestFlag.Fua],
      ['read', 0, 5000, 0],
      ['zero', 1024, 512, 0],
      ['zero', 2048, 512, RequestFlag.MayUnmap],
      ['discard', 4096, 4096, 0],
      ['flush', 0, 0, 0],
    ],
  )
  close(bench)
})

test('block status comes from the server, extent by extent', () => {
  const bench = clientBench({}, 256 * KIB)
  bench.disk.allocated.fill(1, 8, 16)
  const seen: number[][] = []
  bench.run(
    (function* (): Co<void> {
      for (let at = 0; at < 256 * KIB; ) {
        const status = yield* bench.remote.blockStatus('want-zero', at, 256 * KIB - at)
        assert.is(status.errno, OK)
        seen.push([at, status.bytes, status.flags & (StatusFlag.Data | StatusFlag.Zero)])
        at += status.bytes
      }
    })(),
  )
  assert.equal(seen, [
    [0, 4096, StatusFlag.Zero],
    [4096, 4096, StatusFlag.Data],
    [8192, 248 * KIB, StatusFlag.Zero],
  ])
  close(bench)
})

test('x-dirty-bitmap shows a bitmap in place of the allocation', () => {
  const bitmap = new DirtyBitmap(64 * KIB, 512)
  bitmap.set(512, 512)
  const bench = clientBench({ dirtyBitmap: 'qemu:dirty-bitmap:b' }, 64 * KIB, { bitmaps: [{ name: 'b', bitmap }] })
  bench.run(
    (function* (): Co<void> {
      const first = yield* bench.remote.blockStatus('want-zero', 0, 64 * KIB)
      assert.equal([first.bytes, first.flags & StatusFlag.Data], [512, StatusFlag.Data])
      const second = yield* bench.remote.blockStatus('want-zero', 512, 1024)
      assert.equal([second.bytes, second.flags & StatusFlag.Data], [512, 0])
    })(),
  )
  close(bench)
})

test('errors of the server are errors of the node', () => {
  const bench = clientBench()
  bench.disk.fail = () => ENOSPC
  bench.run(
    (function* (): Co<void> {
      assert.is(yield* bench.local.pwrite(0, new Uint8Array(512)), ENOSPC)
    })(),
  )
  bench.disk.fail = () => OK
  bench.disk.canZero = false
  bench.run(
    (function* (): Co<void> {
      assert.is(yield* bench.local.pwriteZeroes(0, 512, RequestFlag.NoFallback), ENOTSUP)
    })(),
  )
  close(bench)
})

test('the server’s block size is the node’s', () => {
  const bench = clientBench({}, 64 * KIB, {}, {}, { requestAlignmentBytes: 4096 })
  assert.is(bench.remote.limits.requestAlignmentBytes, 4096)
  bench.run(
    (function* (): Co<void> {
      assert.is(yield* bench.local.pwrite(100, new Uint8Array(100).fill(1)), OK)
    })(),
  )
  assert.is(bench.disk.data[150], 1)
  close(bench)
})

test('opening fails in QEMU’s words', () => {
  const bench = serverBench(64 * KIB, { writable: false })
  const host = new TestHost(bench.kernel, (stream) => bench.server.serve(stream))
  const attempt = (options: Partial<NbdOptions>): string => {
    let text = ''
    bench.run(
      (function* (): Co<void> {
        try {
          yield* openNbd(bench.kernel, host, { server: ADDRESS, exportName: 'disk', readOnly: true, ...options })
        } catch (error) {
          assert.instance(error, BlockError)
          text = `${(error as BlockError).message}|${(error as BlockError).hint}`
        }
      })(),
    )
    return text
  }
  assert.is(attempt({ exportName: 'other' }), "Requested export not available|server reported: export 'other' not present")
  assert.is(attempt({ readOnly: false }), 'request on write denied without write permission|')
  assert.is(attempt({ dirtyBitmap: 'qemu:dirty-bitmap:x' }), 'requested x-dirty-bitmap qemu:dirty-bitmap:x not found|')
  assert.is(attempt({ readOnly: false, autoReadOnly: true }), '')
  host.refuse = true
  assert.is(attempt({}), "Failed to connect to '/run/nbd.sock': Connection refused|")
})

test('open-timeout tries until the server is there, or the time is up', () => {
  const bench = serverBench()
  const host = new TestHost(bench.kernel, (stream) => bench.server.serve(stream))
  host.refuse = true
  const open = openNbd(bench.kernel, host, { server: ADDRESS, exportName: 'disk', readOnly: true, openTimeoutSeconds: 5 })
  function* later(): Co<void> {
    yield* bench.kernel.sleepNs(4 * SECOND_NS)
    host.refuse = false
  }
  bench.kernel.spawn(later(), LABEL)
  bench.run(open)
  assert.is(bench.kernel.nowNs(), 5 * SECOND_NS)
})

test('without a delay, requests fail while there is no connection, and the next ones find it again', () => {
  const bench = clientBench()
  const { local, host } = bench
  bench.run(
    (function* (): Co<void> {
      host.pairs[0]!.cut()
      yield* bench.kernel.sleepNs(1)
      host.refuse = true
      assert.is(yield* local.pread(0, new Uint8Array(512)), EIO)
      assert.is(yield* local.pread(0, new Uint8Array(512)), EIO)
      host.refuse = false
      assert.is(yield* local.pread(0, new Uint8Array(512)), EIO)
      yield* bench.kernel.sleepNs(1000)
      assert.is(yield* local.pread(0, new Uint8Array(512)), OK)
    })(),
  )
  assert.is(host.pairs.length, 2)
  close(bench)
})

test('with a delay, requests wait for the connection, and those on their way are sent again', () => {
  const bench = clientBench({ reconnectDelaySeconds: 10 })
  const { local, host, disk, kernel } = bench
  disk.latencyNs = 1000
  const results: number[] = []
  function* write(at: number): Co<void> {
    results.push(yield* local.pwrite(at, new Uint8Array(512).fill(5)))
  }
  bench.run(
    (function* (): Co<void> {
      const before = kernel.spawn(write(0), LABEL)
      yield* kernel.sleepNs(500)
      host.refuse = true
      host.pairs[0]!.cut()
      const during = kernel.spawn(write(512), LABEL)
      yield* kernel.sleepNs(4 * SECOND_NS)
      assert.equal(results, [])
      host.refuse = false
      yield* kernel.join(before)
      yield* kernel.join(during)
      assert.equal(results, [OK, OK])
    })(),
  )
  assert.is(disk.data[0], 5)
  assert.is(disk.data[512], 5)
  close(bench)
})

test('when the delay is over requests fail, and cancelling ends it at once', () => {
  for (const cancelNs of [null, 2 * SECOND_NS]) {
    const bench = clientBench({ reconnectDelaySeconds: 10 })
    const { kernel, host } = bench
    bench.run(
      (function* (): Co<void> {
        host.refuse = true
        host.pairs[0]!.cut()
        yield* kernel.sleepNs(1)
        const startNs = kernel.nowNs()
        function* cancel(): Co<void> {
          if (cancelNs === null) return
          yield* kernel.sleepNs(cancelNs)
          bench.driver.cancelInFlight()
        }
        kernel.spawn(cancel(), LABEL)
        assert.is(yield* bench.local.pread(0, new Uint8Array(512)), EIO)
        assert.ok(kernel.nowNs() - startNs <= (cancelNs ?? 10 * SECOND_NS))
        assert.ok(kernel.nowNs() - startNs >= (cancelNs ?? 10 * SECOND_NS) - 1)
      })(),
    )
    close(bench)
  }
})

test('a write of a broken connection that still runs is over before the next connection’s requests begin', () => {
  const bench = clientBench({ reconnectDelaySeconds: 10 })
  const { kernel, local, host, disk } = bench
  const latencies = [1_000_000, 10, 10]
  const { sleepNs } = kernel
  disk.fail = () => {
    disk.latencyNs = latencies.shift() ?? 0
    return OK
  }
  bench.run(
    (function* (): Co<void> {
      function* first(): Co<void> {
        assert.is(yield* local.pwrite(0, new Uint8Array(512).fill(1)), OK)
      }
      const writing = kernel.spawn(first(), LABEL)
      yield* sleepNs.call(kernel, 1000)
      host.pairs[0]!.cut()
      yield* kernel.join(writing)
      assert.is(yield* local.pwrite(0, new Uint8Array(512).fill(2)), OK)
      yield* sleepNs.call(kernel, 10_000_000)
    })(),
  )
  assert.is(disk.data[0], 2)
  close(bench)
})

test('a request that ends every connection is not sent for ever', () => {
  const bench = clientBench({ reconnectDelaySeconds: 10 })
  const { host, disk, local } = bench
  let requests = 0
  disk.fail = () => {
    if (++requests <= REQUEST_ATTEMPTS_MAX) host.pairs[host.pairs.length - 1]!.cut()
    return OK
  }
  bench.run(
    (function* (): Co<void> {
      assert.is(yield* local.pwrite(0, new Uint8Array(512).fill(1)), EIO)
      assert.is(requests, REQUEST_ATTEMPTS_MAX)
      assert.is(yield* local.pwrite(0, new Uint8Array(512).fill(2)), OK, 'the next one has its own attempts')
    })(),
  )
  assert.is(host.pairs.length, REQUEST_ATTEMPTS_MAX + 1)
  assert.is(disk.data[0], 2)
  close(bench)
})

test('an export that has another length than before is not taken for the same', () => {
  const bench = clientBench({ reconnectDelaySeconds: 2 })
  const { host, kernel } = bench
  bench.run(
    (function* (): Co<void> {
      host.pairs[0]!.cut()
      yield* kernel.sleepNs(1)
      bench.server.findExport('disk')!.remove('safe')
      yield* bench.graph.drainedBegin(bench.node)
      bench.disk.data = new Uint8Array(128 * KIB)
      bench.graph.drainedEnd(bench.node)
      bench.server.addExport({ id: 'larger', name: 'disk', node: bench.node, writable: true })
      assert.is(yield* bench.local.pread(0, new Uint8Array(512)), EIO)
    })(),
  )
  close(bench)
})

test.run()
