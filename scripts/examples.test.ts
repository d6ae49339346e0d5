/** What may be in the package, and what is missed in it. Packing and installing is `npm run examples`. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const { complaints }: { complaints(files: ReadonlyArray<{ path: string }>): string[] } = require('./examples.cjs')

const WHOLE = [
  'LICENSE',
  'README.md',
  'package.json',
  'bin/mirrorsim.cjs',
  'dist/mirrorsim.json',
  'dist/0123456789abcdef/mirrorsim.js',
  'dist/library/index.cjs',
  'dist/library/index.mjs',
  'dist/library/index.d.mts',
  'dist/library/types/library/index.d.ts',
]
const filesOf = (...names: string[]): Array<{ path: string }> => names.map((path) => ({ path }))

test('a whole package is let through', () => assert.equal(complaints(filesOf(...WHOLE)), []))

for (const name of [
  'sim/world.ts',
  'dist/library/types/sim/world.test.js',
  'dist/0123456789abcdef/mirrorsim.js.cache',
  '.ci/run',
]) {
  test(`${name} is refused`, () => {
    assert.equal(complaints(filesOf(...WHOLE, name)), [`${name} does not belong into the package`])
  })
}

test('a package without the library is noticed', () => {
  const without = WHOLE.filter((name) => name !== 'dist/library/index.mjs')
  assert.equal(complaints(filesOf(...without)), ['dist/library/index.mjs is missing'])
})

test.run()
