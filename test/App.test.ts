/** Everything put together: the tree, its start and end, and what a crash anywhere in it leaves. */
import { spawn } from "node:child_process"
import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Layer, Logger, LogLevel, Scope } from "effect"
import { layerWith, Metrics, type Mounted, ProcessTree, type Settings } from "../src/App.ts"
import { ExitReason, GenServer, type Pid, Process, type Supervisor } from "../src/actor/index.ts"
import { Bus, Cache, Keyspaces, Tenants } from "../src/cache/index.ts"
import { Mimosa } from "../src/index.ts"
import { Cause as KernelCause } from "../src/kernel/index.ts"
import { Scripts } from "../src/scripting/index.ts"
import { Triggers } from "../src/triggers/index.ts"
import { version } from "../src/version.ts"
import { EgressAllowInvalid, HttpAllowInvalid } from "../src/webhooks/index.ts"
import { temporaryDirectory } from "./storage/TemporaryDirectory.ts"

const listener = GenServer.define()({ name: "listeners", init: () => GenServer.Ok(null) })
const listeners: Mounted = GenServer.childSpec(listener, undefined)

/** A running Mimosa with all that it gives. */
const mimosa = (settings: Settings = {}, mounted: readonly Mounted[] = []) =>
  Effect.gen(function* () {
    const services = yield* Layer.build(layerWith(settings, mounted))
    const all = Effect.all({
      cache: Cache,
      triggers: Triggers,
      bus: Bus,
      keyspaces: Keyspaces,
      tenants: Tenants,
      scripts: Scripts,
      metrics: Metrics,
      tree: ProcessTree
    })
    const given = yield* Effect.provide(all, services)
    return { ...given, tree: () => given.tree.read() as Supervisor.TreeNode }
  })

type Names = readonly [string, ...Names[]]
const namesOf = ({ name, children }: Supervisor.TreeNode): Names => [
  name,
  ...children.filter((child) => !child.name.startsWith("attempt ")).map(namesOf)
]

/** All but the attempts of webhooks, which come and go. */
const nodesOf = (node: Supervisor.TreeNode): Supervisor.TreeNode[] =>
  [node, ...node.children.flatMap(nodesOf)].filter(({ name }) => !name.startsWith("attempt "))

/** Waits for what fibers, timers and files bring about; the test's time-out ends what never comes. */
const until = (isTrue: () => boolean) =>
  Effect.async<void>((resume) => {
    const look = () => void (isTrue() ? resume(Effect.void) : setImmediate(look))
    look()
  })

const isWhole = (tree: Supervisor.TreeNode | null) =>
  tree !== null && nodesOf(tree).every(({ status }) => status === "running")

const silent = Logger.withMinimumLogLevel(LogLevel.None)

const theTree: Names = [
  "mimosa",
  ["journal"],
  ["storage"],
  ["tenants"],
  ["scheduler"],
  ["sandbox", ["trigger workers"], ["pool"]],
  ["webhooks", ["dispatcher"]],
  ["scripts"],
  ["script checker"],
  ["listeners"]
]

