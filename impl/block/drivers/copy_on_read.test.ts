import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, ENOSPC, makeLabel, OK } from '../../co'
import { BlockBackend } from '../backend'
import { DirtyBitmap } from '../dirty_bitmap'
import type { DriverInfo } from '../driver'
import { Permission } from '../flags'
import type { BlockNode } from '../node'
import { OverlayDriver, testBench } from '../testing'
import { CopyOnReadDriver, findBottom } from './copy_on_read'

const UNIT = 512
const CLUSTER = 1024
const DISK = 16 * UNIT

/** An overlay that says how large its clusters are. */
class LayerDriver extends OverlayDriver {
  override info(): DriverInfo {
    return { clusterBytes: this.unitBytes, subclusterBytes: this.unitBytes }
  }
}

/**
 * A chain from `texts`, the top first: one letter a unit, `.` not allocated, `0` a hole that is allocated. The top has
 * clusters of two units. `bottom` counts from the top.
 */
function chain(texts: string[], bottom: number | null = null) {
  const stack = testBench()
  const layers: LayerDriver[] = []
  const nodes: BlockNode[] = []
  for (let index = texts.length - 1; index >= 0; index--) {
    const isTop = index === 0
    const text = texts[index]!
    const layer = new LayerDriver(text.length * UNIT, isTop ? CLUSTER : UNIT)
    for (let unit = 0; unit < text.length; unit++) {
      const letter = text[unit]!
      if (letter === '.') continue
      layer.allocated[Math.floor((unit * UNIT) / layer.unitBytes)] = 1
      layer.data.fill(letter === '0' ? 0 : letter.charCodeAt(0), unit * UNIT, (unit + 1) * UNIT)
    }
    const below = nodes[0]
    const node = stack.graph.addNode({
      name: `layer${index}`,
      driver: layer,
      ...(below === undefined ? {} : { children: [{ name: 'backing', role: 'cow' as const, node: below }] }),
    })
    nodes.unshift(node)
    layers.unshift(layer)
  }
  const driver = new CopyOnReadDriver(bottom === null ? null : nodes[bottom]!)
  const filter = stack.graph.addNode({
    name: 'cor',
    driver,
    children: [{ name: 'file', role: 'filtered', node: nodes[0]! }],
  })
  const backend = new BlockBackend(stack.graph, 'drive')
  backend.attach(filter, Permission.ConsistentRead | Permission.Write, Permission.All)
  const top = (): string =>
    Array.from(layers[0]!.allocated, (isAllocated, cluster) =>
      [0, 1].map((half) => letterOf(isAllocated, layers[0]!.data[cluster * CLUSTER + half * UNIT]!)).join(''),
    ).join('')
  return { ...stack, layers, nodes, driver, backend, top }
}
const letterOf = (isAllocated: number, byte: number): string =>
  isAllocated === 0 ? '.' : byte === 0 ? '0' : String.fromCharCode(byte)

function read(stack: ReturnType<typeof chain>, offsetBytes: number, lengthBytes: number): string {
  const buffer = new Uint8Array(lengthBytes).fill(0xee)
  assert.is(stack.run(stack.backend.pread(offsetBytes, buffer)), OK)
  let text = ''
  for (let at = 0; at < lengthBytes; at += UNIT) text += letterOf(1, buffer[at]!)
  return text
}

test('what a read finds below is copied in whole clusters', () => {
  const stack = chain(['aa............', '..bbbbbb......', '......cccccccc'])
  assert.is(read(stack, 3 * UNIT, 4 * UNIT), 'bbbb')
  assert.is(stack.top(), 'aabbbbbb......')
  assert.is(read(stack, 0, 14 * UNIT), 'aabbbbbbcccccc')
  assert.is(stack.top(), 'aabbbbbbcccccc')
  assert.equal(
    stack.layers[0]!.requests('write').map(({ offsetBytes, lengthBytes }) => [offsetBytes / UNIT, lengthBytes / UNIT]),
    [
      [2, 6],
      [8, 6],
    ],
  )
})

test('what is allocated nowhere is not copied', () => {
  const stack = chain(['........', '..bb....'])
  assert.is(read(stack, 0, 8 * UNIT), '00bb0000')
  assert.is(stack.top(), '..bb....')
})

test('zeroes are copied as zeroes, and data that is zero becomes a zero', () => {
  const stack = chain(['......', '000x..'])
  stack.layers[1]!.data.fill(0, 2 * UNIT, 6 * UNIT)
  assert.is(read(stack, 0, 6 * UNIT), '000000')
  assert.is(stack.layers[0]!.requests('write').length, 0)
  assert.is(stack.top(), '0000..')
})

test('a cluster that mixes layers, holes and nothing is copied as one', () => {
  const stack = chain(['......', '.b0...', '0..c.d'])
  assert.is(read(stack, UNIT, 1 * UNIT), 'b')
  assert.is(stack.top(), '0b....')
  assert.is(read(stack, 2 * UNIT, 4 * UNIT), '0c0d')
  assert.is(stack.top(), '0b0c0d')
})

test('below the bottom nothing is copied', () => {
  const stack = chain(['......', '.b....', '..cc..', '......'], 1)
  stack.layers[2]!.data.fill(1, 4 * UNIT, 5 * UNIT)
  assert.is(read(stack, 0, 6 * UNIT), '0bcc00')
  assert.is(stack.top(), '0b....')
})

