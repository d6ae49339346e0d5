/** Every state in which a power cut may leave a header that is being replaced: it is the old one or the new one. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { OK } from '../../../co'
import { BlockBackend } from '../../backend'
import { Permission } from '../../flags'
import { testBench } from '../../testing'
import { decodeHeader, encodeHeader, type Qcow2Header } from './header'
import { replaceHeader } from './header_write'
import { newImage, openWrites, RecordingFile, stateAt } from './testing'

const SECTOR_BYTES = 512
/** Of so many sectors every subset is tried. */
const SUBSET_SECTORS_MAX = 6

function headerOf(image: Uint8Array): Qcow2Header {
  return decodeHeader(image.subarray(0, 65536), { isWritable: true, isForCheck: false })
}

/** What a reader gets from a header. Extensions that are on their way lie behind fields that say nothing. */
function meaningOf(header: Qcow2Header, fieldBytes: number): string {
  const known = { ...header, unknownFields: [...header.unknownFields.subarray(0, fieldBytes)] }
  return JSON.stringify(known, (_key, value) => (typeof value === 'bigint' ? String(value) : value))
}

/** Replaces the header `before` by `after` and looks at the states of all power cuts. Gives the events, and the last state. */
function replace(before: Qcow2Header, after: Qcow2Header): { states: number; flushes: number; end: Uint8Array } {
  const start = encodeHeader(before)
  const file = new RecordingFile(start)
  const bench = testBench()
  const backend = new BlockBackend(bench.graph, '')
  backend.attach(bench.graph.addNode({ driver: file }), Permission.All, Permission.All)
  assert.is(bench.run(replaceHeader(backend, after)), OK)
  file.events.push('end')
  const fieldBytes = after.unknownFields.length
  const legal = [meaningOf(before, fieldBytes), meaningOf(after, fieldBytes)]
  let states = 0
  for (let cut = 0; cut < file.events.length; cut++) {
    const sectors = openWrites(file.events, cut).flatMap((event) => {
      const { at, data } = file.events[event] as { at: number; data: Uint8Array }
      const count = Math.ceil(data.length / SECTOR_BYTES)
      return Array.from({ length: count }, (_, index) => ({ event, sector: at / SECTOR_BYTES + index }))
    })
    const chosen = sectors.slice(0, SUBSET_SECTORS_MAX)
    for (let subset = 0; subset < 2 ** chosen.length; subset++) {
      const keeps = (event: number, sector: number): boolean => {
        const bit = chosen.findIndex((other) => other.event === event && other.sector === sector)
        return bit === -1 || (subset & (1 << bit)) !== 0
      }
      const state = stateAt({ start, events: file.events }, cut, keeps)
      assert.ok(legal.includes(meaningOf(headerOf(state), fieldBytes)), `cut ${cut}, subset ${subset}`)
      states++
    }
  }
  return { states, flushes: file.events.filter((event) => event === 'flush').length, end: file.data }
}

function withName(header: Qcow2Header, backingName: string | null): Qcow2Header {
  return { ...header, backingName, backingFormat: backingName === null ? null : 'raw' }
}

const PLAIN = headerOf(newImage({ sizeBytes: 2 ** 20 }))
const OLD = headerOf(newImage({ sizeBytes: 2 ** 20, version: 2 }))

test('a name beyond the first sector is changed, lengthened, shortened and taken away in steps', () => {
  const names = ['a'.repeat(300), 'b'.repeat(300), 'c'.repeat(1023), 'd'.repeat(40), null, 'e'.repeat(700)]
  let states = 0
  for (const header of [PLAIN, OLD]) {
    let before = withName(header, names[0]!)
    for (const name of names.slice(1)) {
      const after = withName(header, name)
      const run = replace(before, after)
      assert.equal(run.end, encodeHeader(after))
      states += run.states
      before = after
    }
  }
  assert.ok(states > 100, String(states))
})

test('unknown extensions and fields survive, and so does an upgrade', () => {
  const extension = { type: 0x12345678, data: new Uint8Array(500).fill(7) }
  const strange = { ...PLAIN, unknownExtensions: [extension], unknownFields: new Uint8Array(16).fill(9) }
  const { flushes } = replace(withName(strange, 'one'), withName(strange, 'another'))
  assert.is(flushes, 4)
  const name = 'x'.repeat(500)
  replace(withName(OLD, name), { ...withName(OLD, name), version: 3, refcountOrder: 4 })
  replace(withName(PLAIN, name), { ...withName(PLAIN, name), version: 2 })
})

test('what changes in the first sector alone is one write and no flush', () => {
  const { flushes, states } = replace(PLAIN, { ...PLAIN, compatible: 1n, sizeBytes: 2 ** 21 })
  assert.is(flushes, 0)
  assert.is(states, 3)
  assert.is(replace(withName(OLD, 'a'), withName(OLD, 'bb')).flushes, 0)
})

test.run()
