/** Joins the shards of one campaign in a new store. What does not belong together is refused before anything is written. */
import { UsageError } from '../cli'
import { Ledger } from './ledger'
import { openStore } from './open_store'
import { expectSameSetup } from './setup'

/** The campaign of a store, which may be running. */
export async function readLedger(place: string): Promise<Ledger> {
  const store = await openStore(place, 'read')
  try {
    return Ledger.of(place, await store.read())
  } finally {
    await store.close()
  }
}

function mergedLedger(places: readonly string[], ledgers: readonly Ledger[]): Ledger {
  const [first] = ledgers as [Ledger, ...Ledger[]]
  const owners = new Map<number, string>()
  for (const [index, { setup }] of ledgers.entries()) {
    const place = places[index]!
    expectSameSetup(place, setup, first.setup)
    if (setup.shard.of !== first.setup.shard.of) {
      throw new UsageError(`${place} is one of ${setup.shard.of} shards, ${places[0]} one of ${first.setup.shard.of}`)
    }
    for (const part of setup.shard.parts) {
      if (owners.has(part)) throw new UsageError(`${place} and ${owners.get(part)} both hold shard ${part}: give each once`)
      owners.set(part, place)
    }
  }
  const parts = [...owners.keys()].sort((left, right) => left - right)
  const merged = new Ledger({ ...first.setup, shard: { parts, of: first.setup.shard.of } })
  for (const ledger of ledgers) merged.join(ledger)
  return merged
}

export async function mergeStores(places: readonly string[], target: string): Promise<Ledger> {
  const merged = mergedLedger(places, await Promise.all(places.map(readLedger)))
  const store = await openStore(target, 'own')
  try {
    if ((await store.read()).size > 0) throw new UsageError(`${target}: there is a campaign already: give a new store with -o`)
    await store.write(merged.takeChanges())
  } finally {
    await store.close()
  }
  return merged
}
