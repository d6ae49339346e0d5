/**
 * The reference of reports and plans, made of the types that they have in the sources: each field with its type, whether it
 * may be absent, its unit, and what its comment says. The unit is the end of the name: units come last in names here.
 *
 * What may fail: a type that is asked for and not there, as an error.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import * as ts from 'typescript'
import { table } from './commands'

const root = path.resolve(__dirname, '../..')

export interface Field {
  /** With the names of the objects around it: `label.seed`. */
  name: string
  type: string
  isOptional: boolean
  unit: string
  /** Empty: nothing says what it means. */
  meaning: string
}

export interface DescribedType {
  name: string
  meaning: string
  /** Types whose fields it has, too. */
  extends: string[]
  fields: Field[]
  /** Of a union: what it is one of, each with what it has beside the fields above. */
  variants: Variant[]
}

export interface Variant {
  type: string
  meaning: string
}

/** From the longest ending to the shortest. */
const UNITS: ReadonlyArray<readonly [ending: RegExp, unit: string]> = [
  [/bytesPerSecond$/i, 'bytes/s'],
  [/requestsPerSecond$/i, 'requests/s'],
  [/Bytes$/, 'bytes'],
  [/Bits$/, 'bits'],
  [/Ns$/, 'ns'],
  [/Seconds$/, 's'],
]

/** What means the same wherever it stands. */
const COMMON: Readonly<Record<string, string>> = {
  id: 'Stable, and unique in the plan: decisions are keyed by it, and it stays when others are deleted.',
  kind: 'Which of these it is.',
}

export function unitOf(name: string, type: string): string {
  for (const [ending, unit] of UNITS) if (ending.test(name)) return unit
  return type === 'number' ? 'count' : ''
}

/** Types of one or more files, by name. */
export class TypeSources {
  private readonly constants = new Map<string, string>()
  private readonly declarations = new Map<string, ts.InterfaceDeclaration | ts.TypeAliasDeclaration>()

  constructor(files: readonly string[]) {
    for (const file of files) {
      const source = ts.createSourceFile(file, fs.readFileSync(path.join(root, file), 'utf8'), ts.ScriptTarget.ES2022, true)
      for (const statement of source.statements) {
        const isType = ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement)
        if (isType) this.declarations.set(statement.name.text, statement)
        if (ts.isVariableStatement(statement)) this.addConstants(statement)
      }
    }
  }

  private addConstants({ declarationList }: ts.VariableStatement): void {
    for (const { name, initializer } of declarationList.declarations) {
      if (initializer !== undefined && ts.isLiteralExpression(initializer)) this.constants.set(name.getText(), initializer.text)
    }
  }

  /** The type, and after it those that it is made of, each once, in the order in which they are met. */
  reachable(name: string): DescribedType[] {
    const found: DescribedType[] = []
    const seen = new Set<string>()
    const visit = (one: string): void => {
      if (seen.has(one) || !this.declarations.has(one)) return
      seen.add(one)
      const described = this.describe(one)
      found.push(described)
      for (const next of this.namesIn(one)) visit(next)
    }
    if (!this.declarations.has(name)) throw new Error(`there is no type ${name}`)
    visit(name)
    return found
  }

  private namesIn(name: string): string[] {
    const names: string[] = []
    const visit = (node: ts.Node): void => {
      const isName = ts.isTypeReferenceNode(node) || ts.isExpressionWithTypeArguments(node)
      const target = ts.isTypeReferenceNode(node)
        ? node.typeName
        : ts.isExpressionWithTypeArguments(node)
          ? node.expression
          : node
      if (isName && ts.isIdentifier(target)) names.push(target.text)
      ts.forEachChild(node, visit)
    }
    visit(this.declarations.get(name)!)
    return names
  }

  private describe(name: string): DescribedType {
    const declaration = this.declarations.get(name)!
    const described: DescribedType = { name, meaning: commentOf(declaration), extends: [], fields: [], variants: [] }
    if (ts.isInterfaceDeclaration(declaration)) {
      const parents = declaration.heritageClauses?.flatMap(({ types }) => types.map((one) => one.getText())) ?? []
      described.extends.push(...parents)
      addFields(declaration.members, '', described.fields)
    } else addType(declaration.type, described)
    for (const field of described.fields) {
      field.type = field.type.replace(/typeof (\w+)/g, (whole, constant) => this.constants.get(constant) ?? whole)
    }
    return described
  }
}

