/** For tests only: an image `i` of each format that is written here, in its varieties, over files in memory. */
import { BlockBackend, type BlockNode, Permission } from '../block'
import { releaseNode } from './close'
import { createImage } from './create'
import { openImage } from './open'
import { Options } from './options'
import type { BlockdevBench } from './testing'

export const KiB = 1024
export const MiB = 1024 * KiB

export interface Shape {
  format: string
  option?: string
  sizeBytes: number
}

export const SHAPES: readonly Shape[] = [
  { format: 'vdi', sizeBytes: 5 * MiB + 512 },
  { format: 'vdi', option: 'static=on', sizeBytes: 3 * MiB },
  { format: 'vpc', option: 'force_size=on', sizeBytes: 7 * MiB },
  { format: 'vpc', option: 'subformat=fixed,force_size=on', sizeBytes: 3 * MiB },
  { format: 'qcow', sizeBytes: 3 * MiB + 512 },
  { format: 'parallels', sizeBytes: 3 * MiB + 512 },
  { format: 'parallels', option: 'cluster_size=65536', sizeBytes: 2 * MiB + 512 },
  { format: 'qed', sizeBytes: 5 * MiB + 512 },
  { format: 'qed', option: 'cluster_size=4096,table_size=1', sizeBytes: 4 * MiB },
  { format: 'vmdk', sizeBytes: 5 * MiB + 512 },
  { format: 'vmdk', option: 'zeroed_grain=on', sizeBytes: 2 * MiB + 512 },
  { format: 'vmdk', option: 'subformat=monolithicFlat', sizeBytes: 2 * MiB },
  { format: 'vmdk', option: 'subformat=twoGbMaxExtentSparse', sizeBytes: 3 * MiB },
  { format: 'vmdk', option: 'subformat=twoGbMaxExtentFlat', sizeBytes: 2 * MiB },
]

export function shapeName({ format, option }: Shape): string {
  return `${format}${option === undefined ? '' : ` with ${option}`}`
}

export interface Opened {
  node: BlockNode
  backend: BlockBackend
}

export function open(bench: BlockdevBench, format: string, filename = 'i'): Opened {
  const node = bench.run(openImage(bench.context, { filename, options: new Options([['driver', format]]) }))
  const backend = new BlockBackend(bench.graph, '')
  backend.attach(node, Permission.ConsistentRead | Permission.Write | Permission.Resize, Permission.All)
  return { node, backend }
}
export function close(bench: BlockdevBench, { node, backend }: Opened): void {
  backend.dispose()
  bench.run(releaseNode(bench.context, node))
}
export function make(bench: BlockdevBench, { format, option, sizeBytes }: Shape): void {
  const optionTexts = option === undefined ? [] : [option]
  bench.run(createImage(bench.context, { filename: 'i', format, sizeBytes, optionTexts }))
}
