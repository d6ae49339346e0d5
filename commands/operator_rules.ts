/**
 * What an operator mutant may do to one node of the syntax tree: other texts for an expression, or a statement left out.
 * Types are not looked at; where a rule would need one, it takes the annotation or leaves the node alone.
 *
 * Never touched: assertions with all that they are given, what is thrown, texts, types, `describe` and other names for people.
 */
import * as ts from 'typescript'

export type OperatorName =
  | 'boundary'
  | 'equality'
  | 'negated-condition'
  | 'logical'
  | 'arithmetic'
  | 'assignment'
  | 'update'
  | 'boolean'
  | 'number'
  | 'return-value'
  | 'min-max'
  | 'method'
  | 'statement-removal'
  | 'call-removal'
  | 'yield-removal'
  | 'block-removal'

export interface Change {
  operator: OperatorName
  node: ts.Node
  /** The text in the node's place; null: the statement is not run, or the block that is a function's body returns at once. */
  replacement: string | null
}

const { SyntaxKind } = ts

const BINARY = new Map<ts.SyntaxKind, [OperatorName, string]>([
  [SyntaxKind.LessThanToken, ['boundary', '<=']],
  [SyntaxKind.LessThanEqualsToken, ['boundary', '<']],
  [SyntaxKind.GreaterThanToken, ['boundary', '>=']],
  [SyntaxKind.GreaterThanEqualsToken, ['boundary', '>']],
  [SyntaxKind.EqualsEqualsEqualsToken, ['equality', '!==']],
  [SyntaxKind.ExclamationEqualsEqualsToken, ['equality', '===']],
  [SyntaxKind.AmpersandAmpersandToken, ['logical', '||']],
  [SyntaxKind.BarBarToken, ['logical', '&&']],
  [SyntaxKind.PlusToken, ['arithmetic', '-']],
  [SyntaxKind.MinusToken, ['arithmetic', '+']],
  [SyntaxKind.AsteriskToken, ['arithmetic', '/']],
  [SyntaxKind.SlashToken, ['arithmetic', '*']],
  [SyntaxKind.PercentToken, ['arithmetic', '*']],
  [SyntaxKind.LessThanLessThanToken, ['arithmetic', '>>>']],
  [SyntaxKind.GreaterThanGreaterThanToken, ['arithmetic', '<<']],
  [SyntaxKind.GreaterThanGreaterThanGreaterThanToken, ['arithmetic', '<<']],
  [SyntaxKind.AmpersandToken, ['arithmetic', '|']],
  [SyntaxKind.BarToken, ['arithmetic', '&']],
  [SyntaxKind.CaretToken, ['arithmetic', '&']],
  [SyntaxKind.PlusEqualsToken, ['assignment', '-=']],
  [SyntaxKind.MinusEqualsToken, ['assignment', '+=']],
  [SyntaxKind.AsteriskEqualsToken, ['assignment', '/=']],
  [SyntaxKind.AmpersandEqualsToken, ['assignment', '|=']],
  [SyntaxKind.BarEqualsToken, ['assignment', '&=']],
  [SyntaxKind.GreaterThanGreaterThanGreaterThanEqualsToken, ['assignment', '<<=']],
  [SyntaxKind.QuestionQuestionEqualsToken, ['assignment', '=']],
])

const METHODS = new Map([
  ['some', 'every'],
  ['every', 'some'],
  ['push', 'unshift'],
  ['unshift', 'push'],
  ['pop', 'shift'],
  ['shift', 'pop'],
  ['indexOf', 'lastIndexOf'],
  ['lastIndexOf', 'indexOf'],
  ['startsWith', 'endsWith'],
  ['endsWith', 'startsWith'],
  ['find', 'findLast'],
  ['findIndex', 'findLastIndex'],
])
/** Calls that give back what they were called on, a little changed. */
const IDENTITIES = new Set(['slice', 'subarray', 'filter', 'sort', 'reverse', 'toSorted', 'toReversed', 'concat', 'fill'])
const MATH = new Map([
  ['min', 'max'],
  ['max', 'min'],
  ['floor', 'ceil'],
  ['ceil', 'floor'],
  ['trunc', 'ceil'],
])

/** Names of functions whose results are read by people alone. */
const FOR_PEOPLE = /^(describe|toString|text|label|\w*Text|\w*Label|\w*Message)$/
/** Called with texts, or to stop at what cannot be. */
const NOT_LOOKED_INTO = /^(assert|makeLabel|numberedLabel|unreachable)$/

