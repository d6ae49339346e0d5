/** The shape of query-qmp-schema. */
import { command, enumeration, type QapiModule, struct, union } from '../types'

export const INTROSPECT: QapiModule = {
  types: {
    SchemaInfo: union({ name: 'str', 'meta-type': 'SchemaMetaType', '?features': '[str]' }, 'meta-type', {
      builtin: 'SchemaInfoBuiltin',
      enum: 'SchemaInfoEnum',
      array: 'SchemaInfoArray',
      object: 'SchemaInfoObject',
      alternate: 'SchemaInfoAlternate',
      command: 'SchemaInfoCommand',
      event: 'SchemaInfoEvent',
    }),
    SchemaMetaType: enumeration(['builtin', 'enum', 'array', 'object', 'alternate', 'command', 'event']),
    SchemaInfoBuiltin: struct({ 'json-type': 'JSONType' }),
    JSONType: enumeration(['string', 'number', 'int', 'boolean', 'null', 'object', 'array', 'value']),
    SchemaInfoEnum: struct({ members: '[SchemaInfoEnumMember]', values: { type: '[str]', features: ['deprecated'] } }),
    SchemaInfoEnumMember: struct({ name: 'str', '?features': '[str]' }),
    SchemaInfoArray: struct({ 'element-type': 'str' }),
    SchemaInfoObject: struct({ members: '[SchemaInfoObjectMember]', '?tag': 'str', '?variants': '[SchemaInfoObjectVariant]' }),
    SchemaInfoObjectMember: struct({ name: 'str', type: 'str', '?default': 'any', '?features': '[str]' }),
    SchemaInfoObjectVariant: struct({ case: 'str', type: 'str' }),
    SchemaInfoAlternate: struct({ members: '[SchemaInfoAlternateMember]' }),
    SchemaInfoAlternateMember: struct({ type: 'str' }),
    SchemaInfoCommand: struct({ 'arg-type': 'str', 'ret-type': 'str', '?allow-oob': 'bool' }),
    SchemaInfoEvent: struct({ 'arg-type': 'str' }),
  },
  commands: {
    'query-qmp-schema': command({}, '[SchemaInfo]', { allowsPreconfig: true }),
  },
}
