import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, EIO, EPERM, OK } from '../../co'
import { chooseCipher } from '../crypto/cipher_name'
import type { LuksAmendment } from '../crypto/luks'
import { TEST_CRYPTOGRAPHY } from '../crypto/testing'
import { Permission } from '../flags'
import { MemoryDriver, type TestBench, testBench } from '../testing'
import { createLuks, type LuksDriver, openLuks } from './luks'

const PASSWORD = Buffer.from('a password')
const DISK_BYTES = 2 ** 20 + 4096

interface Stack {
  bench: TestBench
  medium: MemoryDriver
  driver: LuksDriver
  pread(offsetBytes: number, buffer: Uint8Array): number
  pwrite(offsetBytes: number, bytes: Uint8Array): number
}

/** A container of `DISK_BYTES`, open with `password`; with `medium` one that is there. */
function stack(given: { medium?: MemoryDriver; password?: Uint8Array | null; mode?: string } = {}): Stack {
  const bench = testBench()
  const medium = new MemoryDriver(3 * 2 ** 20)
  if (given.medium !== undefined) medium.data = given.medium.data
  const file = bench.graph.addNode({ driver: medium, name: 'file' })
  if (given.medium === undefined) {
    const specification = chooseCipher({ algorithm: 'aes-128', mode: given.mode })
    const wanted = { specification, hash: 'sha256', iterationTimeMs: 1, sizeBytes: DISK_BYTES, preallocation: 'off' } as const
    bench.run(createLuks(file, TEST_CRYPTOGRAPHY, wanted, PASSWORD))
  }
  const password = given.password === undefined ? PASSWORD : given.password
  const driver = bench.run(openLuks(file, { cryptography: TEST_CRYPTOGRAPHY, password }))
  const node = bench.graph.addNode({ driver, name: 'luks', children: [{ name: 'file', role: 'image', node: file }] })
  const parent = { describe: () => 'test', node: null, drainBegin() {}, drainEnd() {}, drainBusy: () => false }
  const permission = Permission.ConsistentRead | Permission.Write | Permission.Resize
  const edge = bench.graph.attach({ name: 'root', parent, node, permission, shared: Permission.All })
  return {
    bench,
    medium,
    driver,
    pread: (offsetBytes, buffer) => bench.run(edge.pread(offsetBytes, buffer)),
    pwrite: (offsetBytes, bytes) => bench.run(edge.pwrite(offsetBytes, bytes)),
  }
}

/** What a coroutine says when it fails. */
function refusalIn({ bench }: Stack, body: Co<unknown>): string {
  return bench.run(
    (function* () {
      try {
        yield* body
      } catch (error) {
        return (error as Error).message
      }
      return 'none'
    })(),
  )
}
const refusalOf = (act: () => unknown): string => {
  try {
    act()
  } catch (error) {
    return (error as Error).message
  }
  return 'none'
}

for (const mode of ['xts', 'cbc']) {
  test(`${mode}: what is written is read back after another opening, and is not in the file as it is`, () => {
    const first = stack({ mode })
    const bytes = Uint8Array.from({ length: 70001 }, (_, at) => 1 + (at % 251))
    assert.is(first.pwrite(1001, bytes), OK)
    const large = new Uint8Array(2 ** 20).fill(9)
    assert.is(first.pwrite(4096, large), OK)
    assert.is(Buffer.from(first.medium.data).indexOf(bytes.subarray(0, 16)), -1)
    const again = stack({ medium: first.medium })
    const read = new Uint8Array(3095)
    assert.is(again.pread(1001, read), OK)
    assert.equal(read, bytes.subarray(0, 3095))
    const readLarge = new Uint8Array(large.length)
    assert.is(again.pread(4096, readLarge), OK)
    assert.ok(readLarge.every((byte) => byte === 9))
    assert.is(large[0], 9)
  })
}

test('a wrong password is told, and no password shows the header alone', () => {
  const { medium } = stack()
  const refusal = refusalOf(() => stack({ medium, password: Buffer.from('wrong') }))
  assert.is(refusal, 'Invalid password, cannot unlock any keyslot')
  const shown = stack({ medium, password: null })
  assert.is(shown.pread(0, new Uint8Array(512)), EPERM)
  assert.is(shown.driver.specificInfo()['cipher-alg'], 'aes-128')
})

test('passwords are added and erased', () => {
  const open = stack()
  const { medium, driver } = open
  const amend = (amendment: LuksAmendment, force = false) => refusalIn(open, driver.amend(amendment, force))
  const add = (text: string, slot: number | null) =>
    amend({ state: 'active', newPassword: Buffer.from(text), slot, iterationTimeMs: 1 })
  const erase = (text: string | null, slot: number | null, force = false) =>
    amend({ state: 'inactive', oldPassword: text === null ? null : Buffer.from(text), slot }, force)
  assert.is(add('second', null), 'none')
  assert.is(add('third', 5), 'none')
  assert.is(add('third', 5), 'Refusing to overwrite active keyslot 5 - please erase it first')
  assert.is(add('third', 8), 'Invalid keyslot 8 specified, must be between 0 and 7')
  assert.is(erase('second', 5), "Given keyslot 5 doesn't contain the given old password for erase operation")
  assert.is(erase('none', null), 'No keyslots match given (old) password for erase operation')
  assert.is(stack({ medium, password: Buffer.from('second') }).pread(0, new Uint8Array(512)), OK)
  const old = medium.data.slice(4096 + 3 * 4096, 4096 + 4 * 4096)
  assert.is(erase(PASSWORD.toString(), null), 'none')
  assert.is.not(Buffer.compare(old, medium.data.slice(4096 + 3 * 4096, 4096 + 4 * 4096)), 0)
  assert.is(
    refusalOf(() => stack({ medium })),
    'Invalid password, cannot unlock any keyslot',
  )
  assert.is(erase(null, 0), 'Given keyslot 0 is already erased (inactive) ')
  assert.is(erase(null, 1), 'none')
  assert.match(erase(null, 5), /^Attempt to erase the only active keyslot 5/)
  assert.match(erase('third', null), /^All the active keyslots match/)
  assert.is(stack({ medium, password: Buffer.from('third') }).pread(0, new Uint8Array(512)), OK)
  assert.is(erase('third', null, true), 'none')
  assert.is(
    refusalOf(() => stack({ medium, password: Buffer.from('third') })),
    'Invalid password, cannot unlock any keyslot',
  )
})

test('a password whose header cannot be written is not there, and the others stay', () => {
  const open = stack()
  const { medium, driver } = open
  medium.fail = ({ kind, offsetBytes }) => (kind === 'write' && offsetBytes === 0 ? EIO : OK)
  const amendment: LuksAmendment = { state: 'active', newPassword: Buffer.from('new'), slot: null, iterationTimeMs: 1 }
  assert.match(refusalIn(open, driver.amend(amendment, false)), /^Unable to write encryption header/)
  medium.fail = () => OK
  assert.equal((driver.specificInfo().slots as Array<{ active: boolean }>).filter(({ active }) => active).length, 1)
  assert.is(stack({ medium }).pread(0, new Uint8Array(512)), OK)
})

test('a file that ends before the payload is refused', () => {
  const { medium } = stack()
  medium.data = medium.data.slice(0, 100000)
  assert.match(
    refusalOf(() => stack({ medium, password: null })),
    /^Could not refresh total sector count/,
  )
})

test.run()
