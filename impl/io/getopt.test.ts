import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { GetOpt, type LongOption } from './getopt'

const LONG: readonly LongOption[] = [
  { name: 'format', argument: 'required', key: 'f' },
  { name: 'force', argument: 'none', key: 'U' },
  { name: 'output', argument: 'required', key: 'output' },
  { name: 'help', argument: 'none', key: 'h' },
  { name: 'image-opts', argument: 'none', key: 'image-opts' },
  { name: 'image', argument: 'optional', key: 'i' },
]

function all(letters: string, words: string[], long = LONG): string {
  const said: string[] = []
  const getopt = new GetOpt('prog', words, letters, long, (line) => said.push(line))
  for (let key = getopt.next(); key !== null; key = getopt.next())
    said.push(getopt.argument === '' ? key : `${key}=${getopt.argument}`)
  return [...said, '|', ...getopt.operands].join(' ')
}

test('letters stand together, and their arguments behind or after them', () => {
  assert.is(all('ab:c', ['-acbX', 'o', '-b', 'Y', 'p']), 'a c b=X b=Y | o p')
  assert.is(all('ab:', ['--', '-a']), '| -a')
  assert.is(all('+a', ['o', '-a']), '| o -a')
  assert.is(all('a', ['-', '-a']), 'a | -')
})

test('long names may be shortened as far as they are one', () => {
  assert.is(all('', ['--format=x', '--form', 'y', '--out=z', '--image', '--image=q']), 'f=x f=y output=z i i=q |')
  assert.is(all('', ['--fo']), "prog: option '--fo' is ambiguous; possibilities: '--format' '--force' ? |")
})

test('wrong options are named in the words of glibc', () => {
  assert.is(all('a', ['-ax']), "a prog: invalid option -- 'x' ? |")
  assert.is(all('a:', ['-a']), "prog: option requires an argument -- 'a' ? |")
  assert.is(all('', ['--nothing']), "prog: unrecognized option '--nothing' ? |")
  assert.is(all('', ['--help=1']), "prog: option '--help' doesn't allow an argument ? |")
  assert.is(all('', ['--format']), "prog: option '--format' requires an argument ? |")
})

test.run()
