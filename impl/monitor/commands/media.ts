/** Block devices of a machine: their media, their limits, what is counted of them. */
import { BlockError, type BlockNode } from '../../block'
import { type HistogramBoundaries, setLatencyHistograms } from '../../block/accounting'
import type { ThrottleLimits } from '../../block/throttle'
import { Options, openImage } from '../../blockdev'
import type { Co } from '../../co'
import type { Arguments } from '../arguments'
import type { CommandTable } from '../command'
import type { QmpEnvironment } from '../environment'
import type { BackendState } from '../machine/machine'
import { machineOf } from '../machine/machine_of'
import {
  changeMedium,
  closeTrayOf,
  eject,
  findBackend,
  findDeviceBackend,
  insertMedium,
  openTrayOf,
  removeMedium,
} from '../machine/media'
import { demandMedium, limitNames, setThrottle } from '../machine/throttling'

interface Found {
  state: BackendState
  /** As the command has called it. */
  name: string
}

function find(environment: QmpEnvironment, args: Arguments): Found {
  const device = args.optionalString('device')
  const id = args.optionalString('id')
  return { state: findBackend(machineOf(environment), device, id), name: id ?? device ?? '' }
}

/** Whether the new medium may be written to. */
function isReadOnly({ backend, device }: BackendState, mode: string): boolean {
  if (mode !== 'retain') return mode === 'read-only'
  const node = backend.root?.node ?? null
  return node === null ? device?.type.disk?.isReadOnly === true : node.options.readOnly
}

function openMedium({ context }: QmpEnvironment, args: Arguments, readOnly: boolean): Co<BlockNode> {
  const options = new Options([['read-only', readOnly]])
  const format = args.optionalString('format')
  if (format !== undefined) options.set('driver', format)
  return openImage(context, { filename: args.string('filename'), options })
}

const BOUNDARIES = ['boundaries', 'boundaries-read', 'boundaries-write', 'boundaries-flush'] as const

export const MEDIA_COMMANDS: CommandTable = {
  *'blockdev-open-tray'(environment, args) {
    const { state, name } = find(environment, args)
    openTrayOf(machineOf(environment), state, name, args.optionalFlag('force') ?? false)
    return undefined
  },
  *'blockdev-close-tray'(environment, args) {
    const { state, name } = find(environment, args)
    closeTrayOf(machineOf(environment), state, name)
    return undefined
  },
  *'blockdev-remove-medium'(environment, args) {
    const { state, name } = find(environment, args)
    yield* removeMedium(machineOf(environment), state, name)
    return undefined
  },
  *'blockdev-insert-medium'(environment, args) {
    const state = findDeviceBackend(machineOf(environment), args.string('id'))
    const name = args.string('node-name')
    const node = environment.graph.findNode(name)
    if (node === null) throw new BlockError(`Node '${name}' not found`)
    for (const edge of node.parents) if (edge.gate !== null) throw new BlockError(`Node '${name}' is already in use`)
    insertMedium(state, node)
    return undefined
  },
  *eject(environment, args) {
    const { state, name } = find(environment, args)
    yield* eject(machineOf(environment), state, name, args.optionalFlag('force') ?? false)
    return undefined
  },
  *'blockdev-change-medium'(environment, args) {
    const { state, name } = find(environment, args)
    const mode = args.optionalString('read-only-mode') ?? 'retain'
    const node = yield* openMedium(environment, args, isReadOnly(state, mode))
    try {
      yield* changeMedium(machineOf(environment), state, name, node, args.optionalFlag('force') ?? false)
    } catch (error) {
      yield* environment.graph.release(node)
      throw error
    }
    return undefined
  },
  *block_set_io_throttle(environment, args) {
    const { state, name } = find(environment, args)
    demandMedium(state, name)
    const limits: ThrottleLimits = {}
    for (const [qmp, limit] of limitNames()) {
      const value = args.optionalInteger(qmp)
      if (value !== undefined) limits[limit] = value
    }
    const group = args.optionalString('group') ?? state.throttle?.group.name ?? name
    setThrottle(machineOf(environment), state, limits, group)
    return undefined
  },
  *'block-latency-histogram-set'(environment, args) {
    const id = args.string('id')
    const { backend } = findDeviceBackend(machineOf(environment), id)
    const wanted: { -readonly [K in keyof HistogramBoundaries]: HistogramBoundaries[K] } = {}
    for (const name of BOUNDARIES) if (args.has(name)) wanted[name] = args.list(name).map(Number)
    if (args.has('boundaries-zap')) throw new BlockError('Histograms of zone appends are not supported')
    setLatencyHistograms(backend.accounting!, id, wanted)
    return undefined
  },
}
