/** The tenants of a program, with and without a data directory. */
import * as fs from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Layer, Logger, LogLevel, TestClock } from "effect"
import { Supervisor } from "../../src/actor/index.ts"
import {
  CacheClock,
  Keyspaces,
  Reactions,
  type Tenant,
  type TenantLimits,
  TenantStore,
  Tenants,
  tenantLimitsDefault,
  Wakeups
} from "../../src/cache/index.ts"
import { Cause, causeBit, causeNames, type Pattern, parsePattern, type Value } from "../../src/kernel/index.ts"
import { DataDirectory } from "../../src/storage/index.ts"
import { temporaryDirectory } from "../storage/TemporaryDirectory.ts"

const heard: string[] = []
const reactions = Layer.succeed(Reactions, {
  onEvent: ({ cause, key }) => void heard.push(`${causeNames[cause]} ${key}`),
  onSettled() {},
  beforeWrite: () => null,
  beforeDelete: () => null
})
const layerOver = <E>(store: Layer.Layer<TenantStore, E>, tenantsMax?: number) =>
  Tenants.layer(tenantsMax === undefined ? {} : { tenantsMax }).pipe(
    Layer.provideMerge(Keyspaces.layer()),
    Layer.provideMerge(Layer.mergeAll(CacheClock.layer, Wakeups.layer, reactions, store))
  )

/** A library's tenants: nothing is saved. */
const within = <A, E>(body: Effect.Effect<A, E, Tenants | Keyspaces>, tenantsMax?: number) =>
  Effect.provide(body, layerOver(TenantStore.layerNone, tenantsMax))

/** A process with this data directory, from its start to its end. */
const started = <A, E>(path: string, body: Effect.Effect<A, E, Tenants | Keyspaces>, tenantsMax?: number) =>
  Effect.gen(function* () {
    const { children } = yield* Tenants
    yield* Supervisor.start({ children })
    return yield* body
  }).pipe(
    Effect.scoped,
    Effect.provide(layerOver(Layer.provide(TenantStore.layer, DataDirectory.layer(path)), tenantsMax))
  )

const ids = (tenants: readonly Tenant[]) => tenants.map(({ id }) => id)
const silent = Logger.withMinimumLogLevel(LogLevel.None)
const files = (path: string) => Effect.promise(() => fs.readdir(join(path, "tenants")))

