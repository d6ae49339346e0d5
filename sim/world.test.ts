import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, type Coroutine, type Kernel, makeLabel } from '../impl/co'
import { readSector, writerOf } from '../model/stamp'
import { BoundedSearch } from './bounded_search'
import { type Decider, DecisionRecorder, dullDecider, RecordedDecider, Site, seededDecider } from './decider'
import type { Checker, WorldView } from './observer'
import type { ControlOperation, FaultPlan, MirrorPlan, Plan } from './plan'
import { FIRED_PROBES, PROBES, SCHEDULE_PROBES } from './probes'
import { CHUNK, KIB, operation, PLAIN_DISK, smallPlan } from './testing'
import type { WorldResult } from './verdict'
import { runWorld, type WorldOptions } from './world'

const START: ControlOperation = { id: 'c1', when: { on: 'start', afterNs: 0 }, kind: 'mirror-start' }

function controlled(...control: ControlOperation[]): Partial<Plan> {
  return { control: [START, ...control] }
}
function mirror(changes: Partial<MirrorPlan>): Partial<Plan> {
  return { mirror: { ...smallPlan().mirror, ...changes } }
}
function texts(result: WorldResult, lane: string): string[] {
  return result.trace.filter((record) => record.lane === lane).map(({ text }) => text)
}
function run(changes: Partial<Plan> = {}, options: WorldOptions = {}): WorldResult {
  return runWorld(smallPlan(changes), { trace: 'all', ...options })
}
/** Runs a world under one checker. */
function watched(hooks: Partial<Checker>, changes: Partial<Plan> = {}): WorldResult {
  return run(changes, { checkers: [() => ({ name: 'test', ...hooks })] })
}
/** Makes no checker. */
function broken(): never {
  throw new Error('no checker')
}
function ended(result: WorldResult): string {
  assert.is(result.failure, null, JSON.stringify(result.failure))
  return result.end.jobStatus
}

/** What the small plan comes to. It changes with the code under test; then nothing but this has to follow. */
const GOLDEN = { hash: 'c066c594', events: 42, timeNs: 235_000 }

test('the golden world: a change of this hash is a change of all worlds', () => {
  const { hash, events, timeNs, failure, end } = run()
  assert.is(failure, null)
  assert.equal({ hash, events, timeNs }, GOLDEN)
  assert.equal(end, {
    jobStatus: 'completed',
    jobError: null,
    guestOperationsDone: 4,
    sourceAllocatedBytes: 12 * KIB,
    destinationAllocatedBytes: 12 * KIB,
    skippedZeroBytes: 4 * KIB,
    copiedBytes: 12 * KIB,
  })
})

test('a plan runs the same each time, whatever ran between', () => {
  const first = run()
  run({ seed: 'other', source: { ...PLAIN_DISK, lengthBytes: 64 * KIB }, destination: { ...PLAIN_DISK, lengthBytes: 64 * KIB } })
  assert.equal(run(), first)
})

test('another seed is another world', () => {
  const hashes = new Set(['a', 'b', 'c', 'd'].map((seed) => run({ seed }).hash))
  assert.is(hashes.size, 4)
})

test('what was decided can be written down and replayed without the seed', () => {
  const recorder = new DecisionRecorder(seededDecider('small'))
  const first = run({}, { decider: recorder })
  assert.is(first.hash, run().hash)
  const again = run({ seed: 'forgotten' }, { decider: new RecordedDecider(recorder.decisions, dullDecider) })
  assert.equal(again, first)
})

test('an operation that is left out changes no latency of the others', () => {
  const latencies = (plan: Partial<Plan>): Record<string, number> => {
    const decisions = new DecisionRecorder(seededDecider('small'))
    run(plan, { decider: decisions })
    const isOfG1 = (key: string): boolean => key.startsWith('source-latency/g1/')
    return Object.fromEntries(Object.entries(decisions.decisions).filter(([key]) => isOfG1(key)))
  }
  const { guest } = smallPlan()
  assert.equal(latencies({ guest: guest.filter(({ id }) => id !== 'g2') }), latencies({}))
})

test('all orders of a tiny world can be gone through, and all of them end well', () => {
  const instant = { ...PLAIN_DISK, lengthBytes: CHUNK, latency: { minNs: 0, stepNs: 0, steps: 1 } }
  const guest = [operation('g1', 'write', 0, 512)]
  const search = new BoundedSearch({ decisionsMax: 9 })
  const hashes = new Set<string>()
  do {
    const result = run({ source: instant, destination: instant, guest }, { decider: search })
    assert.is(ended(result), 'completed')
    hashes.add(result.hash)
  } while (search.next())
  assert.ok(hashes.size > 50, `${hashes.size} worlds`)
})

