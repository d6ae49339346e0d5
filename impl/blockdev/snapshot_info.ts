/** Internal snapshots as queries and `info` tell of them: QAPI's SnapshotInfo. */
import type { BlockNode, SnapshotInfo } from '../block'
import { type JsonObject, jsonObject } from '../json'

const NS_PER_SECOND = 1_000_000_000n

export function snapshotInfo(snapshot: SnapshotInfo): JsonObject {
  return jsonObject({
    id: snapshot.id,
    name: snapshot.name,
    'vm-state-size': snapshot.vmStateBytes,
    'date-sec': snapshot.dateSeconds,
    'date-nsec': snapshot.dateNanoseconds,
    'vm-clock-sec': Number(snapshot.vmClockNs / NS_PER_SECOND),
    'vm-clock-nsec': Number(snapshot.vmClockNs % NS_PER_SECOND),
    icount: snapshot.icount ?? undefined,
  })
}

/** Of the node's own image, in the order of its table; empty too where a format has none. */
export function snapshotInfos({ driver }: BlockNode): JsonObject[] {
  return (driver.snapshots() ?? []).map(snapshotInfo)
}