describe("a tenant", () => {
  it.effect("has its id for a prefix, default limits, and a keyspace with them, unless told otherwise", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        yield* TestClock.setTime(5_000)
        const plain = yield* tenants.create({ id: "acme" })
        const other = yield* tenants.create({ id: "b", prefix: "team:b", limits: { maxEntries: 2, runsMax: 0 } })
        expect([plain.prefix, plain.displayed("user_count"), plain.limits]).toEqual([
          "acme",
          "acme:user_count",
          tenantLimitsDefault
        ])
        expect([plain.createdAtMs, plain.version, plain.isOpen, plain.isSaved]).toEqual([5_000, 1, true, true])
        expect([other.displayed("k"), other.keyspace.maxEntries, other.limits.runsMax]).toEqual(["team:b:k", 2, 0])
        expect([ids(tenants.list()), tenants.size, tenants.get("b"), tenants.get("c")]).toEqual([
          ["acme", "b"],
          2,
          other,
          undefined
        ])
      })
    )
  )

  it.effect("is another's neighbour in nothing: keys, limits, recency and expiry are its own", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        const { main } = yield* Keyspaces
        const [a, b] = [
          yield* tenants.create({ id: "a", limits: { maxEntries: 3 } }),
          yield* tenants.create({ id: "b" })
        ]
        b.keyspace.set("old", "of b")
        main.set("old", "of nobody")
        for (let n = 0; n < 100; n++) a.keyspace.set(`k${n}`, "v")
        a.keyspace.set("old", "of a", 1)
        yield* TestClock.adjust(1)
        expect([a.keyspace.size, b.keyspace.size, main.size]).toEqual([3, 1, 1])
        expect([a, b].map(({ keyspace }) => keyspace.get("old"))).toEqual([undefined, "of b"])
        a.keyspace.flush()
        expect([b.keyspace.get("old"), main.get("old")]).toEqual(["of b", "of nobody"])
      })
    )
  )

  it.effect("cannot have the id of another one", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        yield* tenants.create({ id: "a" })
        const error = yield* Effect.flip(tenants.create({ id: "a", prefix: "elsewhere" }))
        expect(error).toMatchObject({ _tag: "TenantExists", message: "there is a tenant 'a' already" })
      })
    )
  )

  it.effect.each(["", ".a", "a b", "a:b", "ä", "a/b", "x".repeat(65), "a\0", "a\n"])("cannot have the id %j", (id) =>
    within(
      Effect.gen(function* () {
        const error = yield* Effect.flip((yield* Tenants).create({ id }))
        expect(error).toMatchObject({ _tag: "InvalidTenant", field: "id", message: expect.stringContaining("1 to 64") })
      })
    )
  )

  it.effect.each<readonly [prefix: string, why: string]>([
    ["", "is empty"],
    [":a", "the colon"],
    ["a:", "the colon"],
    ["__keyspace@0__", "begin with __"],
    ["a b", "visible ASCII"],
    ["a*", "visible ASCII"],
    ["a[b]", "visible ASCII"],
    ["a\\", "visible ASCII"],
    ["ä", "visible ASCII"],
    ["x".repeat(201), "more than 200 characters"]
  ])("cannot have the prefix %j", ([prefix, why]) =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        const error = yield* Effect.flip(tenants.create({ id: "a", prefix }))
        expect(error).toMatchObject({ _tag: "InvalidTenant", field: "prefix", message: expect.stringContaining(why) })
        expect(tenants.open(prefix)).toEqual(error)
      })
    )
  )

  it.effect(
    "cannot have a prefix that cannot be told from another's, in either direction, until that one has gone",
    () =>
      within(
        Effect.gen(function* () {
          const tenants = yield* Tenants
          yield* tenants.create({ id: "ab", prefix: "a:b" })
          for (const prefix of ["a", "a:b", "a:b:c"]) {
            const error = yield* Effect.flip(tenants.create({ id: "other", prefix }))
            expect(error).toMatchObject({ _tag: "PrefixTaken", prefix, by: { prefix: "a:b" } })
          }
          yield* tenants.create({ id: "near", prefix: "a:bc" })
          yield* tenants.remove("ab")
          yield* tenants.create({ id: "other", prefix: "a:b" })
        })
      )
  )

  it.effect("cannot have a prefix under which everybody's keyspace holds keys, however many others there are", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        const { main } = yield* Keyspaces
        for (let n = 0; n < 25_000; n++) main.set(`other:${n}`, "")
        main.set("a", "")
        main.set("ab:c", "")
        yield* tenants.create({ id: "a" })
        const error = yield* Effect.flip(tenants.create({ id: "ab" }))
        expect(error.message).toBe("the prefix 'ab' cannot be told apart: there is the key 'ab:c' of no tenant")
        expect(tenants.open("ab")).toEqual(error)
        main.delete("ab:c")
        yield* tenants.create({ id: "ab" })
      })
    )
  )

  it.effect("is one too many at the limit", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        yield* tenants.create({ id: "a" })
        yield* tenants.create({ id: "b" })
        expect(yield* Effect.flip(tenants.create({ id: "c" }))).toMatchObject({ _tag: "TooManyTenants", limit: 2 })
        expect(tenants.open("c")).toMatchObject({ _tag: "TooManyTenants" })
        yield* tenants.remove("a")
        yield* tenants.create({ id: "c" })
      }),
      2
    )
  )

  it.effect("is made once by two who ask for the same at once", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        const made = yield* Effect.all(
          [1, 2].map(() => Effect.either(tenants.create({ id: "a" }))),
          { concurrency: 2 }
        )
        expect(made.map(({ _tag }) => _tag).sort()).toEqual(["Left", "Right"])
      })
    )
  )
})

