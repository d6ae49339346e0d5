import type { DiskPlan } from '../../sim/plan'

/** The disk alone: no format, nothing above it, and what it holds at first. */
export function plain(disk: DiskPlan): DiskPlan {
  const { throttle: _throttle, raw: _raw, format: _format, ...rest } = disk
  const initial = rest.initial.filter(({ content }) => content === 'data' || content === 'zero')
  return { ...rest, initial }
}
