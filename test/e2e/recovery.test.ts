/**
 * Crashes inside a running Mimosa: what crashed comes back, no key is lost, and the tree shows the restart. The library
 * in this process with the listeners of the server mounted, so that a test can reach a process.
 */
import { createServer } from "node:http"
import { type AddressInfo, connect } from "node:net"
import { expect, layer } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { layerWith } from "../../src/App.ts"
import { ExitReason, Process, type Supervisor } from "../../src/actor/index.ts"
import { Bus, Cache, CacheClock, TurnClock } from "../../src/cache/index.ts"
import { listeners } from "../../src/cli/listeners.ts"
import { Readiness } from "../../src/server/Readiness.ts"
import { ServerStats } from "../../src/server/ServerState.ts"
import { Triggers } from "../../src/triggers/index.ts"
import { RawClient } from "../server/RawClient.ts"
import { until } from "../webhooks/Receiver.ts"

const clock = new TurnClock()
const readiness = new Readiness(["HTTP", "RESP"])
const mimosa = layerWith(
  { egressAllow: ["127.0.0.1"] },
  [
    listeners({
      host: "127.0.0.1",
      port: 0,
      httpPort: 0,
      password: undefined,
      enableDebugCommand: false,
      readiness,
      stats: new ServerStats(),
      clock
    })
  ],
  { clock: Layer.succeed(CacheClock, clock) }
).pipe(Layer.provideMerge(Logger.remove(Logger.defaultLogger)))

/** What `/v1/processes` shows of the process of that name. */
const shown = (name: string) =>
  Effect.promise(async () => {
    const response = await fetch(`http://127.0.0.1:${readiness.portOf("HTTP")}/v1/processes`)
    const find = (node: Supervisor.TreeNode): Supervisor.TreeNode | undefined =>
      node.name === name ? node : node.children.map(find).find((found) => found !== undefined)
    return find((await response.json()) as Supervisor.TreeNode)
  })

/** Crashes (or kills) the process that is called so, and waits until another has its place. */
const crash = (label: string, isKill = false) =>
  Effect.gen(function* () {
    const named = () => Process.list().find((pid) => pid.label === label && Process.isAlive(pid))
    const before = named()
    if (before === undefined) return yield* Effect.dieMessage(`no process is called ${label}`)
    const crashed = ExitReason.crashWith(new Error(`${label} was crashed by a test`))
    Process.unsafeExit(before, isKill ? ExitReason.killed : crashed)
    yield* until(() => named() !== undefined && named() !== before)
  })

const heard = (channel: string) =>
  Effect.map(Bus, (bus) => {
    const messages: string[] = []
    bus.subscribe(channel, { onMessage: (_channel, payload) => void messages.push(payload) })
    return messages
  })

