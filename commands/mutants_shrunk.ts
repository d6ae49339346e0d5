/** How small failures get: one line a world, and the figures over all of them. */
import type { ShrunkWorld } from './mutant_worker'

export interface ShrinkSummary {
  failures: number
  medianGuest: number
  guest95: number
  medianRuns: number
  medianMilliseconds: number
  minimal: number
  text: string
}

export function shrunkLine(id: string, world: ShrunkWorld): string {
  const { guestBefore, guest, control, faults, decisions, runs, milliseconds, isMinimal } = world
  const size = `${String(guestBefore).padStart(3)} → ${String(guest).padStart(2)} operations, ${control} orders, ${faults} faults`
  const schedule = decisions === null ? 'seed' : `${decisions} decisions`
  const effort = `${String(runs).padStart(5)} worlds ${String(milliseconds).padStart(6)} ms`
  return `${id.padEnd(46)}${size}, ${schedule}  ${effort}${isMinimal ? '' : '  not minimal'}  ${world.key}`
}

/** The value below which `percent` of the list lie, the list's own next value; 0 for an empty one. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1))] ?? 0
}

export function shrinkSummary(worlds: readonly ShrunkWorld[]): ShrinkSummary {
  const guest = worlds.map((world) => world.guest)
  const summary = {
    failures: worlds.length,
    medianGuest: percentile(guest, 50),
    guest95: percentile(guest, 95),
    medianRuns: percentile(
      worlds.map(({ runs }) => runs),
      50,
    ),
    medianMilliseconds: percentile(
      worlds.map(({ milliseconds }) => milliseconds),
      50,
    ),
    minimal: worlds.filter(({ isMinimal }) => isMinimal).length,
  }
  const { failures, medianGuest, guest95, medianRuns, medianMilliseconds, minimal } = summary
  const text =
    `${failures} failures: guest operations median ${medianGuest}, 95 % at most ${guest95}; ` +
    `median ${medianRuns} worlds and ${medianMilliseconds} ms; ${minimal} minimal`
  return { ...summary, text }
}
