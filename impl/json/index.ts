export { JsonError } from './json_parser'
export { type JsonMessage, JsonStream, parseJson } from './json_stream'
export { JsonDouble, type JsonObject, type JsonValue, jsonObject, printDouble, printedOrder, printJson } from './json_value'
