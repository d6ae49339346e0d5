/**
 * Names of ciphers, as users and QMP say them (`aes-256`, `xts`, `plain64`) and as LUKS headers do (`aes`, `xts-plain64`,
 * with the length of the key beside it).
 *
 * What may fail: what is not known, as BlockError with QEMU's texts.
 */
import { assert, ENOTSUP } from '../../co'
import { BlockError } from '../error'
import { DIGEST_BYTES, type HashName, isHashName } from './cryptography'

export type CipherAlgorithm = 'aes-128' | 'aes-192' | 'aes-256'
export type CipherMode = 'cbc' | 'ecb' | 'xts'
export type IvGenerator = 'plain' | 'plain64' | 'essiv'

/** How sectors are encrypted. */
export interface CipherSpecification {
  algorithm: CipherAlgorithm
  mode: CipherMode
  ivGenerator: IvGenerator
  /** What the key of `essiv` is made with; others keep the name that the header has. */
  ivHash: HashName | null
}

const ALGORITHM_BYTES: Readonly<Record<CipherAlgorithm, number>> = { 'aes-128': 16, 'aes-192': 24, 'aes-256': 32 }
const MODES: readonly CipherMode[] = ['cbc', 'ecb', 'xts']
const IV_GENERATORS: readonly IvGenerator[] = ['plain', 'plain64', 'essiv']
/** Names that QEMU knows and OpenSSL does not have. */
const OTHER_ALGORITHMS = ['des', '3des', 'cast5-128', 'serpent-128', 'serpent-192', 'serpent-256', 'sm4'].concat([
  'twofish-128',
  'twofish-192',
  'twofish-256',
])

/** Bytes of a key: XTS has two. */
export function keyBytesOf({ algorithm, mode }: CipherSpecification): number {
  return ALGORITHM_BYTES[algorithm] * (mode === 'xts' ? 2 : 1)
}

/** What users say of a new image; what is absent has QEMU's default. Throws BlockError. */
export function chooseCipher(given: {
  algorithm?: string | undefined
  mode?: string | undefined
  ivGenerator?: string | undefined
  ivHash?: string | undefined
}): CipherSpecification {
  const { algorithm = 'aes-256', mode = 'xts', ivGenerator = 'plain64', ivHash } = given
  if (!isAlgorithm(algorithm)) {
    if (OTHER_ALGORITHMS.includes(algorithm)) throw new BlockError(`Algorithm '${algorithm}' not supported`, { errno: ENOTSUP })
    throw refusedValue('cipher-alg', algorithm)
  }
  if (mode === 'ctr') throw new BlockError(`Cipher mode '${mode}' not supported`, { errno: ENOTSUP })
  if (!isMode(mode)) throw refusedValue('cipher-mode', mode)
  if (!isGenerator(ivGenerator)) throw refusedValue('ivgen-alg', ivGenerator)
  const hash = chooseHash('ivgen-hash-alg', ivHash) ?? (ivGenerator === 'essiv' ? 'sha256' : null)
  const specification: CipherSpecification = { algorithm, mode, ivGenerator, ivHash: hash }
  essivKeyBytes(specification)
  return specification
}

/** Throws BlockError unless it is a hash, or absent. */
export function chooseHash(parameter: string, name: string | undefined): HashName | null {
  if (name === undefined) return null
  if (name === 'sm3') throw new BlockError(`Hash algorithm '${name}' not supported`, { errno: ENOTSUP })
  if (!isHashName(name)) throw refusedValue(parameter, name)
  return name
}

function refusedValue(parameter: string, value: string): BlockError {
  return new BlockError(`Parameter '${parameter}' does not accept value '${value}'`)
}

/** The two names of a header that stand for this. */
export function headerNames({ mode, ivGenerator, ivHash }: CipherSpecification): { cipher: string; mode: string } {
  return { cipher: 'aes', mode: `${mode}-${ivGenerator}${ivHash === null ? '' : `:${ivHash}`}` }
}

/** What a header's names mean. Throws BlockError. */
export function parseHeaderNames(cipher: string, modeName: string, keyBytes: number): CipherSpecification {
  const dash = modeName.indexOf('-')
  if (dash === -1) throw new BlockError(`Unexpected cipher mode string format '${modeName}'`)
  const mode = modeName.slice(0, dash)
  const [ivGenerator = '', ivHash] = modeName.slice(dash + 1).split(/:(.*)/s)
  if (!isMode(mode)) throw new BlockError(`Cipher mode '${mode}' not supported`, { errno: ENOTSUP })
  const oneKeyBytes = mode === 'xts' ? Math.floor(keyBytes / 2) : keyBytes
  const algorithm = Object.keys(ALGORITHM_BYTES).find((name) => ALGORITHM_BYTES[name as CipherAlgorithm] === oneKeyBytes)
  if (cipher !== 'aes' || algorithm === undefined) {
    throw new BlockError(`Algorithm '${cipher}' with key size ${oneKeyBytes} bytes not supported`, { errno: ENOTSUP })
  }
  if (mode === 'xts' && keyBytes % 2 !== 0) throw new BlockError('XTS cipher key length should be a multiple of 2')
  const hash = ivHash === undefined ? null : headerHash(ivHash)
  if (!isGenerator(ivGenerator)) throw new BlockError(`IV generator '${ivGenerator}' not supported`, { errno: ENOTSUP })
  if (ivGenerator === 'essiv' && hash === null) throw new BlockError('Missing IV generator hash specification')
  const specification = { algorithm: algorithm as CipherAlgorithm, mode, ivGenerator, ivHash: hash }
  essivKeyBytes(specification)
  assert(keyBytesOf(specification) === keyBytes, 'cipher-key-bytes', () => String(keyBytes))
  return specification
}

/** The hash that a header names. Throws BlockError. */
export function headerHash(name: string): HashName {
  if (!isHashName(name)) throw new BlockError(`Hash algorithm '${name}' not supported`, { errno: ENOTSUP })
  return name
}

/** The key of `essiv` is a digest, which has to be a key of the cipher. 0: there is none. Throws BlockError. */
export function essivKeyBytes({ ivGenerator, ivHash }: CipherSpecification): number {
  if (ivGenerator !== 'essiv') return 0
  assert(ivHash !== null, 'essiv-has-hash')
  const bytes = DIGEST_BYTES[ivHash]
  if (Object.values(ALGORITHM_BYTES).includes(bytes)) return bytes
  throw new BlockError(`No AES cipher with key size ${bytes} available`, { errno: ENOTSUP })
}

function isAlgorithm(name: string): name is CipherAlgorithm {
  return Object.hasOwn(ALGORITHM_BYTES, name)
}
function isMode(name: string): name is CipherMode {
  return (MODES as readonly string[]).includes(name)
}
function isGenerator(name: string): name is IvGenerator {
  return (IV_GENERATORS as readonly string[]).includes(name)
}
