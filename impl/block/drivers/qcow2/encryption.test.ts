import * as crypto from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, EPERM, OK } from '../../../co'
import { chooseCipher } from '../../crypto/cipher_name'
import type { LuksAmendment } from '../../crypto/luks'
import { TEST_CRYPTOGRAPHY } from '../../crypto/testing'
import { RequestFlag, StatusFlag } from '../../flags'
import { type EncryptionRequest, type EncryptionWanted, openQcow2, type Qcow2CreateOptions } from './index'
import { writeU32, writeU64 } from './layout'
import { checkRefcounts, GrowingFile, type ImageStack, newImage, openStack, TEST_CODECS } from './testing'

const PASSWORD = Buffer.from('a password')
const DISK_BYTES = 2 ** 20
const AES: EncryptionWanted = { format: 'aes', cryptography: TEST_CRYPTOGRAPHY, password: PASSWORD }
const LUKS: EncryptionWanted = {
  format: 'luks',
  cryptography: TEST_CRYPTOGRAPHY,
  password: PASSWORD,
  luks: { specification: chooseCipher({ algorithm: 'aes-128' }), hash: 'sha256', iterationTimeMs: 1 },
}

const asked = (password: Uint8Array | null = PASSWORD, format: string | null = null): EncryptionRequest => ({
  format,
  unlock: () => ({ cryptography: TEST_CRYPTOGRAPHY, password }),
})
const open = (content: Uint8Array, password?: Uint8Array | null, more: { readOnly?: boolean } = {}): ImageStack =>
  openStack(content, { open: { encryption: asked(password), ...more } })
const create = (encryption: EncryptionWanted, more: Partial<Qcow2CreateOptions> = {}): Uint8Array =>
  newImage({ sizeBytes: DISK_BYTES, encryption, ...more })

