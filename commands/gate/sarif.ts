/** SARIF 2.1.0 (OASIS), one run: a rule for each kind of failure, a result for each failure. */
import type { GateFailure, StepOutcome } from './step'

export const SARIF_VERSION = '2.1.0'
/** A failure of worlds lies in no source line: it is shown at the file that says what must hold. */
const NO_FILE = 'package.json'

interface Placed {
  readonly step: string
  readonly failure: GateFailure
}

/** The log, as an object. */
export function sarifLog(outcomes: readonly StepOutcome[], version: string): object {
  const placed: Placed[] = outcomes.flatMap(({ step, cases }) =>
    cases.flatMap(({ failure }) => (failure === null ? [] : [{ step, failure }])),
  )
  const ids = [...new Set(placed.map(({ failure }) => failure.key))].sort()
  const rules = ids.map((id) => {
    const { failure } = placed.find((one) => one.failure.key === id)!
    return { id, shortDescription: { text: id }, properties: { class: failure.class }, defaultConfiguration: { level: 'error' } }
  })
  const driver = { name: 'mirrorsim', version, rules }
  const results = placed.map(({ step, failure }) => ({
    ruleId: failure.key,
    ruleIndex: ids.indexOf(failure.key),
    level: 'error',
    message: { text: `${failure.text}\n\nReproduce: ${failure.reproduce}` },
    locations: [{ physicalLocation: { artifactLocation: { uri: failure.file ?? NO_FILE }, region: { startLine: 1 } } }],
    partialFingerprints: { 'mirrorsimKey/v1': `${step}:${failure.key}` },
  }))
  const $schema = 'https://json.schemastore.org/sarif-2.1.0.json'
  return { $schema, version: SARIF_VERSION, runs: [{ tool: { driver }, results, columnKind: 'utf16CodeUnits' }] }
}
