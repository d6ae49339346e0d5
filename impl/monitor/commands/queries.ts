/** What is asked about the graph, its devices and their counts. */
import { BlockBackend, type BlockChild, type BlockNode, Permission } from '../../block'
import { BlockAccounting } from '../../block/accounting'
import { type JsonObject, type JsonValue, jsonObject } from '../../json'
import type { CommandTable } from '../command'
import type { QmpEnvironment } from '../environment'
import { toJson } from '../events'
import { hasTray, holderName } from '../machine/device'
import type { BackendState } from '../machine/machine'
import { nodeInfo } from '../node_info'

const inOrder = (nodes: Iterable<BlockNode>): BlockNode[] => [...nodes].sort((a, b) => a.serial - b.serial)

/** All nodes, those made last first. */
function namedNodes({ graph }: QmpEnvironment): BlockNode[] {
  return inOrder(graph.nodes.values()).reverse()
}

/** BlockInfo of a backend of the machine. */
function backendInfo(environment: QmpEnvironment, state: BackendState): JsonObject {
  const { backend, device } = state
  const node = backend.root?.node ?? null
  const shown = node === null ? null : skipImplicit(node)
  const use = device?.type.disk
  // It is told where somebody could see another one.
  const stops = state.onWriteError === 'enospc' || state.onWriteError === 'stop' || state.onReadError === 'stop'
  return jsonObject({
    device: backend.name,
    qdev: device === null ? undefined : holderName(device),
    type: 'unknown',
    removable: use?.isRemovable ?? true,
    locked: device?.isLocked ?? false,
    inserted: shown === null ? undefined : nodeInfo(environment.context, shown, false, state),
    tray_open: device !== null && hasTray(device) ? device.isTrayOpen : undefined,
    'io-status': use?.hasIoStatus === true && stops ? 'ok' : undefined,
  })
}

/** Backends that users can name, in order of their making. */
function shownBackends({ machine }: QmpEnvironment): BackendState[] {
  if (machine === null) return []
  return [...machine.backends.values()].filter(({ backend, device }) => backend.name !== '' || device !== null)
}

/** Filters that jobs put in by themselves are not shown to those who ask for devices. */
function skipImplicit(node: BlockNode): BlockNode {
  let shown = node
  while (shown.isImplicit && shown.filtered !== null) shown = shown.filtered.node
  return shown
}

function stats(environment: QmpEnvironment, node: BlockNode | null, backend: BlockBackend | null, isNodes: boolean): JsonObject {
  const device = backend === null ? null : (environment.machine?.deviceOf(backend) ?? null)
  const accounting =
    backend?.accounting ?? new BlockAccounting(environment.kernel, { accountInvalid: false, accountFailed: false })
  const counted = toJson({ ...accounting.report(), wr_highest_offset: node?.highestWrittenBytes ?? 0 }) as JsonObject
  const below = node === null || isNodes ? null : (node.backing?.node ?? null)
  const parent = node === null ? null : (node.filtered ?? node.children.get('file') ?? null)
  const isFile = node?.driver.name === 'file' || node?.driver.name === 'host_device'
  return jsonObject({
    device: backend === null ? undefined : backend.name,
    qdev: device === null ? undefined : holderName(device),
    'node-name': node === null ? undefined : node.name,
    stats: counted,
    'driver-specific': isFile
      ? jsonObject({
          driver: node!.driver.name,
          'discard-nb-ok': 0,
          'discard-nb-failed': 0,
          'discard-bytes-ok': 0,
        })
      : undefined,
    parent: parent === null ? undefined : stats(environment, parent.node, null, isNodes),
    backing: below === null ? undefined : stats(environment, below, null, isNodes),
  })
}

const PERMISSION_NAMES: ReadonlyArray<readonly [number, string]> = [
  [Permission.Resize, 'resize'],
  [Permission.WriteUnchanged, 'write-unchanged'],
  [Permission.Write, 'write'],
  [Permission.ConsistentRead, 'consistent-read'],
]
const permissionList = (bits: number): JsonValue[] =>
  PERMISSION_NAMES.filter(([bit]) => (bits & bit) !== 0).map(([, name]) => name)

/** Nodes and edges with numbers that are given on the first mention; lists begin with what was added last, as QEMU's do. */
class GraphDump {
  private readonly numbers = new Map<unknown, number>()
  private readonly nodes: JsonValue[] = []
  private readonly edges: JsonValue[] = []

  private numberOf(holder: unknown): number {
    const known = this.numbers.get(holder)
    if (known !== undefined) return known
    this.numbers.set(holder, this.numbers.size + 1)
    return this.numbers.size
  }
  addNode(holder: unknown, type: string, name: string): void {
    this.nodes.unshift(jsonObject({ id: this.numberOf(holder), type, name }))
  }
  addEdge(parent: unknown, edge: BlockChild): void {
    this.edges.unshift(
      jsonObject({
        parent: this.numberOf(parent),
        child: this.numberOf(edge.node),
        name: edge.name,
        perm: permissionList(edge.permission),
        'shared-perm': permissionList(edge.shared),
      }),
    )
  }
  result(): JsonObject {
    return jsonObject({ nodes: this.nodes, edges: this.edges })
  }
}

/** Everything that holds a node, and what it holds it for. */
function blockGraph({ graph, machine }: QmpEnvironment): JsonObject {
  const dump = new GraphDump()
  const holders = new Map<unknown, BlockChild[]>()
  for (const backend of machine?.backends.keys() ?? []) holders.set(backend, [])
  for (const node of inOrder(graph.nodes.values())) {
    for (const edge of node.parents) {
      if (edge.parent.node === null) holders.set(edge.parent, [...(holders.get(edge.parent) ?? []), edge])
    }
  }
  for (const isBackend of [true, false]) {
    for (const [holder, edges] of holders) {
      if (holder instanceof BlockBackend !== isBackend) continue
      const name = holder instanceof BlockBackend ? holder.name || holder.deviceName : ''
      dump.addNode(holder, isBackend ? 'block-backend' : 'block-job', name)
      for (const edge of edges) dump.addEdge(holder, edge)
    }
  }
  for (const node of inOrder(graph.nodes.values())) {
    dump.addNode(node, 'block-driver', node.name)
    for (const edge of [...node.children.values()].reverse()) dump.addEdge(node, edge)
  }
  return dump.result()
}

export const QUERY_COMMANDS: CommandTable = {
  *'query-named-block-nodes'(environment, args) {
    const isFlat = args.optionalFlag('flat') ?? false
    return namedNodes(environment).map((node) => nodeInfo(environment.context, node, isFlat))
  },
  *'query-block'(environment) {
    return shownBackends(environment).map((state) => backendInfo(environment, state))
  },
  *'query-blockstats'(environment, args) {
    const { graph } = environment
    if (args.optionalFlag('query-nodes') === true) {
      return inOrder(graph.nodes.values()).map((node) => stats(environment, node, null, true))
    }
    return shownBackends(environment).map(({ backend }) => {
      const node = backend.root === null ? null : skipImplicit(backend.root.node)
      return stats(environment, node, backend, false)
    })
  },
  *'x-debug-query-block-graph'(environment) {
    return blockGraph(environment)
  },
  *'query-block-exports'({ exports }) {
    return toJson(exports.query())
  },
}
