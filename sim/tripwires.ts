/**
 * While a world runs, the real clock, real randomness, the engine's own queues, what tells of the garbage collector and what
 * depends on the user's language throw when they are touched: code that reaches for them would run differently the next
 * time, or elsewhere. They work again when the world ends.
 */

function trapFor(name: string): unknown {
  function trip(): never {
    throw new Error(`${name} is out of reach inside a world`)
  }
  // Called, constructed, or asked for a property: all the same. Only what can be constructed can be trapped when it is.
  return new Proxy(trip, { apply: trip, construct: trip, get: trip })
}

let areUp = false

/**
 * Puts an accessor in the place of a property. It stays there, because to replace a dozen properties of the engine's own
 * objects twice in each world is a measurable share of a small one.
 */
function lay(place: object, placeName: string, name: string): void {
  const trap = trapFor(placeName === '' ? name : `${placeName}.${name}`)
  let real = (place as Record<string, unknown>)[name]
  Object.defineProperty(place, name, {
    configurable: true,
    enumerable: Object.prototype.propertyIsEnumerable.call(place, name),
    get: () => (areUp ? trap : real),
    set: (value: unknown) => {
      real = value
    },
  })
}

/**
 * The same for a function that is only called, as a value that stays: an accessor would turn its object into a hash table,
 * and with `Math` every use of its other functions into a look-up.
 */
function layOnCalls(place: object, placeName: string, name: string): void {
  const trap = trapFor(`${placeName}.${name}`) as () => never
  const real = (place as Record<string, (...args: unknown[]) => unknown>)[name]!
  Object.defineProperty(place, name, {
    configurable: true,
    writable: true,
    enumerable: Object.prototype.propertyIsEnumerable.call(place, name),
    value(this: unknown, ...args: unknown[]) {
      return areUp ? trap() : real.apply(this, args)
    },
  })
}

const GLOBALS = [
  'Date',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'queueMicrotask',
  'Promise',
  'WeakRef',
  'FinalizationRegistry',
  'Intl',
]
/** Methods whose answers depend on the user's language. */
const LOCAL: ReadonlyArray<readonly [prototype: object, name: string, methods: readonly string[]]> = [
  [String.prototype, 'String', ['localeCompare', 'toLocaleLowerCase', 'toLocaleUpperCase']],
  [Number.prototype, 'Number', ['toLocaleString']],
  [BigInt.prototype, 'BigInt', ['toLocaleString']],
  [Array.prototype, 'Array', ['toLocaleString']],
]

let areLaid = false
function layAll(): void {
  areLaid = true
  for (const name of GLOBALS) lay(globalThis, '', name)
  layOnCalls(Math, 'Math', 'random')
  layOnCalls(performance, 'performance', 'now')
  for (const [prototype, name, methods] of LOCAL) for (const method of methods) layOnCalls(prototype, name, method)
  lay(process, 'process', 'hrtime')
  lay(process, 'process', 'nextTick')
}

/** Runs `work` with all wires up. */
export function withTripwires<T>(work: () => T): T {
  if (!areLaid) layAll()
  areUp = true
  try {
    return work()
  } finally {
    areUp = false
  }
}

/** Takes all wires down; for whoever has stopped a world in the middle. */
export function disarmTripwires(): void {
  areUp = false
}
