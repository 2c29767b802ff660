/**
 * The triggers of all keyspaces: what they share, and what each has for itself.
 *
 * They share what a thread has one of: the run at hand, the memory of the machines and a few spares, a machine that
 * compiles and one for dry runs, the ports to what is outside, and counters. Everything else is a keyspace's own: its
 * triggers, the machines that they run in, its records and lines, and the budget of its operations. A budget could not
 * be shared: each keyspace settles by itself, and operations of two may overlap, as when one EXEC writes to several
 * tenants, or somebody who hears of one tenant's message writes to another's keys.
 *
 * This is what the keyspaces are given as their sink and gate; each word goes to the runner of the keyspace that it is
 * about. What a tenant has is made when it is first asked for: one without triggers costs nothing here.
 */
import type { EventBus, Tenant } from "../cache/index.ts"
import type { Entry, EventSink, Gate, KeyEvent, Keyspace, PendingWrite } from "../kernel/index.ts"
import { LuaVm, MachineMemory, type SandboxService } from "../sandbox/index.ts"
import type { GivenUp, GivenUpListener } from "../webhooks/index.ts"
import { Run } from "./CacheApi.ts"
import type { CascadeLimits } from "./Cascade.ts"
import { DryMachine } from "./DryRun.ts"
import type { TriggerLine, WarmPort, WebhookPort } from "./Effects.ts"
import { KeyspaceTriggers } from "./KeyspaceTriggers.ts"
import { LogCounters } from "./LogStreams.ts"
import { lastingMachines, type MachineSource, Machines, machineParts } from "./Machines.ts"
import { MachineYard } from "./MachineYard.ts"
import type { Intensity } from "./Quarantine.ts"
import type { TriggerEventName } from "./Trigger.ts"
import { TriggerNotFound } from "./TriggerError.ts"
import type { TriggerHistory } from "./TriggerRegistry.ts"
import { RunnerCounters, type TriggerRunner } from "./TriggerRunner.ts"
import { refOf, type SavedHistory, type TenantRef, type TriggersToSave } from "./TriggerStore.ts"

export interface EngineOptions {
  /** Names this start of the process in ids. */
  readonly origin: string
  /** What events of here have as `event.origin`: the name by which other instances know this one. Default: `origin`. */
  readonly instance?: string | undefined
  readonly cascade: CascadeLimits
  readonly intensity: Intensity
  readonly sandbox: SandboxService
  readonly webhooks: WebhookPort
  readonly bus: Pick<EventBus, "publish">
  /** Loads keys anew: the cache's fills. */
  readonly warming: WarmPort
  /** Takes the lines that triggers log, for the server's own log; false where there is nobody to write them. */
  readonly journal: (line: TriggerLine) => boolean
  readonly nowMs: () => number
  readonly monotonicMs: () => number
  /** Machines that tenants have lent to them at once. Default 64. */
  readonly machinesLentMax?: number
}

export class Engine implements EventSink, Gate, GivenUpListener, TriggersToSave {
  /** Of all keyspaces together. */
  readonly counters = new RunnerCounters()
  readonly logCounters = new LogCounters()
  readonly yard: MachineYard
  /** Who is told of triggers that were set, removed, enabled or disabled. */
  readonly listeners = new Set<(tenant: Tenant | null, name: string) => void>()
  private readonly run: Run
  private readonly checker: LuaVm
  private readonly dryMachine: DryMachine
  private readonly lasting: MachineSource
  private readonly byKeyspace = new Map<Keyspace, KeyspaceTriggers>()
  private main: KeyspaceTriggers | undefined
  private readonly byTenant = new Map<string, KeyspaceTriggers>()
  /** Of tenants that are gone. */
  private overwrittenBefore = 0
  /** Whom the last word was for: mostly the next one is for the same. */
  private lastKeyspace: Keyspace | null = null
  private lastRunner: TriggerRunner | null = null

  constructor(readonly options: EngineOptions) {
    const { origin, instance, sandbox, nowMs, machinesLentMax } = options
    this.run = new Run(origin, instance)
    this.dryMachine = new DryMachine(origin, instance)
    const memory = new MachineMemory()
    const parts = { ...machineParts(this.run, nowMs), shared: memory }
    const pool = sandbox.pool(() => new LuaVm(parts))
    this.checker = pool.take()
    const open = () => sandbox.open(pool, `triggers ${sandbox.workers().length + 1}`)
    this.yard = new MachineYard(open, memory, machinesLentMax)
    this.lasting = lastingMachines(open, () => this.yard.reclaim())
  }

  /** Those of the keyspace of everybody who is no tenant. */
  ofMain(keyspace: Keyspace): KeyspaceTriggers {
    this.main ??= this.open(keyspace, null)
    return this.main
  }

