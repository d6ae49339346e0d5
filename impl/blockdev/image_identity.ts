/**
 * Bytes that identify an image or one of its states. They only have to differ between images that meet: they are made of
 * the moment and the name, so that the same world always makes the same image.
 */
import { hashText, mix32 } from '../co'

/** `lengthBytes` of identity; `purpose` keeps those of one image apart. */
export function imageIdentity(nowNs: number, filename: string, purpose: string, lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes)
  let state = hashText(`${purpose} ${nowNs} ${filename}`)
  for (let index = 0; index < lengthBytes; index++) {
    state = mix32((state + index + 1) >>> 0)
    bytes[index] = state >>> 24
  }
  return bytes
}

/** The same as a UUID of version 4. */
export function imageUuid(nowNs: number, filename: string, purpose: string): Uint8Array {
  const bytes = imageIdentity(nowNs, filename, purpose, 16)
  bytes[6] = (bytes[6]! & 0x0f) | 0x40
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  return bytes
}
