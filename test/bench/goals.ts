/** What the figures have to reach; `npm run bench -- --check` compares. */
import type { Figure } from "./Figure.ts"

export interface Goal {
  readonly id: string
  /** Which number of the figure counts. */
  readonly of: "value" | "ratio"
  readonly atMost?: number
  readonly atLeast?: number
  readonly why: string
}

/** What `kernel.bench.ts` fills the heap with. */
const shapes = [
  "objects",
  "arrays",
  "maps",
  "buffers",
  "doubles",
  "bigints",
  "text",
  "names",
  "deep",
  "entry",
  "entry.ttl"
]

/** What a trigger does, and what that adds to a set at most: nanoseconds. */
const added = [
  ["fields0", 350, "a trigger that reads nothing adds at most 0.35 µs"],
  ["fields1", 600, "one that reads one field at most 0.6 µs"],
  ["fields3", 1_000, "one that reads key, value and old value at most 1 µs"],
  ["get", 1_200, "one cache.get of another key adds at most 1.2 µs"],
  ["set", 2_500, "one cache.set of another key adds at most 2.5 µs"]
] as const

export const goals: readonly Goal[] = [
  { id: "kernel.set", of: "ratio", atMost: 2, why: "a set costs at most twice bare lru-cache" },
  { id: "kernel.set.new", of: "ratio", atMost: 2, why: "a set of a new key costs at most twice bare lru-cache" },
  { id: "kernel.get", of: "ratio", atMost: 2, why: "a get costs at most twice bare lru-cache" },
  { id: "kernel.set.log", of: "ratio", atMost: 1.6, why: "the event log adds at most 0.6 to a set" },
  {
    id: "kernel.set.gate.others",
    of: "ratio",
    atMost: 1.1,
    why: "a BEFORE_WRITE on other keys adds at most 0.1 to a set"
  },
  ...shapes.map((shape): Goal => {
    const why = "what is counted is what the heap grows by, to twice that"
    return { id: `kernel.bytes.${shape}`, of: "ratio", atLeast: 0.95, atMost: 2, why }
  }),
  ...added.flatMap(([what, atMost, why]): Goal[] => [
    { id: `trigger.${what}.p50`, of: "value", atMost, why },
    { id: `trigger.${what}.p99`, of: "ratio", atMost: 5, why: "… at the p99 at most 5 times that" }
  ]),
  { id: "trigger.wasmoon", of: "ratio", atMost: 0.05, why: "20 times faster than through wasmoon's public engine" },
  { id: "trigger.register10000", of: "value", atMost: 5_000, why: "registering 10,000 triggers takes at most 5 s" },
  { id: "trigger.miss10000", of: "ratio", atMost: 1 / 0.97, why: "10,000 that do not match leave 0.97 of the rate" },
  { id: "trigger.hit10000", of: "ratio", atMost: 1 / 0.95, why: "… that one of them matches 0.95 of that one's alone" },
  {
    id: "quarantine.same.after",
    of: "ratio",
    atMost: 1 / 0.97,
    why: "one in quarantine leaves its tenant's others 0.97 of the rate"
  },
  {
    id: "quarantine.other.during",
    of: "ratio",
    atMost: 1 / 0.97,
    why: "one that kills its machine leaves other keyspaces 0.97 of theirs"
  },
  { id: "quarantine.other.after", of: "ratio", atMost: 1 / 0.97, why: "… and in quarantine too" },
  { id: "hostile.answer.worst", of: "value", atMost: 2, why: "each attack is answered within its soft limit + 2 ms" },
  { id: "hostile.answer.p90", of: "value", atMost: 2, why: "… as are 9 of 10 runs of all together" },
  { id: "scripts.run", of: "value", atMost: 5_000, why: "a run of an almost empty main takes at most 5 µs" },
  { id: "scripts.run", of: "ratio", atMost: 0.1, why: "… and a tenth of wasmoon's" },
  { id: "scripts.get", of: "value", atMost: 1_500, why: "cache.get of a short string takes at most 1.5 µs in a run" },
  { id: "scripts.get", of: "ratio", atMost: 0.1, why: "… and a tenth of wasmoon's" },
  { id: "scripts.put", of: "value", atMost: 1_500, why: "cache.put of a short string takes at most 1.5 µs in a run" },
  { id: "scripts.put", of: "ratio", atMost: 0.1, why: "… and a tenth of wasmoon's" },
  { id: "scripts.waiting.bytes", of: "value", atMost: 65_536, why: "a script that waits holds at most 64 KiB" },
  { id: "scripts.fair.run.p99", of: "ratio", atMost: 3, why: "who burns makes others' p99 at most 3 times as long" },
  { id: "scripts.fair.get.p99", of: "value", atMost: 5, why: "… and a GET's p99 stays under 5 ms" },
  { id: "actor.cast", of: "ratio", atMost: 1.5, why: "a cast costs at most 1.5 times a bare Queue" },
  { id: "actor.call", of: "ratio", atMost: 1.5, why: "a call with its time-out costs at most 1.5 bare round trips" },
  { id: "actor.spawn", of: "ratio", atMost: 2, why: "a process costs at most 2 bare forks" },
  {
    id: "actor.memory.100000",
    of: "value",
    atMost: 8_192,
    why: "100,000 servers are alive at once, at most 8 KiB each"
  },
  { id: "resp.set", of: "ratio", atLeast: 0.8, why: "SET over RESP reaches 0.8 of redis-server's rate" },
  { id: "resp.set.p16", of: "ratio", atLeast: 0.4, why: "… 0.4 when pipelined by 16" },
  { id: "resp.set.trigger", of: "ratio", atLeast: 0.7, why: "… 0.7 with one matching trigger" },
  { id: "resp.set.trigger.p16", of: "ratio", atLeast: 0.25, why: "… 0.25 with one matching trigger, pipelined by 16" },
  { id: "coherence.set", of: "ratio", atMost: 1.3, why: "a set costs at most 1.3 times one that is not shared" },
  {
    id: "coherence.set.call",
    of: "ratio",
    atMost: 1.3,
    why: "… as does a call of unsafeSet, without what leaves later"
  },
  { id: "coherence.set.get", of: "ratio", atMost: 1.1, why: "a hit costs what it costs where nothing is shared" },
  {
    id: "coherence.propagation.4.p50",
    of: "value",
    atMost: 1,
    why: "half of the copies in 4 processes are gone 1 ms after a write, at 2,000 a second"
  },
  { id: "coherence.propagation.4.all.p50", of: "value", atMost: 1, why: "… also where all write" },
  {
    id: "coherence.regions.p99",
    of: "value",
    atMost: 85,
    why: "another region, 35 ms away, follows within 50 ms more"
  },
  { id: "coherence.scale.p99", of: "value", atMost: 50, why: "500 instances follow within 50 ms" },
  { id: "expiry.lag.1000000.p99", of: "value", atMost: 5, why: "expiry events lag at most 5 ms beside a million TTLs" }
]

export const judge = (goal: Goal, figure: Figure | undefined): { isMet: boolean; text: string } => {
  const number = figure?.[goal.of]
  if (number === undefined) return { isMet: false, text: `was not measured: ${goal.why}` }
  const isMet =
    (goal.atMost === undefined || number <= goal.atMost) && (goal.atLeast === undefined || number >= goal.atLeast)
  const bound = [
    goal.atLeast === undefined ? [] : `at least ${goal.atLeast}`,
    goal.atMost === undefined ? [] : `at most ${Number(goal.atMost.toPrecision(3))}`
  ]
    .flat()
    .join(" and ")
  return { isMet, text: `${goal.of} ${number.toPrecision(3)}, ${bound}: ${goal.why}` }
}
