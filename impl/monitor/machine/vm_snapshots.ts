/**
 * Snapshots of the machine: an internal snapshot of every disk that can be written to, and in the first of them the machine's
 * state. A machine without a processor has little of that; a state of a machine that has more cannot be loaded here.
 *
 * What may fail: disks without internal snapshots, and names that are not there, as BlockError with QEMU's texts.
 */
import { BlockError, type BlockNode } from '../../block'
import { Qcow2Driver } from '../../block/drivers/qcow2'
import { assert, type Co, OK, strerror } from '../../co'
import type { Machine } from './machine'

const US_PER_SECOND = 1_000_000
const STATE_MAGIC = 'mirrorsim machine without a processor\n'

/** What QEMU says where there is no disk to put the state of the machine in. */
export const NO_PLACE_FOR_STATE = 'no block device can store vmstate for snapshot'

/** Disks that can be written to, each once: those of devices and drives, and nodes of the user's that nothing stands on. */
export function disksOf({ backends, environment }: Machine): BlockNode[] {
  const nodes = new Set<BlockNode>()
  for (const { backend } of backends.values()) if (backend.root !== null) nodes.add(backend.root.node)
  for (const node of environment.context.owned) if (node.parents.size === 0) nodes.add(node)
  return [...nodes].filter((node) => !node.options.readOnly && !node.isInactive)
}

/** Throws BlockError unless every disk can have snapshots. */
function demandSnapshots(machine: Machine): BlockNode[] {
  const disks = disksOf(machine)
  for (const { driver, name } of disks) {
    if (driver.snapshots() !== null) continue
    throw new BlockError(`Device '${deviceOf(machine, name)}' is writable but does not support snapshots`)
  }
  return disks
}

function deviceOf(machine: Machine, nodeName: string): string {
  for (const { backend } of machine.backends.values()) {
    if (backend.root?.node.name === nodeName && backend.name !== '') return backend.name
  }
  return nodeName
}

/** The disk that has the state of the machine beside its snapshot is the first. Throws BlockError. */
function demandPlaceForState(disks: readonly BlockNode[]): void {
  if (disks.length === 0) throw new BlockError(NO_PLACE_FOR_STATE)
}

/** savevm; without a name one is made of the time. */
export function* saveMachine(machine: Machine, wanted: string | null): Co<void> {
  const disks = demandSnapshots(machine)
  demandPlaceForState(disks)
  const nowUs = machine.environment.events.realTimeUs()
  const name = wanted ?? `vm-${Math.floor(nowUs / US_PER_SECOND)}`
  // One of that name is replaced.
  yield* deleteFrom(disks, name)
  const wasRunning = machine.runState.stop()
  try {
    const state = new TextEncoder().encode(STATE_MAGIC)
    for (const [index, disk] of disks.entries()) {
      const holdsState = index === 0
      const { driver } = disk
      if (holdsState) {
        assert(driver instanceof Qcow2Driver, 'state-in-qcow2')
        check(yield* driver.saveVmState(0, state), `Error while writing the state of the machine on '${disk.name}'`)
      }
      const errno = yield* driver.snapshotCreate({
        name,
        dateSeconds: Math.floor(nowUs / US_PER_SECOND),
        dateNanoseconds: (nowUs % US_PER_SECOND) * 1000,
        vmClockNs: BigInt(machine.clock.nowNs()),
        vmStateBytes: holdsState ? state.length : 0,
        icount: null,
      })
      check(errno, `Error while creating snapshot on '${deviceOf(machine, disk.name)}'`)
    }
  } finally {
    if (wasRunning) machine.runState.resume()
  }
}

function check(errno: number, what: string): void {
  if (errno !== OK) throw new BlockError(`${what}: ${strerror(errno)}`, { errno })
}

/** loadvm. The machine stays stopped if it fails after that. */
export function* loadMachine(machine: Machine, name: string): Co<void> {
  const wasRunning = machine.runState.stop('restore-vm')
  const disks = demandSnapshots(machine)
  demandPlaceForState(disks)
  for (const { driver } of disks) {
    const found = driver.snapshots()!.find((each) => each.name === name)
    if (found === undefined) throw new BlockError(`Snapshot '${name}' does not exist in one or more devices`)
  }
  yield* demandState(disks[0]!, name)
  for (const disk of disks) {
    const errno = yield* disk.driver.snapshotApply(name)
    check(errno, `Could not load snapshot '${name}' on '${deviceOf(machine, disk.name)}'`)
  }
  if (wasRunning) machine.runState.resume()
}

/** Throws BlockError if the snapshot has no state of a machine, or that of another kind of machine. */
function* demandState({ driver }: BlockNode, name: string): Co<void> {
  const found = driver.snapshots()!.find((each) => each.name === name)!
  if (found.vmStateBytes === 0) {
    throw new BlockError('This is a disk-only snapshot. Revert to it  offline using qemu-img')
  }
  if (found.vmStateBytes !== STATE_MAGIC.length) {
    throw new BlockError(`The state in snapshot '${name}' is that of a machine with a processor: this is not supported`)
  }
}

/** delvm: wherever it is. Throws BlockError. */
export function* deleteMachineSnapshot(machine: Machine, name: string): Co<void> {
  yield* deleteFrom(demandSnapshots(machine), name)
}

function* deleteFrom(disks: readonly BlockNode[], name: string): Co<void> {
  for (const { driver } of disks) {
    const found = driver.snapshots()!.find((each) => each.name === name)
    if (found === undefined) continue
    const errno = yield* driver.snapshotDelete(found.id, found.name)
    check(errno, `Error while deleting snapshot '${name}'`)
  }
}
