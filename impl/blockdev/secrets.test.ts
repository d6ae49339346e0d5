import * as crypto from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockError } from '../block'
import { HostLoop } from '../host'
import { HostCryptography } from '../host/cryptography'
import { type JsonValue, jsonObject } from '../json'
import { Secrets } from './secrets'

const FILES: Readonly<Record<string, Uint8Array>> = { text: Buffer.from('from a file\n'), bad: Uint8Array.of(255, 254) }

function secrets(): Secrets {
  return new Secrets({
    cryptography: () => new HostCryptography(new HostLoop()),
    readFile(path) {
      const bytes = FILES[path]
      if (bytes === undefined) throw new BlockError(`Unable to read ${path}`)
      return bytes
    },
  })
}
const textOf = (store: Secrets, id: string): string => Buffer.from(store.passwordOf(id)).toString()
const told = (act: () => void): string => {
  try {
    act()
  } catch (error) {
    return (error as Error).message
  }
  return 'nothing'
}

test('data and files are taken as they are, or as base64 with line ends', () => {
  const store = secrets()
  store.add('a', jsonObject({ data: '123456' }))
  store.add('b', jsonObject({ file: 'text' }))
  store.add('c', jsonObject({ data: 'MTIz\nNDU2', format: 'base64' }))
  assert.equal([textOf(store, 'a'), textOf(store, 'b'), textOf(store, 'c')], ['123456', 'from a file\n', '123456'])
  store.remove('a')
  assert.is(
    told(() => store.passwordOf('a')),
    "No secret with id 'a'",
  )
})

test('a secret is decrypted with another one', () => {
  const key = crypto.randomBytes(32)
  const iv = crypto.randomBytes(16)
  const cipher = crypto.createCipheriv('aes-256-cbc', key, iv)
  const encrypted = Buffer.concat([cipher.update('a password of more than one block'), cipher.final()])
  const store = secrets()
  store.add('key', jsonObject({ data: key.toString('base64'), format: 'base64' }))
  const described = { data: encrypted.toString('base64'), format: 'base64', keyid: 'key', iv: iv.toString('base64') }
  store.add('s', jsonObject(described))
  assert.is(textOf(store, 's'), 'a password of more than one block')
  const refusalOf = (more: Record<string, JsonValue>): string => told(() => store.add('t', jsonObject({ ...described, ...more })))
  assert.is(refusalOf({ keyid: 'gone' }), "No secret with id 'gone'")
  assert.is(refusalOf({ iv: 'AAAA' }), 'IV should be 16 bytes in length not 3')
  assert.is(refusalOf({ data: 'AAAA' }), 'Length 3 must be a multiple of block size 16')
  assert.is(
    told(() => store.add('t', jsonObject({ data: 'AA==', format: 'base64', keyid: 'key' }))),
    'IV is required to decrypt secret',
  )
  store.add('short', jsonObject({ data: 'abc' }))
  assert.is(refusalOf({ keyid: 'short' }), 'Key should be 32 bytes in length')
  assert.match(refusalOf({ data: encrypted.subarray(0, 16).toString('base64') }), /^Incorrect number of padding bytes/)
})

test('wrong descriptions', () => {
  const refusalOf = (object: Record<string, JsonValue>): string => told(() => secrets().add('s', jsonObject(object)))
  assert.is(refusalOf({}), "Either 'file' or 'data' must be provided")
  assert.is(refusalOf({ data: 'x', file: 'text' }), "'file' and 'data' are mutually exclusive")
  assert.is(refusalOf({ data: 'x', format: 'foo' }), "Parameter 'format' does not accept value 'foo'")
  assert.is(refusalOf({ data: 'M$', format: 'base64' }), 'Base64 data contains invalid characters')
  assert.is(refusalOf({ file: 'gone' }), 'Unable to read gone')
  assert.is(refusalOf({ data: 'x', foo: 1 }), "Parameter 'foo' is unexpected")
  const store = secrets()
  store.add('s', jsonObject({ file: 'bad' }))
  assert.is(
    told(() => store.passwordOf('s')),
    'Data from secret s is not valid UTF-8',
  )
})

test.run()