function addType(type: ts.TypeNode, into: DescribedType): void {
  if (ts.isParenthesizedTypeNode(type)) addType(type.type, into)
  else if (ts.isIntersectionTypeNode(type)) for (const part of type.types) addType(part, into)
  else if (ts.isTypeLiteralNode(type)) addFields(type.members, '', into.fields)
  else if (ts.isUnionTypeNode(type)) for (const one of type.types) into.variants.push(variantOf(one))
  else into.variants.push(variantOf(type))
}

function variantOf(type: ts.TypeNode): Variant {
  return { type: textOf(type), meaning: commentOf(type) }
}

function addFields(members: ts.NodeArray<ts.TypeElement>, prefix: string, into: Field[]): void {
  for (const member of members) {
    if (!ts.isPropertySignature(member) || member.type === undefined) continue
    const name = prefix + member.name.getText()
    const inner = ts.isTypeLiteralNode(member.type) ? member.type : null
    const type = inner === null ? textOf(member.type) : 'object'
    const isOptional = member.questionToken !== undefined
    into.push({ name, type, isOptional, unit: unitOf(name, type), meaning: commentOf(member) || (COMMON[name] ?? '') })
    if (inner !== null) addFields(inner.members, `${name}.`, into)
  }
}

function textOf(type: ts.TypeNode): string {
  return type
    .getText()
    .replace(/\/\*\*.*?\*\//gs, '')
    .replace(/\s+/g, ' ')
    .replaceAll("'", '')
}

/** The comment before a node, as one line; that of a union's member stands before its bar. */
export function commentOf(node: ts.Node): string {
  const source = node.getSourceFile().text
  const ranges = ts.getLeadingCommentRanges(source, node.getFullStart()) ?? []
  const own = ranges.at(-1) ?? beforeBar(node)
  if (own === undefined) return ''
  const text = source.slice(own.pos, own.end)
  if (!text.startsWith('/**')) return ''
  return text
    .slice(3, -2)
    .replace(/^\s*\*/gm, '')
    .replace(/\s+/g, ' ')
    .trim()
}

function beforeBar(node: ts.Node): ts.CommentRange | undefined {
  if (!ts.isUnionTypeNode(node.parent)) return undefined
  const source = node.getSourceFile().text
  const barAt = source.lastIndexOf('|', node.getStart())
  // The first member of a union on one line has none.
  if (barAt < node.parent.getFullStart()) return undefined
  const before = source.slice(0, barAt).trimEnd()
  if (!before.endsWith('*/')) return undefined
  return { pos: before.lastIndexOf('/**'), end: before.length, kind: ts.SyntaxKind.MultiLineCommentTrivia }
}

/** The tables of a type and of all that it is made of. Types of a few words stand where they are used. */
export function fieldSections(types: readonly DescribedType[]): string[] {
  const named = new Set(types.map(({ name }) => name))
  const linked = (type: string): string =>
    type.replace(/\b[A-Z]\w+\b/g, (name) => (named.has(name) ? `[${name}](#${name.toLowerCase()})` : name))
  return types.flatMap(({ name, meaning, extends: parents, fields, variants }) => [
    `### ${name}`,
    '',
    ...(meaning === '' ? [] : [meaning, '']),
    ...(parents.length === 0 ? [] : [`All of ${parents.map(linked).join(', ')}, and:`, '']),
    ...(fields.length === 0
      ? []
      : [
          ...table(
            ['field', 'type', 'unit', 'meaning'],
            fields.map((one) => fieldRow(one, linked)),
          ),
          '',
        ]),
    ...variantLines(variants, linked, fields.length > 0),
  ])
}

function fieldRow({ name, type, isOptional, unit, meaning }: Field, linked: (type: string) => string): string[] {
  return [`\`${name}\`${isOptional ? ' (optional)' : ''}`, linked(type), unit, meaning]
}

function variantLines(variants: readonly Variant[], linked: (type: string) => string, hasFields: boolean): string[] {
  if (variants.length === 0) return []
  const head = hasFields ? 'And one of:' : 'One of:'
  const isPlain = variants.every(({ type, meaning }) => meaning === '' && !type.includes('{'))
  if (isPlain) return [`${head} ${variants.map(({ type }) => linked(type)).join(', ')}.`, '']
  const text = (type: string): string => linked(type).replaceAll(' | ', ' or ')
  return [head, '', ...variants.map(({ type, meaning }) => `- ${text(type)}${meaning === '' ? '' : `: ${meaning}`}`), '']
}
