/**
 * What a trigger that always kills its machine costs the others: before it is there, while it kills, and when it is in
 * quarantine.
 *
 * Two whole Mimosas in one process, so two keyspaces with their own triggers; the killer watches every key of the first.
 * Sets go to both in turn, each with a trigger of its own, and what either takes is timed for itself. While it kills it is
 * let in again before each turn, so that each turn holds the six kills that it takes to be taken out: an operator who
 * insists. Between two turns the event loop runs, and with it the supervisor that brings the killed machine's process back.
 *
 * In turns without kills the thread is kept busy for as long: sets are 4 % slower after a pause of 7 ms, whatever the thread
 * has done meanwhile. What is left is what kills cost beyond their time.
 *
 * One thread runs all of it, so a kill holds everybody for about its hard limit, a little over a millisecond, six times
 * until the quarantine and once a probe afterwards: `quarantine.held` tells how long together. What the others pay beyond
 * that wait is what the ratios show.
 */
import { setImmediate as nextTurn } from "node:timers/promises"
import { Effect, Layer, Logger, LogLevel, ManagedRuntime } from "effect"
import { layer } from "../../dist/App.js"
import { Keyspaces } from "../../dist/cache/index.js"
import { Triggers } from "../../dist/triggers/index.js"
import { ascending, beside, medians, quantile, type Suite } from "./Figure.ts"

const keyCount = 10_000
const keys = Array.from({ length: keyCount }, (_, i) => `session:${(i * 7919) % keyCount}`)

const rounds = 16
const turns = 10 // a window
const sets = 4_000 // a turn and keyspace: some 4 ms, about as long as the six kills hold the thread

export const suite: Suite = {
  name: "quarantine",
  async run(report, say) {
    const [hurt, well] = [await makeTenant(), await makeTenant()]
    try {
      for (const { react } of [hurt, well]) await react()
      const [during, after] = [makeWindows(), makeWindows()]
      const held: number[] = []
      for (let round = -3; round < rounds; round++) {
        if (round % 10 === 0) say(`round ${round} of ${rounds}`)
        const before = await window(hurt, well, null)
        await hurt.kill()
        const killing = await window(hurt, well, hurt.letIn)
        if (!(await hurt.isQuarantined())) throw new Error("the killer is not in quarantine")
        const out = await window(hurt, well, null)
        await hurt.spare()
        if (round < 0) continue // to warm up
        for (const [windows, now] of [
          [during, killing],
          [after, out]
        ] as const) {
          windows.same.push([now.same, before.same])
          windows.other.push([now.other, before.other])
        }
        held.push(killing.heldMs)
      }
      report(beside("quarantine.same.during", "before the killer", medians(during.same)))
      report(beside("quarantine.same.after", "before the killer", medians(after.same)))
      report(beside("quarantine.other.during", "before the killer", medians(during.other)))
      report(beside("quarantine.other.after", "before the killer", medians(after.other)))
      const sorted = ascending(held)
      report({
        id: "quarantine.held",
        value: quantile(sorted, 0.5),
        unit: "ms",
        samples: rounds * turns,
        spread: [quantile(sorted, 0.1), quantile(sorted, 0.9)]
      })
    } finally {
      for (const { close } of [hurt, well]) await close()
    }
  }
}

/** Nanoseconds a set, beside those of the same round before the killer came. */
const makeWindows = () => ({
  same: [] as Array<readonly [number, number]>,
  other: [] as Array<readonly [number, number]>
})

interface Window {
  /** Nanoseconds a set in the keyspace of the killer, its kills not counted … */
  readonly same: number
  /** … and in the other one. */
  readonly other: number
  /** What the sets that killed took in a turn, together. */
  readonly heldMs: number
}

type Tenant = Awaited<ReturnType<typeof makeTenant>>

const window = async (hurt: Tenant, well: Tenant, letIn: (() => Promise<void>) | null): Promise<Window> => {
  const [same, other, held]: [number[], number[], number[]] = [[], [], []]
  for (let turn = 0; turn < turns; turn++) {
    if (letIn === null) awayForMs(heldMs)
    else {
      await letIn()
      held.push(timed(hurt, turn * sets, killsMax) / 1e6)
    }
    // Who goes first changes: the second finds warmer caches.
    if (turn % 2 === 0) same.push(timed(hurt, turn * sets, sets) / sets)
    other.push(timed(well, turn * sets, sets) / sets)
    if (turn % 2 === 1) same.push(timed(hurt, turn * sets, sets) / sets)
    await nextTurn()
  }
  // A low quantile: what another process of the machine took of a turn is not ours.
  const usual = (times: readonly number[]) => (times.length === 0 ? 0 : quantile(ascending(times), 0.25))
  return { same: usual(same), other: usual(other), heldMs: usual(held) }
}

/** Keeps the thread from everybody, as the kills do. */
const awayForMs = (ms: number): void => {
  const endMs = performance.now() + ms
  while (performance.now() < endMs);
}

const heldMs = 7 // what six kills take
const killsMax = 6 // sets that a killer fails on until it is out: its intensity is five within ten seconds

/** Nanoseconds that so many sets take together. */
const timed = ({ keyspace }: Tenant, from: number, count: number): number => {
  const began = process.hrtime.bigint()
  for (let i = from; i < from + count; i++) keyspace.set(keys[i % keyCount] as string, values[i & 15] as string)
  return Number(process.hrtime.bigint() - began)
}

const values = Array.from({ length: 16 }, (_, i) => `value-${i}`)

/** A Mimosa that says nothing: each kill would be a line of its log. */
const makeTenant = async () => {
  const runtime = ManagedRuntime.make(Layer.provideMerge(layer(), Logger.minimumLogLevel(LogLevel.None)))
  const { main: keyspace } = await runtime.runPromise(Keyspaces)
  const triggers = await runtime.runPromise(Triggers)
  for (const key of keys) keyspace.set(key, "v")
  const name = "killer"
  const register = (trigger: string, source: string) =>
    runtime.runPromise(Effect.asVoid(triggers.set({ name: trigger, pattern: "*", events: ["ON_WRITE"], source })))
  return {
    keyspace,
    react: () => register("react", "if event.value ~= event.old_value and event.key then return 1 end"),
    kill: () => register(name, "xpcall(error, function() while true do end end)"),
    letIn: () => runtime.runPromise(Effect.asVoid(triggers.enable(name, true))),
    spare: () => runtime.runPromise(Effect.asVoid(triggers.remove(name))),
    isQuarantined: async () => (await runtime.runPromise(triggers.info(name))).status === "quarantined",
    close: () => runtime.dispose()
  }
}
