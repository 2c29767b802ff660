/**
 * One owner for a directory: a lock file that names the process which holds it.
 *
 * The file appears with its content, by link(2) from a file of our own, so nobody reads half of it. A lock whose
 * process is gone, after a crash or a power cut, is taken over. Process ids are reused, in containers at once (the
 * server is often process 1 in each), so the file carries the process' start time too, where the system tells it.
 *
 * Two starts may find the same dead lock: each renames it away and looks at what it got. Whoever finds a live lock in
 * its hands, because the other was faster, puts it back and is refused.
 *
 * Not seen: an owner on another machine or in another pid namespace that shares the directory.
 */
import { randomUUID } from "node:crypto"
import * as fs from "node:fs/promises"
import { join } from "node:path"
import { Effect, type Scope } from "effect"
import { DataDirectoryLocked, StorageIo } from "../StorageError.ts"

interface Owner {
  readonly pid: number
  /** Clock ticks from boot to the start of the process; empty where the system does not tell. */
  readonly started: string
}

/** Holds the lock until the scope closes. `directory` exists. */
export const hold = (directory: string): Effect.Effect<void, DataDirectoryLocked | StorageIo, Scope.Scope> => {
  const lock = join(directory, lockName)
  const acquire = Effect.tryPromise({
    try: () => take(directory, lock),
    catch: (cause) => (cause instanceof DataDirectoryLocked ? cause : io("locking", directory, cause))
  })
  const release = Effect.promise(() => fs.rm(lock, { force: true }))
  return Effect.acquireRelease(acquire, () => release)
}

export const lockName = "lock"

const take = async (directory: string, lock: string): Promise<void> => {
  const own = join(directory, `${lockName}.${randomUUID()}`)
  await fs.writeFile(own, JSON.stringify({ pid: process.pid, started: await startOf(process.pid) } satisfies Owner))
  try {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      if (await linked(own, lock)) return
      const found = await read(lock)
      if (found === undefined) continue // released meanwhile
      if (await isAlive(found)) throw new DataDirectoryLocked({ directory, pid: found.pid })
      await removeIfDead(lock, `${own}.dead`)
    }
    throw new Error(`the lock changed hands ${attemptsMax} times while it was asked for`)
  } finally {
    await fs.rm(own, { force: true })
  }
}

const attemptsMax = 100 // far more than starts that could meet here

/** Takes the lock away under the name `aside`; puts it back if it is a live one by now. */
export const removeIfDead = async (lock: string, aside: string): Promise<void> => {
  try {
    await fs.rename(lock, aside)
  } catch (error) {
    if (isCode(error, "ENOENT")) return
    throw error
  }
  const moved = await read(aside)
  if (moved !== undefined && (await isAlive(moved))) await linked(aside, lock)
  await fs.rm(aside, { force: true })
}

const linked = async (from: string, to: string): Promise<boolean> => {
  try {
    await fs.link(from, to)
    return true
  } catch (error) {
    if (isCode(error, "EEXIST")) return false
    throw error
  }
}

/** The owner that a lock file names, or undefined when there is no such file. What names nobody is held by nobody. */
const read = async (path: string): Promise<Owner | undefined> => {
  let text: string
  try {
    text = await fs.readFile(path, "utf8")
  } catch (error) {
    if (isCode(error, "ENOENT")) return undefined
    throw error
  }
  try {
    const { pid, started } = JSON.parse(text) as Partial<Owner>
    return { pid: Number.isSafeInteger(pid) ? (pid as number) : 0, started: String(started ?? "") }
  } catch {
    return { pid: 0, started: "" }
  }
}

const isAlive = async ({ pid, started }: Owner): Promise<boolean> => {
  if (pid <= 0) return false
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (isCode(error, "ESRCH")) return false // EPERM: alive, and somebody else's
  }
  const now = await startOf(pid)
  return started === "" || now === "" || started === now
}

/** Field 22 of proc(5)'s stat; the name before it may itself hold spaces and parentheses. */
const startOf = async (pid: number): Promise<string> => {
  try {
    const stat = await fs.readFile(`/proc/${pid}/stat`, "latin1")
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? ""
  } catch {
    return ""
  }
}

const isCode = (error: unknown, code: string): boolean => (error as NodeJS.ErrnoException).code === code

const io = (operation: string, path: string, cause: unknown) => new StorageIo({ operation, path, cause })
