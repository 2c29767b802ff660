/**
 * The invariants of the protocol, and those of them that are judged entry by entry, each as a function that answers what
 * is wrong, or nothing. They are judged by what only the referee knows (`History`), never by what an instance believes
 * of itself. The others are where what they are about happens: in `Referee` and `SimInstance`.
 */
import { type Entry, EntrySource } from "../../../src/kernel/index.ts"
import { type Change, isHigher, type ValueFacts } from "./History.ts"
import { type SimInstance, toldOf } from "./SimInstance.ts"
import type { World } from "./World.ts"

/** What a failure says beside what has happened. I16 (one loader a key) is a property of the fills, and tested there. */
export const laws: Readonly<Record<string, string>> = {
  I1: "when all is quiet nobody serves what is older than a change of which the origin or a log holder survived",
  I2: "a fill that began before an invalidation was applied is never readable afterwards on that instance",
  I3: "staleness is bounded by the time of detection and partitionTtl, and by the entry's own deadline",
  I4: "each record takes effect at most once, and a contiguous mark never goes back nor ahead of what was written",
  I5: "an instance that has missed a record for longer than detection takes does not call itself coherent",
  I6: "no frame contains a local value, and nothing that a peer says removes a local entry",
  I7: "nobody announces what no client of its own did, and a record is sent once to each member and relay",
  I8: "frames of another namespace have no effect",
  I9: "a writer reads its own write at once, and with `live` everybody does after the acknowledgement",
  I10: "frames of a dead origin are never taken for another's: who applies a record can name who wrote it",
  I12: "each removal has one cause, the right one, and happens to what was there",
  I13: "nothing that was filled before an invalidation of its tag or prefix is readable after it",
  I14: "when everything has healed, all know each other and are coherent within a few heartbeats and what they exchange",
  I15: "logs, intervals, tables and members stay within their bounds",
  I18: "a collision of hashes causes a miss at most, never the value of another key",
  I19: "of concurrent writes exactly the highest is readable everywhere when all is quiet, also with no database",
  W1: "what a client does to a shared key becomes a record before the client is told",
  defect: "nothing throws"
}

/** I1: after quiescence no instance serves a value older than the newest change of which origin or a holder survived. */
export const i1NothingOld = (
  world: World,
  node: SimInstance,
  facts: ValueFacts,
  isOwn: boolean
): string | undefined => {
  const missed = world.history.missedBy(facts, (change) => survives(world, change, isOwn))
  if (missed === undefined) return undefined
  return `${node.name} still reads ${facts.value}, though ${world.nameOf(missed.author)} ${toldOf(missed)} at ${ms(missed)}`
}

/** I2: a fill that began before a change was applied is never readable afterwards on that instance. */
export const i2FillGuard = (world: World, node: SimInstance, facts: ValueFacts, entry: Entry): string | undefined => {
  if (entry.source === EntrySource.written) return undefined
  const began = node.fillTurns.get(facts.value)
  if (began === undefined) return undefined
  const isLater = (change: Change): boolean => {
    const heard = node.heard.get(change)
    if (heard === undefined || heard <= began || change.value === facts.value) return false
    return change.author === node.origin || facts.stamp === null || isWideOrHigher(change, facts)
  }
  const later = world.history.ofKey(facts.space, facts.key).find(isLater) ?? world.history.wideOf(facts, isLater)
  if (later !== undefined) {
    return `${node.name} reads ${facts.value}, whose fill began before it heard that ${world.nameOf(later.author)} ${toldOf(later)}`
  }
  if (node.forgotAtTurn > began)
    return `${node.name} reads ${facts.value}, whose fill began before it forgot its copies`
  return undefined
}

/** I2, as readers see it: nothing that this instance has heard to be old is readable on it. I13 where it was a tag. */
export const i2HeardIsGone = (world: World, node: SimInstance, facts: ValueFacts, upTo: number): Change | undefined =>
  world.history.missedBy(facts, (change) => {
    const heard = node.heard.get(change)
    if (heard === undefined || heard > upTo) return false
    return facts.isLoaded || survives(world, change, true) // else nobody remembers it any more: an older write may return
  })

