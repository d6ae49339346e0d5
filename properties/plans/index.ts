/**
 * Plans from seeds. The same seed and profile give the same plan on every machine; a change of the mixture changes the
 * plans of all seeds, which is why reports hold plans and not seeds.
 */
import type { Plan } from '../../sim/plan'
import { Choices } from './choices'
import { drawControl } from './control'
import { withDiskFaults } from './disk_faults'
import { drawFaults } from './faults'
import { withFormats } from './formats'
import { drawGeometry, drawMirror } from './geometry'
import { drawGuest } from './guest'
import { drawImage } from './images'
import {
  DESTINATION_IMAGE,
  EVENTS_MAX,
  PROFILES,
  type Profile,
  type ProfileName,
  SOURCE_IMAGE,
  STYLES,
  TIME_MAX_NS,
} from './mixture'
import { drawPowerCut } from './power'
import { withSchedule } from './schedule'
import { withSlowness } from './slowness'

export { PROFILES, type Profile, type ProfileName } from './mixture'

/** The plan of a seed; any text is a seed. */
export function planOfSeed(seed: string, profileName: ProfileName): Plan {
  const profile: Profile = PROFILES[profileName]
  const style = new Choices(seed, 'style', 'uniform').pick(STYLES)
  const part = (name: string): Choices => new Choices(seed, name, style)
  const geometry = drawGeometry(part('geometry'), profile)
  const { device, source, destination } = geometry
  const images = part('images')
  source.initial = drawImage(images, geometry, images.pick(SOURCE_IMAGE), 's')
  const { lengthBytes } = destination
  const chunkCount = Math.ceil(lengthBytes / geometry.granularityBytes)
  destination.initial = drawImage(images, { ...geometry, lengthBytes, chunkCount }, images.pick(DESTINATION_IMAGE), 'd')
  const mirror = drawMirror(part('mirror'), geometry)
  const guest = drawGuest(part('guest'), geometry, profile)
  const control = drawControl(part('control'), geometry, profile, guest)
  // What was true of the destination before the first mirror is not true before the second.
  if (control.filter(({ kind }) => kind === 'mirror-start').length > 1) mirror.targetIsZero = false
  const plan: Plan = {
    format: 'mirrorsim-plan',
    version: 3,
    seed,
    profile: `${profileName}/${style}`,
    device,
    source,
    destination,
    mirror,
    guest,
    control: [...control, ...drawPowerCut(part('power'), profile, guest, control)],
    faults: drawFaults(part('faults'), geometry, profile),
    bounds: { eventsMax: EVENTS_MAX, timeMaxNs: TIME_MAX_NS },
  }
  const whole = withSlowness(part('slowness'), withFormats(part('formats'), plan, geometry, profile))
  return withSchedule(part('schedule'), withDiskFaults(part('disk-faults'), whole, profile), profile)
}
