/** A keyspace with triggers, put together by hand: no Effect, a clock that the test moves, effects kept in lists. */
import { EntrySource, Keyspace, type KeyspaceOptions, noMeta, type Value } from "../../src/kernel/index.ts"
import { LuaVm, VmPool, VmWorker } from "../../src/sandbox/index.ts"
import { Run } from "../../src/triggers/CacheApi.ts"
import { type CascadeLimits, cascadeLimitsDefault } from "../../src/triggers/Cascade.ts"
import type { RunnerPorts, TriggerLine } from "../../src/triggers/Effects.ts"
import { lastingMachines, Machines, machineParts } from "../../src/triggers/Machines.ts"
import type { OverlayEmit } from "../../src/triggers/Overlay.ts"
import { type Intensity, intensityDefault } from "../../src/triggers/Quarantine.ts"
import { Trigger, type TriggerInput } from "../../src/triggers/Trigger.ts"
import { TriggerLog } from "../../src/triggers/TriggerLog.ts"
import { TriggerRegistry } from "../../src/triggers/TriggerRegistry.ts"
import { TriggerRunner } from "../../src/triggers/TriggerRunner.ts"
import type { Webhook } from "../../src/webhooks/index.ts"

export interface EngineOptions extends Partial<Pick<KeyspaceOptions, "maxEntries" | "maxBytes">> {
  readonly cascade?: Partial<CascadeLimits>
  readonly intensity?: Partial<Intensity>
  readonly ports?: Partial<RunnerPorts>
  /** Limits every run by so much fuel instead of the clock, so that it ends the same way on every machine. */
  readonly fuelMax?: number
  readonly monotonicMs?: () => number
  /** Takes over the machines of an engine that is done with: making new ones is what an engine takes most time for. */
  readonly after?: Engine | undefined
}

export interface Engine {
  readonly clock: { ms: number; nowMs: () => number }
  readonly emits: OverlayEmit[]
  readonly webhooks: Webhook[]
  readonly lines: TriggerLine[]
  readonly workers: VmWorker[]
  readonly machines: Machines
  readonly log: TriggerLog
  readonly runner: TriggerRunner
  readonly keyspace: Keyspace
  readonly registry: TriggerRegistry
  /** Registers a trigger, or throws what the registry refuses it with. */
  readonly trigger: (input: Partial<TriggerInput> & Pick<TriggerInput, "source">) => Trigger
}

export const makeEngine = (options: EngineOptions = {}): Engine => {
  const { fuelMax } = options // no closure may keep the options: by `after` they lead to all engines before this one
  const clock = {
    ms: 1_000_000,
    nowMs: () => clock.ms
  }
  const emits: OverlayEmit[] = []
  const webhooks: Webhook[] = []
  const lines: TriggerLine[] = []
  const { machines, workers } = options.after ?? makeMachines(clock.nowMs)
  const log = new TriggerLog(1_000)
  const runner = new TriggerRunner({
    machines,
    log,
    ports: {
      webhooks: { offer: (webhook) => webhooks.push(webhook) > 0, lastRefusal: "" },
      emits: { publish: (channel, payload) => void emits.push({ channel, payload }) },
      lines: { offer: (line) => lines.push(line) > 0 },
      warming: { warmLater: () => "no loader" },
      ...options.ports
    },
    cascade: { ...cascadeLimitsDefault, ...options.cascade },
    nowMs: () => clock.nowMs(),
    monotonicMs: options.monotonicMs ?? (() => performance.now())
  })
  const keyspace = new Keyspace({
    maxEntries: options.maxEntries ?? 50_000,
    maxBytes: options.maxBytes ?? 1 << 30,
    clock,
    sink: runner,
    gate: runner,
    wake() {}
  })
  const registry = new TriggerRegistry(keyspace, machines, () => clock.nowMs(), {
    ...intensityDefault,
    ...options.intensity
  })
  const trigger: Engine["trigger"] = (input) => {
    const made = registry.set({ name: `t${registry.size + 1}`, pattern: "*", events: ["ON_WRITE"], ...input })
    if (!(made instanceof Trigger)) throw made
    return fuelMax === undefined ? made : Object.assign(made, { limits: { ...made.limits, fuelMax } })
  }
  return { clock, emits, webhooks, lines, workers, machines, log, runner, keyspace, registry, trigger }
}

const makeMachines = (nowMs: () => number): Pick<Engine, "machines" | "workers"> => {
  const run = new Run("boot")
  const parts = machineParts(run, nowMs)
  const pool = new VmPool({ make: () => new LuaVm(parts), spares: 0 })
  const workers: VmWorker[] = []
  const open = () => {
    const worker = new VmWorker(`vm-${workers.length + 1}`, pool)
    workers.push(worker)
    return worker
  }
  return { machines: new Machines(run, lastingMachines(open), pool.take()), workers }
}

/** What triggers have emitted as JSON since this was last asked, oldest first. */
export const told = ({ emits }: Pick<Engine, "emits">): unknown[] =>
  emits.splice(0).map(({ payload }) => JSON.parse(Buffer.from(payload, "latin1").toString()))

/** Stores what a loader had: no write. */
export const fill = (keyspace: Keyspace, key: string, value: Value, expiresAtMs = 0): boolean =>
  keyspace.fill(keyspace.lease(key), value, expiresAtMs, noMeta, EntrySource.loaded)
