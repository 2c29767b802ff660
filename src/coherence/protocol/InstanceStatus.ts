/** How an instance stands, in numbers: for people's commands and for metrics, which give them names. */
import type { MemberState } from "./Members.ts"

/** Why an instance is not coherent. */
export type Degraded =
  /** It knows no baseline yet. */
  | "joining"
  /** The broker that carries all messages is away, or was a moment ago. */
  | "cutOff"
  /** A member was not heard of in time. */
  | "suspect"
  /** Records have been missing for longer than the gap limit. */
  | "gap"
  /** Others are being asked whether they have overwritten what was written here. */
  | "comparing"
  /** All are heard of again; what they wrote meanwhile is on its way. */
  | "healing"
  /** There was no room for a member. */
  | "crowded"

export interface InstanceStatus {
  readonly isJoined: boolean
  readonly isCoherent: boolean
  /** Every reason that holds now. */
  readonly degradedWhy: readonly Degraded[]
  /** 0 while coherent. */
  readonly degradedForMs: number
  readonly copyMsMax: number
  /** The last sequence written here, the last that has left, and the lowest that can still be sent again. */
  readonly written: number
  readonly sealed: number
  readonly oldest: number
  readonly lamport: number
  readonly isRelay: boolean
  readonly isPrimary: boolean
  readonly members: readonly MemberStatus[]
}

export interface MemberStatus {
  readonly origin: number
  readonly region: number
  readonly state: MemberState
  readonly isSuspect: boolean
  readonly isJoining: boolean
  readonly isLinked: boolean
  /** Whether it belongs to the same cell. */
  readonly isNear: boolean
  readonly heardMsAgo: number
  /** Its last sequence that was heard of, the last that was applied, and the last up to which all have been. */
  readonly advertised: number
  readonly highest: number
  readonly contiguous: number
  /** How long its records have been missing here; 0 when none are. */
  readonly missingForMs: number
  /** The last sequence of this instance that it has said to have applied; 0 if it was never asked. */
  readonly acknowledged: number
}
