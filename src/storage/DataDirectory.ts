/**
 * The directory that holds what survives a restart, and the only way to it: whoever has this service is its one owner.
 */
import { join, resolve } from "node:path"
import { Context, Effect, Layer, type Scope } from "effect"
import * as AtomicFile from "./AtomicFile.ts"
import * as Folder from "./Folder.ts"
import * as directoryLock from "./internal/directoryLock.ts"
import { makeDirectory } from "./internal/files.ts"
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
    /** Opens the folder of this name, which is made where it is missing. To be opened once. */
    readonly folder: (name: string) => Effect.Effect<Folder.Folder, StorageIo>
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
      },
      folder: (name) =>
        documentKind.test(name)
          ? Folder.open(join(path, name))
          : Effect.dieMessage(`folder ${name}: a-z, 0-9, - only, beginning with a letter`)
    })
  })

export const layer = (directory: string): Layer.Layer<DataDirectory, DataDirectoryLocked | StorageIo> =>
  Layer.scoped(DataDirectory, make(directory))

const documentKind = /^[a-z][a-z0-9-]*$/
