import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { checkOutput, fuzzMonitor } from './testing'

const CASES = 300

test(`a monitor survives ${CASES} conversations that go wrong`, () => {
  for (let seed = 0; seed < CASES; seed++) {
    try {
      fuzzMonitor(seed)
    } catch (error) {
      assert.unreachable(`seed ${seed}: ${(error as Error).stack}`)
    }
  }
})

test('answers that are none would be noticed', () => {
  const input = Buffer.from('{}')
  checkOutput('{"return": {}}\r\n', input)
  assert.throws(() => checkOutput('{"return": {}}', input), /not whole/)
  assert.throws(() => checkOutput('{"more": {}}\r\n', input), /no message/)
  assert.throws(() => checkOutput('{"return": {}}\r\n'.repeat(3), input), /3 answers/)
})

test.run()
