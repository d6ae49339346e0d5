/**
 * JUnit XML as Jenkins, GitLab and GitHub actions read it: a suite a step, a test case a case. Texts may hold anything; what XML
 * cannot hold is replaced.
 */
import type { GateCase, StepOutcome } from './step'

/** Attribute or text. Control characters are no XML 1.0 characters, escaped or not. */
export function escapeXml(text: string): string {
  const escapes: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;' }
  return text
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
    .replace(/[&<>"']/g, (sign: string) => escapes[sign]!)
}

function caseXml(step: string, { name, seconds, failure, skipped }: GateCase): string {
  const head = `    <testcase name="${escapeXml(name)}" classname="mirrorsim.${escapeXml(step)}" time="${seconds.toFixed(3)}"`
  if (skipped !== undefined) return `${head}>\n      <skipped message="${escapeXml(skipped)}"/>\n    </testcase>`
  if (failure === null) return `${head}/>`
  const { class: failureClass, key, text, reproduce, report } = failure
  const body = [text, '', `reproduce: ${reproduce}`, ...(report === undefined ? [] : [`report: ${report}`])].join('\n')
  const type = `${failureClass}: ${key}`
  return `${head}>\n      <failure message="${escapeXml(text)}" type="${escapeXml(type)}">${escapeXml(body)}</failure>\n    </testcase>`
}

/** The whole document. */
export function junitXml(outcomes: readonly StepOutcome[]): string {
  const sum = (of: (outcome: StepOutcome) => number): number => outcomes.reduce((total, outcome) => total + of(outcome), 0)
  const suites = outcomes.map((outcome) => {
    const { step, cases, seconds } = outcome
    const counts = `tests="${cases.length}" failures="${failuresOf(outcome)}" errors="0" skipped="${skippedOf(outcome)}"`
    const lines = cases.map((one) => caseXml(step, one))
    return [`  <testsuite name="${escapeXml(step)}" ${counts} time="${seconds.toFixed(3)}">`, ...lines, '  </testsuite>'].join(
      '\n',
    )
  })
  const counts = `tests="${sum(({ cases }) => cases.length)}" failures="${sum(failuresOf)}" errors="0"`
  const head = `<testsuites name="mirrorsim" ${counts} time="${sum(({ seconds }) => seconds).toFixed(3)}">`
  return ['<?xml version="1.0" encoding="UTF-8"?>', head, ...suites, '</testsuites>', ''].join('\n')
}

function failuresOf({ cases }: StepOutcome): number {
  return cases.filter(({ failure }) => failure !== null).length
}
function skippedOf({ cases }: StepOutcome): number {
  return cases.filter(({ skipped }) => skipped !== undefined).length
}
