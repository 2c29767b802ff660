/**
 * Tenants' scripts: what a run and a call of `cache` cost, beside wasmoon's public engine; what five thousand that wait hold;
 * and what one tenant that computes without end costs ninety-nine others.
 *
 * A call is measured inside a run: what a loop with it takes more than one without, pair by pair.
 *
 * The ninety-nine ask a served Mimosa at fixed times, each over a connection of its own, and another connection asks for a
 * key. What they wait is compared with and without the tenant that burns, in turns.
 */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises"
import { Effect, ManagedRuntime } from "effect"
import { LuaFactory } from "wasmoon"
import { layer } from "../../dist/App.js"
import { Tenants } from "../../dist/cache/index.js"
import { Run, type Script, ScriptEngine, type ScriptEngineService } from "../../dist/scripting/index.js"
import {
  ascending,
  type BlockTimes,
  beside,
  collect,
  type Figure,
  medians,
  type Paired,
  quantile,
  type Suite
} from "./Figure.ts"
import { Connection, startMimosa } from "./servers.ts"

const source = `
function main() end
function greet(user) return user.id end
function loop(n) for i = 1, n do local key = "session:1" end end
function get(n) for i = 1, n do local value = cache.get("session:1") end end
function put(n) for i = 1, n do cache.put("session:1", "value") end end
function incr(n) for i = 1, n do cache.incr("count") end end
function put_table(n) for i = 1, n do cache.put("user", { name = "Alice", age = 30 }) end end
function get_table(n) for i = 1, n do local user = cache.get("user") end end
`

const callsARun = 100 // a run of less than 0.3 ms: one slice

export const suite: Suite = {
  name: "scripts",
  async run(report, say) {
    await reportCalls(report, say)
    await reportWaiting(report, say)
    await reportFairness(report, say)
  }
}

type Report = (figure: Figure) => void
type Say = (progress: string) => void

const withEngine = async <A>(
  settings: Parameters<typeof layer>[0],
  use: (script: Script, engine: ScriptEngineService) => Promise<A>,
  text = source
) => {
  const runtime = ManagedRuntime.make(layer(settings))
  try {
    const script = await runtime.runPromise(
      Effect.gen(function* () {
        yield* (yield* Tenants).create({ id: "bench", limits: { fuelPerSecond: 1e12 } })
        return yield* (yield* ScriptEngine).compile(text)
      })
    )
    return await use(script, await runtime.runPromise(ScriptEngine))
  } finally {
    await runtime.dispose()
  }
}

/** The run, where it has not ended at once: the turn's share of the thread was used up, and it waits for the next one. */
const begun = (run: ReturnType<Script["unsafeRun"]>): Run | undefined => {
  if (!(run instanceof Run)) throw run
  if (run.error !== null) throw run.error
  return run.isEnded ? undefined : run
}

const reportCalls = (report: Report, say: Say): Promise<void> =>
  withEngine({}, async (script) => {
    const unlimited = { limits: { computeMs: 60_000 } }
    const options = { cachePrefix: "bench", ...unlimited }
    const state = Effect.runSync(script.createState(options))
    // With what it has of limits, since a run of ours has them.
    const engine = await new LuaFactory().createEngine({ functionTimeout: 50, traceAllocations: true })
    const store = new Map<string, unknown>()
    engine.global.set("cache", {
      get: (key: string) => store.get(key),
      put: (key: string, value: unknown) => void store.set(key, value),
      incr: (key: string) => void store.set(key, Number(store.get(key) ?? 0) + 1)
    })
    await engine.doString(source)
    const theirs = (name: string): ((n: number) => void) => engine.global.get(name)

    say("an almost empty main: with a kept state, in a new world, beside wasmoon")
    const theirMain = theirs("main")
    const kept = () => begun(state.unsafeRun("main"))
    report(beside("scripts.run", "wasmoon", await pairsInTurns(kept, () => theirMain(0), sizes)))
    report(
      beside(
        "scripts.run.fresh",
        "kept state",
        await pairsInTurns(() => begun(script.unsafeRun("main", [], options)), kept, sizes)
      )
    )

    const user = { id: 42, name: "Alice" }
    const theirGreet = theirs("greet") as unknown as (user: object) => void
    report(
      beside(
        "scripts.run.argument",
        "wasmoon",
        await pairsInTurns(
          () => begun(state.unsafeRun("greet", [user])),
          () => theirGreet(user),
          sizes
        )
      )
    )

    const loops = [callsARun]
    for (const name of ["get", "put", "incr", "put_table", "get_table"]) {
      say(`${name}, ${callsARun} times a run`)
      const ours = await pairsInTurns(
        () => begun(state.unsafeRun(name, loops)),
        () => begun(state.unsafeRun("loop", loops)),
        runs
      )
      const [theirCall, theirLoop] = [theirs(name), theirs("loop")]
      const peer = await pairsInTurns(
        () => theirCall(callsARun),
        () => theirLoop(callsARun),
        runs
      )
      const [value, peerValue] = [ours.difference / callsARun, peer.difference / callsARun]
      report({
        id: `scripts.${name}`,
        value,
        unit: "ns",
        peer: "wasmoon",
        peerValue,
        ratio: value / peerValue,
        samples: ours.samples
      })
    }
    engine.global.close()
  })

