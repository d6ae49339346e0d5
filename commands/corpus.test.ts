/**
 * The corpus: reports of worlds that failed once, shrunk, each with a line on what was wrong. A report holds its plan, so it
 * stays what it is while generators change; it must be readable, run under all checkers, and stay fixed. To add one: shrink
 * it with `npm run replay -- FILE --shrink`, put the small report into the folder, and say in its `index.json` what it was.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readReport } from '../reports/format'
import { judgeReplay } from '../reports/verdict'
import { subjectOf } from './subject'

const FOLDER = path.join(__dirname, '../scenarios/corpus')
const INDEX = 'index.json'

/** `was`: what was wrong, and where. */
const entries: ReadonlyArray<{ file: string; was: string }> = JSON.parse(fs.readFileSync(path.join(FOLDER, INDEX), 'utf8'))
const subject = subjectOf('default')

for (const { file, was } of entries) {
  test(file, () => {
    const reading = readReport(path.join(FOLDER, file))
    if (!reading.ok) throw new Error(`a report of the corpus is stale, and shows nothing any more: ${reading.reason}`)
    const { plan, decisions } = reading.report
    const { verdict, text } = judgeReplay(reading.report, subject.run(plan, 'last', decisions))
    assert.is(verdict, 'fixed', `${was}: ${text}`)
  })
}

test('the index names all reports of the corpus, each once, and says what they were', () => {
  assert.equal(
    entries.map(({ file }) => file),
    fs
      .readdirSync(FOLDER)
      .filter((name) => name !== INDEX)
      .sort(),
  )
  for (const { file, was } of entries) assert.ok(was.length > 20, file)
})

test.run()
