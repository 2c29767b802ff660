/**
 * The processes behind the machines: one for each machine in use, and one that keeps spares warm.
 *
 * Machines belong to this service, that is to the scope above the processes: who needs one gets it at once and
 * synchronously (`open`), and a process to look after it is started when the caller's turn is over. A kill makes that
 * process crash; its supervisor counts and restarts it, and the restart replaces a machine that is worn.
 *
 * Which machine has a process is asked of the processes themselves: whoever crashed here, the next keeper finds those
 * that nobody looks after. A machine has one process at most, because all are started by one supervisor, one by one.
 */
import { Cause, Context, Data, Effect, Layer } from "effect"
import { DynamicSupervisor, ExitReason, GenServer, type Pid, Process, Supervisor } from "../actor/index.ts"
import { logAnnotation } from "../telemetry/index.ts"
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
  // Those that were started last. Names would not do: after a kill of the subtree the next one starts beside the old one,
  // which takes its time to end.
  let supervisor: DynamicSupervisor.DynamicSupervisorRef | null = null
  let keeper: GenServer.RefOf<KeeperProtocol> | null = null
  const workers: VmWorker[] = []
  const pools: VmPool[] = []
  const processOf = new Map<VmWorker, Pid.Pid>()
  const hasProcess = (worker: VmWorker) => {
    const pid = processOf.get(worker)
    return pid !== undefined && Process.isAlive(pid)
  }

  /** Looks after one machine: hears of its kills, and crashes of them. */
  const Worker = GenServer.define<{ readonly info: VmKilled }>()({
    name: "machine",
    init: (worker: VmWorker) =>
      Effect.map(Process.self, (self) => {
        if (hasProcess(worker)) return GenServer.Ignore
        processOf.set(worker, self)
        Process.onExit(self, ask) // its supervisor brings it back, unless that has ended too
        worker.adopt((reason) => Process.unsafeOffer(self, new VmKilled({ machine: worker.id, reason })))
        return GenServer.Ok(worker, worker.vm === null ? tryAgainLater : undefined)
      }),
    handleInfo: (message, worker) => {
      if (message instanceof VmKilled) return GenServer.Stop(ExitReason.crash(Cause.fail(message)), worker)
      return message._tag === "Timeout" ? GenServer.Stop(noMachine, worker) : GenServer.NoReply(worker)
    },
    memoryBytes: ({ vm }) => vm?.bytesUsed ?? 0,
    inspect: ({ vm, kills, replacements }) => ({ kills, replacements, rewinds: vm?.rewinds ?? 0 })
  })

  const adoptAll = Effect.gen(function* () {
    for (const worker of workers) {
      if (supervisor === null || hasProcess(worker)) continue
      const spec = GenServer.childSpec(Worker, worker, { id: worker.id })
      yield* Effect.orDie(DynamicSupervisor.startChild(supervisor, spec))
    }
  })

  let isAsked = false
  /** Has the keeper look at everything: one word waits at most, and the one who starts looks by itself. */
  const ask = () => {
    if (!isAsked && keeper !== null) isAsked = GenServer.unsafeOffer(keeper, "look")
  }

  /** Gives every machine a process, and then fills the pools one machine a turn, so that nobody waits longer than for one. */
  const Keeper = GenServer.define<KeeperProtocol>()({
    name: "pool",
    init: () =>
      Effect.map(Process.self, (self) => {
        keeper = self as GenServer.RefOf<KeeperProtocol>
        isAsked = false
        return GenServer.Ok(null, { continue: "adopt" as const })
      }),
    handleCast: (_look, state) => {
      isAsked = false
      return GenServer.NoReply(state, { continue: "adopt" as const })
    },
    handleContinue: (step, state) =>
      step === "adopt"
        ? Effect.as(adoptAll, GenServer.NoReply(state, { continue: "refill" as const }))
        : Effect.as(refillAll(pools), GenServer.NoReply(state)),
    inspect: () => ({ spares: pools.reduce((sum, { ready }) => sum + ready, 0) })
  })

  const crowd = DynamicSupervisor.childSpec("trigger workers", {
    maxRestarts: killsMax,
    maxSeconds: killsWithinSeconds
  })

  return {
    pool: (create) => {
      const pool = new VmPool({ make: create, onMissing: ask })
      pools.push(pool)
      ask()
      return pool
    },
    open: (pool, id) => {
      const worker = new VmWorker(id, pool)
      workers.push(worker)
      ask()
      return worker
    },
    workers: () => workers,
    childSpec: Supervisor.childSpec("sandbox", {
      strategy: "rest_for_one",
      children: [
        { ...crowd, start: Effect.tap(crowd.start, (pid) => Effect.sync(() => (supervisor = pid))) },
        GenServer.childSpec(Keeper, undefined)
      ]
    })
  }
}

// A rewound machine is as good as new, and who kills too often is taken out one by one: this supervisor gives up only
// when that has failed.
const killsMax = 10_000
const killsWithinSeconds = 10

const tryAgainLater = { timeout: 1_000 } // ms; whoever holds the memory needs time to let go of it
const noMachine = ExitReason.shutdownWith("there was no memory for a machine")

/** Where there is no memory for a machine, the pools stay short until the next one is missing. */
const refillAll = (pools: readonly VmPool[]) =>
  Effect.gen(function* () {
    for (const pool of pools) while (!pool.refill(1)) yield* Process.nextTurn
  }).pipe(
    Effect.catchAllDefect((defect) =>
      defect instanceof RangeError
        ? Effect.logWarning("no memory for a spare machine").pipe(
            Effect.annotateLogs(logAnnotation.reason, defect.message)
          )
        : Effect.die(defect)
    )
  )

interface KeeperProtocol extends GenServer.Protocol {
  readonly cast: "look"
  readonly continue: "adopt" | "refill"
}
