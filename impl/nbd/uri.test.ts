import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { nbdName, parseNbdName } from './uri'

const inet = (host: string, port: number) => ({ type: 'inet', host, port })
const unix = (path: string) => ({ type: 'unix', path })

test('every form of a name means what QEMU takes it for', () => {
  for (const [name, server, exportName, isTls] of [
    ['nbd://localhost/disk', inet('localhost', 10809), 'disk', false],
    ['nbd://localhost', inet('localhost', 10809), '', false],
    ['nbd+tcp://localhost:1234/a/b', inet('localhost', 1234), 'a/b', false],
    ['nbd://[::1]:5/x%20y', inet('::1', 5), 'x y', false],
    ['nbd+unix:///?socket=/run/s', unix('/run/s'), '', false],
    ['nbd+unix:///disk?socket=/run/s', unix('/run/s'), 'disk', false],
    ['nbd+unix://?socket=/run/s', unix('/run/s'), '', false],
    ['nbds://host/x', inet('host', 10809), 'x', true],
    ['nbds+unix:///x?socket=/s', unix('/s'), 'x', true],
    ['nbd:localhost:10810', inet('localhost', 10810), '', false],
    ['nbd:[::1]:10810:exportname=e:f', inet('::1', 10810), 'e:f', false],
    ['nbd:unix:/run/s:exportname=e', unix('/run/s'), 'e', false],
  ] as const) {
    assert.equal(parseNbdName(name), { server, exportName, isTls }, name)
  }
})

test('what is none is refused in QEMU’s words', () => {
  for (const [name, text] of [
    ['nbd:', 'NBD server address missing'],
    ['nbd:foo', "error parsing address 'foo'"],
    ['nbd+unix:///x', 'No valid URL specified'],
    ['nbd://h:1:2/x', 'No valid URL specified'],
    ['nbd+unix://h/x?socket=/a', 'No valid URL specified'],
    ['nbd+unix:///x?socket=/a&y=1', 'No valid URL specified'],
    ['nbd://h/x?socket=/a', 'No valid URL specified'],
    ['nbd:///x', 'No valid URL specified'],
    ['nbd://h/%ff', 'No valid URL specified'],
  ] as const) {
    let message = ''
    try {
      parseNbdName(name)
    } catch (error) {
      message = (error as Error).message
    }
    assert.is(message, text, name)
  }
})

test('a target has a name that leads back to it', () => {
  for (const name of ['nbd://host:1/a', 'nbd+unix:///a?socket=/s', 'nbd+unix://?socket=/s', 'nbds://[::1]:10809/x%20y']) {
    assert.is(nbdName(parseNbdName(name)), name)
  }
})

test.run()
