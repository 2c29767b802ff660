/**
 * No key leaves its tenant: whatever a script calls its keys, it reads and writes exactly these, in the run's keyspace and
 * in no other; displayed, each is the prefix, a colon and the key, and no two tenants' displayed keys are one.
 */
import { expect, it } from "vitest"
import { Tenant } from "../../src/cache/Tenant.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"
import { makeKeyspace, makeModules, running } from "./hostModules.ts"

const escapes = [
  "",
  ":",
  "::",
  "..",
  "../tenant_456/user_count",
  "tenant_456:user_count",
  ":tenant_456:user_count",
  "\0tenant_456:user_count",
  "user_count",
  "\r\nSET tenant_456:user_count 1",
  "*",
  "__proto__",
  "constructor",
  "\xff\xfe\0",
  "\xc3\xa9",
  "k".repeat(65_536),
  `tenant_456:${"k".repeat(65_525)}`
]

it("writes under any key what is read under exactly that key, and nowhere else", {
  timeout: propertyTimeoutMs
}, async () => {
  const modules = makeModules()
  const { current, clock, vm } = modules
  const makeTenant = (id: string) => new Tenant(id, id, makeKeyspace(clock), undefined as never, 0)
  await forAllSeeds(60, (random) => {
    const [one, other] = [makeTenant("tenant_123"), makeTenant("tenant_456")]
    const models = [new Map<string, string>(), new Map<string, string>()] as const
    for (let i = 0; i < 40; i++) {
      const who = random.below(2)
      const [tenant, model] = [[one, other][who] as Tenant, models[who] as Map<string, string>]
      const key = random.oneIn(3) ? anyKey(random) : random.pick(escapes)
      current.run = { ...running(tenant.keyspace, clock, []), tenant }
      const value = String(random.below(1000))
      const quoted = luaString(key)
      if (random.oneIn(4)) {
        expect(modules.run(`return cache.delete(${quoted})`)).toBe(model.delete(key))
      } else {
        expect(modules.run(`return cache.put(${quoted}, "${value}") and cache.get(${quoted})`)).toBe(value)
        model.set(key, value)
      }
    }
    for (const [tenant, model] of [[one, models[0]] as const, [other, models[1]] as const]) {
      const held = new Map<string, string>()
      tenant.keyspace.scan(0, 1000, (entry) => void held.set(entry.key, entry.value as string))
      expect(held).toEqual(model)
      current.run = { ...running(tenant.keyspace, clock, []), tenant }
      const listed = modules.run(
        'local names = {} for _, key in ipairs(cache.keys("")) do names[key] = cache.get(key) end return names'
      )
      expect(asBytes(listed)).toEqual(model)
    }
    const displayed = [one, other].map((tenant, i) =>
      [...(models[i] as Map<string, string>).keys()].map((key) => tenant.displayed(key))
    )
    for (const shown of displayed[0] as string[]) expect(shown.startsWith("tenant_123:")).toBe(true)
    expect((displayed[0] as string[]).filter((shown) => displayed[1]?.includes(shown))).toEqual([])
  })
  vm.release()
})

const anyKey = (random: Random): string =>
  Array.from({ length: random.below(12) }, () =>
    String.fromCharCode(random.pick([58, 46, 0, 255, 97, random.below(256)]))
  ).join("")

const luaString = (bytes: string): string =>
  bytes.length > 1000 && /^(tenant_456:)?k+$/.test(bytes)
    ? `(${bytes.startsWith("t") ? '"tenant_456:" ..' : ""}("k"):rep(${bytes.length - (bytes.startsWith("t") ? 11 : 0)}))`
    : `"${[...bytes].map((byte) => `\\${String(byte.charCodeAt(0)).padStart(3, "0")}`).join("")}"`

/** A table of names out of Lua with its names as bytes; one that has only text is an object, the empty one too. */
const asBytes = (table: unknown): Map<string, string> => {
  const entries: Iterable<[unknown, unknown]> = table instanceof Map ? table : Object.entries(table as object)
  return new Map(
    [...entries].map(([key, value]) => [
      key instanceof Uint8Array ? Buffer.from(key).toString("latin1") : Buffer.from(String(key)).toString("latin1"),
      String(value)
    ])
  )
}
