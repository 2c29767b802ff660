import { describe, expect, it } from "vitest"
import { TenantPrefixes } from "../../src/cache/TenantPrefixes.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"

/** Few letters and many colons, so that prefixes meet. */
const textOf = (random: Random, length: number): string =>
  Array.from({ length: random.between(1, length) }, () => random.pick(["a", "b", ":", ":"])).join("")

describe("tenants' prefixes", () => {
  it(
    "find exactly the tenant whose displayed form the key has, and exclude those that would make two of them",
    async () => {
      await forAllSeeds(500, (random) => {
        const prefixes = new TenantPrefixes<string>()
        const held = new Set<string>()
        const ownersOf = (key: string) => [...held].filter((prefix) => key.startsWith(`${prefix}:`))
        for (let step = 0; step < 60; step++) {
          const prefix = textOf(random, 6)
          if (random.oneIn(4)) {
            prefixes.remove(prefix)
            held.delete(prefix)
          } else {
            const conflict = prefixes.conflict(prefix)
            const inTheWay = [...held].filter(
              (each) => `${each}:`.startsWith(`${prefix}:`) || `${prefix}:`.startsWith(`${each}:`)
            )
            if (conflict === undefined) {
              expect(inTheWay).toEqual([])
              prefixes.add(prefix, prefix)
              held.add(prefix)
            } else expect(inTheWay).toContain(conflict)
          }
          for (const each of held) {
            const key = textOf(random, 8)
            expect(prefixes.route(`${each}:${key}`)).toBe(each)
            expect(prefixes.route(`${each}:`)).toBe(each)
          }
          const key = textOf(random, 10)
          const owners = ownersOf(key)
          expect(owners.length).toBeLessThanOrEqual(1)
          expect(prefixes.route(key)).toBe(owners[0])
        }
      })
    },
    propertyTimeoutMs
  )

  it("look no further into a key than a prefix may reach", () => {
    const prefixes = new TenantPrefixes<number>()
    prefixes.add("a".repeat(200), 1)
    expect(prefixes.route(`${"a".repeat(200)}:k`)).toBe(1)
    const hostile = ":".repeat(64 * 1024)
    let tried = 0
    const slice = String.prototype.slice
    String.prototype.slice = function (...args) {
      tried++
      return slice.apply(this, args)
    }
    try {
      prefixes.route(hostile)
    } finally {
      String.prototype.slice = slice
    }
    expect(tried).toBeLessThanOrEqual(201)
  })
})
