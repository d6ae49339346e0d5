// Runs every *.test.ts beside the code with uvu: node scripts/test.cjs [PATTERN]
// uvu resolves -r from its own folder, hence the absolute hook path; the outer -r reaches worker threads.
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')

const root = path.resolve(__dirname, '..')
const hook = path.join(__dirname, 'tsreg.cjs')
const rooms = ['impl', 'model', 'sim', 'properties', 'scenarios', 'reports', 'library', 'commands', 'scripts']

// A file that forgets `test.run()` would pass with no test at all.
function testFiles(dir) {
  return fs.readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const full = path.join(dir, entry.name)
    if (entry.isDirectory()) return entry.name === 'node_modules' || entry.name === 'out' ? [] : testFiles(full)
    return entry.name.endsWith('.test.ts') ? [full] : []
  })
}
const filter = new RegExp(process.argv[2] ?? '')
const files = rooms.flatMap((room) => (fs.existsSync(path.join(root, room)) ? testFiles(path.join(root, room)) : []))
const silent = files.filter((file) => !/\.run\(\)/.test(fs.readFileSync(file, 'utf8')))
if (silent.length > 0) {
  console.error(`these test files never call run(): ${silent.map((file) => path.relative(root, file)).join(', ')}`)
  process.exit(1)
}
const chosen = files.filter((file) => filter.test(path.relative(root, file)))
if (chosen.length === 0) {
  console.error(`no test file matches ${filter}`)
  process.exit(2)
}
const pattern = `^(${chosen.map((file) => path.relative(root, file).replace(/[.]/g, '\\.')).join('|')})$`
const result = spawnSync(
  process.execPath,
  [
    '--enable-source-maps',
    '-r',
    hook,
    path.join(root, 'node_modules/uvu/bin.js'),
    '-r',
    hook,
    root,
    pattern,
    '-i',
    'node_modules',
  ],
  { cwd: root, stdio: 'inherit' },
)
process.exit(result.status ?? 1)
