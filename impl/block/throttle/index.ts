export { RATE_MAX } from './bucket'
export { Direction, ThrottleGroup, ThrottleMember } from './group'
export { getThrottleProperty, setThrottleProperty, ThrottleGroups } from './groups'
export { BUCKET_NAMES, completeLimits, LIMIT_NAMES, type LimitName, type ThrottleLimits } from './limits'
