import { describe, expect, it } from "vitest"
import { bucketOf, KeyHash, prefixBytesMax, prefixesMax } from "../../src/kernel/KeyHash.ts"

const secret = "a namespace's secret"
const main = new KeyHash(secret)
const tenant = new KeyHash(secret, "tenant_123:")

describe("KeyHash", () => {
  it("is a whole number from 1 to 2^53 - 1, the same for who knows the secret and another for who does not", () => {
    for (const key of ["", "a", "\xff\0", "user:1", "x".repeat(10_000)]) {
      const hash = main.of(key)
      expect(Number.isSafeInteger(hash) && hash > 0).toBe(true)
      expect(new KeyHash(secret).of(key)).toBe(hash)
      expect(new KeyHash("another secret").of(key)).not.toBe(hash)
    }
  })

  it("is that of the displayed key, so that everybody's keyspace can name a tenant's keys", () => {
    expect(tenant.of("user_count")).toBe(main.of("tenant_123:user_count"))
    expect(tenant.ofPrefix("user:")).toBe(main.ofPrefix("tenant_123:user:"))
    expect(tenant.prefixesOf("user:1:name")).toEqual(
      ["tenant_123:", "tenant_123:user:", "tenant_123:user:1:"].map((prefix) => main.ofPrefix(prefix))
    )
    expect(main.prefixesOf("tenant_123:user:1:name")).toEqual(tenant.prefixesOf("user:1:name"))
  })

  it("knows no prefix that does not end at a colon", () => {
    expect(main.prefixesOf("user_count")).toEqual([])
    expect(main.prefixesOf("")).toEqual([])
    expect(main.prefixesOf(":a")).toEqual([main.ofPrefix(":")])
  })

  it("looks at so many prefixes of a key, and so long ones, whatever the key is made of", () => {
    expect(main.prefixesOf(":".repeat(1_000_000)).length).toBe(prefixesMax)
    expect(tenant.prefixesOf(":".repeat(1_000_000)).length).toBe(prefixesMax)
    const longest = `${"x".repeat(prefixBytesMax - 1)}:`
    expect(main.prefixesOf(`${longest}1`)).toEqual([main.ofPrefix(longest)])
    expect(main.prefixesOf(`x${longest}1`)).toEqual([])
    expect(tenant.prefixesOf(`${longest}1`)).toEqual([main.ofPrefix("tenant_123:")])
  })

  it("says of a prefix whether it is one of those", () => {
    const longest = `${"x".repeat(prefixBytesMax - 1)}:`
    for (const prefix of ["a:", "a:b:", ":", ":".repeat(prefixesMax), longest]) expect(main.isPrefix(prefix)).toBe(true)
    for (const prefix of ["", "a", "a:b", ":".repeat(prefixesMax + 1), `x${longest}`]) {
      expect(main.isPrefix(prefix)).toBe(false)
    }
    expect(tenant.isPrefix("")).toBe(true)
    expect(tenant.isPrefix(":".repeat(prefixesMax - 1))).toBe(true)
    expect(tenant.isPrefix(":".repeat(prefixesMax))).toBe(false)
  })

  it("takes tags for one that are alike in their first 1,024 bytes", () => {
    const tag = "t".repeat(1_024)
    expect(main.ofTag(`${tag}a`)).toBe(main.ofTag(`${tag}b`))
    expect(main.ofTag(`${tag.slice(1)}a`)).not.toBe(main.ofTag(`${tag.slice(1)}b`))
  })

  it("tells keys, prefixes, tags and keyspaces of one text apart, and a tenant's tags from everybody's", () => {
    const hashes = [main.of("t:"), main.ofPrefix("t:"), main.ofTag("t:"), new KeyHash(secret, "t:").ofAll]
    expect(new Set(hashes).size).toBe(4)
    expect(main.ofAll).not.toBe(tenant.ofAll)
    expect(tenant.ofTag("red")).not.toBe(main.ofTag("tenant_123:red"))
    expect(tenant.ofTag("red")).not.toBe(main.ofTag("red"))
  })

  it("has no two keys of 200,000 with one hash, and fills the buckets evenly from both ends of the number", () => {
    const count = 200_000
    const [low, high] = [new Uint32Array(1_024), new Uint32Array(1_024)]
    const seen = new Set<number>()
    for (let i = 0; i < count; i++) {
      const hash = tenant.of(`user:${i}`)
      seen.add(hash)
      ;(low[bucketOf(hash, 1_024)] as number)++
      ;(high[Math.floor(hash / 2 ** 43)] as number)++
    }
    expect(seen.size).toBe(count)
    for (const buckets of [low, high]) {
      const mean = count / buckets.length
      let chiSquare = 0
      for (const filled of buckets) chiSquare += (filled - mean) ** 2 / mean
      expect(chiSquare / (buckets.length - 1)).toBeCloseTo(1, 0) // 1 ± 0.045 for random numbers
    }
  })

  it("changes half of its bits where one bit of the key changes", () => {
    const bitsOf = (hash: number) => BigInt(hash).toString(2).padStart(53, "0")
    for (let bit = 0; bit < 8; bit++) {
      let changed = 0
      for (let i = 0; i < 500; i++) {
        const key = `session:${i * 7919}`
        const at = i % key.length
        const other = key.slice(0, at) + String.fromCharCode(key.charCodeAt(at) ^ (1 << bit)) + key.slice(at + 1)
        const [a, b] = [bitsOf(main.of(key)), bitsOf(main.of(other))]
        for (let place = 0; place < 53; place++) if (a[place] !== b[place]) changed++
      }
      expect(changed / 500 / 53).toBeCloseTo(0.5, 1)
    }
  })
})
