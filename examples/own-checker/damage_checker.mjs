// A rule of our own: when a job ends well, the copy is the source, byte for byte. The checkers of mirrorsim leave out bytes
// that a silent fault has hit, because no mirror could know of them. This one does not, so it tells what such faults do.

/** @type {import('mirrorsim').CheckerFactory} */
export const damageChecker = ({ plan, source, destination }) => ({
  name: 'damage',
  // Later the guest goes on writing, to one of the two.
  jobEvent({ event, data }) {
    const isOver = event === 'BLOCK_JOB_COMPLETED' && data['error'] === undefined
    if (!isOver || plan.mirror.sync !== 'full') return null
    const offsetBytes = source.bytes.findIndex((byte, index) => byte !== destination.bytes[index])
    if (offsetBytes < 0 || offsetBytes >= source.lengthBytes) return null
    return {
      class: 'content',
      // Keys have neither ids nor offsets: the shrinker takes failures with one key for the same failure.
      key: 'damage/copy-differs',
      text: `the copy is complete and differs from its source at byte ${offsetBytes}`,
      disk: 'destination',
      offsetBytes,
    }
  },
})
