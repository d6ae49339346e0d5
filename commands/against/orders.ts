/**
 * Orders that every conversation with a real daemon has: the start of the plan's mirror, and the removal of its nodes.
 *
 * What may fail: a removal, by what the monitor throws that is no refusal.
 */
import type { Plan } from '../../sim/plan'
import { QmpRefusal } from '../qmp_client'
import type { DiskFiles } from './images'
import type { QmpCommand } from './nodes'
import { JOB } from './operator'
import type { MirrorCommand } from './options'
import { type Capabilities, canTake } from './programs'

export function mirrorCommandOf(
  { mirror, destination, control }: Plan,
  command: MirrorCommand,
  { image }: DiskFiles,
  capabilities: Capabilities,
): QmpCommand {
  const common: Record<string, unknown> = {
    'job-id': JOB,
    device: 'source',
    sync: mirror.sync,
    'copy-mode': mirror.copyMode,
    'on-source-error': mirror.onSourceError,
    'on-target-error': mirror.onTargetError,
    'auto-finalize': mirror.autoFinalize,
    'auto-dismiss': !control.some(({ kind }) => kind === 'dismiss'),
  }
  if (mirror.granularityBytes > 0) common['granularity'] = mirror.granularityBytes
  if (mirror.bufferBytes > 0) common['buf-size'] = mirror.bufferBytes
  if (mirror.speedBytesPerSecond > 0) common['speed'] = mirror.speedBytesPerSecond
  if (mirror.replaces !== undefined) common['replaces'] = mirror.replaces
  if (command === 'blockdev-mirror') {
    const isZero = canTake(capabilities, 'blockdev-mirror', 'target-is-zero') && mirror.targetIsZero
    const args = { ...common, target: 'destination', ...(isZero ? { 'target-is-zero': true } : {}) }
    return { execute: 'blockdev-mirror', arguments: args }
  }
  const mode = command === 'drive-mirror-existing' ? 'existing' : 'absolute-paths'
  const format = destination.format === undefined ? 'raw' : 'qcow2'
  const target = { target: image, 'node-name': 'destination', mode, format, unmap: mirror.unmap }
  return { execute: 'drive-mirror', arguments: { ...common, ...target } }
}

/** From the top down; a mirror may have turned the order round. */
export async function removeNodes(
  names: readonly string[],
  send: (execute: string, args: Record<string, unknown>) => Promise<unknown>,
): Promise<void> {
  let left = names
  for (let round = 0; left.length > 0 && round < names.length; round++) {
    const busy: string[] = []
    for (const name of left) {
      await send('blockdev-del', { 'node-name': name }).catch((error: unknown) => {
        if (!(error instanceof QmpRefusal)) throw error
        if (!error.description.startsWith('Failed to find node')) busy.push(name)
      })
    }
    left = busy
  }
}
