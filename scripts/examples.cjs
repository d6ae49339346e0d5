// npm run examples: packs the package, says what is in it and refuses what should not be; installs it into an empty folder as
// a user would, and there runs its programs and the projects of examples/. What npm has fetched before is used again.
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const root = path.resolve(__dirname, '..')
const EXAMPLES = path.join(root, 'examples')
const TYPES = path.join(root, 'node_modules/@types')
const PACKED_BYTES_MAX = 2 * 1024 * 1024

/** All that a package may hold. */
const WANTED = [
  /^(package\.json|README\.md|LICENSE)$/,
  /^bin\/mirrorsim\.cjs$/,
  /^dist\/mirrorsim\.json$/,
  /^dist\/[0-9a-f]{16}\/mirrorsim\.js$/,
  /^dist\/library\/(index\.(cjs|mjs|d\.mts)|types\/.*\.d\.ts)$/,
]
const NEEDED = [
  'bin/mirrorsim.cjs',
  'dist/mirrorsim.json',
  'dist/library/index.cjs',
  'dist/library/index.mjs',
  'dist/library/index.d.mts',
]

function run(command, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status ?? error?.message}:\n${stdout}${stderr}`)
  return stdout
}

/** What is wrong with the list of files; empty: nothing. */
function complaints(files) {
  const names = files.map(({ path: name }) => name)
  return [
    ...names
      .filter((name) => !WANTED.some((pattern) => pattern.test(name)))
      .map((name) => `${name} does not belong into the package`),
    ...NEEDED.filter((name) => !names.includes(name)).map((name) => `${name} is missing`),
  ]
}

function pack(folder) {
  const [packed] = JSON.parse(
    run('npm', ['pack', '--json', '--silent', '--pack-destination', folder], root).replace(/^[^[]*/, ''),
  )
  const { files, size: packedBytes, unpackedSize: bytes, filename } = packed
  const rooms = new Map()
  for (const { path: name, size } of files) {
    const room = name
      .split('/')
      .slice(0, name.startsWith('dist/library/') ? 2 : 1)
      .join('/')
    const { count, sum } = rooms.get(room) ?? { count: 0, sum: 0 }
    rooms.set(room, { count: count + 1, sum: sum + size })
  }
  for (const [room, { count, sum }] of rooms)
    console.log(`  ${room.padEnd(16)}${String(count).padStart(4)} files ${kilobytes(sum)}`)
  console.log(
    `  ${'in all'.padEnd(16)}${String(files.length).padStart(4)} files ${kilobytes(bytes)}, packed ${kilobytes(packedBytes)}`,
  )
  const wrong = complaints(files)
  if (packedBytes > PACKED_BYTES_MAX) wrong.push(`it is larger than ${kilobytes(PACKED_BYTES_MAX)}`)
  if (wrong.length > 0) throw new Error(`the package is not as it should be:\n  ${wrong.join('\n  ')}`)
  return path.join(folder, filename)
}

const kilobytes = (bytes) => `${Math.ceil(bytes / 1024)} KiB`

/**
 * A lock file for a project with the package and what that needs, in the versions of this repository: npm then asks no
 * registry what there is.
 */
function lockFor(project, tarball) {
  const ours = JSON.parse(fs.readFileSync(path.join(root, 'package-lock.json'), 'utf8'))
  const { name, version, bin, dependencies, optionalDependencies } = JSON.parse(
    fs.readFileSync(path.join(root, 'package.json'), 'utf8'),
  )
  const others = Object.entries(ours.packages).filter(([place, entry]) => place !== '' && entry.dev !== true)
  const self = { version, resolved: `file:${tarball}`, license: 'MIT', bin, dependencies, optionalDependencies }
  const packages = {
    '': { name: project.name, version: project.version, dependencies: project.dependencies },
    [`node_modules/${name}`]: self,
    ...Object.fromEntries(others),
  }
  return { name: project.name, version: project.version, lockfileVersion: 3, requires: true, packages }
}

function install(example, tarball, folder) {
  fs.cpSync(path.join(EXAMPLES, example), folder, { recursive: true, filter: (file) => !file.includes('node_modules') })
  const file = path.join(folder, 'package.json')
  const project = JSON.parse(fs.readFileSync(file, 'utf8'))
  project.dependencies.mirrorsim = `file:${tarball}`
  // The compiler and the types of Node are those of this repository.
  delete project.devDependencies
  fs.writeFileSync(file, JSON.stringify(project))
  fs.writeFileSync(path.join(folder, 'package-lock.json'), JSON.stringify(lockFor(project, tarball)))
  run('npm', ['ci', '--prefer-offline', '--omit=optional', '--no-audit', '--no-fund', '--silent'], folder)
  return project
}

function tryPrograms(folder) {
  const { bin, version } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
  const program = (name) => path.join(folder, 'node_modules/.bin', name)
  for (const name of Object.keys(bin)) {
    const said = run(program(name), ['--version'], folder)
    if (!said.includes(version) && !/version \d/.test(said)) throw new Error(`${name} --version says ${said}`)
  }
  run(program('mirrorsim-img'), ['create', '-q', '-f', 'qcow2', 'disk.qcow2', '1M'], folder)
  run(program('mirrorsim'), ['mirror', '-q', '--source-format', 'qcow2', 'disk.qcow2', 'copy.raw'], folder)
  console.log(`  ${Object.keys(bin).length} programs start, an image is made and mirrored`)
}

function tryExample(folder, { scripts }) {
  run(process.execPath, [require.resolve('typescript/bin/tsc'), '-p', folder, '--typeRoots', TYPES], folder)
  console.log('  its types fit')
  for (const name of Object.keys(scripts).filter((one) => one.startsWith('start'))) {
    run('npm', ['run', '--silent', name], folder)
    console.log(`  npm run ${name}: well`)
  }
}

function main() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mirrorsim-package-'))
  try {
    console.log('the package:')
    const tarball = pack(folder)
    // The others are no projects in JavaScript.
    const projects = fs.readdirSync(EXAMPLES).filter((example) => fs.existsSync(path.join(EXAMPLES, example, 'package.json')))
    for (const [index, example] of projects.entries()) {
      console.log(`examples/${example}:`)
      const place = path.join(folder, example)
      const project = install(example, tarball, place)
      if (index === 0) tryPrograms(place)
      tryExample(place, project)
    }
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

module.exports = { complaints }
if (require.main === module) {
  try {
    main()
  } catch (error) {
    console.error(`examples: ${error.message}`)
    process.exitCode = 1
  }
}
