import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { checkServerBytes, fuzzClient, fuzzServer } from './testing'

const CASES = 300

for (const [name, run] of [
  ['the server', fuzzServer],
  ['the client', fuzzClient],
] as const) {
  test(`${name} survives ${CASES} conversations that go wrong`, () => {
    for (let seed = 0; seed < CASES; seed++) {
      try {
        run(seed)
      } catch (error) {
        assert.unreachable(`seed ${seed}: ${(error as Error).stack}`)
      }
    }
  })
}

test('answers that are none would be noticed', () => {
  const greeting = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), Buffer.from([0, 3])])
  checkServerBytes(greeting)
  assert.throws(() => checkServerBytes(Buffer.concat([greeting.subarray(0, 17), Buffer.from([7])])), /greeting/)
  const chunk = Buffer.alloc(20)
  chunk.writeUInt32BE(0x668e33ef)
  chunk.writeUInt16BE(77, 6)
  assert.throws(() => checkServerBytes(Buffer.concat([greeting, chunk])), /type 77/)
})

test.run()