layer(mimosa, { excludeTestServices: true })("a Mimosa with crashing parts", (it) => {
  it.effect("gets its scheduler back, and every expiry with it", () =>
    Effect.gen(function* () {
      const cache = yield* Cache
      const triggers = yield* Triggers
      const ended = yield* heard("ended")
      const source = "cache.emit('ended', event.key)"
      yield* triggers.set({ name: "ended", pattern: "session:*", events: ["ON_EXPIRE"], source })
      for (let at = 0; at < 100; at++) yield* cache.set(`session:${at}`, "x", { ttl: 5 })
      for (let at = 0; at < 100; at++) yield* cache.set(`kept:${at}`, "x")
      yield* crash("scheduler")
      yield* until(() => ended.length === 100)
      expect(new Set(ended).size).toBe(100)
      expect((yield* cache.stats).entries).toBe(100)
      expect(yield* shown("scheduler")).toMatchObject({
        status: "running",
        restarts: 1,
        lastExit: "crash: Error: scheduler was crashed by a test"
      })
    })
  )

  it.effect("gets its webhook dispatcher back, and loses no webhook that waited", () =>
    Effect.gen(function* () {
      const cache = yield* Cache
      const triggers = yield* Triggers
      const bodies: unknown[] = []
      const receiver = yield* Effect.acquireRelease(
        Effect.async<ReturnType<typeof createServer>>((resume) => {
          const server = createServer(async (request, response) => {
            bodies.push(JSON.parse(Buffer.concat(await request.toArray()).toString()))
            response.end()
          })
          server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.closeAllConnections() as undefined).pipe(Effect.tap(() => server.close()))
      )
      const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`
      const source = `cache.webhook("${url}", { key = event.key })`
      yield* triggers.set({ name: "hook", pattern: "order:*", events: ["ON_WRITE"], source })
      for (let at = 0; at < 20; at++) yield* cache.set(`order:${at}`, "x")
      yield* crash("dispatcher")
      for (let at = 20; at < 40; at++) yield* cache.set(`order:${at}`, "x")
      // At least once: what was on its way when the dispatcher crashed is sent again.
      const keys = () => new Set(bodies.map((body) => (body as { readonly key: string }).key))
      yield* until(() => keys().size === 40)
      expect(cache.peek("order:39")?.value).toBe("x")
      expect(yield* shown("dispatcher")).toMatchObject({ status: "running", restarts: 1 })
    }).pipe(Effect.scoped)
  )

  it.effect("gets a killed Lua machine back, and answers the client whose trigger had to be killed", () =>
    Effect.gen(function* () {
      const cache = yield* Cache
      const triggers = yield* Triggers
      const seen = yield* heard("alive")
      // Spends its time within one C function, where Lua's hook never comes: only the hard limit ends it.
      const source = `
          if event.value == "loop" then string.find(("a"):rep(3000), ".-.-.-.-b") end
          cache.emit("alive", event.value)`
      yield* triggers.set({ name: "risky", pattern: "risky:*", events: ["ON_WRITE"], source })
      yield* cache.set("risky:1", "before")
      const said = yield* Effect.promise(() => respSet(readiness.portOf("RESP") as number, "risky:1", "loop"))
      expect(said).toBe("+OK\r\n")
      yield* cache.set("risky:1", "after")
      expect(seen).toEqual(["before", "after"])
      expect(yield* triggers.log(1)).toMatchObject([{ trigger: "risky", key: "risky:1", kind: "killed" }])
      const machine = yield* shown("triggers 1")
      expect(machine).toMatchObject({ status: "running", restarts: 1, inspect: { kills: 1 } })
      expect(machine?.lastExit).toMatch(/^crash: VmKilled: triggers 1 was killed: /)
    })
  )

  it.effect("gets its listeners back on a crash, with every key in place", () =>
    Effect.gen(function* () {
      const cache = yield* Cache
      yield* cache.set("still", "here")
      yield* crash("listener")
      yield* until(() => readiness.missing().length === 0)
      expect(yield* shown("listener")).toMatchObject({ status: "running", restarts: 1 })
      expect(cache.peek("still")?.value).toBe("here")
    })
  )

  it.effect(
    "gets its listeners back on their ports when their supervisors are killed, while clients are connected",
    () =>
      Effect.gen(function* () {
        const ports = [readiness.portOf("RESP"), readiness.portOf("HTTP")]
        for (const label of ["resp", "listeners"]) {
          const client = yield* Effect.promise(() => RawClient.connect(readiness.portOf("RESP") as number))
          yield* Effect.promise(() => client.send("PING"))
          yield* crash(label, true)
          yield* Effect.promise(() => client.closed)
          yield* until(() => readiness.missing().length === 0)
          expect([readiness.portOf("RESP"), readiness.portOf("HTTP")]).toEqual(ports)
          expect(yield* Effect.promise(() => respSet(readiness.portOf("RESP") as number, "after", label))).toBe(
            "+OK\r\n"
          )
        }
      })
  )
})

const respSet = (port: number, key: string, value: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(`SET ${key} ${value}\r\n`))
    socket.on("data", (chunk) => {
      socket.destroy()
      resolve(chunk.toString())
    })
    socket.on("error", reject)
  })
