/** `parallels`: the images of Parallels, in one file and without snapshots. */
import { BlockError } from '../../block'
import { writeHead } from '../../block/drivers/clusters/head'
import { newParallels, openParallels, probeParallels } from '../../block/drivers/parallels'
import { type Co, EINVAL } from '../../co'
import type { BlockdevDriver, Creating, Opened, Opening } from '../driver'

const SECTOR_BYTES = 512

export const PARALLELS: BlockdevDriver = {
  name: 'parallels',
  protocol: null,
  isFilter: false,
  strongOptions: [],
  probe: (head) => (probeParallels(head) ? 100 : 0),
  open,
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    { name: 'cluster_size', type: 'size', help: 'Parallels image cluster size', defaultText: '1048576' },
  ],
  create,
}

function* open(opening: Opening): Co<Opened> {
  const { nodeOptions, isForCheck } = opening
  const file = yield* opening.child({ name: 'file', role: 'image', isProbed: false })
  const driver = yield* openParallels(file)
  driver.isForCheck = isForCheck
  const isStarted = !nodeOptions.readOnly && !isForCheck
  return {
    driver,
    children: [{ name: 'file', role: 'image', node: file }],
    ...(isStarted ? { start: () => driver.start() } : {}),
  }
}

function* create({ filename, options, makeFile, openFile }: Creating): Co<void> {
  const clusterBytes = options.size('cluster_size') ?? 0
  if (clusterBytes === 0 || clusterBytes % SECTOR_BYTES !== 0) {
    throw new BlockError('Cluster size must be a multiple of 512 bytes', { errno: EINVAL })
  }
  const sizeBytes = Math.ceil((options.size('size') ?? 0) / SECTOR_BYTES) * SECTOR_BYTES
  const { head, fileBytes } = newParallels({ sizeBytes, clusterBytes })
  yield* makeFile(filename, 0)
  yield* writeHead(yield* openFile(filename), fileBytes, [[0, head]])
}
