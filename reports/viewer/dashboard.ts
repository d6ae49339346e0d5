/**
 * The page of a campaign: one HTML file that needs nothing else. All figures stand in it as text and tables; the scripts draw
 * plots of those that change over time.
 */
import { counted, grouped } from '../text'
import { escaped, insideScript, pageHead } from './document'

/** What came in during some seconds. */
export interface DashboardSample {
  /** Milliseconds since 1970. */
  startMs: number
  seconds: number
  worlds: number
  events: number
  failures: number
  /** How many different ones were met up to its end. */
  probesMet: number
  /** Without latency. */
  faults: number
}

export interface DashboardFailure {
  class: string
  key: string
  count: number
  /** Seeds of the worlds that are kept. */
  kept: readonly string[]
  text: string
}

export interface Dashboard {
  title: string
  /** Name and value of each. */
  facts: ReadonlyArray<readonly [name: string, value: string]>
  samples: readonly DashboardSample[]
  failures: readonly DashboardFailure[]
  /** In how many worlds each was met, and the least that is asked for in as many; null: nothing is. */
  probes: ReadonlyArray<{ name: string; worlds: number; floor: number | null }>
  faults: ReadonlyArray<readonly [name: string, count: number]>
  /** As they were recorded, the oldest first. `survivors`: ids. */
  mutants: ReadonlyArray<{ atMs: number; killed: number; total: number; survivors: readonly string[] }>
  /** The last one; null: never recorded. */
  canary: { atMs: number; steps: number; failed: number } | null
  /** When the page was made. */
  madeMs: number
}

/** Plots, by the id that the script looks for. */
const PLOTS: ReadonlyArray<readonly [id: string, title: string]> = [
  ['plot-rate', 'Worlds per second'],
  ['plot-failures', 'Failures, in all'],
  ['plot-probes', 'Different probes met'],
  ['plot-faults', 'Faults fired per second, without latency'],
]

function agoText(fromMs: number, toMs: number): string {
  const minutes = Math.max(0, Math.round((toMs - fromMs) / 60_000))
  if (minutes < 120) return `${minutes} min`
  return minutes < 48 * 60 ? `${Math.round(minutes / 60)} h` : `${Math.round(minutes / 1440)} days`
}

function table(
  caption: string,
  heads: readonly string[],
  rows: ReadonlyArray<readonly string[]>,
  numbers: readonly number[],
): string {
  const cell = (text: string, at: number): string => `<td${numbers.includes(at) ? ' class="number"' : ''}>${escaped(text)}</td>`
  const head = heads.map((text, at) => `<th scope="col"${numbers.includes(at) ? ' class="number"' : ''}>${text}</th>`).join('')
  const body = rows.map((row) => `<tr>${row.map(cell).join('')}</tr>`).join('\n')
  return `<div class="scroll" tabindex="0" role="region" aria-label="${caption}"><table><caption>${caption}</caption><thead><tr>${head}</tr></thead><tbody>\n${body}\n</tbody></table></div>`
}

/** The figures of the plots, for those who do not see them. */
function sampleSection({ samples }: Dashboard): string {
  let failures = 0
  const rows = samples.map((sample) => {
    failures += sample.failures
    const perSecond = (count: number): string => (count / Math.max(sample.seconds, 1e-3)).toFixed(1)
    return [
      ...[timeOf(sample.startMs), sample.seconds.toFixed(0), perSecond(sample.worlds)],
      ...[grouped(failures), grouped(sample.probesMet), perSecond(sample.faults)],
    ]
  })
  const heads = ['From', 'Seconds', 'Worlds/s', 'Failures', 'Probes', 'Faults/s']
  return `<details><summary>The figures of the plots</summary>
${table('What came in, by time', heads, rows, [1, 2, 3, 4, 5])}</details>`
}

function failureSection({ failures }: Dashboard): string {
  if (failures.length === 0) return '<p class="good">None so far.</p>'
  const rows = failures.map(({ key, class: name, count, text, kept }) => [grouped(count), name, key, text, kept.join(' ')])
  return table('By key, the most frequent first', ['Count', 'Class', 'Key', 'One of them', 'Worlds kept'], rows, [0])
}

