/**
 * Every fiber of a running server belongs to a process of its supervision tree: nothing runs where no supervisor would
 * see it crash, and nothing is left when the tree has stopped.
 *
 * Fibers are observed where they are made: in the constructor that all of them go through. What the traffic is made with
 * (sockets, fetch) makes none.
 */
import { createServer, type Server } from "node:http"
import { type AddressInfo, connect } from "node:net"
import { Context, Deferred, Effect, Fiber, Layer, Logger } from "effect"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { layerWith, ProcessTree } from "../../src/App.ts"
import { Process, type Supervisor } from "../../src/actor/index.ts"
import { CacheClock, TurnClock } from "../../src/cache/index.ts"
import { listeners } from "../../src/cli/listeners.ts"
import { Readiness } from "../../src/server/Readiness.ts"
import { ServerStats } from "../../src/server/ServerState.ts"
import { temporaryFolder } from "../cli/Mimosa.ts"
import { RawClient } from "../server/RawClient.ts"

type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>

/** Every fiber made since, with where it was made. */
const watchFibers = () => {
  const made = new Map<AnyFiber, string>()
  const prototype = Object.getPrototypeOf(Effect.runFork(Effect.void)) as { refreshRefCache: () => void }
  const { refreshRefCache } = prototype
  let onMade = (_fiber: AnyFiber, _where: string) => {}
  prototype.refreshRefCache = function (this: AnyFiber) {
    refreshRefCache.call(this)
    if (made.has(this)) return
    const where = new Error("made").stack ?? ""
    made.set(this, where)
    onMade(this, where)
  }
  return {
    living: () => [...made].filter(([fiber]) => fiber.unsafePoll() === null),
    onMade: (listener: typeof onMade) => {
      onMade = listener
    },
    stop: () => {
      prototype.refreshRefCache = refreshRefCache
    }
  }
}

const nodesOf = (node: Supervisor.TreeNode): Supervisor.TreeNode[] => [node, ...node.children.flatMap(nodesOf)]

/** Runs turns of the event loop until it holds; the test's time-out ends what never comes. */
const until = async (holds: () => boolean | Promise<boolean>) => {
  while (!(await holds())) await new Promise((resolve) => setImmediate(resolve))
}

