/** `docs/conformance.md`, made from the list of reasons and the dimensions. Never fails. */
import { DIMENSIONS, NAMES } from './dimensions'
import type { Reason } from './reasons'

const HEAD = `# Conformance with QEMU

Made by \`npm run conformance -- --document\`; do not change it by hand. The list itself is \`scenarios/conformance.json\`.

\`npm run conformance\` holds the same conversations with QEMU's storage daemon and with ours: images, nodes, an NBD export
with a guest on it, a mirror and its operator. It compares all answers member by member, the order of members included;
events and their order; the job's counters whenever it is at rest; what guests read; and afterwards, by \`qemu-img\` of the same
version for both, the content of the images, which sectors they allocate, and whether they are sound. \`--qemu-bin FOLDER\`
takes QEMU's programs from another place than the path, \`--only c017\` holds one conversation, \`--show\` prints the plans.

What depends on time is kept out by the course of a conversation: the guest makes one request after the other and waits until
the job has caught up (nothing dirty, \`offset\` = \`len\`, the same answer several times); an order is given when the one before
has had its effect; a job that is to be stopped on its way has a limit of one byte a second and is looked at when it stands
still; injected errors lie at one place of the disk that both must come by. What a job that was broken off has left in its
target is not compared, since nobody promises anything about it.

A difference that no reason below explains makes the command fail (exit code 1), and so does a reason that is not needed
any more when the whole set has run. Where QEMU's programs are absent the command says "skipped" and why, and counts nothing.
`

function holdsFor({ from, until }: Reason): string {
  if (from === undefined && until === undefined) return 'all versions'
  if (from === undefined) return `up to ${until}`
  return until === undefined ? `${from} and later` : `${from} to ${until}`
}

/** What of a conversation a reason explains, in words. */
function scopeOf({ kinds, where = {} }: Reason): string {
  const plans = Object.entries(where).map(([name, values]) => `${name} ${(values as readonly string[]).join(', ')}`)
  return plans.length === 0 ? kinds.join(', ') : `${kinds.join(', ')}; plans with ${plans.join(' and ')}`
}

export function documentOf(reasons: readonly Reason[], planCount: number): string {
  const rows = NAMES.map((name) => `| \`${name}\` | ${DIMENSIONS[name].join(', ')} |`)
  const parts = reasons.map((reason) => `- **${reason.name}** (${holdsFor(reason)}; ${scopeOf(reason)}): ${reason.reason}`)
  return [
    HEAD,
    '## The plans',
    '',
    `${planCount} plans, in which every pair of values that go together is met at least once.`,
    '',
    '| dimension | values |',
    '|---|---|',
    ...rows,
    '',
    '## What differs, and why',
    '',
    ...parts,
    '',
  ].join('\n')
}
