import * as fs from 'node:fs'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { comparable, DIFFERENCES } from './interop_program_differences'
import { drawConversation } from './interop_program_plan'
import { wordsOf } from './interop_programs'

test('a line is cut at blanks outside of quotes', () => {
  assert.equal(wordsOf("qemu-io -c 'read 0 1' -c length a"), ['qemu-io', '-c', 'read 0 1', '-c', 'length', 'a'])
  assert.equal(wordsOf("create -o 'size=' ''"), ['create', '-o', 'size=', ''])
  assert.equal(wordsOf("-o x='a b'"), ['-o', 'x=a b'])
})

test('what differs by version is brought to one form, and nothing else', () => {
  assert.is(
    comparable('64 KiB, 1 ops; 00.01 sec (8.958 MiB/sec and 143.3325 ops/sec)\n'),
    comparable('64 KiB, 1 ops; 00.00 sec (inf EiB/sec and inf ops/sec)\n'),
  )
  const old = '{\n    "virtual-size": 1,\n    "format": "raw",\n    "actual-size": 5\n}'
  const young =
    '{\n    "children": [\n        {\n            "x": [\n            ]\n        }\n    ],\n    "virtual-size": 1,\n    "format": "raw",\n    "actual-size": 7\n}'
  assert.is(comparable(old), comparable(young))
  assert.is.not(comparable('read 512/512 bytes'), comparable('read 512/1024 bytes'))
  assert.is.not(comparable('qemu-img: A'), comparable('qemu-img: B'))
  assert.is(
    comparable('1         s1                    0 B 2026-11-25 02:16:56 00:00:00.000          0'),
    comparable('1       s1                    0 B 2026-11-25 02:16:57  0000:00:00.000          0'),
  )
})

test('each difference has its reason in the documentation', () => {
  const text = fs.readFileSync(path.join(__dirname, '../docs/programs-differences.md'), 'utf8')
  for (const { name } of DIFFERENCES) assert.ok(text.includes(`\`${name}\``), name)
})

test('one seed draws one conversation', () => {
  assert.equal(drawConversation('x.1'), drawConversation('x.1'))
  assert.not.equal(drawConversation('x.1').lines, drawConversation('x.2').lines)
  for (let index = 0; index < 50; index++) {
    const { lines } = drawConversation(`x.${index}`)
    for (const line of lines) assert.match(line, /^qemu-(img|io) /)
  }
})

test.run()
