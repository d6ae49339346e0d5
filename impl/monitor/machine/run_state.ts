/**
 * Whether the machine runs. No processor runs here, so a machine that runs waits for its devices as a stopped one does; what
 * differs is what clients are told.
 */
import { assert } from '../../co'
import type { EventBus } from '../events'

/** Of RunState, what a machine without guests can be in. */
export type RunStatus = 'prelaunch' | 'running' | 'paused' | 'restore-vm' | 'inmigrate' | 'finish-migrate' | 'postmigrate'

export class RunState {
  private readonly events: EventBus
  private current: RunStatus = 'prelaunch'

  constructor(events: EventBus) {
    this.events = events
  }

  get status(): RunStatus {
    return this.current
  }
  get isRunning(): boolean {
    return this.current === 'running'
  }

  /** True if it ran. */
  stop(status: 'paused' | 'restore-vm' | 'finish-migrate' = 'paused'): boolean {
    if (!this.isRunning) return false
    this.current = status
    this.events.emit('STOP')
    assert(!this.isRunning, 'machine-stopped')
    return true
  }
  /** Of a machine that does not run: why. */
  become(status: Exclude<RunStatus, 'running'>): void {
    assert(!this.isRunning, 'machine-stopped', () => status)
    this.current = status
  }
  resume(): void {
    if (this.isRunning) return
    this.current = 'running'
    this.events.emit('RESUME')
  }
}