/**
 * I3: staleness of what was written elsewhere is bounded; it began at `fromMs` at the earliest. I5: an instance that calls
 * itself coherent has missed nothing.
 */
export const i3StalenessIsBounded = (
  world: World,
  node: SimInstance,
  facts: ValueFacts,
  fromMs: number,
  boundMs: number
): string | undefined => {
  const { nowMs } = world.time
  // Each side of a partition goes on with what was written on it: there it is no copy that is stale, but its writer.
  if (isHeldByItsWriter(world, facts)) return undefined
  const missed = world.history.missedBy(facts, (change) => {
    const sinceMs = Math.max(change.atMs, fromMs, world.referee.knownSinceMs(node, change.author))
    if (sinceMs + boundMs >= nowMs) return false
    return world.all.get(change.author)?.isAlive === true && !node.heard.has(change)
  })
  if (missed === undefined) return undefined
  const late = Math.round(nowMs - missed.atMs)
  return `${node.name} reads ${facts.value} ${late} ms after ${world.nameOf(missed.author)} ${toldOf(missed)}; ${Math.round(boundMs)} are allowed`
}

/** I3: and never past the deadline that its writer gave it. */
export const i3DeadlineHolds = (world: World, node: SimInstance, facts: ValueFacts): string | undefined => {
  const hasHeard = (change: Change): boolean => change.value !== facts.value || node.heard.has(change)
  if (!world.history.ofKey(facts.space, facts.key).every(hasHeard)) return undefined
  const lateMs = world.time.nowMs - facts.deadlineMs
  const skewMs = 2 + (facts.deadlineMs - facts.atMs) * 0.07 + world.network.delayMsMax * 2
  if (lateMs <= skewMs) return undefined
  return `${node.name} reads ${facts.value} ${Math.round(lateMs)} ms after it should have expired`
}

/** I19: an instance loses a write of its own only to a higher one, or to something wide. */
export const i19OwnIsKept = (world: World, node: SimInstance, facts: ValueFacts, hash: number): string | undefined => {
  const { stamp } = facts
  if (stamp === null || stamp.author !== node.origin || world.schedule.collides) return undefined
  const { history } = world
  if (history.ofKey(facts.space, facts.key).some((change) => isHigher(change, stamp))) return undefined
  if (history.wideOf(facts, () => true) !== undefined) return undefined
  if (node.outvoted.has(hash) || node.hasLostWides) return undefined
  return `${node.name} loses ${facts.value}, its own write, and nobody wrote a higher one`
}

/** Whether a value is what its writer, who lives, has of the key. */
export const isHeldByItsWriter = (world: World, { stamp, space, key, value }: ValueFacts): boolean => {
  const writer = stamp === null ? undefined : world.all.get(stamp.author)
  return writer?.isAlive === true && writer.peek(space, key)?.value === value
}

/** Whether there is somebody left from whom all can hear of a change; of an own write of theirs, by a record. */
export const survives = (world: World, change: Change, isOwn: boolean): boolean => {
  const author = world.all.get(change.author)
  if (author?.isAlive === true && !(isOwn && isOverwritten(world, author, change))) return true
  const { receivedSize } = world.schedule.parameters
  return world.living().some((node) => {
    const number = node.heardNumber.get(change)
    return number !== undefined && (!isOwn || node.applied - number < receivedSize)
  })
}

/** Its author has heard of a higher write of another one since, and remembers that instead. */
const isOverwritten = (world: World, author: SimInstance, change: Change): boolean => {
  const isInstead = (other: Change): boolean =>
    other.author !== change.author && isHigher(other, change) && author.heard.has(other)
  return world.history.ofKey(change.space, change.name).some(isInstead)
}

const isWideOrHigher = (change: Change, facts: ValueFacts): boolean =>
  change.name !== facts.key || facts.stamp === null || isHigher(change, facts.stamp)

const ms = (change: Change): string => `t=${change.atMs.toFixed(1)}`
