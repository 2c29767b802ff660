import { Either } from "effect"
import { describe, expect, it } from "vitest"
import { HostAllowList } from "../../src/webhooks/index.ts"

const list = (...texts: string[]) => Either.getOrThrow(HostAllowList.parse(texts))
const allows = (items: string, url: string) => list(items).allows(new URL(url))

describe("HostAllowList", () => {
  it("allows nothing by default", () => {
    expect(HostAllowList.none.allows(new URL("https://example.com/"))).toBe(false)
    expect(list("", " , ").isEmpty).toBe(true)
  })

  it.each([
    ["example.com", "https://example.com/a?b=c", true],
    ["example.com", "https://EXAMPLE.com./", true],
    ["Example.COM.", "http://example.com:8080/", true],
    ["example.com", "https://api.example.com/", false],
    ["example.com", "https://notexample.com/", false],
    ["example.com:443", "https://example.com/", true],
    ["example.com:443", "http://example.com/", false],
    ["example.com:8080", "http://example.com:8080/", true],
    ["*.example.com", "https://api.example.com/", true],
    ["*.example.com", "https://a.b.example.com/", true],
    ["*.example.com", "https://example.com/", false],
    ["*.example.com", "https://evilexample.com/", false],
    ["bücher.example", "https://xn--bcher-kva.example/", true],
    ["127.0.0.1:9000", "http://2130706433:9000/", true],
    ["127.0.0.1", "http://0x7f.1/", true],
    ["[::1]:9000", "http://[0:0::1]:9000/", true],
    ["*", "http://anything.example/", true],
    ["*:443", "http://anything.example/", false],
    ["a.example, b.example", "http://b.example/", true]
  ])("%s of %s: %s", (items, url, isAllowed) => {
    expect(allows(items, url)).toBe(isAllowed)
  })

  it.each([
    "example.com:0",
    "example.com:70000",
    "https://example.com",
    "example.com/path",
    "user@example.com",
    "a b",
    "*.*.example.com",
    "::1",
    "*."
  ])("refuses %s and says what an item is", (item) => {
    const error = Either.getOrThrow(Either.flip(HostAllowList.parse([item])))
    expect(error.message).toContain(`"${item}"`)
    expect(error.message).toContain("an item is host[:port]")
  })
})
