import { spawn } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EIO, ENOTSUP } from '../co'
import { loadNative } from '../host/native'
import { RealFile } from '../host/real_file'
import { type MirrorOutcome, MirrorProgram, type MirrorRequest } from './mirror'
import { ProgramFailure } from './mirror_failure'

const KIB = 1024
const MIB = 1024 * KIB
const PROGRAM = path.resolve(__dirname, '../../bin/mirrorsim.cjs')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mirror-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))
const nativeTest = loadNative() === null ? test.skip : test

const at = (name: string): string => path.join(folder, name)
const sourcePath = at('source.raw')
const destinationPath = at('destination.raw')

/** 4 MiB with 512 KiB of data in the middle. */
function makeSource(): void {
  const descriptor = fs.openSync(sourcePath, 'w')
  fs.ftruncateSync(descriptor, 4 * MIB)
  fs.writeSync(descriptor, Buffer.alloc(512 * KIB, 'source'), 0, 512 * KIB, MIB)
  fs.closeSync(descriptor)
}

test.before.each(() => {
  for (const name of fs.readdirSync(folder)) fs.rmSync(at(name), { recursive: true, force: true })
  makeSource()
})

function mirror(more: Partial<MirrorRequest> = {}): Promise<MirrorOutcome> {
  const program = new MirrorProgram({
    sourcePath,
    destinationPath,
    sourceFormat: null,
    format: null,
    clusterBytes: 0,
    extendedL2: false,
    sync: 'full',
    copyMode: 'background',
    granularityBytes: 0,
    bufferBytes: 0,
    speedBytesPerSecond: 0,
    unmap: true,
    targetIsZero: false,
    discard: 'unmap',
    detectZeroes: null,
    preallocation: null,
    guestSeed: null,
    guestOperations: 0,
    verifies: true,
    force: false,
    usesThreads: false,
    ...more,
  })
  return program.run()
}

async function failure(more: Partial<MirrorRequest>): Promise<ProgramFailure> {
  const error = await mirror(more).then(
    () => assert.unreachable('it should have failed'),
    (reason) => reason,
  )
  assert.instance(error, ProgramFailure)
  return error
}

function isSame(): boolean {
  return fs.readFileSync(destinationPath).equals(fs.readFileSync(sourcePath))
}
const allocated = (file: string): number => fs.statSync(file).blocks * 512

nativeTest('a sparse image is copied with its holes', async () => {
  const outcome = await mirror()
  assert.ok(isSame())
  assert.is(outcome.copiedBytes, 512 * KIB)
  assert.is(outcome.skippedZeroBytes, 4 * MIB - 512 * KIB)
  assert.is(outcome.isVerified, true)
  assert.is(outcome.destination.allocatedBytes, allocated(destinationPath))
  assert.ok(allocated(destinationPath) <= 640 * KIB)
})

nativeTest('what the system does not copy by itself is read and written', async () => {
  const { copyFrom } = RealFile.prototype
  for (const errno of [ENOTSUP, EIO]) {
    let calls = 0
    RealFile.prototype.copyFrom = function* () {
      calls++
      return errno
    }
    try {
      const outcome = await mirror()
      assert.is(outcome.copiedBytes, 512 * KIB)
    } finally {
      RealFile.prototype.copyFrom = copyFrom
    }
    assert.ok(calls > 0)
    assert.ok(isSame())
    fs.unlinkSync(destinationPath)
  }
})

nativeTest('an existing destination is overwritten, and gives back what it does not need', async () => {
  fs.writeFileSync(destinationPath, Buffer.alloc(4 * MIB, 'old'))
  await mirror()
  assert.ok(isSame())
  assert.ok(allocated(destinationPath) <= 640 * KIB)
})

test('an existing destination that may not give space back keeps its allocation', async () => {
  fs.writeFileSync(destinationPath, Buffer.alloc(4 * MIB, 'old'))
  const before = allocated(destinationPath)
  await mirror({ discard: 'ignore' })
  assert.ok(isSame())
  assert.ok(allocated(destinationPath) >= before - 64 * KIB)
})