test('the trace tells who did what, and the hash does not depend on how much of it is kept', () => {
  const result = run()
  assert.ok(texts(result, 'guest').includes('g1: write 0+4096'))
  assert.ok(texts(result, 'guest').includes('g1: write done'))
  assert.ok(texts(result, 'source').includes('g1: write 0+4096 done'))
  assert.ok(texts(result, 'job').includes('JOB_STATUS_CHANGE ready'))
  assert.ok(texts(result, 'mirror').includes('copying'))
  assert.ok(texts(result, 'control').includes('c1: mirror-start'))
  const quiet = runWorld(smallPlan())
  assert.equal(quiet, { ...result, trace: [] })
})

test('the destination is in the place of the source, and both read as written when they are opened afresh', () => {
  let disk = ''
  let seen: readonly unknown[] = []
  const result = run(
    {},
    {
      checkers: [
        (world: WorldView): Checker => ({
          name: 'test',
          jobEvent: ({ event }) => {
            if (event === 'BLOCK_JOB_COMPLETED') disk = world.guestDisk
            return null
          },
          atEnd: (end) => {
            const reads = [end.source, end.destination].map((image) => readSector(image, 0))
            seen = [...reads, end.jobCompleted, end.jobCancelledAfterReady, end.source.length]
            return null
          },
        }),
      ],
    },
  )
  assert.is(ended(result), 'completed')
  const stamp = { kind: 'stamp', writer: writerOf('g1'), sectorIndex: 0 }
  assert.equal(seen, [stamp, stamp, true, false, 16 * KIB])
  assert.is(disk, 'destination')
})

test('checkers see requests, operations, events and steps', () => {
  const seen = new Map<string, number>()
  const see = (what: string): null => {
    seen.set(what, (seen.get(what) ?? 0) + 1)
    return null
  }
  let steps = 0
  const result = run(
    {},
    {
      onStep: () => steps++,
      checkers: [
        () => ({
          name: 'test',
          diskSubmitted: (disk, { operation: kind, data }) => see(`${disk} ${kind} ${data === null ? '' : 'data'}`),
          diskCompleted: (disk, { operation: kind, data }) => see(`${disk} ${kind} ${data === null ? '' : 'data'} done`),
          guestSubmitted: ({ kind }, data) => see(`guest ${kind} ${data?.length ?? ''}`),
          guestCompleted: ({ kind }, status, data) => see(`guest ${kind} ${status} ${data?.length ?? ''} done`),
          jobEvent: ({ event }) => see(event),
          afterEvent: () => see('step'),
        }),
      ],
    },
  )
  assert.is(seen.get('step'), result.events)
  assert.is(steps, result.events)
  assert.is(seen.get('guest write 1024'), 1)
  assert.is(seen.get('guest read '), 1)
  assert.is(seen.get('guest read 0 8192 done'), 1)
  assert.is(seen.get('BLOCK_JOB_READY'), 1)
  assert.is(seen.get('source write data'), seen.get('source write data done'))
  assert.ok(seen.has('source read '), 'the data of a read is not known before its end')
  assert.ok(seen.has('source read data done'))
})

test('a finding ends the world, with step, time and trace', () => {
  const finding = { class: 'content', key: 'test/found', text: 'something' } as const
  let hooks = 0
  const { failure, events, trace } = watched({ jobEvent: ({ event }) => (event === 'BLOCK_JOB_READY' ? finding : null) })
  assert.is(failure?.key, 'test/found')
  assert.is(failure?.step, events)
  assert.ok(failure!.timeNs > 0 && trace.length > 0)
  const early = watched({ afterEvent: () => (++hooks === 3 ? finding : null), atEnd: () => finding })
  assert.is(early.events, 3)
  assert.is(watched({ atEnd: () => finding }).failure?.key, 'test/found')
})

test('a checker that breaks down is a failure of the harness', () => {
  const breakDown = (): never => {
    throw new Error('oh')
  }
  for (const hook of ['diskSubmitted', 'diskCompleted', 'guestSubmitted', 'guestCompleted', 'jobEvent', 'afterEvent', 'atEnd']) {
    const { failure } = watched({ [hook]: breakDown })
    assert.equal([failure?.class, failure?.key], ['harness', 'harness/test'], hook)
    assert.match(failure!.text, /oh/)
  }
})

