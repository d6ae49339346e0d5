import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { TokenKind } from './json_lexer'
import { type JsonMessage, JsonStream, parseJson } from './json_stream'
import { TokenList } from './json_tokens'
import { JsonDouble, type JsonValue, jsonObject, printDouble, printJson } from './json_value'

/** What a stream delivers: values printed, errors in angle brackets. */
function deliveries(bytes: Uint8Array | string): string[] {
  const results: string[] = []
  const stream = new JsonStream((message) =>
    results.push(message.error === undefined ? printJson(message.value) : `<${message.error}>`),
  )
  const all = typeof bytes === 'string' ? new TextEncoder().encode(bytes) : bytes
  // Byte by byte: nothing depends on how the stream is cut.
  for (const byte of all) stream.feed(Uint8Array.of(byte))
  stream.end()
  return results
}

const refused = (what: string): string => `<JSON parse error, ${what}>`

test('both quotes are taken, and messages need nothing between them', () => {
  assert.equal(deliveries(`{'a':"b"}{"c":'d"'} [1,-2,\n[]] null`), ['{"a": "b"}', '{"c": "d\\""}', '[1, -2, []]', 'null'])
})

test('long tokens come out as they went in, and so does what follows', () => {
  for (const length of [4094, 4095, 4096, 4097, 100_000]) {
    const text = `"${'äb'.repeat(length).slice(0, length)}"`
    assert.equal(
      deliveries(`${text}[1]${text}`),
      [text, '[1]', text].map((each) => printJson(parseJson(each))),
    )
  }
})

test('broken messages are refused in the words of QEMU', () => {
  const cases: Array<[string, string]> = [
    ['}', 'expecting value'],
    [']', 'expecting value'],
    ['foo', "invalid keyword 'foo'"],
    ["{execute:'x'}", "invalid keyword 'execute'"],
    ["{'execute' 'x'}", 'missing : in object pair'],
    ["{'x':1,'x':2}", 'duplicate key'],
    ["{'a':1,}", 'expecting value'],
    ["{'a':1 'b':2}", 'expected separator in dict'],
    ['[1 2]', 'expected separator in list'],
    ['[1,]', 'expecting value'],
    ['{1:2}', 'key is not a string in object'],
    ["'\\q'", 'invalid escape sequence in string'],
    ["'\\u00zz'", '\\u00zz is not a valid Unicode character'],
    ["'\\ud800'", '\\ud800 is not a valid Unicode character'],
    ["{'a':'\\u12'}", "\\u12' is not a valid Unicode character"],
    ['01', "stray '01'"],
    ['-\n', "stray '-\n'"],
    ['1.\n', "stray '1.\n'"],
    ['1e\n', "stray '1e\n'"],
    ['"a\n', "stray '\"a\n'"],
    ['%s', "stray '%'"],
    ['{', 'premature EOI'],
  ]
  for (const [text, error] of cases) assert.equal(deliveries(text), [refused(error)], text)
})

test('after a stray character the next structural one starts anew', () => {
  assert.equal(deliveries("@{'a':1}"), [refused("stray '@'"), '{"a": 1}'])
  assert.equal(deliveries("{'a':@}{'b':2}"), [refused("stray '@'"), refused('expecting value'), '{"b": 2}'])
  assert.equal(deliveries("{'a'\n'x\n}\n{}"), [refused("stray ''x\n'"), refused('expecting value'), '{}'])
  assert.equal(deliveries(Uint8Array.of(0xff, 0x0a, 0x7b, 0x7d)), [refused("stray '\ufffd'"), '{}'])
  assert.equal(deliveries("\0{'a':1}"), [refused("stray ''"), '{"a": 1}'])
})

test('bytes that are no UTF-8 are refused inside strings', () => {
  assert.equal(deliveries(Uint8Array.of(0x27, 0xc3, 0x27)), [refused('invalid UTF-8 sequence in string')])
  assert.equal(deliveries(Uint8Array.of(0x27, 0xed, 0xa0, 0x80, 0x27)), [refused('invalid UTF-8 sequence in string')])
})

test('brackets may be nested a thousand deep, not without end', () => {
  assert.equal(deliveries(`${'['.repeat(1024)}${']'.repeat(1024)}`).length, 1)
  assert.equal(deliveries('['.repeat(1025))[0], '<JSON nesting depth limit exceeded>')
})

test('a message may have two million tokens, not more, and is understood after too many', () => {
  const TOKENS_MAX = 2 * 1024 * 1024
  const results: JsonMessage[] = []
  const stream = new JsonStream((message) => results.push(message))
  const feed = (text: string): void => stream.feed(new TextEncoder().encode(text))
  feed(`[${'0,'.repeat((TOKENS_MAX - 4) / 2)}[]]`)
  const [whole] = results.splice(0)
  assert.is(whole?.error, undefined)
  assert.is((whole as { value: JsonValue[] }).value.length, TOKENS_MAX / 2 - 1)
  feed(`[${'0,'.repeat((TOKENS_MAX - 2) / 2)}[`)
  assert.equal(results, [], 'still one message')
  feed('[\n')
  assert.equal(results.splice(0), [{ error: 'JSON token count limit exceeded' }])
  feed('[7]')
  assert.equal(results, [{ value: [7] }])
})

