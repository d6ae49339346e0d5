/**
 * Operator mutants of a file: every small change that `operator_rules` knows, with an id that says where it is, and one
 * text of the file that holds all of them, each behind a switch. So a file is compiled once for thousands of mutants.
 */
import { createHash } from 'node:crypto'
import * as ts from 'typescript'
import { type Change, changesOf, isLeftAlone, type OperatorName } from './operator_rules'

export interface OperatorMutant {
  /** `file:line:column:operator:hash of the replacement`. */
  id: string
  file: string
  line: number
  column: number
  operator: OperatorName
  /** The innermost named function around it, or ''. */
  within: string
  /** The line as it stands, without the blanks around. */
  source: string
  /** What is there, and what is there instead; '' where something is left out. */
  from: string
  to: string
  /** Which one, from 1, of those of the file that are alike in all of these but their places. */
  nth: number
}

/** A change with its place in the text, and its number within the file. */
interface Place {
  change: Change
  number: number
}

const isWrapped = (change: Change): boolean => change.replacement === null

function parse(file: string, text: string): ts.SourceFile {
  return ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true)
}

function placesOf(source: ts.SourceFile): Place[] {
  const places: Place[] = []
  const visit = (node: ts.Node): void => {
    if (isLeftAlone(node)) return
    for (const change of changesOf(node)) places.push({ change, number: places.length })
    ts.forEachChild(node, visit)
  }
  visit(source)
  return places
}

/** All mutants of a file, in the order of their numbers. */
export function mutantsOf(file: string, text: string): OperatorMutant[] {
  const source = parse(file, text)
  const lines = text.split('\n')
  const seen = new Map<string, number>()
  return placesOf(source).map(({ change: { node, operator, replacement } }) => {
    const { line, character } = source.getLineAndCharacterOfPosition(node.getStart())
    const to = replacement ?? ''
    const hash = createHash('sha256').update(to).digest('hex').slice(0, 8)
    const alike = { within: nameAround(node), source: lines[line]!.trim(), operator, from: node.getText(), to }
    const nth = (seen.get(JSON.stringify(alike)) ?? 0) + 1
    seen.set(JSON.stringify(alike), nth)
    const id = `${file}:${line + 1}:${character + 1}:${operator}:${hash}`
    return { id, file, line: line + 1, column: character + 1, ...alike, nth }
  })
}

function nameAround(node: ts.Node): string {
  const owner = ts.findAncestor(node, (above) => ts.isFunctionLike(above) && above.name !== undefined)
  if (owner !== undefined && ts.isFunctionLike(owner)) return owner.name?.getText() ?? ''
  return ts.findAncestor(node, ts.isConstructorDeclaration) === undefined ? '' : 'constructor'
}

/** What the rewritten text calls: the expressions that give the functions, as they stand in it. */
export interface SwitchSlots {
  /** `is(number)`: whether this mutant is on. */
  is: string
  /**
   * `seen(number, mutated, value)`: gives `value`, and learns whether the mutant gives another one here. Absent: every
   * mutant is behind `is`.
   */
  seen?: string
}

/** True where nothing happens but that a value is found, so that it may be found twice. */
function isPure(node: ts.Node): boolean {
  if (ts.isCallExpression(node)) return /^Math\.\w+$/.test(node.expression.getText()) && node.arguments.every(isPure)
  if (ts.isPrefixUnaryExpression(node)) return !COUNTING.has(node.operator) && isPure(node.operand)
  if (ts.isBinaryExpression(node)) {
    const { kind } = node.operatorToken
    const isAssignment = kind >= ts.SyntaxKind.FirstAssignment && kind <= ts.SyntaxKind.LastAssignment
    return !isAssignment && isPure(node.left) && isPure(node.right)
  }
  if (ts.isPropertyAccessExpression(node) || ts.isNonNullExpression(node) || ts.isParenthesizedExpression(node)) {
    return isPure(node.expression)
  }
  if (ts.isElementAccessExpression(node)) return isPure(node.expression) && isPure(node.argumentExpression)
  if (ts.isConditionalExpression(node)) return [node.condition, node.whenTrue, node.whenFalse].every(isPure)
  const { kind } = node
  return ts.isIdentifier(node) || ts.isLiteralExpression(node) || PURE_KEYWORDS.has(kind)
}
const COUNTING = new Set<ts.SyntaxKind>([ts.SyntaxKind.PlusPlusToken, ts.SyntaxKind.MinusMinusToken])
const PURE_KEYWORDS = new Set([
  ts.SyntaxKind.ThisKeyword,
  ts.SyntaxKind.TrueKeyword,
  ts.SyntaxKind.FalseKeyword,
  ts.SyntaxKind.NullKeyword,
])

/** The text with every mutant behind a switch, numbers from `firstNumber` on. All stays on its line. */
export function withSwitches(file: string, text: string, firstNumber: number, slots: SwitchSlots): string {
  const source = parse(file, text)
  const byNode = new Map<ts.Node, Place[]>()
  for (const place of placesOf(source)) {
    const { node } = place.change
    byNode.set(node, [...(byNode.get(node) ?? []), place])
  }
  const is = ({ number }: Place): string => `$is(${firstNumber + number})`

  /** The text of a node from `from` on, its children rewritten. */
  const inner = (node: ts.Node, from: number): string => {
    let out = ''
    let at = from
    ts.forEachChild(node, (child) => {
      const start = child.getStart()
      const rewritten = rewrite(child)
      if (rewritten === null) return
      out += text.slice(at, start) + rewritten
      at = child.end
    })
    return out + text.slice(at, node.end)
  }
  /** null: as it stands. */
  const rewrite = (node: ts.Node): string | null => {
    if (isLeftAlone(node)) return null
    const start = node.getStart()
    const body = inner(node, start)
    const places = byNode.get(node) ?? []
    const [wrapped] = places.filter(({ change }) => isWrapped(change))
    if (wrapped !== undefined) {
      return ts.isBlock(node) ? `{if(${is(wrapped)})return;${body.slice(1)}` : `{if(!${is(wrapped)})${body}}`
    }
    if (places.length === 0) return body === text.slice(start, node.end) ? null : body
    if (slots.seen !== undefined && isPure(node)) {
      const see = (value: string, { number, change }: Place): string =>
        `$seen(${firstNumber + number},()=>(${change.replacement}),${value})`
      return places.reduce(see, `(${body})`)
    }
    const others = places.map((place) => `${is(place)}?(${place.change.replacement}):`)
    return `(${others.join('')}(${body}))`
  }
  const seen = slots.seen === undefined ? '' : `const $seen=${slots.seen};`
  return `const $is=${slots.is};${seen}${inner(source, 0)}`
}
