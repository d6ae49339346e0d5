// The page of a store with known records: what stands in it, and what a browser makes of it.
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Chunk } from '../../properties/campaign'
import { CHUNK_WORLDS } from '../campaign_chunks'
import { scriptedSubject } from '../testing'
import { dashboardHtml, dashboardOf } from './dashboard'
import { Ledger } from './ledger'
import { type Score, scoreChanges } from './scores'
import { WHOLE } from './shards'

const CHROMIUM = '/usr/bin/chromium'
const PAGE_BYTES_MAX = 200_000
const START_MS = Date.UTC(2026, 0, 2, 3, 4, 0)
const MINUTE_MS = 60_000
const CHUNKS = 40

const SCORES: Score[] = [
  { kind: 'mutants', atMs: START_MS - 1440 * MINUTE_MS, killed: 8, total: 10, survivors: ['one', 'two'] },
  { kind: 'mutants', atMs: START_MS, killed: 9, total: 10, survivors: ['the-last'] },
  { kind: 'canary', atMs: START_MS - 180 * MINUTE_MS, steps: 13, failed: 0 },
]

/** A campaign of CHUNKS chunks, one in four seconds, with a failure whose text is no HTML, and an hour of nothing. */
function ledger(): Ledger {
  const failures = Object.fromEntries([5, 33, 34, 1000].map((index) => [index, ['content', 'a/<b>&key'] as const]))
  const subject = scriptedSubject({ failures: { ...failures, 77: ['crash', 'odd/one'] } })
  const setup = {
    ...{ format: 'mirrorsim-campaign' as const, version: 1 as const, seed: 'scripted', firstIndex: 0, profile: 'default' },
    ...{ replayPercent: 5, revision: 'r1', mutant: null, shard: WHOLE },
  }
  const made = new Ledger(setup, scoreChanges(new Map(), SCORES) as Map<string, string>)
  made.history.begin(START_MS)
  for (let chunk = 0; chunk < CHUNKS; chunk++) {
    const work = new Chunk(subject, setup, chunk * CHUNK_WORLDS, CHUNK_WORLDS)
    while (work.step());
    const nowMs = START_MS + chunk * 4000 + (chunk >= CHUNKS / 2 ? 60 * MINUTE_MS : 0)
    if (chunk === CHUNKS / 2) made.history.begin(nowMs - 4000)
    made.add(chunk * CHUNK_WORLDS, work.tally, nowMs)
  }
  return made
}

const REQUIRED = [{ name: 'never-met', worldsPerTenThousandMin: 3 }]
const page = (): Promise<string> => dashboardHtml(dashboardOf(ledger(), REQUIRED, START_MS + 120 * MINUTE_MS))

test('all figures stand in the page as text, before any script', async () => {
  const html = await page()
  assert.ok(Buffer.byteLength(html) <= PAGE_BYTES_MAX, `${Buffer.byteLength(html)} bytes`)
  const words = html.slice(0, html.indexOf('<script'))
  for (const text of [
    '1,280',
    '5 of 2 keys',
    'a/&#60;b&#62;&#38;key',
    'scripted.5 scripted.33 scripted.34 scripted.1000',
    '9 of 10 mutants killed, 2 h before',
    'Not killed: the-last',
    'The last canary was 5 h before this page was made (2026-01-02 00:04 UTC): all 13 steps',
    'never-met',
    '2026-01-02 04:05 UTC',
  ]) {
    assert.ok(words.includes(text), text)
  }
  assert.ok(html.includes("default-src 'none'"))
  assert.not.match(html, /<(link|img|iframe)|(src|href)=/)
})

test('without scores it says how they get there', async () => {
  const bare = ledger()
  bare.scores.length = 0
  const html = await dashboardHtml(dashboardOf(bare, [], START_MS))
  assert.match(html, /Canary: not recorded/)
  assert.match(html, /Mutants: not recorded/)
})

