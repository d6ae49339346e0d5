/** `luks`: a disk in an encrypted container. */
import { BlockError, type PreallocationMode } from '../../block'
import { chooseCipher, chooseHash, keyBytesOf } from '../../block/crypto/cipher_name'
import { ITERATION_TIME_MS, type LuksCreateOptions } from '../../block/crypto/luks'
import { isLuks, LUKS_SECTOR_BYTES, payloadSectorOf } from '../../block/crypto/luks_header'
import { createLuks, openLuks } from '../../block/drivers/luks'
import type { Co } from '../../co'
import type { BlockdevContext } from '../context'
import type { CreateOption, CreateOptions } from '../create_options'
import type { BlockdevDriver, Creating, Opened, Opening } from '../driver'

/** The options that say how something is encrypted, with `prefix` before each name. */
export function luksCreateOptions(prefix: string): readonly CreateOption[] {
  return [
    { name: `${prefix}cipher-alg`, type: 'string', help: 'Name of encryption cipher algorithm' },
    { name: `${prefix}cipher-mode`, type: 'string', help: 'Name of encryption cipher mode' },
    { name: `${prefix}ivgen-alg`, type: 'string', help: 'Name of IV generator algorithm' },
    { name: `${prefix}ivgen-hash-alg`, type: 'string', help: 'Name of IV generator hash algorithm' },
    { name: `${prefix}hash-alg`, type: 'string', help: 'Name of encryption hash algorithm' },
    { name: `${prefix}iter-time`, type: 'number', help: 'Time to spend in PBKDF in milliseconds' },
  ]
}

export const LUKS: BlockdevDriver = {
  name: 'luks',
  protocol: null,
  isFilter: false,
  strongOptions: ['key-secret'],
  probe: (head) => (isLuks(head) ? 100 : 0),
  open,
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    { name: 'key-secret', type: 'string', help: 'ID of the secret that provides the keyslot passphrase' },
    ...luksCreateOptions(''),
  ],
  create,
}

function* open(opening: Opening): Co<Opened> {
  const { options, context } = opening
  const file = yield* opening.child({ name: 'file', role: 'image', isProbed: false })
  const secret = options.takeString('key-secret')
  const password = opening.isForInfo ? null : passwordOf(context, secret, 'key-secret')
  const driver = yield* openLuks(file, { cryptography: context.demandCryptography('LUKS'), password })
  return { driver, children: [{ name: 'file', role: 'image', node: file }] }
}

/** The password that an option names. Throws BlockError. */
export function passwordOf(context: BlockdevContext, secret: string | undefined, option: string): Uint8Array {
  if (secret === undefined) throw new BlockError(`Parameter '${option}' is required for cipher`)
  return context.secrets.passwordOf(secret)
}

/** What was said about the encryption of a new image. Throws BlockError. */
export function luksOptionsOf(options: CreateOptions, prefix: string): LuksCreateOptions {
  return {
    specification: chooseCipher({
      algorithm: options.string(`${prefix}cipher-alg`),
      mode: options.string(`${prefix}cipher-mode`),
      ivGenerator: options.string(`${prefix}ivgen-alg`),
      ivHash: options.string(`${prefix}ivgen-hash-alg`),
    }),
    hash: chooseHash('hash-alg', options.string(`${prefix}hash-alg`)) ?? 'sha256',
    iterationTimeMs: options.number(`${prefix}iter-time`) ?? ITERATION_TIME_MS,
  }
}

/** Bytes of a new container without its payload. Throws BlockError. */
export function luksPayloadBytes(context: BlockdevContext, options: CreateOptions, prefix: string): number {
  const { specification } = luksOptionsOf(options, prefix)
  passwordOf(context, options.string(`${prefix}key-secret`), `${prefix}key-secret`)
  return payloadSectorOf(keyBytesOf(specification)) * LUKS_SECTOR_BYTES
}

function* create({ context, filename, options, makeFile, openFile }: Creating): Co<void> {
  const wanted = luksOptionsOf(options, '')
  const password = passwordOf(context, options.string('key-secret'), 'key-secret')
  const cryptography = context.demandCryptography('LUKS')
  // There is no metadata to be made beforehand.
  if (options.knows('preallocation') && options.string('preallocation') === 'metadata') options.set('preallocation', 'off')
  const asked = options.knows('preallocation') ? options.string('preallocation') : undefined
  yield* makeFile(filename, 0)
  const file = yield* openFile(filename)
  const preallocation = (asked ?? 'off') as PreallocationMode
  yield* createLuks(file, cryptography, { ...wanted, sizeBytes: options.size('size') ?? 0, preallocation }, password)
}
