/** `blkverify`: compares an image with a plain copy of it. */
import { BlkverifyDriver, parseBlkverifyFilename } from '../../block/drivers/blkverify'
import type { Co } from '../../co'
import type { BlockdevDriver, Opened, Opening } from '../driver'

export const BLKVERIFY: BlockdevDriver = {
  name: 'blkverify',
  protocol: 'blkverify',
  isFilter: true,
  strongOptions: [],
  parseFilename(filename, options) {
    if (!filename.startsWith('blkverify:')) {
      options.set('x-image', filename)
      return
    }
    const { raw, test } = parseBlkverifyFilename(filename)
    options.set('x-raw', raw)
    options.set('x-image', test)
  },
  open,
}

function* open(opening: Opening): Co<Opened> {
  const { options, context } = opening
  options.takeString('filename')
  const rawName = options.takeString('x-raw')
  const testName = options.takeString('x-image')
  const raw = yield* opening.child({
    name: 'raw',
    role: 'filtered',
    isProbed: false,
    ...(rawName === undefined ? {} : { filename: rawName }),
  })
  const test = yield* opening.child({
    name: 'test',
    role: 'image',
    isProbed: true,
    ...(testName === undefined ? {} : { filename: testName }),
  })
  return {
    driver: new BlkverifyDriver((mismatch) => context.warn(mismatch.text)),
    children: [
      { name: 'raw', role: 'filtered', node: raw },
      { name: 'test', role: 'image', node: test },
    ],
  }
}