test('in a browser, light and dark, the plots are drawn and the page can be read aloud', async () => {
  if (!fs.existsSync(CHROMIUM)) {
    process.stdout.write('skipped: there is no chromium ')
    return
  }
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dashboard-'))
  const file = path.join(folder, 'page.html')
  fs.writeFileSync(file, await page())
  const { chromium }: typeof import('playwright-core') = require('playwright-core')
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
  try {
    for (const colorScheme of ['light', 'dark'] as const) await look(await browser.newPage({ colorScheme }), `file://${file}`)
  } finally {
    await browser.close()
    fs.rmSync(folder, { recursive: true, force: true })
  }
})

/** In the page: the contrast of its text, pixels of lines in each plot, and whether it is wider than the window. */
const MEASURE = `(() => {
  const channels = (text) => text.match(/[0-9.]+/g).slice(0, 3).map((value) => Number(value) / 255)
  const light = (text) => {
    const [red, green, blue] = channels(text).map((value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
  }
  const contrasts = [...document.querySelectorAll('h1, dt, dd, figcaption, td, th, p, caption')].map((element) => {
    let behind = element
    const color = () => getComputedStyle(behind).backgroundColor
    while (color() === 'rgba(0, 0, 0, 0)') behind = behind.parentElement
    const [one, other] = [light(getComputedStyle(element).color), light(color())]
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)
  })
  const drawn = [...document.querySelectorAll('canvas')].map((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
    const colors = new Set()
    for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255) colors.add(data[at] * 65536 + data[at + 1] * 256 + data[at + 2])
    return colors.size
  })
  const unnamed = [...document.querySelectorAll('[role=img], meter, section, [role=region]')].filter(
    (element) => !element.hasAttribute('aria-label') && !element.hasAttribute('aria-labelledby')).length
  return {
    contrast: Math.min(...contrasts), drawn, unnamed,
    back: getComputedStyle(document.body).backgroundColor,
    isTooWide: document.documentElement.scrollWidth > innerWidth,
  }
})()`

const CONTRAST_MIN = 4.5
const PHONE_PIXELS = { width: 390, height: 800 }

interface Measured {
  contrast: number
  drawn: number[]
  unnamed: number
  back: string
  isTooWide: boolean
}

const backs = new Set<string>()

async function look(tab: import('playwright-core').Page, url: string): Promise<void> {
  const errors: string[] = []
  tab.on('pageerror', (error) => errors.push(String(error)))
  tab.on('console', (message) => message.type() === 'error' && errors.push(message.text()))
  tab.on('request', (request) => request.url().startsWith('file:') || errors.push(`asks for ${request.url()}`))
  await tab.goto(url)
  await tab.waitForSelector('#plot-faults canvas')
  const { contrast, drawn, unnamed, back } = (await tab.evaluate(MEASURE)) as Measured
  backs.add(back)
  assert.is(backs.size, tab.context().browser()!.contexts().length, 'light and dark differ')
  assert.ok(contrast >= CONTRAST_MIN, `contrast ${contrast}`)
  assert.is(drawn.length, 4)
  assert.ok(
    drawn.every((colors) => colors > 3),
    `colours in the plots: ${drawn}`,
  )
  assert.is(unnamed, 0)
  assert.match((await tab.locator('#plot-failures').getAttribute('aria-label')) ?? '', /^Failures, in all: last 5, at most 5$/)
  await tab.getByText('3 probes, the rarest first').press('Enter')
  assert.ok(await tab.getByRole('cell', { name: 'never-met' }).isVisible())
  await tab.getByText('The figures of the plots').press('Enter')
  assert.ok(await tab.getByRole('table', { name: 'What came in, by time' }).isVisible())
  await tab.setViewportSize(PHONE_PIXELS)
  const narrow = (await tab.evaluate(MEASURE)) as Measured
  assert.not.ok(narrow.isTooWide, 'wider than a phone')
  assert.equal(errors, [])
}

test.run()
