/** `use`: an entry counts as used, and nothing else happens. */
import { expect, it } from "vitest"
import { type KeyEvent, Keyspace } from "../../src/kernel/index.ts"

const make = () => {
  const clock = { ms: 1000, nowMs: () => clock.ms }
  const events: KeyEvent[] = []
  const sink = { onEvent: (event: KeyEvent) => void events.push(event), onSettled: () => {} }
  const keyspace = new Keyspace({ maxEntries: 2, maxBytes: 1 << 20, clock, sink, wake: () => {} })
  return { clock, events, keyspace }
}

it("keeps an entry from being the next to be evicted, without a hit, a miss or an event", () => {
  const { keyspace, events } = make()
  keyspace.set("a", "1")
  keyspace.set("b", "2")
  const { version } = keyspace
  expect([keyspace.use("a"), keyspace.use("nobody")]).toEqual([true, false])
  expect([keyspace.version, keyspace.stats.hits, keyspace.stats.misses, events.length]).toEqual([version, 0, 0, 0])
  keyspace.set("c", "3")
  expect(["a", "b", "c"].map((key) => keyspace.peek(key)?.value)).toEqual(["1", undefined, "3"])
})

it("finds nobody past the deadline, and expires what it finds there (law 2)", () => {
  const { keyspace, clock } = make()
  keyspace.set("a", "1", clock.ms + 10)
  clock.ms += 10
  expect(keyspace.use("a")).toBe(false)
  expect([keyspace.size, keyspace.stats.expires]).toEqual([0, 1])
})
