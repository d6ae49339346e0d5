import { ENOSPC } from '../../impl/co'
import { errorFault } from './errors'

export const enospc = errorFault('enospc', 'a request ends with ENOSPC, and has done nothing', 'ENOSPC', ENOSPC)
