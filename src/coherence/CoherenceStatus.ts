/** How an instance stands, for people and for their tools: plain data, with names in the place of numbers. */

import { prefixed } from "./coherenceMetrics.ts"
import type { Definitions } from "./Definitions.ts"
import { originName } from "./PeerOrigin.ts"
import type { Instance } from "./protocol/Instance.ts"
import type { Degraded, InstanceStatus } from "./protocol/InstanceStatus.ts"
import type { SharedEntries } from "./SharedEntries.ts"
import type { Transport } from "./transport/Transport.ts"
import type { Warming } from "./Warming.ts"

export interface CoherenceStatus {
  readonly state: CoherenceState
  /** Sentences. */
  readonly degradedWhy: readonly string[]
  readonly degradedForMs: number
  readonly namespace: string
  /** Names this start of this instance. */
  readonly name: string
  readonly region: string
  /** `mesh`, `nats`, `redis`. */
  readonly transport: string
  /** Where others reach it; "" where that is not known yet, or nothing listens. */
  readonly address: string
  /** The last sequence that was written here, and the last that has left. */
  readonly written: number
  readonly sent: number
  /** The other instances; of those that have ended, the ones of which records are missing. */
  readonly members: readonly MemberStatus[]
  /** What has happened since the start, by name. */
  readonly counters: Readonly<Record<string, number>>
}

export type CoherenceState = "joining" | "coherent" | "degraded"

export interface MemberStatus {
  readonly name: string
  /** The region's name where it is this instance's own; of others it knows the number alone that is on the wire. */
  readonly region: string
  /** "" where there is no link of its own. */
  readonly address: string
  /** `left` with a good-bye; `gone`, its process has ended; `forgotten`, by COHERENCE FORGET. */
  readonly state: "live" | "suspect" | "joining" | "left" | "gone" | "forgotten"
  readonly heardMsAgo: number
  /** Its last sequence that was heard of, and the last up to which all were applied here. */
  readonly advertised: number
  readonly contiguous: number
  /** Its records that are missing here, and for how long. */
  readonly lag: number
  readonly missingForMs: number
  /** The last sequence of this instance that it has said to have applied; 0 if it was never asked. */
  readonly acknowledged: number
}

type Own = Pick<
  CoherenceStatus,
  "name" | "state" | "degradedWhy" | "degradedForMs" | "written" | "sent" | "members" | "counters"
>

/** All of it that the instance and its transport know. */
export const statusOf = (
  instance: Instance,
  ownRegion: string,
  transport: Pick<Transport, "links">,
  warming: Warming,
  definitions: Definitions
): Own => {
  const regionOf = regionNames(instance, ownRegion)
  const addresses = new Map(transport.links().map(({ origin, address }) => [origin, address]))
  const status = instance.status()
  const isCutOff = status.degradedWhy.includes("cutOff")
  const members = status.members
    .filter(({ state, advertised, contiguous }) => state === "live" || advertised > contiguous)
    .map((member) => memberStatusOf(member, regionOf(member.region), addresses.get(member.origin) ?? ""))
  return {
    name: originName(instance.origin),
    state: stateOf(instance),
    degradedWhy: [
      ...status.degradedWhy.map((why) => reasons[why]),
      ...members.flatMap((each) => adviceOn(each, isCutOff))
    ],
    degradedForMs: Math.round(status.degradedForMs),
    written: status.written,
    sent: status.sealed,
    members,
    counters: {
      ...instance.stats,
      ...prefixed("warming", warming.stats),
      definitions: definitions.size,
      ...prefixed("definitions", definitions.stats)
    }
  }
}

/** What people call regions, given the name of the own one: the others' are known as numbers. */
export const regionNames =
  ({ region }: Pick<Instance, "region">, ownRegion: string) =>
  (number: number): string =>
    number === region ? ownRegion : String(number)

export const stateOf = ({ isJoined, isCoherent }: Instance): CoherenceState => {
  if (!isJoined) return "joining"
  return isCoherent ? "coherent" : "degraded"
}

const memberStatusOf = (member: InstanceStatus["members"][number], region: string, address: string): MemberStatus => {
  const { origin, advertised, contiguous, acknowledged, isSuspect, isJoining } = member
  return {
    name: originName(origin),
    region,
    address,
    state: member.state !== "live" ? member.state : isSuspect ? "suspect" : isJoining ? "joining" : "live",
    heardMsAgo: Math.max(0, Math.round(member.heardMsAgo)),
    advertised,
    contiguous,
    lag: advertised - contiguous,
    missingForMs: Math.round(member.missingForMs),
    acknowledged
  }
}

const adviceOn = ({ name, state, heardMsAgo, lag }: MemberStatus, isCutOff: boolean): string[] => {
  if (state === "suspect") {
    if (isCutOff) return [] // nobody is heard of
    return [`${name} was not heard of for ${heardMsAgo} ms; if it will not come back: COHERENCE FORGET ${name}`]
  }
  return lag > 0 ? [`${lag} records of ${name} are missing`] : []
}

const reasons: Readonly<Record<Degraded, string>> = {
  joining: "it has not joined the others yet",
  cutOff: "the broker that carries all messages does not answer, or has just come back",
  suspect: "an instance is not heard of",
  gap: "records of another instance are missing for too long",
  comparing: "what was written here is being compared with the others",
  healing: "what was missed is being made up for",
  crowded: "there are more instances than there is room for"
}

/** What is known of a displayed key, in sentences. */
export const traceOf = (
  entries: SharedEntries,
  instance: Instance,
  warming: Warming,
  displayedKey: string
): string[] => {
  const { hash, entry, newest } = entries.inspect(displayedKey)
  const nameOf = (origin: number): string => (origin === instance.origin ? "this instance" : originName(origin))
  const lines = [`its hash is ${originName(hash)}`]
  if (entry === undefined) lines.push("it is not here")
  else if (entry.isLocal) lines.push("it is here, as local: nobody else hears of it")
  else if (entry.writer === 0) lines.push("it is here, as loaded: nobody has written it")
  else lines.push(`it is here, as written by ${nameOf(entry.writer)} with version ${entry.version}`)
  if (newest === undefined) lines.push("nobody is known to have written or removed it")
  else {
    const what = newest.isGone ? "removed" : "written"
    lines.push(`the newest that is known: ${what} by ${nameOf(newest.author)} with version ${newest.version}`)
  }
  if (entry === undefined) {
    if (newest?.isGone === true) lines.push("a miss asks nobody: it was removed")
    else if (newest === undefined) lines.push("a miss asks all instances that are near")
    else lines.push(`a miss asks ${nameOf(newest.author)}`)
  }
  lines.push(warming.explain(hash))
  return lines
}
