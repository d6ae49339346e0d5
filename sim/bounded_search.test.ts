import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeLabel } from '../impl/co'
import { BoundedSearch } from './bounded_search'

const SITE = makeLabel('site')
const subjects = Array.from({ length: 6 }, (_, index) => makeLabel(`subject-${index}`))

/** All schedules of a world that asks `counts.length` questions, as text. */
function schedules(counts: readonly number[], deviationsMax: number, decisionsMax = 100): string[] {
  const search = new BoundedSearch({ deviationsMax, decisionsMax })
  const seen: string[] = []
  do seen.push(counts.map((count, index) => search.decide(SITE, subjects[index]!, 0, count)).join(''))
  while (search.next())
  return seen
}

test('the first schedule is dull', () => {
  assert.equal(schedules([2, 3, 2], 2)[0], '000')
})

test('every schedule with few deviations is visited once', () => {
  const counts = [2, 3, 2, 4]
  const all: string[] = []
  for (let a = 0; a < 2; a++)
    for (let b = 0; b < 3; b++) for (let c = 0; c < 2; c++) for (let d = 0; d < 4; d++) all.push(`${a}${b}${c}${d}`)
  for (let deviationsMax = 0; deviationsMax <= 4; deviationsMax++) {
    const wanted = all.filter((text) => [...text].filter((digit) => digit !== '0').length <= deviationsMax)
    assert.equal(schedules(counts, deviationsMax).sort(), wanted.sort())
  }
})

test('decisions that depend on earlier ones are searched as they come', () => {
  const search = new BoundedSearch({ deviationsMax: 1, decisionsMax: 100 })
  const seen: string[] = []
  do {
    const first = search.decide(SITE, subjects[0]!, 0, 2)
    const second = first === 1 ? search.decide(SITE, subjects[1]!, 0, 3) : search.decide(SITE, subjects[2]!, 0, 2)
    seen.push(`${first}${second}`)
  } while (search.next())
  assert.equal(seen, ['00', '01', '10'])
})

test('decisions beyond the bound stay dull', () => {
  assert.equal(schedules([2, 2, 2], 3, 1), ['000', '100'])
})

test('a world that asks something else the second time is refused', () => {
  const search = new BoundedSearch({ deviationsMax: 1, decisionsMax: 100 })
  search.decide(SITE, subjects[0]!, 0, 2)
  search.decide(SITE, subjects[1]!, 0, 2)
  assert.ok(search.next())
  assert.throws(() => search.decide(SITE, subjects[3]!, 0, 2), /another one/)
})

test.run()
