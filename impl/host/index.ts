export { HOST_CODECS, loadCodecs } from './codec'
export { errnoOf } from './errors'
export { identityOf, RealFiles } from './files'
export { HostLoop } from './loop'