/** True where nothing below the node is mutated. */
export function isLeftAlone(node: ts.Node): boolean {
  if (ts.isTypeNode(node) || ts.isImportDeclaration(node) || ts.isEnumDeclaration(node)) return true
  if (ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node) || ts.isThrowStatement(node)) return true
  if (ts.isTemplateExpression(node) || ts.isExportDeclaration(node)) return true
  if (ts.isCallExpression(node) && ts.isIdentifier(node.expression)) return NOT_LOOKED_INTO.test(node.expression.text)
  if (ts.isNewExpression(node) && ts.isIdentifier(node.expression)) return /Error$|Failure$/.test(node.expression.text)
  const isFunction = ts.isMethodDeclaration(node) || ts.isFunctionDeclaration(node) || ts.isGetAccessor(node)
  return isFunction && node.name !== undefined && FOR_PEOPLE.test(node.name.getText())
}

/** Every change of this very node. */
export function changesOf(node: ts.Node): Change[] {
  if (ts.isBinaryExpression(node)) return ofBinary(node)
  if (ts.isPrefixUnaryExpression(node) || ts.isPostfixUnaryExpression(node)) return ofUnary(node)
  if (ts.isCallExpression(node)) return ofCall(node)
  if (ts.isNumericLiteral(node)) return ofNumber(node)
  if (node.kind === SyntaxKind.TrueKeyword) return [{ operator: 'boolean', node, replacement: 'false' }]
  if (node.kind === SyntaxKind.FalseKeyword) return [{ operator: 'boolean', node, replacement: 'true' }]
  if (ts.isBlock(node)) return ofBlock(node)
  if (ts.isReturnStatement(node)) return ofReturn(node)
  if (ts.isStatement(node)) return ofStatement(node)
  return ts.isExpression(node) && isCondition(node) ? [negated(node)] : []
}

/** As part of another expression, whatever binds how strongly there. */
function operand(node: ts.Expression): string {
  return ts.isBinaryExpression(node) || ts.isConditionalExpression(node) ? `(${node.getText()})` : node.getText()
}

function isText(node: ts.Expression): boolean {
  return ts.isStringLiteralLike(node) || ts.isTemplateExpression(node)
}

function ofBinary(node: ts.BinaryExpression): Change[] {
  const { left, right, operatorToken } = node
  const isAssignment = operatorToken.kind >= SyntaxKind.FirstAssignment && operatorToken.kind <= SyntaxKind.LastAssignment
  const between = (token: string): string => `${isAssignment ? left.getText() : operand(left)} ${token} ${operand(right)}`
  if (operatorToken.kind === SyntaxKind.QuestionQuestionToken) {
    const onlyRight: Change = { operator: 'logical', node, replacement: right.getText() }
    // What is missing counts as false anyhow.
    return right.kind === SyntaxKind.FalseKeyword
      ? [onlyRight]
      : [{ operator: 'logical', node, replacement: left.getText() }, onlyRight]
  }
  const rule = BINARY.get(operatorToken.kind)
  if (rule === undefined) return []
  if (operatorToken.kind === SyntaxKind.PlusToken && (isText(left) || isText(right))) return []
  const [operator, token] = rule
  const change: Change = { operator, node, replacement: between(token) }
  // `&&` and `||` are negated operand by operand; `===` by its own rule.
  return operator === 'boundary' && isCondition(node) ? [change, negated(node)] : [change]
}

function ofUnary(node: ts.PrefixUnaryExpression | ts.PostfixUnaryExpression): Change[] {
  const operand = node.operand.getText()
  const isPrefix = ts.isPrefixUnaryExpression(node)
  if (node.operator === SyntaxKind.ExclamationToken) return [{ operator: 'negated-condition', node, replacement: operand }]
  if (node.operator === SyntaxKind.MinusToken && !ts.isNumericLiteral(node.operand)) {
    return [{ operator: 'arithmetic', node, replacement: operand }]
  }
  const token = node.operator === SyntaxKind.PlusPlusToken ? '--' : node.operator === SyntaxKind.MinusMinusToken ? '++' : null
  if (token === null) return []
  return [{ operator: 'update', node, replacement: isPrefix ? token + operand : operand + token }]
}

function ofCall(node: ts.CallExpression): Change[] {
  const changes = isCondition(node) ? [negated(node)] : []
  if (!ts.isPropertyAccessExpression(node.expression)) return changes
  const { expression: subject, name } = node.expression
  const swap = (operator: OperatorName, other: string | undefined): void => {
    if (other === undefined) return
    const [from, to] = [name.getStart() - node.getStart(), name.end - node.getStart()]
    const text = node.getText()
    changes.push({ operator, node, replacement: text.slice(0, from) + other + text.slice(to) })
  }
  if (ts.isIdentifier(subject) && subject.text === 'Math') swap('min-max', MATH.get(name.text))
  else swap('method', METHODS.get(name.text))
  const isStatement = ts.isExpressionStatement(node.parent)
  if (IDENTITIES.has(name.text) && !isStatement) changes.push({ operator: 'method', node, replacement: subject.getText() })
  return changes
}

