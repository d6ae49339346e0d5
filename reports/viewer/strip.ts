/** What a film's disk consists of, row by row: what each disk holds and allocates, and each map of the mirror. */
import { type Film, type Frame, isMarked, NOTHING_SECTOR } from '../../sim/film_frames'
import { isEqualChunk } from './story'
import { BITS, bitName } from './words'

const SECTOR_BYTES = 512

/** `writer`: a colour for each value; otherwise the name of the colour of cells that are 1. */
export type StripShade = 'writer' | 'dim' | 'wrong' | 'dirty' | 'flight' | 'zero' | 'cow'

export interface Strip {
  readonly name: string
  readonly shade: StripShade
  readonly cellBytes: number
  /** While these are the same objects, so is the row. */
  shows(frame: Frame): readonly unknown[]
  cells(frame: Frame): number
  /** What a cell holds: a writer, or whether it is marked. */
  at(frame: Frame, index: number): number
}

/** A cell of this value is left empty. */
export function isEmptyCell(strip: Strip, value: number): boolean {
  return strip.shade === 'writer' ? value === NOTHING_SECTOR : value === 0
}

const BIT_SHADES = { dirty: 'dirty', inFlight: 'flight', zero: 'zero', cow: 'cow' } as const

type DiskOf = (frame: Frame) => Frame['source'] | undefined

function holds(name: string, diskOf: DiskOf): Strip {
  return {
    name: `${name} holds`,
    shade: 'writer',
    cellBytes: SECTOR_BYTES,
    shows: (frame) => [diskOf(frame)?.sectors],
    cells: (frame) => diskOf(frame)?.sectors.length ?? 0,
    at: (frame, index) => diskOf(frame)!.sectors[index]!,
  }
}

function allocates(name: string, cellBytes: number, diskOf: DiskOf): Strip {
  return {
    name: `${name} allocates`,
    shade: 'dim',
    cellBytes,
    shows: (frame) => [diskOf(frame)?.allocated],
    cells: (frame) => diskOf(frame)?.allocated.length ?? 0,
    at: (frame, index) => diskOf(frame)!.allocated[index]!,
  }
}

function byChunk(film: Film, name: string, shade: StripShade, parts: Pick<Strip, 'shows' | 'at'>): Strip {
  const count = Math.max(1, Math.ceil(film.lengthBytes / film.chunkBytes))
  return { name, shade, cellBytes: film.chunkBytes, cells: () => count, ...parts }
}

/** The rows, from the top down. */
export function stripsOf(film: Film): Strip[] {
  const { names, kind, allocationUnitBytes: units, chunkBytes, layers } = film
  const source: DiskOf = (frame) => frame.source
  const destination: DiskOf = (frame) => frame.destination
  const differ = byChunk(film, 'they differ', 'wrong', {
    shows: (frame) => [frame.source, frame.destination],
    at: (frame, index) => (isEqualChunk(frame, index, chunkBytes) ? 0 : 1),
  })
  const bits = BITS.map((bit) =>
    byChunk(film, bitName(bit), BIT_SHADES[bit], {
      shows: (frame) => [frame.mirror?.[bit]],
      at: (frame, index) => (isMarked(frame.mirror?.[bit] ?? null, index) ? 1 : 0),
    }),
  )
  const hasMirror = kind === 'mirror' || film.frames.some(({ mirror }) => mirror !== null)
  const rest = [differ, ...(hasMirror ? bits : [])]
  if (kind === 'file') return [holds(names.source, source), holds(names.destination, destination), differ]
  if (kind === 'chain') {
    const own = layers.flatMap(({ name, allocationUnitBytes }, index): Strip[] => {
      const layer: DiskOf = (frame) => frame.layers[index]
      return [holds(name, layer), allocates(name, allocationUnitBytes, layer)]
    })
    return [
      { ...holds(names.source, source), name: names.source },
      holds(names.destination, destination),
      differ,
      ...own,
      ...rest.slice(1),
    ]
  }
  return [
    holds(names.source, source),
    allocates(names.source, units.source, source),
    holds(names.destination, destination),
    allocates(names.destination, units.destination, destination),
    ...rest,
  ]
}
