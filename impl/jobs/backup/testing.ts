/** For tests only: a chain with a guest on top, and a disk to back it up to. */
import type { BlockNode } from '../../block'
import { MemoryDriver } from '../../block/testing'
import { addDisk, type ChainBench, chainBench, KIB } from '../testing'
import { type BackupJob, type BackupOptions, startBackup } from './index'

export const CLUSTER = 64 * KIB
export const LENGTH = 8 * CLUSTER

export interface BackupBench extends ChainBench {
  target: MemoryDriver
  targetNode: BlockNode
  options(changes?: Partial<BackupOptions>): BackupOptions
  start(changes?: Partial<BackupOptions>): BackupJob
}

/** Clusters 0 to 3 are data of `top`, 2 to 5 of `base`; the target is full of old data. */
export function backupBench(lengthBytes = LENGTH, target = new MemoryDriver(lengthBytes)): BackupBench {
  const chain = chainBench({ lengths: [lengthBytes, lengthBytes] })
  for (let cluster = 0; cluster < 4; cluster++) chain.layers[0]!.plant(cluster * CLUSTER, CLUSTER, 0xa0 + cluster)
  for (let cluster = 2; cluster < 6; cluster++) chain.layers[1]!.plant(cluster * CLUSTER, CLUSTER, 0xb0 + cluster)
  target.data.fill(0xee)
  target.allocated.fill(1)
  const targetNode = addDisk(chain, 'tgt', target)
  const options = (changes: Partial<BackupOptions> = {}): BackupOptions => ({
    jobId: 'j',
    source: chain.nodes[0]!,
    target: targetNode,
    sync: 'full',
    speedBytesPerSecond: 0,
    onSourceError: 'report',
    onTargetError: 'report',
    autoFinalize: true,
    autoDismiss: true,
    ...changes,
  })
  const start = (changes: Partial<BackupOptions> = {}): BackupJob =>
    chain.begin(startBackup(chain.graph, chain.jobs, options(changes)))
  return { ...chain, target, targetNode, options, start }
}
