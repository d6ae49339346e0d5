import { CONTROL_COMMANDS } from './control_commands'
import { DISK_COMMANDS } from './disk_commands'
import { READ_COMMANDS } from './read_commands'
import type { IoCommand } from './session'
import { WRITE_COMMANDS } from './write_commands'

export { parsePreallocation } from './disk_commands'
export { GetOpt, type LongOption } from './getopt'
export { amountText, parsePattern, parseQuantity, QuantityError } from './quantity'
export { type IoCommand, IoComplaint, type IoHost, IoSession } from './session'

/** What works on any disk that is open; programs add what opens one. */
export const IO_COMMANDS: readonly IoCommand[] = [...READ_COMMANDS, ...WRITE_COMMANDS, ...DISK_COMMANDS, ...CONTROL_COMMANDS]
