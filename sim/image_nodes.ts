/** The nodes of an image of the world: how they are opened on top of its files, and how the image below comes and goes. */
import type { BlockGraph, BlockNode, NodeOptions } from '../impl/block'
import { PORTABLE_CODECS } from '../impl/block/codec_portable'
import { openQcow2, type Qcow2Driver } from '../impl/block/drivers/qcow2'
import { assert, type Co, Mutex } from '../impl/co'
import type { SimDisk } from './disk'
import type { ImageStores } from './image'
import type { FormatPlan } from './plan'
import type { DiskStore } from './store'

/** How the disks under an image are made: at once and without faults, or as the plan says. */
export type MakeDisk = (store: DiskStore) => SimDisk
type MakeDriver<D extends Qcow2Driver> = (file: BlockNode, options: Parameters<typeof openQcow2>[1]) => Co<D>

export const plainDriver: MakeDriver<Qcow2Driver> = (file, options) => openQcow2(file, options)

export interface OpenedImage<D extends Qcow2Driver = Qcow2Driver> {
  readonly node: BlockNode
  readonly driver: D
  /**
   * Opens the image below and links the node to it, in place of nothing or of what was opened before. Throws BlockError,
   * with the link as it was, if that is refused.
   */
  linkBacking(): Co<void>
  /** Takes the nodes out of the graph. */
  close(): Co<void>
}

export interface ImageParts<D extends Qcow2Driver> {
  name: string
  stores: ImageStores
  /** null: all options are at their defaults. */
  format: FormatPlan | null
  options: Partial<NodeOptions>
  makeDisk: MakeDisk
  makeDriver: MakeDriver<D>
  withoutBacking?: boolean
  /** Puts a filter between the image and its file. */
  aboveFile?: (file: BlockNode) => BlockNode
}

/** Makes the nodes: `name` on top of `name-file`, `name-data`, `name-backing`. */
export function* openImageNodes<D extends Qcow2Driver>(graph: BlockGraph, parts: ImageParts<D>): Co<OpenedImage<D>> {
  const nodes = new ImageNodes(graph, parts)
  yield* nodes.open()
  return nodes
}

class ImageNodes<D extends Qcow2Driver> implements OpenedImage<D> {
  node!: BlockNode
  driver!: D
  private readonly graph: BlockGraph
  private readonly parts: ImageParts<D>
  /** From the bottom up. */
  private readonly files: BlockNode[] = []
  private below: BlockNode[] = []
  private openedCount = 0
  private readonly linking: Mutex

  constructor(graph: BlockGraph, parts: ImageParts<D>) {
    this.graph = graph
    this.parts = parts
    this.linking = new Mutex(graph.kernel, `the backing link of ${parts.name}`)
  }

  *open(): Co<void> {
    const { graph, parts } = this
    const { name, stores, format, options } = parts
    const readOnly = options.readOnly === true
    let file = this.addFile('file', stores.file, readOnly)
    if (parts.aboveFile !== undefined) {
      file = parts.aboveFile(file)
      this.files.push(file)
    }
    this.driver = yield* parts.makeDriver(file, {
      readOnly,
      codecs: PORTABLE_CODECS,
      discardNoUnref: format?.discardNoUnref ?? false,
      passDiscardRequest: options.discard === 'unmap',
    })
    const children: Array<{ name: string; role: 'image' | 'cow'; node: BlockNode }> = [
      { name: 'file', role: 'image', node: file },
    ]
    if (stores.dataFile !== null)
      children.push({ name: 'data-file', role: 'image', node: this.addFile('data', stores.dataFile, readOnly) })
    if (stores.backing !== null && parts.withoutBacking !== true) {
      this.below = yield* this.openBelow(stores.backing)
      children.push({ name: 'backing', role: 'cow', node: this.below.at(-1)! })
    }
    this.node = graph.addNode({ name, driver: this.driver, children, options })
    yield* this.driver.start(null)
  }

  private addFile(role: string, store: DiskStore, readOnly: boolean): BlockNode {
    const node = this.addDisk(role, store, readOnly)
    this.files.push(node)
    return node
  }
  private addDisk(role: string, store: DiskStore, readOnly: boolean): BlockNode {
    const { name, makeDisk } = this.parts
    return this.graph.addNode({ name: `${name}-${role}`, driver: makeDisk(store), options: { readOnly, discard: 'unmap' } })
  }

  /** Another opening of the same image: what it shows is the same. From the bottom up. */
  private *openBelow(store: DiskStore): Co<BlockNode[]> {
    const { graph, parts } = this
    const number = this.openedCount++ || ''
    if (parts.format?.backing?.format !== 'qcow2') return [this.addDisk(`backing${number}`, store, true)]
    const file = this.addDisk(`under${number}`, store, true)
    const driver = yield* openQcow2(file, { readOnly: true, codecs: PORTABLE_CODECS })
    const children = [{ name: 'file', role: 'image' as const, node: file }]
    const name = `${parts.name}-backing${number}`
    return [file, graph.addNode({ name, driver, children, options: { readOnly: true } })]
  }

  *linkBacking(): Co<void> {
    const { graph, node, parts } = this
    const { backing: store } = parts.stores
    assert(store !== null, 'image-has-one-below')
    yield* this.linking.lock()
    const wanted = yield* this.openBelow(store)
    const top = wanted.at(-1)!
    let unused = wanted
    let refusal: unknown = null
    yield* graph.drainedBegin(node)
    yield* graph.drainedBegin(top)
    try {
      graph.setBacking(node, top)
      unused = this.below
      this.below = wanted
    } catch (error) {
      refusal = error
    }
    graph.drainedEnd(top)
    graph.drainedEnd(node)
    yield* this.remove(unused)
    this.linking.unlock()
    if (refusal !== null) throw refusal
  }

  private *remove(nodes: readonly BlockNode[]): Co<void> {
    // What is above goes first.
    for (const node of [...nodes].reverse()) yield* this.graph.removeNode(node)
  }

  *close(): Co<void> {
    yield* this.graph.removeNode(this.node)
    yield* this.remove(this.below)
    yield* this.remove(this.files)
  }
}
