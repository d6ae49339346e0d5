import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BLKDEBUG_EVENTS } from '../block/drivers/blkdebug_rules'
import { BlockError } from '../block/error'
import { type JsonObject, parseJson, printJson } from '../json'
import { checkObject, type InputMode, introspect, QapiSchema, QMP_MODULES } from './index'
import { NODES } from './schema/nodes'

const schema = new QapiSchema(QMP_MODULES)

/** What is left of the arguments of a command when they have been checked, or the refusal in angle brackets. */
function checked(commandName: string, text: string, mode: InputMode = 'json'): string {
  const { arguments: type } = schema.commands.get(commandName)!
  try {
    return printJson(checkObject(schema, type, parseJson(text) as JsonObject, mode))
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    return `<${error.message}>`
  }
}

test('every name that is declared or used is declared once', () => {
  schema.check()
  assert.ok(schema.commands.size > 60)
})

test('arguments are refused in the words of QEMU', () => {
  const add = 'blockdev-add'
  const cases: Array<[string, string, string]> = [
    [add, '{}', "Parameter 'driver' is missing"],
    [add, "{'driver':'foo'}", "Parameter 'driver' does not accept value 'foo'"],
    [add, "{'driver':1}", "Invalid parameter type for 'driver', expected: string"],
    [add, "{'driver':'file'}", "Parameter 'filename' is missing"],
    [add, "{'driver':'file','filename':'x','foo':1}", "Parameter 'foo' is unexpected"],
    [add, "{'driver':'qcow2','file':{'driver':'file'}}", "Parameter 'file.filename' is missing"],
    [add, "{'driver':'qcow2','file':{'driver':'file','filename':'x','foo':1}}", "Parameter 'file.foo' is unexpected"],
    [add, "{'driver':'qcow2','file':null}", "Invalid parameter type for 'file', expected: BlockdevRef"],
    [add, "{'driver':'qcow2','backing':2,'file':'x'}", "Invalid parameter type for 'backing', expected: BlockdevRefOrNull"],
    [
      add,
      "{'driver':'qcow2','overlap-check':2,'file':'x'}",
      "Invalid parameter type for 'overlap-check', expected: Qcow2OverlapChecks",
    ],
    [add, "{'driver':'qcow2','overlap-check':{'template':'foo'},'file':'x'}", "Parameter 'template' does not accept value 'foo'"],
    [add, "{'driver':'file','filename':'x','read-only':'on'}", "Invalid parameter type for 'read-only', expected: boolean"],
    [add, "{'driver':'null-co','size':1.5}", "Invalid parameter type for 'size', expected: integer"],
    [
      add,
      "{'driver':'blkdebug','image':'x','inject-error':[{'event':'none'},{'foo':'none'}]}",
      "Parameter 'inject-error[1].event' is missing",
    ],
    [
      add,
      "{'driver':'blkdebug','image':'x','inject-error':[1]}",
      "Invalid parameter type for 'inject-error[0]', expected: object",
    ],
    [add, "{'driver':'blkdebug','image':'x','inject-error':{}}", "Invalid parameter type for 'inject-error', expected: array"],
    [add, "{'driver':'blkdebug','image':'x','take-child-perms':['x']}", "Parameter 'null' does not accept value 'x'"],
    ['block-dirty-bitmap-add', "{'node':'n','name':'b','granularity':-1}", "Parameter 'granularity' expects uint32_t"],
    ['block-dirty-bitmap-add', "{'node':'n','name':'b','granularity':'1'}", "Parameter 'granularity' expects uint64"],
    ['transaction', "{'actions':[{'type':'abort'}]}", "Parameter 'actions[0].data' is missing"],
    ['transaction', "{'actions':[{'type':'abort','data':{'x':1}}]}", "Parameter 'actions[0].data.x' is unexpected"],
    ['job-cancel', "{'id':['x']}", "Invalid parameter type for 'id', expected: string"],
  ]
  for (const [name, text, error] of cases) assert.is(checked(name, text), `<${error}>`, text)
})

test('text of command lines becomes numbers and booleans where they are declared', () => {
  const text = "{'driver':'null-co','size':'0x10','read-zeroes':'on','node-name':'1'}"
  assert.is(
    checked('blockdev-add', text, 'keyval'),
    checked('blockdev-add', "{'driver':'null-co','size':16,'read-zeroes':true,'node-name':'1'}"),
  )
  assert.is(checked('blockdev-add', "{'driver':'null-co','size':'x'}", 'keyval'), "<Parameter 'size' expects integer>")
  assert.is(
    checked('blockdev-add', "{'driver':'null-co','read-zeroes':'1'}", 'keyval'),
    "<Parameter 'read-zeroes' expects 'on' or 'off'>",
  )
})

test('introspection tells of all commands, by numbers that are explained', () => {
  const entities = introspect(schema) as JsonObject[]
  const names = new Set(entities.map((entity) => entity.get('name')))
  assert.is(names.size, entities.length)
  for (const entity of entities) {
    for (const key of ['arg-type', 'ret-type', 'element-type']) {
      const type = entity.get(key)
      if (type !== undefined) assert.ok(names.has(type), String(type))
    }
    for (const member of (entity.get('members') ?? []) as JsonObject[]) {
      const type = member.get('type')
      if (type !== undefined) assert.ok(names.has(type), String(type))
    }
  }
  const add = entities.find((entity) => entity.get('name') === 'blockdev-add')
  const options = entities.find((entity) => entity.get('name') === add?.get('arg-type'))
  assert.is(options?.get('tag'), 'driver')
})

// Neither room may see the other: a declaration stands on nothing, and the block layer on no interface.
test('blkdebug knows the events that are declared', () => {
  const declared = NODES.types?.['BlkdebugEvent']
  assert.equal(declared?.kind === 'enum' && declared.values, [...BLKDEBUG_EVENTS])
})

test.run()
