/** What is known at one event, in words: events around it, the chunk's story, job, queues, who waits, the plan. */
import { isMarked } from '../../../sim/film_frames'
import type { Plan } from '../../../sim/plan'
import { eventText, timeText } from '../../text'
import { frameIndexAt, sectorText, storyOf } from '../story'
import { element } from './elements'
import type { Viewing } from './state'

const SECTOR_BYTES = 512
const SECTORS_SHOWN_MAX = 16
const EVENTS_BEFORE = 10
const EVENTS_SHOWN = 24
const WAITS_SHOWN_MAX = 40

function table(rows: ReadonlyArray<readonly [name: string, value: string]>): HTMLElement {
  const body = rows.map(([name, value]) => element('tr', {}, element('th', { scope: 'row' }, name), element('td', {}, value)))
  return element('table', {}, ...body)
}

function lines(list: readonly string[], none: string): HTMLElement {
  if (list.length === 0) return element('p', { class: 'dim' }, none)
  return element('pre', {}, list.join('\n'))
}

/** Buttons that lead to events. */
function steps(viewing: Viewing, list: ReadonlyArray<{ step: number; text: string }>): HTMLElement {
  const at = viewing.frame.step
  const buttons = list.map(({ step, text }) =>
    element(
      'button',
      { type: 'button', 'aria-current': step === at ? 'true' : 'false', onclick: () => viewing.goToStep(step) },
      text,
    ),
  )
  return element('div', { class: 'events' }, ...buttons)
}

function eventsPanel(viewing: Viewing): HTMLElement {
  const all = viewing.film.lines
  const at = viewing.frame.step
  let first = all.findIndex(({ step }) => step >= at)
  if (first < 0) first = all.length
  const shown = all.slice(Math.max(0, first - EVENTS_BEFORE), Math.max(0, first - EVENTS_BEFORE) + EVENTS_SHOWN)
  const list = shown.map((record) => ({ step: record.step, text: eventText(record).trim().replace(/ {2,}/g, '  ') }))
  return list.length === 0 ? element('p', { class: 'dim' }, 'Nothing was written down.') : steps(viewing, list)
}

function chunkPanel(viewing: Viewing): HTMLElement {
  const { film, frame, chunkIndex, chunkBytes, frameIndex } = viewing
  const first = Math.floor((chunkIndex * chunkBytes) / SECTOR_BYTES)
  const end = Math.min(frame.source.sectors.length, first + Math.ceil(chunkBytes / SECTOR_BYTES))
  const rows = [element('tr', {}, ...['sector', 'source', 'destination'].map((name) => element('th', { scope: 'col' }, name)))]
  for (let sector = first; sector < Math.min(end, first + SECTORS_SHOWN_MAX); sector++) {
    const source = frame.source.sectors[sector] ?? 0
    const destination = frame.destination.sectors[sector] ?? 0
    const kind = source === destination ? {} : { class: 'bad' }
    const cells = [String(sector), sectorText(film, source), sectorText(film, destination)]
    rows.push(element('tr', kind, ...cells.map((text) => element('td', {}, text))))
  }
  const more = end - first - SECTORS_SHOWN_MAX
  const { mirror } = frame
  const bits = (['dirty', 'inFlight', 'zero', 'cow'] as const).filter((bit) => isMarked(mirror?.[bit] ?? null, chunkIndex))
  const story = storyOf(film, chunkIndex, frameIndex).map(({ step, text }) => ({ step, text: `#${step} ${text}` }))
  return element(
    'div',
    {},
    element('h2', {}, `Chunk ${chunkIndex}: bytes ${chunkIndex * chunkBytes} to ${(chunkIndex + 1) * chunkBytes}`),
    element('p', {}, bits.length === 0 ? 'No bit is set.' : `Bits: ${bits.join(', ').replace('inFlight', 'in flight')}.`),
    element('table', {}, ...rows),
    ...(more > 0 ? [element('p', { class: 'dim' }, `and ${more} sectors more`)] : []),
    element('h2', {}, 'What happened here until now'),
    steps(viewing, story),
  )
}

