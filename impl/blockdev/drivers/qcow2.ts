/** `qcow2`: the format with snapshots, images below, and holes. */

import { BlockError, type PreallocationMode } from '../../block'
import {
  createQcow2,
  type EncryptionRequest,
  type EncryptionWanted,
  openQcow2,
  PLACE_NAMES,
  type Qcow2CreateOptions,
  type Qcow2OpenOptions,
} from '../../block/drivers/qcow2'
import { assert, type Co } from '../../co'
import type { BlockdevContext } from '../context'
import type { CreateOption, CreateOptions } from '../create_options'
import type { BlockdevDriver, Creating, Opened, OpenedChild, Opening } from '../driver'
import type { Options } from '../options'
import { luksCreateOptions, luksOptionsOf, passwordOf } from './luks'

const MAGIC = 0x514649fb
const MS_PER_S = 1000
const SECTOR_BYTES = 512

const CREATE_OPTIONS: readonly CreateOption[] = [
  {
    name: 'encryption',
    type: 'bool',
    help: "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)",
  },
  { name: 'encrypt.format', type: 'string', help: "Encrypt the image, format choices: 'aes', 'luks'" },
  { name: 'encrypt.key-secret', type: 'string', help: 'ID of secret providing qcow AES key or LUKS passphrase' },
  ...luksCreateOptions('encrypt.'),
  { name: 'cluster_size', type: 'size', help: 'qcow2 cluster size', defaultText: '65536' },
  { name: 'extended_l2', type: 'bool', help: 'Extended L2 tables', defaultText: 'off' },
  { name: 'preallocation', type: 'string', help: 'Preallocation mode (allowed values: off, metadata, falloc, full)' },
  {
    name: 'compression_type',
    type: 'string',
    help: 'Compression method used for image cluster compression',
    defaultText: 'zlib',
  },
  { name: 'size', type: 'size', help: 'Virtual disk size' },
  { name: 'compat', type: 'string', help: 'Compatibility level (v2 [0.10] or v3 [1.1])' },
  { name: 'backing_file', type: 'string', help: 'File name of a base image' },
  { name: 'backing_fmt', type: 'string', help: 'Image format of the base image' },
  { name: 'data_file', type: 'string', help: 'File name of an external data file' },
  { name: 'data_file_raw', type: 'bool', help: 'The external data file must stay valid as a raw image' },
  { name: 'lazy_refcounts', type: 'bool', help: 'Postpone refcount updates', defaultText: 'off' },
  { name: 'refcount_bits', type: 'number', help: 'Width of a reference count entry in bits', defaultText: '16' },
]

const VERSIONS: Readonly<Record<string, 2 | 3>> = { '0.10': 2, v2: 2, '1.1': 3, v3: 3 }
const PREALLOCATIONS: readonly PreallocationMode[] = ['off', 'metadata', 'falloc', 'full']

export const QCOW2: BlockdevDriver = {
  name: 'qcow2',
  protocol: null,
  isFilter: false,
  supportsBacking: true,
  strongOptions: ['encrypt.format', 'encrypt.key-secret'],
  probe(head) {
    if (head.length < 8) return 0
    const view = new DataView(head.buffer, head.byteOffset, head.byteLength)
    return view.getUint32(0) === MAGIC && view.getUint32(4) >= 2 ? 100 : 0
  },
  open,
  createOptions: CREATE_OPTIONS,
  canCompress: true,
  create,
}

function* open(opening: Opening): Co<Opened> {
  const { options, context, isForCheck, nodeOptions } = opening
  const file = yield* opening.child({ name: 'file', role: 'image', isProbed: false })
  const given = takeOptions(options, nodeOptions.discard === 'unmap')
  const encryption = takeEncryption(opening)
  const driver = yield* openQcow2(file, {
    ...given,
    readOnly: nodeOptions.readOnly,
    forCheck: isForCheck,
    codecs: context.codecs,
    encryption,
  })
  driver.image.onCorruption = (corruption) => context.corrupted(driver.node ?? null, corruption)
  const children: OpenedChild[] = [{ name: 'file', role: 'image', node: file }]
  const { dataFileName, backingName, backingFormat } = driver.header
  const wanted = { name: 'data-file', role: 'image', isProbed: false } as const
  const dataFile = driver.needsDataFile
    ? yield* opening.child({ ...wanted, ...(dataFileName === null ? {} : { filename: dataFileName }) })
    : yield* opening.childIfThere(wanted)
  if (dataFile !== null) children.push({ name: 'data-file', role: 'image', node: dataFile })
  assert(children.length <= 2, 'qcow2-children')
  return {
    driver,
    children,
    backing: backingName === null ? null : { name: backingName, format: backingFormat },
    start: () => driver.start(context.repair),
  }
}

function takeEncryption({ options, context, isForInfo }: Opening): EncryptionRequest {
  const format = options.takeString('encrypt.format') ?? null
  const secret = options.takeString('encrypt.key-secret')
  return {
    format,
    unlock: () => ({
      cryptography: context.demandCryptography('qcow2'),
      password: isForInfo ? null : passwordOf(context, secret, 'encrypt.key-secret'),
    }),
  }
}