  /** Those of a tenant; of one that was removed, triggers that take nothing. */
  ofTenant(tenant: Tenant): KeyspaceTriggers {
    const known = this.byKeyspace.get(tenant.keyspace)
    if (known !== undefined) return known
    if (tenant.isOpen) return this.open(tenant.keyspace, tenant)
    const made = this.make(tenant.keyspace, tenant)
    made.registry.close()
    return made
  }

  /** What a tenant's triggers are called. */
  namesOf({ id }: Tenant): string[] {
    return Array.from(this.byTenant.get(id)?.registry.all() ?? [], ({ name }) => name)
  }

  /** Removes all that a tenant has here. */
  closeTenant({ keyspace }: Tenant): void {
    const triggers = this.byKeyspace.get(keyspace)
    if (triggers !== undefined) this.close(triggers)
  }

  /** Every keyspace that somebody has asked for triggers of. */
  all(): Iterable<KeyspaceTriggers> {
    return this.byKeyspace.values()
  }

  /** Records of all keyspaces that newer ones have pushed out. */
  get recordsOverwritten(): number {
    let count = this.overwrittenBefore
    for (const { records } of this.byKeyspace.values()) count += records.overwritten
    return count
  }

  onEvent(event: KeyEvent, keyspace: Keyspace): void {
    this.runnerOf(keyspace)?.onEvent(event, keyspace)
  }

  onSettled(keyspace: Keyspace): void {
    this.runnerOf(keyspace)?.onSettled(keyspace)
  }

  beforeWrite(write: PendingWrite, keyspace: Keyspace): string | null {
    return this.runnerOf(keyspace)?.beforeWrite(write, keyspace) ?? null
  }

  beforeDelete(entry: Entry, keyspace: Keyspace): string | null {
    return this.runnerOf(keyspace)?.beforeDelete(entry, keyspace) ?? null
  }

  /** Into the records of whose trigger it was; of a tenant that is gone there are none. */
  onGivenUp({ delivery, destination, reason }: GivenUp): void {
    const { id, tenant, trigger, event, sequence, key, attempt } = delivery
    const attempts = attempt === 1 ? "1 attempt" : `${attempt} attempts`
    this.find(tenant ?? null)?.records.append({
      atMs: this.options.nowMs(),
      trigger,
      event: event as TriggerEventName, // as it was handed over
      sequence,
      key,
      kind: "failed:webhook",
      message: `given up after ${attempts} at ${destination}: ${reason} (webhook ${id})`,
      count: 1
    })
  }

  history(tenant: TenantRef | null, name: string): TriggerHistory | null {
    const history = this.find(tenant)?.registry.history(name)
    return history === undefined || history instanceof TriggerNotFound ? null : history
  }

  histories(): SavedHistory[] {
    const all: SavedHistory[] = []
    for (const { tenant, isSaved, registry } of this.byKeyspace.values()) {
      if (isSaved)
        for (const history of registry.histories())
          all.push({ tenant: tenant === null ? null : refOf(tenant), history })
    }
    return all
  }

  private runnerOf(keyspace: Keyspace): TriggerRunner | null {
    if (keyspace !== this.lastKeyspace) {
      this.lastKeyspace = keyspace
      this.lastRunner = this.byKeyspace.get(keyspace)?.runner ?? null
    }
    return this.lastRunner
  }

  private find(tenant: TenantRef | null): KeyspaceTriggers | undefined {
    if (tenant === null) return this.main
    const triggers = this.byTenant.get(tenant.id)
    return triggers?.tenant?.createdAtMs === tenant.createdAtMs ? triggers : undefined
  }

  private open(keyspace: Keyspace, tenant: Tenant | null): KeyspaceTriggers {
    const made = this.make(keyspace, tenant)
    this.byKeyspace.set(keyspace, made)
    if (tenant !== null) this.byTenant.set(tenant.id, made)
    this.lastKeyspace = null
    return made
  }

  private make(keyspace: Keyspace, tenant: Tenant | null): KeyspaceTriggers {
    const { run, checker, dryMachine, counters, logCounters, options } = this
    if (tenant !== null) for (const each of [run, dryMachine.run]) each.name(keyspace, tenant.id)
    const machines = new Machines(run, tenant === null ? this.lasting : this.yard, checker)
    return new KeyspaceTriggers(keyspace, tenant, machines, { ...options, dryMachine, counters, logCounters })
  }

  private close(triggers: KeyspaceTriggers): void {
    const { keyspace, tenant, registry, machines, records } = triggers
    registry.close()
    for (const machine of machines.inUse()) this.yard.giveBack(machine)
    this.overwrittenBefore += records.overwritten
    this.byKeyspace.delete(keyspace)
    if (tenant !== null && this.byTenant.get(tenant.id) === triggers) this.byTenant.delete(tenant.id)
    this.lastKeyspace = null
  }
}