function jobPanel(viewing: Viewing): HTMLElement {
  const { frame } = viewing
  const { mirror } = frame
  const job: Array<readonly [string, string]> = [
    ['event', String(frame.step)],
    ['time', timeText(frame.timeNs)],
    ['job', frame.jobStatus],
    ['progress', `${frame.jobOffsetBytes} of ${frame.jobLengthBytes} bytes`],
    ['the guest’s disk', frame.guestDisk],
  ]
  if (mirror === null) return table([...job, ['mirror', 'not there']])
  let dirty = 0
  for (let chunk = 0; chunk < mirror.chunkCount; chunk++) if (isMarked(mirror.dirty, chunk)) dirty++
  return table([
    ...job,
    ['phase', mirror.phase],
    ['copy mode', mirror.copyMode],
    ['actively synced', mirror.activelySynced ? 'yes' : 'no'],
    ['was READY', mirror.wasReady ? 'yes' : 'no'],
    ['granularity', `${mirror.granularityBytes} bytes`],
    ['dirty chunks', `${dirty} of ${mirror.chunkCount}`],
    ['copied', `${mirror.copiedBytes} bytes`],
    ['zeroed', `${mirror.zeroedBytes} bytes`],
    ['discarded', `${mirror.discardedBytes} bytes`],
    ['zeroes skipped', `${mirror.skippedZeroBytes} bytes`],
  ])
}

function queuesPanel(viewing: Viewing): HTMLElement {
  const at = viewing.frame.step
  const present = viewing.film.spans.filter(({ fromStep, toStep }) => fromStep <= at && at < toStep)
  const of = (lane: string): string[] =>
    present
      .filter((span) => span.lane === lane)
      .map(
        ({ id, kind, offsetBytes, lengthBytes, fromStep }) =>
          `${id === kind ? '' : `${id}: `}${kind} ${offsetBytes}+${lengthBytes}, since #${fromStep}`,
      )
  const parts = ['guest', 'device', 'mirror', 'source', 'destination'].flatMap((lane) => [
    element('h2', {}, lane),
    lines(of(lane), 'nothing'),
  ])
  return element('div', {}, ...parts)
}

function waitsPanel(viewing: Viewing): HTMLElement {
  return lines(viewing.frame.waits.slice(0, WAITS_SHOWN_MAX), 'Nobody waits.')
}

function planText(plan: Plan, decisions: Readonly<Record<string, number>> | undefined): string {
  const rows = Object.entries(plan).map(([name, value]) => {
    const isList = Array.isArray(value) && value.length > 0
    const text = isList ? `[\n${value.map((one) => `    ${JSON.stringify(one)}`).join(',\n')}\n  ]` : JSON.stringify(value)
    return `  ${JSON.stringify(name)}: ${text}`
  })
  const decided = decisions === undefined ? '' : `\n\nwith the decisions\n${JSON.stringify(decisions, null, 1)}`
  return `{\n${rows.join(',\n')}\n}${decided}`
}

export interface Panel {
  readonly name: string
  render(viewing: Viewing): HTMLElement
  /** Does not change with the event. */
  readonly isFixed?: boolean
}

/** The panels by tab. `decisions` belong to each film. */
export function panelsOf(decisions: ReadonlyArray<Readonly<Record<string, number>> | undefined>): Panel[] {
  const plan = (viewing: Viewing): HTMLElement => {
    const text = planText(viewing.film.plan, decisions[viewing.filmIndex])
    const copied = element('span', { class: 'dim', role: 'status' })
    const copy = (): void => {
      navigator.clipboard?.writeText(text).then(
        () => copied.replaceChildren(' copied'),
        () => copied.replaceChildren(' could not be copied: select the text'),
      )
    }
    return element(
      'div',
      {},
      element('button', { type: 'button', onclick: copy }, 'Copy the plan'),
      copied,
      element('pre', {}, text),
    )
  }
  return [
    { name: 'Chunk', render: chunkPanel },
    { name: 'Events', render: eventsPanel },
    { name: 'Job', render: jobPanel },
    { name: 'Queues', render: queuesPanel },
    { name: 'Waits', render: waitsPanel },
    { name: 'Plan', render: plan, isFixed: true },
  ]
}

/** One sentence about the event that is looked at. */
export function momentText(viewing: Viewing): string {
  const { frame, film } = viewing
  const happened = film.lines.filter(({ step }) => step === frame.step).map(({ lane, text }) => `${lane}: ${text}`)
  const isFailure = film.result.failure !== null && frameIndexAt(film, film.result.failure.step) === viewing.frameIndex
  const what = happened.length === 0 ? 'something inside went on' : happened.join('; ')
  return `${isFailure ? 'The failure was found here. ' : ''}${what}`
}
