/**
 * What was written here stays when copies are forgotten; but if records of others were lost, one of these may have been
 * about such a key. So others are asked by hash (QUERY) what the highest write is that they know of (STAMPS), and an
 * entry of lower (version, writer) goes.
 *
 * Whom: of moved buckets their origin; after an epoch every member; a joiner that has written since it had a baseline
 * asks every member; and who was taken for dead by mistake is asked when it is back. Where the writes of the one who is
 * asked may be among the lost, its floor counts too: up to which version it may have forgotten what it wrote itself.
 * One chunk of hashes at a time is under way. Instead of one that has ended, before or since, all others are asked: they
 * have seen some of what it wrote.
 *
 * While something is pending the instance is not coherent, acknowledges nothing and answers `busy` to FETCH: its own
 * entries may be old although its marks say that it has seen everything.
 *
 * Bounds: two tasks a member, and no task longer than twice the number of own entries at that time.
 */
import type { Query, Stamps } from "./Frame.ts"
import type { Host } from "./Host.ts"
import type { Member } from "./Members.ts"

interface Task {
  readonly whom: number
  readonly hasFloor: boolean
  /** Shared with the tasks for other members where these are asked for the same. */
  hashes: readonly number[]
  /** How many of them have been answered. */
  done: number
  /** The hashes that the frame under way asks for. */
  asked: readonly number[]
  id: number
  dueMs: number
}

export class OwnEntries {
  /** By member; where its floor does not count, by its negated number. */
  private readonly tasks = new Map<number, Task>()
  private lastId = 0

  constructor(
    private readonly host: Host,
    /** A member has answered all that it was asked, its own writes included. */
    private readonly onVerified: (origin: number) => void
  ) {}

  get isPending(): boolean {
    return this.tasks.size > 0
  }

  nextMs(): number {
    let nextMs = Number.POSITIVE_INFINITY
    for (const task of this.tasks.values()) nextMs = Math.min(nextMs, task.dueMs)
    return nextMs
  }

  /**
   * Asks a member about what was written here; `hasFloor` when its own writes are among those that are lost. `hashes` is
   * kept, and not to be changed any more.
   */
  ask(whom: number, hashes: readonly number[], hasFloor: boolean): void {
    if (hashes.length === 0) return
    if (!this.host.members.live.has(whom)) {
      this.askAll(hashes)
      return
    }
    const key = hasFloor ? whom : -whom
    const task = this.tasks.get(key)
    if (task === undefined) {
      this.tasks.set(key, { whom, hasFloor, hashes, done: 0, asked: [], id: 0, dueMs: this.host.nowMs })
      return
    }
    const rest = task.hashes.slice(task.done)
    task.hashes = rest.concat(hashes)
    if (task.hashes.length > 2 * hashes.length) task.hashes = [...new Set(task.hashes)]
    task.done = 0
    // An answer that is under way may have been given before the loss was known of: it is asked again.
    task.asked = []
    task.dueMs = this.host.nowMs
  }

  /** Asks every member, also of what was lost of somebody else: their floors do not count. */
  askAll(hashes: readonly number[]): void {
    for (const origin of this.host.members.live.keys()) this.ask(origin, hashes, false)
  }

  due(): void {
    for (const task of this.tasks.values()) if (task.dueMs <= this.host.nowMs) this.send(task)
  }

  private send(task: Task): void {
    const { host } = this
    if (task.asked.length === 0) {
      task.asked = task.hashes.slice(task.done, task.done + host.parameters.pullRecordsMax)
      this.lastId = (this.lastId + 1) % 2 ** 32
      task.id = this.lastId
    }
    host.stats.queriesOut++
    const isSuspect = host.members.find(task.whom)?.isSuspect === true
    task.dueMs = host.nowMs + (isSuspect ? host.parameters.heartbeatMs : host.parameters.pullRetryMs)
    const of = task.hasFloor ? task.whom : host.origin
    host.post(task.whom, { type: "query", id: task.id, of, hashes: task.asked })
  }

  onQuery(frame: Query): void {
    const { host } = this
    const answers = []
    for (const hash of frame.hashes) {
      const newest = host.store.newest(hash)
      if (newest !== undefined) answers.push({ hash, ...newest })
    }
    host.post(frame.author, { type: "stamps", id: frame.id, answers, floor: host.store.floorOf(frame.of) })
  }

  onStamps(frame: Stamps): void {
    const { host } = this
    const task = this.taskOf(frame)
    if (task === undefined) {
      host.stats.late++
      return
    }
    const { asked } = task
    task.done += asked.length
    task.asked = []
    task.dueMs = host.nowMs
    const isDone = task.done >= task.hashes.length
    if (isDone) this.tasks.delete(task.hasFloor ? task.whom : -task.whom)
    for (const { hash, version, author } of frame.answers) {
      host.heardVersion(version)
      // Also where it is this instance's own: lower ones are of other keys with the same hash, and what is known of the
      // highest alone may hide that somebody has overwritten them.
      host.store.outvote(hash, version, author)
    }
    if (!task.hasFloor) return
    if (frame.floor > 0) {
      host.heardVersion(frame.floor)
      for (const hash of asked) host.store.outvote(hash, frame.floor, frame.author)
    }
    if (isDone) this.onVerified(task.whom)
  }

  private taskOf(frame: Stamps): Task | undefined {
    for (const key of [frame.author, -frame.author]) {
      const task = this.tasks.get(key)
      if (task?.id === frame.id && task.asked.length > 0) return task
    }
    return undefined
  }

  /** A member has ended: nobody waits for its answers, and all others are asked. */
  memberEnded(member: Member): void {
    for (const key of [member.origin, -member.origin]) {
      const task = this.tasks.get(key)
      if (task === undefined) continue
      this.tasks.delete(key)
      if (task.hasFloor) this.askAll(task.hashes.slice(task.done)) // else the others are being asked already
    }
  }
}
