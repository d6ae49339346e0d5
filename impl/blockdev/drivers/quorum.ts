/** `quorum`: several replicas of one disk, of which so many have to agree. */
import { BlockError } from '../../block'
import { QuorumDriver, type QuorumEars, replicaName } from '../../block/drivers/quorum'
import { type Co, EINVAL, EIO } from '../../co'
import type { BlockdevContext } from '../context'
import type { BlockdevDriver, Opened, OpenedChild, Opening } from '../driver'
import type { Options } from '../options'

export const QUORUM: BlockdevDriver = {
  name: 'quorum',
  protocol: null,
  isFilter: false,
  strongOptions: ['vote-threshold', 'blkverify', 'rewrite-corrupted', 'read-pattern'],
  open,
}

function* open(opening: Opening): Co<Opened> {
  const { options, context } = opening
  const replicaCount = countReplicas(options)
  const readPattern = options.takeChoice('read-pattern', ['quorum', 'fifo'] as const) ?? 'quorum'
  const threshold = options.takeNumber('vote-threshold') ?? 0
  if (threshold < 1) throw new BlockError("Parameter 'vote-threshold' expects a value >= 1", { errno: EINVAL })
  if (threshold > replicaCount) throw new BlockError('threshold may not exceed children count', { errno: EINVAL })
  const isBlkverify = options.takeFlag('blkverify') ?? false
  const rewritesCorrupted = options.takeFlag('rewrite-corrupted') ?? false
  if (readPattern === 'quorum') checkModes(isBlkverify, rewritesCorrupted, replicaCount, threshold)
  const children: OpenedChild[] = []
  for (let index = 0; index < replicaCount; index++) {
    const name = replicaName(index)
    children.push({ name, role: 'image', node: yield* opening.child({ name, role: 'image', isProbed: true }) })
  }
  const [first] = children
  if (children.some(({ node }) => node.lengthBytes !== first!.node.lengthBytes)) {
    throw new BlockError('Could not refresh total sector count: Input/output error', { errno: EIO })
  }
  // The first answer is believed there: nothing is compared.
  const compares = readPattern === 'quorum'
  const modes = { isBlkverify: isBlkverify && compares, rewritesCorrupted: rewritesCorrupted && compares }
  return { driver: new QuorumDriver({ threshold, readPattern, ...modes }, replicaCount, earsOf(context)), children }
}

/** The replicas are numbered from 0 without a gap. Throws BlockError if there is none. */
function countReplicas(options: Options): number {
  options.delete('children')
  let count = 0
  while (options.has(replicaName(count)) || options.hasBelow(`${replicaName(count)}.`)) count++
  if (count < 1) throw new BlockError('Number of provided children must be 1 or more', { errno: EINVAL })
  return count
}

function checkModes(isBlkverify: boolean, rewritesCorrupted: boolean, replicaCount: number, threshold: number): void {
  if (isBlkverify && (replicaCount !== 2 || threshold !== 2)) {
    const text = 'blkverify=on can only be set if there are exactly two files and vote-threshold is 2'
    throw new BlockError(text, { errno: EINVAL })
  }
  if (isBlkverify && rewritesCorrupted) {
    throw new BlockError('rewrite-corrupted=on cannot be used with blkverify=on', { errno: EINVAL })
  }
}

function earsOf(context: BlockdevContext): QuorumEars {
  return {
    bad: (type, { name }, sector, sectorCount, error) =>
      context.emit('QUORUM_REPORT_BAD', {
        type,
        error: error ?? undefined,
        'node-name': name,
        'sector-num': sector,
        'sectors-count': sectorCount,
      }),
    failure: (node, sector, sectorCount) =>
      context.emit('QUORUM_FAILURE', {
        reference: node.graph.deviceNameOf(node) || node.name,
        'sector-num': sector,
        'sectors-count': sectorCount,
      }),
    mismatch: (text) => context.warn(text),
  }
}