describe("the supervision tree", () => {
  it.scopedLive("has these processes in this order, all of them running", () =>
    Effect.gen(function* () {
      const { tree } = yield* mimosa({ dataDir: yield* temporaryDirectory }, [listeners])
      expect(namesOf(tree())).toEqual(theTree)
      expect(isWhole(tree())).toBe(true)
    })
  )

  it.scopedLive("has no storage without a data directory, and a process for each machine in use", () =>
    Effect.gen(function* () {
      const { tree, triggers, cache } = yield* mimosa()
      yield* triggers.set({ name: "t", pattern: "*", events: ["ON_WRITE"], source: "return 1" })
      cache.unsafeSet("k", 1)
      const workers = () => nodesOf(tree()).find(({ name }) => name === "trigger workers") as Supervisor.TreeNode
      yield* until(() => workers().children.length > 0)
      expect(namesOf(tree())).toEqual([
        "mimosa",
        ["journal"],
        ["scheduler"],
        ["sandbox", ["trigger workers", ["triggers 1"]], ["pool"]],
        ["webhooks", ["dispatcher"]],
        ["scripts"],
        ["script checker"]
      ])
    })
  )

  it.live("is stopped in reverse order when the scope closes, and nothing of it is left", () =>
    Effect.gen(function* () {
      const before = new Set(Process.list())
      const scope = yield* Scope.make()
      const { tree, cache } = yield* Scope.extend(mimosa({}, [listeners]), scope)
      cache.unsafeSet("k", "v", { ttl: "1 hour" })
      const ended: string[] = []
      for (const pid of Process.list()) {
        if (!before.has(pid)) Process.onExit(pid, ({ _tag }) => ended.push(`${pid.label} ${_tag}`))
      }
      yield* Scope.close(scope, Exit.void)
      expect(ended).toEqual([
        "listeners shutdown",
        "script checker shutdown",
        "scripts shutdown",
        "dispatcher shutdown",
        "webhooks shutdown",
        "pool shutdown",
        "trigger workers shutdown",
        "sandbox shutdown",
        "scheduler shutdown",
        "journal shutdown",
        "mimosa shutdown"
      ])
      expect(tree()).toBeNull()
      expect(Process.list().filter((pid) => !before.has(pid))).toEqual([])
    })
  )

  it.live("leaves no timer or handle: a program that opens and closes a Mimosa ends by itself", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const late = yield* receiver
        const path = fileURLToPath(new URL("support/openAndClose.ts", import.meta.url))
        const directory = yield* temporaryDirectory
        const { code, output } = yield* run(path, directory, late.url)
        expect(code).toBe(0)
        expect(output).toContain("heard k")
        expect(output).toContain("closed")
      })
    )
  )

  it.live("does not start with a mounted process that does not, and what started before is stopped", () =>
    Effect.gen(function* () {
      const before = Process.list().length
      const broken = GenServer.define()({ name: "broken", init: () => Effect.fail("no port") })
      const exit = yield* Effect.exit(
        Effect.scoped(mimosa({}, [GenServer.childSpec(broken, undefined) as unknown as Mounted]))
      )
      expect(Exit.isFailure(exit) && String(exit.cause)).toContain("no port")
      expect(Process.list().length).toBe(before)
    }).pipe(silent)
  )
})

describe("settings that are wrong", () => {
  it.scopedLive("are a typed error of the start: an item of egressAllow", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(mimosa({ egressAllow: ["127.0.0.1", "10.0.0.0/99"] }))
      expect(error).toBeInstanceOf(EgressAllowInvalid)
      expect((error as EgressAllowInvalid).message).toContain("10.0.0.0/99")
    })
  )

  it.scopedLive("are a typed error of the start: an item of httpAllow", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(mimosa({ httpAllow: ["api.example", "https://api.example"] }))
      expect(error).toBeInstanceOf(HttpAllowInvalid)
      expect((error as HttpAllowInvalid).message).toContain("https://api.example")
    })
  )

  it.scopedLive("are a typed error of the start: a data directory that another Mimosa has", () =>
    Effect.gen(function* () {
      const dataDir = yield* temporaryDirectory
      yield* Effect.scoped(mimosa({ dataDir }))
      yield* mimosa({ dataDir }) // the first has let go of it
      const error = yield* Effect.flip(mimosa({ dataDir }))
      expect(error).toMatchObject({ _tag: "DataDirectoryLocked", directory: dataDir })
    })
  )
})

describe("two Mimosas in one program", () => {
  it.scopedLive("do not disturb each other, and one goes on when the other is closed", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const one = yield* Scope.extend(mimosa({ maxEntries: 2 }), scope)
      const two = yield* mimosa()
      const heard: string[] = []
      for (const [name, { bus }] of Object.entries({ one, two })) {
        bus.subscribe("x", { onMessage: (_, payload) => heard.push(`${name} ${payload}`) })
      }
      const trigger = { name: "t", pattern: "*", events: ["ON_WRITE", "ON_EXPIRE"] } as const
      yield* one.triggers.set({ ...trigger, source: 'cache.emit("x", event.type .. " of one")' })
      yield* two.triggers.set({ ...trigger, source: 'cache.emit("x", event.type .. " of two")' })
      for (const key of ["a", "b", "c"]) one.cache.unsafeSet(key, 1)
      expect(heard.splice(0)).toEqual(Array(3).fill("one ON_WRITE of one"))
      expect([one.keyspaces.main.size, two.keyspaces.main.size]).toEqual([2, 0])
      yield* Scope.close(scope, Exit.void)
      two.cache.unsafeSet("k", 1, { ttl: 1 })
      yield* until(() => heard.length === 2)
      expect(heard).toEqual(["two ON_WRITE of two", "two ON_EXPIRE of two"])
      expect(isWhole(two.tree())).toBe(true)
    })
  )

  it.scopedLive("can be built into one program twice from one layer", () =>
    Effect.gen(function* () {
      const layer = Mimosa.layer({ maxEntries: 5 })
      const write = Effect.flatMap(Cache, (cache) => Effect.zipRight(cache.set("k", 1), cache.stats))
      const counts = yield* Effect.all([Effect.provide(write, layer), Effect.provide(write, layer)], {
        concurrency: "unbounded"
      })
      expect(counts.map(({ entries }) => entries)).toEqual([1, 1])
    })
  )
})