nativeTest('a created destination can have all its space from the start', async () => {
  for (const preallocation of ['falloc', 'full'] as const) {
    await mirror({ preallocation, discard: 'ignore' })
    assert.ok(isSame())
    assert.ok(allocated(destinationPath) >= 4 * MIB, preallocation)
    fs.unlinkSync(destinationPath)
  }
})

test('threads copy the same', async () => {
  await mirror({ usesThreads: true })
  assert.ok(isSame())
})

test('images that are empty, or end inside a sector, are copied to the byte', async () => {
  for (const lengthBytes of [0, 1, 1000, 65_537]) {
    fs.writeFileSync(sourcePath, Buffer.alloc(lengthBytes, 'x'))
    const outcome = await mirror()
    assert.ok(isSame(), String(lengthBytes))
    assert.is(outcome.destination.lengthBytes, lengthBytes)
    fs.unlinkSync(destinationPath)
  }
})

test('the source is not touched', async () => {
  fs.chmodSync(sourcePath, 0o444)
  const before = fs.statSync(sourcePath)
  const content = fs.readFileSync(sourcePath)
  await mirror()
  const after = fs.statSync(sourcePath)
  assert.is(after.mtimeMs, before.mtimeMs)
  assert.is(after.blocks, before.blocks)
  assert.ok(fs.readFileSync(sourcePath).equals(content))
})

for (const copyMode of ['background', 'write-blocking'] as const) {
  test(`a guest of a seed leaves the same behind each time, and the copy has it (${copyMode})`, async () => {
    const found: Buffer[] = []
    for (let round = 0; round < 2; round++) {
      makeSource()
      fs.rmSync(destinationPath, { force: true })
      const outcome = await mirror({ copyMode, guestSeed: 7, guestOperations: 60 })
      assert.is(outcome.guestOperations, 60)
      assert.ok(isSame())
      found.push(fs.readFileSync(sourcePath))
    }
    assert.ok(found[0]!.equals(found[1]!))
    makeSource()
    assert.not.ok(found[0]!.equals(fs.readFileSync(sourcePath)))
  })
}

test('what is refused leaves no file and changes none', async () => {
  const cases: Array<[Partial<MirrorRequest>, RegExp]> = [
    [{ sourcePath: at('absent') }, /absent: No such file or directory: give the path of an existing image$/],
    [{ sourcePath: folder }, /: Is a directory: /],
    [{ destinationPath: folder }, /: Is a directory: /],
    [{ destinationPath: at('absent/copy') }, /copy: No such file or directory: create its directory first$/],
    [{ destinationPath: `${sourcePath}/copy` }, /copy: Not a directory: /],
    [{ granularityBytes: 3 }, /Parameter 'granularity' expects a value in range/],
    [{ detectZeroes: 'unmap', discard: 'ignore' }, /detect-zeroes to unmap is not allowed/],
  ]
  for (const [request, text] of cases) {
    const error = await failure(request)
    assert.match(error.message, text)
    assert.is(error.exitCode, 2)
    assert.equal(fs.readdirSync(folder), ['source.raw'])
  }
})

test('the source is no destination, by whatever name', async () => {
  const before = fs.readFileSync(sourcePath)
  fs.symlinkSync(sourcePath, at('symbolic'))
  fs.linkSync(sourcePath, at('hard'))
  for (const name of ['source.raw', 'symbolic', 'hard']) {
    const error = await failure({ destinationPath: at(name) })
    assert.match(error.message, /: it is the same file as .*: choose another destination$/)
    assert.is(error.exitCode, 2)
  }
  assert.ok(fs.readFileSync(sourcePath).equals(before))
})

