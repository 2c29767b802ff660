/** Programs that share a namespace, each a process of its own (coherentProgram.mjs), as a test steers them. */
import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { CoherenceStatus, Input, Settings } from "../../src/promise.ts"
import { endWithUs } from "../servers/Binary.ts"

const file = fileURLToPath(new URL("coherentProgram.mjs", import.meta.url))

/** What settings of a program are as JSON, with what its name server would answer. */
export interface ProgramSettings extends Settings {
  readonly names?: Readonly<Record<string, readonly string[]>>
}

/** It was asked for something, and ended before it had answered. */
export class ProgramEnded extends Error {}

export interface AllRead {
  readonly values: Readonly<Record<string, string | undefined>>
  /** Values that were not there before they were read, and how many characters they have together. */
  readonly fetched: number
  readonly fetchedLength: number
}

type Options = { readonly ackMode?: "async" | "one" | "live"; readonly ttl?: number; readonly tags?: readonly string[] }

export interface CoherentProgram {
  readonly pid: number
  /** Rejects with the tag of the error that it got, as a message. */
  readonly set: (key: string, value: Input, options?: Options) => Promise<void>
  readonly get: (key: string) => Promise<unknown>
  readonly peek: (key: string) => Promise<unknown>
  readonly del: (key: string, options?: Options) => Promise<boolean>
  readonly invalidateTags: (tags: readonly string[], options?: Options) => Promise<void>
  readonly untilMembers: (count: number) => Promise<void>
  readonly acknowledged: (mode: "one" | "live") => Promise<{ readonly acked: number; readonly missing: string[] }>
  readonly status: () => Promise<CoherenceStatus>
  readonly setAll: (entries: ReadonlyArray<readonly [string, string]>) => Promise<void>
  readonly getAll: (keys: readonly string[]) => Promise<AllRead>
  readonly signal: (signal: NodeJS.Signals) => void
  /** SIGTERM, or another signal, to a process that may have been stopped; over when it has ended. */
  readonly end: (signal?: NodeJS.Signals) => Promise<void>
}

/** Starts one; over when it has joined. Rejects with its words when it cannot. */
export const startProgram = async (settings: ProgramSettings): Promise<CoherentProgram> => {
  const child = fork(file, [JSON.stringify(settings)], { execArgv: [], silent: true })
  endWithUs(child)
  let said = ""
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (piece) => (said += piece))
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  const ended = new Promise<void>((resolve) => void child.once("close", () => resolve()))
  const ready = new Promise<void>((resolve, reject) => {
    child.once("message", (message: { ready: boolean; error?: string }) => {
      if (message.ready) resolve()
      else reject(new Error(message.error))
    })
    void ended.then(() => reject(new ProgramEnded(`it ended before it was ready: ${said}`)))
  })
  child.on("message", ({ id, value, error }: { id?: number; value?: unknown; error?: string }) => {
    const asker = id === undefined ? undefined : waiting.get(id)
    if (id === undefined || asker === undefined) return
    waiting.delete(id)
    if (error === undefined) asker.resolve(value)
    else asker.reject(new Error(error))
  })
  void ended.then(() => {
    for (const { reject } of waiting.values()) reject(new ProgramEnded(`it ended: ${said}`))
    waiting.clear()
  })
  let lastId = 0
  let hasEnded = false
  void ended.then(() => (hasEnded = true))
  const ask = <A>(what: string, rest: object = {}): Promise<A> =>
    new Promise((resolve, reject) => {
      const id = ++lastId
      if (hasEnded || !child.connected) return reject(new ProgramEnded("it has ended"))
      waiting.set(id, { resolve: resolve as (value: unknown) => void, reject })
      child.send({ id, what, ...rest }, (error) => {
        if (error !== null && waiting.delete(id)) reject(new ProgramEnded(error.message))
      })
    })
  await ready
  return {
    pid: child.pid as number,
    set: (key, value, options) => ask("set", { key, value, options }),
    get: (key) => ask("get", { key }),
    peek: (key) => ask("peek", { key }),
    del: (key, options) => ask("del", { key, options }),
    invalidateTags: (tags, options) => ask("invalidateTags", { tags, options }),
    untilMembers: (count) => ask("untilMembers", { count }),
    acknowledged: (mode) => ask("acknowledged", { mode }),
    status: () => ask("status"),
    setAll: (entries) => ask("setAll", { entries }),
    getAll: (keys) => ask("getAll", { keys }),
    signal: (signal) => void child.kill(signal),
    end: (signal = "SIGTERM") => {
      child.kill(signal)
      if (signal !== "SIGKILL") child.kill("SIGCONT")
      return ended
    }
  }
}
