/**
 * No key leaves its tenant, whatever it is made of and whichever way it comes: from a script, from a trigger, from a
 * connection that acts as the tenant, and, displayed, from an operator's. The attacker's neighbours have prefixes that
 * its own begins with, or that begin with its own; a plain map says what it holds.
 */
import { afterAll, beforeAll, expect, it } from "vitest"
import { fromJson, toBytes, toExactJson } from "../../src/cache/index.ts"
import type { Keyspace } from "../../src/kernel/index.ts"
import type { RawClient } from "../server/RawClient.ts"
import { firstSeed, propertyTimeoutMs, Random, scheduleCount } from "../support/Random.ts"
import { serveProgram } from "../support/ServedProgram.ts"

const mark = "<<hidden>>" // in whatever is another's, and in no argument
const prefix = "team:x"
const neighbours = ["team:a", "team:xy", "team", "x", "b"].filter((each) => !`${prefix}:`.startsWith(`${each}:`))

const source = `
function attack(k)
  return {
    cache.get(k, "nothing"), cache.has(k), cache.put(k, "by a script"), cache.get(k), cache.incr(k .. "#"),
    cache.touch(k, 1000), cache.ttl(k) > 0, cache.put_ttl(k .. "!", "for a while", 1000), cache.delete(k .. "#"),
    cache.keys(k, 10000)
  }
end
`
const trigger = `
local k = event.value
cache.set(k, cache.get(k .. "!") or "by a trigger")
cache.delete(k .. "!")
cache.emit(k:sub(1, 1000), "by a trigger")
cache.log(k, "by a trigger")
`

const pieces = [
  ...[
    "",
    ":",
    "::",
    "a",
    "x",
    "y",
    "team",
    "team:",
    "team:a",
    "team:a:",
    "team:xy:",
    "b:",
    "team:x",
    "team:x:",
    "secret"
  ],
  ...["..", "/", "../", "\\", "\0", "\r\n", "*", "?", "[a-z]", "{", "}", " ", "'", '"', "\xff", "\xc3", "\xef\xbc\x9a"],
  ...["__proto__", "constructor", "script:log", "seen:", "%3a", "team%3aa%3asecret"]
]

/** What an acting connection may look at. */
const views = [
  ["TRIGGER", "LOG"],
  ["TRIGGER", "LIST"],
  ["LOGS"],
  ["INFO"],
  ["TENANT", "INFO", "attacker"],
  ["SCRIPT.LOG", "attacker"],
  ["SCRIPT.LIST", "attacker"],
  ["CLIENT", "LIST"],
  ["DBSIZE"],
  ["RANDOMKEY"],
  ["KEYS", "*"],
  ["PUBSUB", "CHANNELS"]
]

const hostileKey = (random: Random): string => {
  switch (random.below(12)) {
    case 0:
      return `${random.pick(["", "\0", "../", ":", "x:", "team:x:", " "])}${random.pick(["team:a:", "team:xy:", "b:", ""])}secret`
    case 1:
      return random
        .pick(["team:a:secret", "x", "\0", ":"])
        .repeat(7_000)
        .slice(0, random.pick([4_000, 65_535]))
    case 2: {
      const bytes = Array.from({ length: random.below(40) }, () => random.below(256))
      return Buffer.from(bytes.filter((byte) => byte !== 0x21 && byte !== 0x23)).toString("latin1") // ! and # are ours
    }
    default:
      return Array.from({ length: random.below(6) }, () => random.pick(pieces)).join("")
  }
}

let program: Awaited<ReturnType<typeof serveProgram>>
let operator: RawClient
let acting: RawClient
let attacker: Keyspace
let others: readonly Keyspace[]
const heard: string[] = []

beforeAll(async () => {
  program = await serveProgram()
  operator = await program.connect()
  for (const id of neighbours) await operator.send("TENANT", "CREATE", id.replace(":", "_"), "PREFIX", id)
  await operator.send("TENANT", "CREATE", "attacker", "PREFIX", prefix, "LIMIT", "fuel_per_second", "1000000000000")
  acting = await program.connect("attacker")
  const said = [
    await operator.send("SCRIPT.SET", "attacker", "s", source),
    await acting.send("TRIGGER", "SET", "t", "trigger-go", "ON_WRITE", "TIMEOUT", "1000", "MEMORY", "1048576", trigger)
  ]
  expect(said).toEqual(["+OK\r\n", "+OK\r\n"])
  const keyspaceOf = (id: string) => program.tenants.get(id)?.keyspace as Keyspace
  attacker = keyspaceOf("attacker")
  others = [program.keyspaces.main, ...neighbours.map((id) => keyspaceOf(id.replace(":", "_")))]
  for (const keyspace of others) {
    for (const key of ["secret", "a", "", ":", "x", "y", "..", "\0", "user", "secret!"]) keyspace.set(key, mark)
  }
  program.bus.psubscribe("*", { onMessage: (channel) => heard.push(channel) })
})
afterAll(() => program.stop())

