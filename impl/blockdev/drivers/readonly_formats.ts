/** `bochs`, `cloop` and `dmg`: images that can be read and nothing else. */
import { type BlockDriver, BlockError, type BlockNode } from '../../block'
import { openBochs, probeBochs } from '../../block/drivers/bochs'
import { openCloop, probeCloop } from '../../block/drivers/cloop'
import { openDmg } from '../../block/drivers/dmg'
import { type Co, EACCES } from '../../co'
import type { BlockdevContext } from '../context'
import type { BlockdevDriver, Opened, Opening } from '../driver'

/** Marks of other formats count more than a script, or than a name. */
const WEAK_SCORE = 2

export const BOCHS = readOnlyFormat('bochs', openBochs, (head) => (probeBochs(head) ? 100 : 0))
export const CLOOP = readOnlyFormat(
  'cloop',
  (file, { codecs }) => openCloop(file, codecs.zlib),
  (head) => (probeCloop(head) ? WEAK_SCORE : 0),
)
export const DMG = readOnlyFormat(
  'dmg',
  (file, { codecs }) => openDmg(file, codecs.zlib),
  (_head, filename) => (filename.endsWith('.dmg') ? WEAK_SCORE : 0),
)

function readOnlyFormat(
  name: string,
  openDriver: (file: BlockNode, context: BlockdevContext) => Co<BlockDriver>,
  probe: (head: Uint8Array, filename: string) => number,
): BlockdevDriver {
  return {
    name,
    protocol: null,
    isFilter: false,
    strongOptions: [],
    probe,
    *open(opening: Opening): Co<Opened> {
      const { nodeOptions, autoReadOnly, context } = opening
      const file = yield* opening.child({ name: 'file', role: 'image', isProbed: false })
      if (!nodeOptions.readOnly && !autoReadOnly) throw new BlockError('Image is read-only', { errno: EACCES })
      nodeOptions.readOnly = true
      const driver = yield* openDriver(file, context)
      return { driver, children: [{ name: 'file', role: 'image', node: file }] }
    },
  }
}