test('a layer that is shorter reads zero behind its end, and nothing is copied of that', () => {
  const stack = chain(['........', 'bbb'])
  assert.is(read(stack, 0, 8 * UNIT), 'bbb00000')
  assert.is(stack.top(), 'bbb0....')
})

test('a prefetch copies without reading for anybody', () => {
  const stack = chain(['....', 'bbcc'])
  assert.is(stack.run(stack.driver.prefetch(0, 2 * UNIT)), OK)
  assert.is(stack.top(), 'bb..')
})

test('a copy that cannot be written fails the read', () => {
  const stack = chain(['....', 'bbcc'])
  stack.layers[0]!.fail = (request) => (request.kind === 'write' ? ENOSPC : OK)
  assert.is(stack.run(stack.backend.pread(0, new Uint8Array(UNIT))), ENOSPC)
})

test('copies leave dirty bitmaps alone, and are flushed', () => {
  const stack = chain(['....', 'bbcc'])
  const bitmap = new DirtyBitmap(4 * UNIT, UNIT)
  stack.nodes[0]!.dirtyBitmaps.add(bitmap)
  read(stack, 0, 4 * UNIT)
  assert.is(bitmap.count, 0)
  assert.is(stack.run(stack.backend.flush()), OK)
  assert.is(stack.layers[0]!.requests('flush').length, 1)
})

test('the bottom is found by name, in the chain', () => {
  const stack = chain(['....', '....', '....'])
  assert.is(findBottom(stack.nodes[0]!, 'layer2'), stack.nodes[2])
  const text = (wanted: string) => (error: Error) => error.message === wanted
  assert.throws(() => findBottom(stack.nodes[0]!, 'x'), text("Bottom node 'x' not found"))
  assert.throws(() => findBottom(stack.nodes[0]!, 'cor'), text("Bottom node 'cor' is a filter"))
  assert.throws(() => findBottom(stack.nodes[1]!, 'layer0'), /is not in the backing chain of 'layer1'/)
})

test('a read-only image cannot be copied into', () => {
  const { graph } = testBench()
  const below = graph.addNode({ name: 'fixed', driver: new OverlayDriver(4096), options: { readOnly: true } })
  const children = [{ name: 'file', role: 'filtered' as const, node: below }]
  assert.throws(() => graph.addNode({ driver: new CopyOnReadDriver(), children }), /Block node is read-only/)
})

test('writers of the child never lose a write to a copy', () => {
  const step = fc.record({
    kind: fc.constantFrom('read', 'write', 'write-below', 'zero'),
    at: fc.nat({ max: DISK / UNIT - 1 }),
    units: fc.integer({ min: 1, max: 6 }),
    startNs: fc.nat({ max: 300 }),
  })
  const layer = fc.array(fc.constantFrom('.', '.', '0', 'b', 'c'), { minLength: 16, maxLength: 16 }).map((text) => text.join(''))
  const property = fc.property(
    fc.array(layer, { minLength: 1, maxLength: 2 }),
    fc.array(step, { minLength: 2, maxLength: 12 }),
    fc.array(fc.nat({ max: 60 }), { minLength: 1, maxLength: 8 }),
    (below, steps, latencies) => {
      const stack = chain(['.'.repeat(16), ...below])
      let next = 0
      for (const driver of stack.layers) {
        driver.fail = () => {
          driver.latencyNs = latencies[next++ % latencies.length]!
          return OK
        }
      }
      // Another user of the child, past the filter. Each unit has one writer at most, so the end is known.
      const direct = new BlockBackend(stack.graph, 'direct')
      direct.attach(stack.nodes[0]!, Permission.ConsistentRead | Permission.Write, Permission.All)
      const expected = Array.from(
        { length: 16 },
        (_, unit) => below.map((text) => text[unit]!).find((letter) => letter !== '.') ?? '0',
      )
      const owned = new Set<number>()
      function* act({ kind, startNs }: { kind: string; startNs: number }, at: number, units: number, letter: string): Co<void> {
        yield* stack.kernel.sleepNs(startNs)
        const buffer = new Uint8Array(units * UNIT).fill(letter.charCodeAt(0))
        const user = kind === 'write-below' ? direct : stack.backend
        if (kind === 'read') yield* stack.backend.pread(at * UNIT, buffer)
        else if (kind === 'zero') yield* user.pwriteZeroes(at * UNIT, units * UNIT)
        else yield* user.pwrite(at * UNIT, buffer)
      }
      for (const [index, each] of steps.entries()) {
        const isRead = each.kind === 'read'
        // The top allocates whole clusters.
        const at = isRead ? each.at : each.at & ~1
        const units = Math.min(isRead ? each.units : 2, 16 - at)
        const letter = String.fromCharCode(65 + index)
        if (!isRead) {
          if (owned.has(at)) continue
          owned.add(at)
          for (let unit = at; unit < at + units; unit++) expected[unit] = each.kind === 'zero' ? '0' : letter
        }
        stack.kernel.spawn(act(each, at, units, letter), makeLabel(`s${index}`))
      }
      stack.clock.run()
      assert.is(read(stack, 0, DISK), expected.join(''))
    },
  )
  fc.assert(property, { seed: 3, numRuns: 300 })
})

test.run()
