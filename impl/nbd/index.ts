export type { ExportBitmap, ExportOptions } from './export'
export { NbdExport } from './export'
export { DEFAULT_PORT } from './protocol'
export { NbdServer, type ServerOptions } from './server'
