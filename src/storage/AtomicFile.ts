/**
 * A file that always reads as one whole version: the old one or the new one, whenever the process or the machine dies.
 *
 * The new content is written beside it and synced, then renamed over it; the directory is synced so that the rename
 * itself survives [1]. A success of `replace` means that the new version is on disk. The temporary file has one fixed
 * name, which works because the data directory has one owner and replacements take turns; what a crash left of it is
 * removed at open.
 *
 * [1] POSIX rename(2) is atomic for those who look; only fsync(2) of file and directory makes it durable.
 */
import * as fs from "node:fs/promises"
import { dirname } from "node:path"
import { Effect } from "effect"
import { syncDirectory, writeSynced } from "./internal/files.ts"
import { StorageIo } from "./StorageError.ts"

export interface AtomicFile {
  readonly path: string
  /** The whole content, or undefined when the file was never written. */
  readonly read: Effect.Effect<Uint8Array | undefined, StorageIo>
  /** Puts `content` in the place of what was there. Replacements run one after the other, in the order asked for. */
  readonly replace: (content: Uint8Array) => Effect.Effect<void, StorageIo>
}

/** `path` lies in a directory that exists and that nobody else writes to. */
export const open = (path: string): Effect.Effect<AtomicFile, StorageIo> =>
  Effect.gen(function* () {
    const temporary = `${path}.tmp`
    const turn = yield* Effect.makeSemaphore(1)
    yield* attempt("removing", temporary, () => fs.rm(temporary, { force: true }))
    return {
      path,
      read: attempt("reading", path, () => readIfPresent(path)),
      replace: (content) =>
        attempt("replacing", path, async () => {
          await writeSynced(temporary, content)
          await fs.rename(temporary, path)
          await syncDirectory(dirname(path))
        }).pipe(Effect.uninterruptible, turn.withPermits(1)) // a promise runs on when interrupted: hold the turn until it ends
    }
  })

const readIfPresent = async (path: string): Promise<Uint8Array | undefined> => {
  try {
    return await fs.readFile(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined
    throw error
  }
}

const attempt = <A>(operation: string, path: string, run: () => Promise<A>): Effect.Effect<A, StorageIo> =>
  Effect.tryPromise({ try: run, catch: (cause) => new StorageIo({ operation, path, cause }) })