/** Something to time; it answers the run that it has left to the next turn of the event loop, if any. */
type Timed = () => unknown

/**
 * Two operations in turn, batch by batch. After each the event loop has its turn, as it has in a program: what runs within
 * one turn is bounded, and more would queue. A batch in which that happened (the machine was busy with something else) is
 * measured again.
 */
const pairsInTurns = async (
  operation: Timed,
  peer: Timed,
  { batchSize, batches }: { readonly batchSize: number; readonly batches: number }
): Promise<Paired> => {
  const time = async (each: Timed): Promise<number> => {
    for (;;) {
      let left: Run | undefined
      const began = process.hrtime.bigint()
      for (let n = 0; n < batchSize && left === undefined; n++) {
        const answer = each()
        if (answer instanceof Run) left = answer
      }
      const ns = Number(process.hrtime.bigint() - began) / batchSize
      if (left !== undefined) await end(left)
      await nextTurn()
      if (left === undefined) return ns
    }
  }
  const all: BlockTimes[] = []
  for (let batch = -batches; batch < batches; batch++) {
    const [value, peerValue] =
      batch % 2 === 0 ? [await time(operation), await time(peer)] : swapped(await time(peer), await time(operation))
    if (batch >= 0) all.push([value, peerValue])
  }
  return medians(all)
}

const end = (run: Run): Promise<void> =>
  new Promise((resolve) => {
    run.onEnd = resolve
  })

const swapped = (peerValue: number, value: number): [number, number] => [value, peerValue]

const sizes = { batchSize: 25, batches: 400 } // a batch of new worlds takes a third of what a turn has for scripts
const runs = { batchSize: 2, batches: 200 }

// ---- five thousand that wait

const waitingCount = 5_000

