/**
 * A debugger's session over a filmed world: where one is, what is watched, and what each command does. Text in, lines out;
 * nothing here knows of terminals. A command that cannot be understood throws UsageError and changes nothing.
 */

import { eventText, timeText } from '../../reports/text'
import { isEqualChunk, isSameSector, sectorText, storyOf } from '../../reports/viewer/story'
import type { Viewing } from '../../reports/viewer/viewing'
import {
  BITS,
  bitName,
  bitsOf,
  chunkSectors,
  eventsAround,
  jobRows,
  momentText,
  planText,
  queueLines,
  waitLines,
} from '../../reports/viewer/words'
import type { DiskFrame, Film, FilmLane, Frame } from '../../sim/film_frames'
import { isMarked } from '../../sim/film_frames'
import { UsageError } from '../cli'
import { CONDITION_HELP, type Moment, parseCondition } from './condition'
import type { GuestNotes, SectorDifference } from './guest_notes'

const STEPS_MAX = 1_000_000
const DIFFERENCES_SHOWN_MAX = 40
const EVENTS_DEFAULT = 12
const EVENTS_MAX = 200
const MAP_COLUMNS = 64
/** Of a narrow terminal, whose lines then break. */
const MAP_COLUMNS_MIN = 16
const MAP_NAME_COLUMNS = 14
const SECTOR_BYTES = 512

interface Entry {
  readonly short: string
  readonly usage: string
  readonly help: string
  run(rest: string): string[]
}

export class Session {
  readonly viewing: Viewing
  isOver = false
  /** Of the terminal; undefined: nobody looks at one. */
  columns: number | undefined = undefined
  /** Something that was waited for or expected was not so. */
  isUnmet = false
  private readonly notes: GuestNotes
  private readonly watched = new Set<number>()
  private readonly entries: Readonly<Record<string, Entry>>

  constructor(viewing: Viewing, notes: GuestNotes) {
    this.viewing = viewing
    this.notes = notes
    this.entries = { ...this.movements(), ...this.pictures(), ...this.rest() }
  }

  get commandNames(): string[] {
    return Object.keys(this.entries)
  }

  execute(line: string): string[] {
    const [, word = '', rest = ''] = /^\s*(\S*)\s*(.*?)\s*$/.exec(line)!
    if (word === '' || word.startsWith('#')) return []
    const entry = Object.hasOwn(this.entries, word)
      ? this.entries[word]
      : Object.values(this.entries).find(({ short }) => short === word)
    if (entry === undefined) throw new UsageError(`there is no command "${word}"; type help for all of them`)
    return entry.run(rest)
  }

  // ------------------------------------------------------------------------------------------------------------ movements

  private movements(): Record<string, Entry> {
    const { viewing } = this
    const by = (sign: number) => (rest: string) =>
      this.moveTo(viewing.frameIndex + sign * number(rest === '' ? '1' : rest, STEPS_MAX))
    return {
      next: { short: 'n', usage: 'next [N]', help: 'goes N events on', run: by(1) },
      back: { short: 'b', usage: 'back [N]', help: 'goes N events back', run: by(-1) },
      goto: {
        short: 'g',
        usage: 'goto N|start|end|failure|wrong',
        help: 'goes to an event; wrong: where it went wrong',
        run: (rest) => this.goTo(rest),
      },
      until: {
        short: 'u',
        usage: 'until event TEXT | probe NAME | CONDITION',
        help: 'goes on to the next event that fits',
        run: (rest) => this.seek(rest, 1),
      },
      rewind: {
        short: 'r',
        usage: 'rewind event TEXT | probe NAME | CONDITION',
        help: 'goes back to the last event that fits',
        run: (rest) => this.seek(rest, -1),
      },
    }
  }

  private goTo(place: string): string[] {
    const { viewing } = this
    const places: Record<string, number> = {
      start: 0,
      end: viewing.film.frames.length - 1,
      failure: viewing.failureFrame,
      wrong: viewing.wrongFrame,
    }
    if (!Object.hasOwn(places, place)) {
      viewing.goToStep(number(place, STEPS_MAX))
      return this.here()
    }
    const frame = places[place]!
    if (frame < 0) return this.unmet(`nothing ${place === 'wrong' ? 'is seen to go wrong at a chunk' : 'fails'} in this world`)
    return this.moveTo(frame)
  }

  private moveTo(frameIndex: number): string[] {
    const before = this.viewing.frame.step
    this.viewing.goTo(frameIndex)
    return [...this.here(), ...this.watchLines(before)]
  }

