import { getHeapStatistics } from 'node:v8'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { IMAGE_MEMORY_MAX_BYTES, runDamaged } from '../sim/damage'
import type { DamagePlan, Plan } from '../sim/plan'
import { checkPlan } from '../sim/plan_check'
import { damagedPlanOfSeed } from './plans/damage'

const SEEDS = 150
/** Limits of QEMU. */
const L1_BYTES_MAX = 32 * 2 ** 20
const REFCOUNT_TABLE_BYTES_MAX = 8 * 2 ** 20

function withDamage(...damage: DamagePlan[]): Plan {
  const { damageUse: _none, ...plan } = damagedPlanOfSeed('damage.1')
  return { ...plan, damage }
}

test('an image that nobody has damaged works', () => {
  const { failure, probes } = runDamaged(withDamage())
  assert.is(failure, null)
  assert.equal(probes, { 'image/works': 1 })
})

test('an image without its magic number is refused in words', () => {
  const magic: DamagePlan = { id: 'd1', target: 'header', index: 0, widthBytes: 4, value: '0' }
  assert.equal(runDamaged(withDamage(magic)).probes, { 'image/refused': 1 })
})

test('fields are changed where the image says that they are', () => {
  const entry: DamagePlan = { id: 'd1', target: 'l1', index: 0, widthBytes: 8, value: 'ffffffffffffffff' }
  const cut: DamagePlan = { id: 'd2', target: 'length', index: 0, widthBytes: 1, value: '0' }
  assert.equal(runDamaged(withDamage(cut)).probes, { 'image/refused': 1 })
  assert.ok((runDamaged(withDamage(entry)).probes['image/works'] ?? 0) === 0)
})

test('a sound image with snapshots and bitmaps is found sound, and works', () => {
  for (let index = 0; index < 40; index++) {
    const plan: Plan = { ...damagedPlanOfSeed(`sound.${index}`), damage: [] }
    const { failure, probes } = runDamaged(plan)
    assert.is(failure, null, `sound.${index}`)
    assert.is(probes['image/works'], 1, JSON.stringify(probes))
  }
})

test('damaged images are refused, give errors, or work: all of it happens, and nothing else', () => {
  const seen: Record<string, number> = {}
  for (let index = 0; index < SEEDS; index++) {
    const plan = damagedPlanOfSeed(`damage.${index}`)
    assert.is(checkPlan(plan), null)
    const { failure, probes, hash } = runDamaged(plan)
    assert.is(failure, null, `damage.${index}`)
    if (index % 10 === 0) assert.is(runDamaged(plan).hash, hash)
    for (const name of Object.keys(probes)) seen[name] = (seen[name] ?? 0) + 1
  }
  const wanted = ['image/refused', 'image/gives-errors', 'image/works', 'image/checked', 'image/repaired', 'image/snapshot-shown']
  for (const name of wanted) assert.ok((seen[name] ?? 0) > 2, JSON.stringify(seen))
})

test('an image that makes us ask for more memory than is allowed is a failure', () => {
  let inUse = 0
  const grows = (): number => (inUse += IMAGE_MEMORY_MAX_BYTES / 4)
  assert.is(runDamaged(withDamage(), grows).failure?.key, 'image/memory')
  const stays = (): number => 1000
  assert.is(runDamaged(withDamage(), stays).failure, null)
})

test('the longest tables that an image may name fit in the memory that it may cost', () => {
  const plan = damagedPlanOfSeed('damage.1')
  const clusterBytes = plan.source.format!.clusterBytes
  const header = (id: string, offsetBytes: number, widthBytes: 4 | 8, value: number): DamagePlan => ({
    id,
    target: 'header',
    index: offsetBytes / widthBytes,
    widthBytes,
    value: value.toString(16),
  })
  const damage = [
    header('d1', 24, 8, 2 ** 36),
    header('d2', 36, 4, L1_BYTES_MAX / 8),
    header('d3', 56, 4, REFCOUNT_TABLE_BYTES_MAX / clusterBytes),
  ]
  const damageUse = { ...plan.damageUse!, check: 'none' as const, snapshots: 2, bitmaps: 0, snapshotUse: 'none' as const }
  const inUse = (): number => getHeapStatistics().external_memory + getHeapStatistics().used_heap_size
  const { failure, probes } = runDamaged({ ...plan, damage, damageUse }, inUse)
  assert.is(failure, null, JSON.stringify(failure))
  assert.is(probes['image/works'], 1, JSON.stringify(probes))
})

test.run()
