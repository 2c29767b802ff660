/**
 * What several machines hold together, so that a thousand of them, each within its own limit, do not take the process.
 *
 * A machine counts what its heap has ever reached, since a process does not get such pages back before the machine goes,
 * and the copy that it rewinds to. Who opens machines and loads programs asks `isSpent` first. A machine that exists
 * goes on when it is spent, on a ration (see LuaVm): within what it has reached already, and at least `rationBytes`; and
 * it throws its scratch globals away instead of keeping them. One run at a time can pass the limit, by what it may take.
 */
export class MachineMemory {
  /** Bytes that the machines hold now. */
  held = 0
  /** Runs that had less than their own limit because of it. */
  rationed = 0

  constructor(
    /** Default 512 MiB: 100,000 small triggers that all have fired are in 800 machines, which hold 380 MB. */
    readonly bytesMax: number = 512 << 20
  ) {}

  get isSpent(): boolean {
    return this.held >= this.bytesMax
  }
}

/** What a run may take at least, where its own limit is not lower: as much as one of which nothing is said. */
export const rationBytes = 64 << 10