test('a number of millions of digits is a double, at once', () => {
  const value = parseJson('9'.repeat(4_000_000))
  assert.instance(value, JsonDouble)
  assert.is((value as JsonDouble).value, Number.POSITIVE_INFINITY)
  assert.is(parseJson('18446744073709551615'), 2n ** 64n - 1n)
  assert.instance(parseJson('18446744073709551616'), JsonDouble)
  assert.instance(parseJson('36893488147419103232'), JsonDouble)
  assert.instance(parseJson('-9223372036854775809'), JsonDouble)
})

test('a list of tokens gives back what was put in, however it grew', () => {
  const kinds = fc.constantFrom<TokenKind>('{', ']', ':', 'integer', 'string')
  const tokens = fc.array(fc.record({ kind: kinds, bytes: fc.uint8Array({ maxLength: 60 }) }), { maxLength: 300 })
  fc.assert(
    fc.property(tokens, (given) => {
      const list = new TokenList()
      for (const token of given) list.push(token)
      for (const [index, { kind, bytes }] of given.entries()) {
        assert.is(list.kindAt(index), kind)
        assert.equal(Uint8Array.from(list.bytesAt(index)), bytes)
      }
      assert.is(list.kindAt(given.length), undefined)
    }),
  )
})

test('members are printed in the order of the hash table', () => {
  const keys = (names: string): string => printJson(jsonObject(Object.fromEntries([...names].map((name) => [name, 0]))))
  assert.is(printJson(jsonObject({ event: 'x', data: 1, timestamp: 2 })), '{"timestamp": 2, "event": "x", "data": 1}')
  assert.is(printJson(jsonObject({ id: 1, status: 2 })), '{"status": 2, "id": 1}')
  assert.is(printJson(jsonObject({ class: 'c', desc: 'd' })), '{"class": "c", "desc": "d"}')
  assert.is(
    printJson(jsonObject({ type: 1, speed: 2, offset: 3, len: 4, device: 5 })),
    '{"device": 5, "len": 4, "offset": 3, "speed": 2, "type": 1}',
  )
  assert.is(
    keys('abcdefghij').replace(/[^a-j]/g, ''),
    'diejafgbhc'.length === 10 ? keys('jihgfedcba').replace(/[^a-j]/g, '') : '',
  )
})

test('numbers are printed as C does', () => {
  const cases: Array<[number, string]> = [
    [1e5, '100000'],
    [0.1, '0.10000000000000001'],
    [-0, '-0'],
    [1e300, '1.0000000000000001e+300'],
    [Number.POSITIVE_INFINITY, 'inf'],
    [2 ** 64, '1.8446744073709552e+19'],
    [1.5, '1.5'],
    [1e-7, '9.9999999999999995e-08'],
  ]
  for (const [value, text] of cases) assert.is(printDouble(value), text)
  assert.is(
    printJson(parseJson('[12345678901234567890, -9223372036854775808, 1.0, 18446744073709551616, -0]')),
    '[12345678901234567890, -9223372036854775808, 1, 1.8446744073709552e+19, 0]',
  )
})

test('a fraction or an exponent makes no integer', () => {
  assert.instance(parseJson('1.0'), JsonDouble)
  assert.instance(parseJson('1e5'), JsonDouble)
  assert.is(parseJson('-7'), -7)
})

test('pretty output has one member a line', () => {
  assert.is(
    printJson(parseJson("{'return':{},'id':[1,[]]}"), true),
    '{\n    "return": {\n    },\n    "id": [\n        1,\n        [\n        ]\n    ]\n}',
  )
})

const values: fc.Arbitrary<JsonValue> = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom<JsonValue>(null, true, false),
    fc.maxSafeInteger(),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
    fc.string({ unit: 'grapheme' }),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.string(), tie('value'), { maxKeys: 4 }).map((members) => new Map(Object.entries(members)) as JsonValue),
  ),
})).value

test('what is printed reads the same', () => {
  fc.assert(
    fc.property(values, fc.boolean(), (value, pretty) => {
      assert.equal(parseJson(printJson(value, pretty)), value)
    }),
  )
})

test('whatever comes in, every stream ends in a state that takes a message', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const results: string[] = []
      const stream = new JsonStream((message) => results.push(message.error ?? printJson(message.value)))
      stream.feed(bytes)
      stream.end()
      stream.feed(new TextEncoder().encode("{'x':1}"))
      assert.is(results[results.length - 1], '{"x": 1}')
    }),
  )
})

test.run()