test('a link to nothing is not followed', async () => {
  fs.symlinkSync(at('nowhere'), at('dangling'))
  const error = await failure({ destinationPath: at('dangling') })
  assert.match(error.message, /dangling: File exists: it is a link to nothing; remove it$/)
  assert.not.ok(fs.existsSync(at('nowhere')))
})

test('a destination of another length is left alone, unless it may be changed', async () => {
  for (const lengthBytes of [MIB, 8 * MIB]) {
    const old = Buffer.alloc(lengthBytes, 'old')
    fs.writeFileSync(destinationPath, old)
    const error = await failure({})
    assert.match(error.message, new RegExp(`${lengthBytes} bytes long, not ${4 * MIB} as .*--force$`))
    assert.is(error.exitCode, 2)
    assert.ok(fs.readFileSync(destinationPath).equals(old))
    await mirror({ force: true })
    assert.ok(isSame())
  }
})

test('space is not set aside for a destination that exists', async () => {
  fs.writeFileSync(destinationPath, 'old')
  const error = await failure({ preallocation: 'full' })
  assert.match(error.message, /it exists already: remove it, or leave --preallocation out$/)
  assert.is(fs.readFileSync(destinationPath, 'utf8'), 'old')
})

interface Ended {
  code: number | null
  out: string
  err: string
}

/** Runs the program as its users do. `during` is called once with the running program. */
function run(
  args: string[],
  env: Record<string, string> = {},
  during?: (kill: (signal?: NodeJS.Signals) => void) => void,
): Promise<Ended> {
  return runCommand([process.execPath, PROGRAM, ...args], env, during)
}

function runCommand(
  argv: string[],
  env: Record<string, string>,
  during?: (kill: (signal?: NodeJS.Signals) => void) => void,
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(argv[0]!, argv.slice(1), { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    const ended: Ended = { code: null, out: '', err: '' }
    child.stdout.on('data', (text) => {
      ended.out += text
    })
    child.stderr.on('data', (text) => {
      ended.err += text
    })
    child.on('error', reject)
    child.on('close', (code) => resolve({ ...ended, code }))
    during?.((signal = 'SIGINT') => child.kill(signal))
  })
}

test('the program tells what it has done, for people and for programs', async () => {
  const people = await run(['mirror', sourcePath, destinationPath])
  assert.is(people.code, 0, people.err)
  assert.match(people.out, /copied\s+512 KiB of data/)
  assert.match(people.out, /verified\s+identical/)
  assert.is(people.err, '')
  const programs = await run(['mirror', '--json', '--no-verify', sourcePath, destinationPath])
  assert.is(programs.code, 0)
  const { source, isVerified } = JSON.parse(programs.out)
  assert.is(source.lengthBytes, 4 * MIB)
  assert.is(isVerified, false)
})

test('wrong usage is one line and exit code 2', async () => {
  for (const args of [
    ['mirror', sourcePath],
    ['mirror', '--speed', 'fast', sourcePath, destinationPath],
    ['mirro'],
    ['--bogus'],
  ]) {
    const { code, out, err } = await run(args)
    assert.is(code, 2, args.join(' '))
    assert.is(out, '')
    assert.match(err, /^mirrorsim: [^\n]+\n$/)
  }
})

test('a disk that takes no more is one line and exit code 1, and no copy is left', async () => {
  fs.truncateSync(sourcePath, 64 * MIB)
  const limited = `trap '' XFSZ; ulimit -f 2048; exec "$0" "$@"`
  const { code, err } = await runCommand(
    ['sh', '-c', limited, process.execPath, PROGRAM, 'mirror', sourcePath, destinationPath],
    {},
  )
  assert.is(code, 1)
  assert.match(err, /^mirrorsim: [^\n]+: File too large: [^\n]+\n$/)
  assert.not.ok(fs.existsSync(destinationPath))
  fs.writeFileSync(destinationPath, '')
  const again = await runCommand(
    ['sh', '-c', limited, process.execPath, PROGRAM, 'mirror', '-f', sourcePath, destinationPath],
    {},
  )
  assert.is(again.code, 1)
  assert.match(again.err, /destination[.]raw is not a whole copy now\)\n$/)
})

