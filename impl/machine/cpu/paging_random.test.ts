/**
 * Random page tables and accesses by all modes, compared with the specification's algorithm in BigInt, which remembers
 * nothing: so what the translation cache remembers must not show.
 */
import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { assemble } from '../isa'
import { Privilege, Status } from './state'
import { bench, join, RAM } from './testing'

const ROOT = RAM + 0x10000
const TABLES = 4
/** Tables follow each other by level; the last holds pages. */
const rootOf = (levels: number): number => ROOT + (TABLES - levels) * 4096
const PAGES = RAM + 0x20000
const PAGE_COUNT = 8

type Access = 'load' | 'store' | 'fetch'
interface Look {
  virtual: bigint
  access: Access
  privilege: number
  hasSum: boolean
  hasMxr: boolean
}
const CAUSES: Readonly<Record<Access, readonly [access: number, page: number]>> = {
  load: [5, 13],
  store: [7, 15],
  fetch: [1, 12],
}

/** Privileged ISA, "Virtual Address Translation Process", step by step. A number is the cause of the exception. */
function translate(look: Look, levels: number, memory: DataView): bigint | number {
  const [accessFault, pageFault] = CAUSES[look.access]
  const bits = 12 + 9 * levels
  if (BigInt.asUintN(64, BigInt.asIntN(bits, look.virtual)) !== look.virtual) return pageFault
  let a = BigInt(rootOf(levels))
  for (let i = levels - 1; i >= 0; i--) {
    const place = a + ((look.virtual >> BigInt(12 + 9 * i)) & 511n) * 8n - BigInt(RAM)
    if (place < 0n || place + 8n > BigInt(memory.byteLength)) return accessFault
    const entry = memory.getBigUint64(Number(place), true)
    const has = (bit: number): boolean => ((entry >> BigInt(bit)) & 1n) === 1n
    const [v, r, w, x, u] = [has(0), has(1), has(2), has(3), has(4)]
    if (!v || (!r && w) || entry >> 54n !== 0n) return pageFault
    const page = (entry >> 10n) & ((1n << 44n) - 1n)
    if (!r && !x) {
      if (has(4) || has(6) || has(7)) return pageFault
      a = page << 12n
      continue
    }
    const isOfUser = look.privilege === Privilege.User
    if (isOfUser !== u && (isOfUser || look.access === 'fetch' || !look.hasSum)) return pageFault
    const isAllowed = look.access === 'fetch' ? x : look.access === 'store' ? w : r || (look.hasMxr && x)
    const inside = (1n << BigInt(9 * i)) - 1n
    if (!isAllowed || (page & inside) !== 0n) return pageFault
    memory.setBigUint64(Number(place), entry | 0x40n | (look.access === 'store' ? 0x80n : 0n), true)
    return (((page & ~inside) | ((look.virtual >> 12n) & inside)) << 12n) | (look.virtual & 0xfffn)
  }
  return pageFault
}

const made = bench()
const { state, memory } = made.hart
state.pmpConfig[0] = 0x1f
state.pmpAddress[0] = 2 ** 51 - 1
memory.protection.update()

/** The same by the hart: the cause, or 0n. What a load reads is in a1. */
function access(look: Look): bigint | number {
  const before = state.trapped
  const isFetch = look.access === 'fetch'
  state.privilege = isFetch ? look.privilege : Privilege.Machine
  state.mstatus = isFetch ? 0 : Status.MPRV | (look.privilege << 11)
  if (look.hasSum) state.mstatus |= Status.SUM
  if (look.hasMxr) state.mstatus |= Status.MXR
  memory.changeContext()
  made.setPc(isFetch ? look.virtual : BigInt(look.access === 'load' ? RAM : RAM + 4))
  made.setX('a0', look.virtual)
  made.run(1)
  if (state.trapped === before) return 0n
  assert.is(join(state.mtval.low, state.mtval.high), look.virtual, 'the trap value')
  return state.mcause.low
}

const flags = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(0xcf, 0xdf, 0x0f, 0x1f, 0x4b, 0x53, 0x43, 0x49, 0x59, 0xc7) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xff }) },
)
const page = fc
  .tuple(fc.integer({ min: 0, max: PAGE_COUNT - 1 }), flags)
  .map(([index, bits]) => (BigInt(PAGES + index * 4096) >> 2n) | BigInt(bits))
