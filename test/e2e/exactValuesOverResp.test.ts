/**
 * Values stay exactly what they are on the whole way that a tenant's values go: JSON of a RESP client, a script, the store,
 * the event of a trigger, another script, and out again.
 */
import { afterAll, beforeAll, expect, it } from "vitest"
import { fromJson, toBytes, toExactJson } from "../../src/cache/index.ts"
import type { Nested, Value } from "../../src/kernel/index.ts"
import type { RawClient } from "../server/RawClient.ts"
import { exactText, luaSource, luaValue } from "../support/luaValues.ts"
import { firstSeed, propertyTimeoutMs, Random, scheduleCount } from "../support/Random.ts"
import { serveProgram } from "../support/ServedProgram.ts"

const valuesAtOnce = 20 // of one SCRIPT.RUN

/** `store` makes values, `keep` is given them; the trigger stores each of them again, as its event shows it. */
const source = `${luaSource}
function store(first, last)
  for seed = first, last do assert(cache.put("v" .. seed, make(seed))) end
end
function keep(first, ...)
  for i = 1, select("#", ...) do assert(cache.put("v" .. first + i - 1, (select(i, ...)))) end
end
function get(key) return cache.get(key, "a miss") end
-- Where the values that were given, stored and seen by the trigger are others than those that were made.
function differences(first, ...)
  local found = {}
  local function compare(made, value, path) found[#found + 1] = same(made, value, path) end
  for i = 1, select("#", ...) do
    local seed = first + i - 1
    local made = make(seed)
    compare(made, (select(i, ...)), seed .. " given")
    compare(made, cache.get("v" .. seed, "a miss"), seed .. " stored")
    if made == nil then compare("nil", cache.get("seen:v" .. seed, "a miss"), seed .. " seen")
    else compare(made, cache.get("seen:v" .. seed, "a miss"), seed .. " seen") end
  end
  return found
end
`
const trigger = `
if event.value == nil then cache.set("seen:" .. event.key, "nil")
else cache.set("seen:" .. event.key, event.value) end
`

let program: Awaited<ReturnType<typeof serveProgram>>
let client: RawClient

beforeAll(async () => {
  program = await serveProgram()
  client = await program.connect()
  const said = [
    await client.send("TENANT", "CREATE", "tenant_1", "LIMIT", "fuel_per_second", "1000000000000"),
    await client.send("SCRIPT.SET", "tenant_1", "values", source)
  ]
  const acting = await program.connect("tenant_1")
  const given = ["seen", "v*", "ON_WRITE", "TIMEOUT", "1000", "MEMORY", "1048576", trigger]
  said.push(await acting.send("TRIGGER", "SET", ...given))
  expect(said).toEqual(["+OK\r\n", "+OK\r\n", "+OK\r\n"])
})
afterAll(() => program.stop())

const ok = (reply: string): string => {
  if (!reply.startsWith("$")) throw new Error(reply)
  return reply.slice(reply.indexOf("\r\n") + 2, -2)
}

const run = (entry: string, ...args: readonly string[]) => ["SCRIPT.RUN", "tenant_1", "values", entry, ...args]

const parsed = (json: string): Value => {
  const value = fromJson(Buffer.from(json, "latin1").toString())
  if (value instanceof Error) throw value
  return value
}

/** What the store has under these keys, as exact JSON; GET has the same to say, but shows a string as it is. */
const stored = async (keys: readonly string[]): Promise<string[]> => {
  const replies = (
    await client.pipeline(keys.flatMap((key) => [run("get", `"${key}"`), ["GET", `tenant_1:${key}`]]))
  ).map(ok)
  return keys.map((key, at) => {
    const [json, shown] = [replies[2 * at] as string, replies[2 * at + 1] as string]
    const value = parsed(json)
    // The order of a table's keys is nobody's business, and another one after each way through Lua.
    const isSame = typeof value === "string" ? shown === value : exactText(parsed(shown)) === exactText(value)
    if (!isSame) expect([key, shown]).toEqual([key, json])
    return json
  })
}

/** Goes through all seeds by portions; what fails says what repeats it. */
const forPortions = async (usual: number, check: (first: number, last: number) => Promise<void>): Promise<void> => {
  const end = firstSeed + scheduleCount(usual)
  for (let first = firstSeed; first < end; first += valuesAtOnce) {
    const last = Math.min(end, first + valuesAtOnce) - 1
    try {
      await check(first, last)
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new Error(`repeat with MIMOSA_SEED=${first} MIMOSA_SCHEDULES=${last - first + 1}: ${reason}`, { cause })
    }
  }
}

const seedsOf = (first: number, last: number): number[] => Array.from({ length: last - first + 1 }, (_, i) => first + i)

it(
  "a random value that a script has made is the same in the store, in JSON, in the event of a trigger, and given back",
  () =>
    forPortions(40_000, async (first, last) => {
      ok(await client.send(...run("store", String(first), String(last))))
      const seeds = seedsOf(first, last)
      const jsons = await stored(seeds.map((seed) => `v${seed}`))
      const differences = ok(await client.send(...run("differences", String(first), ...jsons)))
      expect(differences).toBe("{}")
    }),
  propertyTimeoutMs
)

it(
  "a random value of a client comes back from the store and from the event as exactly what it was",
  () =>
    forPortions(10_000, async (first, last) => {
      const made = seedsOf(first, last).map((seed) => luaValue(new Random(seed)))
      ok(await client.send(...run("keep", String(first), ...made.map((value) => toBytes(toExactJson(value))))))
      const jsons = await stored(seedsOf(first, last).map((seed) => `v${seed}`))
      const seen = await stored(seedsOf(first, last).map((seed) => `seen:v${seed}`))
      made.forEach((value, at) => {
        expect(exactText(parsed(jsons[at] as string))).toBe(exactText(value))
        expect(exactText(parsed(seen[at] as string) as Nested)).toBe(exactText(value ?? "nil"))
      })
    }),
  propertyTimeoutMs
)