function ofNumber(node: ts.NumericLiteral): Change[] {
  if (ts.isPropertyAssignment(node.parent) && node.parent.name === node) return []
  const value = Number(node.text)
  if (!Number.isSafeInteger(value)) return []
  // Of negative numbers only the sign matters as a rule: -1 becomes 0.
  const isNegative = ts.isPrefixUnaryExpression(node.parent) && node.parent.operator === SyntaxKind.MinusToken
  const values = value === 0 ? [1] : isNegative ? [value - 1] : [value + 1, value - 1]
  return values.map((other) => ({ operator: 'number', node, replacement: String(other) }))
}

function isCondition(node: ts.Expression): boolean {
  const { parent } = node
  if (ts.isIfStatement(parent) || ts.isWhileStatement(parent) || ts.isDoStatement(parent)) return parent.expression === node
  if (ts.isForStatement(parent) || ts.isConditionalExpression(parent)) return parent.condition === node
  if (!ts.isBinaryExpression(parent)) return false
  const { kind } = parent.operatorToken
  return kind === SyntaxKind.AmpersandAmpersandToken || kind === SyntaxKind.BarBarToken
}

function negated(node: ts.Expression): Change {
  return { operator: 'negated-condition', node, replacement: `!(${node.getText()})` }
}

/** The body of a function that gives nothing back, if there is more than one statement in it. */
function ofBlock(node: ts.Block): Change[] {
  const { parent } = node
  const isBody = ts.isFunctionLike(parent) && !ts.isConstructorDeclaration(parent)
  if (!isBody || node.statements.length < 2) return []
  const last = node.statements.at(-1)!
  if (ts.isReturnStatement(last) && last.expression !== undefined) return []
  return [{ operator: 'block-removal', node, replacement: null }]
}

/** An `if` that has nothing but this to do is left out as a whole. */
function isAllOfAnIf(node: ts.Statement): boolean {
  const body = ts.isBlock(node.parent) && node.parent.statements.length === 1 ? node.parent : node
  const { parent } = body
  return ts.isIfStatement(parent) && parent.elseStatement === undefined && parent.thenStatement === body
}

function ofStatement(node: ts.Statement): Change[] {
  if (isAllOfAnIf(node)) return []
  if (ts.isExpressionStatement(node)) {
    const { expression } = node
    if (isLeftAlone(expression)) return []
    if (ts.isCallExpression(expression)) {
      const isSuper = expression.expression.kind === SyntaxKind.SuperKeyword
      return isSuper ? [] : [{ operator: 'call-removal', node, replacement: null }]
    }
    return [{ operator: ts.isYieldExpression(expression) ? 'yield-removal' : 'statement-removal', node, replacement: null }]
  }
  const isRemoved =
    ts.isIfStatement(node) ||
    ts.isForStatement(node) ||
    ts.isForOfStatement(node) ||
    ts.isWhileStatement(node) ||
    ts.isBreakStatement(node) ||
    (ts.isReturnStatement(node) && node.expression === undefined) ||
    ts.isContinueStatement(node)
  return isRemoved ? [{ operator: 'statement-removal', node, replacement: null }] : []
}

function ofReturn(node: ts.ReturnStatement): Change[] {
  const { expression } = node
  if (expression === undefined) return ofStatement(node)
  const owner = ts.findAncestor(node, ts.isFunctionLike)
  const type = owner?.type?.getText() ?? ''
  const text = expression.getText()
  const changed = (replacement: string): Change[] =>
    replacement === text ? [] : [{ operator: 'return-value', node: expression, replacement }]
  if (/^(Co<)?(boolean|\w+ is \w+)>?$/.test(type))
    return ts.isBinaryExpression(expression) ? changed(`!(${text})`) : ofBooleanReturn(expression)
  if (/^(Co<)?(number|bigint)>?$/.test(type)) return isNumber(expression) ? [] : changed(`(${text}) + 1`)
  if (/^(Co<)?Errno>?$/.test(type)) return text === 'OK' ? [] : changed('0')
  if (/\[\]>?$/.test(type)) return changed('[]')
  if (/\| null>?$/.test(type)) return changed('null')
  if (/\| undefined>?$/.test(type)) return changed('undefined')
  return []
}

/** A literal, whose own rule is enough. */
function isNumber(node: ts.Expression): boolean {
  return ts.isNumericLiteral(node) || (ts.isPrefixUnaryExpression(node) && ts.isNumericLiteral(node.operand))
}

function ofBooleanReturn(node: ts.Expression): Change[] {
  const isLiteral = node.kind === SyntaxKind.TrueKeyword || node.kind === SyntaxKind.FalseKeyword
  const isNegation = ts.isPrefixUnaryExpression(node)
  return isLiteral || isNegation ? [] : [{ operator: 'return-value', node, replacement: `!(${node.getText()})` }]
}
