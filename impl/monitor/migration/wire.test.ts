import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockError } from '../../block'
import { DirtyBitmap } from '../../block/dirty_bitmap'
import { testBench } from '../../block/testing'
import { type Co, makeLabel } from '../../co'
import { streamPair } from '../../co/stream_pair'
import { receiveMachine, type SentBitmap, type SentMachine, sendMachine } from './wire'

function moved(machine: SentMachine): SentMachine {
  const { kernel, run } = testBench()
  const { near, far } = streamPair(kernel, 'wire')
  function* body(): Co<SentMachine> {
    kernel.spawn(sendMachine(near, machine), makeLabel('sender'))
    return yield* receiveMachine(far)
  }
  return run(body())
}

/** The text of what is said to these bytes. */
function refusal(text: string): string {
  const { kernel, run } = testBench()
  const { near, far } = streamPair(kernel, 'wire')
  function* send(): Co<void> {
    yield* near.write(new TextEncoder().encode(text))
    yield* near.endWrite()
  }
  function* body(): Co<string> {
    kernel.spawn(send(), makeLabel('sender'))
    try {
      yield* receiveMachine(far)
      return ''
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      return error.message
    }
  }
  return run(body())
}

const bitmap = (bits: DirtyBitmap, name = 'b'): SentBitmap => ({ node: 'n', name, isEnabled: true, isPersistent: false, bits })

test('what is sent arrives, bit by bit', () => {
  const large = new DirtyBitmap(2 ** 40, 512 * 1024)
  for (const offset of [0, 524288, 2 ** 39, 2 ** 40 - 1]) large.set(offset, 1)
  const small = new DirtyBitmap(1000, 512)
  const { wasRunning, bitmaps } = moved({ wasRunning: true, bitmaps: [bitmap(large), bitmap(small, 'empty')] })
  assert.is(wasRunning, true)
  assert.equal(
    bitmaps.map(({ name, bits }) => [name, bits.count, bits.lengthBytes, bits.granularityBytes]),
    [
      ['b', 4, 2 ** 40, 524288],
      ['empty', 0, 1000, 512],
    ],
  )
  assert.ok(bitmaps[0]!.bits.get(2 ** 39) && !bitmaps[0]!.bits.get(2 ** 39 + 524288))
  assert.is(moved({ wasRunning: false, bitmaps: [] }).wasRunning, false)
})

test('what is no machine of ours is refused with one text, whatever it is', () => {
  const first = '{"mirrorsim-migration":1,"running":true}\n'
  const one = '{"node":"n","name":"b","granularityBytes":512,"lengthBytes":512,"isEnabled":true,"isPersistent":false}\n'
  for (const [text, wanted] of [
    ['', /ends too early/],
    ['QEVM\u0000\n', /Not a migration stream/],
    ['1\n', /Not a migration stream/],
    ['{"mirrorsim-migration":2}\n', /Not a migration stream/],
    [first, /ends too early/],
    [`${first}{"at":0,"bits":"AAAAAA=="}\n`, /Bits of the migration stream are none/],
    [`${first}{"node":"n"}\n`, /A bitmap of the migration stream is none/],
    [`${first}${one.replace('512,"l', '500,"l')}`, /A bitmap of the migration stream is none/],
    [`${first}${one.replace('"lengthBytes":512', '"lengthBytes":9000000000000000')}`, /too much memory/],
    [`${first}${one}{"at":65536,"bits":"AAAAAA=="}\n`, /Bits lie behind a bitmap/],
    [`${first}${one}{"at":0,"bits":"AAAAAAAAAAA="}\n`, /Bits lie behind a bitmap/],
    [`${first}${one}{"at":0,"bits":"AAAA"}\n`, /Bits of the migration stream are none/],
    ['x'.repeat(3_000_000), /too long/],
  ] as const) {
    assert.match(refusal(text), wanted, text.slice(0, 100))
  }
})

test.run()