/** `discards`: the node hands discards on, which decides about those that a guest has not asked for. */
function takeOptions(options: Options, discards: boolean): Omit<Qcow2OpenOptions, 'codecs'> {
  const lazyRefcounts = options.takeFlag('lazy-refcounts')
  const sizes = {
    cacheBytes: options.takeSize('cache-size'),
    l2CacheBytes: options.takeSize('l2-cache-size'),
    l2CacheEntryBytes: options.takeSize('l2-cache-entry-size'),
    refcountCacheBytes: options.takeSize('refcount-cache-size'),
  }
  const template = options.takeString('overlap-check') ?? options.takeString('overlap-check.template')
  const checks: Record<string, string | boolean | undefined> = template === undefined ? {} : { template }
  for (const [, name] of PLACE_NAMES) {
    const flag = options.takeFlag(`overlap-check.${name}`)
    if (flag !== undefined) checks[name] = flag
  }
  // Caches are bounded anyway, so that nothing has to be cleaned up after a while.
  const interval = options.takeNumber('cache-clean-interval')
  assert(interval === undefined || interval * MS_PER_S >= 0, 'cache-clean-interval')
  return {
    ...(lazyRefcounts === undefined ? {} : { lazyRefcounts }),
    passDiscardRequest: options.takeFlag('pass-discard-request') ?? discards,
    passDiscardSnapshot: options.takeFlag('pass-discard-snapshot') ?? true,
    passDiscardOther: options.takeFlag('pass-discard-other') ?? false,
    discardNoUnref: options.takeFlag('discard-no-unref') ?? false,
    overlapCheck: checks,
    ...(Object.fromEntries(Object.entries(sizes).filter(([, bytes]) => bytes !== undefined)) as Partial<typeof sizes> as {
      cacheBytes?: number
    }),
  }
}

function* create({ context, filename, options, makeFile, openFile }: Creating): Co<void> {
  const encryption = wantedEncryption(context, options)
  const backingName = options.string('backing_file')
  const backingFormat = options.string('backing_fmt')
  const given: Qcow2CreateOptions = {
    // A disk that does not end at a sector has a whole one more.
    sizeBytes: Math.ceil((options.size('size') ?? 0) / SECTOR_BYTES) * SECTOR_BYTES,
    version: choice('version', options.string('compat') ?? 'v3', VERSIONS),
    clusterBytes: options.size('cluster_size') ?? 65536,
    extendedL2: options.flag('extended_l2') ?? false,
    preallocation: choice('preallocation', options.string('preallocation') ?? 'off', modes(PREALLOCATIONS)),
    compressionType: choice('compression-type', options.string('compression_type') ?? 'zlib', { zlib: 'zlib', zstd: 'zstd' }),
    lazyRefcounts: options.flag('lazy_refcounts') ?? false,
    refcountBits: options.number('refcount_bits') ?? 16,
    dataFileRaw: options.flag('data_file_raw') ?? false,
    ...(encryption === null ? {} : { encryption }),
    ...(backingName === undefined ? {} : { backingName }),
    ...(backingFormat === undefined ? {} : { backingFormat }),
  }
  yield* makeFile(filename, 0)
  const file = yield* openFile(filename)
  const dataFileName = options.string('data_file')
  if (dataFileName === undefined) {
    yield* createQcow2(file, given)
    return
  }
  yield* makeFile(dataFileName, 0)
  yield* createQcow2(file, { ...given, dataFile: yield* openFile(dataFileName), dataFileName })
}

function choice<T>(name: string, text: string, choices: Readonly<Record<string, T>>): T {
  if (!Object.hasOwn(choices, text)) throw new BlockError(`Parameter '${name}' does not accept value '${text}'`)
  return choices[text]!
}
function modes<T extends string>(names: readonly T[]): Record<string, T> {
  return Object.fromEntries(names.map((name) => [name, name]))
}

/** What was said about the encryption of a new image; null: nothing. Throws BlockError. */
export function wantedEncryption(context: BlockdevContext, options: CreateOptions): EncryptionWanted | null {
  const isOn = options.flag('encryption') === true
  if (isOn && options.has('encrypt.format')) {
    throw new BlockError("'encrypt.format' and its alias 'encryption' can't be used at the same time")
  }
  const format = isOn ? 'aes' : options.string('encrypt.format')
  const luksNames = luksCreateOptions('encrypt.').map(({ name }) => name)
  if (format === undefined) {
    if ([...luksNames, 'encrypt.key-secret'].some((name) => options.has(name))) {
      throw new BlockError("Parameter 'encrypt.format' is missing")
    }
    return null
  }
  if (format !== 'aes' && format !== 'luks') throw new BlockError(`Parameter 'format' does not accept value '${format}'`)
  const unexpected = format === 'aes' ? luksNames.find((name) => options.has(name)) : undefined
  if (unexpected !== undefined) throw new BlockError(`Parameter '${unexpected}' is unexpected`)
  const luks = format === 'luks' ? luksOptionsOf(options, 'encrypt.') : null
  const password = passwordOf(context, options.string('encrypt.key-secret'), 'encrypt.key-secret')
  const cryptography = context.demandCryptography('qcow2')
  return luks === null ? { format: 'aes', cryptography, password } : { format: 'luks', luks, cryptography, password }
}
