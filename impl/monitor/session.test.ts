import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { converse, monitorBench } from './testing'

/** The answers to requests, without the greeting and the answer to `qmp_capabilities`. */
function answers(...requests: string[]): string[] {
  const text = converse(monitorBench(), `{"execute":"qmp_capabilities"}${requests.join('')}`)
  return lines(text).slice(2)
}
function lines(text: string): string[] {
  return text.split('\r\n').filter((line) => line !== '')
}
const refusal = (text: string, kind = 'GenericError'): string =>
  `{"error": {"class": "${kind}", "desc": "${text.replaceAll('"', '\\"')}"}}`

test('a client is greeted, and has to negotiate before anything else', () => {
  const text = converse(
    monitorBench(),
    '{"execute":"query-commands"}{"execute":"qmp_capabilities"}{"execute":"qmp_capabilities"}',
  )
  const [greeting, early, negotiated, late] = lines(text)
  assert.is(
    greeting,
    '{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 11}, "package": "test"}, "capabilities": ["oob"]}}',
  )
  assert.is(early, refusal("Expecting capabilities negotiation with 'qmp_capabilities'", 'CommandNotFound'))
  assert.is(negotiated, '{"return": {}}')
  assert.is(late, refusal('Capabilities negotiation is already complete, command ignored', 'CommandNotFound'))
})

test('requests of the wrong form are refused in the words of QEMU', () => {
  const cases: Array<[string, string]> = [
    ['1', refusal('QMP input must be a JSON object')],
    ['[]', refusal('QMP input must be a JSON object')],
    ['{}', refusal("QMP input lacks member 'execute'")],
    ['{"exec":1}', refusal("QMP input member 'exec' is unexpected")],
    ['{"execute":1}', refusal("QMP input member 'execute' must be a string")],
    ['{"execute":"quit","arguments":1}', refusal("QMP input member 'arguments' must be an object")],
    ['{"execute":"foo"}', refusal('The command foo has not been found', 'CommandNotFound')],
    ['{"exec-oob":"quit"}', refusal("QMP input member 'exec-oob' is unexpected")],
    ['{"execute":"query-jobs","arguments":{"a":1}}', refusal("Parameter 'a' is unexpected")],
    ['{"execute":"job-cancel","arguments":{"id":"x"}}', refusal('Job not found')],
    ['{"execute":"block-job-cancel","arguments":{"device":"x"}}', refusal("Block job 'x' not found", 'DeviceNotActive')],
    ['}', refusal('JSON parse error, expecting value')],
  ]
  for (const [request, expected] of cases) assert.equal(answers(request), [expected], request)
})

test('an answer carries the id of its request, whatever that is', () => {
  assert.equal(answers('{"execute":"query-jobs","id":{"a":[1]}}'), ['{"return": [], "id": {"a": [1]}}'])
  assert.equal(answers('{"id":null,"execute":"foo"}'), [
    '{"id": null, "error": {"class": "CommandNotFound", "desc": "The command foo has not been found"}}',
  ])
})

test('out of band is refused command by command once a client has asked for it', () => {
  const text = converse(
    monitorBench(),
    '{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}{"exec-oob":"query-jobs","id":1}',
  )
  assert.is(
    lines(text)[2],
    '{"id": 1, "error": {"class": "GenericError", "desc": "The command query-jobs does not support OOB"}}',
  )
})

test('a mirror tells its whole life, each event before the answer that it precedes', () => {
  const nodes = ['a', 'b'].map(
    (name) => `{"execute":"blockdev-add","arguments":{"driver":"null-co","node-name":"${name}","size":65536,"read-zeroes":true}}`,
  )
  const mirror =
    '{"execute":"blockdev-mirror","arguments":{"job-id":"j","device":"a","target":"b","sync":"full","auto-dismiss":false}}'
  const told = answers(...nodes, mirror, '{"execute":"quit"}').map((line) =>
    line.replace(/"timestamp": \{[^}]*\}, /, '').replace(/^\{"event": "(\w+)", "data": .*?("status": "(\w+)")?.*$/, '$1 $3'),
  )
  assert.equal(told.slice(0, 2), ['{"return": {}}', '{"return": {}}'])
  assert.is(told.filter((line) => line === '{"return": {}}').length, 4)
  assert.is(told[told.length - 1], '{"return": {}}')
  assert.ok(told.findIndex((line) => line.startsWith('JOB_STATUS_CHANGE')) < told.lastIndexOf('{"return": {}}'))
})

test('pretty answers have one member a line', () => {
  const text = converse(monitorBench(), '{"execute":"qmp_capabilities"}', true)
  assert.ok(text.endsWith('{\n    "return": {\n    }\n}\r\n'), text)
})

const CONVERSATION = [
  '{"execute":"qmp_capabilities"}',
  '{"execute":"blockdev-add","arguments":{"driver":"null-co","node-name":"a","size":65536}}',
  '{"execute":"blockdev-add","arguments":{"driver":"null-co","node-name":"b","size":65536,"read-zeroes":true}}',
  '{"execute":"block-dirty-bitmap-add","arguments":{"node":"a","name":"m"}}',
  '{"execute":"blockdev-mirror","arguments":{"job-id":"j","device":"a","target":"b","sync":"full"}}',
  '{"execute":"query-block-jobs","id":7}',
  '{"execute":"query-named-block-nodes","arguments":{"flat":true}}',
  '{"execute":"transaction","arguments":{"actions":[{"type":"abort","data":{}}]}}',
  '{"execute":"block-job-cancel","arguments":{"device":"j","force":true}}',
  '{"execute":"blockdev-del","arguments":{"node-name":"a"}}',
].join('\n')

/** Bytes of a conversation, changed in some places. */
const mutated: fc.Arbitrary<Uint8Array> = fc
  .array(
    fc.record({
      at: fc.nat(CONVERSATION.length - 1),
      remove: fc.nat(12),
      insert: fc.oneof(
        fc.uint8Array({ maxLength: 4 }),
        fc
          .constantFrom('{', '}', '[', ']', '"', "'", ',', ':', 'null', '1e9', '-1', '18446744073709551615', '\\u0000', '"id"')
          .map((text) => new TextEncoder().encode(text)),
      ),
    }),
    { maxLength: 6 },
  )
  .map((edits) => {
    let bytes = Buffer.from(CONVERSATION)
    for (const { at, remove, insert } of edits) {
      bytes = Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)])
    }
    return bytes
  })

test('whatever a client sends, it gets answers in JSON, and the next client is served', () => {
  fc.assert(
    fc.property(mutated, (bytes) => {
      const bench = monitorBench()
      const text = converse(bench, bytes)
      for (const line of lines(text)) {
        const message = JSON.parse(line) as Record<string, unknown>
        const kinds = ['QMP', 'return', 'error', 'event'].filter((kind) => kind in message)
        assert.is(kinds.length, 1, line)
      }
      const next = lines(converse(bench, '{"execute":"qmp_capabilities"}{"execute":"query-version"}'))
      assert.match(next[2] ?? '', '"major": 11')
    }),
    { numRuns: 200 },
  )
})

test.run()
