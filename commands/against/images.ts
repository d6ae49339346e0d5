/**
 * The image files of a lifecycle: made as the plan says before any program sees them, and read afresh by our own block
 * layer when all programs have let go of them.
 *
 * What may fail: reading, by what our block layer throws about an image that cannot be opened. What never may: a file that
 * holds anything else than the same disk of a world would.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { stampSectors, writerOf, ZERO_WRITER } from '../../model/stamp'
import { makeImage, readImageAfresh } from '../../sim/fresh_open'
import { emptyStores, type ImageStores } from '../../sim/image'
import { type DiskName, type DiskPlan, type FormatPlan, type Plan, SECTOR_BYTES } from '../../sim/plan'
import { BufferPool } from '../../sim/pool'
import type { DiskStore } from '../../sim/store'

/** Where the files of one disk lie. The names inside the folder are those that images name each other by. */
export interface DiskFiles {
  readonly folder: string
  readonly image: string
  readonly dataFile: string | null
  readonly backing: string | null
}

export function filesOf(folder: string, { format }: DiskPlan): DiskFiles {
  const at = (name: string): string => path.join(folder, name)
  const hasData = format !== undefined && format.dataFile !== 'none'
  return { folder, image: at('image'), dataFile: hasData ? at('data') : null, backing: format?.backing ? at('backing') : null }
}

/** Both images of a plan in a fresh folder. `isMadeByDaemon`: the destination's file is, in a folder of its own. */
export function makeBoth(folder: string, plan: Plan, isMadeByDaemon: boolean): Record<DiskName, DiskFiles> {
  fs.rmSync(folder, { recursive: true, force: true })
  fs.mkdirSync(folder)
  const source = makeFiles('source', path.join(folder, 'source'), plan.source)
  const target = path.join(folder, 'destination')
  if (!isMadeByDaemon) return { source, destination: makeFiles('destination', target, plan.destination) }
  fs.mkdirSync(target)
  return { source, destination: filesOf(target, plan.destination) }
}

/** Makes the folder and the files in it. */
export function makeFiles(name: DiskName, folder: string, plan: DiskPlan): DiskFiles {
  fs.mkdirSync(folder)
  const files = filesOf(folder, plan)
  if (plan.format === undefined) makePlain(files.image, plan)
  else {
    const pool = new BufferPool()
    const stores = emptyStores(name, plan, plan.format, pool)
    makeImage(stores, plan, plan.format)
    saveStore(files.image, stores.file)
    if (stores.dataFile !== null) saveStore(files.dataFile!, stores.dataFile)
    if (stores.backing !== null) saveStore(files.backing!, stores.backing)
    pool.giveBack()
  }
  return files
}

/** Data and zeroes take space, holes do not. */
function makePlain(file: string, { lengthBytes, initial }: DiskPlan): void {
  const descriptor = fs.openSync(file, 'wx')
  fs.ftruncateSync(descriptor, lengthBytes)
  for (const { id, offsetBytes, lengthBytes: extentBytes, content } of initial) {
    const bytes = new Uint8Array(extentBytes)
    const writer = content === 'data' ? writerOf(id) : ZERO_WRITER
    stampSectors(bytes, 0, writer, offsetBytes / SECTOR_BYTES, extentBytes / SECTOR_BYTES)
    fs.writeSync(descriptor, bytes, 0, extentBytes, offsetBytes)
  }
  fs.closeSync(descriptor)
}

function saveStore(file: string, store: DiskStore): void {
  const descriptor = fs.openSync(file, 'wx')
  fs.ftruncateSync(descriptor, store.lengthBytes)
  for (let at = 0; at < store.lengthBytes; ) {
    const endBytes = store.sameUntil(at, store.lengthBytes)
    if (store.isAllocatedAt(at)) fs.writeSync(descriptor, store.bytes, at, endBytes - at, at)
    at = endBytes
  }
  fs.closeSync(descriptor)
}

/** What a guest sees of the disk, through the whole chain that its headers name. */
export function readFiles(name: DiskName, files: DiskFiles, plan: DiskPlan): Uint8Array {
  if (plan.format === undefined) return fs.readFileSync(files.image)
  const pool = new BufferPool()
  const stores = emptyStores(name, { ...plan, lengthBytes: roomFor(files) }, plan.format, pool)
  loadStore(stores.file, files.image)
  if (stores.dataFile !== null) loadStore(stores.dataFile, files.dataFile!)
  if (stores.backing !== null) loadBacking(stores, files.backing!, plan.format)
  const bytes = new Uint8Array(readImageAfresh(stores, plan, plan.format, pool))
  pool.giveBack()
  return bytes
}

/** A program may have made the files longer than a world would. */
function roomFor(files: DiskFiles): number {
  const sizes = [files.image, files.dataFile, files.backing].map((file) =>
    file === null || !fs.existsSync(file) ? 0 : fs.statSync(file).size,
  )
  return Math.ceil(Math.max(...sizes) / SECTOR_BYTES) * SECTOR_BYTES
}

function loadStore(store: DiskStore, file: string): void {
  const bytes = fs.readFileSync(file)
  store.resize(bytes.length)
  store.write(0, bytes)
}

/** A plain disk below has the length and the content that the plan gives it: nobody has written to it. */
function loadBacking({ backing }: ImageStores, file: string, format: FormatPlan): void {
  if (format.backing!.format === 'qcow2') loadStore(backing!, file)
  else backing!.write(0, fs.readFileSync(file))
}
