import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { firstMismatch, OPERATIONS } from './testing_operations'

const CASES = 2000

for (const operation of OPERATIONS) {
  test(`${operation.name} is what the definition gives`, () => {
    assert.is(firstMismatch(operation, 1, CASES), undefined)
  })
}

test.run()
