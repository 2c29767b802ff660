/**
 * One machine that a process looks after: the synchronous port that hot paths use, and what its process does to it.
 *
 * A machine that had to be killed has rewound itself before `run` returned, so the port stays open: the next event,
 * which may come in the same turn, finds it well. The kill is a crash all the same. The process learns of it, exits with
 * it, and its supervisor restarts and counts it; the restart replaces a machine that a rewind cannot make young again.
 * The port answers null when no machine could be made (there is no memory for one); then its process ends after a
 * while, and the restart tries again.
 */
import type { LuaVm } from "./LuaVm.ts"
import type { VmPool } from "./VmPool.ts"

export class VmWorker {
  /** The machine, or null while there is none: what would have run is to be recorded as skipped. */
  vm: LuaVm | null
  /** Moves when `vm` is another machine than before: programs have to be defined anew. */
  epoch = 1
  /** Runs that had to be killed. */
  kills = 0
  /** Machines that were replaced by a spare. */
  replacements = 0
  /** Why the last kill happened, for the crash report. */
  lastKill = ""
  private listener: ((reason: string) => void) | null = null

  constructor(
    readonly id: string,
    private readonly pool: VmPool
  ) {
    this.vm = this.take()
  }

  /** Told by whoever ran the machine that it had to be killed. */
  reportKill(reason: string): void {
    this.kills++
    this.lastKill = reason
    this.listener?.(reason)
  }

  /** Makes the machine ready for a process that starts to look after it, which hears of kills from now on. */
  adopt(onKill: (reason: string) => void): void {
    this.listener = onKill
    if (this.vm === null || this.vm.isWorn) this.replace()
  }

  /** Makes the machine as good as new, or takes another: nothing of what was in it is left. */
  renew(): void {
    this.vm?.reset()
    if (this.vm?.isWorn === true) this.empty()
    this.vm ??= this.take()
    this.epoch++
  }

  /** Gives the machine up; `renew`, or a process that starts, takes another. */
  empty(): void {
    this.vm?.release()
    this.vm = null
    this.epoch++
  }

  private replace(): void {
    this.vm?.release()
    this.vm = this.take()
    if (this.vm === null) return
    this.epoch++
    this.replacements++
  }

  private take(): LuaVm | null {
    try {
      return this.pool.take()
    } catch (error) {
      if (error instanceof RangeError) return null // WebAssembly's answer when there is no memory
      throw error
    }
  }
}
