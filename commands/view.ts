/**
 * npm run view -- REPORT: writes one HTML file that shows the failure, and says where. The file carries the simulator as it
 * is now, the planted bug of MIRRORSIM_MUTANT included, and runs the world again wherever it is opened.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import * as zlib from 'node:zlib'
import { Command } from 'commander'
import { type Report, readReport } from '../reports/format'
import { grouped } from '../reports/text'
import { type Neighbour, pageOf } from '../reports/viewer/document'
import type { Plan } from '../sim/plan'
import { EXIT_OK, EXIT_USAGE, parseOrExitCode, runProgram, type Streams } from './cli'
import { findNeighbour } from './neighbour'
import { simulatorOf } from './simulators'

const root = path.resolve(__dirname, '..')
/** Characters; a page is to have at most 600,000 bytes, report and all. */
const PLAIN_SCRIPT_MAX = 560_000
const APP = 'reports/viewer/browser/app.ts'

interface Mutation {
  mutant?: { file: string }
  mutate(source: string, file: string): string
}

/** The scripts of the page of a plan, from the sources as they are now. */
async function bundleScripts(plan: Plan): Promise<string[]> {
  const esbuild: typeof import('esbuild') = require('esbuild')
  const { mutant, mutate } = require('../scripts/mutant.cjs') as Mutation
  const planted: import('esbuild').Plugin = {
    name: 'mutant',
    setup({ onLoad }) {
      onLoad({ filter: /[.]ts$/ }, ({ path: file }) => {
        if (file !== path.resolve(root, mutant!.file)) return null
        return { contents: mutate(fs.readFileSync(file, 'utf8'), file), loader: 'ts' }
      })
    },
  }
  const built = [`commands/simulators/${simulatorOf(plan)}.ts`, APP].map((entry) =>
    esbuild.build({
      absWorkingDir: root,
      entryPoints: [entry],
      inject: ['reports/viewer/browser/engine.ts'],
      // Browsers want the package, not the module of the same name.
      alias: { buffer: 'buffer/index.js' },
      bundle: true,
      minify: true,
      write: false,
      platform: 'browser',
      target: 'es2022',
      format: 'iife',
      charset: 'utf8',
      logLevel: 'silent',
      plugins: mutant === undefined ? [] : [planted],
    }),
  )
  return (await Promise.all(built)).map(({ outputFiles }) => outputFiles[0]!.text)
}

/** A script that is carried packed, as it would make the page too large to be sent; `mirrorsimReady` is when it has run. */
function packedScript(script: string): string {
  const packed = zlib.deflateRawSync(script, { level: 9 }).toString('base64')
  return `window.mirrorsimReady = (async () => {
    const bytes = Uint8Array.from(atob("${packed}"), (letter) => letter.charCodeAt(0))
    const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'))
    const script = document.createElement('script')
    script.textContent = await new Response(unpacked).text()
    document.head.append(script)
  })()`
}

/** The whole page of a report. */
export async function viewPage(report: Report, neighbour: Neighbour | null, command: string): Promise<string> {
  const style = fs.readFileSync(path.join(root, 'reports/viewer/browser/style.css'), 'utf8')
  const scripts = (await bundleScripts(report.plan)).map((one) => (one.length > PLAIN_SCRIPT_MAX ? packedScript(one) : one))
  return pageOf({ data: { report, neighbour, command }, style, scripts })
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('view')
    .description('Writes an HTML file that shows what went wrong in the world of a report, event by event.')
    .argument('<file>', 'a report')
    .option('-o, --output <file>', 'where to write it (default: beside the report)')
    .allowExcessArguments(false)
}

export async function main(args: readonly string[], { out, err }: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, { out, err })
  if (exitCode !== null) return exitCode
  const file = command.args[0]!
  const reading = readReport(file)
  if (!reading.ok) {
    err.write(`view: ${reading.reason}\n`)
    return EXIT_USAGE
  }
  const { subjectOf }: typeof import('./subject') = require('./subject')
  const subject = subjectOf('default')
  const neighbour = findNeighbour(reading.report, (plan, decisions) => subject.run(plan, 'last', decisions))
  const page = await viewPage(reading.report, neighbour, `npm run replay -- ${file}`)
  const target = command.opts<Options>().output ?? file.replace(/([.]json)?$/, '.html')
  try {
    fs.writeFileSync(target, page)
  } catch (error) {
    err.write(`view: ${target}: ${(error as NodeJS.ErrnoException).code ?? error}: give another file with --output\n`)
    return EXIT_USAGE
  }
  out.write(`${target}: ${grouped(Buffer.byteLength(page))} bytes; open it in a browser\n`)
  return EXIT_OK
}

interface Options {
  output?: string
}

if (require.main === module) runProgram('view', main)
