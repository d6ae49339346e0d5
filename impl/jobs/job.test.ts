import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, Permission } from '../block'
import { MemoryDriver, testBench } from '../block/testing'
import { type Co, EIO, type Errno, OK, type WaitReason } from '../co'
import { JobHold } from './hold'
import { Job } from './job'
import { JobGroup } from './job_group'
import { type JobEvent, JobManager } from './job_manager'

const TASK_NS = 1000
const IDLE: WaitReason = { describe: () => 'waits for something to do' }

/** Does nothing, in a few parts, and tells of it. */
class Work extends Job {
  readonly type = 'work'
  readonly log: string[] = []
  tasks = 3
  runErrno: Errno = OK
  prepareErrno: Errno = OK
  prepareNs = 0
  abortNs = 0
  isWaiting = false
  onSettle = (): void => {}

  protected waitingBytes(): number {
    return 0
  }
  protected *run(): Co<Errno> {
    while (this.isWaiting) {
      yield* this.sleepUntilKick(IDLE)
      this.log.push('kicked')
      if (this.isForceCancelled) return OK
    }
    for (; this.tasks > 0; this.tasks--) {
      yield* this.pausePoint()
      if (this.isForceCancelled) return OK
      yield* this.kernel.sleepNs(TASK_NS)
    }
    return this.runErrno
  }
  protected *prepare(): Co<Errno> {
    yield* this.kernel.sleepNs(this.prepareNs)
    this.log.push('prepare')
    return this.prepareErrno
  }
  protected override *commit(): Co<void> {
    this.log.push('commit')
  }
  protected *abort(): Co<void> {
    yield* this.kernel.sleepNs(this.abortNs)
    this.log.push('abort')
  }
  protected *settle(): Co<void> {
    this.log.push('settle')
    this.onSettle()
  }
  protected stoodStill(): void {
    this.log.push('still')
  }
  protected override abandonRequests(): void {
    this.log.push('abandon')
  }
}

interface Bench {
  jobs: JobManager
  events: JobEvent[]
  story(id: string): string[]
  add(id: string, changes?: Partial<Pick<Work, 'tasks' | 'prepareNs' | 'prepareErrno' | 'runErrno' | 'abortNs'>>): Work
  /** `durationNs` absent: until nothing happens any more. */
  run(durationNs?: number): void
}

function bench(options: { autoFinalize?: boolean; autoDismiss?: boolean } = {}): Bench {
  const { kernel, clock } = testBench()
  const events: JobEvent[] = []
  const jobs = new JobManager(kernel, (event) => events.push(event))
  const add: Bench['add'] = (id, changes = {}) => {
    const job = new Work(jobs, { id, speedBytesPerSecond: 0, autoFinalize: true, autoDismiss: true, ...options })
    jobs.add(job)
    return Object.assign(job, changes)
  }
  const story = (id: string): string[] =>
    events.flatMap(({ event, data }) => {
      if ((data['id'] ?? data['device']) !== id) return []
      return event === 'JOB_STATUS_CHANGE' ? [String(data['status'])] : [event]
    })
  return { jobs, events, story, add, run: (ns) => void clock.run(ns === undefined ? undefined : clock.nowNs() + ns) }
}

test('a job works, prepares and commits, and stands still once', () => {
  const { add, run, story } = bench()
  const job = add('a')
  job.start()
  run()
  assert.equal(job.log, ['still', 'prepare', 'commit'])
  assert.equal(story('a'), ['created', 'running', 'waiting', 'pending', 'BLOCK_JOB_COMPLETED', 'concluded', 'null'])
})

test('a group commits when the last one is prepared, and ends with the newest first', () => {
  const { add, run, events } = bench()
  const group = new JobGroup()
  const jobs = ['a', 'b', 'c'].map((id) => add(id, { prepareNs: id === 'b' ? 5000 : 0 }))
  for (const job of jobs) {
    job.join(group)
    job.start()
  }
  run(4000)
  assert.equal(
    jobs.map(({ log }) => log.at(-1)),
    ['prepare', 'still', 'prepare'],
  )
  run()
  assert.equal(
    jobs.map(({ log }) => log.at(-1)),
    ['commit', 'commit', 'commit'],
  )
  const ends = events.filter(({ event }) => event === 'BLOCK_JOB_COMPLETED').map(({ data }) => data['device'])
  assert.equal(ends, ['c', 'b', 'a'])
})

test('one that fails, at work or while it prepares, takes the others with it', () => {
  for (const failing of ['run', 'prepare'] as const) {
    const { add, run, story, events } = bench()
    const group = new JobGroup()
    const first = add('first', {
      abortNs: 5000,
      ...(failing === 'run' ? { runErrno: EIO } : { prepareErrno: EIO, prepareNs: 100 }),
    })
    const others = ['done', 'paused'].map((id) => add(id, id === 'paused' && failing === 'run' ? { tasks: 9 } : {}))
    for (const job of [first, ...others]) {
      job.join(group)
      job.start()
    }
    run(500)
    if (failing === 'run') {
      others[1]!.pause()
      others[1]!.abortNs = 50_000
    }
    run(2 * 3 * TASK_NS)
    // At once, while the one that has failed is still leaving.
    assert.is(first.log.includes('abort'), false)
    assert.is(story('done').at(-1), 'null')
    const { paused, status } = others[1]!.query()
    if (failing === 'run') assert.equal([paused, status], [false, 'aborting'])
    run()
    for (const job of others) {
      assert.is(job.log.at(-1), 'abort', job.id)
      assert.is(job.log.includes('commit'), false)
      assert.equal(story(job.id).slice(-3), ['BLOCK_JOB_CANCELLED', 'concluded', 'null'], `${failing}, ${job.id}`)
    }
    assert.equal(story('first').slice(-3), ['BLOCK_JOB_COMPLETED', 'concluded', 'null'])
    const end = events.find(({ event }) => event === 'BLOCK_JOB_COMPLETED')!
    assert.is(end.data['error'], 'Input/output error')
  }
})