describe("limits", () => {
  it.effect.each<readonly [limits: Partial<TenantLimits>, why: string]>([
    [{ maxEntries: 0 }, "limits.maxEntries 0: it is a whole number from 1 to 100000000"],
    [{ maxBytes: 1.5 }, "limits.maxBytes 1.5: "],
    [{ memoryBytes: 10 * 1024 * 1024 }, "limits.memoryBytes 10485760: "],
    [{ waitMs: Number.NaN }, "limits.waitMs NaN: "],
    [{ entries: 5 } as Partial<TenantLimits>, "limits.entries 5: there is no such limit; there are maxEntries, "],
    [JSON.parse('{"__proto__": 5}') as Partial<TenantLimits>, "limits.__proto__ 5: there is no such limit"]
  ])("cannot be %j", ([limits, why]) =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        const error = yield* Effect.flip(tenants.create({ id: "a", limits }))
        expect([error._tag, error.message]).toEqual(["InvalidTenant", expect.stringContaining(why)])
        yield* tenants.create({ id: "a" })
        expect(yield* Effect.flip(tenants.setLimits("a", limits))).toEqual(error)
        expect(tenants.get("a")?.limits).toEqual(tenantLimitsDefault)
      })
    )
  )

  it.effect("change those that are given, and the keyspace with them", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        const tenant = yield* tenants.create({ id: "a", limits: { runsMax: 7 } })
        for (let n = 0; n < 10; n++) tenant.keyspace.set(`k${n}`, "v")
        yield* tenants.setLimits("a", { maxEntries: 4 })
        expect([tenant.limits, tenant.version]).toEqual([{ ...tenantLimitsDefault, runsMax: 7, maxEntries: 4 }, 2])
        const { advance } = yield* Keyspaces
        expect([tenant.keyspace.size, advance(0, () => false), tenant.keyspace.size]).toEqual([10, true, 4])
        expect(yield* Effect.flip(tenants.setLimits("b", {}))).toMatchObject({ _tag: "TenantNotFound" })
      })
    )
  )
})

describe("the environment", () => {
  it.effect("is replaced as a whole with each change, so that a run keeps the one it has", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        const tenant = yield* tenants.create({ id: "a" })
        yield* tenants.setEnv("a", "api_token", "s3cret")
        const { env } = tenant
        yield* tenants.setEnv("a", "api_token", undefined)
        yield* tenants.setEnv("a", "__proto__", 1)
        expect([[...env], [...tenant.env]]).toEqual([[["api_token", "s3cret"]], [["__proto__", 1]]])
        expect(yield* Effect.flip(tenants.setEnv("b", "x", 1))).toMatchObject({ _tag: "TenantNotFound" })
      })
    )
  )

  it.effect("is bounded in names and bytes, and its errors do not show a value", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        yield* tenants.create({ id: "a" })
        for (const name of ["", "a-b", "1a", "a b", "ä", "x".repeat(65)]) {
          const error = yield* Effect.flip(tenants.setEnv("a", name, "hidden"))
          expect(error).toMatchObject({ _tag: "InvalidTenant", field: "env" })
          expect(JSON.stringify(error)).not.toContain("hidden")
        }
        const error = yield* Effect.flip(tenants.setEnv("a", "big", "v".repeat(64 * 1024)))
        expect(error.message).toBe("env 'big': names and values together would have 65539 bytes, of 65536")
        for (let n = 0; n < 100; n++) yield* tenants.setEnv("a", `n${n}`, n)
        expect((yield* Effect.flip(tenants.setEnv("a", "more", 1))).message).toContain("there are 100 names already")
        yield* tenants.setEnv("a", "n5", "another")
      })
    )
  )
})

