/**
 * Drives: `-drive` and its short forms, drive_add, drive_del.
 *
 * What may fail: everything, as BlockError with QEMU's texts; nothing is left behind then.
 */
import { BlockError, type BlockNode, Permission } from '../../block'
import { BUCKET_NAMES, LIMIT_NAMES, type LimitName, type ThrottleLimits } from '../../block/throttle'
import { createImage, DRIVERS, Options, openImage } from '../../blockdev'
import { assert, type Co } from '../../co'
import { DRIVE_INTERFACES, type Drive, type DriveInterface } from './drive'
import type { BackendState, Machine } from './machine'
import { setThrottle } from './throttling'

const UNITS: Readonly<Partial<Record<DriveInterface, number>>> = { ide: 2, scsi: 7 }
const CACHE_MODES: Readonly<Record<string, { writeback: string; direct: string; noFlush: string }>> = {
  none: { writeback: 'on', direct: 'on', noFlush: 'off' },
  off: { writeback: 'on', direct: 'on', noFlush: 'off' },
  directsync: { writeback: 'off', direct: 'on', noFlush: 'off' },
  writeback: { writeback: 'on', direct: 'off', noFlush: 'off' },
  unsafe: { writeback: 'on', direct: 'off', noFlush: 'on' },
  writethrough: { writeback: 'off', direct: 'off', noFlush: 'off' },
}

/** Older names of options. */
const RENAMED: ReadonlyArray<readonly [from: string, to: string]> = [
  ...(['iops', 'bps'] as const).flatMap((kind) =>
    (['', '_rd', '_wr'] as const).flatMap((suffix) => {
      const name = `throttling.${kind}-${{ '': 'total', _rd: 'read', _wr: 'write' }[suffix]}`
      return [
        [`${kind}${suffix}`, name],
        [`${kind}${suffix}_max`, `${name}-max`],
        [`${kind}${suffix}_max_length`, `${name}-max-length`],
      ] as const
    }),
  ),
  ['iops_size', 'throttling.iops-size'],
  ['group', 'throttling.group'],
  ['readonly', 'read-only'],
]

interface Wanted {
  interface: DriveInterface
  isCd: boolean
  bus: number
  unit: number
  id: string
}

/** What `format=help` prints: there is no format here that can only be read. */
export function formatsText(): string {
  const names = DRIVERS.map(({ name }) => ` ${name}`).join('')
  return `Supported formats:${names}\nSupported formats (read-only):${names}\n`
}

/** Whether the list of formats is asked for, not a drive. */
export function asksForFormats(options: Options): boolean {
  const format = options.get('format')
  return format === 'help' || format === '?'
}

/** Adds a drive; `interface` is what no `if` means. `warn` hears of what is not done as asked. */
export function* addDrive(
  machine: Machine,
  givenId: string | null,
  options: Options,
  defaultInterface: DriveInterface,
  warn: (text: string) => void,
): Co<Drive> {
  for (const [from, to] of RENAMED) rename(options, from, to)
  takeCacheMode(options)
  const wanted = takePlace(machine, givenId, options, defaultInterface)
  const filename = options.takeString('file') ?? null
  const writesBack = options.takeFlag('cache.writeback') ?? true
  if (options.get('node-name') === wanted.id) {
    throw new BlockError(`Device name '${wanted.id}' conflicts with an existing node name`)
  }
  const state = newState(machine, wanted.id)
  try {
    state.writesBack = writesBack
    takeErrorActions(state, wanted.interface, options)
    yield* fill(machine, state, filename, wanted.isCd, options, warn)
  } catch (error) {
    yield* discard(machine, state)
    throw error
  }
  const drive: Drive = { ...wanted, state }
  state.drive = drive
  machine.drives.set(drive.id, drive)
  assert(machine.backends.has(state.backend), 'drive-has-backend', () => drive.id)
  return drive
}

function rename(options: Options, from: string, to: string): void {
  const value = options.get(from)
  if (value === undefined) return
  if (options.has(to)) throw new BlockError(`'${to}' and its alias '${from}' can't be used at the same time`)
  options.delete(from)
  options.set(to, value)
}

function takeCacheMode(options: Options): void {
  const text = options.takeString('cache')
  if (text === undefined) return
  if (!Object.hasOwn(CACHE_MODES, text)) throw new BlockError('invalid cache option')
  const { writeback, direct, noFlush } = CACHE_MODES[text]!
  options.setDefault('cache.writeback', writeback)
  options.setDefault('cache.direct', direct)
  options.setDefault('cache.no-flush', noFlush)
}

