/**
 * npm run pictures: pictures of the page of a report, as people see it, for docs/pictures. Each shows a world that fails
 * because of a mutant, so they can be made again at any time.
 */
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { Command } from 'commander'
import { makeFolder } from '../reports/format'
import { grouped } from '../reports/text'
import { findBrowser, inBrowser, type Page, type PageOptions } from './browser'
import { EXIT_OK, parseOrExitCode, runProgram, type Streams, UsageError } from './cli'
import { makeScratch, removeScratch, turnLoop, whileCleanedUp } from './interrupt'

const root = path.resolve(__dirname, '..')
const FOLDER = path.join(root, 'docs/pictures')
/** They stay in the repository for good. */
const PICTURE_BYTES_MAX = 200_000

interface World {
  mutant: string
  profile: string
  seed: string
  runs: number
  /** As campaigns leave it, or smaller. */
  isShrunk: boolean
}

interface Picture {
  name: string
  world: World
  scheme: NonNullable<PageOptions['scheme']>
  /** Keys, or names of tabs with `tab:` before them. */
  keys: readonly string[]
}

const WHOLE: World = {
  mutant: 'passive-write-marked-too-early',
  profile: 'default',
  seed: 'pictures',
  runs: 400,
  isShrunk: false,
}
const SHRUNK: World = { ...WHOLE, isShrunk: true }
const JOB: World = { mutant: 'commit-zeroes-left-in-the-layer', profile: 'jobs', seed: 'pj', runs: 200, isShrunk: false }
const MONITOR: World = {
  mutant: 'qmp-commands-overtake-each-other',
  profile: 'monitor',
  seed: 'pictures',
  runs: 200,
  isShrunk: false,
}

const PICTURES: readonly Picture[] = [
  { name: 'failure-light', world: SHRUNK, scheme: 'light', keys: ['d'] },
  { name: 'failure-dark', world: WHOLE, scheme: 'dark', keys: ['d', 'tab:Events'] },
  { name: 'divergence-light', world: SHRUNK, scheme: 'light', keys: ['e', 'tab:Plan'] },
  { name: 'jobs-light', world: JOB, scheme: 'light', keys: ['d'] },
  { name: 'monitor-dark', world: MONITOR, scheme: 'dark', keys: ['f', 'tab:Events'] },
]

/** Runs a command of ours with the mutant in the code. Throws UsageError with what it says where it must not fail. */
function run(command: string, args: readonly string[], mutant: string, mayFail: boolean): void {
  const options = ['--enable-source-maps', '-r', './scripts/tsreg.cjs', `commands/${command}.ts`, ...args]
  const env = { ...process.env, MIRRORSIM_MUTANT: mutant }
  const { status, stderr } = spawnSync(process.execPath, options, { cwd: root, env, encoding: 'utf8' })
  if (status !== 0 && !mayFail) throw new UsageError(`${command} with the mutant ${mutant}: ${stderr}`)
}

/** The page of the first world that the mutant makes fail. */
function pageOf({ mutant, profile, seed, runs, isShrunk }: World, folder: string): string {
  const out = path.join(folder, mutant)
  const seeds = ['--profile', profile, '--seed', seed, '--runs', String(runs), '--stop-after', '1']
  if (!fs.existsSync(out)) run('fuzz', [...seeds, '--workers', '0', '--out', out], mutant, true)
  const [found] = fs.readdirSync(out).filter((name) => name.endsWith('.json'))
  if (found === undefined) throw new UsageError(`no world fails with the mutant ${mutant}: give it another seed`)
  const report = path.join(folder, 'failure.json')
  fs.copyFileSync(path.join(out, found), report)
  if (isShrunk) run('replay', [report, '--shrink'], mutant, true)
  const page = path.join(folder, 'page.html')
  run('view', [isShrunk ? path.join(folder, 'failure.small.json') : report, '--output', page], mutant, false)
  // The page shows the command as people would type it.
  return fs.readFileSync(page, 'utf8').replaceAll(folder, 'reports/out')
}

async function press(page: Page, keys: readonly string[]): Promise<void> {
  for (const key of keys) {
    if (key.startsWith('tab:')) await page.getByRole('tab', { name: key.slice(4) }).click()
    else await page.keyboard.press(key)
  }
}

async function makePictures(program: string, folder: string, only: string, { out }: Streams): Promise<void> {
  const scratch = makeScratch(os.tmpdir(), 'mirrorsim-pictures-')
  try {
    await inBrowser(program, async (open) => {
      for (const { name, world, scheme, keys } of PICTURES.filter((picture) => picture.name.includes(only))) {
        await turnLoop()
        const page = await open(pageOf(world, scratch), { scheme })
        await press(page, keys)
        const file = path.join(folder, `${name}.png`)
        const { length } = await page.screenshot({ path: file })
        await page.close()
        if (length > PICTURE_BYTES_MAX) throw new UsageError(`${file}: ${grouped(length)} bytes are too many for a repository`)
        out.write(`${path.relative(process.cwd(), file)}: ${grouped(length)} bytes\n`)
      }
    })
  } finally {
    removeScratch(scratch)
  }
}

export function definition(): Command {
  return new Command('pictures')
    .description('Makes the pictures of the page of a report anew, in a Chromium without a window.')
    .option('--out <folder>', 'where they go (default: docs/pictures)')
    .option('--only <text>', 'only those whose name has this in it', '')
    .allowExcessArguments(false)
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const { out = FOLDER, only } = command.opts<{ out?: string; only: string }>()
  const program = findBrowser()
  if (program === null) throw new UsageError('there is no Chromium here: install one')
  makeFolder(out)
  await whileCleanedUp(() => makePictures(program, out, only, streams))
  return EXIT_OK
}

if (require.main === module) runProgram('pictures', main)
