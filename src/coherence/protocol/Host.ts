/**
 * What the parts of one instance share: who and when it is, what it holds, and how a frame gets to somebody.
 */
import type { Frame, Header } from "./Frame.ts"
import type { Member, Members } from "./Members.ts"
import type { OwnLog } from "./OwnLog.ts"
import type { Parameters } from "./Parameters.ts"
import type { ReceivedLog } from "./ReceivedLog.ts"
import type { Store } from "./Store.ts"

export interface Host {
  readonly origin: number
  readonly region: number
  readonly parameters: Parameters
  readonly store: Store
  /** 0 to below 1. */
  readonly random: () => number
  readonly own: OwnLog
  readonly received: ReceivedLog
  readonly members: Members
  readonly stats: Stats
  readonly lamport: number
  /** Read once when the instance is entered. */
  readonly nowMs: number
  readonly isJoined: boolean
  /** Until then nobody is sure to be heard, as a broker is away or has just come back. */
  readonly cutOffUntilMs: number
  readonly isCoherent: boolean
  /** Nothing that was written here has to be compared with others any more. */
  readonly hasVerified: boolean
  /** What is left of a copy's life (-1: no end), 0 for nothing, given that copies are forgotten while degraded. */
  copyTtlMs(ttlMs: number): number
  hasLink(origin: number): boolean
  /**
   * It is spoken with here, and has not greeted since it is there, or back: what it says may have waited while this
   * process stood still, and may be less than all that there is.
   */
  owesGreeting(member: Member): boolean
  /** It is of the own cell. */
  isNear(origin: number): boolean
  /** By a link, or by relays as far as can be seen from here. */
  canReach(origin: number): boolean
  /** Sends a frame of this instance's to one member, by way of relays where there is no link. */
  post(to: number, body: Body): void
  /** The same, for the records of another origin. */
  postAs(author: number, to: number, body: Body): void
  /** The frame in bytes. */
  encodedAs(author: number, to: number, body: Body, hops: number): Uint8Array
  /** Somebody has this version: what is written from now on is higher. */
  heardVersion(version: number): void
  /** Its marks have moved, or more of its records are known to exist. */
  marksMoved(member: Member): void
}

/** A frame without its header, which the sender fills in. */
export type Body = Frame extends infer F ? (F extends Header ? Omit<F, keyof Header> : never) : never

/** Counters, from the start of the instance on. Of frames that were dropped each counts in exactly one. */
export class Stats {
  framesIn = 0
  framesOut = 0
  /** Frames that do not decode. */
  malformed = 0
  /** Of another namespace. */
  foreign = 0
  /** Of this instance itself, come back. */
  echoed = 0
  /** Of a type that is not known here. */
  unknown = 0
  /** With numbers that no instance can have reached. */
  absurd = 0
  /** Answers that nobody waits for, frames of origins that have left and are forgotten. */
  late = 0
  /** Frames for others: no link leads there, or they have been passed on too often. */
  unroutable = 0
  /** Frames passed on for others. */
  passedOn = 0
  /** Origins for which there was no room. */
  membersRefused = 0
  recordsOut = 0
  recordsApplied = 0
  recordsDuplicate = 0
  /** Records that were not sent before the log had overwritten them. */
  recordsUnsent = 0
  pullsOut = 0
  pullsIn = 0
  replayedOut = 0
  gapsOpened = 0
  bucketsAsked = 0
  bucketsApplied = 0
  epochs = 0
  queriesOut = 0
  outvoted = 0
  /** Times that copies were forgotten because the instance was not coherent for too long. */
  degradedForgets = 0
  degradedTimes = 0
  fetchesOut = 0
  fetchesIn = 0
  fetchesRefused = 0
  fetchesTimedOut = 0
  fetchesParked = 0
  fetchesBehind = 0
  acksRefused = 0
  acksTimedOut = 0
  /** Members that came, left, were gone or were given up. */
  joined = 0
  ended = 0
}
