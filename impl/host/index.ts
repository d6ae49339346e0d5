export { errnoOf } from './errors'
export { identityOf, RealFiles } from './files'
export { HostLoop } from './loop'