  private seek(what: string, sign: 1 | -1): string[] {
    const { viewing } = this
    const { film } = viewing
    const fits = seekerOf(what, film)
    for (let at = viewing.frameIndex + sign; at >= 0 && at < film.frames.length; at += sign) {
      if (fits({ film, frame: film.frames[at]!, frameIndex: at })) return this.moveTo(at)
    }
    return this.unmet(`${what}: not met ${sign > 0 ? 'after' : 'before'} this event`)
  }

  private unmet(text: string): string[] {
    this.isUnmet = true
    return [text]
  }

  /** Where one is. */
  here(): string[] {
    const { frame } = this.viewing
    return [`#${frame.step}  ${timeText(frame.timeNs)}  ${momentText(this.viewing)}`]
  }

  private watchLines(before: number): string[] {
    const { viewing } = this
    const { step } = viewing.frame
    if (step <= before) return [...this.watched].map((chunk) => this.chunkLine(chunk))
    return [...this.watched].flatMap((chunk) =>
      storyOf(viewing.film, chunk, viewing.frameIndex)
        .filter((line) => line.step > before && line.step <= step)
        .map((line) => `  chunk ${chunk}, #${line.step}: ${line.text}`),
    )
  }

  private chunkLine(chunk: number): string {
    const { frame, chunkBytes } = this.viewing
    const bits = bitsOf(frame, chunk)
    return `  chunk ${chunk}: ${bits.length === 0 ? 'no bit is set' : bits.join(', ')}; disks ${isEqualChunk(frame, chunk, chunkBytes) ? 'equal' : 'differ'}`
  }

  // ------------------------------------------------------------------------------------------------------------- pictures

  private pictures(): Record<string, Entry> {
    const { viewing } = this
    return {
      print: {
        short: 'p',
        usage: 'print',
        help: 'the maps of the mirror, one sign a chunk, and what both disks allocate',
        run: () => this.maps(),
      },
      ranges: { short: 'ra', usage: 'ranges', help: 'the same as ranges of chunks', run: () => this.ranges() },
      chunk: {
        short: 'c',
        usage: 'chunk [N]',
        help: 'what both disks hold in a chunk, and what happened to it',
        run: (rest) => this.chunk(rest),
      },
      diff: {
        short: 'd',
        usage: 'diff [disks]',
        help: 'where the guest’s disk is not what the model says; disks: where both differ',
        run: (rest) => this.diff(rest),
      },
      events: {
        short: 'e',
        usage: 'events [COUNT]',
        help: 'lines of the trace around this event',
        run: (rest) => this.events(rest),
      },
      job: {
        short: 'j',
        usage: 'job',
        help: 'state of the job and counters',
        run: () => jobRows(viewing.frame).map(([name, value]) => `  ${name.padEnd(18)}${value}`),
      },
      queues: { short: 'q', usage: 'queues', help: 'requests under way, by place', run: () => this.queues() },
      waits: {
        short: 'wa',
        usage: 'waits',
        help: 'who waits, and for whom',
        run: () => orNothing(waitLines(viewing.frame), 'nobody waits'),
      },
    }
  }

  /** For each map, whether it says something of a chunk. */
  private mapRows(): Array<readonly [name: string, isSet: (chunk: number) => boolean]> {
    const { frame, film, chunkBytes } = this.viewing
    const takes =
      (unitBytes: number, { allocated }: DiskFrame) =>
      (chunk: number) => {
        const end = Math.ceil(((chunk + 1) * chunkBytes) / unitBytes)
        for (let at = Math.floor((chunk * chunkBytes) / unitBytes); at < end; at++) if (allocated[at] === 1) return true
        return false
      }
    const hasMirror = film.kind === 'mirror' || film.frames.some(({ mirror }) => mirror !== null)
    const maps = (hasMirror ? BITS : []).map(
      (bit) => [bitName(bit), (chunk: number) => isMarked(frame.mirror?.[bit] ?? null, chunk)] as const,
    )
    const differ = ['differ', (chunk: number) => !isEqualChunk(frame, chunk, chunkBytes)] as const
    if (film.kind === 'chain') {
      const layers = film.layers.map(
        ({ name, allocationUnitBytes }, index) => [`${name} takes`, takes(allocationUnitBytes, frame.layers[index]!)] as const,
      )
      return [...maps, differ, ...layers]
    }
    const { source, destination } = film.allocationUnitBytes
    const disks = [
      ['source takes', takes(source, frame.source)],
      ['dest. takes', takes(destination, frame.destination)],
    ] as const
    return [...maps, differ, ...(film.kind === 'file' ? [] : disks)]
  }

