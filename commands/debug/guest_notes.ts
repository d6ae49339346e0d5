/**
 * What the guest knows of its disk at any event: its requests are written down while the world runs, and are told again to
 * the reference disk (model/disk.ts) up to the event that is looked at. It never ends a world.
 */
import { ReferenceDisk } from '../../model/disk'
import { stampSectors, writerOf, ZERO_WRITER } from '../../model/stamp'
import { discardEffects, STATUS_OK, writerNames, writersOfDiscards } from '../../properties/checkers/shared'
import { CORRUPT_SECTOR, type DiskFrame, type Film, type Frame, MISDIRECTED_SECTOR } from '../../sim/film_frames'
import type { Checker, CheckerFactory, WorldView } from '../../sim/observer'
import { type DiskName, type GuestOperation, type Plan, SECTOR_BYTES } from '../../sim/plan'

/** Bytes that no writer leaves. */
const ODD_BYTE = 0xdb

export interface SectorDifference {
  sectorIndex: number
  expected: string
  actual: string
}

type Note =
  | { step: number; what: 'begin'; operation: GuestOperation; disk: DiskName }
  | { step: number; what: 'end'; id: string; isCertain: boolean }
  | { step: number; what: 'move' }

export class GuestNotes implements Checker {
  readonly name = 'notes'
  readonly factory: CheckerFactory = (world) => {
    this.world = world
    return this
  }
  private readonly notes: Note[] = []
  private world: WorldView | null = null

  guestSubmitted(operation: GuestOperation): null {
    const { step, guestDisk: disk } = this.world!
    this.notes.push({ step, what: 'begin', operation, disk })
    return null
  }
  guestCompleted({ id, kind }: GuestOperation, status: number): null {
    this.notes.push({ step: this.world!.step, what: 'end', id, isCertain: status === STATUS_OK && kind !== 'discard' })
    return null
  }
  guestAborted({ id }: GuestOperation): null {
    this.notes.push({ step: this.world!.step, what: 'end', id, isCertain: false })
    return null
  }
  jobEvent({ event }: { event: string }): null {
    const { step, guestDisk, plan } = this.world!
    // Without a first copy the guest finds on the new disk what lies there.
    if (event === 'BLOCK_JOB_COMPLETED' && guestDisk === 'destination' && plan.mirror.sync === 'none')
      this.notes.push({ step, what: 'move' })
    return null
  }

  /** Sectors of the guest's disk that hold after the frame what the guest must not find there. */
  differences(film: Film, frame: Frame): SectorDifference[] {
    const { plan } = film
    const model = this.modelAt(film, frame)
    const bytes = bytesOf(frame.guestDisk === 'destination' ? frame.destination : frame.source)
    const found: SectorDifference[] = []
    for (let offsetBytes = 0; offsetBytes < Math.min(bytes.length, plan.source.lengthBytes); offsetBytes += SECTOR_BYTES) {
      const read = model.beginRead(offsetBytes, SECTOR_BYTES)
      const mismatch = model.endRead(read, bytes.subarray(offsetBytes, offsetBytes + SECTOR_BYTES))
      if (mismatch !== null) found.push(mismatch)
    }
    return found
  }

  private modelAt(film: Film, { step }: Frame): ReferenceDisk {
    const { plan } = film
    const effects = discardEffects(plan)
    const model = new ReferenceDisk(plan.source.lengthBytes, writerNames(plan))
    for (const { id, offsetBytes, lengthBytes, content } of plan.source.initial)
      model.place(content === 'zero' ? ZERO_WRITER : writerOf(id), offsetBytes, lengthBytes)
    const open = new Map<string, ReturnType<ReferenceDisk['begin']>>()
    for (const note of this.notes) {
      if (note.step > step) break
      if (note.what === 'begin') {
        const { id, offsetBytes, lengthBytes } = note.operation
        const writer = writerOfChange(note.operation, effects[note.disk])
        if (writer !== null) open.set(id, model.begin(writer, offsetBytes, lengthBytes))
      } else if (note.what === 'end') {
        const change = open.get(note.id)
        if (change !== undefined) model.end(change, note.isCertain)
        open.delete(note.id)
      } else {
        const frame = film.frames.find((one) => one.step >= note.step)
        if (frame !== undefined) model.moveTo(bytesOf(frame.destination))
      }
    }
    return model
  }
}

function writerOfChange(
  { kind, id, zeroData }: Plan['guest'][number],
  effect: ReturnType<typeof discardEffects>['source'],
): number | null {
  if (kind === 'write') return zeroData === true ? ZERO_WRITER : writerOf(id)
  if (kind === 'write-zeroes') return ZERO_WRITER
  return kind === 'discard' ? writersOfDiscards(effect) : null
}

/** A disk with what its frame says; where that was nobody's, or belongs elsewhere, bytes that are nobody's. */
function bytesOf({ sectors }: DiskFrame): Uint8Array {
  const bytes = new Uint8Array(sectors.length * SECTOR_BYTES)
  sectors.forEach((writer, sector) => {
    const at = sector * SECTOR_BYTES
    if (writer === CORRUPT_SECTOR || writer === MISDIRECTED_SECTOR) bytes.fill(ODD_BYTE, at, at + SECTOR_BYTES)
    else if (writer !== 0) stampSectors(bytes, at, writer, sector, 1)
  })
  return bytes
}
