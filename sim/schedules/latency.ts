/** Requests take as long as it comes, and who of several goes first at one instant is as likely each. */
import { seededDecider } from '../decider'
import type { Schedule } from './schedule'

export const latency: Schedule = {
  kind: 'latency',
  about: 'each request takes a time of its own, and ties are drawn',
  decider: seededDecider,
}
