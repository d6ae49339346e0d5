/** What GitHub's runners show: an annotation a failure, and a page with the steps. Told apart by the environment alone. */
import * as fs from 'node:fs'
import type { GateFailure, StepOutcome } from './step'

/** Of a workflow command: data, and properties, which have more signs of their own. */
function escapeData(text: string): string {
  return text.replace(/%/g, '%25').replace(/\r/g, '%0D').replace(/\n/g, '%0A')
}
function escapeProperty(text: string): string {
  return escapeData(text).replace(/:/g, '%3A').replace(/,/g, '%2C')
}

/** GitHub shows ten a step of a workflow; more are noise. */
const ANNOTATIONS_MAX = 10

export function annotations(outcomes: readonly StepOutcome[]): string {
  const lines = failuresOf(outcomes).map(({ key, text, reproduce, file }) => {
    const place = file === undefined ? '' : `file=${escapeProperty(file)},line=1,`
    return `::error ${place}title=${escapeProperty(key)}::${escapeData(`${text}\n${reproduce}`)}\n`
  })
  return lines.slice(0, ANNOTATIONS_MAX).join('')
}

function failuresOf(outcomes: readonly StepOutcome[]): GateFailure[] {
  return outcomes.flatMap(({ cases }) => cases.flatMap(({ failure }) => failure ?? []))
}

function cell(text: string): string {
  return text.replace(/\|/g, '\\|').replace(/\n/g, ' ').replace(/</g, '&lt;')
}

/** Markdown: the steps, and each failure with the command that shows it again. */
export function markdownSummary(outcomes: readonly StepOutcome[]): string {
  const failures = failuresOf(outcomes)
  const rows = outcomes.map(({ step, budget, cases, seconds }) => {
    const failed = cases.filter(({ failure }) => failure !== null).length
    const skipped = cases.filter(({ skipped }) => skipped !== undefined).length
    const outcome = failed > 0 ? `❌ ${failed} failed` : skipped === cases.length && skipped > 0 ? 'skipped' : '✅'
    return `| ${step} | ${outcome} | ${cell(budget)} | ${cases.length} | ${seconds.toFixed(1)} s |`
  })
  const head = ['## mirrorsim gate', '', '| step | outcome | budget | cases | time |', '|---|---|---|---|---|', ...rows, '']
  const list = failures.map(({ key, text, reproduce }) => `- **${cell(key)}**: ${cell(text)}\n  \`\`\`\n  ${reproduce}\n  \`\`\``)
  return [...head, ...list, ''].join('\n')
}

/** Writes what the environment asks for; nothing outside of GitHub's runners. */
export function tellGithub(outcomes: readonly StepOutcome[], env: NodeJS.ProcessEnv, write: (text: string) => void): void {
  if (env['GITHUB_ACTIONS'] === 'true') write(annotations(outcomes))
  const file = env['GITHUB_STEP_SUMMARY']
  if (file !== undefined && file !== '') fs.appendFileSync(file, markdownSummary(outcomes))
}
