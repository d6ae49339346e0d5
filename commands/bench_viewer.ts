/**
 * The page of a long world in a browser: how soon it shows the failure, when it can be used, and what each step through the
 * world costs, from the key to the end of the frame (script, style, layout, painting). Time on the wall says what people see;
 * CPU time of the page's thread says the same on a busy machine.
 */
import type { Report } from '../reports/format'
import { grouped } from '../reports/text'
import { data, discard, KiB, MiB, many, SPREAD, scenario, write, zero } from '../scenarios/build'
import { inBrowser, type Page } from './browser'
import { percentile } from './mutants_shrunk'
import { findNeighbour } from './neighbour'
import { subjectOf } from './subject'
import { viewPage } from './view'

const DISK_BYTES = MiB
const CHUNK_BYTES = 4 * KiB
const CHUNKS = DISK_BYTES / CHUNK_BYTES
const OPERATIONS = 1_500
const LANES = 4
const JUMPS = 100
/** A step that the page answers later than that ends the measurement. */
const STEP_MS_MAX = 2_000

export interface StepTimes {
  what: string
  count: number
  medianMs: number
  /** 99 of 100 took no longer. */
  p99Ms: number
  maxMs: number
  /** Of the page's thread, a step. */
  cpuMs: number
}

export interface ViewerResult {
  events: number
  chunks: number
  pageBytes: number
  firstPaintMs: number
  /** From the beginning of loading until the world has been run and drawn. */
  readyMs: number
  readyCpuMs: number
  steps: StepTimes[]
}

/** A world that is stopped after `events` of them, while guest and mirror are at work: that is its failure. */
export function longReport(events: number): Report {
  const guest = many(1, OPERATIONS, (id, index) => {
    // A walk that comes to each chunk.
    const offsetBytes = ((index * 37) % CHUNKS) * CHUNK_BYTES
    const lengthBytes = Math.min((1 + (index % 5)) * KiB, DISK_BYTES - offsetBytes)
    const make = [write, write, zero, write, discard][index % 5]!
    return make(id, offsetBytes, lengthBytes, { lane: index % LANES })
  })
  const initial = Array.from({ length: 16 }, (_, index) => data(`s${index}`, index * 16 * CHUNK_BYTES, 8 * CHUNK_BYTES))
  const { plan: endless } = scenario({
    name: 'long-world',
    bug: 'none: it is long',
    lengthBytes: DISK_BYTES,
    source: { latency: SPREAD, initial },
    destination: { latency: SPREAD },
    mirror: { granularityBytes: CHUNK_BYTES, bufferBytes: 8 * CHUNK_BYTES },
    guest,
  })
  const plan = { ...endless, bounds: { ...endless.bounds, eventsMax: events } }
  const { failure, events: seen, timeNs, hash, checkpoints, trace } = subjectOf('default').run(plan, 'last')
  if (failure === null || seen < events) throw new Error(`the long world ends after ${seen} events`)
  return {
    format: 'mirrorsim-report',
    version: 1,
    failure,
    label: { seed: plan.seed, profile: plan.profile, revision: 'unknown', node: process.versions.node, command: 'npm run bench' },
    plan,
    trace: { events: seen, timeNs, hash, checkpoints, last: trace },
  }
}

/** Puts functions into the page that take steps, each in a frame of its own, and give the times until those are done. */
const STEPPER = `
  window.stepOnce = (key, shiftKey) => new Promise((resolve) => {
    const channel = new MessageChannel()
    requestAnimationFrame(() => {
      const from = performance.now()
      document.dispatchEvent(new KeyboardEvent('keydown', { key, shiftKey, bubbles: true }))
      // The frame is laid out and painted before the next task.
      channel.port1.onmessage = () => resolve(performance.now() - from)
      channel.port2.postMessage(null)
    })
  })
  window.stepMany = async (keys, shiftKey, count) => {
    const times = []
    for (let index = 0; index < count; index++) times.push(await window.stepOnce(keys[index % keys.length], shiftKey))
    return times
  }`

type CpuClock = () => Promise<number>