describe("the metrics", () => {
  it.scopedLive("render what has happened in every room", () =>
    Effect.gen(function* () {
      const { metrics, cache, triggers, tree, bus, keyspaces } = yield* mimosa({ maxEntries: 2, eventLog: 4 }, [
        listeners
      ])
      yield* triggers.set({ name: "t", pattern: "a", events: ["ON_WRITE"], source: "return 1" })
      yield* triggers.set({ name: "e", pattern: "a", events: ["ON_WRITE"], source: "error('no')" })
      for (const key of ["a", "b", "c"]) cache.unsafeSet(key, 1)
      cache.unsafeGet("c")
      cache.unsafeGet("none")
      cache.unsafeDelete("c")
      keyspaces.main.delete("b", KernelCause.invalidate)
      yield* triggers.set({ name: "gate", pattern: "no", events: ["BEFORE_WRITE"], source: 'cache.reject("no")' })
      cache.unsafeSet("no", 1)
      bus.subscribe("x", {
        onMessage() {
          throw new Error("on purpose")
        }
      })
      bus.publish("x", "y")
      for (const pid of Process.list()) if (pid.label === "scheduler") Process.unsafeExit(pid, ExitReason.killed)
      yield* until(() => nodesOf(tree()).some(({ restarts }) => restarts === 1) && isWhole(tree()))
      yield* until(() => nodesOf(tree()).length === 12)
      const lines = metrics.render().split("\n")
      for (const line of [
        "mimosa_keyspace_hits_total 1",
        "mimosa_keyspace_misses_total 1",
        "mimosa_keyspace_writes_total 3",
        "mimosa_keyspace_refused_total 0",
        'mimosa_keyspace_removals_total{cause="delete"} 1',
        'mimosa_keyspace_removals_total{cause="expire"} 0',
        'mimosa_keyspace_removals_total{cause="evict"} 1',
        'mimosa_keyspace_removals_total{cause="invalidate"} 1',
        "mimosa_keyspace_rejected_total 1",
        "mimosa_trigger_rejects_total 1",
        "mimosa_trigger_shadow_runs_total 0",
        'mimosa_trigger_effects_refused_total{effect="emit"} 0',
        "mimosa_trigger_log_overwritten_total 0",
        "mimosa_triggers_quarantined 0",
        "mimosa_event_log_overwritten_total 2",
        "mimosa_messages_published_total 1",
        "mimosa_messages_delivered_total 1",
        "mimosa_messages_failed_total 1",
        "mimosa_keyspace_entries 0",
        "mimosa_triggers 3",
        'mimosa_trigger_runs_total{outcome="ok"} 2',
        'mimosa_trigger_runs_total{outcome="error"} 1',
        'mimosa_trigger_skips_total{reason="budget"} 0',
        "mimosa_sandbox_kills_total 0",
        `mimosa_processes ${Process.totals().alive}`,
        `mimosa_process_restarts_total ${Process.totals().restarts}`,
        `mimosa_build_info{version="${version}"} 1`,
        "mimosa_keyspace_flushes_total 0",
        "mimosa_keyspace_sink_errors_total 0",
        "mimosa_journal_lines_dropped_total 0",
        "mimosa_webhooks_pending 0",
        "mimosa_webhook_attempt_seconds_count 0"
      ]) {
        expect(lines).toContain(line)
      }
    }).pipe(silent)
  )

  it.live("can be read after the end", () =>
    Effect.gen(function* () {
      const { metrics } = yield* Effect.scoped(mimosa())
      expect(metrics.render()).toContain(`mimosa_processes ${Process.list().length}\n`)
    })
  )
})

