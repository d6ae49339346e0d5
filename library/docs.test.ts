/** Every example of docs/library.md compiles against the library as it is, and runs to its end. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import * as ts from 'typescript'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const root = path.resolve(__dirname, '..')
const blocks = [...fs.readFileSync(path.join(root, 'docs/library.md'), 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)].map(
  ([, body]) => body!,
)
const EXAMPLES_MIN = 7

const { config } = ts.readConfigFile(path.join(root, 'tsconfig.json'), (file) => fs.readFileSync(file, 'utf8'))
const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root)

/** What the compiler says of texts that import the library; empty: nothing. They lie in the repository, but on no disk. */
function complaintsOf(texts: readonly string[]): string[] {
  const files = new Map(texts.map((text, index) => [path.join(root, `library/example-${index}.ts`), text]))
  const settings: ts.CompilerOptions = { ...options, paths: { mirrorsim: [path.join(root, 'library/index.ts')] } }
  const host = ts.createCompilerHost(settings)
  const { readFile, fileExists, getSourceFile } = host
  host.readFile = (file) => files.get(file) ?? readFile.call(host, file)
  host.fileExists = (file) => files.has(file) || fileExists.call(host, file)
  host.getSourceFile = (file, ...rest) =>
    files.has(file) ? ts.createSourceFile(file, files.get(file)!, rest[0]) : getSourceFile.call(host, file, ...rest)
  const program = ts.createProgram([...files.keys()], settings, host)
  return [...files.keys()].flatMap((file) =>
    [
      ...program.getSyntacticDiagnostics(program.getSourceFile(file)),
      ...program.getSemanticDiagnostics(program.getSourceFile(file)),
    ].map(({ messageText }) => `${path.basename(file)}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`),
  )
}

/** Runs a text as a module, with the library under its name; what it prints is taken. */
function run(text: string): string {
  const compilerOptions = { ...options, module: ts.ModuleKind.CommonJS, moduleResolution: ts.ModuleResolutionKind.Node10 }
  const { outputText } = ts.transpileModule(text, { compilerOptions, fileName: path.join(root, 'library/example.ts') })
  const printed: string[] = []
  const load = (name: string): unknown => (name === 'mirrorsim' ? require('.') : require(name))
  const body = new Function('require', 'exports', 'module', 'console', outputText)
  body(load, {}, { exports: {} }, { log: (line: string) => printed.push(line) })
  return printed.join('\n')
}

test('the examples compile', () => {
  assert.ok(blocks.length >= EXAMPLES_MIN, `${blocks.length} examples`)
  const wrong = "import { runPlan } from 'mirrorsim'\nexport const { hash } = runPlan(7)\n"
  const found = complaintsOf([...blocks, wrong])
  assert.equal(found, [`example-${blocks.length}.ts: Argument of type 'number' is not assignable to parameter of type 'Plan'.`])
})

for (const [index, block] of blocks.entries()) test(`example ${index} runs`, () => assert.type(run(block), 'string'))

test('an example whose assertion fails is noticed', () => {
  assert.throws(() => run("import * as assert from 'node:assert/strict'\nassert.equal(1, 2)\n"), /strictly equal/)
})

test.run()
