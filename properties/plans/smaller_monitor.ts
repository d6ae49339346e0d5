/** Smaller versions of what a plan says of monitors: fewer users and commands, no pauses, links without delay. */
import type { MonitorUserPlan, Plan, QmpCommandPlan } from '../../sim/plan'
import { duller, fewer } from './smaller_lists'
import { DULL_LINK } from './smaller_nbd'

const DULL_COMMAND: Partial<QmpCommandPlan> = { afterNs: 0, isPatient: true }

/** Nothing for plans without monitors. */
export function* withSimplerMonitors(plan: Plan): Generator<Plan> {
  const { monitor } = plan
  if (monitor === undefined) return
  for (const users of fewer(monitor.users)) yield { ...plan, monitor: { ...monitor, users } }
  for (const [index, user] of monitor.users.entries()) {
    const replaced = (other: MonitorUserPlan): Plan => {
      const users = monitor.users.map((each, at) => (at === index ? other : each))
      return { ...plan, monitor: { ...monitor, users } }
    }
    const { leavesAfter, ...staying } = user
    if (leavesAfter !== undefined) yield replaced(staying)
    const negotiation = user.commands.find(({ text }) => text.includes('qmp_capabilities'))
    for (const kept of fewer(user.commands.filter((command) => command !== negotiation))) {
      // What is expected of a command holds after the capabilities were negotiated: that stays.
      const commands = user.commands.filter((command) => command === negotiation || kept.includes(command))
      yield replaced({ ...user, commands })
    }
    for (const [at, command] of user.commands.entries()) {
      for (const simpler of duller(command, DULL_COMMAND)) {
        const commands = user.commands.map((each, place) => (place === at ? simpler : each))
        yield replaced({ ...user, commands })
      }
    }
  }
  for (const link of duller(monitor.link, DULL_LINK)) yield { ...plan, monitor: { ...monitor, link } }
}
