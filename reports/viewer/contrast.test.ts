import * as fs from 'node:fs'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

/** What the guidelines for web content (WCAG 2.1, 1.4.3 and 1.4.11) ask of letters, and of marks that mean something. */
const LETTERS_MIN = 4.5
const MARKS_MIN = 3

const style = fs.readFileSync(path.join(__dirname, 'browser/style.css'), 'utf8')

function theme(selector: string): Map<string, string> {
  const start = style.indexOf(`${selector} {`)
  assert.ok(start >= 0, selector)
  const block = style.slice(start, style.indexOf('}', start))
  return new Map([...block.matchAll(/--([a-z]+): (#[0-9a-f]{6});/g)].map(([, name, value]) => [name!, value!]))
}

function luminance(hex: string): number {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const share = Number.parseInt(hex.slice(at, at + 2), 16) / 255
    return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!
}

function contrast(one: string, other: string): number {
  const [dark, bright] = [luminance(one), luminance(other)].sort((a, b) => a - b)
  return (bright! + 0.05) / (dark! + 0.05)
}

for (const [name, selector] of [
  ['light', ':root'],
  ['dark', ':root[data-theme="dark"]'],
] as const) {
  const colours = theme(selector)
  const ask = (front: string, back: string, min: number): void => {
    const found = contrast(colours.get(front)!, colours.get(back)!)
    assert.ok(found >= min, `${front} on ${back}: ${found.toFixed(2)}, below ${min}`)
  }

  test(`letters can be read on a projector, ${name}`, () => {
    for (const back of ['back', 'panel']) for (const front of ['text', 'dim', 'bad']) ask(front, back, LETTERS_MIN)
    ask('back', 'accent', LETTERS_MIN)
    ask('back', 'bad', LETTERS_MIN)
  })

  test(`marks can be told from what they lie on, ${name}`, () => {
    for (const mark of ['flight', 'guest', 'wrong', 'zero', 'cow', 'cursor', 'dirty', 'read', 'bad'])
      ask(mark, 'panel', MARKS_MIN)
    ask('wrong', 'equal', MARKS_MIN)
  })
}

test.run()