describe("a token", () => {
  it.effect("finds its tenant and no other, until the next one is issued or the tenant has gone", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        const [a, b] = [yield* tenants.create({ id: "a_b" }), yield* tenants.create({ id: "a" })]
        const first = yield* tenants.issueToken("a_b")
        const ofA = yield* tenants.issueToken("a")
        expect(first).toMatch(/^mt_a_b_[A-Za-z0-9_-]{43}$/)
        expect([tenants.byToken(first), tenants.byToken(ofA)]).toEqual([a, b])
        const second = yield* tenants.issueToken("a_b")
        expect([tenants.byToken(first), tenants.byToken(second)]).toEqual([undefined, a])
        yield* tenants.remove("a_b")
        expect(tenants.byToken(second)).toBeUndefined()
        yield* tenants.create({ id: "a_b" })
        expect(tenants.byToken(second)).toBeUndefined()
        expect(yield* Effect.flip(tenants.issueToken("c"))).toMatchObject({ _tag: "TenantNotFound" })
      })
    )
  )

  it.effect("opens nothing any more once it is revoked, which is told to who watches, and once only", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        const tenant = yield* tenants.create({ id: "a" })
        const hashes: Array<string | null> = []
        tenants.watch({ onOpen: () => {}, onClose: () => {}, onChange: (each) => hashes.push(each.tokenHash) })
        expect(yield* tenants.revokeToken("a")).toBe(false)
        const token = yield* tenants.issueToken("a")
        expect(yield* tenants.revokeToken("a")).toBe(true)
        expect([tenants.byToken(token), tenant.tokenHash]).toEqual([undefined, null])
        expect(yield* tenants.revokeToken("a")).toBe(false)
        expect(hashes).toEqual([expect.any(String), null])
        expect(yield* Effect.flip(tenants.revokeToken("c"))).toMatchObject({ _tag: "TenantNotFound" })
      })
    )
  )

  it.effect("is nothing that can be made up, and nothing of it is kept but its hash", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        const tenant = yield* tenants.create({ id: "a" })
        const none = `mt_a_${"A".repeat(43)}`
        expect(tenants.byToken(none)).toBeUndefined()
        const token = yield* tenants.issueToken("a")
        const secret = token.slice("mt_a_".length)
        const wrong = [
          "",
          "mt_",
          secret,
          `mt_b_${secret}`,
          token.slice(0, -1),
          `${token}x`,
          `${token}\n`,
          none,
          "x".repeat(1e6)
        ]
        for (const each of wrong) expect(tenants.byToken(each)).toBeUndefined()
        expect(tenant.tokenHash).toMatch(/^[0-9a-f]{64}$/)
        expect(JSON.stringify({ ...tenant, keyspace: null })).not.toContain(secret)
      })
    )
  )
})

describe("a displayed key", () => {
  it.effect("belongs to the tenant whose prefix it has, and to nobody when that has gone", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        const [a, b] = [yield* tenants.create({ id: "a" }), yield* tenants.create({ id: "b", prefix: "team:b" })]
        const owners = ["a:k", "a:", "a:team:b:k", "a::", "team:b:k", "team:bb:k", "team:k", "a", "ab:k", ":a", ""].map(
          tenants.route
        )
        expect(owners).toEqual([a, a, a, a, b, ...Array(6).fill(undefined)])
        yield* tenants.remove("a")
        expect(tenants.route("a:k")).toBeUndefined()
      })
    )
  )
})

describe("a tenant opened by its prefix", () => {
  it.effect("is the one that is there, or a new one with defaults that is not saved", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        const made = yield* tenants.create({ id: "a", prefix: "team:a" })
        expect(tenants.open("team:a")).toBe(made)
        const opened = tenants.open("tenant_123") as Tenant
        expect([opened.id, opened.isSaved, opened.limits]).toEqual(["tenant_123", false, tenantLimitsDefault])
        expect([tenants.open("tenant_123"), tenants.get("tenant_123"), tenants.route("tenant_123:k")]).toEqual([
          opened,
          opened,
          opened
        ])
        expect(tenants.open("team")).toMatchObject({ _tag: "PrefixTaken" })
      })
    )
  )

  it.effect("has an id of its own, also where the prefix can be none or the id is taken", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        yield* tenants.create({ id: "taken", prefix: "elsewhere" })
        const prefixes = ["taken", "x:y", "x_y", ".z", "l".repeat(100), `${"l".repeat(99)}m`]
        const opened = prefixes.map((prefix) => tenants.open(prefix) as Tenant)
        expect(opened.map(({ prefix }) => prefix)).toEqual(prefixes)
        expect(ids(opened).slice(0, 4)).toEqual(["taken-2", "x_y", "x_y-2", "_z"])
        expect(new Set(ids(opened)).size).toBe(prefixes.length)
        for (const { id } of opened) expect(id).toMatch(/^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$/)
      })
    )
  )

  it.scoped("becomes a saved one when it is created, and keeps its keys", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      yield* started(
        path,
        Effect.gen(function* () {
          const tenants = yield* Tenants
          const opened = tenants.open("acme") as Tenant
          opened.keyspace.set("k", "v")
          yield* tenants.setEnv("acme", "x", 1)
          expect(yield* files(path)).toEqual([])
          expect(yield* Effect.flip(tenants.create({ id: "acme", prefix: "other" }))).toMatchObject({
            _tag: "TenantExists"
          })
          expect(yield* Effect.flip(tenants.create({ id: "other", prefix: "acme" }))).toMatchObject({
            _tag: "PrefixTaken"
          })
          const created = yield* tenants.create({ id: "acme", limits: { maxEntries: 9 } })
          expect([created, created.keyspace.get("k"), created.keyspace.maxEntries]).toEqual([opened, "v", 9])
        })
      )
      const [back] = yield* started(
        path,
        Effect.map(Tenants, (tenants) => tenants.list())
      )
      expect([back?.id, back?.limits.maxEntries, back?.env]).toEqual(["acme", 9, new Map([["x", 1]])])
    })
  )
})

