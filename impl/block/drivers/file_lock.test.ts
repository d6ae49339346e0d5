import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EAGAIN, type Errno, OK } from '../../co'
import { Permission } from '../flags'
import type { HostFile } from '../hostfile'
import { canLock, ImageLock, LockError } from './file_lock'

const ENOLCK = 37
const All = Permission.All
const ConsistentRead = Permission.ConsistentRead
const Resize = Permission.Resize
const Write = Permission.Write

/** What all descriptors of one file have locked. */
class LockedFile {
  readonly holders = new Map<number, Set<object>>()
  errno: Errno = OK

  open(): HostFile {
    const self = {}
    const setLock = (at: number, isLocked: boolean): Errno => {
      if (this.errno !== OK) return this.errno
      const holders = this.holders.get(at) ?? new Set()
      this.holders.set(at, holders)
      if (isLocked) holders.add(self)
      else holders.delete(self)
      return OK
    }
    const testLock = (at: number): Errno => {
      if (this.errno !== OK) return this.errno
      return [...(this.holders.get(at) ?? [])].some((holder) => holder !== self) ? EAGAIN : OK
    }
    return { path: 'disk.raw', setLock, testLock } as Partial<HostFile> as HostFile
  }
  get bytes(): number[] {
    return [...this.holders]
      .filter(([, holders]) => holders.size > 0)
      .map(([at]) => at)
      .sort()
  }
}

function refused(lock: ImageLock, permission: number, shared: number): LockError {
  try {
    lock.set(permission, shared)
  } catch (error) {
    assert.instance(error, LockError)
    return error as LockError
  }
  throw new Error('it should have been refused')
}

test('what is used and what is excluded are locked, each at its byte', () => {
  const file = new LockedFile()
  const lock = new ImageLock(file.open())
  lock.set(ConsistentRead | Write, All & ~(Write | Resize))
  assert.equal(file.bytes, [100, 101, 201, 203])
  lock.set(ConsistentRead, All & ~Resize)
  assert.equal(file.bytes, [100, 203])
  lock.set(0, All)
  assert.equal(file.bytes, [])
})

test('readers share a file, and so do writers that exclude nobody', () => {
  const file = new LockedFile()
  for (let index = 0; index < 3; index++) new ImageLock(file.open()).set(ConsistentRead | Write, All & ~Resize)
  assert.equal(file.bytes, [100, 101, 203])
})

test('one that uses what another excludes is refused, and the other way round, with the locks as they were', () => {
  const file = new LockedFile()
  const first = new ImageLock(file.open())
  const second = new ImageLock(file.open())
  first.set(Write, All & ~Write)
  second.set(ConsistentRead, All)
  const before = file.bytes
  const excluded = refused(second, ConsistentRead | Write, All)
  assert.is(excluded.message, 'Failed to get "write" lock')
  assert.is(excluded.errno, EAGAIN)
  assert.is(excluded.hint, 'Is another process using the image [disk.raw]?')
  assert.equal(file.bytes, before)
  const excluding = refused(second, ConsistentRead, All & ~Write)
  assert.is(excluding.message, 'Failed to get shared "write" lock')
  assert.equal(file.bytes, before)
  first.set(0, All)
  second.set(ConsistentRead | Write, All & ~Write)
})

test('a change can be taken back', () => {
  const file = new LockedFile()
  const lock = new ImageLock(file.open())
  lock.set(ConsistentRead | Resize, All & ~Resize)
  const before = file.bytes
  const undo = lock.set(ConsistentRead | Write, All & ~Write)
  assert.not.equal(file.bytes, before)
  undo()
  assert.equal(file.bytes, before)
  lock.set(0, All)()
  assert.equal(file.bytes, before)
})

test('a file system without locks is noticed, and one that fails later says where', () => {
  const file = new LockedFile()
  assert.ok(canLock(file.open()))
  assert.not.ok(canLock({ path: 'simulated' } as Partial<HostFile> as HostFile))
  const lock = new ImageLock(file.open())
  file.errno = ENOLCK
  assert.not.ok(canLock(file.open()))
  assert.match(refused(lock, Write, All).message, /^Failed to lock byte 101: /)
})

test.run()