  private maps(): string[] {
    const { chunkCount } = this.viewing
    const columns = Math.max(MAP_COLUMNS_MIN, Math.min(MAP_COLUMNS, (this.columns ?? Infinity) - MAP_NAME_COLUMNS - 2))
    const lines: string[] = []
    let emptyFrom = -1
    const sayEmpty = (end: number): void => {
      if (emptyFrom >= 0) lines.push(`  chunks ${emptyFrom} to ${end - 1}: nothing`)
      emptyFrom = -1
    }
    for (let first = 0; first < chunkCount; first += columns) {
      const count = Math.min(columns, chunkCount - first)
      const rows = this.mapRows().map(([name, isSet]) => {
        const signs = Array.from({ length: count }, (_, index) => (isSet(first + index) ? '#' : '.'))
        return { text: `  ${name.padEnd(MAP_NAME_COLUMNS)}${signs.join('')}`, isEmpty: !signs.includes('#') }
      })
      if (rows.every(({ isEmpty }) => isEmpty)) {
        if (emptyFrom < 0) emptyFrom = first
        continue
      }
      sayEmpty(first)
      lines.push(`  chunks ${first} to ${first + count - 1}`, ...rows.map(({ text }) => text))
    }
    sayEmpty(chunkCount)
    return lines
  }

  private ranges(): string[] {
    const { chunkCount } = this.viewing
    return this.mapRows().map(([name, isSet]) => `  ${name.padEnd(MAP_NAME_COLUMNS)}${rangesOf(chunkCount, isSet)}`)
  }

  private chunk(rest: string): string[] {
    const { viewing } = this
    if (rest !== '') viewing.select(number(rest, viewing.chunkCount - 1))
    const { rows, more } = chunkSectors(viewing)
    const sectors = rows.map(
      (row) =>
        `  ${row.isEqual ? ' ' : '!'} sector${row.sectors.includes('-') ? 's' : ''} ${row.sectors}: ${row.source} | ${row.destination}`,
    )
    const story = storyOf(viewing.film, viewing.chunkIndex, viewing.frameIndex).map(({ step, text }) => `  #${step} ${text}`)
    return [this.chunkLine(viewing.chunkIndex), ...sectors, ...(more > 0 ? [`    and ${more} sectors more`] : []), ...story]
  }

  private diff(rest: string): string[] {
    const { viewing } = this
    const { frame, film } = viewing
    if (rest === 'disks') {
      const { source, destination } = frame
      return [
        `  sectors that differ: ${rangesOf(source.sectors.length, (sector) => source.sectors[sector] !== destination.sectors[sector])}`,
      ]
    }
    if (rest !== '') throw new UsageError(`diff: "${rest}" is not "disks"`)
    if (film.kind === 'pair' || film.kind === 'file')
      throw new UsageError('diff: of this kind of world the model is asked in its own time; diff disks compares both')
    const found = film.kind === 'chain' ? chainDifferences(film, frame) : this.notes.differences(film, frame)
    if (found.length === 0) return ['  the guest’s disk is what the model says']
    const lines = found
      .slice(0, DIFFERENCES_SHOWN_MAX)
      .map(
        ({ sectorIndex, expected, actual }) =>
          `  sector ${sectorIndex} (byte ${sectorIndex * SECTOR_BYTES}): ${actual}, where the guest must find ${expected}`,
      )
    return found.length > lines.length ? [...lines, `  and ${found.length - lines.length} more`] : lines
  }

  private events(rest: string): string[] {
    const count = rest === '' ? EVENTS_DEFAULT : number(rest, EVENTS_MAX)
    const { step } = this.viewing.frame
    return orNothing(
      eventsAround(this.viewing, count).map((line) => `${line.step === step ? '> ' : '  '}${line.text}`),
      'nothing was written down',
    )
  }

  private queues(): string[] {
    const { film, frame } = this.viewing
    const of = (lane: FilmLane): string[] => [
      `  ${lane}`,
      ...orNothing(queueLines(film, frame.step, lane), 'nothing').map((line) => `  ${line}`),
    ]
    return film.lanes.flatMap(of)
  }

  // ----------------------------------------------------------------------------------------------------------------- rest

