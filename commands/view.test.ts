import * as fs from 'node:fs'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readReport } from '../reports/format'
import { sampleReport } from '../reports/testing'
import { smallPlan } from '../sim/testing'
import { benchViewer, longReport } from './bench_viewer'
import { findBrowser, inBrowser } from './browser'
import { subjectOf } from './subject'
import { viewPage } from './view'

const PAGE_BYTES_MAX = 600_000
const TABS = ['Events', 'Job', 'Queues', 'Waits', 'Plan', 'Chunk']
const FIRST_PAINT_MS_MAX = 1000
/** Of a frame, of which there are sixty a second; a step takes about 4 where nothing else runs. */
const STEP_CPU_MS_MAX = 16
const READY_CPU_MS_MAX = 3_000
const EVENTS = 5_000
const CORPUS = path.resolve(__dirname, '../scenarios/corpus')
/** Controls and pictures without a name for those who do not see them. */
const NAMELESS = `[...document.querySelectorAll('button, select, input, canvas, [role=tabpanel]')]
  .filter((one) => one.getClientRects().length > 0 && !one.getAttribute('aria-label') && !one.textContent.trim())
  .map((one) => one.outerHTML)`
const report = { ...sampleReport, plan: smallPlan() }
const browser = findBrowser()

/** A test that needs a browser; without one it says so. */
function browserTest(name: string, body: (program: string) => Promise<void>): void {
  if (browser === null) console.log(`skipped: ${name}: there is no Chromium`)
  else test(name, () => body(browser))
}

test('pages of shrunk reports are small enough to be sent', async () => {
  const files = fs.readdirSync(CORPUS).filter((name) => name !== 'index.json')
  const bytesOf = (name: string): number => fs.statSync(path.join(CORPUS, name)).size
  const largest = files.sort((one, other) => bytesOf(other) - bytesOf(one))[0]!
  const reading = readReport(path.join(CORPUS, largest))
  if (!reading.ok) throw new Error(reading.reason)
  for (const one of [report, reading.report]) {
    const page = await viewPage(one, null, 'npm run replay -- FILE')
    assert.ok(Buffer.byteLength(page) <= PAGE_BYTES_MAX, `${Buffer.byteLength(page)} bytes`)
  }
})

browserTest('worlds of every kind have a page that shows them', async (program) => {
  await inBrowser(program, async (open) => {
    for (const profile of ['jobs', 'nbd', 'monitor', 'image'] as const) {
      const plan = subjectOf(profile).planOf('page.1')
      const html = await viewPage({ ...report, plan }, null, 'npm run replay -- FILE')
      assert.ok(Buffer.byteLength(html) <= PAGE_BYTES_MAX, `${profile}: ${Buffer.byteLength(html)} bytes`)
      const errors: string[] = []
      const page = await open(html, { errors })
      await page.keyboard.press('Home')
      assert.match((await page.getByRole('slider').getAttribute('aria-valuetext')) ?? '', /^event 1 of /, profile)
      for (const tab of TABS) await page.getByRole('tab', { name: tab }).click()
      for (let map = 0; map < 12; map++) await page.keyboard.press('m')
      assert.equal(errors, [], profile)
      await page.close()
    }
  })
})

browserTest('in a browser the world is run again, and keys move through it', async (program) => {
  const neighbour = { plan: { ...report.plan, guest: report.plan.guest.slice(1) }, difference: 'without one' }
  const html = await viewPage(report, neighbour, 'npm run replay -- FILE')
  await inBrowser(program, async (open) => {
    const errors: string[] = []
    const page = await open(html, { errors })
    const place = (): Promise<string | null> => page.getByRole('slider').getAttribute('aria-valuetext')
    await page.keyboard.press('Home')
    assert.match((await place()) ?? '', /^event 1 of /)
    await page.keyboard.press('Shift+ArrowRight')
    assert.match((await place()) ?? '', /^event 11 of /)
    await page.keyboard.press('ArrowLeft')
    assert.match((await place()) ?? '', /^event 10 of /)
    await page.keyboard.press('z')
    await page.keyboard.press('ArrowLeft')
    assert.match((await place()) ?? '', /^event 9 of /)
    await page.keyboard.press('n')
    assert.match((await page.locator('p.now').textContent()) ?? '', /The neighbour, without one, which passes/)
    for (const tab of TABS) await page.getByRole('tab', { name: tab }).click()
    assert.equal(errors, [])
    assert.equal(await page.evaluate(NAMELESS), [], 'whatever can be used or looked at has a name')
  })
})

browserTest(`the failure is there in a second, and each step through ${EVENTS} events within a frame`, async (program) => {
  const { firstPaintMs, readyCpuMs, steps } = await benchViewer(program, longReport(EVENTS), 60)
  assert.ok(firstPaintMs < FIRST_PAINT_MS_MAX, `first paint after ${firstPaintMs} ms`)
  assert.ok(readyCpuMs < READY_CPU_MS_MAX, `ready after ${readyCpuMs} ms of CPU`)
  for (const { what, cpuMs } of steps) assert.ok(cpuMs < STEP_CPU_MS_MAX, `${what}: ${cpuMs} ms of CPU`)
})

test.run()
