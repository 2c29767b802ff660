import { describe, expect, it } from "vitest"
import { levelOf, SharedMemory } from "../../src/cache/SharedMemory.ts"
import { entryBytes, Keyspace } from "../../src/kernel/index.ts"
import { forAllSeeds, propertyTimeoutMs } from "../support/Random.ts"

const unit = entryBytes + 4 // bytes of an entry with a key of three letters and a value of one

/** `count` keyspaces that share room for `room` entries. */
const sharing = (count: number, room: number) => {
  const clock = { nowMs: () => 0 }
  const keyspaces: Keyspace[] = []
  const memory = new SharedMemory(room * unit, () => keyspaces)
  for (let n = 0; n < count; n++) {
    const sink = { onEvent() {}, onSettled() {} }
    keyspaces.push(new Keyspace({ maxEntries: 10_000, maxBytes: 1e9, clock, sink, pool: memory.pool, wake() {} }))
  }
  const write = (n: number, entries: number, from = 100) => {
    for (let k = 0; k < entries; k++) (keyspaces[n] as Keyspace).set(String(from + k), "v")
  }
  /** What the scheduler does, up to `units` of work for each. */
  const advance = (units = Number.MAX_SAFE_INTEGER) => {
    for (const keyspace of keyspaces) keyspace.advance(0, units)
    memory.relax()
  }
  const sizes = () => keyspaces.map(({ size }) => size)
  return { memory, keyspaces, write, advance, sizes }
}

describe("the level to which the largest shrink", () => {
  it(
    "makes the sizes fit, takes nothing from those below it, and no more than it must",
    async () => {
      await forAllSeeds(500, (random) => {
        const sizes = Array.from({ length: random.below(20) }, () => random.below(1_000))
        const total = random.below(10_000)
        const level = levelOf(sizes, total)
        const cut = (at: number) => sizes.reduce((sum, size) => sum + Math.min(size, at), 0)
        if (level === Number.POSITIVE_INFINITY) expect(cut(level)).toBeLessThanOrEqual(total)
        else {
          expect(cut(level)).toBeLessThanOrEqual(total)
          expect(cut(level + 1)).toBeGreaterThan(total)
        }
      })
    },
    propertyTimeoutMs
  )
})

describe("memory that tenants share", () => {
  it("is left alone while it suffices", () => {
    const { memory, write, advance, sizes } = sharing(3, 320)
    for (const n of [0, 1, 2]) write(n, 100)
    advance()
    expect([sizes(), memory.reclaims]).toEqual([[100, 100, 100], 0])
  })

  it("takes from the largest alone, its least recently used entries, and nothing from who holds less than the others", () => {
    const { memory, keyspaces, write, advance, sizes } = sharing(3, 320)
    write(0, 250)
    write(1, 40)
    keyspaces[0]?.get("100")
    write(2, 31)
    expect(memory.reclaims).toBe(1)
    advance()
    expect(sizes()).toEqual([229, 40, 31])
    expect(memory.pool.bytes).toBe(300 * unit)
    expect([keyspaces[0]?.peek("100"), keyspaces[0]?.peek("101")]).toEqual([expect.anything(), undefined])
  })

  it("makes the large ones equal, where several are", () => {
    const { write, advance, sizes } = sharing(4, 320)
    write(0, 150)
    write(1, 10)
    write(2, 130)
    write(3, 31)
    advance()
    expect(sizes()).toEqual([129, 10, 129, 31])
  })

  it("lets the one that is taken from grow no further until it has shrunk", () => {
    const { write, advance, sizes } = sharing(2, 320)
    write(0, 300)
    write(1, 21)
    advance(5)
    expect(sizes()).toEqual([295, 21])
    write(0, 50, 500)
    expect(sizes()).toEqual([295, 21])
    advance()
    expect(sizes()).toEqual([279, 21])
    write(0, 10, 600)
    expect(sizes()).toEqual([289, 21])
  })

  it("goes beyond its limit by little, also while nobody has time to evict", () => {
    const { memory, write, sizes } = sharing(10, 640)
    for (let round = 0; round < 100; round++) for (let n = 0; n < 10; n++) write(n, 10, 100 + round * 10)
    expect(memory.pool.bytes / unit).toBeLessThanOrEqual(640 * 1.25)
    expect(Math.max(...sizes()) - Math.min(...sizes())).toBeLessThanOrEqual(20)
    expect(memory.reclaims).toBeLessThanOrEqual(20)
  })

  it("sounds its alarm as early as before, once there is room again", () => {
    const { memory, write, advance } = sharing(2, 320)
    write(0, 321)
    expect(memory.pool.alarmBytes).toBeGreaterThan(320 * unit)
    advance()
    expect(memory.pool.alarmBytes).toBe(320 * unit)
    write(1, 21)
    expect(memory.reclaims).toBe(2)
  })
})
