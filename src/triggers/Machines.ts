/**
 * Which Lua machine runs which trigger.
 *
 * A trigger is compiled into a machine when it first fires, not when it is registered: ten thousand registered triggers
 * of which ten fire cost one small machine, whose snapshot stays small, so that bringing it back after a kill stays a
 * matter of microseconds. For the same reason a machine takes no more than `programsMax` programs, and fewer when they
 * are large. When a machine has been replaced (its epoch has moved), programs are loaded into the new one as
 * they fire.
 *
 * Each keyspace has machines of its own, so what one tenant's triggers do to theirs is nobody else's matter. Where they
 * come from is a `MachineSource`: those of the main keyspace stay, those of tenants are lent (MachineYard.ts).
 */
import { toBytes } from "../cache/index.ts"
import type { Definition, LuaVm, VmOptions, VmWorker } from "../sandbox/index.ts"
import { makeCacheApi, type Run } from "./CacheApi.ts"
import { compileFuelMin, compileFuelPerByte } from "./Cascade.ts"
import { eventFields } from "./EventFields.ts"
import type { Trigger } from "./Trigger.ts"
import { TriggerSyntaxError } from "./TriggerError.ts"

const programsMax = 128 // programs a machine; 1.5 KB each leave its snapshot near that of an empty one
const programBytesMax = 1 << 20 // bytes of a machine's 4 MiB, beyond which it takes no more: the rest is for their runs
const machinesMax = 1024 // machines; what 100,000 small triggers need, should all of them fire, and some to spare

/** In the place of a run's status: there was no machine to run it on. */
export const notRun = -1

/** What the machines of this room are made with: the event's fields, and `cache` under both of its names. */
export const machineParts = (run: Run, epochMs: () => number): VmOptions => {
  const api = makeCacheApi(run)
  return {
    fields: eventFields,
    hostTables: { cache: api, cachee: api },
    print: (line) => run.print(line),
    clock: { epochMs, elapsedMs: () => performance.now() }
  }
}

/** Where the triggers of a keyspace get their machines. */
export interface MachineSource {
  /** Machines that they may have at once. */
  readonly machinesMax: number
  /** The first is made when the first trigger is registered, so that no event waits for it. */
  readonly isAhead: boolean
  open(): Machine
  /** Has memory given back that is held by machines which can be spared. */
  reclaim(): void
}

/** Machines that stay with whom they were opened for. */
export const lastingMachines = (open: () => VmWorker, reclaim: () => void = () => {}): MachineSource => ({
  machinesMax,
  isAhead: true,
  open: () => new Machine(open()),
  reclaim
})

/** A machine with its programs; `vm` is null while its process is gone for good, and once it is parked. */
export class Machine {
  programs = 0
  /** Something has run in it since somebody looked for one to be parked. */
  wasUsed = true
  /** It has refused a program that an empty machine takes; until one goes it is offered no more. */
  private hasRefused = false

  constructor(private worker: VmWorker | null) {}

  get vm(): LuaVm | null {
    return this.worker === null ? null : this.worker.vm
  }

  get isParked(): boolean {
    return this.worker === null
  }

  get hasRoom(): boolean {
    if (this.isParked || this.vm?.shared.isSpent === true) return false
    return this.programs < programsMax && !this.hasRefused && (this.vm?.bytesUsed ?? 0) < programBytesMax
  }

  /** Whether the trigger's program is in this machine as it is now. */
  holds(trigger: Trigger): boolean {
    return trigger.machine === this && trigger.machineEpoch === this.worker?.epoch
  }

  /** Compiles the trigger into this machine; what Lua says where that fails. */
  load(vm: LuaVm, trigger: Trigger): string | null {
    const definition: Definition = vm.define(trigger.name, toBytes(trigger.definition.source))
    if (!definition.ok) {
      this.hasRefused = this.programs > 0
      return definition.error.message
    }
    trigger.machine = this
    trigger.machineEpoch = (this.worker as VmWorker).epoch
    trigger.program = definition.program
    return null
  }

