import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DirtyBitmap, StatusFlag } from '../../block'
import { EIO, OK } from '../../co'
import { RunSplitter } from './split'
import type { MirrorState } from './state'

const SECTOR = 512

interface Source {
  /** One letter a sector: `d` data, `z` zeroes, `b` both flags, `n` neither, `e` no answer. */
  sectors: string
  /** An answer is at most this long. */
  answerSectors?: number
  unitSectors: number
  holeSectors?: number
  copyMaxSectors?: number
  isWhole?: boolean
}

function stateOf({
  sectors,
  answerSectors = 1e6,
  unitSectors,
  holeSectors = 1,
  copyMaxSectors = 1e6,
  isWhole,
}: Source): MirrorState {
  const unitBytes = unitSectors * SECTOR
  const lengthBytes = sectors.length * SECTOR
  const flags = { d: StatusFlag.Data, z: StatusFlag.Zero, b: StatusFlag.Data | StatusFlag.Zero, n: StatusFlag.None, e: 0 }
  function* blockStatusAbove(_base: unknown, _mode: unknown, at: number, askedBytes: number) {
    const first = at / SECTOR
    const kind = sectors[first] as keyof typeof flags
    if (kind === 'e') return { errno: EIO, flags: 0, bytes: 0 }
    let end = first
    while (end < (at + askedBytes) / SECTOR && sectors[end] === kind && end - first < answerSectors) end++
    return { errno: OK, flags: flags[kind], bytes: (end - first) * SECTOR }
  }
  const floor = (at: number): number => at - (at % unitBytes)
  const state = {
    source: { blockStatusAbove },
    unitBytes,
    holeUnitBytes: holeSectors * SECTOR,
    copyMaxBytes: copyMaxSectors * SECTOR,
    cow: isWhole === true ? new DirtyBitmap(lengthBytes, unitBytes) : null,
    unitFloor: floor,
    unitCeiling: (at: number) => Math.min(floor(at + unitBytes - 1), lengthBytes),
  }
  return state as unknown as MirrorState
}

interface Piece {
  start: number
  end: number
  isZero: boolean
  parts: number[]
}

/** All pieces of a run over the whole source, in sectors. */
function split(source: Source): Piece[] {
  const pieces: Piece[] = []
  const endBytes = source.sectors.length * SECTOR
  const splitter = new RunSplitter(stateOf(source), endBytes)
  for (let at = 0; at < endBytes; at = splitter.pieceEndBytes) {
    assert.is(splitter.next(at).next().done, true)
    const parts = splitter.pieceIsZero ? [] : splitter.parts.map((end) => end / SECTOR)
    pieces.push({ start: at / SECTOR, end: splitter.pieceEndBytes / SECTOR, isZero: splitter.pieceIsZero, parts })
  }
  return pieces
}
/** One letter a sector again: `z` and `d` as they are handled, with `|` before each piece but the first. */
function drawn(source: Source): string {
  const pieces = split(source).map(({ start, end, isZero, parts }) => {
    if (isZero || parts.length === 0) return (isZero ? 'Z' : 'd').repeat(end - start)
    let text = ''
    for (let part = 0, at = start; at < end; at = parts[part++] ?? end) {
      const stop = parts[part] ?? end
      text += (part % 2 === 0 ? 'z' : 'd').repeat(stop - at)
      at = stop
    }
    return text.slice(0, end - start)
  })
  return pieces.join('|')
}

test('whole units of zeroes are pieces, and shorter holes are parts', () => {
  const cases: Array<[Source, string]> = [
    [{ sectors: 'dddddddd', unitSectors: 4 }, 'dddddddd'],
    [{ sectors: 'zzzzzzzz', unitSectors: 4 }, 'ZZZZZZZZ'],
    [{ sectors: 'zzzzdddd', unitSectors: 4 }, 'ZZZZ|dddd'],
    [{ sectors: 'ddddzzzz', unitSectors: 4 }, 'dddd|ZZZZ'],
    [{ sectors: 'zzzzzzdd', unitSectors: 4 }, 'ZZZZ|zzdd'],
    [{ sectors: 'ddzzzzzz', unitSectors: 4 }, 'ddzz|ZZZZ'],
    [{ sectors: 'ddzzzzdd', unitSectors: 4 }, 'ddzzzzdd'],
    [{ sectors: 'zzddddzz', unitSectors: 4 }, 'zzddddzz'],
    [{ sectors: 'dzdzdzdz', unitSectors: 4 }, 'dzdzdzdz'],
    [{ sectors: 'ddddzzzzdddd', unitSectors: 4 }, 'dddd|ZZZZ|dddd'],
    [{ sectors: 'zzzzzzzz', answerSectors: 1, unitSectors: 4 }, 'ZZZZZZZZ'],
    [{ sectors: 'dddddz', unitSectors: 4 }, 'dddddz'],
    [{ sectors: 'dddddzzz', unitSectors: 4, copyMaxSectors: 4 }, 'dddd|dzzz'],
    [{ sectors: 'ddddddzz', unitSectors: 8, isWhole: true }, 'dddddddd'],
    [{ sectors: 'zzddzzdd', unitSectors: 4, isWhole: true }, 'dddddddd'],
    [{ sectors: 'zdzzzzdz', unitSectors: 8, holeSectors: 2 }, 'ddzzzzdd'],
    [{ sectors: 'dzzzzzzd', unitSectors: 8, holeSectors: 4 }, 'dddddddd'],
    [{ sectors: 'dzzzzzzz', unitSectors: 8, holeSectors: 4 }, 'ddddzzzz'],
    [{ sectors: 'bbbbnnnn', unitSectors: 4 }, 'dddddddd'],
    [{ sectors: 'zzzzeeee', unitSectors: 4 }, 'ZZZZ|dddd'],
    [{ sectors: 'ezzzzzzz', unitSectors: 4 }, 'dddddddd'],
  ]
  for (const [source, expected] of cases) {
    assert.is(drawn(source), expected, JSON.stringify(source))
  }
})