test('a checker that cannot be made is a failure of the harness, too', () => {
  const { failure } = run({}, { checkers: [broken] })
  assert.equal([failure?.class, failure?.key], ['harness', 'harness/world'])
})

test('an exception in a coroutine is a crash', () => {
  const decider: Decider = {
    decide: (site) => {
      if (site === Site.DestinationLatency) throw new RangeError('too far')
      return 0
    },
  }
  const { failure } = run({}, { decider })
  assert.equal([failure?.class, failure?.key], ['crash', 'crash/RangeError'])
})

test('a buffer that changes while its write is in flight is found', () => {
  const result = watched({
    diskSubmitted: (disk, { data }) => {
      if (disk === 'destination' && data !== null) data[4]! ^= 1
      return null
    },
  })
  assert.is(result.failure?.key, 'disk/buffer-changed')
})

test('a world has bounds', () => {
  const { failure, events } = run({ bounds: { eventsMax: 20, timeMaxNs: 1e12 } })
  assert.is(failure?.key, 'liveness/too-many-events')
  assert.is(events, 20)
  assert.is(run({ bounds: { eventsMax: 20_000, timeMaxNs: 30_000 } }).failure?.key, 'liveness/too-much-time')
})

test('who waits for ever is told, with the circle', () => {
  const withKernel = (work: (kernel: Kernel) => void): WorldResult => {
    let isDone = false
    return run(
      {},
      {
        onStep: (world) => {
          if (!isDone) work((world as unknown as { kernel: Kernel }).kernel)
          isDone = true
        },
      },
    )
  }
  function* wait(kernel: Kernel, forWhom: () => Coroutine[]): Co<void> {
    kernel.willPark({ describe: () => 'waits for a friend', heldBy: forWhom })
    yield
  }
  const circle = withKernel((kernel) => {
    const friends: Coroutine[] = []
    friends.push(
      kernel.spawn(
        wait(kernel, () => [friends[1]!]),
        makeLabel('left'),
      ),
    )
    friends.push(
      kernel.spawn(
        wait(kernel, () => [friends[0]!]),
        makeLabel('right'),
      ),
    )
  })
  assert.is(circle.failure?.key, 'liveness/cycle')
  assert.match(circle.failure!.text, /left → right → left/)
  assert.ok(circle.failure!.details!.includes('left waits for a friend'))
  assert.is(
    withKernel((kernel) =>
      kernel.spawn(
        wait(kernel, () => []),
        makeLabel('alone'),
      ),
    ).failure?.key,
    'liveness/stuck',
  )
})

test('nobody ends the job: it is completed when it is ready and the guest has finished', () => {
  const slow = [operation('g1', 'write', 0, 512, { thinkNs: 50_000_000 })]
  const result = run({ guest: slow })
  assert.is(ended(result), 'completed')
  const order = result.trace.map(({ text }) => text)
  assert.ok(order.indexOf('g1: write done') < order.indexOf('caretaker: complete'))
  assert.ok(order.indexOf('JOB_STATUS_CHANGE ready') < order.indexOf('caretaker: complete'))
})

const ready = { on: 'ready', afterNs: 0 } as const

test('a job that somebody ends is left to him', () => {
  const result = run(controlled({ id: 'c2', when: { ...ready, afterNs: 1000 }, kind: 'cancel', force: false }))
  assert.is(ended(result), 'cancelled-after-ready')
  assert.not.ok(texts(result, 'control').includes('caretaker: complete'))
})

test('a forced cancel ends the job without an error to report', () => {
  const result = run(controlled({ id: 'c2', when: { on: 'mirror-started', afterNs: 0 }, kind: 'cancel', force: true }))
  assert.is(ended(result), 'cancelled')
  assert.is(result.end.jobError, null)
})

test('what an operator forgets is done for him when nothing happens any more', () => {
  const paused = run(controlled({ id: 'c2', when: { on: 'mirror-started', afterNs: 0 }, kind: 'pause' }))
  assert.is(ended(paused), 'completed')
  assert.ok(texts(paused, 'control').includes('caretaker: resume'))
  const unfinished = run({ ...mirror({ autoFinalize: false }) })
  assert.is(ended(unfinished), 'completed')
  assert.ok(texts(unfinished, 'control').includes('caretaker: finalize'))
  const early = run(controlled({ id: 'c2', when: { on: 'start', afterNs: 0 }, kind: 'complete' }))
  assert.is(ended(early), 'completed')
})