describe("the fibers of a server", () => {
  const readiness = new Readiness(["HTTP", "RESP"])
  const clock = new TurnClock()
  const webhooks: string[] = []
  const fibers = watchFibers()
  /** Made while the traffic went on, and of no process of the tree. */
  const strangers: string[] = []
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  let receiver: Server
  let main: Fiber.RuntimeFiber<unknown, unknown>
  let tree: () => Supervisor.TreeNode | null = () => null
  let client: RawClient

  beforeAll(async () => {
    folder = await temporaryFolder()
    receiver = createServer((request, response) => {
      webhooks.push(String(request.headers["webhook-id"]))
      request.resume().on("end", () => response.end())
    })
    await new Promise<void>((resolve) => void receiver.listen(0, "127.0.0.1", resolve))
    const options = { host: "127.0.0.1", port: 0, httpPort: 0, password: undefined, enableDebugCommand: true }
    const program = layerWith(
      { dataDir: folder.path, egressAllow: ["127.0.0.1"] },
      [listeners({ ...options, readiness, stats: new ServerStats(), clock })],
      { clock: Layer.succeed(CacheClock, clock) }
    )
    const started = Deferred.unsafeMake<Context.Tag.Service<typeof ProcessTree>>(
      Fiber.id(Effect.runFork(Effect.void)) as never
    )
    main = Effect.runFork(
      Effect.scoped(
        Effect.gen(function* () {
          const services = yield* Layer.build(program)
          yield* Deferred.succeed(started, Context.get(services, ProcessTree))
          return yield* Effect.never
        })
      ).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))
    )
    tree = (await Effect.runPromise(Deferred.await(started))).read
    client = await RawClient.connect(readiness.portOf("RESP") as number)
  })
  afterAll(async () => {
    fibers.stop()
    receiver.close()
    receiver.closeAllConnections()
    await folder.remove()
  })

  /** Whether the tree shows the process that the fiber works for. */
  const isShown = (fiber: AnyFiber): boolean => {
    const pid = Process.ofFiber(fiber)
    return pid !== null && nodesOf(tree() as Supervisor.TreeNode).some((node) => node.pid === String(pid))
  }

  /** Whether it works for a process that the root started, or one of those that it started, and so on. */
  const isBelowRoot = (fiber: AnyFiber): boolean => {
    const pid = Process.ofFiber(fiber)
    for (let above = pid === null ? null : Process.impl(pid); above !== null; above = above.parent) {
      if (String(above) === tree()?.pid) return true
    }
    return false
  }

  it("that live at rest are the main one, and those of the tree's processes, one each", () => {
    const living = fibers.living().filter(([fiber]) => fiber !== main)
    expect(living.filter(([fiber]) => !isShown(fiber)).map(([, where]) => where)).toEqual([])
    expect(living.length).toBe(nodesOf(tree() as Supervisor.TreeNode).length)
  })

  it("that traffic makes are all of the tree's processes: commands, triggers, webhooks, pub/sub, HTTP, TRIGGER SET", async () => {
    fibers.onMade((fiber, where) => {
      if (isBelowRoot(fiber)) return
      queueMicrotask(() => {
        // One that ended in the very call that made it (runSync) did not live.
        if (fiber.unsafePoll() === null) strangers.push(`${Process.ofFiber(fiber)}: ${where}`)
      })
    })
    const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`
    const source = `cache.webhook("${url}", event.key); cache.emit("news", event.value); cache.log("audit", { key = event.key })`
    const registered = await Promise.all(
      [1, 2, 3].map(async (n) => {
        const other = await RawClient.connect(readiness.portOf("RESP") as number)
        const said = await other.send("TRIGGER", "SET", `t${n}`, `k${n}:*`, "ON_WRITE,ON_EXPIRE", source)
        await other.send("QUIT")
        return said
      })
    )
    expect(registered).toEqual(["+OK\r\n", "+OK\r\n", "+OK\r\n"])
    const subscriber = await RawClient.connect(readiness.portOf("RESP") as number)
    await subscriber.send("SUBSCRIBE", "news")
    for (let n = 0; n < 30; n++) await client.send("SET", `k${1 + (n % 3)}:${n}`, "v", "PX", "5")
    for (const command of [["TRIGGER", "LIST"], ["TRIGGER", "INFO", "t1"], ["TRIGGER", "LOG"], ["INFO"]])
      await client.send(...command)
    await client.send("TRIGGER", "TEST", "t1", "ON_WRITE", "k", "v")
    for (const path of ["/healthz", "/readyz", "/metrics", "/v1/processes", "/nope"]) {
      await (await fetch(`http://127.0.0.1:${readiness.portOf("HTTP")}${path}`)).text()
    }
    await until(() => new Set(webhooks).size === 60) // a write and an expiry each
    await subscriber.close()
    const cut = connect(readiness.portOf("RESP") as number, "127.0.0.1", () => cut.destroy())
    expect(await client.send("TRIGGER", "DEL", "t1")).toBe(":1\r\n")
    expect(strangers).toEqual([])
    // At rest again, there is one a process.
    await until(() => fibers.living().length === 1 + nodesOf(tree() as Supervisor.TreeNode).length)
    expect(fibers.living().filter(([fiber]) => fiber !== main && !isShown(fiber))).toEqual([])
  })

  it("that crashes and restarts make are, too", async () => {
    for (const name of ["journal", "storage", "scheduler", "triggers 1", "webhooks", "trigger commands", "http"]) {
      const pidOf = () => nodesOf(tree() as Supervisor.TreeNode).find((node) => node.name === name)?.pid ?? null
      const before = pidOf()
      expect(await client.send("DEBUG", "CRASH", name)).toBe("+OK\r\n")
      await until(() => pidOf() !== null && pidOf() !== before)
      await until(() => readiness.missing().length === 0)
    }
    expect(await client.send("SET", "k2:last", "v")).toBe("+OK\r\n")
    expect(strangers).toEqual([])
  })

  it("are all gone when it has stopped", async () => {
    await client.close()
    fibers.onMade(() => {})
    await Effect.runPromise(Fiber.interrupt(main))
    expect(fibers.living().map(([, where]) => where)).toEqual([])
  })
})