const reportWaiting = async (report: Report, say: Say): Promise<void> => {
  say(`${waitingCount} scripts that wait in http.request`)
  let release: () => void = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const server = createServer((_request, response) => {
    void released.then(() => response.end("ok"))
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo
  const text = `function main(port) return http.request{ url = "http://127.0.0.1:" .. port .. "/" }.success end`
  await withEngine(
    { httpAllow: ["127.0.0.1"], egressAllow: ["127.0.0.1"], tenants: {} },
    async (script, engine) => {
      const limits = { waitMs: 120_000 }
      const start = (i: number) => script.unsafeRun("main", [port], { cachePrefix: `t${i % 50}`, limits })
      collect()
      const before = process.memoryUsage().rss
      const beganMs = performance.now()
      const all = Array.from({ length: waitingCount }, (_, i) => start(i))
      const refused = all.find((run) => !(run instanceof Run))
      if (refused !== undefined) throw refused
      const outcome = Promise.all(
        (all as Run[]).map(
          (run) =>
            new Promise<boolean>((resolve) => {
              run.onEnd = () => resolve(run.error === null && run.value === true)
            })
        )
      )
      while (engine.stats.suspended < waitingCount) await sleep(5)
      const beginMs = performance.now() - beganMs
      collect()
      const bytes = process.memoryUsage().rss - before
      report({ id: "scripts.waiting.begin", value: (beginMs * 1e6) / waitingCount, unit: "ns", samples: waitingCount })
      report({ id: "scripts.waiting.bytes", value: bytes / waitingCount, unit: "bytes", samples: waitingCount })
      release()
      const answered = (await outcome).filter((isOk) => isOk).length
      if (answered !== waitingCount) throw new Error(`${waitingCount - answered} of ${waitingCount} were not answered`)
    },
    text
  )
  server.closeAllConnections()
  server.close()
}

// ---- one that burns beside ninety-nine

const normal = `
function main(id)
  local seen = cache.get("user:" .. id, 0)
  local list = {}
  for i = 1, 50 do list[i] = id .. ":" .. i end
  cache.put_ttl("user:" .. id, seen + 1, 60)
  return #table.concat(list, ",")
end`
const burn = "function main() while true do end end"

const tenantCount = 99
const periodMs = 100 // between two questions of one tenant: 990 runs a second
const windowMs = 4_000
const windows = 5

const reportFairness = async (report: Report, say: Say): Promise<void> => {
  const served = await startMimosa()
  try {
    const admin = await Connection.open(served.port)
    for (let i = 0; i < tenantCount; i++) {
      await admin.pipeline([["TENANT", "CREATE", `n${i}`]])
      await admin.pipeline([["SCRIPT.SET", `n${i}`, "work", normal]])
    }
    await admin.pipeline([["TENANT", "CREATE", "burner"]])
    await admin.pipeline([["SCRIPT.SET", "burner", "burn", burn]])
    await admin.pipeline([["SET", "key", "value"]])
    const tenants = await Promise.all(Array.from({ length: tenantCount }, () => Connection.open(served.port)))
    const burners = await Promise.all(Array.from({ length: 4 }, () => Connection.open(served.port)))
    await asking(tenants, admin, windowMs)
    const [alone, beside]: [Waits[], Waits[]] = [[], []]
    let failures = 0
    for (let window = 0; window < windows; window++) {
      say(`fairness: window ${window + 1} of ${windows}`)
      alone.push(await asking(tenants, admin, windowMs))
      let isOver = false
      const burning = burners.map(async (connection) => {
        while (!isOver) {
          const beganMs = performance.now()
          await connection.pipeline([["SCRIPT.RUN", "burner", "burn", "main"]])
          failures++
          if (performance.now() - beganMs < 1) await sleep(1) // refused at once: it asks again and again all the same
        }
      })
      beside.push(await asking(tenants, admin, windowMs))
      isOver = true
      await Promise.all(burning)
    }
    const middle = (all: readonly Waits[], of: (waits: Waits) => number) => quantile(ascending(all.map(of)), 0.5)
    const [value, peerValue] = [
      middle(beside, ({ runs }) => quantile(runs, 0.99)),
      middle(alone, ({ runs }) => quantile(runs, 0.99))
    ]
    const ratio = quantile(
      ascending(beside.map(({ runs }, i) => quantile(runs, 0.99) / quantile((alone[i] as Waits).runs, 0.99))),
      0.5
    )
    report({
      id: "scripts.fair.run.p99",
      value,
      unit: "ms",
      peer: "without the burner",
      peerValue,
      ratio,
      samples: windows
    })
    const gets = ({ gets }: Waits) => quantile(gets, 0.99)
    report({
      id: "scripts.fair.get.p99",
      value: middle(beside, gets),
      unit: "ms",
      peer: "without the burner",
      peerValue: middle(alone, gets),
      samples: windows
    })
    report({
      id: "scripts.fair.get.worst",
      value: middle(beside, ({ gets }) => gets.at(-1) as number),
      unit: "ms",
      peer: "without the burner",
      peerValue: middle(alone, ({ gets }) => gets.at(-1) as number),
      samples: windows
    })
    if (failures === 0) throw new Error("the burner was never told that it may not")
    for (const connection of [...tenants, ...burners, admin]) connection.close()
  } finally {
    await served.stop()
  }
}

interface Waits {
  /** Milliseconds from question to answer, ascending. */
  readonly runs: readonly number[]
  readonly gets: readonly number[]
}

const asking = async (tenants: readonly Connection[], admin: Connection, forMs: number): Promise<Waits> => {
  const [runs, gets]: [number[], number[]] = [[], []]
  const beganMs = performance.now()
  const every = async (periodMs: number, offsetMs: number, ask: () => Promise<unknown>, into: number[]) => {
    for (let atMs = beganMs + offsetMs; atMs < beganMs + forMs; atMs += periodMs) {
      const early = atMs - performance.now()
      if (early > 0) await sleep(early)
      const sentMs = performance.now()
      await ask()
      into.push(performance.now() - sentMs)
    }
  }
  await Promise.all([
    ...tenants.map((connection, i) =>
      every(
        periodMs,
        (i * periodMs) / tenantCount,
        () => connection.pipeline([["SCRIPT.RUN", `n${i}`, "work", "main", `"user-${i}"`]]),
        runs
      )
    ),
    every(2, 0, () => admin.pipeline([["GET", "key"]]), gets)
  ])
  return { runs: ascending(runs), gets: ascending(gets) }
}
