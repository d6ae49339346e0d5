/** The browser that pages are tried and pictured in: a Chromium of the machine, without a window. */
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { makeScratch, removeScratch } from './interrupt'

const PROGRAMS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const READY_MS_MAX = 30_000
export const WIDTH_PIXELS = 1280
export const HEIGHT_PIXELS = 720

type Browser = import('playwright-core').Browser
export type Page = import('playwright-core').Page

export interface PageOptions {
  scheme?: 'light' | 'dark'
  /** Where the page's errors go, and what it asks the network for. */
  errors?: string[]
}

/** null: there is none here. */
export function findBrowser(): string | null {
  return PROGRAMS.find((file) => fs.existsSync(file)) ?? null
}

/** Gives `body` a function that opens a page and waits until its world has been run. Leaves nothing behind. */
export async function inBrowser<T>(
  program: string,
  body: (open: (html: string, options?: PageOptions) => Promise<Page>) => Promise<T>,
): Promise<T> {
  const { chromium }: typeof import('playwright-core') = require('playwright-core')
  const folder = makeScratch(os.tmpdir(), 'mirrorsim-page-')
  let browser: Browser | null = null
  let count = 0
  try {
    browser = await chromium.launch({ executablePath: program, args: ['--no-sandbox'] })
    const started = browser
    return await body(async (html, { scheme = 'light', errors } = {}) => {
      const file = path.join(folder, `page-${count++}.html`)
      fs.writeFileSync(file, html)
      const page = await started.newPage({ viewport: { width: WIDTH_PIXELS, height: HEIGHT_PIXELS }, colorScheme: scheme })
      page.on('pageerror', (error) => errors?.push(String(error)))
      page.on('request', (request) => {
        if (!request.url().startsWith('file:')) errors?.push(`asks for ${request.url()}`)
      })
      await page.goto(`file://${file}`)
      await page.waitForSelector('#app:not([aria-busy])', { timeout: READY_MS_MAX })
      return page
    })
  } finally {
    await browser?.close()
    removeScratch(folder)
  }
}
