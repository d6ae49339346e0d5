import * as fs from 'node:fs'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { VERSION } from './version'

test('the program has the version of its package', () => {
  const text = fs.readFileSync(path.resolve(__dirname, '../../package.json'), 'utf8')
  assert.is(VERSION, JSON.parse(text).version)
})

test.run()