function takePlace(machine: Machine, givenId: string | null, options: Options, defaultInterface: DriveInterface): Wanted {
  const media = options.takeString('media')
  if (media !== undefined && media !== 'disk' && media !== 'cdrom') throw new BlockError(`'${media}' invalid media`)
  const isCd = media === 'cdrom'
  const wanted = options.takeString('if')
  const type = wanted === undefined ? defaultInterface : DRIVE_INTERFACES.find((name) => name === wanted)
  if (type === undefined) throw new BlockError(`unsupported bus type '${wanted}'`)
  const units = UNITS[type] ?? 0
  let bus = options.takeNumber('bus')
  let unit = options.takeNumber('unit')
  const index = options.takeNumber('index')
  if (index !== undefined) {
    if (bus !== undefined || unit !== undefined) throw new BlockError('index cannot be used with bus and unit')
    bus = units === 0 ? 0 : Math.floor(index / units)
    unit = units === 0 ? index : index % units
  }
  bus ??= 0
  if (unit === undefined) {
    unit = 0
    while (driveAt(machine, type, bus, unit) !== null) {
      unit++
      if (units > 0 && unit >= units) {
        unit -= units
        bus++
      }
    }
  }
  if (units > 0 && unit >= units) throw new BlockError(`unit ${unit} too big (max is ${units - 1})`)
  if (driveAt(machine, type, bus, unit) !== null) {
    throw new BlockError(`drive with bus=${bus}, unit=${unit} (index=${units === 0 ? unit : bus * units + unit}) exists`)
  }
  const kind = type === 'ide' || type === 'scsi' ? (isCd ? '-cd' : '-hd') : ''
  const id = givenId ?? (units > 0 ? `${type}${bus}${kind}${unit}` : `${type}${kind}${unit}`)
  if (machine.drives.has(id)) throw new BlockError(`Duplicate ID '${id}' for drive`)
  return { interface: type, isCd, bus, unit, id }
}

function driveAt(machine: Machine, type: DriveInterface, bus: number, unit: number): Drive | null {
  for (const drive of machine.drives.values()) {
    if (drive.interface === type && drive.bus === bus && drive.unit === unit) return drive
  }
  return null
}

function newState(machine: Machine, id: string): BackendState {
  const state = machine.addBackend(id)
  state.permission = Permission.ConsistentRead
  state.shared = Permission.All
  return state
}

function takeErrorActions(state: BackendState, type: DriveInterface, options: Options): void {
  const take = (name: 'werror' | 'rerror', what: string, choices: readonly string[]): string | undefined => {
    const action = options.takeString(name)
    if (action === undefined) return undefined
    if (!['ide', 'scsi', 'virtio', 'none'].includes(type)) throw new BlockError(`${name} is not supported by this bus type`)
    if (!choices.includes(action)) throw new BlockError(`'${action}' invalid ${what} error action`)
    return action
  }
  state.onWriteError = take('werror', 'write', ['ignore', 'enospc', 'stop', 'report']) ?? state.onWriteError
  state.onReadError = take('rerror', 'read', ['ignore', 'stop', 'report']) ?? state.onReadError
}

/** Everything between the place of a drive and its medium. */
function* fill(
  machine: Machine,
  state: BackendState,
  filename: string | null,
  isCd: boolean,
  options: Options,
  warn: (text: string) => void,
): Co<void> {
  const isReadOnly = (options.takeFlag('read-only') ?? false) || isCd
  // What may only be read needs no layer.
  const isTemporary = (options.takeFlag('snapshot') ?? machine.usesTemporaryLayers) && !isReadOnly
  const aio = options.takeString('aio')
  if (aio !== undefined && !['threads', 'native', 'io_uring'].includes(aio)) throw new BlockError('invalid aio option')
  const detect = options.takeString('detect-zeroes') ?? 'off'
  if (detect !== 'off' && detect !== 'on' && detect !== 'unmap') throw new BlockError(`invalid parameter value: ${detect}`)
  takeStatistics(machine, state, options)
  const limits = takeLimits(options)
  const group = options.takeString('throttling.group')
  if (options.takeFlag('copy-on-read') ?? false) {
    if (isReadOnly) warn('disabling copy-on-read on read-only drive')
    else state.backend.copiesOnRead = true
    if (!isReadOnly) state.permission |= Permission.WriteUnchanged
  }
  rename(options, 'format', 'driver')
  if (aio === 'native' && options.get('cache.direct') !== 'on') {
    throw new BlockError('aio=native was specified, but it requires cache.direct=on, which was not specified.')
  }
  if ((filename ?? '') !== '' || options.size > 0) {
    options.set('read-only', isReadOnly || isTemporary)
    for (const key of ['cache.direct', 'cache.no-flush']) options.setDefault(key, 'off')
    options.setDefault('auto-read-only', 'off')
    const { graph, context } = machine.environment
    const image = yield* openImage(context, { filename: (filename ?? '') === '' ? null : filename, options })
    const node = isTemporary ? yield* coverTemporarily(machine, image) : image
    try {
      state.backend.attach(node, state.permission, state.shared)
    } catch (error) {
      yield* graph.release(node)
      throw error
    }
    node.options.detectZeroes = detect
  }
  if (limits !== null) setThrottle(machine, state, limits, group ?? state.backend.name)
}

