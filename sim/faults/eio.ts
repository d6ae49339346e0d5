import { EIO } from '../../impl/co'
import { errorFault } from './errors'

export const eio = errorFault('eio', 'a request ends with EIO, and has done nothing', 'EIO', EIO)
