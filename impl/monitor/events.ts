/**
 * Events on their way to all monitors, with the time at which they happened. Those that a broken disk could send without end
 * are held back: of several within the interval the last one is sent when it is over, as QEMU does.
 */
import { assert, type Co, type Kernel, makeLabel } from '../co'
import { type JsonObject, type JsonValue, jsonObject } from '../json'

const US_PER_SECOND = 1_000_000
const NS_PER_SECOND = 1_000_000_000
const THROTTLED_NS: Readonly<Record<string, number>> = {
  BLOCK_IO_ERROR: NS_PER_SECOND,
  QUORUM_FAILURE: NS_PER_SECOND,
  QUORUM_REPORT_BAD: NS_PER_SECOND,
}
const THROTTLE = makeLabel('event-throttle')

export class EventBus {
  private readonly kernel: Kernel
  /** Microseconds since 1970. */
  readonly realTimeUs: () => number
  private readonly listeners = new Set<(event: JsonObject) => void>()
  /** By what is throttled: the event that waits, or null while none has come since the last one was sent. */
  private readonly held = new Map<string, JsonObject | null>()

  constructor(kernel: Kernel, realTimeUs: () => number) {
    this.kernel = kernel
    this.realTimeUs = realTimeUs
  }

  listen(listener: (event: JsonObject) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  emit(name: string, data?: Readonly<Record<string, unknown>>): void {
    const nowUs = this.realTimeUs()
    assert(Number.isSafeInteger(nowUs) && nowUs >= 0, 'event-time')
    const event = jsonObject({
      event: name,
      data: data === undefined ? undefined : toJson(data),
      timestamp: jsonObject({ seconds: Math.floor(nowUs / US_PER_SECOND), microseconds: nowUs % US_PER_SECOND }),
    })
    const intervalNs = THROTTLED_NS[name]
    if (intervalNs === undefined) this.send(event)
    else this.throttle(`${name} ${String(data?.['node-name'] ?? data?.['device'] ?? '')}`, event, intervalNs)
  }

  private throttle(key: string, event: JsonObject, intervalNs: number): void {
    if (this.held.has(key)) {
      this.held.set(key, event)
      return
    }
    this.send(event)
    this.held.set(key, null)
    this.kernel.spawn(this.holdBack(key, intervalNs), THROTTLE)
  }
  private *holdBack(key: string, intervalNs: number): Co<void> {
    for (;;) {
      yield* this.kernel.sleepNs(intervalNs)
      const waiting = this.held.get(key) ?? null
      if (waiting === null) break
      this.held.set(key, null)
      this.send(waiting)
    }
    this.held.delete(key)
  }

  private send(event: JsonObject): void {
    for (const listener of [...this.listeners]) listener(event)
  }
}

/** Plain objects and lists as JSON values. */
export function toJson(value: unknown): JsonValue {
  if (Array.isArray(value)) return value.map(toJson)
  if (typeof value !== 'object' || value === null || value instanceof Map) return value as JsonValue
  const object: JsonObject = new Map()
  for (const [key, member] of Object.entries(value)) if (member !== undefined) object.set(key, toJson(member))
  return object
}
