/** Smaller versions of what a plan says of NBD: fewer clients, oddities and cuts, plain headers, links without delay. */
import type { LinkPlan, NbdClientPlan, NbdPlan, Plan } from '../../sim/plan'
import { duller, fewer } from './smaller_lists'

export const DULL_LINK: Partial<LinkPlan> = { capacityBytes: 65_536, stepNs: 0, steps: 1, isCut: false }
const DULL_CLIENT: Partial<NbdClientPlan> = { headers: 'simple', allocation: false, depth: 1, fua: false, fastZero: false }
const DULL_NBD: Partial<NbdPlan> = { reconnectDelaySeconds: 60 }

/** Nothing for plans without NBD. */
export function* withSimplerNbd(plan: Plan): Generator<Plan> {
  const { nbd } = plan
  if (nbd === undefined) return
  const lanes = new Set(plan.guest.map(({ lane }) => lane))
  const needed = nbd.clients.filter(({ lane }) => lanes.has(lane))
  if (needed.length < nbd.clients.length) yield { ...plan, nbd: { ...nbd, clients: needed } }
  for (const cuts of fewer(nbd.cuts)) yield { ...plan, nbd: { ...nbd, cuts } }
  for (const [index, client] of nbd.clients.entries()) {
    const replaced = (other: NbdClientPlan): Plan => {
      const clients = nbd.clients.map((each, at) => (at === index ? other : each))
      return { ...plan, nbd: { ...nbd, clients } }
    }
    for (const oddities of fewer(client.oddities)) yield replaced({ ...client, oddities })
    for (const simpler of duller(client, DULL_CLIENT)) yield replaced(simpler)
  }
  for (const link of duller(nbd.link, DULL_LINK)) yield { ...plan, nbd: { ...nbd, link } }
  for (const simpler of duller(nbd, DULL_NBD)) yield { ...plan, nbd: simpler }
}