/** Puts a layer over an image that takes all changes and is gone with the program. Throws BlockError, and closes the image then. */
function* coverTemporarily({ environment }: Machine, image: BlockNode): Co<BlockNode> {
  const { context, graph, makeTemporaryFile } = environment
  let name: string | null = null
  try {
    if (makeTemporaryFile === null) throw new BlockError('there is no place for temporary layers')
    name = makeTemporaryFile()
    yield* createImage(context, { filename: name, format: 'qcow2', sizeBytes: image.lengthBytes, announce: () => {} })
    const options = new Options([
      ['driver', 'qcow2'],
      ['file.driver', 'file'],
      ['file.filename', name],
      ['backing', image.name],
      ['cache.no-flush', true],
    ])
    return yield* openImage(context, { options })
  } catch (error) {
    yield* graph.release(image)
    throw error
  } finally {
    // It is open, and needs no name any more.
    if (name !== null) context.files.remove?.(name)
  }
}

function takeStatistics(machine: Machine, state: BackendState, options: Options): void {
  const accountInvalid = options.takeFlag('stats-account-invalid')
  const accountFailed = options.takeFlag('stats-account-failed')
  const intervals = options.takeList('stats-intervals').map((item) => item.takeNumber('') ?? 0)
  if (accountInvalid !== undefined || accountFailed !== undefined) {
    const given = { ...(accountInvalid === undefined ? {} : { accountInvalid }) }
    state.backend.accounting = machine.newAccounting({ ...given, ...(accountFailed === undefined ? {} : { accountFailed }) })
  }
  for (const seconds of intervals) state.backend.accounting!.addInterval(seconds)
}

/** null: nothing is limited. */
function takeLimits(options: Options): ThrottleLimits | null {
  const limits: Partial<Record<LimitName, number>> = {}
  for (const name of LIMIT_NAMES) {
    const value = options.takeNumber(`throttling.${name}`)
    if (value !== undefined) limits[name] = value
  }
  return BUCKET_NAMES.some((name) => (limits[name] ?? 0) > 0) ? limits : null
}

/** Gives up a drive that nothing has come of, or that nobody wants any more. */
function* discard(machine: Machine, state: BackendState): Co<void> {
  const { backend } = state
  const { graph, context } = machine.environment
  const node = backend.root?.node ?? null
  if (node !== null) yield* graph.drainedBegin(node)
  if (state.throttle !== null) {
    backend.setThrottle(null)
    context.throttleGroups.leave(state.throttle)
    state.throttle = null
  }
  backend.dispose()
  machine.backends.delete(backend)
  if (node === null) return
  graph.drainedEnd(node)
  yield* graph.release(node)
}

/** The drive is no more, and its device neither. */
export function* removeDrive(machine: Machine, drive: Drive): Co<void> {
  assert(drive.state.device === null, 'drive-unused', () => drive.id)
  machine.drives.delete(drive.id)
  yield* discard(machine, drive.state)
}

/** drive_del: the medium and the name go at once, the rest with the device that uses it. Throws BlockError. */
export function* deleteDrive(machine: Machine, id: string): Co<void> {
  const drive = machine.drives.get(id)
  if (drive === undefined) throw new BlockError(`Device '${id}' not found`)
  const { state } = drive
  const { graph } = machine.environment
  const node = state.backend.root?.node ?? null
  for (const blocker of node?.blockers ?? []) {
    if (!blocker.allows.has('drive-del')) throw new BlockError(`Node '${node!.name}' is busy: ${blocker.reason}`)
  }
  if (state.device === null) {
    yield* removeDrive(machine, drive)
    return
  }
  if (node !== null) {
    yield* graph.drainedBegin(node)
    state.backend.detach()
    graph.drainedEnd(node)
    yield* graph.release(node)
  }
  machine.drives.delete(id)
  state.backend.forgetName()
  state.drive = null
}
