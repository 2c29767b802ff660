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

export const goals: readonly Goal[] = [
  { id: "kernel.set", of: "ratio", atMost: 2, why: "a set costs at most twice bare lru-cache" },
  { id: "kernel.set.new", of: "ratio", atMost: 2, why: "a set of a new key costs at most twice bare lru-cache" },
  { id: "kernel.get", of: "ratio", atMost: 2, why: "a get costs at most twice bare lru-cache" },
  { id: "trigger.fields0.p50", of: "value", atMost: 350, why: "a trigger that reads nothing adds at most 0.35 µs" },
  { id: "trigger.fields1.p50", of: "value", atMost: 600, why: "a trigger that reads one field adds at most 0.6 µs" },
  {
    id: "trigger.fields3.p50",
    of: "value",
    atMost: 1_000,
    why: "a trigger that reads key, value and old value adds at most 1 µs"
  },
  { id: "trigger.get.p50", of: "value", atMost: 1_200, why: "one cache.get of another key adds at most 1.2 µs" },
  { id: "trigger.set.p50", of: "value", atMost: 2_500, why: "one cache.set of another key adds at most 2.5 µs" },
  { id: "trigger.register10000", of: "value", atMost: 5_000, why: "registering 10,000 triggers takes at most 5 s" },
  {
    id: "trigger.miss10000",
    of: "ratio",
    atMost: 1.031,
    why: "10,000 triggers that do not match leave 0.97 of the rate"
  },
  { id: "trigger.hit10000", of: "ratio", atMost: 1.053, why: "… that one of them matches 0.95 of that one's alone" },
  { id: "trigger.wasmoon", of: "ratio", atMost: 0.05, why: "20 times faster than through wasmoon's public engine" },
  { id: "hostile.answer.over.soft", of: "value", atMost: 2, why: "a runaway is answered within its soft limit + 2 ms" },
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
  { id: "expiry.lag.1000000.p99", of: "value", atMost: 5, why: "expiry events lag at most 5 ms beside a million TTLs" }
]

export const judge = (goal: Goal, figure: Figure | undefined): { isMet: boolean; text: string } => {
  const number = figure?.[goal.of]
  if (number === undefined) return { isMet: false, text: `was not measured: ${goal.why}` }
  const isMet =
    (goal.atMost === undefined || number <= goal.atMost) && (goal.atLeast === undefined || number >= goal.atLeast)
  const bound = goal.atMost === undefined ? `at least ${goal.atLeast}` : `at most ${goal.atMost}`
  return { isMet, text: `${goal.of} ${number.toPrecision(3)}, ${bound}: ${goal.why}` }
}
