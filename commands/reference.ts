/**
 * npm run reference: writes docs/reference.md and the table of commands in the README, made of the definitions that the
 * commands parse with, of the types of plans and reports, and of what the library exports. With --check: says whether they are
 * as they would be written.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { Command } from 'commander'
import { EXIT_OK, parseOrExitCode, runProgram, type Streams } from './cli'
import { commandSection, commandTable, definedCommands } from './reference/commands'
import { fieldSections, TypeSources } from './reference/fields'
import { librarySection } from './reference/library'
import { programSections } from './reference/programs'

const root = path.resolve(__dirname, '..')
const EXIT_STALE = 1

/** Where the types of reports and plans stand. */
export const TYPE_FILES = ['reports/format.ts', 'sim/verdict.ts', 'sim/plan.ts']

export function referenceText(): string {
  const commands = definedCommands()
  const sources = new TypeSources(TYPE_FILES)
  return `${[
    '# Reference',
    '',
    'Made by `npm run reference` of what the programs parse with and of the types in the sources; a test fails when it is old.',
    '',
    '- [Commands of the repository](#commands-of-the-repository)',
    '- [Programs](#programs)',
    '- [Reports and plans](#reports-and-plans)',
    '- [The library](#the-library)',
    '',
    '## Commands of the repository',
    '',
    'Arguments stand behind `--`: `npm run fuzz -- --runs 100`. All print `--help`, and refuse what they do not know',
    'with one line and exit code 2.',
    '',
    ...commandTable(commands),
    '',
    ...commands.flatMap(({ script, command }) => commandSection(script, `npm run ${script} --`, command)),
    ...programSections(),
    '## Reports and plans',
    '',
    'A report is one JSON file, the whole reproduction of a failure; its plan runs without the seed. What is not listed here is',
    'refused when a report is read. Numbers are integers.',
    '',
    ...fieldSections(sources.reachable('Report')),
    ...librarySection(),
  ]
    .join('\n')
    .trimEnd()}\n`
}

const BEGIN = '<!-- commands: npm run reference -->\n'
const END = '<!-- end of commands -->\n'

/** The README with its table of commands as it is now. Throws an error where the README has no place for it. */
export function withCommandTable(readme: string): string {
  const from = readme.indexOf(BEGIN)
  const to = readme.indexOf(END)
  if (from < 0 || to < from) throw new Error(`README.md has no lines ${BEGIN.trim()} and ${END.trim()}`)
  return `${readme.slice(0, from + BEGIN.length)}${commandTable(definedCommands()).join('\n')}\n${readme.slice(to)}`
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('reference')
    .description('Writes docs/reference.md, and the table of commands in the README.')
    .option('--check', 'write nothing; say whether they are up to date')
    .addHelpText('after', '\nExit codes: 0 written, or up to date, 1 old, 2 usage\n')
    .allowExcessArguments(false)
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const isCheck = command.opts<{ check?: boolean }>().check === true
  let isOld = false
  const pages: ReadonlyArray<readonly [name: string, make: (now: string) => string]> = [
    ['docs/reference.md', referenceText],
    ['README.md', withCommandTable],
  ]
  for (const [name, make] of pages) {
    const file = path.join(root, name)
    const now = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : ''
    const wanted = make(now)
    if (now === wanted) continue
    isOld = true
    if (isCheck) streams.err.write(`reference: ${name} is old: run npm run reference\n`)
    else fs.writeFileSync(file, wanted)
  }
  return isCheck && isOld ? EXIT_STALE : EXIT_OK
}

if (require.main === module) runProgram('reference', main)
