/** A keyspace with triggers, put together by hand: no Effect, a clock that the test moves, effects kept in lists. */
import { Keyspace, type KeyspaceOptions } from "../../src/kernel/index.ts"
import { LuaVm, VmPool, VmWorker } from "../../src/sandbox/index.ts"
import { Run } from "../../src/triggers/CacheApi.ts"
import { type CascadeLimits, cascadeLimitsDefault } from "../../src/triggers/Cascade.ts"
import { Machines, machineParts } from "../../src/triggers/Machines.ts"
import type { OverlayEmit } from "../../src/triggers/Overlay.ts"
import { Trigger, type TriggerInput } from "../../src/triggers/Trigger.ts"
import { TriggerLog } from "../../src/triggers/TriggerLog.ts"
import { TriggerRegistry } from "../../src/triggers/TriggerRegistry.ts"
import { type RunnerPorts, type TriggerLine, TriggerRunner, type Webhook } from "../../src/triggers/TriggerRunner.ts"

export interface EngineOptions extends Partial<Pick<KeyspaceOptions, "maxEntries" | "maxBytes">> {
  readonly cascade?: Partial<CascadeLimits>
  readonly ports?: Partial<RunnerPorts>
}

export const makeEngine = (options: EngineOptions = {}) => {
  const clock = {
    ms: 1_000_000,
    nowMs: () => clock.ms
  }
  const emits: OverlayEmit[] = []
  const webhooks: Webhook[] = []
  const lines: TriggerLine[] = []
  const run = new Run("boot")
  const parts = machineParts(run, () => clock.ms)
  const pool = new VmPool({ make: () => new LuaVm(parts), spares: 0 })
  const workers: VmWorker[] = []
  const open = () => {
    const worker = new VmWorker(`vm-${workers.length + 1}`, pool)
    workers.push(worker)
    return worker
  }
  const machines = new Machines(run, open, pool.take())
  const log = new TriggerLog(1_000)
  const runner = new TriggerRunner({
    origin: "boot",
    machines,
    log,
    ports: {
      webhooks: { offer: (webhook) => webhooks.push(webhook) > 0 },
      emits: { publish: (channel, payload) => emits.push({ channel, payload }) },
      lines: { offer: (line) => lines.push(line) > 0 },
      ...options.ports
    },
    cascade: { ...cascadeLimitsDefault, ...options.cascade },
    monotonicMs: () => performance.now()
  })
  const keyspace = new Keyspace({
    maxEntries: options.maxEntries ?? 50_000,
    maxBytes: options.maxBytes ?? 1 << 30,
    clock,
    sink: runner,
    wake() {}
  })
  const registry = new TriggerRegistry(keyspace, machines, clock.nowMs)
  /** Registers a trigger, or throws what the registry refuses it with. */
  const trigger = (input: Partial<TriggerInput> & Pick<TriggerInput, "source">): Trigger => {
    const made = registry.set({ name: `t${registry.size + 1}`, pattern: "*", events: ["ON_WRITE"], ...input })
    if (made instanceof Trigger) return made
    throw made
  }
  return { clock, emits, webhooks, lines, workers, machines, log, runner, keyspace, registry, trigger }
}

export type Engine = ReturnType<typeof makeEngine>
