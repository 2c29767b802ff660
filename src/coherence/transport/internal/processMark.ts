/**
 * What tells one process of a machine from all others of all machines, so that a neighbour can see that it has ended.
 *
 * Over a broker silence means nothing: a process that cannot be heard may still be writing. Within one PID namespace of
 * Linux it can be known: no process with that id, or one that was started at another time. Elsewhere there is no mark.
 */
import { createHash } from "node:crypto"
import { readFileSync, readlinkSync } from "node:fs"

export interface ProcessMark {
  /** Of boot and PID namespace: two processes with the same one see each other. 16 hexadecimal digits. */
  readonly space: string
  readonly pid: number
  /** When it was started, in ticks since boot. */
  readonly startTicks: number
}

/** That of this process; undefined where the system does not tell. */
export const processMark = (): ProcessMark | undefined => {
  try {
    const bootId = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim()
    const namespace = readlinkSync("/proc/self/ns/pid")
    // Neither is anybody else's business; what they have in common is.
    const space = createHash("sha256").update(`${bootId} ${namespace}`).digest("hex").slice(0, 16)
    return { space, pid: process.pid, startTicks: startTicksOf(process.pid) }
  } catch {
    return undefined
  }
}

/** True when that process is known to have ended: `own` is in the same space, and does not see it any more. */
export const hasEnded = (mark: ProcessMark, own: ProcessMark | undefined): boolean => {
  if (own === undefined || own.space !== mark.space) return false
  try {
    process.kill(mark.pid, 0) // sends nothing
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH" // EPERM: it is there, and another user's
  }
  try {
    return startTicksOf(mark.pid) !== mark.startTicks
  } catch {
    return false // it may be hidden from us
  }
}

/** Field 22 of /proc/pid/stat; the name before it is in brackets and may hold anything. [1] proc(5) */
const startTicksOf = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19])
}