test('a job that stopped for an error is resumed', () => {
  const fault: FaultPlan = { ...FAULT, disk: 'destination', operation: 'write', times: 2 }
  const result = run({ ...mirror({ onTargetError: 'stop' }), guest: [], faults: [fault] })
  assert.is(ended(result), 'completed')
  assert.equal(result.faultsFired, { f1: 2 })
  assert.ok(texts(result, 'control').includes('caretaker: resume'))
})
const FAULT: FaultPlan = {
  id: 'f1',
  kind: 'error',
  disk: 'source',
  operation: 'read',
  errno: 'EIO',
  offsetBytes: 0,
  lengthBytes: 16 * KIB,
  skip: 0,
  times: 1,
}

test('a job that fails says why, and a fault that never fires is counted as 0', () => {
  const faults = [FAULT, { ...FAULT, id: 'f2', operation: 'discard' as const }]
  const result = run({ faults, guest: [] })
  assert.is(ended(result), 'failed')
  assert.is(result.end.jobError, 'Input/output error')
  assert.equal(result.faultsFired, { f1: 1, f2: 0 })
})

test('a mirror that cannot be started says why', () => {
  const destination: Plan['destination'] = { ...PLAIN_DISK, node: { ...PLAIN_DISK.node, readOnly: true } }
  const result = run({ destination })
  assert.is(ended(result), 'none')
  assert.is(result.end.jobError, 'Block node is read-only')
  assert.is(result.end.guestOperationsDone, 4)
})

test('a guest whose disk is read-only cannot write', () => {
  const source: Plan['source'] = { ...smallPlan().source, node: { ...PLAIN_DISK.node, readOnly: true } }
  const result = run({ source, guest: [operation('g1', 'write', 0, 512), operation('g2', 'read', 0, 512)] })
  assert.is(result.failure, null, JSON.stringify(result.failure))
  assert.equal(
    texts(result, 'guest').filter((text) => / (done|fails)/.test(text)),
    ['g1: write fails with status 1', 'g2: read done'],
  )
})

test('orders follow their moments, and what is refused is over, too', () => {
  const result = run(
    controlled(
      { id: 'c2', when: { on: { operationDone: 'g1' }, afterNs: 5 }, kind: 'finalize' },
      { id: 'c3', when: { on: { controlDone: 'c2' }, afterNs: 0 }, kind: 'set-speed', speedBytesPerSecond: 1 << 30 },
      { id: 'c4', when: { on: 'guest-done', afterNs: 0 }, kind: 'drain', durationNs: 10 },
      { id: 'c5', when: { on: { operationDone: 'nobody' }, afterNs: 0 }, kind: 'pause' },
    ),
  )
  assert.is(ended(result), 'completed')
  const given = texts(result, 'control')
  assert.ok(given.some((text) => text.startsWith('c2: refused: Job ')))
  assert.ok(given.findIndex((text) => text.startsWith('c2')) < given.indexOf('c3: set-speed'))
  assert.ok(given.includes('c4: drain'))
  assert.not.ok(given.some((text) => text.startsWith('c5')))
})

test('a reset of the device ends what is in flight, and the guest goes on', () => {
  const aborted: string[] = []
  const result = watched(
    {
      guestAborted: ({ id }) => {
        aborted.push(id)
        return null
      },
    },
    controlled({ id: 'c2', when: { on: 'start', afterNs: 1000 }, kind: 'device-reset' }),
  )
  assert.is(ended(result), 'completed')
  assert.equal(aborted.sort(), ['g1', 'g2'])
  assert.is(result.end.guestOperationsDone, 2)
  assert.is(result.probes['guest/aborted'], 2)
})

test('a guest without a mirror is a world, too', () => {
  const result = run({ control: [] })
  assert.is(ended(result), 'none')
  assert.is(result.end.guestOperationsDone, 4)
})

test('situations have known names', () => {
  const { probes } = run(controlled({ id: 'c2', when: ready, kind: 'drain', durationNs: 1 }))
  assert.ok(Object.keys(probes).length > 5)
  for (const name of Object.keys(probes))
    assert.ok(name in PROBES || name in FIRED_PROBES || name in SCHEDULE_PROBES || name.startsWith('order/'), name)
})

test('a checker may count situations of its own', () => {
  const make = (world: WorldView): Checker => ({
    name: 'test',
    atEnd: () => {
      world.probe('test/end')
      return null
    },
  })
  const result = run({}, { checkers: [make] })
  assert.is(result.probes['test/end'], 1)
})

test('the real clock is back after a world, however it ended', () => {
  run({}, { checkers: [broken] })
  assert.ok(Date.now() > 0)
})

test.run()
