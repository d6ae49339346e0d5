/** What is known at one event: events around it, the chunk's story, job, queues, who waits, the plan. */
import { storyOf } from '../story'
import type { Viewing } from '../viewing'
import { bitsOf, chunkSectors, eventsAround, jobRows, planText, queueLines, waitLines } from '../words'
import { element } from './elements'

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
  const list = eventsAround(viewing)
  return list.length === 0 ? element('p', { class: 'dim' }, 'Nothing was written down.') : steps(viewing, list)
}

function chunkPanel(viewing: Viewing): HTMLElement {
  const { film, frame, chunkIndex, chunkBytes, frameIndex } = viewing
  const head = element(
    'tr',
    {},
    ...['sectors', film.names.source, film.names.destination].map((name) => element('th', { scope: 'col' }, name)),
  )
  const sectors = chunkSectors(viewing)
  const rows = sectors.rows.map(({ sectors: range, source, destination, isEqual }) => {
    const cells = [range, source, destination]
    return element('tr', isEqual ? {} : { class: 'bad' }, ...cells.map((text) => element('td', {}, text)))
  })
  const bits = bitsOf(frame, chunkIndex)
  // The latest stands where one looks first.
  const story = storyOf(film, chunkIndex, frameIndex)
    .map(({ step, text }) => ({ step, text: `#${step} ${text}` }))
    .reverse()
  return element(
    'div',
    {},
    element('h2', {}, `Chunk ${chunkIndex}: bytes ${chunkIndex * chunkBytes} to ${(chunkIndex + 1) * chunkBytes}`),
    element('p', {}, bits.length === 0 ? 'No bit is set.' : `Bits: ${bits.join(', ')}.`),
    element('table', {}, head, ...rows),
    ...(sectors.more > 0 ? [element('p', { class: 'dim' }, `and ${sectors.more} sectors more`)] : []),
    element('h2', {}, 'What happened here until now, the latest first'),
    steps(viewing, story),
  )
}

function queuesPanel(viewing: Viewing): HTMLElement {
  const parts = viewing.film.lanes.flatMap((lane) => [
    element('h2', {}, lane),
    lines(queueLines(viewing.film, viewing.frame.step, lane), 'nothing'),
  ])
  return element('div', {}, ...parts)
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
    { name: 'Job', render: ({ frame }) => table(jobRows(frame)) },
    { name: 'Queues', render: queuesPanel },
    { name: 'Waits', render: ({ frame }) => lines(waitLines(frame), 'Nobody waits.') },
    { name: 'Plan', render: plan, isFixed: true },
  ]
}
