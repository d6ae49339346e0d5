/** What the simulator takes from Node's engine, for browsers: put in by the bundler wherever it is used. */
export { Buffer } from 'buffer'
/** The tripwires put theirs here; nobody else looks. */
export const process: object = {}
