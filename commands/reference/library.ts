/**
 * The reference of what `import … from 'mirrorsim'` gives: each name that library/index.ts exports, as its source declares it, with
 * its comment.
 *
 * What may fail: a name whose declaration is not found, as an error.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import * as ts from 'typescript'
import { commentOf } from './fields'

const root = path.resolve(__dirname, '../..')
const ENTRY = 'library/index.ts'

export interface ExportedName {
  name: string
  kind: 'function' | 'value' | 'class' | 'type'
  /** Of a function: what it takes and gives. Empty otherwise. */
  signature: string
  meaning: string
}

type Declared =
  | ts.FunctionDeclaration
  | ts.ClassDeclaration
  | ts.InterfaceDeclaration
  | ts.TypeAliasDeclaration
  | ts.VariableDeclaration

function parse(file: string): ts.SourceFile {
  return ts.createSourceFile(file, fs.readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022, true)
}

/** In the order of names. */
export function exportedNames(): ExportedName[] {
  const entry = path.join(root, ENTRY)
  const names = exportsOf(parse(entry)).map(({ name, from }) => describe(name, find(name, fileOf(entry, from))))
  return names.sort((a, b) => (a.name.toLowerCase() < b.name.toLowerCase() ? -1 : 1))
}

/** What a file passes on from others. */
function exportsOf(source: ts.SourceFile): Array<{ name: string; from: string }> {
  return source.statements.flatMap((statement) => {
    if (!ts.isExportDeclaration(statement) || statement.exportClause === undefined) return []
    if (!ts.isNamedExports(statement.exportClause) || statement.moduleSpecifier === undefined) return []
    const from = (statement.moduleSpecifier as ts.StringLiteral).text
    return statement.exportClause.elements.map(({ name }) => ({ name: name.text, from }))
  })
}

function fileOf(importer: string, specifier: string): string {
  const base = path.resolve(path.dirname(importer), specifier)
  return [`${base}.ts`, path.join(base, 'index.ts')].find((file) => fs.existsSync(file))!
}

function find(name: string, file: string): Declared {
  const source = parse(file)
  for (const statement of source.statements) {
    const isNamed =
      ts.isFunctionDeclaration(statement) ||
      ts.isClassDeclaration(statement) ||
      ts.isInterfaceDeclaration(statement) ||
      ts.isTypeAliasDeclaration(statement)
    if (isNamed && statement.name?.text === name) return statement
    if (!ts.isVariableStatement(statement)) continue
    const variable = statement.declarationList.declarations.find((one) => one.name.getText() === name)
    if (variable !== undefined) return variable
  }
  const passedOn = exportsOf(source).find((one) => one.name === name)
  if (passedOn === undefined) throw new Error(`${path.relative(root, file)} does not declare ${name}`)
  return find(name, fileOf(file, passedOn.from))
}

function describe(name: string, declared: Declared): ExportedName {
  if (ts.isVariableDeclaration(declared)) {
    return { name, kind: 'value', signature: '', meaning: commentOf(declared.parent.parent) }
  }
  const meaning = commentOf(declared)
  if (ts.isFunctionDeclaration(declared)) {
    const head = declared.getSourceFile().text.slice(declared.name!.getStart(), declared.body!.getStart())
    return {
      name,
      kind: 'function',
      signature: head.replace(/\s+/g, ' ').replace(/,? \)/g, ')').replace(/\( /g, '(').trim(),
      meaning,
    }
  }
  return { name, kind: ts.isClassDeclaration(declared) ? 'class' : 'type', signature: '', meaning }
}

const HEADS: ReadonlyArray<readonly [kind: ExportedName['kind'], head: string]> = [
  ['function', 'Functions'],
  ['class', 'Classes'],
  ['value', 'Values'],
  ['type', 'Types'],
]

export function librarySection(): string[] {
  const names = exportedNames()
  return [
    '## The library',
    '',
    "What `import { … } from 'mirrorsim'` gives; [library.md](library.md) shows how it goes together.",
    '',
    ...HEADS.flatMap(([kind, head]) => {
      const lines = names
        .filter((one) => one.kind === kind)
        .map(({ name, signature, meaning }) => `- \`${signature === '' ? name : signature}\`: ${meaning}`)
      return [`### ${head}`, '', ...lines, '']
    }),
  ]
}
