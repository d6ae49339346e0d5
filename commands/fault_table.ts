/** `docs/faults.md`, made of what the faults say of themselves: `node -r ./scripts/tsreg.cjs commands/fault_table.ts`. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { type Excuse, FAULTS, type Fault } from '../sim/faults'

export const FAULT_TABLE = path.join(__dirname, '../docs/faults.md')

const PROMISES: Readonly<Record<Fault['promise'], string>> = {
  survived: 'jobs and guests go on as if nothing had been',
  reported: 'told as an error, under the policy of the job',
  silent: 'nobody in the stack can see it: the world marks the bytes, and only these are excused',
}

export function faultTable(): string {
  const rows = FAULTS.map(({ name, about, promise, excuses }) => `| ${name} | ${about} | ${promise} | ${excusesText(excuses)} |`)
  const promises = Object.entries(PROMISES).map(([promise, meaning]) => `- **${promise}**: ${meaning}.`)
  return [
    '# What goes wrong in worlds',
    '',
    'Each fault is a file of `sim/faults`; this table is made of them. `npm run fuzz` prints how often each has fired, and a fault',
    'that a profile must see and that never fires in 10,000 worlds ends the run with exit code 3.',
    '',
    ...promises,
    '',
    '| fault | what it does | promise | what it excuses |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n')
}

function excusesText(excuses: readonly Excuse[]): string {
  const byReason = new Map<string, string[]>()
  for (const { checker, why } of excuses) byReason.set(why, [...(byReason.get(why) ?? []), checker])
  return [...byReason].map(([why, checkers]) => `${checkers.join(', ')}: ${why}`).join('; ') || 'nothing'
}

if (require.main === module) fs.writeFileSync(FAULT_TABLE, faultTable())
