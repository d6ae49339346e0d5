/**
 * Objects of type `secret`: passwords and keys, which options of images name by their id. What they hold leaves this file only
 * to whoever opens an image; no query tells it.
 *
 * What may fail: wrong descriptions, files that cannot be read, and what cannot be decrypted: BlockError with QEMU's texts.
 */
import { BlockError } from '../block'
import type { Cryptography } from '../block/crypto/cryptography'
import { assert } from '../co'
import type { JsonObject } from '../json'

const MEMBERS = new Set(['qom-type', 'id', 'data', 'file', 'format', 'keyid', 'iv'])
const KEY_BYTES = 32
const IV_BYTES = 16

export interface SecretsHost {
  /** Throws BlockError where there is none. */
  cryptography(): Cryptography
  /** Throws BlockError. */
  readFile(path: string): Uint8Array
}

export class Secrets {
  private readonly host: SecretsHost
  private readonly values = new Map<string, Uint8Array>()

  constructor(host: SecretsHost) {
    this.host = host
  }

  /** `object` describes a secret that has this id. Throws BlockError; an id that is taken is the caller's business. */
  add(id: string, object: JsonObject): void {
    for (const key of object.keys()) {
      if (!MEMBERS.has(key)) throw new BlockError(`Parameter '${key}' is unexpected`)
    }
    const format = object.get('format') ?? 'raw'
    if (format !== 'raw' && format !== 'base64') {
      throw new BlockError(`Parameter 'format' does not accept value '${String(format)}'`)
    }
    const data = object.get('data')
    const file = object.get('file')
    if (data !== undefined && file !== undefined) throw new BlockError("'file' and 'data' are mutually exclusive")
    if (typeof data !== 'string' && typeof file !== 'string') throw new BlockError("Either 'file' or 'data' must be provided")
    const given = typeof data === 'string' ? Buffer.from(data, 'utf8') : this.host.readFile(String(file))
    const keyId = object.get('keyid')
    const decoded = format === 'base64' ? decodeBase64(given) : given
    this.values.set(id, typeof keyId === 'string' ? this.decrypt(decoded, keyId, object.get('iv')) : decoded)
  }
  remove(id: string): void {
    this.values.delete(id)
  }

  /** As it is. Throws BlockError. */
  bytesOf(id: string): Uint8Array {
    const value = this.values.get(id)
    if (value === undefined) throw new BlockError(`No secret with id '${id}'`)
    return value
  }
  /** A password, which is text. Throws BlockError. */
  passwordOf(id: string): Uint8Array {
    const value = this.bytesOf(id)
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(value)
    } catch {
      throw new BlockError(`Data from secret ${id} is not valid UTF-8`)
    }
    return value
  }

  /** AES-256 in CBC, padded as PKCS #7 says (RFC 5652, section 6.3), with another secret as its key. */
  private decrypt(bytes: Uint8Array, keyId: string, ivText: unknown): Uint8Array {
    const key = this.bytesOf(keyId)
    if (key.length !== KEY_BYTES) throw new BlockError(`Key should be ${KEY_BYTES} bytes in length`)
    if (typeof ivText !== 'string') throw new BlockError('IV is required to decrypt secret')
    const iv = decodeBase64(Buffer.from(ivText, 'utf8'))
    if (iv.length !== IV_BYTES) throw new BlockError(`IV should be ${IV_BYTES} bytes in length not ${iv.length}`)
    if (bytes.length % IV_BYTES !== 0) {
      throw new BlockError(`Length ${bytes.length} must be a multiple of block size ${IV_BYTES}`)
    }
    const plain = Uint8Array.from(this.host.cryptography().aes(key).decrypt(bytes))
    for (let at = 0; at < plain.length; at++) plain[at] = plain[at]! ^ (at < IV_BYTES ? iv[at]! : bytes[at - IV_BYTES]!)
    assert(plain.length === bytes.length, 'secret-decrypted')
    const padding = plain.at(-1) ?? 0
    if (padding < 1 || padding > IV_BYTES || padding > plain.length) {
      throw new BlockError(`Incorrect number of padding bytes (${padding}) found on decrypted data`)
    }
    return plain.subarray(0, plain.length - padding)
  }
}

function decodeBase64(bytes: Uint8Array): Uint8Array {
  const text = Buffer.from(bytes).toString('latin1')
  if (!/^[A-Za-z0-9+/=\n]*$/.test(text)) throw new BlockError('Base64 data contains invalid characters')
  return Buffer.from(text, 'base64')
}
