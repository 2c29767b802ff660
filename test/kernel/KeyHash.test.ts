import { describe, expect, it } from "vitest"
import { bucketOf, KeyHash, ownerCount, ownerOf, prefixBytesMax, prefixesMax } from "../../src/kernel/KeyHash.ts"
import { forAllSeeds, propertyTimeoutMs } from "../support/Random.ts"

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

  it("of a prefix is the same wherever the displayed key is cut into a head and the rest, its owner included", {
    timeout: propertyTimeoutMs
  }, async () => {
    await forAllSeeds(2_000, (random) => {
      const displayed = Array.from({ length: random.between(0, 12) }, () => random.pick(["a", "b", ":", ":"])).join("")
      const colons = Array.from(displayed.matchAll(/:/g), ({ index }) => index + 1)
      const prefixes = colons.map((end) => main.ofPrefix(displayed.slice(0, end)))
      for (const end of [0, ...colons]) {
        const cut = new KeyHash(secret, displayed.slice(0, end))
        expect(cut.prefixesOf(displayed.slice(end))).toEqual(prefixes)
        const own = colons.filter((at) => at >= end).map((at) => cut.ofPrefix(displayed.slice(end, at)))
        expect(own).toEqual(prefixes.slice(prefixes.length - own.length))
      }
      expect(new Set(prefixes.map(ownerOf)).size).toBe(prefixes.length === 0 ? 0 : 1)
    })
  })

  it("says of a tag whose keyspace it is of, and of a prefix which its first segment is", () => {
    const heads = ["", "tenant_123:", "tenant_456:", "a:b:", "a:c:"]
    const hashes = heads.map((head) => new KeyHash(secret, head))
    const owners = hashes.map((hash) => ownerOf(hash.ofTag("red")))
    expect(new Set(owners).size).toBe(heads.length)
    for (const tag of ["", "blue", "a:b", "t".repeat(2_000)]) {
      expect(hashes.map((hash) => ownerOf(hash.ofTag(tag)))).toEqual(owners)
    }
    const [, one, other, ab, ac] = hashes.map((hash) => ownerOf(hash.ofPrefix("user:")))
    expect([one, other, ab]).toEqual(["tenant_123:", "tenant_456:", "a:"].map((head) => ownerOf(main.ofPrefix(head))))
    expect([new Set([one, other, ab]).size, ab === ac]).toEqual([3, true])
    expect(tenant.ofPrefix("user:")).not.toBe(tenant.ofPrefix("item:"))
  })

  it("of tags and prefixes is a whole number from 1 to 2^53 - 1 as well, spread over all owners and within each", () => {
    const count = 100_000
    const ofOwners = new Uint32Array(ownerCount)
    const [low, high] = [new Uint32Array(1_024), new Uint32Array(1_024)]
    const seen = new Set<number>()
    for (let i = 0; i < count; i++) {
      const [prefix, tag] = [main.ofPrefix(`user${i}:`), tenant.ofTag(`tag${i}`)]
      seen.add(prefix).add(tag)
      ;(ofOwners[ownerOf(prefix)] as number)++
      ;(low[tag % 1_024] as number)++
      ;(high[Math.floor(tag / 2 ** 32) % 1_024] as number)++
    }
    expect(seen.size).toBe(2 * count)
    for (const hash of seen) if (!(Number.isSafeInteger(hash) && hash > 0)) throw new Error(`${hash} is no hash`)
    for (const buckets of [ofOwners, low, high]) {
      const mean = count / buckets.length
      let chiSquare = 0
      for (const filled of buckets) chiSquare += (filled - mean) ** 2 / mean
      expect(chiSquare / (buckets.length - 1)).toBeCloseTo(1, 0)
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
