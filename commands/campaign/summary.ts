/**
 * What a campaign came to. There is no time in it and no word of how the work was shared out, so that two campaigns over the same
 * worlds have the same summary to the byte.
 */
import { campaignHash } from '../../properties/campaign'
import { counted, grouped } from '../../reports/text'
import { EXIT_CODES } from '../../sim/verdict'
import { EXIT_COVERAGE, EXIT_OK } from '../cli'
import { failuresOf, faultLines, firingsByName, missedProbes, type RequiredProbe } from '../fuzz_campaign'
import type { Ledger } from './ledger'
import { isWhole, shardText } from './shards'

/** As `--json` prints it. */
export function summaryOf(ledger: Ledger, required: readonly RequiredProbe[]): object {
  const { setup, tally } = ledger
  const { seed, profile, firstIndex, replayPercent, revision, mutant, shard } = setup
  return {
    ...{ seed, profile, firstIndex, replayPercent, revision, mutant },
    ...(isWhole(shard) ? {} : { shard: shardText(shard) }),
    worlds: tally.worlds,
    replays: tally.replays,
    events: tally.events,
    simulatedNs: tally.simulatedNs,
    campaignHash: campaignHash(tally),
    probes: sorted(tally.probes),
    missedProbes: missedProbes(tally, required).map(({ name }) => name),
    faultsFired: firingsByName(tally, required),
    failures: tally.groups.map(({ class: failureClass, key, count, found }) => ({
      ...{ class: failureClass, key, count },
      firstWorld: ledger.firstIndexes[key],
      kept: found.map(({ seed: world }) => world),
    })),
    exitCode: exitCodeOf(ledger, required),
  }
}

export function summaryText(ledger: Ledger, required: readonly RequiredProbe[]): string {
  const { setup, tally } = ledger
  const lines = [
    `campaign of seed ${setup.seed}, profile ${setup.profile}, revision ${setup.revision}` +
      (setup.mutant === null ? '' : `, with mutant ${setup.mutant}`) +
      (isWhole(setup.shard) ? '' : `, shard ${shardText(setup.shard)}`),
    `${counted(tally.worlds, 'world')}, ${counted(tally.events, 'event')}, ${grouped(tally.replays)} run twice`,
    `${counted(Object.keys(tally.probes).length, 'probe')} hit, ${counted(failuresOf(tally), 'failure')} of ${counted(tally.groups.length, 'key')}`,
    ...faultLines(tally, required),
    ...missedProbes(tally, required).map(({ name }) => `  too rare: ${name}, in ${tally.probes[name] ?? 0} worlds`),
    ...tally.groups.map(
      ({ key, count, found }) => `  ${grouped(count).padStart(9)} × ${key}, kept: ${found.map(({ seed }) => seed).join(' ')}`,
    ),
    `campaign ${campaignHash(tally)}`,
  ]
  return `${lines.join('\n')}\n`
}

/** As of `npm run fuzz`: the class of the failure in the first world of all. */
export function exitCodeOf({ tally, firstIndexes }: Ledger, required: readonly RequiredProbe[]): number {
  const [first] = [...tally.groups].sort((left, right) => firstIndexes[left.key]! - firstIndexes[right.key]!)
  if (first !== undefined) return EXIT_CODES[first.class]
  return missedProbes(tally, required).length > 0 ? EXIT_COVERAGE : EXIT_OK
}

function sorted(counts: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).sort(([left], [right]) => (left < right ? -1 : 1)))
}