describe("the removal of a tenant", () => {
  it.effect("takes its keys as one flush that no trigger of its own sees, and closes its keyspace", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        const { all } = yield* Keyspaces
        const tenant = yield* tenants.create({ id: "a" })
        const watcher = {
          pattern: parsePattern("*") as Pattern,
          mask: causeBit(Cause.delete) | causeBit(Cause.flush) | causeBit(Cause.flushKey) | causeBit(Cause.evict),
          priority: 0
        }
        tenant.keyspace.trie.add(watcher)
        const seen: unknown[] = []
        tenants.watch({
          onOpen() {},
          onClose: ({ keyspace, isOpen, id }) => {
            seen.push(keyspace.size, isOpen, tenants.get(id), tenants.route("a:k"))
            keyspace.trie.remove(watcher)
          }
        })
        tenant.keyspace.log.open(10)
        for (const key of ["k", "l"]) tenant.keyspace.set(key, "v")
        heard.length = 0
        expect([yield* tenants.remove("a"), yield* tenants.remove("a")]).toEqual([true, false])
        expect([heard, seen]).toEqual([[], [2, false, undefined, undefined]])
        const events = tenant.keyspace.log.recent().map(({ cause, count }) => `${causeNames[cause]} ${count}`)
        expect(events).toEqual(["write 1", "write 1", "flush 2"])
        expect([tenant.keyspace.size, tenant.keyspace.set("k", "v"), [...all()].length]).toEqual([0, false, 1])
      })
    )
  )
})

describe("who watches the tenants", () => {
  it.effect("is told of all that are there, that come, change and go, until it stops", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        yield* tenants.create({ id: "a" })
        const told: string[] = []
        const stop = tenants.watch({
          onOpen: ({ id, isSaved }) => void told.push(`open ${id} ${isSaved}`),
          onClose: ({ id }) => void told.push(`close ${id}`),
          onChange: ({ id, version }) => void told.push(`change ${id} ${version}`)
        })
        tenants.open("b")
        yield* tenants.create({ id: "b" })
        yield* tenants.setLimits("a", {})
        yield* tenants.setEnv("a", "x", 1)
        yield* tenants.issueToken("a")
        yield* tenants.remove("a")
        stop()
        yield* tenants.remove("b")
        expect(told).toEqual([
          "open a true",
          "open b false",
          "change b 2",
          "change a 2",
          "change a 3",
          "change a 4",
          "close a"
        ])
      })
    )
  )

  it.effect("costs nobody else the news when it throws", () =>
    within(
      Effect.gen(function* () {
        const tenants = yield* Tenants
        const told: string[] = []
        const fails = () => {
          throw new Error("a broken room")
        }
        tenants.watch({ onOpen: fails, onClose: fails, onChange: fails })
        tenants.watch({
          onOpen: ({ id }) => void told.push(`open ${id}`),
          onClose: ({ id }) => void told.push(`close ${id}`)
        })
        const tenant = yield* tenants.create({ id: "a" })
        tenant.keyspace.set("k", "v")
        yield* tenants.remove("a")
        expect([told, tenant.keyspace.size]).toEqual([["open a", "close a"], 0])
      })
    ).pipe(silent)
  )
})

