/** Dirty bitmaps. */
import { alternate, command, type QapiModule, struct } from '../types'

export const BITMAPS: QapiModule = {
  types: {
    BlockDirtyBitmapAdd: struct({
      node: 'str',
      name: 'str',
      '?granularity': 'uint32',
      '?persistent': 'bool',
      '?disabled': 'bool',
    }),
    BlockDirtyBitmapMerge: struct({ node: 'str', target: 'str', bitmaps: '[BlockDirtyBitmapOrStr]' }),
    BlockDirtyBitmapOrStr: alternate({ local: 'str', external: 'BlockDirtyBitmap' }),
    BlockDirtyBitmapSha256: struct({ sha256: 'str' }),
  },
  commands: {
    'block-dirty-bitmap-add': command('BlockDirtyBitmapAdd', null, { allowsPreconfig: true }),
    'block-dirty-bitmap-remove': command('BlockDirtyBitmap', null, { allowsPreconfig: true }),
    'block-dirty-bitmap-clear': command('BlockDirtyBitmap', null, { allowsPreconfig: true }),
    'block-dirty-bitmap-enable': command('BlockDirtyBitmap', null, { allowsPreconfig: true }),
    'block-dirty-bitmap-disable': command('BlockDirtyBitmap', null, { allowsPreconfig: true }),
    'block-dirty-bitmap-merge': command('BlockDirtyBitmapMerge', null, { allowsPreconfig: true }),
    'x-debug-block-dirty-bitmap-sha256': command('BlockDirtyBitmap', 'BlockDirtyBitmapSha256', {
      allowsPreconfig: true,
      features: ['unstable'],
    }),
  },
}
