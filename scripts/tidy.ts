// Rules of the house that a machine can check: sizes, banned identifiers, assertion density, leftovers.
// `tidy(file, source)` returns one line per violation; tidy.test.ts runs it over the tree and plants violations.
import * as ts from 'typescript'

export const FILE_LINES_MAX = 600
export const FUNCTION_LINES_MAX = 70

/** Rooms that run inside worlds: they may not see the real clock, real randomness or the engine's own queues. */
const DETERMINISTIC = /^(impl\/(co|block|jobs|nbd|virtio)|model|sim)\//
const BANNED = new Map([
  ['Date', 'use the kernel’s clock'],
  ['performance', 'use the kernel’s clock'],
  ['setTimeout', 'every wake-up goes through the kernel'],
  ['setInterval', 'every wake-up goes through the kernel'],
  ['setImmediate', 'every wake-up goes through the kernel'],
  ['queueMicrotask', 'every wake-up goes through the kernel'],
  ['Promise', 'every wake-up goes through the kernel'],
  ['WeakRef', 'collection order is not deterministic'],
  ['FinalizationRegistry', 'collection order is not deterministic'],
  ['process', 'worlds do not see the machine'],
  ['require', 'worlds do not see the machine'],
])
/** These files replace the banned things on purpose. */
const EXEMPT = new Set(['sim/tripwires.ts'])

/** Rooms where every function of some length must check what it assumes. */
const ASSERTING = /^impl\/(co|block|jobs)\//
/** Least assertions per exported-size function (8 lines and more), averaged over a file; the file is told by name. */
export const ASSERTIONS_PER_FUNCTION_MIN = 0.5

function isFunction(node: ts.Node): node is ts.FunctionLikeDeclaration {
  return (
    (ts.isFunctionDeclaration(node) ||
      ts.isMethodDeclaration(node) ||
      ts.isFunctionExpression(node) ||
      ts.isArrowFunction(node) ||
      ts.isConstructorDeclaration(node)) &&
    node.body !== undefined
  )
}

function nameOf(node: ts.FunctionLikeDeclaration): string {
  return node.name === undefined ? 'an anonymous function' : node.name.getText()
}

/** Everything that breaks a rule in one file, each as `file:line: what, what to do`. */
export function tidy(file: string, text: string): string[] {
  const found: string[] = []
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true)
  const lineOf = (position: number): number => source.getLineAndCharacterOfPosition(position).line + 1
  const isTest = /[.]test[.]ts$|\/testing[.]ts$/.test(file)
  const deterministic = DETERMINISTIC.test(file) && !isTest && !EXEMPT.has(file)

  const lines = text.split('\n').length - 1
  if (lines > FILE_LINES_MAX) found.push(`${file}:1: ${lines} lines, more than ${FILE_LINES_MAX}: split it by concept`)
  if (!isTest && !/^\s*(\/\*\*|\/\/)/.test(text) && lines > 20) found.push(`${file}:1: no contract at the head of the file`)

  let functions = 0
  let assertions = 0
  const visit = (node: ts.Node): void => {
    if (isFunction(node)) {
      const length = lineOf(node.end) - lineOf(node.getStart()) + 1
      if (length > FUNCTION_LINES_MAX && !isTest) {
        found.push(`${file}:${lineOf(node.getStart())}: ${nameOf(node)} has ${length} lines, more than ${FUNCTION_LINES_MAX}`)
      }
      if (length >= 8) functions++
    }
    if (ts.isCallExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'assert') assertions++
    if (deterministic) checkBanned(node, file, lineOf, found)
    if (isBlindThrows(node))
      found.push(`${file}:${lineOf(node.getStart())}: throws compares no text: give a pattern or a function`)
    ts.forEachChild(node, visit)
  }
  visit(source)
  if (ASSERTING.test(file) && !isTest && functions >= 4 && assertions < functions * ASSERTIONS_PER_FUNCTION_MIN) {
    found.push(`${file}:1: ${assertions} assertions in ${functions} functions: state what each takes and leaves`)
  }
  for (const [index, line] of text.split('\n').entries()) {
    if (/\b(TO[D]O|FIX[M]E|XX[X])\b/.test(line)) found.push(`${file}:${index + 1}: a left-over mark; do it or write why not`)
    if (/^test\.only\(/.test(line)) found.push(`${file}:${index + 1}: test.only hides the others`)
  }
  return found
}

/** uvu takes a text for what to say when nothing is thrown, not for what must be thrown. */
function isBlindThrows(node: ts.Node): boolean {
  if (!ts.isCallExpression(node) || node.expression.getText() !== 'assert.throws') return false
  const [, expected, message] = node.arguments
  const isText = (part: ts.Node): boolean =>
    ts.isStringLiteralLike(part) || ts.isTemplateExpression(part) || (ts.isBinaryExpression(part) && isText(part.left))
  return expected !== undefined && message === undefined && isText(expected)
}

function checkBanned(node: ts.Node, file: string, lineOf: (position: number) => number, found: string[]): void {
  const at = (): string => `${file}:${lineOf(node.getStart())}`
  if (ts.isIdentifier(node)) {
    const isMember = ts.isPropertyAccessExpression(node.parent) && node.parent.name === node
    const isName =
      (ts.isPropertyAssignment(node.parent) || ts.isPropertySignature(node.parent) || ts.isPropertyDeclaration(node.parent)) &&
      node.parent.name === node
    const reason = isMember || isName ? undefined : BANNED.get(node.text)
    if (reason !== undefined) found.push(`${at()}: ${node.text} is banned here: ${reason}`)
  }
  if (ts.isPropertyAccessExpression(node) && node.getText() === 'Math.random')
    found.push(`${at()}: Math.random is banned here: ask the decider`)
  if (ts.isAwaitExpression(node)) found.push(`${at()}: await is banned here: every wake-up goes through the kernel`)
}
