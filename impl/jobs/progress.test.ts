import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Progress } from './progress'

test('the offset never goes back and never passes the length', () => {
  let waiting = 10
  const progress = new Progress(() => waiting)
  assert.equal([progress.offsetBytes, progress.lengthBytes], [0, 10])
  waiting -= 4
  progress.begin(4)
  assert.equal([progress.offsetBytes, progress.lengthBytes], [0, 10])
  progress.succeed(3)
  assert.equal([progress.offsetBytes, progress.lengthBytes], [3, 10])
  progress.giveBack(1)
  assert.equal([progress.offsetBytes, progress.lengthBytes], [3, 9])
  waiting = 0
  assert.is(progress.offsetBytes, progress.lengthBytes)
  assert.throws(() => progress.succeed(1), /progress-started/)
})

test.run()
