import { describe, expect, it } from "vitest"
import { Agenda, Appointment } from "../../src/cache/Agenda.ts"
import { Cause, causeBit, Keyspace, type Pattern, parsePattern } from "../../src/kernel/index.ts"
import { forAllSeeds, propertyTimeoutMs } from "../support/Random.ts"

/** Keyspaces with one agenda, and what expires in them, as "0 key". */
const planned = (count: number, onExpire: (expired: string) => void = () => {}) => {
  const clock = { atMs: 0, nowMs: () => clock.atMs }
  const agenda = new Agenda()
  const expired: string[] = []
  const appointments = Array.from({ length: count }, (_, n) => {
    const keyspace = new Keyspace({
      maxEntries: 1_000,
      maxBytes: 1_000_000,
      clock,
      sink: {
        onEvent: ({ key }) => {
          expired.push(`${n} ${key}`)
          onExpire(`${n} ${key}`)
        },
        onSettled() {}
      },
      wake: (atMs) => agenda.wake(appointment, atMs)
    })
    keyspace.trie.add({ pattern: parsePattern("*") as Pattern, mask: causeBit(Cause.expire), priority: 0 })
    const appointment: Appointment = new Appointment(keyspace)
    return appointment
  })
  const keyspaceOf = (n: number) => (appointments[n] as Appointment).keyspace
  /** Advances until `portions` have been done, or all; true when nothing else was due. */
  const advance = (atMs: number, portions = Number.POSITIVE_INFINITY) => {
    clock.atMs = atMs
    let done = 0
    return agenda.advance(atMs, () => ++done >= portions)
  }
  return { agenda, appointments, keyspaceOf, expired, advance, clock }
}

describe("the agenda", () => {
  it("has nobody in it who has nothing to do", () => {
    const { agenda, keyspaceOf, advance } = planned(100)
    for (let n = 0; n < 100; n++) keyspaceOf(n).set("k", "v")
    expect([agenda.size, agenda.nextWakeMs()]).toEqual([0, Number.POSITIVE_INFINITY])
    keyspaceOf(7).set("timed", "v", 5)
    expect([agenda.size, agenda.nextWakeMs()]).toEqual([1, 5])
    advance(5)
    expect(agenda.size).toBe(0)
  })

  it("says whether a word makes it begin earlier", () => {
    const { agenda, appointments } = planned(3)
    const [a, b, c] = appointments as [Appointment, Appointment, Appointment]
    expect([
      agenda.wake(a, 50),
      agenda.wake(b, 60),
      agenda.wake(c, 40),
      agenda.wake(b, 30),
      agenda.wake(b, 35)
    ]).toEqual([true, false, true, true, false])
    agenda.forget(b)
    expect([agenda.nextWakeMs(), agenda.size]).toEqual([40, 2])
  })

  it("gives each that is due a portion before any gets a second one", () => {
    const { keyspaceOf, expired, advance } = planned(3)
    for (let k = 0; k < 100; k++) keyspaceOf(0).set(`k${k}`, "v", 1)
    for (const n of [1, 2]) for (let k = 0; k < 5; k++) keyspaceOf(n).set(`k${k}`, "v", 2)
    expect(advance(10, 3)).toBe(false)
    expect(expired.map((each) => each[0]).join("")).toBe("000011112222")
    expect(advance(10, 3)).toBe(false)
    expect(expired.map((each) => each[0]).join("")).toBe("000011112222000012")
    expect(advance(10)).toBe(true)
    expect(expired).toHaveLength(110)
  })

  it("makes one that became due later wait for those that came before, not for all that they have", () => {
    const { keyspaceOf, expired, advance } = planned(2)
    for (let k = 0; k < 1_000; k++) keyspaceOf(0).set(`k${k}`, "v", 1)
    advance(1, 5)
    keyspaceOf(1).set("urgent", "v", 2)
    advance(3, 2)
    expect(expired.indexOf("1 urgent")).toBeLessThanOrEqual(24)
  })

  it("loses nobody where one throws in the middle of its turn", () => {
    const { agenda, keyspaceOf, advance, appointments } = planned(2)
    keyspaceOf(0).set("k", "v", 1)
    keyspaceOf(1).set("k", "v", 1)
    const { advance: works } = keyspaceOf(0)
    keyspaceOf(0).advance = () => {
      throw new Error("a broken invariant")
    }
    expect(() => advance(1)).toThrow("a broken invariant")
    expect(agenda.size).toBe(2)
    expect(agenda.advance(1, () => true)).toBe(false) // it has gone to the back
    expect(keyspaceOf(1).size).toBe(0)
    ;(appointments[0] as Appointment).keyspace.advance = works
    expect([advance(1), keyspaceOf(0).size]).toEqual([true, 0])
  })

  it(
    "expires everything, on time and never before, whatever is set, moved, closed and cut short",
    async () => {
      await forAllSeeds(200, (random) => {
        const { agenda, appointments, keyspaceOf, advance, clock } = planned(6)
        const closed = new Set<number>()
        const deadlines = new Map<string, number>()
        for (let step = 0; step < 80; step++) {
          const n = random.below(6)
          const key = `${n} ${random.below(5)}`
          const act = random.below(10)
          if (act < 5) {
            const atMs = clock.atMs + random.below(200)
            if (keyspaceOf(n).set(key, "v", atMs + 1)) deadlines.set(key, atMs + 1)
          } else if (act === 5) {
            keyspaceOf(n).delete(key)
            deadlines.delete(key)
          } else if (act === 6 && random.below(10) === 0) {
            closed.add(n)
            keyspaceOf(n).close()
            agenda.forget(appointments[n] as Appointment)
            for (const each of deadlines.keys()) if (each.startsWith(`${n} `)) deadlines.delete(each)
          } else advance(clock.atMs + random.below(40), random.below(2) === 0 ? 2 : Number.POSITIVE_INFINITY)
          agenda.checkInvariants(clock.atMs)
          for (const [each, atMs] of deadlines) {
            const isThere = keyspaceOf(Number(each[0])).peek(each) !== undefined
            expect(isThere).toBe(atMs > clock.atMs)
            if (!isThere) deadlines.delete(each)
          }
          if (advance(clock.atMs)) {
            for (const { keyspace } of appointments) expect(keyspace.nextWakeMs()).toBeGreaterThan(clock.atMs)
          }
        }
        expect(closed.size).toBeLessThanOrEqual(6)
      })
    },
    propertyTimeoutMs
  )
})
