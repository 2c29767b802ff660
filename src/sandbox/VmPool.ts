/**
 * A few machines made in advance, so that replacing a worn one costs nothing where it happens.
 *
 * Making one takes about a millisecond, so it is not done by whoever takes: `take` asks its owner, once, for a `refill`
 * at a quieter moment, and the owner decides when that is.
 */
import type { LuaVm } from "./LuaVm.ts"

export interface VmPoolOptions {
  readonly make: () => LuaVm
  /** How many to keep. Default 2. */
  readonly spares?: number
  /** Called when a machine is missing; the owner schedules `refill`. Not called again before that has run. */
  readonly onMissing?: () => void
}

export class VmPool {
  /** Machines taken so far, and those of them that had to be made on the spot. */
  taken = 0
  madeLate = 0
  private readonly spares: Array<LuaVm> = []
  private readonly options: VmPoolOptions
  private readonly size: number
  private hasAsked = false

  constructor(options: VmPoolOptions) {
    this.options = options
    this.size = options.spares ?? 2
  }

  /** How many spares stand ready. */
  get ready(): number {
    return this.spares.length
  }

  /** A machine without programs; the caller's own from now on. Made on the spot when none is left. */
  take(): LuaVm {
    this.taken++
    const spare = this.spares.pop()
    if (spare === undefined) this.madeLate++
    if (!this.hasAsked && this.spares.length < this.size) {
      this.hasAsked = true
      this.options.onMissing?.()
    }
    return spare ?? this.options.make()
  }

  /** Makes at most `limit` machines. True when none is missing any more. */
  refill(limit = this.size): boolean {
    this.hasAsked = false
    for (let made = 0; made < limit && this.spares.length < this.size; made++) this.spares.push(this.options.make())
    return this.spares.length >= this.size
  }
}
