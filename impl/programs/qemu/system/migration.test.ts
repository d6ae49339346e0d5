/** Two programs, of which one gives its machine to the other. */
import { type ChildProcess, spawn } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const PROGRAM = path.resolve(__dirname, '../../../../bin/mirrorsim.cjs')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mirrorsim-migration-'))
const children = new Set<ChildProcess>()
test.after(() => {
  for (const child of children) child.kill('SIGKILL')
  fs.rmSync(folder, { recursive: true, force: true })
})

type Message = Record<string, unknown>

/** One system program, and a conversation with it. */
class Machine {
  readonly child: ChildProcess
  readonly messages: Message[] = []
  readonly ended: Promise<number | null>
  complaints = ''
  private text = ''

  constructor(...args: readonly string[]) {
    const all = ['system', '-machine', 'none', '-nodefaults', '-display', 'none', '-qmp', 'stdio', ...args]
    this.child = spawn(process.execPath, [PROGRAM, ...all], { cwd: folder, stdio: ['pipe', 'pipe', 'pipe'] })
    children.add(this.child)
    this.ended = new Promise((resolve) => this.child.on('close', resolve))
    this.child.stderr!.on('data', (bytes) => {
      this.complaints += bytes
    })
    this.child.stdout!.on('data', (bytes) => {
      this.text += bytes
      const lines = this.text.split('\n')
      this.text = lines.pop()!
      for (const line of lines) this.messages.push(parse(line))
    })
    this.child.stdin!.write('{"execute":"qmp_capabilities"}')
  }

