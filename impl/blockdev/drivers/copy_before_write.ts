/** `copy-before-write`: keeps what guests overwrite in another image. */
import { BitmapRefusal, BlockError, findBitmap, type NamedBitmap } from '../../block'
import { CopyBeforeWriteDriver } from '../../block/drivers/copy_before_write'
import type { Co } from '../../co'
import type { BlockdevDriver, Opened, Opening } from '../driver'

const NS_PER_SECOND = 1_000_000_000
/** As long a time as the interface has numbers for. */
const TIMEOUT_MAX_SECONDS = 2 ** 32 - 1
const ERRORS = ['break-guest-write', 'break-snapshot'] as const

export const COPY_BEFORE_WRITE: BlockdevDriver = {
  name: 'copy-before-write',
  protocol: null,
  isFilter: true,
  strongOptions: [],
  open,
}

function* open(opening: Opening): Co<Opened> {
  const { options } = opening
  const onError = options.takeChoice('on-cbw-error', ERRORS)
  const timeoutSeconds = options.takeNumber('cbw-timeout') ?? 0
  if (timeoutSeconds > TIMEOUT_MAX_SECONDS) throw new BlockError("Parameter 'cbw-timeout' expects uint32")
  const minClusterBytes = options.takeSize('min-cluster-size') ?? 0
  if (minClusterBytes !== 0 && 2 ** Math.round(Math.log2(minClusterBytes)) !== minClusterBytes) {
    throw new BlockError('min-cluster-size needs to be a power of 2')
  }
  const bitmap = takeBitmap(opening)
  const file = yield* opening.child({ name: 'file', role: 'filtered', isProbed: true })
  const target = yield* opening.child({ name: 'target', role: 'image', isProbed: true })
  const driver = new CopyBeforeWriteDriver({
    ...(onError === undefined ? {} : { onError }),
    timeoutNs: timeoutSeconds * NS_PER_SECOND,
    minClusterBytes,
  })
  return {
    driver,
    children: [
      { name: 'file', role: 'filtered', node: file },
      { name: 'target', role: 'image', node: target },
    ],
    *start(): Co<void> {
      driver.start(bitmap?.bits ?? null)
    },
  }
}

/** The bitmap that says which regions are kept; null: all are. Throws BlockError. */
function takeBitmap({ options, context }: Opening): NamedBitmap | null {
  const nodeName = options.takeString('bitmap.node')
  const name = options.takeString('bitmap.name')
  if (nodeName === undefined && name === undefined) return null
  const node = context.graph.lookup(nodeName ?? '')
  const bitmap = findBitmap(node, name ?? '')
  bitmap.demand(BitmapRefusal.AllowReadOnly)
  return bitmap
}