/** What can be seen of others from outside: what they hold, and whether anybody has looked. */
const stateOfOthers = () => others.map(({ size, version, stats: { hits, misses } }) => [size, version, hits, misses])

const held = (): Map<string, unknown> => {
  const entries = new Map<string, unknown>()
  let cursor = 0
  do cursor = attacker.scan(cursor, 64, ({ key, value }) => entries.set(key, value))
  while (cursor !== 0)
  return entries
}

const isOk = (reply: string): boolean => !reply.startsWith("-")

/** All ways of one key, each beside what it does to the plain map. */
const attackWith = async (key: string, random: Random, model: Map<string, unknown>): Promise<string[]> => {
  const replies: string[] = []
  const say = async (client: RawClient, ...args: string[]) => {
    const reply = await client.send(...args)
    replies.push(reply)
    return reply
  }
  const reply = await say(operator, "SCRIPT.RUN", "attacker", "s", "attack", toBytes(toExactJson(key)))
  const before = model.get(key)
  const keys = [...model.keys(), key, `${key}!`].filter((each) => each.startsWith(key))
  model.set(key, "by a script").set(`${key}!`, "for a while")
  const returned = fromJson(Buffer.from(reply.slice(reply.indexOf("\r\n") + 2, -2), "latin1").toString())
  expect(Array.isArray(returned), reply.slice(0, 200)).toBe(true)
  const [found, wasThere, ...rest] = returned as unknown[]
  const listed = rest.pop() as unknown[]
  expect([found === "nothing", wasThere]).toEqual([before === undefined, before !== undefined])
  expect(rest).toEqual([true, "by a script", 1, true, true, true, true])
  expect(listed.length).toBe(new Set(keys).size)

  const failures = program.triggers.of(program.tenants.get("attacker") as never).inBytes
  const failedBefore = failures.log(1)[0]?.id
  expect(await say(acting, "SET", "trigger-go", key)).toBe("+OK\r\n")
  model.set("trigger-go", key)
  if (failures.log(1)[0]?.id === failedBefore) {
    model.set(key, model.get(`${key}!`))
    model.delete(`${key}!`)
  } else expect(key.length).toBeGreaterThan(20_000) // more than one run may change at once

  if (isOk(await say(acting, "SET", key, "by a connection"))) model.set(key, "by a connection")
  expect(await say(acting, "GET", key)).toContain("by a connection")
  for (const command of [
    ["MGET", key, "secret"],
    ["EXISTS", key],
    ["TTL", key],
    ["TYPE", key],
    ["STRLEN", key]
  ]) {
    await say(acting, ...command)
  }
  for (const glob of [key.slice(0, 200), `${key.slice(0, 200)}*`]) {
    await say(acting, "KEYS", glob)
    await say(acting, "SCAN", "0", "MATCH", glob, "COUNT", "100")
  }
  await say(acting, "PUBLISH", key.slice(0, 1_000), "by a connection")
  await say(acting, "LOGS", key)
  await say(acting, ...random.pick(views))
  const displayed = `${prefix}:${key}`
  if (isOk(await say(operator, "SET", displayed, "by an operator"))) model.set(key, "by an operator")
  expect(await say(operator, "GET", displayed)).toContain(model.get(key))
  const [client, name] = random.oneIn(2) ? [acting, key] : [operator, displayed]
  if (random.oneIn(2) && (await say(client, "DEL", name)) === ":1\r\n") model.delete(key)
  return replies
}

it(
  "a hostile key stays within its tenant, from scripts, triggers, connections and operators",
  async () => {
    const count = scheduleCount(500)
    const model = new Map<string, unknown>()
    const before = stateOfOthers()
    for (let seed = firstSeed; seed < firstSeed + count; seed++) {
      const random = new Random(seed)
      const key = hostileKey(random)
      try {
        const replies = await attackWith(key, random, model)
        for (const reply of replies) if (reply.includes(mark)) expect(reply).toBe("what says nothing of others")
        expect(stateOfOthers()).toEqual(before)
        expect(held()).toEqual(model)
        if (model.size > 300) {
          expect(await acting.send("FLUSHALL")).toBe("+OK\r\n")
          model.clear()
        }
        for (const channel of heard.splice(0)) expect(channel.startsWith(`${prefix}:`), channel).toBe(true)
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause)
        const shown = JSON.stringify(key.slice(0, 80))
        throw new Error(`MIMOSA_SEED=${firstSeed} MIMOSA_SCHEDULES=${count}, seed ${seed}, key ${shown}: ${reason}`, {
          cause
        })
      }
    }
  },
  propertyTimeoutMs
)