  unload(trigger: Trigger): void {
    this.programs--
    this.hasRefused = false
    if (this.holds(trigger)) this.vm?.remove(trigger.program)
    trigger.machine = null
  }

  /** `trigger` as operators know it. */
  reportKill(trigger: string): void {
    this.worker?.reportKill(`${trigger} did not stop`)
  }

  /** Gives up what runs it, which is somebody else's from then on. It holds no program any more, and never will. */
  park(): VmWorker | null {
    const { worker } = this
    this.worker = null
    return worker
  }
}

export class Machines {
  /** Fuel of all that was compiled to be run: whoever runs it pays for it. */
  compileFuel = 0
  private machines: Machine[] = []

  constructor(
    /** The run that goes on in any of them: one at a time, since they share a thread. */
    readonly run: Run,
    private readonly source: MachineSource,
    /** A machine that compiles and never runs; one may serve all keyspaces. */
    private readonly checker: LuaVm
  ) {}

  get size(): number {
    return this.inUse().length
  }

  /** Compiles a source for its errors alone, and finds the event's fields that it reads. */
  check(name: string, source: string): TriggerSyntaxError | readonly number[] {
    const definition = this.checker.define(name, toBytes(source))
    if (!definition.ok) {
      const { line, column, message } = definition.error
      return new TriggerSyntaxError({ trigger: name, line, column, reason: message })
    }
    this.checker.remove(definition.program)
    return definition.analysis.fields.map((field) => eventFields.indexOf(field))
  }

  /** Has the first machine made now, so that the first event does not wait for it. */
  prepare(): void {
    if (this.source.isAhead && this.machines.length === 0) this.withRoom()
  }

  /** Those that are not parked. */
  inUse(): Machine[] {
    return this.machines.filter(({ isParked }) => !isParked)
  }

  /** The machine that runs the trigger, its program loaded; when there is none, null or what went wrong. */
  of(trigger: Trigger): Machine | string | null {
    const machine = trigger.machine
    if (machine?.holds(trigger)) return machine
    if (machine === null || machine.isParked) return this.place(trigger)
    const loaded = this.load(trigger, machine)
    if (typeof loaded !== "string") return loaded
    machine.unload(trigger) // others came back first, and left it no room
    return this.place(trigger)
  }

  forget(trigger: Trigger): void {
    trigger.machine?.unload(trigger)
  }

  /** Loads a trigger that is in no machine; where the memory of one is full, into the next. */
  private place(trigger: Trigger): Machine | string | null {
    for (;;) {
      const target = this.withRoom()
      if (target === null) return this.whyFull()
      const loaded = this.load(trigger, target)
      if (loaded === target) target.programs++
      if (typeof loaded !== "string" || target.programs === 0) return loaded
    }
  }

  private load(trigger: Trigger, machine: Machine): Machine | string | null {
    const { vm } = machine
    if (vm === null) return null
    this.compileFuel += compileFuelMin + trigger.definition.source.length * compileFuelPerByte
    return machine.load(vm, trigger) ?? machine
  }

  private whyFull(): string {
    const { isSpent, bytesMax } = this.checker.shared
    return isSpent
      ? `all machines together hold the ${bytesMax} bytes that they may; remove a trigger, or give triggers less MEMORY`
      : `${this.source.machinesMax} machines are full, which is the limit; remove a trigger`
  }

  private withRoom(): Machine | null {
    const { shared } = this.checker
    if (shared.isSpent) this.source.reclaim()
    const roomy = this.machines.find(({ hasRoom }) => hasRoom)
    if (roomy !== undefined) return roomy
    if (shared.isSpent) return null
    this.machines = this.inUse()
    if (this.machines.length >= this.source.machinesMax) return null
    const machine = this.source.open()
    this.machines.push(machine)
    return machine
  }
}