  /** Waits for a message that has come or will come. */
  async wait(isIt: (message: Message) => boolean): Promise<Message> {
    for (let tries = 0; tries < 3000; tries++) {
      const found = this.messages.find(isIt)
      if (found !== undefined) return found
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    throw new Error(`it does not come: ${JSON.stringify(this.messages)} ${this.complaints}`)
  }
  async run(execute: string, args: object = {}): Promise<Message> {
    const id = `${execute}-${this.messages.length}-${Math.random()}`
    this.child.stdin!.write(JSON.stringify({ execute, arguments: args, id }))
    return await this.wait((message) => message['id'] === id)
  }
  async demand(execute: string, args: object = {}): Promise<unknown> {
    const answer = await this.run(execute, args)
    assert.not.ok(answer['error'], JSON.stringify(answer))
    return answer['return']
  }
  async refusal(execute: string, args: object = {}): Promise<string> {
    return ((await this.run(execute, args))['error'] as { desc: string } | undefined)?.desc ?? ''
  }
  status(status: string): Promise<Message> {
    return this.wait(({ event, data }) => event === 'MIGRATION' && (data as Message)['status'] === status)
  }
  events(): string[] {
    return this.messages
      .filter(({ event }) => event !== undefined)
      .map(({ event, data }) => (event === 'MIGRATION' ? String((data as Message)['status']) : String(event)))
  }
  async io(node: string, command: string): Promise<string> {
    const answer = await this.demand('human-monitor-command', { 'command-line': `qemu-io ${node} "${command}"` })
    return String(answer)
  }
}

function parse(line: string): Message {
  try {
    return JSON.parse(line) as Message
  } catch {
    return { text: line }
  }
}
function freshImage(): void {
  const made = spawn(process.execPath, [PROGRAM, 'img', 'create', '-q', '-f', 'qcow2', 'disk.qcow2', '1M'], { cwd: folder })
  children.add(made)
}
async function image(): Promise<void> {
  fs.rmSync(path.join(folder, 'disk.qcow2'), { force: true })
  freshImage()
  for (
    let tries = 0;
    !fs.existsSync(path.join(folder, 'disk.qcow2')) || fs.statSync(path.join(folder, 'disk.qcow2')).size < 196616;
    tries++
  ) {
    assert.ok(tries < 1000)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
const DRIVE = ['-drive', 'if=none,id=d,file=disk.qcow2,format=qcow2']
const capabilities = (...names: string[]): object => ({
  capabilities: names.map((capability) => ({ capability, state: true })),
})

test('the image goes over with the machine, its bitmaps too, and only one of the programs has it', async () => {
  await image()
  const near = new Machine(...DRIVE)
  const far = new Machine(...DRIVE, '-incoming', 'defer')
  await near.demand('block-dirty-bitmap-add', { node: 'd', name: 'b' })
  await near.demand('migrate-set-capabilities', capabilities('events', 'dirty-bitmaps', 'pause-before-switchover'))
  await far.demand('migrate-set-capabilities', capabilities('events', 'dirty-bitmaps'))
  assert.is(await near.io('d', 'write -q -P 7 0 64k'), '')
  assert.is(((await far.demand('query-status')) as Message)['status'], 'inmigrate')
  await far.demand('migrate-incoming', { uri: 'unix:socket' })
  await near.demand('migrate', { uri: 'unix:socket' })
  await near.status('pre-switchover')
  assert.match(await near.refusal('migrate', { uri: 'unix:socket' }), /migration process in progress/)
  await near.demand('migrate-continue', { state: 'pre-switchover' })
  await near.status('completed')
  await far.status('completed')
  assert.is(((await near.demand('query-status')) as Message)['status'], 'postmigrate')
  assert.is(((await far.demand('query-status')) as Message)['status'], 'running')
  // What comes first there is what comes first with QEMU.
  assert.equal(
    near.events().filter((name) => name !== 'RESUME'),
    [...['setup', 'MIGRATION_PASS', 'active', 'STOP', 'pre-switchover', 'device', 'MIGRATION_PASS', 'completed']],
  )
  assert.equal(far.events(), ['setup', 'active', 'RESUME', 'completed'])
  const [{ count } = {}] = (await bitmaps(far)) as Message[]
  assert.is(count, 65536)
  assert.is(await far.io('d', 'read -q -P 7 0 64k'), '')
  assert.is(await far.io('d', 'write -q -P 8 64k 64k'), '')
  assert.match(await near.refusal('cont'), /Failed to get "write" lock|Failed to get shared "write" lock/)
  // The other program lets it go, and it comes back.
  await far.demand('stop')
  await far.demand('quit')
  assert.is(await far.ended, 0)
  await near.demand('cont')
  assert.is(await near.io('d', 'read -q -P 8 64k 64k'), '')
  await near.demand('quit')
  assert.is(await near.ended, 0)
})

async function bitmaps(machine: Machine): Promise<unknown> {
  const [node] = (await machine.demand('query-named-block-nodes')) as Message[]
  const nodes = (await machine.demand('query-named-block-nodes')) as Message[]
  return (nodes.find((each) => each['dirty-bitmaps'] !== undefined) ?? node)?.['dirty-bitmaps']
}

test('where nobody answers, or a migration is cancelled, the machine goes on here', async () => {
  await image()
  const near = new Machine(...DRIVE)
  await near.demand('migrate-set-capabilities', capabilities('events', 'pause-before-switchover'))
  await near.demand('migrate', { uri: 'unix:nobody' })
  await near.status('failed')
  assert.equal(await near.demand('query-migrate'), {
    status: 'failed',
    'error-desc': "Failed to connect to 'nobody': No such file or directory",
  })
  await near.demand('migrate', { uri: 'exec:cat > state' })
  await near.status('pre-switchover')
  await near.demand('migrate_cancel')
  await near.status('cancelled')
  assert.is(((await near.demand('query-status')) as Message)['status'], 'running')
  assert.is(await near.io('d', 'write -q 0 64k'), '')
  await near.demand('quit')
})

test('a state in a file is taken up later; what is none ends the program with one line', async () => {
  await image()
  const near = new Machine(...DRIVE, '-S')
  await near.demand('migrate-set-capabilities', capabilities('events'))
  await near.demand('migrate', { uri: 'exec:cat > state' })
  await near.status('completed')
  await near.demand('quit')
  assert.is(await near.ended, 0)
  const far = new Machine(...DRIVE, '-incoming', 'exec:cat state')
  for (;;) {
    const { status } = (await far.demand('query-status')) as { status: string }
    if (status !== 'inmigrate') {
      // It did not run there either.
      assert.is(status, 'paused')
      break
    }
  }
  assert.is(await far.io('d', 'write -q 0 64k'), '')
  await far.demand('quit')
  assert.is(await far.ended, 0)
  const lost = new Machine(...DRIVE, '-incoming', 'exec:echo tea')
  assert.is(await lost.ended, 1)
  assert.match(lost.complaints, /^\S+: load of migration failed: Not a migration stream\n$/)
})

test.run()
