/** A keyspace with triggers out of the built package, without processes: what runs inline in a client's operation. */
import { Keyspace } from "../../dist/kernel/index.js"
import { LuaVm, VmPool, VmWorker } from "../../dist/sandbox/index.js"
import { Run } from "../../dist/triggers/CacheApi.js"
import { cascadeLimitsDefault } from "../../dist/triggers/Cascade.js"
import { lastingMachines, Machines, machineParts } from "../../dist/triggers/Machines.js"
import { Trigger, type TriggerInput } from "../../dist/triggers/Trigger.js"
import { TriggerLog } from "../../dist/triggers/TriggerLog.js"
import { TriggerRegistry } from "../../dist/triggers/TriggerRegistry.js"
import { TriggerRunner } from "../../dist/triggers/TriggerRunner.js"

export const makeEngine = () => {
  const nowMs = () => Date.now()
  const run = new Run("bench")
  const parts = machineParts(run, nowMs)
  const pool = new VmPool({ make: () => new LuaVm(parts), spares: 0 })
  const machines = new Machines(
    run,
    lastingMachines(() => new VmWorker("bench", pool)),
    pool.take()
  )
  const log = new TriggerLog(1_000)
  const runner = new TriggerRunner({
    machines,
    log,
    ports: {
      webhooks: { offer: () => true, lastRefusal: "" },
      emits: { publish() {} },
      lines: { offer: () => true },
      warming: { warmLater: () => null }
    },
    cascade: cascadeLimitsDefault,
    nowMs,
    monotonicMs: () => performance.now()
  })
  const keyspace = new Keyspace({
    maxEntries: 50_000,
    maxBytes: 1 << 30,
    clock: { nowMs },
    sink: runner,
    gate: runner,
    wake() {}
  })
  const registry = new TriggerRegistry(keyspace, machines, nowMs)
  const trigger = (input: Partial<TriggerInput> & Pick<TriggerInput, "source">): Trigger => {
    const made = registry.set({ name: `t${registry.size}`, pattern: "session:*", events: ["ON_WRITE"], ...input })
    if (made instanceof Trigger) return made
    throw made
  }
  return { keyspace, registry, log, trigger }
}