test('parts are told by their ends, a zero part first; none at all if everything is data', () => {
  const parts = (sectors: string): number[] => split({ sectors, unitSectors: 8 })[0]!.parts
  assert.equal(parts('dddddddd'), [])
  assert.equal(parts('dddddddz'), [0, 7, 8])
  assert.equal(parts('zddddddd'), [1, 8])
  assert.equal(parts('zdzddzzd'), [1, 2, 3, 5, 7, 8])
})

test('a piece of very many parts ends at the next unit', () => {
  for (const unitSectors of [4, 8]) {
    const [first, second] = split({ sectors: 'dz'.repeat(200), unitSectors })
    // More than 64 ends: one for the empty zero part, then one a sector.
    assert.is(first!.parts.length > 64 && first!.parts.length <= 64 + unitSectors + 1, true, String(first!.parts.length))
    assert.is(first!.end, Math.ceil(64 / unitSectors) * unitSectors)
    assert.is(second!.start, first!.end)
  }
  assert.is(split({ sectors: `dd${'zd'.repeat(200)}`, unitSectors: 4 })[0]!.end, 68, 'sixty-four are not too many')
})

const anySource = fc.record({
  sectors: fc
    .array(fc.tuple(fc.constantFrom('d', 'z', 'z', 'b', 'n'), fc.integer({ min: 1, max: 12 })), { minLength: 1, maxLength: 12 })
    .map((runs) => {
      const text = runs.map(([kind, count]) => kind.repeat(count)).join('')
      return text
    }),
  answerSectors: fc.integer({ min: 1, max: 9 }),
  unitSectors: fc.constantFrom(1, 2, 4, 8),
  holeSectors: fc.constantFrom(1, 2, 4),
  copyUnits: fc.integer({ min: 1, max: 6 }),
  isWhole: fc.boolean(),
})

test('whatever the source says, pieces cover the run, holes are holes, and whole blocks of zeroes are left out', () => {
  fc.assert(
    fc.property(anySource, ({ copyUnits, ...rest }) => {
      const source = { ...rest, copyMaxSectors: copyUnits * rest.unitSectors }
      const { sectors, unitSectors, holeSectors, isWhole, copyMaxSectors } = source
      let at = 0
      for (const { start, end, isZero, parts } of split(source)) {
        assert.is(start, at)
        assert.ok(end > start)
        at = end
        const text = sectors.slice(start, end)
        if (isZero) {
          assert.match(text, /^z+$/)
          assert.ok(end % unitSectors === 0 || end === sectors.length)
          continue
        }
        assert.ok(end - start <= copyMaxSectors)
        assert.ok(end % unitSectors === 0 || end === sectors.length)
        if (parts.length > 0) {
          assert.is(parts.at(-1), end)
          for (const [part, stop] of parts.entries()) assert.ok(part === 0 ? stop >= start : stop > parts[part - 1]!)
        }
        const isHole = (sector: number): boolean => parts.findIndex((stop) => sector < stop) % 2 === 0
        for (let sector = start; sector < end; sector++) {
          if (parts.length > 0 && isHole(sector)) assert.is(sectors[sector], 'z')
        }
        for (let block = Math.ceil(start / holeSectors) * holeSectors; block + holeSectors <= end; block += holeSectors) {
          if (isWhole || !/^z+$/.test(sectors.slice(block, block + holeSectors))) continue
          for (let sector = block; sector < block + holeSectors; sector++) {
            assert.ok(parts.length > 0 && isHole(sector), `sector ${sector} of ${sectors}`)
          }
        }
      }
      assert.is(at, sectors.length)
    }),
    { seed: 20261125, numRuns: 400 },
  )
})

test.run()
