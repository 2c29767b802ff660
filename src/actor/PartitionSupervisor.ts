/**
 * The same child several times, so that one process is not the bottleneck of all: each key is served by one of them.
 *
 * [1] Elixir, lib/elixir/lib/partition_supervisor.ex.
 */
import { availableParallelism } from "node:os"
import * as Effect from "effect/Effect"
import * as Hash from "effect/Hash"
import type * as Scope from "effect/Scope"
import { type CallError, NoProcess, type StartError } from "./ActorError.ts"
import * as GenServer from "./GenServer.ts"
import type { ChildSpec, Intensity } from "./internal/supervision.ts"
import type { Pid } from "./Pid.ts"
import * as Process from "./Process.ts"
import type * as Registry from "./Registry.ts"
import * as Supervisor from "./Supervisor.ts"

export interface Options<R = never> extends Intensity {
  /** The child of partition 0, 1, …; its id becomes the number. */
  readonly child: (partition: number) => ChildSpec<R>
  /** How many. Default: as many as the machine runs threads at once. */
  readonly partitions?: number
  /** Default `one_for_one`. */
  readonly strategy?: Supervisor.Strategy
  readonly label?: string
  readonly name?: Registry.Via
}

/** Address of a partition supervisor whose children are `P`. */
export interface PartitionSupervisorRef<out P extends Pid = Pid> extends Pid {
  readonly _P?: P
}

type Needs<R> = Exclude<R, Scope.Scope | Process.Self>

/**
 * Starts the partitions in a scope.
 *
 * @example
 * const child = () => GenServer.childSpec(Counter, 0)
 * const counters = yield* PartitionSupervisor.start<CounterRef>({ partitions: 4, child })
 * yield* GenServer.cast(yield* PartitionSupervisor.partition(counters, userId), "increment")
 */
export const start = <P extends Pid = Pid, R = Process.Self>(
  options: Options<R>
): Effect.Effect<PartitionSupervisorRef<P>, StartError, Needs<R> | Scope.Scope> =>
  Effect.suspend(() => Supervisor.start(supervisorOptions(options)))

export const startLink = <P extends Pid = Pid, R = Process.Self>(
  options: Options<R>
): Effect.Effect<PartitionSupervisorRef<P>, StartError, Needs<R> | Process.Self> =>
  Effect.suspend(() => Supervisor.startLink(supervisorOptions(options)))

export const childSpec = <R>(
  id: string,
  options: Options<R>,
  overrides?: Partial<Omit<ChildSpec, "id" | "start">>
): ChildSpec<Needs<R> | Process.Self> => ({
  id,
  type: "supervisor",
  start: startLink({ label: id, ...options }),
  ...overrides
})

/**
 * The process that serves `key` now. Integers go by remainder, all else by its hash. `NoProcess` while it is down.
 * O(partitions).
 */
export const partition = <P extends Pid>(
  supervisor: GenServer.Destination<PartitionSupervisorRef<P>>,
  key: unknown
): Effect.Effect<P, NoProcess> =>
  Effect.suspend(() => {
    const pid = unsafePartition(supervisor, key)
    return pid === null
      ? Effect.fail(new NoProcess({ target: `the partition of ${String(key)}` }))
      : Effect.succeed(pid)
  })

/** `partition` for synchronous code; null while it is down. */
export const unsafePartition = <P extends Pid>(
  supervisor: GenServer.Destination<PartitionSupervisorRef<P>>,
  key: unknown
): P | null => {
  const rows = rowsOf(supervisor)
  if (rows.length === 0) return null
  const number = typeof key === "number" && Number.isInteger(key) ? key : Hash.hash(key)
  const row = rows[Math.abs(number % rows.length)]
  return (row?.pid ?? null) as unknown as P | null
}

/** How many partitions there are. `NoProcess` if nobody is there. */
export const partitions = (
  supervisor: GenServer.Destination<PartitionSupervisorRef>
): Effect.Effect<number, NoProcess> =>
  Effect.suspend(() => {
    const { length } = rowsOf(supervisor)
    return length === 0
      ? Effect.fail(new NoProcess({ target: GenServer.describe(supervisor) }))
      : Effect.succeed(length)
  })

export const whichChildren = (
  supervisor: GenServer.Destination<PartitionSupervisorRef>
): Effect.Effect<ReadonlyArray<Supervisor.ChildInfo>, CallError> => Supervisor.whichChildren(supervisor)

export const countChildren = (
  supervisor: GenServer.Destination<PartitionSupervisorRef>
): Effect.Effect<Supervisor.ChildCounts, CallError> => Supervisor.countChildren(supervisor)

export const stop = GenServer.stop

const rowsOf = (supervisor: GenServer.Destination<PartitionSupervisorRef>) => {
  const pid = GenServer.whereis(supervisor)
  return pid === null ? [] : (Process.impl(pid).children?.() ?? [])
}

const supervisorOptions = <R>({ child, partitions, ...options }: Options<R>): Supervisor.Options<R> => {
  const count = partitions ?? availableParallelism()
  if (!Number.isInteger(count) || count < 1) {
    throw new RangeError(`partitions is a whole number, at least 1; not ${count}`)
  }
  return {
    label: "partition supervisor",
    ...options,
    children: Array.from({ length: count }, (_, number) => ({ ...child(number), id: String(number) }))
  }
}
