import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { sampleReport } from '../reports/testing'
import { smallPlan } from '../sim/testing'
import { viewPage } from './view'

const CHROMIUM = '/usr/bin/chromium'
const PAGE_BYTES_MAX = 600_000
const FIRST_PAINT_MS_MAX = 1000
const report = { ...sampleReport, plan: smallPlan() }

test('a page is small enough to be sent', async () => {
  const page = await viewPage(report, null, 'npm run replay -- FILE')
  assert.ok(Buffer.byteLength(page) <= PAGE_BYTES_MAX, `${Buffer.byteLength(page)} bytes`)
})

test('in a browser the world is run again, and keys move through it', async () => {
  if (!fs.existsSync(CHROMIUM)) {
    console.log('skipped: there is no chromium')
    return
  }
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'view-'))
  const file = path.join(folder, 'page.html')
  const neighbour = { plan: { ...report.plan, guest: report.plan.guest.slice(1) }, difference: 'without one' }
  fs.writeFileSync(file, await viewPage(report, neighbour, 'npm run replay -- FILE'))
  const { chromium }: typeof import('playwright-core') = require('playwright-core')
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 720 } })
    const errors: string[] = []
    page.on('pageerror', (error) => errors.push(String(error)))
    page.on('request', (request) => {
      if (!request.url().startsWith('file:')) errors.push(`asks for ${request.url()}`)
    })
    await page.goto(`file://${file}`)
    await page.waitForSelector('#app:not([aria-busy])', { timeout: 10_000 })
    const place = (): Promise<string | null> => page.getByRole('slider').getAttribute('aria-valuetext')
    await page.keyboard.press('Home')
    assert.match((await place()) ?? '', /^event 1 of /)
    await page.keyboard.press('Shift+ArrowRight')
    assert.match((await place()) ?? '', /^event 11 of /)
    await page.keyboard.press('ArrowLeft')
    assert.match((await place()) ?? '', /^event 10 of /)
    await page.keyboard.press('n')
    assert.match((await page.locator('p.now').textContent()) ?? '', /The neighbour, without one, which passes/)
    for (const tab of ['Events', 'Job', 'Queues', 'Waits', 'Plan', 'Chunk']) await page.getByRole('tab', { name: tab }).click()
    const paintMs = await page.evaluate('performance.getEntriesByName("first-contentful-paint")[0].startTime')
    assert.ok(Number(paintMs) < FIRST_PAINT_MS_MAX, `first paint after ${paintMs} ms`)
    assert.equal(errors, [])
  } finally {
    await browser.close()
    fs.rmSync(folder, { recursive: true, force: true })
  }
})

test.run()