test('an interrupted copy is removed, and the exit code says so', async () => {
  const { code, err } = await run(['mirror', '--quiet', '--speed', '64K', sourcePath, destinationPath], {}, (kill) => {
    const poll = setInterval(() => {
      // The source is copied slowly from here on.
      if (fs.statSync(`${destinationPath}.partial`, { throwIfNoEntry: false })?.size !== 4 * MIB) return
      clearInterval(poll)
      kill()
    }, 5)
  })
  assert.is(code, 130)
  assert.is(err, 'mirrorsim: interrupted: no copy is left\n')
  assert.equal(fs.readdirSync(folder), ['source.raw'])
})

test('a copy that was killed is not taken for one, nor overwritten', async () => {
  const partial = `${destinationPath}.partial`
  const slowly = ['mirror', '--quiet', '--speed', '64K', sourcePath, destinationPath]
  const killed = await run(slowly, {}, (kill) => {
    const poll = setInterval(() => {
      if (fs.statSync(partial, { throwIfNoEntry: false })?.size !== 4 * MIB) return
      clearInterval(poll)
      kill('SIGKILL')
    }, 5)
  })
  assert.is(killed.code, null)
  assert.equal(fs.readdirSync(folder), ['destination.raw.partial', 'source.raw'])
  const again = await run(['mirror', sourcePath, destinationPath])
  assert.is(again.code, 2)
  assert.match(again.err, /^mirrorsim: [^\n]*[.]partial: it is there already: [^\n]+: remove it if nobody writes to it\n$/)
  fs.unlinkSync(partial)
  assert.is((await run(['mirror', sourcePath, destinationPath])).code, 0)
  assert.equal(fs.readdirSync(folder), ['destination.raw', 'source.raw'])
})

test('a file that takes the name meanwhile is not overwritten', async () => {
  const { code, err } = await run(['mirror', '-q', '--speed', '4M', sourcePath, destinationPath], {}, () => {
    const poll = setInterval(() => {
      if (!fs.existsSync(`${destinationPath}.partial`)) return
      clearInterval(poll)
      fs.writeFileSync(destinationPath, 'mine')
    }, 1)
  })
  assert.is(code, 1)
  assert.match(err, /^mirrorsim: [^\n]+: a file of this name has appeared meanwhile: choose another one\n$/)
  assert.is(fs.readFileSync(destinationPath, 'utf8'), 'mine')
  assert.equal(fs.readdirSync(folder), ['destination.raw', 'source.raw'])
})

test('a result that cannot be printed is a failure, and one that nobody reads is no defect', async () => {
  const lost = await runCommand(['sh', '-c', '"$@" > /dev/full', 'sh', process.execPath, PROGRAM, '--help'], {})
  assert.is(lost.code, 1)
  assert.is(lost.err, 'mirrorsim: standard output: No space left on device: the result is not printed\n')
  const unread = await runCommand(['sh', '-c', '"$@" | true', 'sh', process.execPath, PROGRAM, 'mirror', '--help'], {})
  assert.is(unread.code, 0)
  assert.is(unread.err, '')
})

test('without native calls a copy is whole, and a created one is still thin', async () => {
  const { code, err } = await run(['mirror', '--preallocation', 'off', sourcePath, destinationPath], { MIRRORSIM_NO_NATIVE: '1' })
  assert.is(code, 0, err)
  assert.ok(isSame())
  assert.ok(allocated(destinationPath) <= 640 * KIB)
  fs.writeFileSync(destinationPath, Buffer.alloc(4 * MIB, 'old'))
  assert.is((await run(['mirror', sourcePath, destinationPath], { MIRRORSIM_NO_NATIVE: '1' })).code, 0)
  assert.ok(isSame())
})

test.run()
