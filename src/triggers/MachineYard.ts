/**
 * The machines of tenants: a few, lent to whose triggers fire.
 *
 * A thousand tenants of which fifty are busy need fifty machines. So no more than `machinesMax` are lent at once; when
 * one more is wanted, one that has run nothing for a while is parked: what ran in it loses its globals, as after a
 * kill, and its programs are compiled into another machine when they next fire, on the fuel of that operation. Nothing
 * of one tenant is left for the next, who gets a machine that is as good as new; what goes from hand to hand is the
 * process that looks after it.
 *
 * Which one to park is found as a clock finds a page [1]: one bit a machine, set by a run, cleared by the hand that
 * goes round. A list in the order of use would cost every run more than that one bit.
 *
 * [1] Corbató, A Paging Experiment with the Multics System, 1968
 */
import type { MachineMemory, VmWorker } from "../sandbox/index.ts"
import { Machine, type MachineSource } from "./Machines.ts"

const machinesLentMax = 64 // machines of all tenants together; some 25 MB where their triggers keep little
const machinesOfOneMax = 8 // machines a tenant; a thousand triggers, should all of them fire

export class MachineYard implements MachineSource {
  readonly machinesMax = machinesOfOneMax
  readonly isAhead = false
  /** Machines that were parked for others. */
  parked = 0
  private readonly lent: Machine[] = []
  private hand = 0
  /** Those that look after a machine, and have none at the moment. */
  private readonly idle: VmWorker[] = []

  constructor(
    private readonly openWorker: () => VmWorker,
    private readonly memory: MachineMemory,
    private readonly lentMax = machinesLentMax
  ) {}

  /** Machines that are lent. */
  get size(): number {
    return this.lent.length
  }

  open(): Machine {
    const machine = new Machine(this.worker())
    this.lent.push(machine)
    return machine
  }

  /** Parks machines until there is memory again, or none is lent. */
  reclaim(): void {
    while (this.memory.isSpent && this.lent.length > 0) this.takeBack(this.parkOne())
  }

  /** Takes a machine back whose triggers are gone. */
  giveBack(machine: Machine): void {
    const at = this.lent.indexOf(machine)
    if (at === -1) return
    this.lent.splice(at, 1)
    this.takeBack(machine.park())
  }

  private worker(): VmWorker {
    const worker = this.idle.pop() ?? (this.lent.length < this.lentMax ? null : this.parkOne())
    if (worker === null) return this.openWorker()
    worker.renew()
    return worker
  }

  private takeBack(worker: VmWorker | null): void {
    if (worker === null) return
    worker.empty()
    this.idle.push(worker)
  }

  /** Ends within two rounds: the first clears all bits. */
  private parkOne(): VmWorker | null {
    for (;;) {
      this.hand %= this.lent.length
      const machine = this.lent[this.hand] as Machine
      if (!machine.wasUsed) {
        this.lent.splice(this.hand, 1)
        this.parked++
        return machine.park()
      }
      machine.wasUsed = false
      this.hand++
    }
  }
}