/** CPU milliseconds of the page's main thread since it was opened. */
async function cpuClockOf(page: Page): Promise<CpuClock> {
  const session = await page.context().newCDPSession(page)
  await session.send('Performance.enable', { timeDomain: 'threadTicks' })
  return async () => {
    const { metrics } = await session.send('Performance.getMetrics')
    return 1000 * metrics.find(({ name }) => name === 'TaskDuration')!.value
  }
}

class Walker {
  readonly steps: StepTimes[] = []
  private readonly page: Page
  private readonly cpuMs: CpuClock

  constructor(page: Page, cpuMs: CpuClock) {
    this.page = page
    this.cpuMs = cpuMs
  }

  /** Presses the keys in turns, `count` in all. */
  async walk(what: string, keys: readonly string[], count: number, withShift = false): Promise<void> {
    const before = await this.cpuMs()
    const asked = `window.stepMany(${JSON.stringify(keys)}, ${withShift}, ${count})`
    const times = (await this.page.evaluate(asked)) as number[]
    const cpuMs = ((await this.cpuMs()) - before) / count
    const at = (percent: number): number => percentile(times, percent)
    this.steps.push({ what, count, medianMs: at(50), p99Ms: at(99), maxMs: at(100), cpuMs })
  }
}

/** `stepCount`: events walked in each direction. */
export async function benchViewer(program: string, report: Report, stepCount: number): Promise<ViewerResult> {
  const subject = subjectOf('default')
  const neighbour = findNeighbour(report, (plan, decisions) => subject.run(plan, 'last', decisions))
  const html = await viewPage(report, neighbour, 'npm run replay -- FILE')
  return await inBrowser(program, async (open) => {
    const page = await open(html)
    page.setDefaultTimeout(STEP_MS_MAX * stepCount)
    const startOf = async (name: string): Promise<number> =>
      Number(await page.evaluate(`performance.getEntriesByName("${name}")[0].startTime`))
    const [firstPaintMs, readyMs] = [await startOf('first-contentful-paint'), await startOf('mirrorsim-ready')]
    const cpuMs = await cpuClockOf(page)
    await page.reload()
    await page.waitForSelector('#app:not([aria-busy])')
    const readyCpuMs = await cpuMs()
    await page.evaluate(STEPPER)
    const walker = new Walker(page, cpuMs)
    await page.keyboard.press('Home')
    await walker.walk('one event forward', ['ArrowRight'], stepCount)
    await page.keyboard.press('End')
    await walker.walk('one event backward', ['ArrowLeft'], stepCount)
    await walker.walk('ten events backward', ['ArrowLeft'], JUMPS, true)
    await walker.walk('jumps over the world', ['Home', 'f', 'End', 'd'], JUMPS)
    await walker.walk('another chunk', ['k'], JUMPS)
    await page.keyboard.press('z')
    await walker.walk('zoomed, backward', ['ArrowLeft'], stepCount)
    return {
      events: report.trace.events,
      chunks: CHUNKS,
      pageBytes: Buffer.byteLength(html),
      firstPaintMs,
      readyMs,
      readyCpuMs,
      steps: walker.steps,
    }
  })
}

export function viewerText({ events, chunks, pageBytes, firstPaintMs, readyMs, readyCpuMs, steps }: ViewerResult): string {
  const ms = (value: number): string => value.toFixed(1).padStart(8)
  const head = ['count', 'median', '99 %', 'most', 'CPU'].map((name) => name.padStart(8)).join('')
  return [
    `page of a world of ${grouped(events)} events, ${chunks} chunks (${Math.round(pageBytes / 1000)} kB)`,
    `  first paint after ${Math.round(firstPaintMs)} ms, ready after ${Math.round(readyMs)} ms (${Math.round(readyCpuMs)} of CPU)`,
    `  ${'ms a step'.padEnd(22)}${head}`,
    ...steps.map(
      ({ what, count, medianMs, p99Ms, maxMs, cpuMs }) =>
        `  ${what.padEnd(22)}${String(count).padStart(8)}${ms(medianMs)}${ms(p99Ms)}${ms(maxMs)}${ms(cpuMs)}`,
    ),
  ].join('\n')
}