/** Mutant scores shown, the newest. */
const SCORES_MAX = 8

function timeOf(atMs: number): string {
  return `${new Date(atMs).toISOString().slice(0, 16).replace('T', ' ')} UTC`
}

function mutantsText({ mutants, madeMs }: Dashboard): string {
  const last = mutants.at(-1)
  if (last === undefined) {
    return '<p>Mutants: not recorded. <code>npm run campaign -- record STORE FILE</code> does.</p>'
  }
  const { atMs, killed, total, survivors } = last
  const rows = mutants
    .slice(-SCORES_MAX)
    .reverse()
    .map((one) => [timeOf(one.atMs), grouped(one.killed), grouped(one.total), percentOf(one.killed, one.total)])
  return `<p><meter id="mutants" aria-label="Mutants killed" min="0" max="${total}" value="${killed}"></meter>
${killed} of ${total} mutants killed, ${agoText(atMs, madeMs)} before this page was made.</p>
${survivors.length === 0 ? '' : `<p class="bad">Not killed: ${survivors.map(escaped).join(', ')}</p>`}
${table('Scores of mutants, the newest first', ['When', 'Killed', 'Of', 'Share'], rows, [1, 2, 3])}`
}

function percentOf(part: number, whole: number): string {
  return `${((100 * part) / Math.max(whole, 1)).toFixed(1)} %`
}

function canaryText({ canary, madeMs }: Dashboard): string {
  if (canary === null) return '<p>Canary: not recorded. <code>npm run campaign -- record STORE FILE</code> does.</p>'
  const { atMs, steps, failed } = canary
  const said = failed === 0 ? `all ${steps} steps as they should be` : `${failed} of ${steps} steps not as they should be`
  return `<p id="canary" class="${failed === 0 ? 'good' : 'bad'}">The last canary was ${agoText(atMs, madeMs)} before this page was made (${timeOf(atMs)}): ${said}.</p>`
}

function probeSection({ probes, faults }: Dashboard): string {
  const rows = probes.map(({ name, worlds, floor }) => [
    name,
    grouped(worlds),
    floor === null ? '' : grouped(floor),
    floor !== null && worlds < floor ? 'too rare' : '',
  ])
  return `${table(
    'How often each fault fired',
    ['Fault', 'Fired'],
    faults.map(([name, count]) => [name, grouped(count)]),
    [1],
  )}
<details><summary>${counted(probes.length, 'probe')}, the rarest first</summary>
${table('In how many worlds each situation was met', ['Probe', 'Worlds', 'At least', ''], rows, [1, 2])}</details>`
}

/** The whole file. */
export function dashboardPage(dashboard: Dashboard, style: string, script: string): string {
  const facts = dashboard.facts.map(([name, value]) => `<div><dt>${escaped(name)}</dt><dd>${escaped(value)}</dd></div>`).join('')
  const plots = PLOTS.map(
    ([id, title]) => `<figure><figcaption>${title}</figcaption><div id="${id}" role="img" aria-label="${title}"></div></figure>`,
  )
  const json = JSON.stringify(dashboard.samples).replace(/</g, '\\u003c')
  return `${pageHead(dashboard.title, style)}<body>
<header><h1>${escaped(dashboard.title)}</h1>
<dl class="facts">${facts}</dl></header>
<main>
<section aria-labelledby="time"><h2 id="time">Over time</h2>
<noscript><p>A script draws the plots; the figures stand below.</p></noscript>
<div class="plots">${plots.join('\n')}</div>
<p class="dim">Times are UTC.</p>
${sampleSection(dashboard)}</section>
<section aria-labelledby="failures"><h2 id="failures">Failures</h2>
${failureSection(dashboard)}</section>
<section aria-labelledby="net"><h2 id="net">The net itself</h2>
${canaryText(dashboard)}
${mutantsText(dashboard)}</section>
<section aria-labelledby="met"><h2 id="met">What was met</h2>
${probeSection(dashboard)}</section>
</main>
<script type="application/json" id="data">${json}</script>
<script>${insideScript(script)}</script>
</body>
</html>
`
}
