/** `qed`: two levels of tables and a check after power cuts. */
import { writeHead } from '../../block/drivers/clusters/head'
import { FEATURE, newQed, openQed, probeQed } from '../../block/drivers/qed'
import type { Co } from '../../co'
import type { BlockdevDriver, Creating, Opened, Opening } from '../driver'

const SECTOR_BYTES = 512
const TABLE_CLUSTERS = 4

export const QED: BlockdevDriver = {
  name: 'qed',
  protocol: null,
  isFilter: false,
  supportsBacking: true,
  strongOptions: [],
  probe: (head) => (probeQed(head) ? 100 : 0),
  open,
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    { name: 'backing_file', type: 'string', help: 'File name of a base image' },
    { name: 'backing_fmt', type: 'string', help: 'Image format of the base image' },
    { name: 'cluster_size', type: 'size', help: 'Cluster size (in bytes)', defaultText: '65536' },
    { name: 'table_size', type: 'size', help: 'L1/L2 table size (in clusters)' },
  ],
  create,
}

function* open(opening: Opening): Co<Opened> {
  const { nodeOptions, isForCheck } = opening
  const file = yield* opening.child({ name: 'file', role: 'image', isProbed: false })
  const driver = yield* openQed(file)
  driver.isForCheck = isForCheck
  const { backingName, features } = driver.header
  const isRaw = (features & FEATURE.rawBacking) !== 0n
  return {
    driver,
    children: [{ name: 'file', role: 'image', node: file }],
    backing: backingName === null ? null : { name: backingName, format: isRaw ? 'raw' : null },
    ...(nodeOptions.readOnly || isForCheck ? {} : { start: () => driver.start() }),
  }
}

function* create({ filename, options, makeFile, openFile }: Creating): Co<void> {
  const { head, fileBytes } = newQed({
    sizeBytes: Math.ceil((options.size('size') ?? 0) / SECTOR_BYTES) * SECTOR_BYTES,
    clusterBytes: options.size('cluster_size') ?? 65536,
    tableClusters: options.size('table_size') ?? TABLE_CLUSTERS,
    backingName: options.string('backing_file') ?? null,
    isBackingRaw: options.string('backing_fmt') === 'raw',
  })
  yield* makeFile(filename, 0)
  yield* writeHead(yield* openFile(filename), fileBytes, [[0, head]])
}
