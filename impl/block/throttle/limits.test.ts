import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { testBench } from '../testing'
import { getThrottleProperty, setThrottleProperty, ThrottleGroups } from './groups'
import { checkLimits, LIMIT_NAMES, type ThrottleLimits } from './limits'

const text = (wanted: string) => (error: Error) => error.message === wanted

test('limits that make no sense are refused in the words of QEMU', () => {
  const refused: Array<[ThrottleLimits, string]> = [
    [{ 'bps-total': 1, 'bps-read': 1 }, 'bps/iops/max total values and read/write values cannot be used at the same time'],
    [
      { 'iops-total': 1, 'iops-total-max': 2, 'iops-write-max': 1 },
      'bps/iops/max total values and read/write values cannot be used at the same time',
    ],
    [{ 'iops-size': 512, 'bps-total': 1 }, 'iops size requires an iops value to be set'],
    [{ 'bps-total': 1e15 + 1 }, 'bps/iops/max values must be within [0, 1000000000000000]'],
    [{ 'bps-total': -1 }, 'Property values cannot be negative'],
    [{ 'bps-total': 10, 'bps-total-max-length': 0 }, 'the burst length cannot be 0'],
    [{ 'bps-total': 10, 'bps-total-max-length': 2 }, 'burst length set without burst rate'],
    [{ 'bps-read': 10, 'bps-read-max': 1e15, 'bps-read-max-length': 2 }, 'burst length too high for this burst rate'],
    [{ 'iops-read-max': 10 }, 'bps_max/iops_max require corresponding bps/iops values'],
    [{ 'iops-read': 11, 'iops-read-max': 10 }, 'bps_max/iops_max cannot be lower than bps/iops'],
    [
      { 'iops-read': 1, 'iops-read-max': 10, 'iops-read-max-length': 2 ** 32 },
      'iops-read-max-length value must be in the range [0, 4294967295]',
    ],
  ]
  for (const [limits, wanted] of refused) assert.throws(() => checkLimits(limits), text(wanted), wanted)
  checkLimits({ 'bps-read': 10, 'iops-total': 5, 'iops-total-max': 10, 'iops-total-max-length': 3, 'iops-size': 4096 })
  assert.is(LIMIT_NAMES.length, 19)
})

test('a group has its limits as properties, one by one and together', () => {
  const groups = new ThrottleGroups(testBench().kernel)
  const group = groups.create('g', { 'x-bps-total': 1000, limits: { 'iops-read': 5 } })
  assert.is(getThrottleProperty(group, 'x-bps-total'), 1000)
  assert.is(getThrottleProperty(group, 'x-iops-read-max-length'), 1)
  assert.is(getThrottleProperty(group, 'x-nothing'), undefined)
  setThrottleProperty(group, 'limits', { 'iops-read': 7 })
  const limits = getThrottleProperty(group, 'limits') as ThrottleLimits
  assert.equal([limits['bps-total'], limits['iops-read']], [1000, 7])
  assert.throws(() => setThrottleProperty(group, 'x-bps-total', 1), text('Property cannot be set after initialization'))
  assert.throws(() => setThrottleProperty(group, 'limits', { 'bps-read': 1 }), /cannot be used at the same time/)
  assert.is(group.limits['iops-read'], 7, 'a refused change changes nothing')
})

test('groups go by name, and one that is in use stays', () => {
  const groups = new ThrottleGroups(testBench().kernel)
  groups.create('g')
  assert.throws(() => groups.create('g'), text('A group with this name already exists'))
  assert.throws(() => groups.lookup('h'), text("Throttle group 'h' does not exist"))
  assert.throws(() => groups.create('h', { 'x-speed': 1 }), text("Property 'throttle-group.x-speed' not found"))
  const member = groups.join('g')
  assert.throws(() => groups.remove('g'), text("object 'g' is in use, can not be deleted"))
  groups.leave(member)
  groups.remove('g')
  assert.is(groups.find('g'), null)
})

test('a group that a drive has made goes with its last member', () => {
  const groups = new ThrottleGroups(testBench().kernel)
  const members = [groups.join('drive0'), groups.join('drive0')]
  assert.is(members[0]!.group, members[1]!.group)
  groups.leave(members[0]!)
  assert.ok(groups.find('drive0') !== null)
  groups.leave(members[1]!)
  assert.is(groups.find('drive0'), null)
})

test.run()
