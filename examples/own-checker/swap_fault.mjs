// A fault of our own: of a write of two sectors or more, the first two change places on the medium. Nobody is told.
import { SECTOR_BYTES } from 'mirrorsim'

/** @type {import('mirrorsim').OwnFault} */
export const swapFault = {
  name: 'swapped-sectors',
  about: 'the first two sectors of a write change places on the medium',
  promise: 'silent',
  operations: ['write'],
  meet(_entry, request, { store, corruption }) {
    const { buffer, offsetBytes, lengthBytes } = request
    if (buffer === null || lengthBytes < 2 * SECTOR_BYTES) return null
    const written = buffer.slice()
    written.copyWithin(0, SECTOR_BYTES, 2 * SECTOR_BYTES)
    written.set(buffer.subarray(0, SECTOR_BYTES), SECTOR_BYTES)
    store.write(offsetBytes, written)
    // Each byte that is another one now is marked, and no other: the checkers of mirrorsim leave out exactly these.
    corruption?.markDifferences(offsetBytes, buffer, written)
    request.landedBytes = lengthBytes
    return 0
  },
}