describe("saved tenants", () => {
  const values: ReadonlyArray<readonly [string, Value]> = [
    ["text", "s3cret"],
    ["bytes", "\xff\0"],
    ["whole", 5],
    ["float", Object.freeze(Object(5)) as Value],
    ["big", 2n ** 60n],
    ["nothing", null],
    ["nested", Object.freeze(Object.assign(Object.create(null), { list: Object.freeze([1, "ä", true]) }))]
  ]

  it.scoped("come back after a restart as they were, without their keys, in the order in which they were made", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      const token = yield* started(
        path,
        Effect.gen(function* () {
          const tenants = yield* Tenants
          for (const id of ["z", "a", "A"]) {
            yield* TestClock.adjust(10)
            const tenant = yield* tenants.create({ id, prefix: `team:${id}`, limits: { runsMax: 3 } })
            tenant.keyspace.set("k", "v")
          }
          yield* TestClock.adjust(10)
          for (const [name, value] of values) yield* tenants.setEnv("a", name, value)
          yield* tenants.setLimits("z", { waitMs: 5 })
          return yield* tenants.issueToken("a")
        })
      )
      yield* started(
        path,
        Effect.gen(function* () {
          const tenants = yield* Tenants
          const [z, a] = tenants.list() as [Tenant, Tenant, Tenant]
          expect(ids(tenants.list())).toEqual(["z", "a", "A"])
          expect([z.limits, z.version]).toEqual([{ ...tenantLimitsDefault, runsMax: 3, waitMs: 5 }, 2])
          expect([z.keyspace.size, z.keyspace.maxEntries, tenants.route("team:z:k")]).toEqual([0, 50_000, z])
          expect([a.createdAtMs, a.updatedAtMs, a.version, a.isSaved]).toEqual([20, 40, 2 + values.length, true])
          expect([...a.env]).toEqual(values)
          expect(tenants.byToken(token)).toBe(a)
        })
      )
      const text = yield* Effect.promise(() => fs.readFile(join(path, "tenants", "a.json"), "utf8"))
      expect(JSON.parse(text)).toMatchObject({ kind: "tenant", version: 1, data: { id: "a", prefix: "team:a" } })
      expect(text).not.toContain(token.slice(-43))
    })
  )

  it.scoped("stay away once they were removed, and come anew under the same id", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      const run = (body: (tenants: Tenants["Type"]) => Effect.Effect<unknown, unknown>) =>
        started(
          path,
          Effect.zipRight(
            Effect.flatMap(Tenants, body),
            Effect.map(Tenants, (tenants) => ids(tenants.list()))
          )
        )
      expect(yield* run((tenants) => Effect.all(["a", "b"].map((id) => tenants.create({ id }))))).toEqual(["a", "b"])
      expect(yield* run((tenants) => tenants.remove("a"))).toEqual(["b"])
      expect(yield* files(path)).toEqual(["b.json"])
      expect(yield* run((tenants) => Effect.zipRight(tenants.remove("b"), tenants.create({ id: "b" })))).toEqual(["b"])
      expect(yield* run(() => Effect.void)).toEqual(["b"])
    })
  )

  it.scoped("are written together where many ask at once, and none is forgotten", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      yield* started(
        path,
        Effect.gen(function* () {
          const tenants = yield* Tenants
          const all = Array.from({ length: 100 }, (_, n) => `t${n}`)
          yield* Effect.forEach(all, (id) => tenants.create({ id }), { concurrency: "unbounded" })
          yield* Effect.forEach(
            all,
            (id, n) => (n % 2 === 0 ? Effect.asVoid(tenants.remove(id)) : Effect.asVoid(tenants.setEnv(id, "n", n))),
            { concurrency: "unbounded" }
          )
        })
      )
      const back = yield* started(
        path,
        Effect.map(Tenants, (tenants) => tenants.list())
      )
      expect(new Map(back.map(({ id, env }) => [id, env.get("n")]))).toEqual(
        new Map(Array.from({ length: 50 }, (_, n) => [`t${2 * n + 1}`, 2 * n + 1]))
      )
    })
  )

  it.scoped("are as before or as after where the process ends in the middle of a write", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      yield* started(
        path,
        Effect.flatMap(Tenants, (tenants) => tenants.create({ id: "a", limits: { runsMax: 1 } }))
      )
      const file = join(path, "tenants", "a.json")
      const before = yield* Effect.promise(() => fs.readFile(file))
      // What a crash leaves before the rename: half a new version beside the old one.
      yield* Effect.promise(() => fs.writeFile(join(path, "tenants", ".a.json.tmp"), before.subarray(0, 40)))
      const [back] = yield* started(
        path,
        Effect.map(Tenants, (tenants) => tenants.list())
      )
      expect(back?.limits.runsMax).toBe(1)
      expect(yield* files(path)).toEqual(["a.json"])
    })
  )

  it.scoped("are in effect all the same where the disk refuses, and the error says so", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      yield* started(
        path,
        Effect.gen(function* () {
          const tenants = yield* Tenants
          yield* Effect.promise(() => fs.mkdir(join(path, "tenants", ".a.json.tmp")))
          const error = yield* Effect.flip(tenants.create({ id: "a" }))
          expect(error).toMatchObject({ _tag: "TenantsNotSaved", message: expect.stringContaining("will not survive") })
          expect(tenants.get("a")?.isOpen).toBe(true)
          yield* Effect.promise(() => fs.rmdir(join(path, "tenants", ".a.json.tmp")))
          yield* tenants.setLimits("a", { runsMax: 2 })
        })
      )
      expect(yield* files(path)).toEqual(["a.json"])
    })
  )

  const mended = (change: (data: Record<string, unknown>) => unknown) => (text: string) => {
    const document = JSON.parse(text)
    change(document.data)
    return JSON.stringify(document)
  }

  it.scoped.each<readonly [what: string, mend: (text: string) => string, why: string]>([
    ["a prefix that another one has", mended((data) => (data.prefix = "b")), "a tenant with the prefix 'b'"],
    ["another's id", mended((data) => (data.id = "c")), "it is of the tenant 'c'; rename it"],
    ["an id that is none", mended((data) => (data.id = "../a")), "it is of the tenant '../a'"],
    ["a limit that is none", mended((data) => (data.limits = { runsMax: -1 })), "limits.runsMax -1"],
    ["a limit that nobody knows", mended((data) => (data.limits = { sparkle: 1 })), "there is no such limit"],
    ["an environment that is no JSON", mended((data) => (data.env = [["x", "{"]])), "env"],
    ["half of it", (text: string) => text.slice(0, 50), "not JSON"]
  ])("with %s are an error that names the file, and stay as they are", ([, mend, why]) =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      yield* started(
        path,
        Effect.flatMap(Tenants, (tenants) => Effect.all(["a", "b"].map((id) => tenants.create({ id }))))
      )
      const file = join(path, "tenants", "a.json")
      const text = mend(yield* Effect.promise(() => fs.readFile(file, "utf8")))
      yield* Effect.promise(() => fs.writeFile(file, text))
      const error = yield* Effect.flip(started(path, Effect.void))
      expect(error.message).toContain(why)
      expect(yield* Effect.promise(() => fs.readFile(file, "utf8"))).toBe(text)
    })
  )

  it.scoped(
    "have the default of a limit that is younger than they are, and all come back above the limit of tenants",
    () =>
      Effect.gen(function* () {
        const path = yield* temporaryDirectory
        yield* started(
          path,
          Effect.flatMap(Tenants, (tenants) => Effect.all(["a", "b"].map((id) => tenants.create({ id }))))
        )
        const file = join(path, "tenants", "a.json")
        const text = yield* Effect.promise(() => fs.readFile(file, "utf8"))
        yield* Effect.promise(() => fs.writeFile(file, mended((data) => (data.limits = { runsMax: 4 }))(text)))
        const body = Effect.gen(function* () {
          const tenants = yield* Tenants
          expect(tenants.get("a")?.limits).toEqual({ ...tenantLimitsDefault, runsMax: 4 })
          expect(yield* Effect.flip(tenants.create({ id: "c" }))).toMatchObject({ _tag: "TooManyTenants" })
          return tenants.size
        })
        expect(yield* started(path, body, 1)).toBe(2)
      })
  )
})