describe("a crash", () => {
  it.scopedLive("of any process in the tree leaves entries, triggers and pending webhooks as they are", () =>
    Effect.gen(function* () {
      const { url, waiting, ids } = yield* receiver
      const dataDir = yield* temporaryDirectory
      const settings = { dataDir, egressAllow: ["127.0.0.1"] }
      const { tree, cache, triggers, bus, metrics, tenants, scripts } = yield* mimosa(settings, [listeners])
      yield* tenants.create({ id: "acme" })
      yield* scripts.set("acme", "count", 'function main() return cache.incr("runs") end')
      let runs = 0
      const heard: string[] = []
      bus.subscribe("x", { onMessage: (_, payload) => heard.push(payload) })
      yield* triggers.set({
        name: "hook",
        pattern: "hook:*",
        events: ["ON_WRITE"],
        source: `cache.webhook("${url}", { key = event.key })`
      })
      yield* triggers.set({
        name: "says",
        pattern: "k:*",
        events: ["ON_WRITE", "ON_EXPIRE"],
        source: 'cache.emit("x", event.type .. " " .. event.key)'
      })
      cache.unsafeSet("kept", { a: 1 }, { ttl: "1 hour" })
      for (const n of [1, 2, 3]) cache.unsafeSet(`hook:${n}`, n)
      yield* until(() => waiting.length === 3) // the receiver has them and has not answered
      const workers = () => nodesOf(tree()).find(({ name }) => name === "trigger workers") as Supervisor.TreeNode
      yield* until(() => workers().children.length === 1)

      const walk = nodesOf(tree()).slice(1)
      expect(walk.length).toBe(13)
      for (const { name } of walk) {
        const pid = Process.list().find(({ label }) => label === name) as Pid.Pid
        heard.length = 0
        cache.unsafeSet(`k:before ${name}`, 1, { ttl: 1 })
        Process.unsafeExit(pid, ExitReason.killed)
        cache.unsafeSet(`k:after ${name}`, 1, { ttl: 1 })
        yield* until(() => isWhole(tree()) && nodesOf(tree()).length === 14 && !nodesOf(tree()).some(isOf(pid)))
        yield* until(() => heard.length === 4)
        expect(heard.toSorted()).toEqual([
          `ON_EXPIRE k:after ${name}`,
          `ON_EXPIRE k:before ${name}`,
          `ON_WRITE k:after ${name}`,
          `ON_WRITE k:before ${name}`
        ])
        expect(cache.peek("kept")?.value).toEqual({ a: 1 })
        expect((yield* triggers.list).map((each) => [each.name, each.status])).toEqual([
          ["hook", "active"],
          ["says", "active"]
        ])
        yield* triggers.set({ name: "hook", pattern: "hook:*", events: ["ON_WRITE"], source: "return 1" })
        expect(yield* scripts.run("acme", "count", "main", [])).toBe(++runs)
        expect(metrics.render()).toContain("mimosa_webhooks_pending 3\n")
      }
      expect(namesOf(tree())).toEqual([
        "mimosa",
        ["journal"],
        ["storage"],
        ["tenants"],
        ["scheduler"],
        ["sandbox", ["trigger workers", ["triggers 1"]], ["pool"]],
        ["webhooks", ["dispatcher"]],
        ["scripts"],
        ["script checker"],
        ["listeners"]
      ])
      yield* until(() => {
        for (const response of waiting.splice(0)) response.writeHead(200).end()
        return metrics.render().includes("mimosa_webhooks_pending 0\n")
      })
      expect(new Set(ids).size).toBe(3)
      expect(metrics.render()).toContain("mimosa_webhooks_delivered_total 3\n")
    }).pipe(silent)
  )
})

const isOf = (pid: Pid.Pid) => {
  const text = String(pid)
  return (node: Supervisor.TreeNode) => node.pid === text
}

/** An HTTP server that takes requests and answers when it is told to; what is open at the end is cut. */
const receiver = Effect.gen(function* () {
  const waiting: ServerResponse[] = []
  const ids: string[] = []
  const server = createServer((request, response) => {
    ids.push(String(request.headers["webhook-id"]))
    waiting.push(response)
  })
  yield* Effect.acquireRelease(
    Effect.async<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () =>
      Effect.async<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, waiting, ids }
})

/** Runs a program of this folder to its end. */
const run = (path: string, ...args: readonly string[]) =>
  Effect.async<{ readonly code: number | null; readonly output: string }>((resume) => {
    const cwd = fileURLToPath(new URL("..", import.meta.url))
    const child = spawn(process.execPath, ["--import", "tsx", path, ...args], {
      cwd,
      stdio: ["ignore", "pipe", "pipe"]
    })
    let output = ""
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        output += text
      })
    }
    child.on("close", (code) => resume(Effect.succeed({ code, output })))
    return Effect.sync(() => child.kill("SIGKILL"))
  })