test('a job of a group that has not been started is given up without having worked', () => {
  const { add, run, story, jobs } = bench()
  const job = add('a')
  job.kernel.spawn(job.discard(), { toString: () => 'd' } as never)
  run()
  assert.is(job.errorText, 'Operation canceled')
  assert.equal(story('a'), ['created', 'aborting', 'concluded', 'null'])
  assert.equal([job.log, jobs.jobs.size], [['abort'], 0])
})

test('a job is busy while it works, and not while it waits for anybody', () => {
  const { add, run } = bench({ autoFinalize: false, autoDismiss: false })
  const job = add('a')
  const seen: Array<[string, boolean, boolean]> = []
  const look = (): unknown => seen.push([job.status, job.query().busy, job.query().paused])
  look()
  job.start()
  run(10)
  look()
  job.pause()
  run(2 * TASK_NS)
  look()
  job.resume()
  run()
  look()
  job.finalize()
  run()
  look()
  const idle = add('b')
  idle.isWaiting = true
  idle.start()
  run()
  assert.is(idle.query().busy, false)
  assert.equal(seen, [
    ['created', false, false],
    ['running', true, false],
    ['paused', false, true],
    ['pending', false, false],
    ['concluded', false, false],
  ])
})

test('a new speed wakes the job, and is refused where it is none or comes too late', () => {
  const { add, run } = bench({ autoDismiss: false })
  const job = add('a')
  job.isWaiting = true
  job.start()
  run()
  job.setSpeed(4096)
  run()
  assert.equal([job.log, job.query().speed], [['kicked'], 4096])
  for (const speed of [-1, 0.5, Number.NaN, 2 ** 53]) {
    assert.throws(
      () => job.setSpeed(speed),
      (error: Error) => error.message === "Parameter 'speed' expects a non-negative value",
    )
  }
  job.cancel(true)
  run()
  assert.throws(
    () => job.setSpeed(0),
    (error: Error) => error.message === "Job 'a' in state 'concluded' cannot accept command verb 'set-speed'",
  )
})

test('a job whose work ends before it comes to stand still cannot be resumed', () => {
  const { add, run } = bench({ autoFinalize: false })
  const job = add('a', { tasks: 1 })
  job.start()
  run(10)
  job.pause()
  run()
  assert.throws(
    () => job.resume(),
    (error: Error) => error.message === "Job 'a' in state 'pending' cannot accept command verb 'resume'",
  )
})

test('requests are given up by a cancel by force alone', () => {
  for (const isForced of [true, false]) {
    const { add, run } = bench()
    const job = add('a')
    job.start()
    run(10)
    job.status = 'ready'
    job.cancel(isForced)
    assert.is(job.log.includes('abandon'), isForced)
  }
})

test('a cancel while the job switches over comes too late', () => {
  const { add, run, story } = bench()
  const job = add('a', { tasks: 0, prepareNs: 1000 })
  job.start()
  run(10)
  job.cancel(true)
  run()
  assert.is(story('a').at(-3), 'BLOCK_JOB_COMPLETED')
  assert.is(job.log.at(-1), 'commit')
})

test('a job settles when it is to pause, and goes on if nobody wants it any more', () => {
  const { add, run, story } = bench()
  const job = add('a')
  job.onSettle = () => job.resume()
  job.start()
  run(10)
  assert.equal(job.log, [])
  job.pause()
  run()
  assert.equal(job.log, ['settle', 'still', 'prepare', 'commit'])
  assert.is(story('a').includes('paused'), false)
})

test('a paused job that is cancelled ends without having been resumed', () => {
  const { add, run, story } = bench()
  const job = add('a')
  job.onSettle = () => job.cancel(true)
  job.start()
  run(10)
  job.pause()
  run()
  assert.is(story('a').includes('paused'), false)
  assert.is(story('a').at(-3), 'BLOCK_JOB_CANCELLED')
})

test('an id is taken until the job is gone', () => {
  const { add, run, jobs } = bench()
  add('a').start()
  assert.throws(
    () => add('a'),
    (error: Error) => error.message === "Job ID 'a' already in use",
  )
  assert.throws(
    () => jobs.checkId('a'),
    (error: Error) => error.message === "Job ID 'a' already in use",
  )
  run()
  add('a')
})

test('what a job holds can be given back one by one', () => {
  const { graph } = testBench()
  const node = graph.addNode({ name: 'n', driver: new MemoryDriver(512) })
  const hold = new JobHold({ id: 'a', type: 'work', beginPause: () => {}, endPause: () => {}, isMoving: false })
  const edges = [1, 2, 3].map(() => hold.take('x', node, Permission.ConsistentRead, Permission.ConsistentRead))
  const writer = new BlockBackend(graph, 'w')
  hold.give(edges[0]!)
  assert.is(node.parents.size, 2)
  assert.throws(() => writer.attach(node, Permission.Write, Permission.All), /Permission conflict/)
  hold.giveAll()
  assert.equal([node.parents.size, node.blockers.size], [0, 0])
})

test.run()
