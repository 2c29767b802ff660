/** A frame of any type with numbers from all of their range, for properties of the codec. */
import type { Frame, Header, LogRecord, VectorEntry } from "../../../src/coherence/protocol/Frame.ts"
import type { Span } from "../../../src/coherence/protocol/Marks.ts"
import type { Random } from "../../support/Random.ts"

export const frameTypes: ReadonlyArray<Frame["type"]> = [
  "inv",
  "heartbeat",
  "pull",
  "gone",
  "vector",
  "bucketsAsk",
  "buckets",
  "hello",
  "leave",
  "ack",
  "fetch",
  "value",
  "query",
  "stamps",
  "backup",
  "define",
  "probe"
]

export const randomFrame = (random: Random, type: Frame["type"] = random.pick(frameTypes)): Frame => {
  const header: Header = {
    namespace: random.below(2 ** 32),
    author: random.between(1, 2 ** 53 - 1),
    to: random.oneIn(2) ? 0 : random.below(2 ** 53),
    region: random.below(2 ** 16),
    hops: random.below(256)
  }
  const u48 = () => upTo(random, 2 ** 48 - 1)
  const u53 = () => upTo(random, 2 ** 53 - 1)
  const [of, id] = [random.between(1, 2 ** 53 - 1), random.below(2 ** 32)]
  switch (type) {
    case "inv": {
      const records = some(random, 6, () => randomRecord(random))
      const first = random.between(1, 2 ** 47)
      return { type, ...header, isReplay: random.oneIn(2), wantsAck: random.oneIn(2), first, records }
    }
    case "heartbeat": {
      const entries = some(random, 4, () => ({
        origin: random.between(1, 2 ** 53 - 1),
        region: random.below(2 ** 16),
        split: random.below(2 ** 32),
        last: u48(),
        oldest: u48(),
        lamport: u48(),
        ageMs: random.below(2 ** 32)
      }))
      return { type, ...header, entries }
    }
    case "pull": {
      const first = random.between(1, 2 ** 47)
      return { type, ...header, of, first, last: first + random.below(2 ** 47) }
    }
    case "gone":
      return { type, ...header, of, oldest: u48() }
    case "vector":
      return { type, ...header, lamport: u48(), entries: randomVector(random) }
    case "bucketsAsk":
      return { type, ...header, of, since: u48() }
    case "buckets": {
      const bucketCount = 2 ** random.below(8)
      const bitmap = randomBytes(random, Math.ceil(bucketCount / 8))
      const record = () => ({ op: random.below(64), hash: u53(), sequence: random.between(1, 2 ** 48 - 1) })
      const wide = random.oneIn(3) ? null : some(random, 4, record)
      return { type, ...header, of, since: u48(), upTo: u48(), lamport: u48(), bucketCount, bitmap, wide }
    }
    case "hello": {
      const [isJoining, isAnswer] = [random.oneIn(2), random.oneIn(2)]
      const state = { last: u48(), oldest: u48(), lamport: u48(), split: random.below(2 ** 32) }
      return { type, ...header, isJoining, isAnswer, ...state, vector: randomVector(random) }
    }
    case "leave":
      return { type, ...header, last: u48(), lamport: u48() }
    case "ack":
      return { type, ...header, of, upTo: u48() }
    case "fetch": {
      const key = () => Buffer.from(randomBytes(random, random.below(20))).toString("latin1")
      const vector = randomVector(random).map(({ holes: _, ...entry }) => entry)
      return { type, ...header, id, lamport: u48(), vector, keys: some(random, 4, key) }
    }
    case "value": {
      const answers = some(random, 4, () => ({
        status: random.below(256),
        version: u48(),
        writer: u53(),
        source: random.below(256),
        ttlMs: u48() - 1,
        payload: randomBytes(random, random.below(40))
      }))
      return { type, ...header, id, answers }
    }
    case "query":
      return { type, ...header, id, of: u53(), hashes: some(random, 5, u53) }
    case "stamps": {
      const stamp = () => ({ hash: u53(), version: u48(), author: u53(), isGone: random.oneIn(2) })
      return { type, ...header, id, answers: some(random, 4, stamp), floor: u48() }
    }
    case "backup":
    case "define":
    case "probe":
      return { type, ...header, payload: randomBytes(random, random.below(60)) }
  }
}

export const randomRecord = (random: Random): LogRecord => ({
  op: random.below(64),
  flags: random.pick([0, 0x40, 0x80, 0xc0]),
  hash: upTo(random, 2 ** 53 - 1),
  version: upTo(random, 2 ** 48 - 1)
})

const randomVector = (random: Random): VectorEntry[] =>
  some(random, 4, () => ({
    origin: random.between(1, 2 ** 53 - 1),
    region: random.below(2 ** 16),
    highest: upTo(random, 2 ** 48 - 1),
    hasEnded: random.oneIn(2),
    ...(random.oneIn(2) ? { holes: randomHoles(random) } : {})
  }))

const randomHoles = (random: Random): Span[] => {
  const holes: Span[] = []
  for (let after = 0; holes.length === 0 || random.oneIn(2); ) {
    const first = after + random.between(1, 2 ** 36)
    after = first + random.below(2 ** 36)
    holes.push({ first, last: after })
  }
  return holes
}

/** Small ones, any, and the two at the ends. */
const upTo = (random: Random, last: number): number =>
  random.pick([0, last, random.below(256), random.between(0, last), random.between(0, last)])

const some = <T>(random: Random, countMax: number, item: () => T): T[] =>
  Array.from({ length: random.between(0, countMax) }, item)

export const randomBytes = (random: Random, count: number): Uint8Array =>
  Uint8Array.from({ length: count }, () => random.below(256))