/** Where an entry points: a table, a page, far away; now and then with a reserved bit. */
const entry = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: TABLES - 1 }).map((table) => (BigInt(ROOT + table * 4096) >> 2n) | 1n) },
  { weight: 4, arbitrary: page },
  { weight: 3, arbitrary: flags.map((bits) => (BigInt(RAM) >> 2n) | BigInt(bits)) },
  { weight: 1, arbitrary: flags.map((bits) => BigInt(bits)) },
  {
    weight: 1,
    arbitrary: fc.tuple(flags, fc.integer({ min: 30, max: 63 })).map(([bits, top]) => (1n << BigInt(top)) | BigInt(bits)),
  },
)
/** Mostly what leads to a page at the end. */
const entryOf = (table: number): fc.Arbitrary<bigint> => {
  const next = (BigInt(ROOT + (table + 1) * 4096) >> 2n) | 1n
  return table === TABLES - 1
    ? fc.oneof({ weight: 5, arbitrary: page }, entry)
    : fc.oneof({ weight: 9, arbitrary: fc.constant(next) }, entry)
}
/** Two entries a level, so that paths meet. */
const index = fc.constantFrom(0n, 2n)
const tables = fc.tuple(...[0, 1, 2, 3].map((table) => fc.tuple(entryOf(table), entryOf(table))))
const look = fc.record({
  virtual: fc
    .tuple(
      index,
      index,
      index,
      index,
      fc.constantFrom(0n, 0x20n, 0xff8n),
      fc.constantFrom(0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n, 0xffffn << 48n),
    )
    .map(([a, b, c, d, offset, top]) => (a << 39n) | (b << 30n) | (c << 21n) | (d << 12n) | offset | top),
  access: fc.constantFrom<Access>('load', 'store', 'fetch'),
  privilege: fc.constantFrom<number>(Privilege.User, Privilege.Supervisor),
  hasSum: fc.boolean(),
  hasMxr: fc.boolean(),
})

/** Writes the tables, and pages of instructions that do nothing and say in which page they are. */
function prepare(levels: number, entries: ReadonlyArray<readonly [bigint, bigint]>): void {
  made.hart.reset(RAM)
  state.satp.set((rootOf(levels) / 4096) | 0, (levels === 4 ? 9 : 8) << 28)
  state.pmpConfig[0] = 0x1f
  memory.protection.update()
  made.ram.fill(0)
  made.program(RAM, 'ld a1,0(a0)', 'sd a1,0(a0)')
  for (const [table, [first, second]] of entries.entries()) {
    made.put64(ROOT + table * 4096, first)
    made.put64(ROOT + table * 4096 + 16, second)
  }
  for (let page = 0; page < PAGE_COUNT; page++)
    for (const offset of [0, 0x20, 0xff8]) made.put(PAGES + page * 4096 + offset, assemble(`addi zero,zero,${page + 1}`))
  made.hart.ramChanged(RAM, made.ram.length)
}

test('every access does what the algorithm says, whatever was accessed before', () => {
  const looks = fc.array(look, { minLength: 1, maxLength: 16 })
  let allowed = 0
  let refused = 0
  fc.assert(
    fc.property(fc.constantFrom(3, 4), tables, looks, (levels, entries, accesses) => {
      prepare(levels, entries)
      const shadow = new DataView(made.ram.slice().buffer)
      let hadMxr = false
      for (const [turn, one] of accesses.entries()) {
        const wanted = { ...one, virtual: levels === 3 && one.virtual < 1n << 48n ? one.virtual % (1n << 38n) : one.virtual }
        if (wanted.hasMxr !== hadMxr) memory.flush()
        hadMxr = wanted.hasMxr
        const expected = translate(wanted, levels, shadow)
        const what = `access ${turn}: ${wanted.access} of ${wanted.virtual.toString(16)} by ${wanted.privilege}`
        made.setX('a1', BigInt(0x13))
        const place = typeof expected === 'bigint' ? Number(expected) - RAM : -1
        // What lies outside RAM is nobody's: an access fault behind the translation.
        const isInside = place >= 0 && place + 8 <= shadow.byteLength
        const cause = typeof expected === 'number' ? expected : isInside ? 0n : CAUSES[wanted.access][0]
        // Code that does something would lead away from what is compared.
        if (wanted.access === 'fetch' && isInside && (place < PAGES - RAM || shadow.getInt32(place, true) === 0)) return
        const got = access(wanted)
        assert.is(got, cause, what)
        if (cause === 0n) allowed++
        else refused++
        if (cause === 0n && wanted.access === 'load') assert.is(made.x('a1'), shadow.getBigUint64(place, true), what)
        if (cause === 0n && wanted.access === 'store') shadow.setBigUint64(place, 0x13n, true)
        assert.is(Buffer.compare(made.ram, new Uint8Array(shadow.buffer)), 0, `${what}: memory`)
        if (wanted.access === 'store' && isInside && place < PAGES - RAM) return
      }
    }),
    { numRuns: 1500, seed: 5 },
  )
  assert.ok(allowed > 500 && refused > 500, `${allowed} accesses were allowed, ${refused} refused`)
})

test.run()
