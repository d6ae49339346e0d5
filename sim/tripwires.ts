/**
 * While a world runs, the real clock, real randomness and the engine's own queues throw when they are touched: code that
 * reaches for them would run differently the next time. They are put back when the world ends, and also by the next world
 * if this one was stopped in the middle.
 */

type Place = Record<string, unknown>

interface Wire {
  readonly place: Place
  readonly name: string
  readonly real: unknown
  readonly trap: unknown
}

function trapFor(name: string): unknown {
  function trip(): never {
    throw new Error(`${name} is out of reach inside a world`)
  }
  // Called, constructed, or asked for a property: all the same. Only what can be constructed can be trapped when it is.
  return new Proxy(trip, { apply: trip, construct: trip, get: trip })
}

function wire(place: object, placeName: string, name: string): Wire {
  const path = placeName === '' ? name : `${placeName}.${name}`
  return { place: place as Place, name, real: (place as Place)[name], trap: trapFor(path) }
}

const GLOBALS = ['Date', 'setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'WeakRef', 'FinalizationRegistry']

const wires: readonly Wire[] = [
  ...GLOBALS.map((name) => wire(globalThis, '', name)),
  wire(Math, 'Math', 'random'),
  wire(performance, 'performance', 'now'),
  wire(process, 'process', 'hrtime'),
  wire(process, 'process', 'nextTick'),
]

/** Runs `work` with all wires up. */
export function withTripwires<T>(work: () => T): T {
  for (const { place, name, trap } of wires) place[name] = trap
  try {
    return work()
  } finally {
    disarmTripwires()
  }
}

/** Takes all wires down; for whoever has stopped a world in the middle. */
export function disarmTripwires(): void {
  for (const { place, name, real } of wires) place[name] = real
}
