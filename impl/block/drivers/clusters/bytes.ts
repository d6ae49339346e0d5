/** What headers of images are read and written with. */

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
/** Bytes as characters of one byte each. */
export function textOf(bytes: Uint8Array, fromBytes: number, lengthBytes: number): string {
  let text = ''
  const end = Math.min(bytes.length, fromBytes + lengthBytes)
  for (let at = fromBytes; at < end; at++) text += String.fromCharCode(bytes[at]!)
  return text
}
/** A file name. */
export function nameOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('utf8')
}
export function hasText(bytes: Uint8Array, fromBytes: number, text: string): boolean {
  return textOf(bytes, fromBytes, text.length) === text
}
/** Writes such characters. */
export function putText(bytes: Uint8Array, atBytes: number, text: string): void {
  for (let index = 0; index < text.length; index++) bytes[atBytes + index] = text.charCodeAt(index)
}
/** A number of 8 bytes; what is too large to count with is infinite, so that every bound refuses it. */
export function readNumber64(view: DataView, atBytes: number, isLittleEndian = false): number {
  const value = Number(view.getBigUint64(atBytes, isLittleEndian))
  return Number.isSafeInteger(value) ? value : Number.POSITIVE_INFINITY
}
