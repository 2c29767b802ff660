/**
 * The directory that holds what survives a restart, and the only way to it: whoever has this service is its one owner.
 */
import * as fs from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import { Context, Effect, Layer, type Scope } from "effect"
import * as AtomicFile from "./AtomicFile.ts"
import * as directoryLock from "./internal/directoryLock.ts"
import { type DataDirectoryLocked, type StorageError, StorageIo } from "./StorageError.ts"
import * as VersionedDocument from "./VersionedDocument.ts"

export class DataDirectory extends Context.Tag("mimosa-cache/storage/DataDirectory")<
  DataDirectory,
  {
    /** Absolute. */
    readonly path: string
    /**
     * Opens the document in the file `<kind>.json`, reading what is there.
     *
     * It may be opened again, by a process that was restarted: writers of one file take turns.
     */
    readonly open: <A, I>(
      document: VersionedDocument.VersionedDocument<A, I>
    ) => Effect.Effect<VersionedDocument.DocumentFile<A>, StorageError>
  }
>() {}

/**
 * Creates the directory where it is missing and owns it until the scope closes.
 *
 * Fails with `DataDirectoryLocked` when a live process owns it; the lock of a dead one is taken over.
 *
 * @example
 * const file = yield* (yield* DataDirectory.make(".mimosa")).open(triggerDocument)
 */
export const make = (
  directory: string
): Effect.Effect<DataDirectory["Type"], DataDirectoryLocked | StorageIo, Scope.Scope> =>
  Effect.gen(function* () {
    const path = resolve(directory)
    yield* Effect.tryPromise({
      try: () => makeDirectory(path),
      catch: (cause) => new StorageIo({ operation: "creating", path, cause })
    })
    yield* directoryLock.hold(path)

    const files = new Map<string, AtomicFile.AtomicFile>()
    const turn = yield* Effect.makeSemaphore(1)
    const fileOf = (name: string) =>
      Effect.gen(function* () {
        const known = files.get(name)
        if (known !== undefined) return known
        const file = yield* AtomicFile.open(join(path, name))
        files.set(name, file)
        return file
      }).pipe(turn.withPermits(1))

    return DataDirectory.of({
      path,
      open: (document) => {
        if (!documentKind.test(document.kind))
          return Effect.dieMessage(`document kind ${document.kind}: a-z, 0-9, - only`)
        return Effect.flatMap(fileOf(`${document.kind}.json`), (file) => VersionedDocument.open(file, document))
      }
    })
  })

export const layer = (directory: string): Layer.Layer<DataDirectory, DataDirectoryLocked | StorageIo> =>
  Layer.scoped(DataDirectory, make(directory))

/**
 * `mkdir -p`, readable by its owner alone. Not by Node's `recursive`: that never returns where a directory exists in
 * which none can be made and the system calls it ENOENT (`/proc`).
 */
const makeDirectory = async (path: string): Promise<void> => {
  try {
    await fs.mkdir(path, { mode: 0o700 })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === "EEXIST" && (await fs.stat(path)).isDirectory()) return
    const parent = dirname(path)
    if (code !== "ENOENT" || (await isThere(parent))) throw error
    await makeDirectory(parent)
    await makeDirectory(path)
  }
}

const isThere = (path: string): Promise<boolean> =>
  fs.access(path).then(
    () => true,
    () => false
  )

const documentKind = /^[a-z][a-z0-9-]*$/