  private rest(): Record<string, Entry> {
    const { viewing } = this
    return {
      watch: {
        short: 'w',
        usage: 'watch [CHUNK]',
        help: 'tells of what happens to a chunk; alone: of the watched ones',
        run: (rest) => this.watch(rest),
      },
      unwatch: {
        short: 'uw',
        usage: 'unwatch CHUNK',
        help: 'does so no longer',
        run: (rest) => (this.watched.delete(number(rest, STEPS_MAX)) ? [] : [`chunk ${rest} is not watched`]),
      },
      probes: {
        short: 'pr',
        usage: 'probes',
        help: 'named situations met until now, each at its last event',
        run: () => this.probes(),
      },
      failure: { short: 'f', usage: 'failure', help: 'what the failure was', run: () => this.failure() },
      plan: {
        short: 'pl',
        usage: 'plan',
        help: 'the plan of the world',
        run: () => planText(viewing.film.plan, undefined).split('\n'),
      },
      expect: {
        short: 'x',
        usage: 'expect CONDITION',
        help: 'says whether it is so; if not, the exit code of a script is 1',
        run: (rest) => (parseCondition(rest)(this.moment) ? [`  ${rest}: so`] : this.unmet(`  ${rest}: not so`)),
      },
      help: { short: 'h', usage: 'help', help: 'this; and what conditions are made of', run: () => this.help() },
      quit: {
        short: 'exit',
        usage: 'quit',
        help: 'ends',
        run: () => {
          this.isOver = true
          return []
        },
      },
    }
  }

  private get moment(): Moment {
    const { film, frame, frameIndex } = this.viewing
    return { film, frame, frameIndex }
  }

  private watch(rest: string): string[] {
    if (rest !== '') this.watched.add(number(rest, this.viewing.chunkCount - 1))
    return orNothing(
      [...this.watched].map((chunk) => this.chunkLine(chunk)),
      'no chunk is watched',
    )
  }

  private probes(): string[] {
    const { film, frame } = this.viewing
    const last = new Map<string, number>()
    for (const { step, name } of film.situations) if (step <= frame.step) last.set(name, step)
    return orNothing(
      [...last].map(([name, step]) => `  #${step} ${name}`),
      'none',
    )
  }

  private failure(): string[] {
    const { result, lines } = this.viewing.film
    if (result.failure === null) return ['  the world does not fail']
    const { class: kind, key, text, step } = result.failure
    return [`  ${kind}: ${key}`, `  ${text}`, ...lines.filter((line) => line.step === step).map(eventText)]
  }

  private help(): string[] {
    return [...helpLines(this.entries), '', `conditions: ${CONDITION_HELP}`]
  }
}

function helpLines(entries: Readonly<Record<string, Entry>>): string[] {
  return Object.values(entries).map(({ short, usage, help }) => `  ${short.padEnd(5)}${usage.padEnd(46)}${help}`)
}

function number(text: string, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!(value <= max)) throw new UsageError(`"${text}" is not a whole number from 0 to ${max}`)
  return value
}

/** Where the guest's disk is not what the guest must find. */
function chainDifferences(film: Film, { source, destination }: Frame): SectorDifference[] {
  const found: SectorDifference[] = []
  source.sectors.forEach((value, sectorIndex) => {
    const actual = destination.sectors[sectorIndex]
    if (isSameSector(value, actual)) return
    found.push({ sectorIndex, expected: sectorText(film, value), actual: sectorText(film, actual ?? 0) })
  })
  return found
}

function orNothing(lines: readonly string[], none: string): string[] {
  return lines.length === 0
    ? [`  ${none}`]
    : lines.map((line) => (line.startsWith(' ') || line.startsWith('>') ? line : `  ${line}`))
}

/** `0-3, 7`, or `none`. */
function rangesOf(count: number, isSet: (index: number) => boolean): string {
  const ranges: string[] = []
  for (let first = 0; first < count; first++) {
    if (!isSet(first)) continue
    let last = first
    while (last + 1 < count && isSet(last + 1)) last++
    ranges.push(first === last ? String(first) : `${first}-${last}`)
    first = last
  }
  return ranges.length === 0 ? 'none' : ranges.join(', ')
}

/** `event TEXT`: a line of the trace holds it; `probe NAME`: the situation is met; else a condition. */
function seekerOf(what: string, film: Film): (moment: Moment) => boolean {
  const [, kind, rest = ''] = /^(event|probe)\s+(?![=!<>])(.+)$/.exec(what) ?? []
  if (kind === undefined) {
    const condition = parseCondition(what)
    return (moment) => Boolean(condition(moment))
  }
  const found =
    kind === 'event'
      ? film.lines.filter(({ lane, text }) => `${lane}: ${text}`.includes(rest))
      : film.situations.filter(({ name }) => name === rest)
  const steps = new Set(found.map(({ step }) => step))
  return ({ frame }) => steps.has(frame.step)
}
