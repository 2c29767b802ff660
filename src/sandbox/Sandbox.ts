/**
 * The processes behind the machines: one for each machine in use, and one that keeps spares warm.
 *
 * Machines belong to this service, that is to the scope above the processes: who needs one gets it at once and
 * synchronously (`open`), and a process to look after it is started when the caller's turn is over. A kill makes that
 * process crash; its supervisor counts and restarts it, and the restart replaces a machine that is worn.
 */
import { Cause, Context, Data, Effect, Layer } from "effect"
import { DynamicSupervisor, ExitReason, GenServer, Process, Registry, Supervisor } from "../actor/index.ts"
import type { LuaVm } from "./LuaVm.ts"
import { VmPool } from "./VmPool.ts"
import { VmWorker } from "./VmWorker.ts"

/** What a machine's process crashes with when its machine had to be killed. */
export class VmKilled extends Data.TaggedError("VmKilled")<{ readonly machine: string; readonly reason: string }> {
  override get message(): string {
    return `${this.machine} was killed: ${this.reason}`
  }
}

export interface SandboxService {
  /** A pool whose spares are made between events, not within them. */
  readonly pool: (make: () => LuaVm) => VmPool
  /** A machine of that pool with a process of its own. Never waits; without a spare the machine is made here, in 1 ms. */
  readonly open: (pool: VmPool, id: string) => VmWorker
  readonly workers: () => readonly VmWorker[]
  /** The subtree that runs all of it. */
  readonly childSpec: Supervisor.ChildSpec<Process.Self>
}

export class Sandbox extends Context.Tag("mimosa-cache/sandbox/Sandbox")<Sandbox, SandboxService>() {
  static readonly layer: Layer.Layer<Sandbox> = Layer.sync(Sandbox, () => make())
}

const make = (): SandboxService => {
  const names = Registry.unsafeMake({ keys: "unique" })
  const keeperName = Registry.via<GenServer.RefOf<KeeperProtocol>>(names, "pool")
  const supervisorName = Registry.via<DynamicSupervisor.DynamicSupervisorRef>(names, "workers")
  const workers: VmWorker[] = []
  const pools: VmPool[] = []
  /** Machines that have no process yet. */
  const orphans: VmWorker[] = []

  const adoptOrphans = Effect.gen(function* () {
    for (let worker = orphans.shift(); worker !== undefined; worker = orphans.shift()) {
      yield* DynamicSupervisor.startChild(supervisorName, workerSpec(worker)).pipe(Effect.orDie)
    }
  })

  /** Fills the pools one machine at a time, so that nobody waits longer than for one. */
  const Keeper = GenServer.define<KeeperProtocol>()({
    name: "pool",
    init: () => Effect.as(adoptOrphans, GenServer.Ok(null, { continue: "refill" as const })),
    handleCast: (message, state) =>
      message === "adopt"
        ? Effect.as(adoptOrphans, GenServer.NoReply(state))
        : GenServer.NoReply(state, { continue: "refill" as const }),
    handleContinue: (_refill, state) =>
      Effect.gen(function* () {
        for (const pool of pools) while (!pool.refill(1)) yield* Effect.yieldNow()
        return GenServer.NoReply(state)
      }),
    inspect: () => ({ spares: pools.reduce((sum, { ready }) => sum + ready, 0) })
  })

  return {
    pool: (create) => {
      const pool = new VmPool({ make: create, onMissing: () => GenServer.unsafeOffer(keeperName, "refill") })
      pools.push(pool)
      GenServer.unsafeOffer(keeperName, "refill")
      return pool
    },
    open: (pool, id) => {
      const worker = new VmWorker(id, pool)
      workers.push(worker)
      orphans.push(worker)
      GenServer.unsafeOffer(keeperName, "adopt")
      return worker
    },
    workers: () => workers,
    childSpec: Supervisor.childSpec("sandbox", {
      strategy: "rest_for_one",
      children: [
        DynamicSupervisor.childSpec("trigger workers", {
          name: supervisorName,
          maxRestarts: killsMax,
          maxSeconds: killsWithinSeconds
        }),
        GenServer.childSpec(Keeper, undefined, { name: keeperName })
      ]
    })
  }
}

// A rewound machine is as good as new, and who kills too often is taken out one by one: this supervisor gives up only
// when that has failed.
const killsMax = 10_000
const killsWithinSeconds = 10

interface KeeperProtocol extends GenServer.Protocol {
  readonly cast: "adopt" | "refill"
  readonly continue: "refill"
}

/** Looks after one machine: hears of its kills, and crashes of them. */
const Worker = GenServer.define<{ readonly info: VmKilled }>()({
  name: "machine",
  init: (worker: VmWorker) =>
    Effect.map(Process.self, (self) => {
      worker.adopt((reason) => Process.unsafeOffer(self, new VmKilled({ machine: worker.id, reason })))
      return GenServer.Ok(worker)
    }),
  handleInfo: (message, worker) =>
    message instanceof VmKilled
      ? GenServer.Stop(ExitReason.crash(Cause.fail(message)), worker)
      : GenServer.NoReply(worker),
  inspect: ({ vm, kills, replacements }) => ({
    kills,
    replacements,
    heapBytes: vm?.bytesUsed ?? 0,
    rewinds: vm?.rewinds ?? 0
  })
})

const workerSpec = (worker: VmWorker): Supervisor.ChildSpec<Process.Self> =>
  GenServer.childSpec(Worker, worker, { label: worker.id, id: worker.id })
