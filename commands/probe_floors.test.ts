import { test } from 'uvu'
import * as assert from 'uvu/assert'
import * as probes from '../sim/probes'
import { floorFor, floorsOf, readFloors, requiredProbesOf } from './probe_floors'
import { PROFILE_NAMES } from './subject'

const floors = readFloors()
const NAMES: ReadonlySet<string> = new Set([
  ...Object.keys(probes.PROBES),
  ...Object.keys(probes.FAULT_PROBES),
  ...Object.keys(probes.IMAGE_PROBES),
  ...Object.keys(probes.NBD_PROBES),
  ...Object.keys(probes.MONITOR_PROBES),
  ...Object.keys(probes.FIRED_PROBES),
  ...Object.keys(probes.SCHEDULE_PROBES),
  ...probes.ORDER_PROBES,
  ...probes.ORDER_OVER_PROBES,
  ...probes.IMAGE_ORDER_PROBES,
])
const asked = new Set(Object.values(floors).flatMap((profile) => Object.keys(profile)))

test('each situation that has a name has a floor in some profile', () => {
  assert.equal(
    [...NAMES].filter((name) => !asked.has(name)),
    [],
  )
})

test('profiles with floors exist, and those of mirrors ask for at least 60 situations', () => {
  for (const profile of Object.keys(floors)) assert.ok(PROFILE_NAMES.includes(profile), profile)
  for (const profile of ['default', 'faults', 'power', 'formats', 'crashes', 'chains']) {
    assert.ok(requiredProbesOf(profile).length >= 60, profile)
  }
})

test('a floor is a quarter of what was measured, and none where chance could miss it', () => {
  assert.equal([400, 28, 27, 8, 7, 4, 3, 0.7].map(floorFor), [100, 7, 1, 1, 0.5, 0.5, 0.1, 0])
  assert.equal(floorsOf({ profile: 'p', worlds: 20_000, probes: { often: 2000, rare: 16, hardly: 1 } }), { often: 250, rare: 1 })
  for (const floor of Object.values(floors).flatMap((profile) => Object.values(profile))) assert.ok(floor >= 0.1)
})

test.run()