function refusalIn({ run }: Pick<ImageStack, 'run'>, body: Co<unknown>): string {
  return run(
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

/** What opening `content` says. */
function refusalOf(content: Uint8Array, request?: EncryptionRequest): string {
  const bench = openStack(newImage({ sizeBytes: 512 }))
  const node = bench.graph.addNode({ driver: new GrowingFile(content) })
  return refusalIn(bench, openQcow2(node, { codecs: TEST_CODECS, ...(request === undefined ? {} : { encryption: request }) }))
}

const SHAPES: ReadonlyArray<readonly [string, EncryptionWanted, Partial<Qcow2CreateOptions>]> = [
  ['LUKS', LUKS, {}],
  ['LUKS in clusters of 512 bytes, version 2', LUKS, { clusterBytes: 512, version: 2 }],
  ['LUKS with subclusters', LUKS, { extendedL2: true }],
  ['AES', AES, {}],
  ['AES in small clusters', AES, { clusterBytes: 4096 }],
]
for (const [name, encryption, more] of SHAPES) {
  test(`${name}: data is encrypted in the file, and comes back after another opening`, () => {
    const first = open(create(encryption, more))
    const { backend, run } = first
    const bytes = Uint8Array.from({ length: 150001 }, (_, at) => 1 + (at % 251))
    assert.is(run(backend.pwrite(70003, bytes)), OK)
    assert.is(run(backend.pwriteZeroes(131072, 65536)), OK)
    assert.is(run(backend.pwrite(131072 + 100, bytes.subarray(0, 200))), OK)
    assert.is(run(backend.pdiscard(0, 65536)), OK)
    const content = first.close()
    checkRefcounts(content, true)
    assert.is(Buffer.from(content).indexOf(bytes.subarray(0, 32)), -1)
    const expected = new Uint8Array(DISK_BYTES)
    expected.set(bytes, 70003)
    expected.fill(0, 131072, 131072 + 65536)
    expected.set(bytes.subarray(0, 200), 131072 + 100)
    const again = open(content)
    const read = new Uint8Array(DISK_BYTES)
    assert.is(again.run(again.backend.pread(0, read)), OK)
    assert.is(Buffer.compare(read, expected), 0)
    const status = again.run(again.node.blockStatus('want-zero', 70144, 512))
    assert.equal([status.flags & (StatusFlag.Data | StatusFlag.OffsetValid), status.mapNode], [StatusFlag.Data, null])
  })
}

test('AES: the key is the password, the start value the sector of the guest', () => {
  const stack = open(create(AES))
  const plain = new Uint8Array(512).fill(3)
  assert.is(stack.run(stack.backend.pwrite(9 * 512, plain)), OK)
  const content = stack.close()
  const key = Buffer.concat([PASSWORD, Buffer.alloc(16 - PASSWORD.length)])
  const iv = Buffer.alloc(16)
  iv[0] = 9
  const expected = crypto.createCipheriv('aes-128-cbc', key, iv).setAutoPadding(false).update(plain)
  assert.is.not(Buffer.from(content).indexOf(expected), -1)
})

test('a snapshot keeps what it held, although it lies elsewhere later', () => {
  const stack = open(create(LUKS))
  const { run, backend, driver } = stack
  run(backend.pwrite(0, new Uint8Array(65536).fill(1)))
  const snapshot = { name: 's', dateSeconds: 0, dateNanoseconds: 0, vmClockNs: 0n, vmStateBytes: 0, icount: null }
  assert.is(run(driver.snapshotCreate(snapshot)), OK)
  assert.is(run(driver.saveVmState(100, new Uint8Array(1000).fill(7))), OK)
  const state = new Uint8Array(1000)
  assert.is(run(driver.loadVmState(100, state)), OK)
  assert.ok(state.every((byte) => byte === 7))
  run(backend.pwrite(512, new Uint8Array(512).fill(2)))
  const read = new Uint8Array(65536)
  run(backend.pread(0, read))
  assert.equal([read[0], read[512], read[1024]], [1, 2, 1])
  assert.is(run(driver.snapshotApply('s')), OK)
  run(backend.pread(0, read))
  assert.ok(read.every((byte) => byte === 1))
})

test('compressed clusters are not encrypted, as in QEMU, and are read all the same', () => {
  const stack = open(create(LUKS))
  const cluster = new Uint8Array(65536).fill(5)
  assert.is(stack.run(stack.backend.pwrite(0, cluster, RequestFlag.Compressed)), OK)
  const read = new Uint8Array(65536)
  assert.is(stack.run(stack.backend.pread(0, read)), OK)
  assert.equal(read, cluster)
})

test('passwords are asked for and checked, and a look at an image needs none', () => {
  const content = create(LUKS)
  assert.is(refusalOf(content, asked(Buffer.from('wrong'))), 'Invalid password, cannot unlock any keyslot')
  assert.is(refusalOf(content, asked(PASSWORD, 'aes')), "Header reported 'luks' encryption format but options specify 'aes'")
  assert.is(refusalOf(content), 'Encrypted images are not opened here')
  const plain = newImage({ sizeBytes: 512 })
  assert.is(refusalOf(plain, asked(null, 'luks')), "No encryption in image header, but options specified format 'luks'")
  const shown = open(content, null, { readOnly: true })
  assert.is(shown.run(shown.backend.pread(0, new Uint8Array(512))), EPERM)
  assert.is(shown.driver.specificInfo().encrypt?.['cipher-alg'], 'aes-128')
})

test('passwords are added and erased', () => {
  const stack = open(create(LUKS))
  const amend = (amendment: LuksAmendment): string =>
    refusalIn(stack, stack.driver.amend({ encryption: { amendment, force: false } }))
  assert.is(amend({ state: 'active', newPassword: Buffer.from('new'), slot: 3, iterationTimeMs: 1 }), 'none')
  assert.is(amend({ state: 'inactive', oldPassword: PASSWORD, slot: null }), 'none')
  const content = stack.close()
  checkRefcounts(content, true)
  assert.is(refusalOf(content, asked()), 'Invalid password, cannot unlock any keyslot')
  assert.is(refusalOf(content, asked(Buffer.from('new'))), 'none')
  const refused = open(create(AES))
  const amendment: LuksAmendment = { state: 'inactive', oldPassword: PASSWORD, slot: null }
  const text = refusalIn(refused, refused.driver.amend({ encryption: { amendment, force: false } }))
  assert.is(text, 'Only LUKS encryption options can be amended')
})

test('a check counts the clusters of the keys', () => {
  const stack = openStack(create(LUKS), { open: { encryption: asked(), forCheck: true } })
  const found = stack.run(stack.driver.checkImage('none', () => {}))
  assert.equal([found.errno, found.corruptions, found.leaks], [OK, 0, 0])
})

test('what a header says of the keys is bounded', () => {
  const changed = (change: (extension: Uint8Array, bytes: Uint8Array) => void): string => {
    const bytes = create(LUKS)
    // The extension comes first in an image without a backing file.
    change(bytes.subarray(112), bytes)
    return refusalOf(bytes, asked())
  }
  assert.is(
    changed((extension) => writeU32(extension, 4, 8)),
    'CRYPTO header extension size 8, but expected size 16',
  )
  assert.is(
    changed((extension) => writeU64(extension, 8, 262144 + 512)),
    "Encryption header offset '262656' is not a multiple of cluster size '65536'",
  )
  assert.is(
    changed((extension) => writeU64(extension, 16, 5000)),
    'Request for data outside of extension header',
  )
  assert.is(
    changed((extension) => writeU32(extension, 16, 2 ** 30)),
    'Encryption header lies behind every end of a file',
  )
  const method = (value: number): string => changed((_, bytes) => writeU32(bytes, 32, value))
  assert.is(method(1), 'CRYPTO header extension only expected with LUKS encryption method')
  assert.is(method(3), 'Unsupported encryption method 3')
})

test.run()
